"""What names a scan: any of its patterns, in any format; the same before and after a file has grown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pytest

from dipolar.core.errors import FormatError, LabelError
from dipolar.core.scan_key import KEY_SPREAD, key_of, same_scan
from dipolar.core.scanning import Labels
from dipolar.label.journal import check_owner as check_journal
from dipolar.label.journal import open_journal
from dipolar.label.storage import Owner
from dipolar.recipes.scan_train import check_owner
from scan_patterns import Held, held

SHAPE = (20, 30)


def patterns(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(3.0, (600, 8, 8)).astype(np.uint16)


def named(stack: np.ndarray, *, growing: bool = False) -> str:
    return key_of(Held(stack), SHAPE, growing=growing)


@dataclass(frozen=True, eq=False)
class Torn(Held):
    """Patterns that cannot be read from some number on."""

    whole: int = 0

    def read(self, start: int, stop: int) -> np.ndarray:
        if stop > self.whole:
            raise FormatError("the file ends before.", got=f"pattern {stop - 1}")
        return self.data[start:stop]


def earlier(stack: np.ndarray) -> str:
    """The key that an earlier dipolar gave, written out."""
    told = hashlib.sha256(repr((SHAPE, stack.shape[1:])).encode())
    told.update(stack[:16].astype("<i8").tobytes())
    return told.hexdigest()[:16]


def test_scans_that_begin_alike_have_keys_of_their_own():
    one, other = patterns(0), patterns(1)
    one[:200], other[:200] = 0, 0
    assert not same_scan(named(one), named(other))
    assert same_scan(named(one), named(one.astype(np.int64)))
    assert named(one) == named(one.astype(">u4"))
    assert key_of(Held(one), (30, 20)) != named(one)


@pytest.mark.parametrize("part", range(KEY_SPREAD))
def test_every_part_of_the_scan_is_looked_at(part):
    changed, first = patterns(), 600 * part // KEY_SPREAD
    changed[first : 600 * (part + 1) // KEY_SPREAD] += 1
    assert not same_scan(named(changed), named(patterns()))


def test_the_key_of_a_growing_file_stays_and_is_that_of_the_finished_one():
    whole = patterns()
    keys = {named(whole[:count], growing=True) for count in (16, 17, 300, 600)}
    (first,) = keys
    assert same_scan(first, named(whole)) and same_scan(named(whole), first)
    changed = whole.copy()
    changed[3] += 1
    assert not same_scan(first, named(changed))


def test_what_an_earlier_version_wrote_is_still_known(tmp_path):
    scan = replace(held(patterns(), SHAPE), key=named(patterns()))
    old = earlier(patterns())
    labels = Labels(
        key=old, shape=SHAPE, names=("a",), positions=np.zeros((1, 2), dtype=np.int32), label=np.zeros(1, np.int32)
    )
    check_owner(labels, scan)
    journal = open_journal(tmp_path / "film.labels", key=old, shape=SHAPE)
    check_journal(journal, Owner(key=scan.key, shape=SHAPE, name="film"))
    assert open_journal(journal.path, key=scan.key, shape=SHAPE).owner.key == old
    other = named(patterns(1))
    with pytest.raises(LabelError, match="patterns of this one are others"):
        check_journal(journal, Owner(key=other, shape=SHAPE, name="film"))
    with pytest.raises(LabelError, match="labels belong to the scan"):
        check_owner(labels, replace(scan, key=other))


def test_a_scan_that_cannot_be_read_to_its_end_is_named_by_its_beginning():
    torn = key_of(Torn(patterns(), whole=400), SHAPE)
    assert torn == named(patterns(), growing=True) and same_scan(torn, named(patterns()))
    with pytest.raises(FormatError, match="ends before"):
        key_of(Torn(patterns(), whole=10), SHAPE)


def test_few_patterns_have_a_key_too():
    keys = {key_of(Held(patterns()[:count]), (1, count)) for count in range(1, 20)}
    assert len(keys) == 19

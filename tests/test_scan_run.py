"""Executors: the same values to the last bit from everybody, in constant memory, with errors that name patterns."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dipolar.core.errors import FormatError, ScanError, SettingsError
from dipolar.run import scan_blocks
from dipolar.run.scanning import AbstractExecutor, Dask, Follow, Here, LiberTem, Threads, run_blocks
from scan_frames import FileFrames, Looking, made, same, values_of


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> FileFrames:
    return made(tmp_path_factory.mktemp("scan") / "patterns.raw")


@pytest.fixture(scope="module")
def expected(frames) -> dict[str, np.ndarray]:
    return values_of(frames)


class Backwards(AbstractExecutor):
    """The last block first, as a cluster may give them."""

    def __repr__(self):
        return "Backwards()"

    def blocks(self, frames, work, spans):
        for span in reversed([span for span in spans if span]):
            yield scan_blocks.one_block(frames, work, span)


SPREAD = [Here(), Threads(workers=1), Threads(workers=3), Backwards(), LiberTem(), LiberTem(cluster="threads")]


@pytest.mark.parametrize("executor", SPREAD, ids=repr)
@pytest.mark.parametrize("chunk", [1, 60, 2000])
def test_everybody_gives_the_same(executor, chunk, frames, expected):
    same(run_blocks(executor, replace(frames, chunk=chunk), Looking(), 1003), expected)


def test_blocks_are_whole_chunks_and_small():
    for pattern, chunk in [(8, 1), (64, 1), (512, 1), (128, 10), (512, 16), (64, 1000), (512, 4000)]:
        frames = FileFrames(Path(), (pattern, pattern), chunk=chunk)
        size, chunk_bytes = scan_blocks.block_size(frames), chunk * pattern**2 * 2
        assert size >= 1
        if chunk_bytes <= scan_blocks.CHUNK_BYTES:
            assert size % chunk == 0
            assert size == chunk or size <= scan_blocks.BLOCK_PATTERNS
        assert size * pattern**2 * 2 <= max(scan_blocks.BLOCK_BYTES, min(chunk_bytes, scan_blocks.CHUNK_BYTES))


def test_positions_beyond_the_scan_are_left_alone(frames, expected):
    same(run_blocks(Threads(workers=2), frames, Looking(), 700), {name: a[:700] for name, a in expected.items()})


@pytest.mark.parametrize("executor", [Here(), Threads(workers=2), LiberTem()], ids=repr)
def test_an_error_names_the_patterns_after_all_that_was_finished(executor, frames):
    spans = [(start, start + 10) for start in range(0, 1000, 10)]
    got = []
    with pytest.raises(
        FormatError, match=r"(?s)can be read was expected.*damage \(patterns 500 to 509\).*another file"
    ):
        for start, stop, _ in executor.blocks(frames, Looking(fail_at=503), spans):
            got.append((start, stop))
    assert not isinstance(executor, Here | Threads) or set(spans[:50]) <= {*got}
    assert (500, 510) not in got


def test_what_is_no_error_of_ours_keeps_its_kind_and_says_where(frames):
    def wrong(patterns: np.ndarray, start: int) -> dict[str, np.ndarray]:
        return {"odd": np.zeros(3)} if start else {"odd": np.zeros(len(patterns))}

    with pytest.raises(ValueError, match="its first axis must be theirs") as caught:
        run_blocks(Threads(workers=2), frames, wrong, 1003)
    # whichever of two threads was first: every block but the first one is wrong
    assert any(re.search("patterns (256 to 511|512 to 767)", note) for note in caught.value.__notes__)


def test_a_file_that_goes_away_is_told(frames):
    def gone(patterns: np.ndarray, start: int) -> dict[str, np.ndarray]:
        raise OSError(5, "Input/output error")

    with pytest.raises(ScanError, match=r"(?s)patterns 0 to 255: .*Input/output"):
        run_blocks(Here(), frames, gone, 1003)


def test_too_few_patterns_are_told_before(frames):
    with pytest.raises(ScanError, match=r"(?s)2000 probe positions.*1003 patterns in the file.*--scan-shape"):
        run_blocks(Here(), frames, Looking(), 2000)


def test_threads_take_few_blocks_ahead_and_stop_when_asked(frames):
    asked, begun = [], []

    def spans() -> Iterator[tuple[int, int]]:
        for number in range(1000):
            asked.append(number)
            yield (number, number + 1)

    def work(patterns: np.ndarray, start: int) -> dict[str, np.ndarray]:
        begun.append(start)
        time.sleep(0.01)
        return {"number": np.array([start])}

    blocks = Threads(workers=2).blocks(frames, work, spans())
    for _ in range(10):
        next(blocks)
    assert len(asked) <= 10 + 4
    blocks.close()
    there = len(begun)
    time.sleep(0.05)
    assert len(begun) == there <= 14


def test_networks_work_in_their_own_thread_and_get_theirs_back(frames):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        told = run_blocks(Threads(workers=2), frames, threads_of_torch, 1003)
        assert set(told["threads"].tolist()) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def threads_of_torch(patterns: np.ndarray, start: int) -> dict[str, np.ndarray]:
    import torch

    return {"threads": np.full(len(patterns), torch.get_num_threads())}


def grown(path: Path, source: Path, steps: list[int], pause_s: float) -> threading.Thread:
    """Write patterns up to each of these numbers, one after the other."""
    data, row = source.read_bytes(), 6 * 8 * 2

    def write() -> None:
        for before, after in zip([0, *steps], steps, strict=False):
            time.sleep(pause_s)
            with path.open("ab") as file:
                file.write(data[before * row : after * row])

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("executor", [Here(), Threads(workers=2)], ids=repr)
def test_a_file_that_grows_is_followed_to_its_end(executor, frames, expected, tmp_path):
    path = tmp_path / "growing.raw"
    path.touch()
    writer = grown(path, frames.path, [100, 300, 301, 640, 1003], 0.05)
    follow, told = Follow(patience_s=20.0, poll_s=0.01), []
    got = run_blocks(
        executor,
        replace(frames, path=path),
        Looking(),
        1003,
        follow=follow,
        progress=lambda step, done: told.append((step, done)),
    )
    writer.join()
    same(got, expected)
    assert any("waiting for more" in step for step, _ in told)
    assert any(step.endswith("/s") and 0.2 < done < 0.9 for step, done in told), "worked while it grew"


def test_a_file_that_stops_growing_gives_what_there_is(frames, expected, tmp_path):
    path = tmp_path / "half.raw"
    path.write_bytes(frames.path.read_bytes()[: 600 * 96])
    got = run_blocks(
        Threads(workers=2), replace(frames, path=path), Looking(), 1003, follow=Follow(patience_s=0.1, poll_s=0.01)
    )
    np.testing.assert_array_equal(got["read"], np.arange(1003) < 600)
    same({name: a[:600] for name, a in got.items()}, {name: a[:600] for name, a in expected.items()})
    assert np.isnan(got["rows of it"][600:]).all()


def test_libertem_says_that_it_follows_no_file(frames, tmp_path):
    path = tmp_path / "half.raw"
    path.write_bytes(frames.path.read_bytes()[: 600 * 96])
    with pytest.raises(SettingsError, match=r"(?s)complete.*still grows.*--workers"):
        run_blocks(LiberTem(), replace(frames, path=path), Looking(), 1003, follow=Follow(patience_s=0.1))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Threads(workers=0), "at least one thread"),
        (Dask, "number of processes to start here, or the address"),
        (lambda: Dask(workers=2, url="tcp://here:1"), "number of processes to start here, or the address"),
        (lambda: Dask(workers=0), "workers=0"),
        (lambda: LiberTem(cluster="somewhere"), "somewhere"),
        (lambda: Follow(patience_s=0.0), "patience_s=0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], object], words: str):
    with pytest.raises(SettingsError, match=words):
        wrong()

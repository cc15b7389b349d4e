"""CPU of mapping by step, in one thread: what of it reading, centring, counting and classifying cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.scanning import Scan
from dipolar.io.scans import open_scan
from dipolar.learn.pattern_store import load_classifier
from dipolar.learn.patterns import AbstractPatternClassifier
from dipolar.locate.beam import centres, look_at
from dipolar.measure.bank import ratios
from dipolar.measure.patterns import everything
from dipolar.recipes.scan_look import Judge, Look
from dipolar.recipes.scan_map import look_of
from dipolar.run.scan_blocks import block_size, let_go
from dipolar.run.scanning import Work
from harness.process import cost
from harness.scan_work import Summed

AT_LEAST_S = 0.5
"""CPU for which a step is repeated."""


def steps_of(path: Path, models: dict[str, Path], *, patterns: int) -> Iterator[tuple[str, float]]:
    """Yield names of steps and their CPU seconds for 1,000 patterns, the least of several runs.

    Parameters
    ----------
    path
        A scan that is mapped from its file.
    models
        Files of classifiers by kind.
    patterns
        How many patterns each step is done with, block by block as in a map.
    """
    scan = open_scan(path)
    view = look_at(scan)
    each = block_size(scan.frames)
    spans = [(start, min(start + each, patterns)) for start in range(0, min(patterns, scan.count), each)]
    held = [np.array(scan.frames.read(*span)) for span in spans]

    def each_1000(items: list[Any], work: Callable[[Any], object]) -> float:
        return 1000 * _spent(items, work) / patterns

    yield "read: every word once, from the mapped file", each_1000(spans, _mapped(scan, Summed()))
    yield "the same from memory", each_1000(held, partial(_at_0, Summed()))
    yield "centring", each_1000(held, partial(centres, view=view))
    for kind, file in models.items():
        classifier = load_classifier(file)
        look = look_of(classifier, view, images=True)
        plain = look_of(classifier, view, images=False)
        whole = Judge(look=plain, classifier=classifier)
        seen = [plain(block, 0) for block in held]
        yield f"{kind}: centring and counting", each_1000(held, partial(_everything, plain))
        yield f"{kind}: the same with images", each_1000(held, partial(_everything, look))
        if plain.bank is not None:
            counts = [_everything(plain, block)["counts"] for block in held]
            yield f"{kind}: ratios", each_1000(counts, partial(ratios, bank=plain.bank))
        yield f"{kind}: answers", each_1000(seen, partial(_answers, classifier))
        yield f"{kind}: all of it, from memory", each_1000(held, partial(_at_0, whole))
        yield f"{kind}: all of it, from the mapped file", each_1000(spans, _mapped(scan, whole))


def _at_0(work: Work, block: np.ndarray) -> object:
    return work(block, 0)


def _answers(classifier: AbstractPatternClassifier, seen: dict[str, np.ndarray]) -> object:
    return classifier.answers(seen["seen"], seen["totals"])


def _everything(look: Look, block: np.ndarray) -> dict[str, np.ndarray]:
    return everything(block, look.view, centres, bank=look.bank, size_px=look.size_px, images=look.images)


def _mapped(scan: Scan, work: Work) -> Callable[[tuple[int, int]], object]:
    def done(span: tuple[int, int]) -> None:
        patterns = scan.frames.read(*span)
        work(patterns, span[0])
        let_go(patterns)

    return done


def _spent(items: list[Any], work: Callable[[Any], object]) -> float:
    """Return the least CPU of going through all items, after one that compiles."""
    work(items[0])
    costs: list[float] = []
    while sum(costs) < AT_LEAST_S or (len(costs) < 3 and sum(costs) < 4 * AT_LEAST_S):
        with cost() as spent:
            for item in items:
                work(item)
        costs.append(max(spent.cpu_s, 1e-9))
    return min(costs)

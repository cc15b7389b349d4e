"""The table of a mapped scan: classes, domains, walls, flags, how right the classifier is, and what made the result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dipolar.core.flags import MEANING
from dipolar.core.scanning import ScanResult, ScanWall

from .table import Row
from .wording import counted, name_and_unit, number, with_sigma

MOST_ROWS = 14
"""Domains and walls that are listed, the largest."""


def scan_rows_of(result: ScanResult) -> list[Row]:
    """Return the whole table, section by section."""
    parts = (_scan, _classes, _domains, _walls, _flags, _validation, _view, _origin)
    return [row for part in parts for row in part(result)]


def _scan(result: ScanResult) -> Iterator[Row]:
    scan_map, (tall, wide) = result.map, result.map.flags.shape
    yield Row("Scan", "probe positions (scan_y × scan_x)", f"{tall} × {wide}", f"{number(tall * wide)} patterns")
    step = "unknown" if scan_map.step_nm is None else f"{number(scan_map.step_nm)} nm"
    yield Row("Scan", "probe step", step, "" if scan_map.step_nm is not None else "lengths are in probe steps")
    counts = scan_map.counts[np.isfinite(scan_map.counts)]
    if counts.size:
        yield Row("Scan", "counts per pattern, median", number(float(np.median(counts)), 4))
    found = scan_map.centre_px[np.isfinite(scan_map.centre_px).all(axis=2)]
    if len(found):
        spread = np.ptp(found, axis=0)
        words = f"{number(float(spread[0]), 3)} × {number(float(spread[1]), 3)} px"
        yield Row("Scan", "direct beam moves over (k_y × k_x)", words, "removed before anything is measured")
    yield Row("Scan", "key", scan_map.key, "names the scan whatever its file is called")


def _classes(result: ScanResult) -> Iterator[Row]:
    domains, label = result.domains, result.map.label
    known = max(int((domains.domain >= 0).sum()), 1)
    for place, name in enumerate(domains.names):
        share = with_sigma(100 * float(domains.fraction[place]), 100 * float(domains.fraction_sigma[place]), "%")
        own = result.map.probability.max(axis=2)[label == place]
        sure = f"mean probability {number(float(own.mean()), 3)}" if own.size else "no position"
        yield Row("Classes", name, share, sure)
    left = domains.domain.size - int((domains.domain >= 0).sum())
    if left:
        yield Row("Classes", "without a class", number(left), f"{number(100 * left / (left + known), 2)} % of the scan")


def _domains(result: ScanResult) -> Iterator[Row]:
    domains = result.domains
    scale, unit = (1.0, "positions") if domains.step_nm is None else (domains.step_nm**2, "nm²")
    yield Row("Domains", "number", number(len(domains.state)), "connected positions of one class")
    for place in range(min(len(domains.state), MOST_ROWS)):
        area = with_sigma(scale * float(domains.area[place]), scale * float(domains.area_sigma[place]), unit)
        yield Row("Domains", f"area of domain {place}", area, domains.names[int(domains.state[place])])


def _walls(result: ScanResult) -> Iterator[Row]:
    walls = result.domains.walls
    yield Row("Walls", "number", number(len(walls)), "where two classes have equal shares")
    step = result.domains.step_nm
    scale, unit = (1.0, "steps") if step is None else (step, "nm")
    for pair in sorted({(wall.before, wall.after) for wall in walls}):
        mine = [wall for wall in walls if (wall.before, wall.after) == pair]
        total = sum(wall.length for wall in mine)
        sigma = float(np.sqrt(sum(wall.length_sigma**2 for wall in mine)))
        words = with_sigma(scale * total, scale * sigma, unit)
        yield Row("Walls", f"length between {pair[0]} and {pair[1]}", words, counted(len(mine), "wall"))
    for place, wall in enumerate(walls[:MOST_ROWS]):
        length = with_sigma(scale * wall.length, scale * wall.length_sigma, unit)
        yield Row("Walls", f"wall {place}: {wall.before}, {wall.after}", length, _width(wall, scale, unit))


def _width(wall: ScanWall, scale: float, unit: str) -> str:
    place = scale * float(np.sqrt(np.mean(wall.points_sigma**2)))
    where = f"place ± {number(place, 2)} {unit}"
    if not np.isfinite(wall.width):
        return f"width unknown: too few positions beside it; {where}"
    if not np.isfinite(wall.width_sigma):
        return f"width not resolved, at most {number(scale * wall.width, 2)} {unit}; {where}"
    return f"width 2ξ = {with_sigma(scale * wall.width, scale * wall.width_sigma, unit)}; {where}"


def _flags(result: ScanResult) -> Iterator[Row]:
    flags = result.map.flags
    yield Row("Flags", "positions without any flag", number(int((flags == 0).sum())))
    for flag, meaning in MEANING.items():
        count = int(((flags & np.uint32(flag)) != 0).sum())
        if count:
            share = f"{number(count)} ({number(100 * count / flags.size, 2)} %)"
            yield Row("Flags", str(flag.name).lower().replace("_", " "), share, meaning)


def _validation(result: ScanResult) -> Iterator[Row]:
    found = result.validation
    if found is None:
        yield Row("Validation", "how right the classifier is", "not measured", "no labels were held out")
        return
    for name, value in found.figures.items():
        yield Row("Validation", name, f"{number(100 * value, 3)} %", f"against {found.source}" if found.source else "")


def _view(result: ScanResult) -> Iterator[Row]:
    view, labels = result.view, result.labels
    if labels is not None:
        people = len(set(labels.who) - {""})
        note = f"by {counted(people, 'person')}" if people else ""
        yield Row("Classifier", "labels in this scan", number(len(labels.label)), note)
    if view is not None:
        yield Row("Classifier", "radius of a disk", f"{number(view.radius_px, 3)} px")
        for name, vector, sigma in zip(("first", "second"), view.lattice_px, view.lattice_sigma_px, strict=True):
            length = float(np.hypot(*vector))
            error = float(np.hypot(*(vector * sigma)) / length) if length > 0 else float("nan")
            yield Row("Classifier", f"{name} reciprocal lattice vector", with_sigma(length, error, "px"))
        yield Row("Classifier", "dead, hot or hidden pixels", number(int(view.defective.sum())))
    if result.bank is not None:
        disks, others = int(result.bank.main.sum()), int((~result.bank.main).sum())
        words = f"{number(disks)} on disks, {number(others)} where ghosts can be"
        yield Row("Classifier", "virtual detectors", number(len(result.bank.sites)), words)


def _origin(result: ScanResult) -> Iterator[Row]:
    record = result.record
    for name, digest in record.inputs.items():
        yield Row("Origin", f"{'' if digest.startswith('key ') else 'sha256 of '}{name}", digest)
    for key, value in record.settings.items():
        if isinstance(value, (str, int, float, bool)):
            name, unit = name_and_unit(key)
            yield Row("Settings", name, f"{number(value)} {unit}".strip())
    for name, seconds in record.timings_s.items():
        yield Row("Timings", name, f"{number(seconds, 3)} s")
    for name, seed in record.seeds.items():
        yield Row("Seeds", name, str(seed))
    for name, version in record.versions.items():
        yield Row("Versions", name, version)

"""``dipolar scan info``: what was read of a scan, and whether its patterns look like such."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.scanning import Scan
from dipolar.io.scans import open_scan
from dipolar.recipes.scan_settings import ReadSettings

SAMPLED = 16
"""Patterns that are read, spread over the scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternSample:
    """Counts of a few patterns, spread over the scan."""

    numbers: tuple[int, ...]
    """Which patterns, by number."""
    least: float
    """Smallest count of a pixel that is not dead."""
    most: float
    """Largest."""
    sums: tuple[float, ...]
    """Sum of each pattern, without dead pixels."""
    zero: float
    """Share of pixels that counted nothing."""
    unknown: int
    """Pixels that hold no number (nan, infinite)."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is wrong with these patterns, in sentences."""
        said = []
        if self.most == self.least:
            said.append(f"every pixel that was looked at is {self.most:g}: no diffraction pattern looks so")
        elif dark := sum(total == 0 for total in self.sums):
            said.append(f"{dark} of {len(self.sums)} patterns that were looked at hold no counts")
        if self.unknown:
            said.append(f"{self.unknown} pixels that were looked at hold no number")
        if self.least < 0:
            said.append(f"counts down to {self.least:g}: subtract nothing from counts, or sigma cannot be told")
        return tuple(said)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanInfo:
    """A scan that was opened, and a sample of its patterns."""

    scan: Scan
    """The scan."""
    sample: PatternSample
    """Counts of a few patterns."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is wrong with the scan, in sentences."""
        missing = [fact.value for fact in self.scan.facts if fact.name == "chunks_missing"]
        lost = (
            (f"{missing[0]} chunks are not in the store and read as zeros: copy it again unless they are",)
            if missing
            else ()
        )
        return (*lost, *self.sample.remarks)

    @property
    def bytes(self) -> int:
        """Size of all counts when they are unpacked."""
        frames = self.scan.frames
        return self.scan.count * frames.shape_px[0] * frames.shape_px[1] * frames.dtype.itemsize


def look_into(path: str | Path, *, settings: ReadSettings | None = None) -> ScanInfo:
    """Return what there is to know of a scan without reading more than a few patterns.

    Raises
    ------
    DataError
        Where it cannot be opened; see `dipolar.open_scan`.
    """
    scan = open_scan(path, **(settings or ReadSettings()).opening)
    return ScanInfo(scan=scan, sample=sample_of(scan))


def sample_of(scan: Scan, *, patterns: int = SAMPLED) -> PatternSample:
    """Return the counts of a few patterns, evenly spread over the scan."""
    count = min(scan.count, scan.frames.count)
    numbers = np.unique(np.linspace(0, count - 1, min(patterns, count)).astype(int))
    good = None if scan.defective is None else ~scan.defective
    least, most, zeros, unknown, pixels, sums = np.inf, -np.inf, 0, 0, 0, []
    for number in numbers:
        pattern = scan.frames.read(int(number), int(number) + 1)[0].astype(np.float64)
        values = pattern.ravel() if good is None else pattern[good]
        finite = values[np.isfinite(values)]
        unknown += len(values) - len(finite)
        pixels += len(finite)
        zeros += int((finite == 0).sum())
        sums.append(float(finite.sum()))
        if len(finite):
            least, most = min(least, float(finite.min())), max(most, float(finite.max()))
    return PatternSample(
        numbers=tuple(numbers.tolist()),
        least=least,
        most=most,
        sums=tuple(sums),
        zero=zeros / pixels if pixels else np.nan,
        unknown=unknown,
    )


def lines_of(info: ScanInfo) -> list[str]:
    """Return what `dipolar scan info` prints."""
    scan, frames, sample = info.scan, info.scan.frames, info.sample
    told = {fact.name: fact for fact in scan.facts}
    shown = ("scan_shape", "format", "stored")
    rows = [
        ("scan", f"{scan.shape[0]} × {scan.shape[1]} probe positions ({told['scan_shape'].source})"),
        ("pattern", f"{frames.shape_px[0]} × {frames.shape_px[1]} px {frames.dtype}"),
        ("format", f"{told['format'].value}, {told['stored'].value}"),
        ("size", _size(info.bytes) + (f", read {frames.chunk} patterns at a time" if frames.chunk > 1 else "")),
        ("step", "unknown" if scan.step_nm is None else f"{scan.step_nm:.6g} nm"),
        ("pixel", "unknown" if scan.pixel_mrad is None else f"{scan.pixel_mrad:.6g} mrad"),
        ("defective", "not told" if scan.defective is None else f"{int(scan.defective.sum())} px, told by the file"),
        (
            "counts",
            f"{sample.least:g} to {sample.most:g}, {float(np.median(sample.sums)):.6g} per pattern, "
            f"{100 * sample.zero:.1f} % of pixels 0 ({len(sample.numbers)} patterns)",
        ),
        ("key", scan.key),
        *((fact.name, f"{_short(fact.value)} ({fact.source})") for fact in scan.facts if fact.name not in shown),
    ]
    width = max(len(name) for name, _ in rows)
    return [scan.name, *(f"  {name:<{width}}  {value}" for name, value in rows)]


def values_of(info: ScanInfo) -> dict[str, Any]:
    """Return the same as plain values, for JSON."""
    scan, frames, sample = info.scan, info.scan.frames, info.sample
    return {
        "name": scan.name,
        "key": scan.key,
        "scan_shape": list(scan.shape),
        "pattern_px": list(frames.shape_px),
        "data_type": str(frames.dtype),
        "chunk": frames.chunk,
        "patterns": frames.count,
        "bytes": info.bytes,
        "step_nm": scan.step_nm,
        "pixel_mrad": scan.pixel_mrad,
        "defective_px": None if scan.defective is None else int(scan.defective.sum()),
        "facts": [{"name": fact.name, "value": fact.value, "source": fact.source} for fact in scan.facts],
        "counts": {
            "patterns": list(sample.numbers),
            "least": sample.least,
            "most": sample.most,
            "sums": list(sample.sums),
            "zero_fraction": sample.zero,
            "no_number": sample.unknown,
        },
        "notes": list(info.remarks),
    }


def _size(size: int) -> str:
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.8g}"

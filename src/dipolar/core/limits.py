"""What limits a measurement, in sentences: said once here, for the record of a result and for its report."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dipolar.core.flags import DOUBTFUL_CELL, Flag, has
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Calibration

MANY, SOME = 0.30, 0.05
"""Share of flagged cells from which the image is not what was expected, and from which the reader should know."""
OFF, FAR_OFF, WIDE = 0.03, 0.05, 1.1
"""Gain off 1 that is told; off it beyond twice its sigma by which columns overlap too much; width of errors / sigma."""


def limits(measurement: Measurement) -> Iterator[str]:
    """Yield a sentence or two for each thing that a reader must know before believing the map."""
    if not len(measurement.cells.flags):
        yield "No unit cells were found; there is nothing to map."
    yield from _cells(measurement)
    yield from _calibration(measurement.calibration)
    if measurement.reference is None:
        yield (
            "No reference region was given: a common offset of the sublattices, which mistilt and scan distortion make "
            "(4 to 8 pm in centrosymmetric crystals), is still in every displacement. Differences between domains are "
            "not affected. Give --reference y0:y1,x0:x1 with a region that is not polar, such as the substrate."
        )
    yield from _gain(measurement)
    if measurement.record.settings.get("structure") is None:  # which tells what projection this is
        yield from _size(measurement.calibration)


def _cells(measurement: Measurement) -> Iterator[str]:
    cells, columns = measurement.cells, measurement.columns
    count = len(cells.flags)
    flagged = int(np.count_nonzero(has(cells.flags, DOUBTFUL_CELL)))
    strange = flagged - int(np.count_nonzero(has(cells.flags, DOUBTFUL_CELL & ~Flag.UNFAMILIAR)))
    if flagged > MANY * count and 2 * strange <= flagged:  # else the network is at its end, not the columns
        heights = columns.amplitude[np.isfinite(columns.amplitude)]
        shade = "dark" if len(heights) and np.median(heights) < 0 else "bright"
        yield (
            f"{flagged} of {count} unit cells are flagged: the image is not, or only in part, what was "
            f"expected ({shade} columns of two sublattices that stand apart). Look at the columns before the map."
        )
    elif flagged > SOME * count:
        yield f"{flagged} of {count} unit cells are flagged: grey in the maps, and in no median."
    if count and not np.isfinite(cells.covariance_px2).all(axis=(1, 2)).any():
        yield "Sigma of the displacement is unknown for every cell."
    if count and np.mean(has(cells.flags, Flag.AMBIGUOUS_SUBLATTICE)) > 0.5:
        yield (
            "The intensities do not tell A from B: the labels, and with them the sign of every displacement, may be "
            "exchanged; or only one sublattice is visible, and the cells are not unit cells."
        )
    elif has(columns.flags, Flag.AMBIGUOUS_SUBLATTICE).any():
        yield (
            "The intensities do not tell A from B in part of this image. If the labels are exchanged, every "
            "displacement there has the opposite sign."
        )


def _calibration(calibration: Calibration) -> Iterator[str]:
    if calibration.lattice_pm is not None and calibration.source != "lattice":
        yield "lattice_pm was given, but no cell was found to measure the lattice on, so it was not used."
    if calibration.pixel_size_pm is None:
        yield (
            "No pixel size is known, so every length is in px. For pm, give lattice_pm of a known crystal in the image "
            "(--lattice-pm), which calibrates on the crystal itself, or pixel_size_pm (--pixel-size-pm)."
        )
    if calibration.source == "file":
        yield (
            "The pixel size is the file's own. Such values are often 3 to 11 % off, and with them every length; "
            "with lattice_pm (--lattice-pm) it is calibrated on the measured lattice."
        )
    known, used = calibration.file_pixel_size_pm, calibration.pixel_size_pm
    if known is not None and used is not None and abs(used / known - 1) > 0.01:
        yield f"The file's pixel size is {known:.4g} pm; used is {used:.4g} pm, {100 * (used / known - 1):+.1f} %."


def _gain(measurement: Measurement) -> Iterator[str]:
    check = measurement.gain_check
    if check is None or not len(measurement.cells.flags):
        return
    off = [(abs(gain - 1), 2 * sigma) for gain, sigma in zip(check.gain, check.gain_sigma, strict=True)]
    if any(size - sure > FAR_OFF for size, sure in off):
        yield (
            f"The gain check found displacements of this image to come out {check.gain[0]:.2f} (dy) and "
            f"{check.gain[1]:.2f} (dx) times as long as they are: its columns overlap so much that their positions "
            "depend on the background, which nobody knows. Directions are safe, lengths are not."
        )
    elif any(size > max(OFF, sure) for size, sure in off):
        yield (
            f"The gain check found displacements of this image to come out {check.gain[0]:.3f} (dy) and "
            f"{check.gain[1]:.3f} (dx) times as long as they are."
        )
    for name, width in zip(("dy", "dx"), check.zscore_width, strict=True):
        if width > WIDE:
            yield f"The gain check found sigma of {name} too small: errors are {width:.2f} times as wide."


def _size(calibration: Calibration) -> Iterator[str]:
    if calibration.pixel_size_pm is None:
        return
    size_pm = calibration.measured_lattice_px * calibration.pixel_size_pm
    if not (math.isnan(size_pm) or 370.0 <= size_pm <= 430.0 or 550.0 <= size_pm <= 640.0):
        yield (
            f"The cell measures {size_pm:.0f} pm, where perovskites seen along [100] measure 370 to 430 pm (halides "
            "550 to 640): either the pixel size is wrong, or this is another projection, or the columns found are not "
            "those of A and B."
        )

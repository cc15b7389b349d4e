"""What a reader must know before believing the map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dipolar.core.flags import Flag, has
from dipolar.core.measurement import Measurement

from . import scene
from .table import percent
from .wording import number


def notices(measurement: Measurement) -> list[str]:
    """Return a sentence or two for each thing that limits the result: those of the record, then those seen here."""
    recorded = measurement.record.notes
    told = " ".join(recorded)  # what made the result may have said it already, and knows better why
    parts = (
        _empty(measurement),
        () if "pixel size" in told else _calibration(measurement),
        () if "reference region" in told else _reference(measurement),
        () if "unit cells are flagged" in told else _cells(measurement),
        () if "gain check found" in told else _gain(measurement),
    )
    return [*recorded, *(words for part in parts for words in part)]


def _empty(measurement: Measurement) -> Iterator[str]:
    if not measurement.cells.flags.size:
        yield "No unit cells were found; there is nothing to map."


def _calibration(measurement: Measurement) -> Iterator[str]:
    calibration = measurement.calibration
    used, said = calibration.pixel_size_pm, calibration.file_pixel_size_pm
    if used is None:
        yield (
            "The pixel size is not known, so every length is in px. Give --lattice-pm (better: it calibrates on the "
            "crystal itself) or --pixel-size-pm to have picometres."
        )
    elif calibration.source == "file":
        yield (
            "The pixel size is the file's and was not checked against the crystal. Files are often wrong by 3–11 %; "
            "every length here carries that error. Give --lattice-pm to calibrate on the crystal."
        )
    elif said is not None and abs(used / said - 1) > 0.02:
        yield f"The pixel size used is {percent(used / said)} of the one in the file."


def _reference(measurement: Measurement) -> Iterator[str]:
    if measurement.reference is None:
        yield (
            "No reference region was given, so no common offset was removed. A few pm common offset may be "
            "instrumental: mistilt or scan distortion moves the sublattices against each other by 4–8 pm even in "
            "centrosymmetric crystals. Differences between domains are not affected. Give --reference y0:y1,x0:x1 "
            "with a region that is not polar, such as the substrate."
        )


def _cells(measurement: Measurement) -> Iterator[str]:
    cells, columns = measurement.cells, measurement.columns
    if cells.flags.size:
        share = 1 - float(scene.trusted_cells(cells).mean())
        if share > 0.05:
            yield f"{number(100 * share, 2)} % of the unit cells are flagged: grey in the maps, and in no median."
        if not np.isfinite(scene.component_sigma(cells.covariance_px2)).any():
            yield "Sigma of the displacement is unknown for every cell."
    if has(columns.flags, Flag.AMBIGUOUS_SUBLATTICE).any():
        yield (
            "The intensities do not tell A from B in part of this image. If the labels are exchanged, every "
            "displacement there has the opposite sign."
        )


def _gain(measurement: Measurement) -> Iterator[str]:
    check = measurement.gain_check
    if check is None or not measurement.cells.flags.size:
        return
    for name, gain, sigma, width in zip(("dy", "dx"), check.gain, check.gain_sigma, check.zscore_width, strict=True):
        if abs(gain - 1) > 0.03 and abs(gain - 1) > 2 * sigma:
            yield (
                f"The gain check found {number(gain, 3)} times the {name} that was put in: lengths along it are "
                f"{'too large' if gain > 1 else 'too small'} by that factor."
            )
        if width > 1.1:
            yield f"The gain check found sigma of {name} too small: errors are {number(width, 3)} times as wide."

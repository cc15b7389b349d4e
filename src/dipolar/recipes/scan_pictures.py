"""Pictures of diffraction patterns: of those that were suggested, to label them; of the mean, to find its ghosts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.scanning import Scan
from dipolar.label.positions import Positions

SHEET = "sheet.png"
"""All patterns at once."""


def write_pictures(scan: Scan, positions: Positions, folder: Path, *, progress: Progress = silent) -> list[Path]:
    """Write a picture of every pattern, ``y03_x120.png``, and all of them on one sheet; return the paths, sheet first.

    All have one scale of shades, so that one can be held against the other.

    Parameters
    ----------
    scan
        The scan.
    positions
        (scan_y, scan_x) of each.
    folder
        Where to; it is made where there is none. What else is in it stays.
    progress
        Told how far it has come.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    from dipolar.report.figures import write_bytes
    from dipolar.report.scan_pictures import binned, contact_sheet, norm_for, pattern_picture, place_name
    from dipolar.report.style import encode

    if not len(positions):
        return []
    numbers = np.ravel_multi_index(tuple(positions.T), scan.shape).tolist()
    seen = np.concatenate([binned(scan.frames.read(number, number + 1)) for number in numbers])
    norm = norm_for(seen)
    sheet = contact_sheet(seen, positions, norm=norm, name=scan.name)
    paths = [write_bytes(folder / SHEET, encode(sheet, "png"), option="--pictures")]
    for done, (pattern, (y, x)) in enumerate(zip(seen, positions.tolist(), strict=True)):
        picture = pattern_picture(pattern, (y, x), norm=norm, name=scan.name)
        path = folder / f"{place_name((y, x), scan.shape)}.png"
        paths.append(write_bytes(path, encode(picture, "png"), option="--pictures"))
        progress("drawing patterns", (done + 1) / len(positions))
    return paths


def write_mean_picture(scan: Scan, path: Path, *, patterns: int = 256, progress: Progress = silent) -> Path:
    """Write the mean pattern, centred, with a scale in px of the detector; return the path.

    Parameters
    ----------
    scan
        The scan.
    path
        The file; its ending says whether it is png, svg or pdf.
    patterns
        How many of its patterns, spread over the scan, it is the mean of.
    progress
        Told how far it has come.

    Raises
    ------
    SettingsError
        Another ending.
    ScanError
        No beam was found, by which patterns are centred.
    OutputError
        The file cannot be written.
    """
    from dipolar.core.errors import SettingsError
    from dipolar.locate.beam import look_at
    from dipolar.report.figures import write_bytes
    from dipolar.report.scan_pictures import mean_picture
    from dipolar.report.style import FORMATS, encode

    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise SettingsError(
            "A picture is written as " + ", ".join(FORMATS) + ".",
            got=str(path),
            do=f"--picture {path.with_suffix('.png')}",
        )
    view = look_at(scan, patterns=patterns, progress=progress)
    return write_bytes(path, encode(mean_picture(view, name=scan.name), ending), option="--picture")

"""Images to learn from: measured where they were not yet, and divided by lines into parts that share no pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from dipolar.core.contracts import Progress
from dipolar.core.errors import DataError, SettingsError
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Cells, Columns, Image
from dipolar.io import load_measurement, sha256_of
from dipolar.learn.networks import Regressor
from dipolar.learn.scale import Seen, see
from dipolar.learn.targets import usable
from dipolar.measure import build_cells
from dipolar.recipes.measure import measure_image
from dipolar.recipes.networks import cell_edge_px
from dipolar.recipes.overview import contrast_of
from dipolar.recipes.settings import change
from dipolar.recipes.train_settings import TrainSettings

VALIDATION = 0.25
"""Share of the part to learn from that is kept to validate with and to make sigma honest."""
FEWEST_CELLS = 60
"""Usable cells that an image, and the parts to learn from and to be tested on, must hold."""
FEWEST = (FEWEST_CELLS, 50, FEWEST_CELLS)
"""Usable cells of all images together, away from the borders of each part."""
PARTS = ("to learn from", "to validate with", "to be tested on")
SMALLER_PX = (60, 40, 30, 24)
"""Windows to recommend where that of the settings leaves too few cells: in less than a cell there is little to see."""
Strip = tuple[int, int, int, int]
"""Region (y0, y1, x0, x1) in network px, half open."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """One image to learn from."""

    name: str
    """For messages and the card."""
    sha256: str
    """Of its file, where there is one."""
    columns: Columns
    """Its columns, measured or true."""
    cells: Cells
    """Its cells likewise."""
    seen: Seen
    """What networks see of it."""


def open_source(one: str | Path | Image | Measurement, settings: TrainSettings, *, progress: Progress) -> Source:
    """Return an image with its measurement: loaded where it was measured before, or measured now.

    Its cells are built anew from its columns, as the image shows them: A at the corners, no offset of a reference taken
    off, the shape of the scan as recorded. Of all that a network can see nothing. Shifts of single scan rows, where the
    measurement told them from the crystal (scan = rows), are off its columns and stay so: they are noise in the image
    that a network learns to see through.

    Raises
    ------
    DataError
        If it is no image, signed, holds too few cells, or is what another network said.
    """
    digest = ""
    if isinstance(one, Measurement):
        measured = one
    elif isinstance(one, Image):
        measured = _measure(one, settings, progress)
    elif isinstance(one, (str, Path)):
        path = Path(one)
        inner = path / "result.h5"
        is_result = inner.is_file() or _holds_result(path)
        measured = load_measurement(path) if is_result else _measure(path, settings, progress)
        digest = sha256_of(inner if inner.is_file() else path)  # some images are folders too
    else:
        raise DataError("file names, Images or Measurements were expected.", got=type(one).__name__)
    if measured.findings.prediction is not None:
        raise DataError(
            "networks learn from what was measured, not from what another network said.",
            got=f"{measured.image.name}: a prediction",
            do="dipolar image measure IMAGE, and train on its result",
        )
    cells = replace(build_cells(measured.columns), pixel_size_pm=_pixel_size_pm(measured, settings))
    return source_of(_bright(measured), measured.columns, cells, sha256=digest)


def _pixel_size_pm(measured: Measurement, settings: TrainSettings) -> float | None:
    """Return the pixel size that settings ask for, also of images measured before; or else the measured one."""
    lattice_px = measured.calibration.measured_lattice_px
    if settings.lattice_pm is not None and lattice_px > 0:
        return settings.lattice_pm / lattice_px
    return settings.pixel_size_pm or measured.calibration.pixel_size_pm


def _bright(measured: Measurement) -> Image:
    """Return the image with bright columns: dark ones are turned upside down, as `dipolar.recipes.networks.look` does.

    Raises
    ------
    DataError
        If it is signed: what networks are put to is never.
    """
    image, contrast = measured.image, contrast_of(measured)
    if contrast == "signed":
        raise DataError(
            "networks see images in which all columns are bright, or all dark.",
            got=f"{image.name}: a signed image (iDPC, DPC), with values on both sides of zero",
            do="measure such images by fitting: dipolar image measure; or, if it is not signed, measure it with "
            "--contrast bright and train on the result",
        )
    return image if contrast == "bright" else replace(image, data=-image.data)


def source_of(image: Image, columns: Columns, cells: Cells, *, sha256: str = "") -> Source:
    """Return an image with its columns and cells, measured or true, as something to learn from.

    Raises
    ------
    DataError
        If there are too few cells.
    """
    if len(cells.flags) < FEWEST_CELLS:
        raise DataError(
            f"an image to learn from must hold at least {FEWEST_CELLS} cells with both sublattices.",
            got=f"{image.name}: {len(cells.flags)} cells",
            do="take a larger image",
        )
    seen = see(image.data, cell_px=cell_edge_px(columns.steps_px))
    return Source(name=image.name, sha256=sha256, columns=columns, cells=cells, seen=seen)


def _holds_result(path: Path) -> bool:
    import h5py

    from dipolar.io.result_file import FORMAT

    if path.suffix != ".h5" or not path.is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("format")
            return isinstance(found, bytes) and found == FORMAT.encode()
    except OSError:
        return False  # whoever reads images says what is wrong


def _measure(image: Path | Image, settings: TrainSettings, progress: Progress) -> Measurement:
    return measure_image(
        image,
        pixel_size_pm=settings.pixel_size_pm,
        lattice_pm=settings.lattice_pm,
        select=settings.select,
        trust_pickle=settings.trust_pickle,
        gain_check=False,
        maps=False,
        mistilt="off",
        progress=progress,
    )


def in_px(settings: TrainSettings, sources: Sequence[Source]) -> TrainSettings:
    """Return settings whose window is in network px.

    Raises
    ------
    SettingsError
        If it is given in pm and the first image has no pixel size, or if it is then too small or too large.
    """
    if settings.window_pm is None:
        return settings
    pixel_size_pm = sources[0].cells.pixel_size_pm
    if pixel_size_pm is None:
        raise SettingsError(
            "a window in pm needs the size of a pixel.",
            got=f"window_pm = {settings.window_pm:g}, and {sources[0].name} has no pixel size",
            do="give --lattice-pm or --pixel-size-pm, or the window as --window-px",
        )
    window_px = round(settings.window_pm / pixel_size_pm * sources[0].seen.scale)
    return change(settings, {"window_px": window_px, "window_pm": None})


def strips(seen: Seen, settings: TrainSettings) -> tuple[Strip, Strip, Strip]:
    """Return the regions to learn from, to validate with and to be tested on; they share no pixel.

    Raises
    ------
    DataError
        If one of them would be too narrow.
    """
    tall, wide = seen.shape
    length = wide if settings.split == "x" else tall
    ends = [0, round(settings.share * (1.0 - VALIDATION) * length), round(settings.share * length), length]
    found = []
    for start, end in pairwise(ends):
        if end - start < 32:
            raise DataError(
                "each part of an image must be at least 32 px wide at 24 px per cell.",
                got=f"{end - start} px of {length}",
                do="take a larger image, or divide it in the other direction: --split y",
            )
        found.append((0, tall, start, end) if settings.split == "x" else (start, end, 0, wide))
    return found[0], found[1], found[2]


def inside(source: Source, settings: TrainSettings, part: int) -> Bool[np.ndarray, " cell"]:
    """Return the cells whose windows lie in a part; at the rim of the image they may reach beyond it.

    Values between the points of a network's grid are means of the nearest four, so that a window reaches that much
    further. Sliding windows are asked where the corners of four cells meet (`dipolar.learn.exam.examine`).
    """
    margin, cells = settings.window_px // 2 + Regressor.stride, source.cells
    asked = 0.5 * (cells.a_px + cells.b_px) if settings.windows == "sliding" else 0.0
    places: Float[np.ndarray, "cell 2"] = source.seen.to_network(cells.positions_px + asked)
    y, x = places.T
    y0, y1, x0, x1 = strips(source.seen, settings)[part]
    tall, wide = source.seen.shape
    there = (y >= (y0 + margin if y0 > 0 else 0)) & (y < (y1 - margin if y1 < tall else tall))
    return there & (x >= (x0 + margin if x0 > 0 else 0)) & (x < (x1 - margin if x1 < wide else wide))


def check_parts(sources: Sequence[Source], settings: TrainSettings) -> None:
    """Check that every part holds enough cells, before anything is learned.

    Raises
    ------
    DataError
        If one does not.
    """
    for part, (name, fewest) in enumerate(zip(PARTS, FEWEST, strict=True)):
        count = _count(sources, settings, part)
        if count >= fewest:
            continue
        smaller = [
            px
            for px in SMALLER_PX
            if px < settings.window_px
            and all(_count(sources, change(settings, {"window_px": px}), n) >= FEWEST[n] for n in range(3))
        ]
        raise DataError(
            f"the part {name} must hold {fewest} usable cells, a window away from its borders.",
            got=f"{count} with windows of {settings.window_px} px at 24 px per cell",
            do=(f"--window-px {smaller[0]}, or " if smaller else "") + "take a larger image, or several",
        )


def _count(sources: Sequence[Source], settings: TrainSettings, part: int) -> int:
    return sum(int(np.sum(inside(source, settings, part) & usable(source.cells))) for source in sources)

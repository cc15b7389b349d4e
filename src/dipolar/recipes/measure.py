"""From an image to its measurement: open, locate, build cells, calibrate, refer, strain, check, record."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import DataError
from dipolar.core.flags import DOUBTFUL_CELL, Flag, has
from dipolar.core.nouns import Calibration, Cells, Columns, GainCheck, Image, Measurement, Record, Reference
from dipolar.io import check_image, open_image, sha256_of
from dipolar.locate import GaussianFit, SharedProfileFit, locate_columns
from dipolar.measure import build_cells, lattice_size_px, reference_offset, strain, subtract_reference, summarize
from dipolar.recipes.gain_check import check_gain
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.settings import MeasureSettings, change

SEED = 20250601


def measure_image(
    image: str | Path | Image,
    *,
    settings: MeasureSettings | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> Measurement:
    """Return columns, cells, displacement and strain of one image, each with sigma, and the record of how.

    Parameters
    ----------
    image
        A file, or an image already open.
    settings
        How to measure; None takes the defaults.
    progress
        Told how far each step has come.
    **changes
        Settings to change by name, for example ``lattice_pm=396.0, reference="1500:2048,0:2048"``.

    Raises
    ------
    FormatError, SelectionError
        If the file cannot be read as one image.
    ImageError, NoLatticeError
        If no columns can be found in it.
    SettingsError
        If a setting is unknown or not allowed.
    """
    settings = change(settings or MeasureSettings(), changes)
    clock = Clock(progress)
    with clock("opening the image"):
        opened, inputs = _open(image, settings)

    def find(picture: Image, told: Progress) -> tuple[Columns, Cells]:
        fit = SharedProfileFit() if settings.fit == "profile" else GaussianFit()
        columns = locate_columns(picture, fit=fit, bright=settings.bright, progress=told)
        return columns, build_cells(columns, basis=settings.basis)

    with clock("finding and fitting columns", announce=False):
        columns, raw = find(opened, progress)
    with clock("calibrating"):
        calibration = calibrate(raw, settings, opened)
        cells = replace(raw, pixel_size_pm=calibration.pixel_size_pm)
    with clock("measuring strain"):
        reference = None
        if settings.region_px is not None:
            reference = reference_offset(cells, columns, settings.region_px)
            cells = subtract_reference(cells, reference)
        fields = strain(cells, region=settings.region_px)
    check = None
    if settings.gain_check and len(raw.flags):
        with clock("checking the gain"):
            check = check_gain(opened, columns, raw, lambda twin: find(twin, silent), rng=np.random.default_rng(SEED))
    return Measurement(
        image=replace(opened, pixel_size_pm=calibration.pixel_size_pm),
        columns=columns,
        cells=cells,
        fields=fields,
        calibration=calibration,
        reference=reference,
        gain_check=check,
        summary=summarize(columns, cells),
        record=Record(
            settings=settings.model_dump(),
            versions=versions(),
            inputs=inputs,
            seeds={"gain_check": SEED} if settings.gain_check else {},
            timings_s=clock.seconds,
            created=now(),
            notes=tuple(notes(settings, calibration, reference, check, cells)),
        ),
    )


def _open(image: str | Path | Image, settings: MeasureSettings) -> tuple[Image, dict[str, str]]:
    """Return the image and the sha256 of its file, or of its pixels where it was handed over open."""
    if isinstance(image, Image):
        image = _plain(image)
        check_image(image)
        pixels = np.ascontiguousarray(image.data)
        return image, {image.name or "image": hashlib.sha256(pixels.tobytes()).hexdigest()}
    if not isinstance(image, (str, Path)):
        raise DataError(
            "a file name or an Image was expected.",
            got=type(image).__name__,
            do="wrap an array: measure_image(dipolar.Image(data=array, pixel_size_pm=15.6))",
        )
    opened = open_image(
        image, pixel_size_pm=settings.pixel_size_pm, select=settings.select, trust_pickle=settings.trust_pickle
    )
    return opened, {Path(image).name: sha256_of(image)}


def _plain(image: Image) -> Image:
    """Return an image made in memory with its pixels as a file would give them: 32-bit floats in one piece."""
    data = np.asarray(image.data)
    if data.dtype.kind not in "fiu":
        raise DataError(
            "the pixels of an image must be numbers.", got=f"an array of {data.dtype}", do="use data.astype(np.float32)"
        )
    ceiling = float(np.iinfo(data.dtype).max) if image.ceiling is None and data.dtype.kind in "iu" else image.ceiling
    pixels = np.ascontiguousarray(data, dtype=np.float32)
    pixels = pixels if np.isfinite(pixels).all() else np.where(np.isfinite(pixels), pixels, np.float32(np.nan))
    return replace(image, data=pixels, ceiling=ceiling)


def calibrate(cells: Cells, settings: MeasureSettings, image: Image) -> Calibration:
    """Return the pixel size: from the lattice where one is given, else from the option, else from the file.

    Parameters
    ----------
    cells
        The measured cells, in px.
    settings
        `lattice_pm`, `pixel_size_pm` and the reference region in which the lattice is measured.
    image
        As it was opened; its facts tell the file's pixel size from one that was given.
    """
    lattice_px, lattice_sigma_px = lattice_size_px(cells, region=settings.region_px)
    known = {fact.name: fact for fact in image.facts if isinstance(fact.value, float)}
    given = settings.pixel_size_pm is not None or "pixel_size_pm" in known
    in_file = known["file_pixel_size_pm"].value if "file_pixel_size_pm" in known else None
    pixel_size_pm = settings.pixel_size_pm or image.pixel_size_pm
    source = "option" if given else "none" if pixel_size_pm is None else "file"
    if settings.lattice_pm is not None and lattice_px > 0:
        pixel_size_pm, source = settings.lattice_pm / lattice_px, "lattice"
    return Calibration(
        pixel_size_pm=pixel_size_pm,
        source=source,  # type: ignore[arg-type]
        file_pixel_size_pm=in_file if in_file is not None or given else image.pixel_size_pm,  # type: ignore[arg-type]
        lattice_pm=settings.lattice_pm,
        measured_lattice_px=lattice_px,
        measured_lattice_sigma_px=lattice_sigma_px,
    )


def _usual(size_pm: float) -> bool:
    """Return whether a lattice is of the size of an oxide or halide perovskite's; nan is not known to be unusual."""
    return math.isnan(size_pm) or 370.0 <= size_pm <= 430.0 or 550.0 <= size_pm <= 640.0


def notes(
    settings: MeasureSettings,
    calibration: Calibration,
    reference: Reference | None,
    check: GainCheck | None,
    cells: Cells,
) -> Iterator[str]:
    """Yield the sentences that a reader of this result should know."""
    flagged = int(np.count_nonzero(has(cells.flags, DOUBTFUL_CELL)))
    if flagged > 0.3 * len(cells.flags):
        yield (
            f"{flagged} of {len(cells.flags)} unit cells are flagged: the image is not, or only in part, what was "
            "expected (bright columns of two sublattices that stand apart). Look at the columns before the map."
        )
    if len(cells.flags) and np.mean(has(cells.flags, Flag.AMBIGUOUS_SUBLATTICE)) > 0.5:
        yield (
            "The intensities do not tell A from B: the labels, and with them the sign of every displacement, may be "
            "exchanged; or only one sublattice is visible, and the cells are not unit cells."
        )
    if settings.fit == "gaussian":
        yield (
            "Columns were fitted with plain Gaussians. Where columns have tails, displacements come out too long, and "
            "the gain check cannot see that: it draws Gaussians too."
        )
    if calibration.lattice_pm is not None and calibration.source != "lattice":
        yield "lattice_pm was given, but no cell was found to measure the lattice on, so it was not used."
    if calibration.source == "none":
        yield (
            "No pixel size is known, so every length is in px. "
            "For pm, give pixel_size_pm, or lattice_pm of a known crystal in the image."
        )
    if calibration.source == "file":
        yield (
            "The pixel size is the file's own. Such values are often 3 to 11 % off; "
            "with lattice_pm it is calibrated on the measured lattice."
        )
    known, used = calibration.file_pixel_size_pm, calibration.pixel_size_pm
    if known is not None and used is not None and abs(used / known - 1) > 0.01:
        yield f"The file's pixel size is {known:.4g} pm; used is {used:.4g} pm, {100 * (used / known - 1):+.1f} %."
    if reference is None:
        yield (
            "No reference region was given: a common offset of the sublattices, which mistilt and scan distortion make "
            "(4 to 8 pm in centrosymmetric crystals), is still in every displacement."
        )
    if settings.gain_check and check is None:
        yield "The gain could not be checked: too few cells were found again in the simulated image."
    if check is not None and max(abs(g - 1) - 2 * s for g, s in zip(check.gain, check.gain_sigma, strict=True)) > 0.05:
        yield (
            f"The gain check found displacements of this image to come out {check.gain[0]:.2f} (dy) and "
            f"{check.gain[1]:.2f} (dx) times as long as they are: its columns overlap so much that their positions "
            "depend on the background, which nobody knows. Directions are safe, lengths are not."
        )
    size_pm = None if used is None else calibration.measured_lattice_px * used
    if size_pm is not None and not _usual(size_pm):
        yield (
            f"The cell measures {size_pm:.0f} pm, where perovskites seen along [100] measure 370 to 430 pm (halides "
            "550 to 640): either the pixel size is wrong, or this is another projection, or the columns found are not "
            "those of A and B."
        )

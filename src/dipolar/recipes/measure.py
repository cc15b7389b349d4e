"""From an image to its measurement: open, locate, build cells, calibrate, refer, strain, check, record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.edits import EditsRecord
from dipolar.core.errors import DataError
from dipolar.core.findings import ScanCorrection
from dipolar.core.material import PolarMaterial
from dipolar.core.measurement import Measurement, Sites
from dipolar.core.motif import Motif
from dipolar.core.nouns import Cells, Columns, GainCheck, Image, Record, Reference
from dipolar.io import check_image, open_image, sha256_of
from dipolar.measure import (
    apply_edits,
    build_cells,
    opposite_offset,
    reference_offset,
    remove_row_jitter,
    strain,
    subtract_reference,
    summarize,
)
from dipolar.measure.tilt_map import STEP as TILTED
from dipolar.measure.tilt_map import corrected as without_tilt
from dipolar.measure.tilt_map import straightened
from dipolar.recipes.calibrate import calibrate, known_cell, shape_of_scan
from dipolar.recipes.consistency import scatter_of
from dipolar.recipes.findings import MAPS_SEED, find_all
from dipolar.recipes.gain_check import check_gain
from dipolar.recipes.mistilt import TiltPlan, tilt_of
from dipolar.recipes.notes import notes
from dipolar.recipes.plan import prepare
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
        opened, inputs = open_or_take(image, settings)
        plan = prepare(settings, opened)
        inputs.update(plan.inputs)
    with clock("finding and fitting columns", announce=False):
        located, sites = plan.locate(opened, progress)
        columns, edits = (located, None) if plan.edits is None else apply_edits(located, plan.edits)
        columns, scan = remove_row_jitter(columns) if settings.scan in ("rows", "both") else (columns, None)
        cells = build_cells(columns, basis=settings.basis)

    def check() -> GainCheck | None:
        as_located = build_cells(located, basis=settings.basis)
        return check_gain(opened, located, as_located, plan.again, rng=np.random.default_rng(SEED))

    found = Found(
        image=opened, inputs=inputs, columns=columns, cells=cells, material=plan.material, scan=scan, edits=edits,
        sites=sites, motif=plan.motif, tilt=plan.tilt,
    )  # fmt: skip
    return conclude(found, settings, clock, check=check)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Columns and cells of an image, in px, from wherever they came: what all else follows from."""

    image: Image
    """As it was opened."""
    inputs: dict[str, str]
    """sha256 of all that was read, the image first."""
    columns: Columns
    """All columns."""
    cells: Cells
    """Cells built from them; no reference taken off."""
    material: PolarMaterial | None = None
    """Whose polarization to tell."""
    scan: ScanCorrection | None = None
    """What was taken off the columns as jitter of scan rows."""
    edits: EditsRecord | None = None
    """What became of corrections by hand."""
    sites: Sites | None = None
    """Columns on other sites."""
    motif: Motif | None = None
    """The projected cell of the structure file, which is known in pm."""
    fitted: bool = True
    """Whether columns stand where a fit put them; otherwise where a network did."""
    tilt: TiltPlan | None = None
    """By what a tilt of the crystal is told, where it is."""


def conclude(
    found: Found, settings: MeasureSettings, clock: Clock, *, check: Callable[[], GainCheck | None]
) -> Measurement:
    """Return the measurement that columns and cells make: calibrated, referred, with strain, findings and record.

    Parameters
    ----------
    found
        Columns and cells.
    settings
        What was asked for.
    clock
        Times the steps.
    check
        Does the gain check, which comes last; called only where it was asked for and there are cells.
    """
    image, columns = found.image, found.columns
    with clock("calibrating"):
        known = known_cell(settings, found.motif)
        raw, shape = shape_of_scan(found.cells, columns, settings, known)
        calibration = calibrate(raw, settings, image, known=known)
        raw = replace(raw, pixel_size_pm=calibration.pixel_size_pm)
    seen, tilt = raw, None
    if found.tilt is not None:
        with clock(TILTED, announce=False):
            # the image is compared as it was scanned, whatever is known of the shape of the scan
            tilt = tilt_of(found.tilt, image, columns, found.cells, progress=clock.progress)
        if tilt is not None and shape is not None:
            tilt = straightened(tilt, shape.straighten)
    removed = tilt is not None and settings.mistilt == "correct"
    if tilt is not None and removed:
        raw = without_tilt(raw, tilt)
    with clock("measuring strain"):
        cells, reference = raw, None
        if settings.region_px is not None:
            reference = _reference(raw, columns, settings, settings.region_px)
            cells = subtract_reference(raw, reference)
        fields = strain(cells, region=settings.region_px)
    findings = find_all(
        settings, columns, cells, raw, reference=reference, material=found.material, shape_px=image.data.shape,
        step=clock, scan=found.scan, shape=shape, edits=found.edits, sites=found.sites, fitted=found.fitted,
        seen=seen, tilt=tilt if removed else None,
    )  # fmt: skip
    findings = replace(findings, tilt=tilt, tilt_removed=removed)
    checked = None
    if settings.gain_check and len(cells.flags) and found.sites is None:
        with clock("checking the gain"):
            checked = check()
    measurement = Measurement(
        image=replace(image, pixel_size_pm=calibration.pixel_size_pm),
        columns=columns,
        cells=cells,
        fields=fields,
        calibration=calibration,
        reference=reference,
        gain_check=checked,
        summary=summarize(columns, cells) | scatter_of(cells, columns if found.fitted else None, findings),
        record=Record(
            settings=settings.model_dump(),
            versions=versions(),
            inputs=found.inputs,
            seeds={"gain_check": SEED, "maps": MAPS_SEED},
            timings_s=clock.seconds,
            created=now(),
        ),
        findings=findings,
    )
    record = replace(measurement.record, notes=tuple(notes(settings, measurement)))
    return replace(measurement, record=record)


def _reference(
    cells: Cells, columns: Columns, settings: MeasureSettings, region: tuple[int, int, int, int]
) -> Reference:
    """Return the offset of the reference region, or that which it shares with one of opposite polarization."""
    if settings.opposite_px is not None:
        return opposite_offset(cells, columns, region, settings.opposite_px)
    return reference_offset(cells, columns, region)


def open_or_take(image: str | Path | Image, settings: MeasureSettings) -> tuple[Image, dict[str, str]]:
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

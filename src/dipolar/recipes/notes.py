"""The sentences that a reader of a result should know."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dipolar.core.flags import DOUBTFUL_CELL, Flag, has
from dipolar.core.measurement import Findings
from dipolar.core.nouns import Calibration, Cells, GainCheck, Reference
from dipolar.recipes.settings import MeasureSettings


def _unused(settings: MeasureSettings) -> Iterator[str]:
    """Yield which settings were given and not used."""
    if settings.zone_axis != "1,0,0" and settings.structure is None:
        yield "zone_axis was given without a structure, so it was not used."
    if settings.directions is not None and not settings.maps:
        yield "directions were given, but no maps were asked for, so they were not used."


def _unchecked(cells: Cells, findings: Findings) -> Iterator[str]:
    """Yield why the gain was not checked."""
    if findings.sites is not None:
        yield "The gain was not checked: the image simulated anew would lack the columns besides A and B."
    elif len(cells.flags):
        yield "The gain could not be checked: too few cells were found again in the simulated image."


def _usual(size_pm: float) -> bool:
    """Return whether a lattice is of the size of an oxide or halide perovskite's; nan is not known to be unusual."""
    return math.isnan(size_pm) or 370.0 <= size_pm <= 430.0 or 550.0 <= size_pm <= 640.0


def notes(
    settings: MeasureSettings,
    calibration: Calibration,
    reference: Reference | None,
    check: GainCheck | None,
    cells: Cells,
    findings: Findings,
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
    yield from _unused(settings)
    yield from _about(findings, reference)
    if reference is None:
        yield (
            "No reference region was given: a common offset of the sublattices, which mistilt and scan distortion make "
            "(4 to 8 pm in centrosymmetric crystals), is still in every displacement."
        )
    if settings.gain_check and check is None:
        yield from _unchecked(cells, findings)
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


def _about(findings: Findings, reference: Reference | None) -> Iterator[str]:
    """Yield the sentences about findings that a reader should not miss."""
    order, proposal, mistilt = findings.order, findings.proposal, findings.mistilt
    if order is not None and order.verdict in ("antipolar", "modulated"):
        yield f"This crystal is {order.verdict}, not simply polar: {order.why}."
    if order is not None and order.verdict == "null" and reference is None and math.isfinite(order.polar_spread_px):
        yield f"Nothing polar beyond a common offset: {order.why}."
    if proposal is not None and proposal.region_px is not None:
        yield f"A reference region is proposed, and not applied: {proposal.option} ({proposal.why})."
    if mistilt is not None and mistilt.verdict == "suspected":
        yield f"A tilt of the crystal is suspected: {mistilt.why}."
    if findings.polarization is not None:
        material = findings.polarization.material
        yield f"Polarization of {material.name}: {material.formula}. {material.assumption}"

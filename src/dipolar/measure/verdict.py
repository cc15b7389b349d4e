"""What the mean, the slow variation and the strongest wave of a displacement make of a crystal, in one word and why."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from dipolar.core.findings import Modulation

SCAN_MAKES = 0.01
"""Amplitude, in cells, of waves of any period but 2 that scan and instrument make (4 pm of 400)."""
LONG = 1.0 / 3.0
"""Share of the crystal's extent across the crests from which a wave is a bend of the scan or of the crystal."""
INSTRUMENT = 0.03
"""Constant displacement, in cells, that mistilt and scan may fake (12 pm of 400)."""
VARYING = 0.01
"""Spread of the slowly varying displacement, in cells, above which a crystal is polar."""


def is_slow(wave: Modulation, places_px: Float[np.ndarray, "cell 2"], edge: float, offset_removed: bool) -> bool:
    """Return whether scan and instrument make such a wave too."""
    if _is_twofold(wave):
        return False
    angle = np.radians(wave.normal_deg)
    extent = float(np.ptp(places_px @ np.array([-np.sin(angle), np.cos(angle)])))
    return wave.period_px > LONG * extent or (wave.amplitude_px < SCAN_MAKES * edge and not offset_removed)


def _is_twofold(wave: Modulation) -> bool:
    return all(abs(part) in (0.0, 0.5) for part in wave.wavevector)


def verdict(
    polar: Float[np.ndarray, "2"],
    polar_sigma: Float[np.ndarray, "2"],
    spread: float,
    modulation: Modulation | None,
    edge: float,
    offset_removed: bool,
) -> tuple[Literal["polar", "antipolar", "modulated", "null"], str]:
    """Return the verdict and its reason, from the mean, its slow variation and the strongest wave, all in px.

    Parameters
    ----------
    polar, polar_sigma
        Mean displacement (dy, dx) and its standard error.
    spread
        Root mean square of what varies slowly about it.
    modulation
        The strongest significant wave.
    edge
        Edge of the cell.
    offset_removed
        Whether a reference was taken off.
    """
    constant = float(np.hypot(*polar))
    least = VARYING if offset_removed else INSTRUMENT
    significant = constant > 5.0 * float(np.hypot(*polar_sigma))
    is_polar = spread > VARYING * edge or (significant and float(np.hypot(constant, spread)) > least * edge)
    offset = (
        f"the mean displacement is {100 * constant / edge:.1f} % of a cell and varies slowly by "
        f"{100 * spread / edge:.1f} %"
    )
    if modulation is not None and not modulation.slow and spread < 3.0 * modulation.amplitude_px / np.sqrt(2.0):
        q = modulation.wavevector
        what = "B against A" if modulation.channel == "displacement" else f"the {modulation.channel} columns"
        rows = (
            "; its crests run along the scan rows, so look at a scan turned by 90° to be sure"
            if modulation.along_rows
            else ""
        )
        words = (
            f"a wave of {what} with {q[0]:.3f} periods per cell down and {q[1]:.3f} to the right moves them by "
            f"{100 * modulation.amplitude_px / edge:.2f} ± {100 * modulation.amplitude_sigma_px / edge:.2f} % of a "
            f"cell{rows}; {offset}"
        )
        return ("antipolar" if _is_twofold(modulation) else "modulated"), words
    slow = "" if modulation is None or not modulation.slow else f"; {_slow_words(modulation, edge)}"
    if is_polar:
        return "polar", f"{offset}; no wave of a few cells outweighs that{slow}"
    hint = ", which mistilt and scan distortion make too" if significant and not offset_removed else ""
    return "null", f"{offset}{hint}" + (slow or "; no wave of a few cells is significant")


def _slow_words(wave: Modulation, edge: float) -> str:
    what = "B against A" if wave.channel == "displacement" else f"the {wave.channel} columns"
    return (
        f"a slow wave of {what}, {wave.amplitude_px:.2g} px ({100 * wave.amplitude_px / edge:.1f} % of a cell) over "
        f"{wave.period_px:.0f} px, as scan distortion makes, decides nothing"
    )

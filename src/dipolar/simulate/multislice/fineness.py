"""How finely multislice is done, and whether that is fine enough for what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from dipolar.core.errors import SettingsError
from dipolar.simulate.multislice.optics import wavelength_pm
from dipolar.simulate.multislice.plane import Grid, Period

FAINT = 0.07
"""Elastic intensity, over that of atoms at rest, beyond which angles need not be reached where diffuse scattering is
counted. In BiFeO3 of 30 nm, images of pixels that reach 101 mrad differ from those that reach 126 (0.01) by 1.1 % of
their contrast, and columns in them by 0.3 pm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fineness:
    """How finely a simulation is done; results must not depend on it."""

    pixel_pm: float = 8.3
    """Largest edge of the waves' pixels; angles of 2/3 of their Nyquist frequency are reached."""
    slice_pm: float = 200.0
    """Largest thickness of slices."""
    field_pm: float | None = None
    """Edge of the field that each probe has for itself; None lets it grow with the thickness."""
    shift: tuple[float, float] = (0.5, 0.5)
    """Where offsets in the Brillouin zone begin, in steps between them. Another shift is an independent simulation of
    the same thing, and the difference tells its error; (0, 0) is the same as a supercell."""


def slice_counts(thicknesses_nm: Sequence[float], slice_pm: float) -> Int[np.ndarray, " thickness"]:
    """Return whole numbers of slices, each once, in order.

    Raises
    ------
    SettingsError
        If a thickness is not a positive number of slices.
    """
    wanted = np.atleast_1d(np.asarray(thicknesses_nm, dtype=np.float64))
    if not len(wanted) or not np.isfinite(wanted).all() or (1e3 * wanted < 0.5 * slice_pm).any():
        raise SettingsError(
            f"there must be a thickness, and each must be of one slice at least, {slice_pm * 1e-3:.3g} nm.",
            got=", ".join(f"{value:g} nm" for value in wanted) or "none",
            do="thicknesses_nm=(10, 20, 30)",
        )
    return np.unique(np.rint(1e3 * wanted / slice_pm).astype(np.int64))


def check_angles(
    grid: Grid, period: Period, *, voltage_kv: float, inside_mrad: float, outer_mrad: float, absorption: bool
) -> None:
    """Refuse pixels that do not reach the angles into which the crystal scatters, or those that are looked at.

    Diffuse scattering into the detector is computed without pixels. Elastic scattering is not, but thermal motion
    ends it.

    Parameters
    ----------
    grid, period
        Pixels and crystal.
    voltage_kv
        High tension.
    inside_mrad
        Angle that must be reached in any case.
    outer_mrad
        Largest angle that is looked at.
    absorption
        Whether diffuse scattering is counted by itself.

    Raises
    ------
    SettingsError
        If a larger angle is needed than is reached.
    """
    wave = wavelength_pm(voltage_kv)
    reached, needed = 1e3 * grid.band_per_pm * wave, outer_mrad
    still_pm = float(period.rms_pm.min()) if absorption else 0.0
    if still_pm > 0:
        needed = min(needed, 1e3 * wave * np.sqrt(-np.log(FAINT)) / (2.0 * np.pi * still_pm))
    needed = max(needed, inside_mrad)
    if reached < needed:
        pixel = float(max(np.linalg.norm(grid.vectors_pm, axis=1) / np.array(grid.shape)))
        raise SettingsError(
            f"waves must reach {needed:.0f} mrad here, to which the crystal scatters or the detector sees.",
            got=f"pixels of {pixel:.2f} pm, which reach {reached:.0f} mrad",
            do=f"take smaller ones: {0.97 * pixel * reached / needed:.2f} pm (pixel_pm)",
        )

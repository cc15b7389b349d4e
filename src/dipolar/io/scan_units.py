"""Scales of scans and detectors in the units that files use, as nm per step and mrad per px."""

from __future__ import annotations

import math
import re

from dipolar.io.units import unit_pm

_RECIPROCAL = re.compile(r"^(?:1\s*/\s*(?P<over>\S+)|(?P<power>.+?)\s*(?:\^|\*\*)?\s*\{?[-⁻][1¹]\}?)$")


def plain(unit: object) -> str:
    """Return a unit without the marks of other programs: ``$A^{-1}$`` and ``[n_m]`` are A^-1 and nm."""
    text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit or "")
    return text.strip().strip("$[]").replace("_", "").replace("\\AA", "Å").replace("{-1}", "-1").strip()


def step_nm(scale: float, unit: object) -> float | None:
    """Return a distance in nm; None where the unit is no length, or the scale no positive number.

    >>> step_nm(2.0, "Å")
    0.2
    """
    factor = unit_pm(plain(unit))
    if factor is None or not math.isfinite(scale) or scale == 0.0:
        return None
    return round(abs(scale) * factor / 1000.0, 12)


def pixel_mrad(scale: float, unit: object, voltage_kv: float | None) -> float | None:
    """Return an angle in mrad; None where it cannot be known.

    A reciprocal length is an angle only at a known wavelength: θ = λ·k.

    Parameters
    ----------
    scale
        Size of a px in `unit`.
    unit
        mrad, rad, deg or a reciprocal length.
    voltage_kv
        Acceleration voltage; None where unknown.
    """
    if not math.isfinite(scale) or scale == 0.0:
        return None
    text = plain(unit)
    direct = {"mrad": 1.0, "rad": 1000.0, "deg": 1000.0 * math.pi / 180.0, "°": 1000.0 * math.pi / 180.0}.get(text)
    if direct is not None:
        return abs(scale) * direct
    per_nm = _per_nm(text)
    if per_nm is None or not voltage_kv:
        return None
    return abs(scale) * per_nm * wavelength_nm(voltage_kv) * 1000.0


def is_angle(unit: object) -> bool:
    """Tell whether a unit is that of a detector: an angle or a reciprocal length."""
    return pixel_mrad(1.0, unit, 100.0) is not None


def is_length(unit: object) -> bool:
    """Tell whether a unit is that of a scan."""
    return step_nm(1.0, unit) is not None


def _per_nm(text: str) -> float | None:
    """Return how many 1/nm a reciprocal length is."""
    match = _RECIPROCAL.match(text)
    length = unit_pm(match["over"] or match["power"]) if match else None
    return None if length is None else 1000.0 / length


def wavelength_nm(voltage_kv: float) -> float:
    """Return the relativistic wavelength of an electron, λ = h / √(2 m e V (1 + e V / 2 m c²)), CODATA 2018."""
    ev = voltage_kv * 1e3
    return 1.226426 / math.sqrt(ev * (1.0 + 0.9784756e-6 * ev))

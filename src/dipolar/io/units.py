"""Lengths with units, parsed once at the border: everything inside dipolar is in px or pm."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

from dipolar.core.errors import SettingsError

# What microscopes write where pint expects something else: in a file's axis a bare "A" is never an ampere.
_SPELLINGS = {"A": "angstrom", "Ang": "angstrom", "ang": "angstrom", "Angstroms": "angstrom", "microns": "micron"}
_PER_PIXEL = re.compile(r"\s*(/|per)\s*(px|pix|pixels?)\s*$", re.IGNORECASE)


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()


def length_pm(value: float | str) -> float:
    """Return a length in pm.

    Parameters
    ----------
    value
        A number is taken as pm; text carries its unit: ``"15.6 pm"``, ``"0.0156 nm"``, ``"0.156 Å"``, also
        ``"15.6 pm/px"``.

    Raises
    ------
    SettingsError
        Where it is no length, or not a positive, finite one.

    >>> length_pm("0.25 nm")
    250.0
    """
    number = _parse(value)
    if number is None or not math.isfinite(number) or number <= 0.0:
        raise SettingsError(
            "a length must be a positive number, in pm unless its unit is written beside it",
            got=repr(value),
            do='write it like 15.6, "15.6 pm", "0.0156 nm" or "0.156 Å"',
        )
    return number


def _parse(value: float | str) -> float | None:
    if not isinstance(value, str):
        return float(value)
    text = _PER_PIXEL.sub("", value.strip())
    try:
        return float(text)
    except ValueError:
        pass
    parts = re.fullmatch(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(\D.*)", text)
    unit = unit_pm(parts[2]) if parts else None
    try:
        return float(parts[1]) * unit if parts and unit is not None else None
    except ValueError:
        return None


def unit_pm(unit: object) -> float | None:
    """Return how many pm one `unit` is; None where it is no length (absent, px, 1/nm, undefined).

    >>> unit_pm("nm"), unit_pm("1/nm"), unit_pm(None)
    (1000.0, None, None)
    """
    text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit or "")
    text = text.strip().strip("\x00")
    if not text or len(text) > 40:
        return None
    registry = _registry()
    try:
        return round(float(registry.Quantity(1.0, _SPELLINGS.get(text, text)).to("pm").magnitude), 9)
    except Exception:  # pint raises a dozen kinds for text that is no unit, all of which mean "unknown" here
        return None

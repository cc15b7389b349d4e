"""Numbers and recurring sentences as a reader sees them: sensible digits, and never a claim that was not measured."""

from __future__ import annotations

import math

from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Basis

UNKNOWN = "unknown"
SUFFIXES = {
    "e_per_nm2": "e/nm²",
    "pm2": "pm²",
    "px2": "px²",
    "nm2": "nm²",
    "pm": "pm",
    "px": "px",
    "nm": "nm",
    "deg": "°",
    "mrad": "mrad",
    "kv": "kV",
    "us": "µs",
    "s": "s",
    "percent": "%",
}
"""Unit that the last part of a name stands for; the longer endings come first."""


def number(value: float | int | str | bool | None, digits: int = 4) -> str:
    """Return a value for people: `digits` significant digits, thin spaces between thousands, nan as "unknown".

    >>> number(0.123456, 3), number(47583), number(float("nan"))
    ('0.123', '47\u2009583', 'unknown')
    """
    if value is None or isinstance(value, bool | str):
        return "–" if value is None else value if isinstance(value, str) else ("yes" if value else "no")
    value = float(value)
    if not math.isfinite(value):
        return UNKNOWN if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == int(value) and abs(value) < 1e15:
        words = f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
        return words.replace(",", "\u2009").replace("-", "−")
    if abs(value) < 1e-4 or abs(value) >= 1e7:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}·10^{int(power)}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}".replace("-", "−")


def to_place(value: float, resolution: float) -> str:
    """Return the value rounded to the decimal place of `resolution`.

    >>> to_place(0.018563, 0.03)
    '0.02'
    """
    if not math.isfinite(value):
        return UNKNOWN
    places = max(0, -math.floor(math.log10(resolution))) if resolution > 0 else 3
    return f"{value:.{places}f}".replace("-", "−")


def counted(count: int, noun: str) -> str:
    """Return the count with its noun, which gets an s unless there is one.

    >>> counted(1, "cell"), counted(0, "cell")
    ('1 cell', '0 cells')
    """
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def with_sigma(value: float, sigma: float, unit: str = "") -> str:
    """Return "value ± sigma unit", both to the second digit of sigma; without sigma the value and "± unknown".

    >>> with_sigma(396.1234, 0.0543, "pm")
    '396.123 ± 0.054 pm'
    """
    tail = f" {unit}" if unit else ""
    if not (math.isfinite(sigma) and math.isfinite(value)):
        return f"{number(value)} ± {UNKNOWN}{tail}" if math.isfinite(value) else f"{UNKNOWN}{tail}"
    if sigma <= 0:
        return f"{number(value)} ± {number(sigma)}{tail}"
    places = max(0, 1 - math.floor(math.log10(sigma)))
    return f"{value:.{places}f} ± {sigma:.{places}f}{tail}".replace("-", "−")


def name_and_unit(name: str) -> tuple[str, str]:
    """Return a name in words and the unit that its ending stands for.

    >>> name_and_unit("median_displacement_pm")
    ('median displacement', 'pm')
    """
    for ending, unit in SUFFIXES.items():
        if name.endswith("_" + ending) and len(name) > len(ending) + 1:
            return name[: -len(ending) - 1].replace("_", " "), unit
    return name.replace("_", " "), ""


def sentence(words: str) -> str:
    """Return the words with a capital first letter and a full stop."""
    return words[:1].upper() + words[1:] + "."


def basis_words(basis: Basis) -> str:
    """Return which columns the displacement runs between."""
    other = "B" if basis == "A" else "A"
    return f"basis {basis}: centre of the four {basis} corners → central {other} column"


def reference_words(measurement: Measurement) -> str:
    """Return whether a common offset was removed, and which."""
    reference = measurement.reference
    if reference is None:
        return "no reference region: a common offset, a few pm of which may be instrumental, is still in it"
    pixel_size_pm = measurement.calibration.pixel_size_pm
    scale, unit = (1.0, "px") if pixel_size_pm is None else (pixel_size_pm, "pm")
    parts = [
        with_sigma(value * scale, sigma * scale)
        for value, sigma in zip(reference.offset_px, reference.offset_sigma_px, strict=True)
    ]
    return (
        f"reference offset removed: (dy, dx) = ({parts[0]}, {parts[1]}) {unit}, "
        f"the mean of {counted(reference.cells, 'cell')}"
    )

"""Settings that are written as text: regions, layers, lengths with units, lists of formats.

Each has a type for pydantic that checks the text and writes it in one way, so that settings compare and print alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from dipolar.core.errors import DipolarError

REGION = re.compile(r"\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*")
MATERIALS = ("SrTiO3", "BiFeO3", "PbTiO3", "BaTiO3")
FIGURE_FORMATS = ("png", "svg", "pdf")


def parse_region(text: str) -> tuple[int, int, int, int]:
    """Return (y0, y1, x0, x1) in px, half open, from ``"y0:y1,x0:x1"``.

    Raises
    ------
    ValueError
        If the text is not of that form, or the region is empty.
    """
    match = REGION.fullmatch(text)
    if match is None:
        raise ValueError("a region is written y0:y1,x0:x1 in whole pixels, for example 1500:2048,0:2048")
    y0, y1, x0, x1 = (int(part) for part in match.groups())
    if y0 >= y1 or x0 >= x1:
        raise ValueError("the region is empty: y0 must be less than y1, and x0 less than x1")
    return y0, y1, x0, x1


def _length(value: object) -> object:
    """Let lengths be written with their unit ("3.96 Å"); plain numbers pass as they are."""
    if isinstance(value, str) and re.search(r"[^\d\s.eE+-]", value):
        from dipolar.io.units import length_pm

        try:
            return length_pm(value)
        except DipolarError as error:
            raise ValueError(str(error.expected)) from error
    return value


def _region(text: str | None) -> str | None:
    return None if text is None else "{}:{},{}:{}".format(*parse_region(text))


def parse_layers(text: str) -> tuple[tuple[str, float], ...]:
    """Return (material, share) of each layer, from bottom to top, from ``"SrTiO3:0.25,BiFeO3:0.75"``.

    Raises
    ------
    ValueError
        If the text is not of that form or names a material that there is no preset of.
    """
    layers = []
    for part in text.split(","):
        name, _, share = part.strip().partition(":")
        if name not in MATERIALS:
            raise ValueError(f"a layer is made of one of {', '.join(MATERIALS)}; there is no {name!r}")
        try:
            layers.append((name, float(share or 1.0)))
        except ValueError:
            raise ValueError("layers are written SrTiO3:0.25,BiFeO3:0.75, from bottom to top") from None
        if not 0 < layers[-1][1] < float("inf"):
            raise ValueError("the share of a layer must be more than 0")
    return tuple(layers)


def _layers(text: str) -> str:
    return ",".join(f"{name}:{share:g}" for name, share in parse_layers(text))


def _formats(text: str) -> str:
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [part for part in chosen if part not in FIGURE_FORMATS]
    if wrong or not chosen:
        raise ValueError("figures are written as any of png, svg and pdf, with commas between: png,svg")
    return ",".join(dict.fromkeys(chosen))


def parse_angles(text: str) -> tuple[float, ...]:
    """Return angles in degrees from ``"45,135,225,315"``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    try:
        angles = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("angles are written in degrees with commas between: 45,135,225,315") from None
    if not all(-360.0 <= angle <= 360.0 for angle in angles):
        raise ValueError("angles lie between -360 and 360 degrees")
    return angles


def _angles(text: str | None) -> str | None:
    return None if text is None else ",".join(f"{angle:g}" for angle in parse_angles(text))


def parse_numbers(text: str, *, least: float = 0.0) -> tuple[float, ...]:
    """Return numbers from ``"0.1,0.2"``.

    Parameters
    ----------
    text
        As it was written.
    least
        The smallest that is allowed.

    Raises
    ------
    ValueError
        If the text is not of that form, or a number is too small or comes twice.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("numbers are written with commas between: 10,20,40") from None
    if not all(least <= number < float("inf") for number in numbers) or len(set(numbers)) < len(numbers):
        small = "not be negative" if least == 0.0 else f"be {least:g} or more"
        raise ValueError(f"numbers must {small}, and each comes once")
    return numbers


def parse_thicknesses(text: str) -> tuple[float, ...]:
    """Return thicknesses in nm, ascending, from ``"30,100"``.

    Raises
    ------
    ValueError
        If the text is not of that form, or no specimen is so thin or thick.
    """
    numbers = parse_numbers(text)
    if not all(0.3 <= number <= 1000 for number in numbers):
        raise ValueError("thicknesses are in nm, from 0.3 to 1000")
    return tuple(sorted(numbers))


def _numbers(text: str) -> str:
    return ",".join(f"{number:.12g}" for number in parse_numbers(text))


def parse_zone_axis(text: str) -> tuple[int, int, int]:
    """Return the indices of a zone axis from ``"1,1,0"``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    parts = re.fullmatch(r"\s*(-?\d+)\s*[, ]\s*(-?\d+)\s*[, ]\s*(-?\d+)\s*", text)
    if parts is None or not any(int(part) for part in parts.groups()):
        raise ValueError("a zone axis is written as three whole numbers, not all 0: 1,1,0")
    u, v, w = (int(part) for part in parts.groups())
    return u, v, w


def _zone_axis(text: str) -> str:
    return ",".join(str(part) for part in parse_zone_axis(text))


def parse_pair(text: str) -> tuple[float, float]:
    """Return (y, x) from ``"10,-5"``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    try:
        y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("a tilt is written as two numbers y,x: 10,0") from None
    if not math.isfinite(y) or not math.isfinite(x):
        raise ValueError("a tilt is two finite numbers y,x: 10,0")
    return y, x


def _pair(text: str) -> str:
    return "{:g},{:g}".format(*parse_pair(text))


def _in_text(value: object, between: str) -> object:
    """Return numbers, words or pairs that were handed over in Python as they are written; all else as it is."""
    if isinstance(value, (str, bool, type(None))):
        return value
    if isinstance(value, Real):
        number = float(value)
        return f"{int(number)}" if number.is_integer() else f"{number}"
    if isinstance(value, Mapping):
        value = list(value.items())
    if not isinstance(value, Iterable):
        return value
    parts = [_in_text(part, ":") for part in value]
    return between.join(parts) if all(isinstance(part, str) for part in parts) else value  # type: ignore[arg-type]


def _list(value: object) -> object:
    """Let ``[45, 135]``, ``(1, 1, 0)``, ``["png", "svg"]`` or ``[("SrTiO3", 0.25)]`` stand for text with commas."""
    return _in_text(value, ",")


def _corners(value: object) -> object:
    """Let ``(y0, y1, x0, x1)`` stand for a region in text."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    parts = [_in_text(part, ",") for part in value]
    return "{}:{},{}:{}".format(*parts) if len(parts) == 4 else ",".join(map(str, parts))


LengthPm = Annotated[float, BeforeValidator(_length), Field(gt=0, allow_inf_nan=False)]
Angles = Annotated[str, BeforeValidator(_list), AfterValidator(_angles)]
Pair = Annotated[str, BeforeValidator(_list), AfterValidator(_pair)]
Numbers = Annotated[str, BeforeValidator(_list), AfterValidator(_numbers)]
ZoneAxis = Annotated[str, BeforeValidator(_list), AfterValidator(_zone_axis)]
Region = Annotated[str, BeforeValidator(_corners), AfterValidator(_region)]
Formats = Annotated[str, BeforeValidator(_list), AfterValidator(_formats)]
Layers = Annotated[str, BeforeValidator(_list), AfterValidator(_layers)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

"""Chemical symbols and atomic numbers."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from dipolar.core.errors import SettingsError

_ROWS = (
    "H He",
    "Li Be B C N O F Ne",
    "Na Mg Al Si P S Cl Ar",
    "K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr",
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe",
    "Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn",
    "Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr",
)
SYMBOLS = tuple(symbol for row in _ROWS for symbol in row.split())
"""Symbols of the elements in the order of their atomic numbers, from hydrogen (1) to lawrencium (103)."""
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element.

    Raises
    ------
    SettingsError
        Where there is no such element up to lawrencium (103).
    """
    if symbol not in _NUMBERS:
        raise SettingsError("a chemical symbol was expected.", got=symbol, do='write it as in "Bi", "Fe", "O"')
    return _NUMBERS[symbol]


def symbols_of(numbers: Int64[np.ndarray, " atom"]) -> tuple[str, ...]:
    """Return the chemical symbol of every atom."""
    return tuple(SYMBOLS[number - 1] for number in numbers.tolist())

"""Elastic scattering of electrons by free atoms: the parametrisation of Lobato and Van Dyck.

``f(q) = Σ a_i (2 + b_i q²) / (1 + b_i q²)²``, where q = 2 sin θ / λ is the length of the scattering vector. It is the
one that keeps the law of Rutherford at large q, on which annular dark-field images rest.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import Float
from scipy.special import kn

from dipolar.core.errors import DataError

TABLE = "lobato_van_dyck.csv"
"""Numbers of the parametrisation, with their source, beside this file."""
BOHR_PM = 52.9177210903
"""Bohr's radius."""


def scattering_factor_pm(number: int, q_per_pm: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the elastic scattering amplitude of an atom at rest, in pm, for an electron without its relativistic mass.

    Parameters
    ----------
    number
        Atomic number.
    q_per_pm
        Length of the scattering vector, 2 sin θ / λ.

    Raises
    ------
    DataError
        If there is no such atom in the table.
    """
    table = _table()
    if number not in table:
        raise DataError(
            "scattering amplitudes are known from hydrogen (1) to lawrencium (103).",
            got=f"atomic number {number}",
            do="look at the elements of the structure",
        )
    q2 = np.square(np.asarray(q_per_pm, dtype=np.float64))
    found = np.zeros_like(q2)
    for a, b in zip(*table[number], strict=True):
        one = 1.0 / (1.0 + b * q2)
        found += a * one * (1.0 + one)  # the same as (2 + b q²) / (1 + b q²)²
    return found


def projected_per_pm(number: int, r_pm: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return ∫ f(q) exp(2πi q·r) d²q of an atom at rest, in 1/pm: its phase over γλ at a distance r above 0."""
    r = np.asarray(r_pm, dtype=np.float64)
    found = np.zeros_like(r)
    for a, b in zip(*_table()[number], strict=True):
        x = 2.0 * np.pi * r / np.sqrt(b)
        found += a * 2.0 * np.pi / b * (kn(0, x) + 0.5 * x * kn(1, x))
    return found


@cache
def _table() -> dict[int, tuple[Float[np.ndarray, " 5"], Float[np.ndarray, " 5"]]]:
    """Return a in pm and b in pm² by atomic number; the file has them in Å and Å²."""
    text = files(__package__).joinpath(TABLE).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")][1:]
    found = {}
    for line in lines:
        number, *values = line.split(",")
        numbers = np.array(values, dtype=np.float64)
        found[int(number)] = (100.0 * numbers[:5], 1e4 * numbers[5:])
    return found

"""Thermal diffuse scattering of independently vibrating atoms, as a loss of the elastic wave and as a detected signal.

A wave that is a sum of plane waves ψ_k meets an atom displaced by u. To first order the amplitude scattered towards k'
is γλ Σ_k ψ_k f(k'-k) exp(-2πi (k'-k)·(r+u)). Its mean over u is the elastic wave, with a Debye-Waller factor
exp(-B q²/4) on f, B = 8π²⟨u²⟩. Its variance is the diffuse intensity. Summed over the directions k' it is
∫ |ψ(r)|² P(r) d²r with

    P(q) = (γλ)² ∫ f(|s-q/2|) f(|s+q/2|) [exp(-B q²/4) - exp(-B (s²/2 + q²/8))] d²s

where q = k₁-k₂ couples two plane waves and s is the scattering vector from their mean. Over all s this is the variance
of the phase that the atom gives, and P/2 the absorption of the elastic wave: C. R. Hall and P. B. Hirsch, Proc. R. Soc.
A 286, 158 (1965); D. M. Bird and Q. A. King, Acta Cryst. A 46, 202 (1990), who count q and s in units of sin θ / λ,
half of ours. With s inside an annulus it is the signal of a detector, in the local form of L. J. Allen, S. D. Findlay,
M. P. Oxley and C. J. Rossouw, Ultramicroscopy 96, 47 (2003).

Where several kinds of atoms share a site by chance (occupancies below 1), the mean is over the kinds too, and their
disorder scatters diffusely likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dipolar.simulate.multislice.optics import mass_ratio, wavelength_pm
from dipolar.simulate.multislice.scattering import scattering_factor_pm

RADII, ANGLES = 80, 24
"""Points of the integral over s, along its length and over a quarter of the directions."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """One kind of atom on a site."""

    number: int
    """Atomic number."""
    occupancy: float
    """Share of the sites that it is on."""
    rms_pm: float
    """Root mean square thermal displacement along one axis."""

    def mean_pm(self, q_per_pm: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return its share of the mean scattering amplitude."""
        return self.occupancy * scattering_factor_pm(self.number, q_per_pm) * self.smear(q_per_pm)

    def smear(self, q_per_pm: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the Debye-Waller factor of the amplitude."""
        return np.exp(-2.0 * np.square(np.pi * self.rms_pm) * np.square(q_per_pm))


def mean_factor_pm(site: Sequence[Kind], q_per_pm: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the mean scattering amplitude of a site: elastic, with Debye-Waller factors and occupancies."""
    return np.sum([kind.mean_pm(q_per_pm) for kind in site], axis=0)


def diffuse_factor_pm2(
    site: Sequence[Kind],
    q_per_pm: Float[np.ndarray, " q"],
    *,
    voltage_kv: float,
    inner_per_pm: float = 0.0,
    outer_per_pm: float | None = None,
) -> Float[np.ndarray, " q"]:
    """Return P(q) of a site: its transform is the probability of diffuse scattering of an electron at r.

    Parameters
    ----------
    site
        The kinds of atoms on it.
    q_per_pm
        Lengths of q.
    voltage_kv
        High tension.
    inner_per_pm, outer_per_pm
        Lengths of s that are counted; None counts all directions, to a right angle.
    """
    wave = wavelength_pm(voltage_kv)
    outer = 1.0 / wave if outer_per_pm is None else outer_per_pm
    nodes, weights = np.polynomial.legendre.leggauss(RADII)
    share = 0.5 * (nodes + 1.0)
    s = inner_per_pm + (outer - inner_per_pm) * np.square(share)  # dense where f is large
    ring = weights * share * (outer - inner_per_pm) * s
    turn = (np.arange(ANGLES) + 0.5) * 0.5 * np.pi / ANGLES
    q = np.asarray(q_per_pm, dtype=np.float64)[:, None, None]
    mean = np.square(s)[:, None] + 0.25 * np.square(q)
    cross = q * s[:, None] * np.cos(turn)
    near, far = np.sqrt(np.maximum(mean - cross, 0.0)), np.sqrt(mean + cross)
    diffuse = -mean_factor_pm(site, near) * mean_factor_pm(site, far)
    for kind in site:
        both = scattering_factor_pm(kind.number, near) * scattering_factor_pm(kind.number, far)
        diffuse += kind.occupancy * both * kind.smear(q)
    strength = (mass_ratio(voltage_kv) * wave) ** 2
    return strength * 2.0 * np.pi * np.einsum("qsa,s->q", diffuse, ring) / ANGLES

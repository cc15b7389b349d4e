"""Thermal diffuse scattering of independently vibrating atoms, as a loss of the elastic wave and as a detected signal.

A wave that is a sum of plane waves ψ_k meets an atom displaced by u. The amplitude that is scattered towards k' is
γλ Σ_k ψ_k f(k'-k) exp(-2πi (k'-k)·(r+u)). Its mean over u is the elastic wave, with a Debye-Waller factor exp(-B q²/4)
on f, B = 8π²⟨u²⟩. Its variance is the diffuse intensity. Summed over the directions k' it is ∫ |ψ(r)|² P(r) d²r with

    P(q) = (γλ)² ∫ f(|s-q/2|) f*(|s+q/2|) [exp(-B q²/4) - exp(-B (s²/2 + q²/8))] d²s

where q = k₁-k₂ couples two plane waves and s is the scattering vector from their mean: C. R. Hall and P. B. Hirsch,
Proc. R. Soc. A 286, 158 (1965); D. M. Bird and Q. A. King, Acta Cryst. A 46, 202 (1990), who count q and s in units of
sin θ / λ, half of ours. With s inside an annulus it is the signal of a detector, in the local form of L. J. Allen,
S. D. Findlay, M. P. Oxley and C. J. Rossouw, Ultramicroscopy 96, 47 (2003).

They take f of the first Born approximation, with which P over all s is the variance of the phase φ that the atom gives.
For heavy atoms this is too much: of bismuth at 200 kV and 65 to 250 mrad by four tenths. Here f is that of an atom that
changes phases as it does in multislice, G. Molière, Z. Naturforsch. A 2, 133 (1947),

    f(q) = 1/(iγλ) ∫ (exp(iφ(r)) - 1) exp(-2πi q·r) d²r

and with it P over all s is 1 - |⟨exp(iφ)⟩|², exactly what the mean wave behind one vibrating atom has lost.

Where several kinds of atoms share a site by chance (occupancies below 1), the mean is over the kinds too, and their
disorder scatters diffusely likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Complex, Float
from scipy.interpolate import CubicSpline
from scipy.special import j0

from dipolar.simulate.multislice.optics import mass_ratio, wavelength_pm
from dipolar.simulate.multislice.scattering import projected_per_pm, scattering_factor_pm

RADII, ANGLES = 80, 24
"""Points of the integral over s, along its length and over a quarter of the directions."""
REACH_PM, PANELS, NODES, ROOTS = 400.0, 40, 30, 400
"""Where the integral over an atom ends, its panels and their points, and the points at which it is known."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """One kind of atom on a site."""

    number: int
    """Atomic number."""
    occupancy: float
    """Share of the sites that it is on."""
    rms_pm: float
    """Root mean square thermal displacement along one axis."""

    def smear(self, q_per_pm: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the Debye-Waller factor of the amplitude."""
        return np.exp(-2.0 * np.square(np.pi * self.rms_pm) * np.square(q_per_pm))


def born_factor_pm(site: Sequence[Kind], q_per_pm: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the mean of the real amplitudes of a site: the transform of its mean phase, over γλ."""
    return np.sum(
        [kind.occupancy * scattering_factor_pm(kind.number, q_per_pm) * kind.smear(q_per_pm) for kind in site], axis=0
    )


def mean_factor_pm(
    site: Sequence[Kind], q_per_pm: Float[np.ndarray, "..."], *, voltage_kv: float
) -> Complex[np.ndarray, "..."]:
    """Return the mean of the amplitudes of a site: that of the elastic wave, with everything that one atom does."""
    return np.sum(
        [kind.occupancy * amplitude_pm(kind.number, voltage_kv, q_per_pm) * kind.smear(q_per_pm) for kind in site],
        axis=0,
    )


def amplitude_pm(number: int, voltage_kv: float, q_per_pm: Float[np.ndarray, "..."]) -> Complex[np.ndarray, "..."]:
    """Return the amplitude of an atom at rest that changes the phase of the wave, without the relativistic mass."""
    return scattering_factor_pm(number, q_per_pm) + _beyond_born(number, voltage_kv)(np.sqrt(q_per_pm))


@lru_cache(maxsize=256)
def _beyond_born(number: int, voltage_kv: float) -> CubicSpline:
    """Return, by the square root of q, what the amplitude is beyond the first Born approximation.

    This part comes from close to the nucleus, so that its integral ends early.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    share = ((np.arange(PANELS)[:, None] + 0.5 * (nodes + 1.0)) / PANELS).ravel()
    r = REACH_PM * np.square(share)
    ring = np.tile(weights / PANELS, PANELS) * share * REACH_PM * r
    strength = mass_ratio(voltage_kv) * wavelength_pm(voltage_kv)
    phase = strength * projected_per_pm(number, r)
    beyond = ring * (np.exp(1j * phase) - 1.0 - 1j * phase)
    root = np.linspace(0.0, np.sqrt(1.5 / wavelength_pm(voltage_kv)), ROOTS)
    waves = j0(2.0 * np.pi * np.square(root)[:, None] * r)
    return CubicSpline(root, -2j * np.pi / strength * (waves @ beyond))


def diffuse_factor_pm2(
    site: Sequence[Kind],
    q_per_pm: Float[np.ndarray, " q"],
    *,
    voltage_kv: float,
    inner_per_pm: float = 0.0,
    outer_per_pm: float | None = None,
    aperture_per_pm: float = 0.0,
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
    aperture_per_pm
        Radius of the aperture that the plane waves come from: the detector is centred on it, and not on the mean of
        each two of them, which is anywhere in a disk of that radius less q/2.
    """
    wave = wavelength_pm(voltage_kv)
    whole = outer_per_pm is None
    inner, outer = (0.0, 1.0 / wave) if outer_per_pm is None else (inner_per_pm, outer_per_pm)
    first, last = (inner, outer) if whole else (max(inner - aperture_per_pm, 0.0), outer + aperture_per_pm)
    nodes, weights = np.polynomial.legendre.leggauss(RADII)
    share = 0.5 * (nodes + 1.0)
    s = first + (last - first) * np.square(share)  # dense where f is large
    ring = weights * share * (last - first) * s
    if not whole:
        radius = np.maximum(aperture_per_pm - 0.5 * np.asarray(q_per_pm, dtype=np.float64), 1e-6)[:, None]
        ring = ring * (_inside(s, radius, outer) - _inside(s, radius, inner))
    turn = (np.arange(ANGLES) + 0.5) * 0.5 * np.pi / ANGLES
    q = np.asarray(q_per_pm, dtype=np.float64)[:, None, None]
    mean = np.square(s)[:, None] + 0.25 * np.square(q)
    cross = q * s[:, None] * np.cos(turn)
    near, far = np.sqrt(np.maximum(mean - cross, 0.0)), np.sqrt(mean + cross)
    diffuse = -(_mean(site, near, voltage_kv) * _mean(site, far, voltage_kv).conj()).real
    for kind in site:
        both = amplitude_pm(kind.number, voltage_kv, near) * amplitude_pm(kind.number, voltage_kv, far).conj()
        diffuse += kind.occupancy * both.real * kind.smear(q)
    strength = (mass_ratio(voltage_kv) * wave) ** 2
    return strength * 2.0 * np.pi * np.einsum("qsa,qs->q", diffuse, np.broadcast_to(ring, diffuse.shape[:2])) / ANGLES


def _mean(site: Sequence[Kind], q_per_pm: Float[np.ndarray, "..."], voltage_kv: float) -> Complex[np.ndarray, "..."]:
    return mean_factor_pm(site, q_per_pm, voltage_kv=voltage_kv)


def _inside(s: Float[np.ndarray, " s"], radius: Float[np.ndarray, "q 1"], edge: float) -> Float[np.ndarray, "q s"]:
    """Return the share of a disk at a distance s from the axis that is inside a circle around the axis."""
    if not edge > 0:
        return np.zeros(np.broadcast_shapes(s.shape, radius.shape))
    apart = np.maximum(s, 1e-9)
    one = np.clip((apart**2 + radius**2 - edge**2) / (2.0 * apart * radius), -1.0, 1.0)
    two = np.clip((apart**2 + edge**2 - radius**2) / (2.0 * apart * edge), -1.0, 1.0)
    kite = (radius + edge + apart) * (radius + edge - apart) * (apart + radius - edge) * (apart - radius + edge)
    lens = radius**2 * np.arccos(one) + edge**2 * np.arccos(two) - 0.5 * np.sqrt(np.maximum(kite, 0.0))
    return np.clip(lens / (np.pi * radius**2), 0.0, 1.0)

"""The kind of a wall from the turn of the displacement, and its bound charge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dipolar.core.domains import Domains, Profile
from dipolar.core.material import Symmetry
from dipolar.maps.sizes import ANY_DIRECTION_DEG

E_PER_NM2_PER_UC_PER_CM2 = 0.0624151
"""1 µC/cm² in elementary charges per nm²."""
ABOUT_DEG = 25.0
"""A turn this near to 180° or 90° is called so."""
GRADUAL_DEG, GRADUAL_CELLS = 65.0, 5.0
"""Smaller turns over more cells are no wall: the displacement rotates, and domains are its sectors."""
IN_SPACE: dict[Symmetry | None, tuple[str, str]] = {
    None: ("", ""),
    "tetragonal": (" (tetragonal: 180°)", " (tetragonal: 90°)"),
    "rhombohedral": (" (109° or 180°)", " (71° or 109°)"),
}
"""What a wall seen as 180°, and one seen as 90°, may be in space."""
SLIGHT = 0.15
"""Share of |u2 - u1| below which a charge is that of a wall slightly off its neutral direction (9°)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Bound charge of a wall."""

    px: float
    """-(u2 - u1)·n."""
    sigma_px: float
    """One standard error of it."""
    words: str
    """Head-to-head, tail-to-tail or neutral."""
    e_per_nm2: float
    """Of the polarization, in elementary charges per nm²; nan where unknown."""


def turn_of(
    domains: Domains, one: int, two: int, *, offset_covariance_px2: Float[np.ndarray, "2 2"] | None = None
) -> tuple[float, float]:
    """Return the angle between the displacements of two domains in degrees, 0 to 180, and its standard error.

    An error of the offset that was taken off both turns opposite displacements against each other, and equal ones
    together.
    """
    turn = abs((domains.angle_deg[two] - domains.angle_deg[one] + 180.0) % 360.0 - 180.0)
    variance = float(domains.angle_sigma_deg[one] ** 2 + domains.angle_sigma_deg[two] ** 2)
    if offset_covariance_px2 is not None:
        ends = domains.mean_px[[one, two]]
        turned = np.stack([-ends[:, 1], ends[:, 0]], axis=1) / np.maximum(np.sum(ends**2, axis=1), 1e-300)[:, None]
        variance -= 2.0 * float(turned[0] @ offset_covariance_px2 @ turned[1]) * np.degrees(1.0) ** 2
    return float(turn), float(np.minimum(np.sqrt(max(variance, 0.0)), np.sqrt(2.0) * ANY_DIRECTION_DEG))


def kind_of(
    domains: Domains, one: int, two: int, turn_deg: float, width_cells: float, symmetry: Symmetry | None = None
) -> str:
    """Return the kind of a wall as the projection shows it, and what that may be in space where the symmetry is known.

    Along a pseudocubic [100] of a rhombohedral crystal, the ⟨111⟩ displacements show as ⟨110⟩. A 180° wall shows as
    180°. A 71° wall reverses one component and a 109° wall two: where one of those seen is reversed, either shows as
    90°; a 71° wall that reverses the component along the beam does not show at all, and a 109° wall that reverses both
    components in the image shows as 180° too. In a tetragonal crystal, whose ⟨100⟩ displacements lie in the image or
    along the beam, the turn between two that are seen is the turn in space.

    Parameters
    ----------
    domains
        The domains.
    one, two
        Those on both sides.
    turn_deg
        Angle between their displacements.
    width_cells
        Width of the wall in cells; nan where unknown.
    symmetry
        Of the material, where one was named.
    """
    polar = int(domains.polar[one]) + int(domains.polar[two])
    if polar == 0:
        return "step between regions that are not polar"
    if polar == 1:
        return "rim of a polar region"
    if turn_deg >= 180.0 - ABOUT_DEG:
        return "180° in projection" + IN_SPACE[symmetry][0]
    if turn_deg < GRADUAL_DEG and width_cells > GRADUAL_CELLS:
        return "gradual turn"
    if abs(turn_deg - 90.0) <= ABOUT_DEG:
        return "90° in projection" + IN_SPACE[symmetry][1]
    return f"{turn_deg:.0f}° in projection"


def charge_of(
    domains: Domains,
    one: int,
    two: int,
    points_px: Float[np.ndarray, "point 2"],
    profile: Profile,
    edge_px: float,
    uc_per_cm2_per_pm: float | None,
    offset_covariance_px2: Float[np.ndarray, "2 2"] | None = None,
) -> Charge:
    """Return the bound charge -(u2 - u1)·n, averaged along a wall; n leads from the first domain into the second.

    The length of u2 - u1 is that of the profile's sides where it was fitted, its direction that of the domains' means.
    The mean normal of a curve is that of the line between its ends, so a closed wall has none in all. Sigma includes
    that of both means and of the direction of the wall, which the ends tell to 0.3 cells each. An offset that was taken
    off both sides is not in their difference, nor is its error.
    """
    length = float(np.sum(np.linalg.norm(np.diff(points_px, axis=0), axis=1)))
    chord = points_px[-1] - points_px[0]
    if length == 0.0:
        return Charge(px=float("nan"), sigma_px=float("nan"), words="unknown", e_per_nm2=float("nan"))
    normal = np.array([chord[1], -chord[0]]) / length
    apart = domains.mean_px[two] - domains.mean_px[one]
    covariance = domains.mean_covariance_px2[two] + domains.mean_covariance_px2[one]
    if offset_covariance_px2 is not None:
        covariance = covariance - 2.0 * offset_covariance_px2
    jump = profile.after_px - profile.before_px
    if np.isfinite(jump) and np.linalg.norm(apart) > 0:
        axis = apart / np.linalg.norm(apart)
        across = np.array([-axis[1], axis[0]])
        sides = profile.before_sigma_px**2 + profile.after_sigma_px**2
        covariance = sides * np.outer(axis, axis) + (across @ covariance @ across) * np.outer(across, across)
        apart = jump * axis
    along = np.array([-normal[1], normal[0]])
    turned = float(apart @ along) * 0.3 * np.sqrt(2.0) * edge_px / length
    charge = -float(apart @ normal)
    sigma = float(np.sqrt(normal @ covariance @ normal + turned**2))
    factor, size = uc_per_cm2_per_pm, domains.pixel_size_pm
    sign = -1.0 if factor is not None and factor < 0 else 1.0
    known = factor is not None and size is not None
    return Charge(
        px=charge,
        sigma_px=sigma,
        words=_words(sign * charge, sigma, float(np.linalg.norm(apart))),
        e_per_nm2=charge * size * factor * E_PER_NM2_PER_UC_PER_CM2 if known else float("nan"),  # type: ignore[operator]
    )


def _words(charge: float, sigma: float, apart: float) -> str:
    if not abs(charge) > max(2.0 * sigma, SLIGHT * apart):
        return "neutral"
    return "head-to-head" if charge > 0 else "tail-to-tail"

"""Domains and the walls between them: which way B is displaced, at every point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from dipolar.core.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """Domains side by side with parallel straight walls."""

    directions_deg: tuple[float, ...]
    """Direction of the displacement in each domain against the a axis, counter-clockwise; one more than walls."""
    walls: tuple[float, ...]
    """Where the walls are, along their normal, in shares of the image's shorter edge from its middle, increasing."""
    wall_angle_deg: float = 90.0
    """Direction of the walls against the a axis, counter-clockwise; 90: upright walls, domains from left to right."""
    wall_width_pm: float = 800.0
    """Width 2δ of the profile tanh(distance / δ); 0 for a sharp wall."""

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit together."""
        if len(self.directions_deg) != len(self.walls) + 1 or list(self.walls) != sorted(self.walls):
            raise SettingsError(
                "Domains need one direction more than there are walls, and walls in increasing order.",
                got=f"directions {self.directions_deg}, walls {self.walls}",
                do="Domains(directions_deg=(45, 135), walls=(0.0,))",
            )
        if self.wall_width_pm < 0:
            raise SettingsError("The width of a wall cannot be negative.", got=f"{self.wall_width_pm} pm")


def wall(
    kind: Literal["180", "109", "90", "71"],
    *,
    position: float = 0.0,
    width_pm: float = 800.0,
    direction_deg: float = 45.0,
) -> Domains:
    """Return two domains with an uncharged wall of that kind between them, as seen along a pseudocubic [100].

    The component of the displacement across the wall is the same on both sides, the one along it changes sign.
    180°: the wall runs along the displacement. 90° (tetragonal): the wall runs at 45° to it. 109° and 71°
    (rhombohedral, displacement along ⟨110⟩ in projection): a right angle in projection; the wall stands upright at
    109°, while at 71° it is a {110} plane inclined to the beam whose trace lies along the film. Source: S. K. Streiffer
    et al., J. Appl. Phys. 83, 2742 (1998).

    Parameters
    ----------
    kind
        The angle between the two polarizations in space, in degrees.
    position
        Place of the wall along its normal, in shares of the image's shorter edge from its middle.
    width_pm
        Width 2δ of the tanh profile.
    direction_deg
        Displacement of the first domain against the a axis.
    """
    angle = {"180": direction_deg, "109": 90.0, "90": direction_deg - 45.0, "71": 0.0}[kind]
    return Domains(
        directions_deg=(direction_deg, 2.0 * angle + 180.0 - direction_deg),  # mirrored at the wall's normal
        walls=(position,),
        wall_angle_deg=angle,
        wall_width_pm=width_pm,
    )


def displacement_directions(
    domains: Domains, points_pm: Float[np.ndarray, "point 2"], *, edge_pm: float
) -> Float[np.ndarray, "point 2"]:
    """Return the displacement at each point as (dy, dx) in shares of its length inside a domain.

    Through a wall the vectors of the two domains are blended by ``(1 + tanh(distance / δ)) / 2``: between opposite
    vectors the length passes through zero.

    Parameters
    ----------
    domains
        The domains.
    points_pm
        Points (y, x) in the crystal's axes from the middle of the image.
    edge_pm
        The image's shorter edge.
    """
    along = np.radians(domains.wall_angle_deg)
    normal = np.array([np.cos(along), np.sin(along)])  # (y, x), to the right of an upright wall
    distance = points_pm @ normal
    angles = np.radians(np.array(domains.directions_deg))
    vectors = np.stack([-np.sin(angles), np.cos(angles)], axis=-1)
    field = np.broadcast_to(vectors[0], points_pm.shape).copy()
    for place, before, after in zip(domains.walls, vectors[:-1], vectors[1:], strict=True):
        depth = distance - place * edge_pm
        share = (1.0 + np.tanh(2.0 * depth / max(domains.wall_width_pm, 1e-6))) / 2.0
        field += share[:, None] * (after - before)
    return field

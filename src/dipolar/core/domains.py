"""The nouns of maps: domains, the walls between them, defects of the direction, places to look next.

Places (y, x) are those on the image. Where the shape of the scan was corrected for, lengths, areas, directions and
slopes are those of a true scan, in px of its fast direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int32

from dipolar.core.nouns import Field


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Domains:
    """Connected regions of like direction: one entry per cell of the table they were made from, one per domain."""

    label: Int32[np.ndarray, " cell"]
    """Domain of every cell; -1 where none could be given."""
    probability: Float[np.ndarray, " cell"]
    """Probability that the cell's direction is the one of its domain; nan without a domain."""
    state: Int32[np.ndarray, " domain"]
    """Which of the directions `state_px` the domain has."""
    polar: Bool[np.ndarray, " domain"]
    """False where the mean displacement is not told from zero or is within what instruments make."""
    mean_px: Float[np.ndarray, "domain 2"]
    """Mean displacement (dy, dx) of the cells inside."""
    mean_covariance_px2: Float[np.ndarray, "domain 2 2"]
    """Covariance of that mean, likeness of neighbouring cells and the error of a reference's offset included."""
    angle_deg: Float[np.ndarray, " domain"]
    """Direction of the mean, counter-clockwise on the screen."""
    angle_sigma_deg: Float[np.ndarray, " domain"]
    """One standard error of it; 104, that of any direction, at most."""
    cells: Int32[np.ndarray, " domain"]
    """Number of cells."""
    cells_sigma: Float[np.ndarray, " domain"]
    """One standard error of that number, from labels in doubt and from walls that run through cells."""
    area_px2: Float[np.ndarray, " domain"]
    """Sum of the areas of the cells."""
    area_sigma_px2: Float[np.ndarray, " domain"]
    """One standard error of it."""
    centre_px: Float[np.ndarray, "domain 2"]
    """Mean position (y, x) of the cells."""
    state_px: Float[np.ndarray, "state 2"]
    """Displacement (dy, dx) of each direction that was found or given."""
    state_spread_px: Float[np.ndarray, " state"]
    """Standard deviation per component of the displacement within a direction, beyond the cells' own sigma."""
    pixel_size_pm: float | None
    """Calibrated pixel size; None leaves every length in px."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """The displacement across a wall: ``(d2 + d1)/2 + (d2 - d1)/2 · tanh((x - x0)/ξ)``, fitted to the cells.

    d is the component along the difference of the two domains' displacements, x the distance from the wall's curve,
    to the side of the second domain. Medians with the 16 % and 84 % quantiles of the posterior.
    """

    width_px: tuple[float, float, float]
    """Full width 2ξ: 16 %, 50 % and 84 % quantile; nan where too few cells stand on either side."""
    position_px: tuple[float, float, float]
    """Place x0 of the wall against its curve, which was moved to the median: the same quantiles."""
    before_px: float
    """d1, the component deep in the first domain."""
    before_sigma_px: float
    """One standard error of it."""
    after_px: float
    """d2, deep in the second domain."""
    after_sigma_px: float
    """One standard error of it."""
    asymmetry_px: float
    """d1 + d2: 0 for a wall between equally long displacements; an offset from mistilt adds twice its own length."""
    asymmetry_sigma_px: float
    """One standard error of it."""
    resolved: bool
    """False where the posterior is open towards zero width: the 84 % quantile is then an upper bound."""
    scatter_px: float
    """Standard deviation of the cells about the profile, beyond their own sigma."""
    cells: int
    """Number of cells fitted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wall:
    """One wall between two domains, from end to end."""

    before: int
    """Domain on the left when one walks along the points with y up, as on the screen."""
    after: int
    """Domain on the right."""
    kind: str
    """ "180° in projection", "90° in projection", each with what it may be in space where the symmetry of the material
    is known, as in "90° in projection (71° or 109°)"; "rim of a polar region"; "gradual turn" where the displacement
    rotates over many cells; or the turn in degrees."""
    turn_deg: float
    """Angle between the two mean displacements, 0 to 180."""
    turn_sigma_deg: float
    """One standard error of it."""
    points_px: Float[np.ndarray, "point 2"]
    """The wall as a curve (y, x), ordered from one end to the other, at the middle of its profile."""
    closed: bool
    """Whether the last point meets the first."""
    length_px: float
    """Length of the curve."""
    length_sigma_px: float
    """One standard error of it: one cell at each open end."""
    charge_px: float
    """Bound charge -(u2 - u1)·n per unit of wall, in displacement; positive is head-to-head."""
    charge_sigma_px: float
    """One standard error of it."""
    charge: str
    """ "head-to-head", "tail-to-tail", or "neutral" where neither is told from zero or it is below 15 % of |u2 - u1|;
    of the displacement, or of the polarization where a factor was given."""
    charge_e_per_nm2: float
    """Bound charge of the polarization in elementary charges per nm²; nan without a material or a pixel size."""
    profile: Profile
    """Profile of the whole wall."""
    distance_px: Float[np.ndarray, " fitted"]
    """Distance of each fitted cell from the curve."""
    component_px: Float[np.ndarray, " fitted"]
    """Its displacement along u2 - u1."""
    component_sigma_px: Float[np.ndarray, " fitted"]
    """One standard error of that."""
    samples_px: Float[np.ndarray, "sample 4"]
    """Draws (x0, ξ, d1, d2) from the posterior of the whole wall."""
    segment_px: Float[np.ndarray, "segment 2"]
    """Middle (y, x) of each piece of the wall that was fitted by itself."""
    segment_width_px: Float[np.ndarray, "segment 3"]
    """Its width 2ξ: 16 %, 50 % and 84 % quantile."""
    segment_position_px: Float[np.ndarray, "segment 3"]
    """Its place against the curve: the same quantiles."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Defects:
    """Vortices and antivortices of the displacement, the most certain first."""

    positions_px: Float[np.ndarray, "defect 2"]
    """Where the displacement vanishes, (y, x)."""
    winding: Int32[np.ndarray, " defect"]
    """Turns of the displacement along one counter-clockwise turn around the place: +1 vortex, -1 antivortex."""
    p_noise: Float[np.ndarray, " defect"]
    """Probability that noise made the winding, on the loop that shows it best."""
    loop_cells: Int32[np.ndarray, " defect"]
    """Edge of that square loop, in cells."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anomalies:
    """Places to look next: cells whose neighbourhood is unlike the rest, the strangest first."""

    cell: Int32[np.ndarray, " place"]
    """Row of the cell in the table of cells."""
    positions_px: Float[np.ndarray, "place 2"]
    """Where, (y, x)."""
    score: Float[np.ndarray, " place"]
    """Robust Mahalanobis distance of what is measured there from what is usual in this image."""
    reason: tuple[str, ...]
    """What is unusual, in words."""
    from_centre_nm: Float[np.ndarray, "place 2"]
    """(y, x) from the middle of the image in nm; nan without calibration."""
    from_origin_nm: Float[np.ndarray, "place 2"]
    """(y, x) from the upper-left pixel in nm; nan without calibration."""
    cell_score: Float[np.ndarray, " cell"]
    """The score of every cell; nan where it has no neighbours to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Maps:
    """Everything that the maps of one measurement show."""

    domains: Domains
    """Regions of like direction."""
    walls: tuple[Wall, ...]
    """Walls between them, the longest first."""
    charge: Field
    """Bound charge of every cell: -∇·u, or -∇·P where a factor was given."""
    defects: Defects
    """Vortices and antivortices."""
    anomalies: Anomalies
    """Places to look next."""

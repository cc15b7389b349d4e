"""Any projected unit cell in any contrast, oxygen and tilted octahedra included, with its truth."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Float32

from dipolar.core.errors import SettingsError
from dipolar.core.motif import PEROVSKITE_100, Motif, SiteColumns
from dipolar.core.nouns import Image, Noise
from dipolar.simulate.render import render_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class CrystalSettings:
    """Everything that makes a simulated image of one crystal in one projection."""

    shape_px: tuple[int, int] = (400, 400)
    """Rows and columns of the image."""
    motif: Motif = PEROVSKITE_100
    """The unit cell; the intensities of its sites are peak heights over that of the first."""
    a_px: float = 36.0
    """Length of the first cell vector."""
    b_over_a: float = 1.0
    """Length of the second over that of the first; √2 for a perovskite along [110]."""
    rotation_deg: float = 0.0
    """Turns the crystal counter-clockwise on the screen."""
    width_over_a: float = 0.11
    """Standard deviation of a column over the shorter cell vector."""
    heights: tuple[float, ...] | None = None
    """Peak heights of the sites over that of the first; None takes the intensities of the motif."""
    shifts_px: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Displacement (dy, dx) of the sites of that name."""
    tilt_deg: float = 0.0
    """Rotation of the octahedra, counter-clockwise in every other cell and clockwise in the others."""
    contrast: str = "bright"
    """"bright", "dark" (columns take electrons away) or "signed" (constant noise, slow background removed)."""
    amplitude: float = 200.0
    """Peak height of the first site, in counts."""
    background: float = 60.0
    """Counts between bright columns; dark columns take away from the amplitude plus twice this."""
    noise: float = 8.0
    """Standard deviation of the noise of a signed image."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        wrong = [] if self.contrast in ("bright", "dark", "signed") else [f"contrast = {self.contrast!r}"]
        count = len(self.motif.sites)
        wrong += [] if self.heights is None or len(self.heights) == count else [f"{len(self.heights)} heights"]
        unknown = set(self.shifts_px) - {site.name for site in self.motif.sites}
        wrong += [f"shifts of {', '.join(sorted(unknown))}"] if unknown else []
        if wrong:
            raise SettingsError("Settings of the crystal are out of range.", got="; ".join(wrong))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedCrystal:
    """A simulated image and what is true about it."""

    image: Image
    """What the detector recorded."""
    truth: SiteColumns
    """All columns whose centres lie in the image; every sigma is nan."""
    turn: Float[np.ndarray, " column"]
    """Rotation in degrees of the octahedron around each B column, counter-clockwise on the screen; 0 for others."""


def simulate_crystal(settings: CrystalSettings, *, rng: np.random.Generator) -> SimulatedCrystal:
    """Return one simulated image of a crystal in any projection and contrast, with its truth.

    Parameters
    ----------
    settings
        The crystal and the contrast.
    rng
        Draws the noise.
    """
    cell = cell_vectors(settings)
    width = settings.width_over_a * settings.a_px * min(1.0, settings.b_over_a)
    index, site, points, turn = _columns(settings, cell, margin_px=6.0 * width)
    heights = settings.heights or tuple(s.intensity for s in settings.motif.sites)
    amplitude = settings.amplitude * np.array(heights)[site]
    profile = np.ones((2, 1, 2))
    light = render_columns(
        settings.shape_px,
        points,
        amplitude,
        np.full((len(points), 2), width),
        np.zeros(len(points)),
        np.zeros(len(points), dtype=np.int8),
        profile,
    ).astype(np.float64)
    data, sign, level = _recorded(settings, light, cell, rng)
    inside = np.all((points >= 0) & (points <= np.array(settings.shape_px) - 1), axis=1)
    count = int(inside.sum())
    unknown = np.full(count, np.nan)
    truth = SiteColumns(
        motif=settings.motif,
        positions_px=points[inside],
        covariance_px2=np.full((count, 2, 2), np.nan),
        amplitude=sign * amplitude[inside],
        amplitude_sigma=unknown,
        background=np.full(count, level),
        widths_px=np.full((count, 2), width),
        angle_deg=np.zeros(count),
        site=site[inside].astype(np.int8),
        cell=index[inside].astype(np.int32),
        grain=np.zeros(count, dtype=np.int32),
        row_reach_px=np.full((count, 2), np.nan),
        chi2=unknown,
        flags=np.zeros(count, dtype=np.uint32),
        noise=Noise(
            gain=0.0 if settings.contrast == "signed" else 1.0,
            floor=settings.noise**2 if settings.contrast == "signed" else 0.0,
            correlation=(1.0, 1.0),
            row_jitter_px=(0.0, 0.0),
            row_jitter_sigma_px=(0.0, 0.0),
        ),
        cell_px=cell,
        profile=profile,
    )
    return SimulatedCrystal(image=Image(data=data, name="simulated crystal"), truth=truth, turn=turn[inside])


def cell_vectors(settings: CrystalSettings) -> Float[np.ndarray, "2 2"]:
    """Return the cell vectors a and b as rows (y, x): a to the right and b down, then turned."""
    angle = np.radians(settings.rotation_deg)
    right = np.array([-np.sin(angle), np.cos(angle)])
    down = np.array([np.cos(angle), np.sin(angle)])
    return settings.a_px * np.stack([right, settings.b_over_a * down])


def _columns(
    settings: CrystalSettings, cell: Float[np.ndarray, "2 2"], *, margin_px: float
) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, "column 2"], Float[np.ndarray, " column"]]:
    """Return cell index, site, position and rotation of the octahedron of all columns in and near the image."""
    shape = np.array(settings.shape_px)
    reach = int(np.ceil((np.hypot(*shape) / 2 + margin_px) / np.linalg.norm(cell, axis=1).min())) + 2
    ticks = np.arange(-reach, reach + 1)
    cells = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    index, site, points, turn = [], [], [], []
    for number, one in enumerate(settings.motif.sites):
        moved = (cells + np.array(one.place)) @ cell + np.array(settings.shifts_px.get(one.name, (0.0, 0.0)))
        if one.role == "O" and settings.tilt_deg:
            moved = moved + _tilted(settings, cell, one.place, cells)
        sense = _sense(settings, cells) if one.role == "B" else np.zeros(len(cells))
        index.append(cells)
        site.append(np.full(len(cells), number))
        points.append(moved + (shape - 1) / 2.0)
        turn.append(sense * settings.tilt_deg)
    where = np.concatenate(points)
    near = np.all((where >= -margin_px) & (where <= shape - 1 + margin_px), axis=1)
    return np.concatenate(index)[near], np.concatenate(site)[near], where[near], np.concatenate(turn)[near]


def _sense(settings: CrystalSettings, cells: np.ndarray) -> np.ndarray:
    """Return 1 or -1 for the octahedra of every cell: octahedra that share oxygen turn against each other."""
    b, oxygen = _middle_and_oxygen(settings)
    shared = [int(any(abs(off[axis]) > 0.25 for off in oxygen)) for axis in (0, 1)]
    del b
    return 1.0 - 2.0 * ((cells @ np.array(shared)) % 2)


def _middle_and_oxygen(settings: CrystalSettings) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the place of B, and the vectors from it to the oxygen columns half a cell away, in cells."""
    b = next(np.array(s.place) for s in settings.motif.sites if s.role == "B")
    offs = [
        np.array(s.place) + shift - b
        for s in settings.motif.sites
        if s.role == "O"
        for shift in itertools.product((-1, 0, 1), (-1, 0, 1))
    ]
    return b, [off for off in offs if np.hypot(*off) < 0.51]


def _tilted(
    settings: CrystalSettings, cell: Float[np.ndarray, "2 2"], place: tuple[float, float], cells: np.ndarray
) -> Float[np.ndarray, "cell 2"]:
    """Return how far the oxygen of a site moves when the octahedra turn."""
    b, oxygen = _middle_and_oxygen(settings)
    off = next(o for o in oxygen if np.allclose((b + o - place) % 1.0, 0.0))
    owner = cells - np.rint(b + off - place).astype(int)
    y, x = off @ cell
    return np.tan(np.radians(settings.tilt_deg)) * _sense(settings, owner)[:, None] * np.array([-x, y])


def _recorded(
    settings: CrystalSettings, light: Float[np.ndarray, "y x"], cell: Float[np.ndarray, "2 2"], rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "y x"], float, float]:
    """Return the image, the sign of its columns and its background."""
    if settings.contrast == "signed":
        slow = scipy.ndimage.gaussian_filter(light, 2.0 * float(np.linalg.norm(cell, axis=1).max()))
        return (
            (light - slow + rng.normal(0.0, settings.noise, light.shape)).astype(np.float32),
            1.0,
            float(-slow.mean()),
        )
    if settings.contrast == "bright":
        return rng.poisson(light + settings.background).astype(np.float32), 1.0, settings.background
    top = settings.amplitude + 2.0 * settings.background
    return rng.poisson(np.maximum(top - light, 0.0)).astype(np.float32), -1.0, top

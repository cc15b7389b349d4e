"""Series of frames of one drifting film: each row of each frame is scanned at a time of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from scipy.interpolate import make_interp_spline
from scipy.ndimage import map_coordinates

from dipolar.core.errors import SettingsError
from dipolar.core.nouns import Image
from dipolar.simulate.detector import count
from dipolar.simulate.film import Simulated, simulate_film
from dipolar.simulate.render import render_columns
from dipolar.simulate.settings import FilmSettings
from dipolar.simulate.specimen import background


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSettings:
    """A film, and how it is scanned again and again. The film's row jitter is that of every frame."""

    film: FilmSettings = field(default_factory=FilmSettings)
    """The film; its `shape_px` is that of a frame, its `dose` that of all frames together."""
    scan_angles_deg: tuple[float, ...] = (0.0,) * 12
    """One frame each: direction of the fast scan axis, counter-clockwise on the screen."""
    reach_px: float = 70.0
    """The drift stays within this of where it began: a straight trend and a random walk share it. 0: only `shear` and
    `walk_px`."""
    walk_share: float = 0.3
    """Share of `reach_px` that belongs to the random walk, with one step per frame: its largest distance."""
    shear: float = 0.0
    """Even drift along x of the specimen, in px per row scanned; 0.03 shears a scan at 0° by 3 %."""
    walk_px: tuple[float, float] = (0.0, 0.0)
    """Standard deviation of the step of a further random walk in (y, x), from each row scanned to the next."""
    pause_rows: int = 0
    """Rows that could be scanned between two frames."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        wrong = [f"{name} = {getattr(self, name)} (0 or more)" for name in ("reach_px", "pause_rows")]
        wrong = [text for text, bad in zip(wrong, (self.reach_px < 0, self.pause_rows < 0), strict=True) if bad]
        wrong += [] if 0 <= self.walk_share <= 1 else [f"walk_share = {self.walk_share} (0 to 1)"]
        wrong += [] if self.scan_angles_deg else ["scan_angles_deg are empty"]
        if wrong:
            raise SettingsError("Settings of the series are out of range.", got="; ".join(wrong))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedSeries:
    """Simulated frames and what is true about them."""

    frames: tuple[Image, ...]
    """What the detector recorded, in order."""
    scan_angles_deg: tuple[float, ...]
    """Direction of the fast scan axis of each."""
    still: Simulated
    """One image of the whole specimen at rest with the dose of all frames together, and the true columns and cells."""
    middle_px: Float[np.ndarray, "2"]
    """Where in `still` the middle of an undrifted frame lies, (y, x)."""
    offset_px: Float[np.ndarray, "frame row 2"]
    """How far (dy, dx) on the specimen each row lies from its place in an undrifted frame: drift and jitter."""


def scan_axes(angle_deg: float) -> Float[np.ndarray, "2 2"]:
    """Return the steps (y, x) on the specimen from row to row and from pixel to pixel of a scan at that angle.

    Parameters
    ----------
    angle_deg
        Direction of the fast scan axis, counter-clockwise on the screen.
    """
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return np.array([[cos, sin], [-sin, cos]])


def draw_drift(settings: SeriesSettings, *, rng: np.random.Generator) -> Float[np.ndarray, "frame row 2"]:
    """Return how far the scan looks past its place in every row of every frame, without jitter.

    Parameters
    ----------
    settings
        Of the series.
    rng
        Draws the direction of the trend, and the walks.
    """
    rows, frames = settings.film.shape_px[0], len(settings.scan_angles_deg)
    period = rows + settings.pause_rows
    time = (np.arange(frames)[:, None] * period + np.arange(rows)).ravel()
    steps = rng.normal(size=(frames * period, 2))
    drift = np.cumsum(steps * settings.walk_px, axis=0)[time]
    drift[:, 1] += settings.shear * time
    if settings.reach_px > 0:
        angle = rng.uniform(0.0, 2.0 * np.pi)
        trend = (time / max(time[-1], 1))[:, None] * [np.cos(angle), np.sin(angle)]
        # One step per frame, smoothly joined: stages creep, and do not tremble from row to row.
        steps = np.cumsum(rng.normal(size=(frames + 1, 2)), axis=0) / np.sqrt(frames)
        walk = make_interp_spline(np.arange(frames + 1) * period, steps, k=min(3, frames))(time)
        walk = (walk - walk[0]) / max(float(np.linalg.norm(walk - walk[0], axis=1).max()), 1e-9)
        extra = settings.reach_px * ((1.0 - settings.walk_share) * trend + settings.walk_share * walk)
        drift = drift + extra
    drift = drift.reshape(frames, rows, 2)
    return drift - drift.mean(axis=(0, 1))


def simulate_series(settings: SeriesSettings, *, rng: np.random.Generator) -> SimulatedSeries:
    """Return frames of one film, the dose shared evenly between them, with the truth.

    Row r of a frame at scan angle θ sees the specimen along the line
    ``middle + (r - r0) slow + (c - c0) fast + offset[frame, r]`` with the axes of `scan_axes`. Background gradient and
    brightness belong to the specimen and drift with it.

    Parameters
    ----------
    settings
        Of the series.
    rng
        Draws, in this order: drift, jitter, the film at rest, the counts of each frame.
    """
    film = settings.film
    shape = np.array(film.shape_px)
    frames = len(settings.scan_angles_deg)
    drift = draw_drift(settings, rng=rng)
    jitter = rng.normal(size=drift.shape) * film.row_jitter_px
    widest = max(film.width_a_pm, film.width_b_pm) / film.pixel_size_pm
    turned = any(angle % 90.0 for angle in settings.scan_angles_deg)
    reach = np.abs(drift).max(axis=(0, 1)) + 6.0 * max(film.row_jitter_px) + 6.0 * widest
    reach = reach + (0.21 * shape.max() if turned else 0.5 * np.abs(np.diff(shape)))
    tall, wide = (int(size) for size in shape + 2 * np.ceil(reach))
    whole = replace(film, shape_px=(tall, wide), row_jitter_px=(0.0, 0.0))
    still = simulate_film(whole, rng=rng)
    middle = (np.array(whole.shape_px) - 1.0) / 2.0
    level = background(whole)
    images = tuple(
        replace(_frame(film, still, level, angle, offset, share=1.0 / frames, rng=rng), name=f"frame {number}")
        for number, (angle, offset) in enumerate(zip(settings.scan_angles_deg, drift + jitter, strict=True))
    )
    return SimulatedSeries(
        frames=images,
        scan_angles_deg=settings.scan_angles_deg,
        still=still,
        middle_px=middle,
        offset_px=drift + jitter,
    )


def _frame(
    film: FilmSettings,
    still: Simulated,
    level: np.ndarray,
    angle_deg: float,
    offset_px: np.ndarray,
    *,
    share: float,
    rng: np.random.Generator,
) -> Image:
    """Return one frame: the columns of the specimen seen along its rows, and its counts."""
    axes = scan_axes(angle_deg)
    middle = (np.array(level.shape) - 1.0) / 2.0
    own_middle = (np.array(film.shape_px) - 1.0) / 2.0
    columns = still.truth_columns
    counts = render_columns(
        film.shape_px,
        (columns.positions_px - middle) @ axes.T + own_middle,
        columns.amplitude * (share / film.gain),
        columns.widths_px,
        columns.angle_deg - angle_deg,
        columns.sublattice,
        columns.profile,
        row_shift_px=offset_px @ axes.T,
    )
    row, col = np.mgrid[: film.shape_px[0], : film.shape_px[1]]
    seen = (
        middle[:, None, None]
        + (row - own_middle[0]) * axes[0][:, None, None]
        + (col - own_middle[1]) * axes[1][:, None, None]
        + offset_px.T[:, :, None]
    )
    counts += film.dose * share * map_coordinates(level, seen, order=1, mode="nearest")
    data = count(counts, rng=rng, gain=film.gain, offset=film.detector_offset, readout=film.readout)
    return Image(data=data, pixel_size_pm=film.pixel_size_pm)

"""Patches of ferroelectric variants, drawn one by one: a stack for unmixing with nothing unknown in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32

from dipolar.core.circular import unit_vectors
from dipolar.core.errors import SettingsError
from dipolar.core.nouns import A, B
from dipolar.core.unmixing import Stack
from dipolar.simulate.materials import BIFEO3

FOUR_VARIANTS = (45.0, 135.0, -135.0, -45.0)
"""Directions of the ⟨110⟩ variants of a rhombohedral film along [100], counter-clockwise on the screen."""
REACH_WIDTHS = 5.0
"""How many widths away a column still lights up a pixel."""
AT_ONCE = 2000
"""Patches drawn together, so that memory stays small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSettings:
    """Everything that makes a set of patches of variants, each centred on a cell."""

    patches: int = 4000
    """How many."""
    window_px: int = 48
    """Edge of a patch."""
    cell_px: float = 26.0
    """Edge of the square unit cell."""
    pixel_size_pm: float = 15.2
    """Edge of the pixel."""
    directions_deg: tuple[float, ...] | None = FOUR_VARIANTS
    """Direction of each variant, counter-clockwise on the screen; None: all directions alike, as around a vortex."""
    shares: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    """Share of each variant; the sum is 1. Not used where all directions are alike."""
    displacement_pm: float = 35.0
    """Length of the displacement of B."""
    scatter_deg: float = 4.0
    """Standard deviation of its direction, patch by patch."""
    noise: float = 0.05
    """Standard deviation of white noise, over the peak height of A."""
    turn_deg: float = 0.0
    """Whole patches, lattice and all, are turned evenly by up to so much either way; 180: any way."""
    shift_px: float = 0.0
    """Standard deviation of the shift (dy, dx) of whole patches."""
    ratio_b_to_a: float = BIFEO3.ratio_b_to_a
    """Peak height of B over that of A."""
    ratio_scatter: float = 0.0
    """Relative standard deviation of that ratio, patch by patch: as composition changes it."""
    width_a_pm: float = 48.0
    """Standard deviation of A columns."""
    width_b_pm: float = 46.0
    """The same for B columns."""
    normalized: bool = True
    """Whether each patch has mean 0 and variance 1."""
    measured_sigma_pm: float = 3.0
    """Standard error of the displacement that comes with the stack, as if it had been measured."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing, all of them in one message."""
        positive = ("patches", "window_px", "cell_px", "pixel_size_pm", "ratio_b_to_a", "width_a_pm", "width_b_pm")
        wrong = [f"{name} = {getattr(self, name)} (more than 0)" for name in positive if not getattr(self, name) > 0]
        least = ("scatter_deg", "noise", "turn_deg", "shift_px", "ratio_scatter", "measured_sigma_pm")
        wrong += [f"{name} = {getattr(self, name)} (0 or more)" for name in least if not getattr(self, name) >= 0]
        if self.directions_deg is not None and (
            len(self.shares) != len(self.directions_deg) or abs(sum(self.shares) - 1.0) > 1e-6 or min(self.shares) < 0
        ):
            wrong.append(f"shares = {self.shares} (one for each of directions_deg = {self.directions_deg}; sum 1)")
        if wrong:
            raise SettingsError("Settings of the variants are out of range.", got="; ".join(wrong))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VariantSet:
    """Patches of variants and what is true of each."""

    stack: Stack
    """The patches, as unmixing takes them; with displacements as if measured."""
    variant: Int32[np.ndarray, " patch"]
    """Number of the variant; -1 where all directions are alike."""
    angle_deg: Float[np.ndarray, " patch"]
    """Direction of the true displacement on the screen, turns included, in (-180, 180]."""
    dipole_px: Float[np.ndarray, "patch 2"]
    """True displacement (dy, dx) on the screen."""
    turn_deg: Float[np.ndarray, " patch"]
    """By how much the whole patch was turned."""
    shift_px: Float[np.ndarray, "patch 2"]
    """By how much the whole patch was moved."""
    ratio: Float[np.ndarray, " patch"]
    """Peak height of B over that of A."""


def variant_set(settings: VariantSettings | None = None, *, rng: np.random.Generator) -> VariantSet:
    """Return patches of a square perovskite lattice, A at the corners and B displaced from the middle.

    All B columns in a patch are displaced alike. Columns are round Gaussians, on a background of nothing. Shares are
    exact, up to rounding; the order is random.

    Parameters
    ----------
    settings
        What to draw; None takes the defaults.
    rng
        Where the randomness comes from: variants, directions, turns, shifts, ratios, measurement, noise.
    """
    settings = settings or VariantSettings()
    count = settings.patches
    variant, angle = _directions(settings, rng)
    turn = rng.uniform(-1.0, 1.0, count) * settings.turn_deg
    shift = settings.shift_px * rng.standard_normal((count, 2))
    ratio = settings.ratio_b_to_a * np.maximum(1.0 + settings.ratio_scatter * rng.standard_normal(count), 0.05)
    angle = 180.0 - (180.0 - angle - turn) % 360.0  # into (-180, 180]
    dipole = settings.displacement_pm / settings.pixel_size_pm * unit_vectors(angle)
    sigma = settings.measured_sigma_pm / settings.pixel_size_pm
    measured = dipole + sigma * rng.standard_normal((count, 2))
    images = np.concatenate(
        [
            _drawn(settings, turn[some], shift[some], dipole[some], ratio[some])
            for some in np.array_split(np.arange(count), -(-count // AT_ONCE))
        ]
    )
    images += np.float32(settings.noise) * rng.standard_normal(images.shape, dtype=np.float32)
    if settings.normalized:
        images -= images.mean(axis=(1, 2), keepdims=True)
        images /= images.std(axis=(1, 2), keepdims=True)
    edge = int(np.ceil(np.sqrt(count)))
    place = np.stack(np.divmod(np.arange(count), edge), axis=1)
    stack = Stack(
        images=images[:, None],
        channels=("image",),
        positions_px=(place + 1.0) * settings.cell_px,
        site=np.arange(count, dtype=np.int32),
        displacement_px=measured,
        displacement_sigma_px=np.full((count, 2), sigma),
        step_px=1.0,
        lattice_px=settings.cell_px * np.array([[0.0, 1.0], [1.0, 0.0]]),
        pixel_size_pm=settings.pixel_size_pm,
        centred_on="cells",
        normalization="patch" if settings.normalized else "none",
    )
    return VariantSet(
        stack=stack, variant=variant, angle_deg=angle, dipole_px=dipole, turn_deg=turn, shift_px=shift, ratio=ratio
    )


def _directions(
    settings: VariantSettings, rng: np.random.Generator
) -> tuple[Int32[np.ndarray, " patch"], Float[np.ndarray, " patch"]]:
    """Return the variant of each patch and the direction of its displacement before the patch is turned."""
    count = settings.patches
    if settings.directions_deg is None:
        return np.full(count, -1, dtype=np.int32), rng.uniform(-180.0, 180.0, count)
    variant = shared_out(settings.shares, count, rng=rng)
    centre = np.array(settings.directions_deg)[variant]
    return variant, centre + settings.scatter_deg * rng.standard_normal(count)


def shared_out(shares: tuple[float, ...], count: int, *, rng: np.random.Generator) -> Int32[np.ndarray, " one"]:
    """Return so many numbers in random order, each as often as its share says, up to rounding.

    Parameters
    ----------
    shares
        Share of the numbers 0, 1, 2, …; the sum is 1.
    count
        How many numbers.
    rng
        Draws the order.
    """
    ends = np.rint(np.cumsum(shares) * count).astype(np.int64)
    numbers = np.repeat(np.arange(len(shares), dtype=np.int32), np.diff(ends, prepend=0))
    return rng.permutation(numbers)


def _drawn(
    settings: VariantSettings,
    turn_deg: Float[np.ndarray, " patch"],
    shift_px: Float[np.ndarray, "patch 2"],
    dipole_px: Float[np.ndarray, "patch 2"],
    ratio: Float[np.ndarray, " patch"],
) -> Float32[np.ndarray, "patch y x"]:
    """Return the patches without noise: round Gaussians are products of a column and a row, so that each patch is one
    product of matrices."""
    half = (settings.window_px - 1) / 2.0
    axis = np.arange(settings.window_px, dtype=np.float32) - np.float32(half)
    total = np.zeros((len(turn_deg), settings.window_px, settings.window_px), dtype=np.float32)
    angle = np.radians(turn_deg)
    # counter-clockwise on the screen, where y points down: as in `specimen.deformation`
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    for sublattice, width_pm in ((A, settings.width_a_pm), (B, settings.width_b_pm)):
        width = width_pm / settings.pixel_size_pm
        points = _sites(settings, sublattice, width_px=width) @ matrix.transpose(0, 2, 1) + shift_px[:, None]
        if sublattice == B:
            points = points + dipole_px[:, None]
        scaled = points.astype(np.float32)[..., None] - axis
        lines = np.exp(-(scaled**2) / np.float32(2.0 * width**2))
        down, right = lines[:, :, 0], lines[:, :, 1]
        height = ratio if sublattice == B else np.ones_like(ratio)
        total += (down * height.astype(np.float32)[:, None, None]).transpose(0, 2, 1) @ right
    return total


def _sites(settings: VariantSettings, sublattice: int, *, width_px: float) -> Float[np.ndarray, "site 2"]:
    """Return the lattice sites (y, x) of one sublattice that light up a patch, from its middle."""
    turned = np.sqrt(2.0) if settings.turn_deg > 0 else 1.0
    reach = turned * settings.window_px / 2.0 + REACH_WIDTHS * width_px + 4.0 * settings.shift_px
    across = int(np.ceil(reach / settings.cell_px)) + 1
    ticks = np.arange(-across, across + 1) + (0.5 if sublattice == A else 0.0)
    sites = settings.cell_px * np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    near = np.abs(sites).max(axis=1) <= reach if settings.turn_deg == 0 else np.hypot(*sites.T) <= reach
    kept: Float[np.ndarray, "site 2"] = sites[near]
    return kept

"""From where to where everything varies in simulated images that networks learn from."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from dipolar.core.errors import SettingsError

Range = tuple[float, float]
"""Lowest and highest value; equal for a fixed one."""

POSITIVE: tuple[str, ...] = ("cell_px", "width", "width_b_to_a", "ellipticity", "tail_width", "correlation")
POSITIVE += ("modulation_length", "ratio_b_to_a", "layer_brightness", "peak_counts", "gain", "gaussian", "domains")
"""Ranges that begin above zero."""
NOT_NEGATIVE: tuple[str, ...] = ("displacement", "wall_width", "scatter", "wave", "background", "modulation", "readout")
NOT_NEGATIVE += ("blur_px", "row_jitter_px", "vacancies", "vacuum", "vacuum_level", "amorphous", "tail_fraction")
"""Ranges that begin at zero or above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmRanges:
    """From where to where `random_film` draws; shares say how many of the films have something at all.

    Values are drawn evenly; those told as logarithmic are drawn evenly in their logarithm. "Cells" are lengths over
    the edge of the unit cell: 0.14 cells are 55 pm in BiFeO3.
    """

    cell_px: Range = (20.0, 28.0)
    """Square root of the area of the unit cell."""
    rotation_deg: Range = (-180.0, 180.0)
    """Rotation of the crystal. By the symmetry of the lattice ±45° would do; surfaces and layers face all ways."""
    strain: Range = (-0.04, 0.04)
    """Relative stretch of each of both edges; the area stays that of `cell_px`."""
    shear: Range = (-0.03, 0.03)
    """Simple shear of the crystal."""
    offset: Range = (-0.5, 0.5)
    """Shift of the crystal in the image, in cells, in y and in x."""

    zero_share: float = 0.15
    """Share of films that are centrosymmetric in every cell: no displacement at all, to teach zero."""
    displacement: Range = (0.0, 0.14)
    """Longest displacement of B in cells: domains, smooth field and common offset together, without scatter and waves.
    The common offset is what mistilt does; it is measured as a displacement, and is one in the truth."""
    domains: tuple[int, int] = (1, 4)
    """Number of domains; about one of five is not polar."""
    wall_width: Range = (0.0, 4.0)
    """Width 2δ of the profile tanh(distance / δ) of walls, in cells."""
    correlation: Range = (2.0, 10.0)
    """Correlation length of the smooth random part of the displacement, in cells."""
    scatter: Range = (0.0, 0.03)
    """Standard deviation of the independent displacement of each B column in y and x, in cells."""
    wave_share: float = 0.12
    """Share of films with an antipolar wave on A or on B."""
    wave: Range = (0.01, 0.07)
    """Amplitude of the wave, in cells."""

    ratio_b_to_a: Range = (0.15, 0.95)
    """Brightness of B over that of A; logarithmic."""
    layered_share: float = 0.2
    """Share of films that are a stack of two or three layers, each with its own `ratio_b_to_a`."""
    layer_brightness: Range = (1.0 / 3.0, 1.0)
    """Brightness of A in each layer over that of the brightest possible one; logarithmic."""
    layer_stretch: Range = (-0.02, 0.02)
    """Relative stretch of the cell in each layer across the layer."""
    intensity_scatter: Range = (0.0, 0.15)
    """Relative standard deviation of the brightness, column by column."""
    gradient: Range = (-0.25, 0.25)
    """Relative change of brightness and of background from the middle to an edge, each in y and in x."""
    vacancy_share: float = 0.2
    """Share of films in which columns are missing."""
    vacancies: Range = (0.0, 0.02)
    """Share of columns missing there."""

    width: Range = (0.075, 0.17)
    """Standard deviation of A columns, in cells."""
    width_b_to_a: Range = (0.9, 1.1)
    """Width of B over that of A."""
    ellipticity: Range = (1.0, 1.25)
    """Major over minor width, at any angle."""
    tail_fraction: Range = (0.0, 0.4)
    """Share of the peak height that belongs to the tails."""
    tail_width: Range = (1.5, 3.0)
    """Width of the tails over that of the core."""

    background: Range = (0.0, 2.0)
    """Background over the brightness of A."""
    modulation: Range = (0.0, 0.25)
    """Relative standard deviation of slow modulations of the background, as from carbon and uneven thickness."""
    modulation_length: Range = (2.0, 12.0)
    """Correlation length of these, in cells."""
    vacuum_share: float = 0.12
    """Share of films with a free surface."""
    vacuum: Range = (0.1, 0.45)
    """Share of the image beyond the surface."""
    vacuum_level: Range = (0.0, 0.3)
    """Share of the background that remains there."""
    amorphous_share: float = 0.1
    """Share of films with an amorphous region, in which spots stand at random that are no columns of the truth."""
    amorphous: Range = (0.15, 0.5)
    """Edges of that region in shares of the image."""

    peak_counts: Range = (8.0, 3000.0)
    """Peak height of the brightest possible A columns in electrons; logarithmic."""
    gain: Range = (0.01, 100.0)
    """Units of the image per electron; logarithmic."""
    detector_offset: Range = (-0.5, 2.0)
    """Value of the image without electrons, over the peak height of A."""
    readout: Range = (0.0, 2.0)
    """Standard deviation of the readout noise, in electrons."""
    gaussian_share: float = 0.25
    """Share of films with Gaussian noise of the same size everywhere: half of them beside counting noise, half of them
    instead of it."""
    gaussian: Range = (0.01, 0.3)
    """Its standard deviation over the peak height of A; logarithmic."""
    blur_share: float = 0.25
    """Share of films that are blurred after counting, which correlates the noise over one to two pixels."""
    blur_px: Range = (0.4, 1.0)
    """Standard deviation of that blur."""
    row_jitter_px: Range = (0.0, 0.2)
    """Standard deviation of the random shift of each scan row, in y and in x."""
    drift_px: Range = (-6.0, 6.0)
    """How far the specimen drifts from the first to the last row, in y and in x."""

    def __post_init__(self) -> None:
        """Refuse ranges that mean nothing, all of them in one message."""
        wrong = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and not value[0] <= value[1]:
                wrong.append(f"{field.name} = {value} (low, high)")
            elif not isinstance(value, tuple) and not 0 <= value <= 1:
                wrong.append(f"{field.name} = {value} (0 to 1)")
        wrong += [f"{name} from {self._low(name)} (more than 0)" for name in POSITIVE if not self._low(name) > 0]
        wrong += [f"{name} from {self._low(name)} (0 or more)" for name in NOT_NEGATIVE if self._low(name) < 0]
        if wrong:
            raise SettingsError("Ranges of random films are wrong.", got="; ".join(wrong))

    def _low(self, name: str) -> float:
        """Return where a range begins."""
        return float(getattr(self, name)[0])


def uniform(rng: np.random.Generator, limits: Range) -> float:
    """Return a number drawn evenly between the limits."""
    return float(rng.uniform(*limits))


def log_uniform(rng: np.random.Generator, limits: Range) -> float:
    """Return a number between the limits, its logarithm drawn evenly."""
    return float(np.exp(rng.uniform(*np.log(limits))))


def happens(rng: np.random.Generator, share: float) -> bool:
    """Return whether something happens that happens in that share of all cases."""
    return bool(rng.random() < share)

"""A series of scans of one crystal: walls move, and the specimen drifts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float64

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import SettingsError
from dipolar.core.scanning import ScanWall
from dipolar.simulate.scan import ScanSpecimen, SimulatedScan, scan_of, specimen_of
from dipolar.simulate.scan_settings import SimulatedScanSettings
from dipolar.simulate.scan_texture import HORIZONTAL, NAMES, VERTICAL, Texture, domains_on, leveled
from dipolar.simulate.scan_walls import dense


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSeriesSettings:
    """Scans of one crystal, one after the other."""

    scan: SimulatedScanSettings = field(default_factory=SimulatedScanSettings)
    """Of each; its shares of classes are those of the first."""
    scans: int = 8
    """How many."""
    drift_steps: tuple[float, float] = (2.0, 3.0)
    """How far the scan has moved over the specimen in (y, x) by the last one, evenly, in probe steps."""
    drift_jitter: float = 0.2
    """Standard deviation of the further shift of each scan but the first, in probe steps."""
    growth: float = 0.2
    """What the share of the class horizontal gains from that of vertical by the last scan; below 0 it loses."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing, all of them in one message."""
        wrong = []
        if not 1 <= self.scans <= 10_000:
            wrong.append(f"scans = {self.scans} (1 to 10000)")
        if not np.isfinite(self.drift_steps).all():
            wrong.append(f"drift_steps = {self.drift_steps} (finite)")
        if not 0.0 <= self.drift_jitter < np.inf:
            wrong.append(f"drift_jitter = {self.drift_jitter} (0 or more)")
        horizontal, none = self.scan.horizontal, self.scan.none_fraction
        if not 0.0 <= horizontal + self.growth <= 1.0 - none + 1e-9:
            wrong.append(f"growth = {self.growth} ({-horizontal:.3g} to {1.0 - none - horizontal:.3g})")
        if wrong:
            raise SettingsError("Settings of the series are out of range.", got="; ".join(wrong))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanSeriesTruth:
    """How a series of scans really goes."""

    drift_steps: Float64[np.ndarray, "scan 2"]
    """Place of the first probe position on the specimen, (y, x) in probe steps."""
    fractions: Float64[np.ndarray, "scan class"]
    """Share of the positions that each class labels."""
    wall_shift: Float64[np.ndarray, " scan"]
    """How far walls between horizontal and vertical have moved over the specimen, into vertical, since the first scan,
    in probe steps: the median along all of them; nan where there are none."""
    wall_length: Float64[np.ndarray, " scan"]
    """Length of those walls in probe steps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedScanSeries:
    """Scans of one crystal and what they really are; each is made when it is asked for."""

    settings: ScanSeriesSettings
    """What is simulated."""
    specimen: ScanSpecimen
    """Crystal and detector."""
    seed: int
    """Of all that is random."""
    origins: Float64[np.ndarray, "scan 2"]
    """Place of the first probe position of each scan on the specimen, (y, x) in probe steps."""

    def __len__(self) -> int:
        """Return the number of scans."""
        return len(self.origins)

    def __getitem__(self, number: int) -> SimulatedScan:
        """Return one scan with its truth."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        down, right = (float(place) for place in self.origins[number])
        domains = self.domains(number)
        return scan_of(self.specimen, seed=self.seed, number=number, origin=(down, right), domains=domains)

    def __iter__(self) -> Iterator[SimulatedScan]:
        """Yield the scans in order."""
        return (self[number] for number in range(len(self)))

    def domains(self, number: int) -> Texture:
        """Return the domains of the specimen while a scan is taken."""
        scan, made = self.settings.scan, self.specimen.texture
        share = number / max(1, len(self) - 1)
        axes = [np.arange(size, dtype=np.float64) for size in scan.shape]
        wanted = min(1.0 - scan.none_fraction, max(0.0, scan.horizontal + share * self.settings.growth))
        moved = leveled(made, axes[0], axes[1], horizontal=wanted, none=scan.none_fraction, cubic=scan.cubic_share)
        return replace(made, horizontal_level=moved.horizontal_level)


def simulate_scan_series(
    settings: ScanSeriesSettings | None = None, seed: int = 0, *, progress: Progress = silent
) -> SimulatedScanSeries:
    """Return a series of scans whose walls move while the specimen drifts; the first is `simulate_scan` of the seed.

    Parameters
    ----------
    settings
        What to simulate; None takes the defaults.
    seed
        Of all that is random; the same seed gives the same series.
    progress
        Told how far the diffraction of structures is computed.
    """
    settings = settings or ScanSeriesSettings()
    share = np.linspace(0.0, 1.0, settings.scans) if settings.scans > 1 else np.zeros(1)
    shaken = np.random.default_rng((seed, 5)).normal(scale=settings.drift_jitter, size=(settings.scans, 2))
    shaken[0] = 0.0
    return SimulatedScanSeries(
        settings=settings,
        specimen=specimen_of(settings.scan, seed, progress=progress),
        seed=seed,
        origins=share[:, None] * np.array(settings.drift_steps) + shaken,
    )


def truth_of_series(series: SimulatedScanSeries) -> ScanSeriesTruth:
    """Return how a series really goes."""
    fractions, shift, length = [], [], []
    for number, one in enumerate(series):
        walls = _between(one.truth.walls)
        fractions.append(one.truth.fractions)
        length.append(sum(wall.length for wall in walls))
        shift.append(_shift(series, number, walls))
    return ScanSeriesTruth(
        drift_steps=series.origins,
        fractions=np.array(fractions),
        wall_shift=np.array(shift),
        wall_length=np.array(length, dtype=np.float64),
    )


def _between(walls: tuple[ScanWall, ...]) -> list[ScanWall]:
    """Return the walls between horizontal and vertical."""
    return [wall for wall in walls if {wall.before, wall.after} == {NAMES[HORIZONTAL], NAMES[VERTICAL]}]


def _shift(series: SimulatedScanSeries, number: int, walls: list[ScanWall]) -> float:
    """Return the median distance of walls from those of the first scan at the same place of the specimen."""
    from scipy.spatial import cKDTree

    shape, first, origin = series.settings.scan.shape, series.domains(0), series.origins[number]
    before = _between(domains_on(first, shape, origin=(float(origin[0]), float(origin[1])), wall_width=0.0).walls)
    if not walls or not before:
        return float("nan")
    points = np.concatenate([dense(wall.points, 0.2) for wall in walls])
    far = cKDTree(np.concatenate([dense(wall.points) for wall in before])).query(points)[0]
    return float(np.median(np.where(first.is_horizontal(points + origin), -far, far)))

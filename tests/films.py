"""Small simulated films for tests of what is found in them, and how findings are matched with the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from dipolar.core.flags import POSITION_FLAGS, Flag, has
from dipolar.core.nouns import Cells, Columns, Image
from dipolar.locate import AbstractFit, locate_columns
from dipolar.measure import build_cells
from dipolar.simulate import FilmSettings, Layer, Simulated, material_named, simulate_film
from dipolar.simulate.crystal import inside


def film(settings: FilmSettings, *, seed: int = 0) -> Simulated:
    """Return the simulated film of that seed."""
    return simulate_film(settings, rng=np.random.default_rng(seed))


def layer(name: str, share: float = 1.0, **changes: float) -> Layer:
    """Return a layer of that material, some of its properties changed."""
    return Layer(material=replace(material_named(name), **changes), share=share)


def nearest(points_px: np.ndarray, others_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance from each point to the nearest other one, and its row."""
    distance, row = cKDTree(others_px).query(points_px)
    return distance, row


def off_edge(columns: Columns, image: Image, *, widths: float = 3.0, border_px: float = 0.0) -> np.ndarray:
    """Return which true columns stand at least so many of their widths inside the measured image."""
    margin = widths * float(columns.widths_px.max()) + border_px
    return inside(columns.positions_px, image.data.shape, margin_px=-margin)


def complete_cells(simulated: Simulated, *, border_px: float = 0.0) -> np.ndarray:
    """Return which true cells have all five columns off the edge."""
    good = off_edge(simulated.truth_columns, simulated.image, border_px=border_px)
    cells = simulated.truth_cells
    return good[cells.center] & good[cells.corners].all(axis=1)


def sigmas(covariance: np.ndarray) -> np.ndarray:
    """Return the standard errors (y, x) of each row."""
    return np.sqrt(np.einsum("nii->ni", covariance))


@dataclass(frozen=True)
class Scored:
    """Errors (found - true) in px with their sigma, of everything in one or several films that no flag concerns."""

    errors: dict[str, np.ndarray]
    sigma: dict[str, np.ndarray]
    truth: np.ndarray
    found: np.ndarray
    row_jitter_px: np.ndarray

    def z(self, name: str) -> np.ndarray:
        """Return errors over sigma, one value per component."""
        return self.errors[name] / self.sigma[name]

    def rms(self, name: str) -> float:
        """Return the RMS error per component, in px."""
        return float(np.sqrt(np.mean(self.errors[name] ** 2)))

    @property
    def gain(self) -> float:
        """The displacement found per displacement that is there."""
        return float(np.sum(self.found * self.truth) / np.sum(self.truth**2))


def score(settings: FilmSettings, *, seeds: range, fit: AbstractFit | None = None) -> Scored:
    """Measure films of these seeds and return the errors of columns (A, B), displacement, a and b."""
    errors: dict[str, list[np.ndarray]] = {name: [] for name in ("A", "B", "displacement", "a", "b")}
    sigma: dict[str, list[np.ndarray]] = {name: [] for name in errors}
    truth, found, jitter = [], [], []
    for seed in seeds:
        simulated = film(settings, seed=seed)
        columns = locate_columns(simulated.image, fit=fit)
        true = simulated.truth_columns
        distance, row = nearest(columns.positions_px, true.positions_px)
        good = (distance < 0.2 * np.linalg.norm(true.steps_px[0])) & ~has(columns.flags, POSITION_FLAGS)
        assert good.mean() > 0.8
        for code, name in enumerate("AB"):
            mine = good & (columns.sublattice == code)
            errors[name].append((columns.positions_px - true.positions_px[row])[mine])
            sigma[name].append(sigmas(columns.covariance_px2)[mine])
        cells, true_cells = build_cells(columns), simulated.truth_cells
        mine, its = pair_cells(cells, true_cells)
        truth.append(true_cells.displacement_px[its])
        found.append(cells.displacement_px[mine])
        errors["displacement"].append(found[-1] - truth[-1])
        sigma["displacement"].append(sigmas(cells.covariance_px2)[mine])
        for name in "ab":
            length, true_length = (np.linalg.norm(getattr(c, f"{name}_px"), axis=1) for c in (cells, true_cells))
            errors[name].append(length[mine] - true_length[its])
            sigma[name].append(getattr(cells, f"{name}_sigma_px")[mine])
        jitter.append(columns.noise.row_jitter_px)
    return Scored(
        errors={name: np.concatenate(values) for name, values in errors.items()},
        sigma={name: np.concatenate(values) for name, values in sigma.items()},
        truth=np.concatenate(truth),
        found=np.concatenate(found),
        row_jitter_px=np.array(jitter),
    )


def pair_cells(cells: Cells, true: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the same cells in both tables, without those that carry a flag."""
    distance, row = nearest(cells.positions_px, true.positions_px)
    edge = float(np.median(np.linalg.norm(true.a_px, axis=1)))
    mine = np.flatnonzero((distance < 0.1 * edge) & ~has(cells.flags, Flag.FLAGGED_COLUMN | Flag.ODD_CELL))
    return mine, row[mine]

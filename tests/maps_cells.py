"""Tables of cells with a known displacement field, for tests of domains, walls, charge, vortices and anomalies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dipolar.core.nouns import Cells

PIXEL_SIZE_PM = 17.25
EDGE_PX = 396.0 / PIXEL_SIZE_PM
FieldOf = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(rows, columns) → (down, right) in pm along the crystal's own axes."""


def rotation(angle_deg: float) -> np.ndarray:
    """Return the matrix on (y, x) that turns counter-clockwise on the screen."""
    angle = np.radians(angle_deg)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def crystal(
    field: FieldOf,
    count: tuple[int, int] = (24, 30),
    *,
    sigma_pm: float = 2.4,
    turn_deg: float = 0.0,
    seed: int | None = 0,
) -> Cells:
    """Return cells of a square lattice, turned, with the field and noise of that sigma (none where seed is None)."""
    rng = np.random.default_rng(seed)
    row, col = (part.ravel() for part in np.indices(count))
    many = row.size
    sigma = sigma_pm / PIXEL_SIZE_PM * np.exp(rng.normal(0.0, 0.15, many))
    noise = rng.normal(size=(many, 2)) * sigma[:, None] * (seed is not None)
    positions = np.stack([row, col], axis=1) * EDGE_PX
    small = np.full(many, 0.04)
    cells = Cells(
        row=row.astype(np.int32),
        col=col.astype(np.int32),
        grain=np.zeros(many, np.int32),
        positions_px=positions,
        displacement_px=field(row, col) / PIXEL_SIZE_PM + noise,
        covariance_px2=sigma[:, None, None] ** 2 * np.eye(2),
        a_px=np.tile([0.0, EDGE_PX], (many, 1)) + rng.normal(0.0, 0.04, (many, 2)),
        b_px=np.tile([EDGE_PX, 0.0], (many, 1)) + rng.normal(0.0, 0.04, (many, 2)),
        a_sigma_px=small,
        b_sigma_px=small,
        gamma_sigma_deg=np.full(many, 0.15),
        area_sigma_px2=np.full(many, 1.3),
        corners=np.full((many, 4), -1, np.int32),
        center=np.full(many, -1, np.int32),
        flags=np.zeros(many, np.uint32),
        basis="A",
        pixel_size_pm=PIXEL_SIZE_PM,
    )
    return turned(cells, turn_deg)


def turned(cells: Cells, angle_deg: float) -> Cells:
    """Return the cells as a camera turned the other way would see them."""
    matrix = rotation(angle_deg)
    vectors = {name: getattr(cells, name) @ matrix.T for name in ("positions_px", "displacement_px", "a_px", "b_px")}
    return replace(cells, covariance_px2=matrix @ cells.covariance_px2 @ matrix.T, **vectors)


def two(
    one_deg: float = 45.0, two_deg: float = -45.0, *, place: float = 14.3, width: float = 3.0, length_pm: float = 25.0
) -> FieldOf:
    """Return an upright wall at that column, `width` = 2ξ cells wide, between two directions."""

    def field(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        before, after = (
            length_pm * np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle))])
            for angle in (one_deg, two_deg)
        )
        share = np.tanh((col - place) / (0.5 * width))[:, None]
        return 0.5 * (before + after) + 0.5 * (after - before) * share

    return field


def even(down_pm: float, right_pm: float) -> FieldOf:
    """Return the same displacement everywhere."""
    return lambda row, col: np.tile([down_pm, right_pm], (row.size, 1)).astype(np.float64)


def vortex(sense: float = 1.0, *, row_at: float = 11.7, col_at: float = 14.4) -> FieldOf:
    """Return a displacement that runs counter-clockwise around a point; with sense -1 it is an antivortex."""

    def field(row: np.ndarray, col: np.ndarray) -> np.ndarray:
        y, x = row - row_at, col - col_at
        radius = np.maximum(np.hypot(y, x), 1e-9)
        size = 28.0 * np.tanh(radius / 4.0) / radius
        return np.stack([-size * x, sense * size * y], axis=-1)

    return field

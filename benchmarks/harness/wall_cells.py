"""Tables of cells as an image would give them, without an image: for walls, and for timing maps of many cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dipolar.core.nouns import Cells, Columns, Noise

PIXEL_SIZE_PM, CELL_PM = 17.25, 396.0
EDGE_PX = CELL_PM / PIXEL_SIZE_PM
LENGTH_PM = 25.0


def lattice_of(count: tuple[int, int], *, sigma_pm: float, rng: np.random.Generator) -> Cells:
    """Return cells without displacement on a square lattice, their errors not added yet."""
    row, col = (part.ravel().astype(np.int32) for part in np.indices(count))
    many = row.size
    sigma = sigma_pm / PIXEL_SIZE_PM * np.exp(rng.normal(0.0, 0.15, many))
    edges = [np.tile(edge, (many, 1)) + rng.normal(0.0, 0.04, (many, 2)) for edge in ([0.0, EDGE_PX], [EDGE_PX, 0.0])]
    small = np.full(many, 0.04)
    return Cells(
        row=row,
        col=col,
        grain=np.zeros(many, np.int32),
        positions_px=np.stack([row, col], axis=1) * EDGE_PX + 40.0,
        displacement_px=np.zeros((many, 2)),
        covariance_px2=sigma[:, None, None] ** 2 * np.eye(2),
        a_px=edges[0],
        b_px=edges[1],
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


def noisy(cells: Cells, displacement_px: np.ndarray, rng: np.random.Generator) -> Cells:
    """Return the cells with that displacement and their errors."""
    sigma = np.sqrt(cells.covariance_px2[:, 0, 0])[:, None]
    return replace(cells, displacement_px=displacement_px + sigma * rng.normal(size=displacement_px.shape))


def stripes(count: int, rng: np.random.Generator) -> Cells:
    """Return cells of a film with stripes of four directions, curved walls, and a substrate without displacement."""
    cells = lattice_of((count, count), sigma_pm=3.0, rng=rng)
    y, x = cells.row / count, cells.col / count + 0.03 * np.sin(6.0 * cells.row / count)
    turn = np.radians(45.0 + 90.0 * (np.floor(6.0 * x) % 4))
    field = LENGTH_PM / PIXEL_SIZE_PM * np.stack([-np.sin(turn), np.cos(turn)], axis=1)
    return noisy(cells, np.where((y < 0.8)[:, None], field, 0.0), rng)


def linked(cells: Cells, rng: np.random.Generator) -> tuple[Cells, Columns]:
    """Return the cells with their columns."""
    count = int(cells.row.max()) + 1
    corner = cells.row * (count + 1) + cells.col
    corners = np.stack([corner, corner + 1, corner + count + 1, corner + count + 2], axis=1).astype(np.int32)
    many = (count + 1) ** 2 + count**2
    side = np.full((many, 8), -1, np.int32)
    for first, edge in ((0, count + 1), ((count + 1) ** 2, count)):
        grid = first + np.arange(edge**2, dtype=np.int32).reshape(edge, edge)
        wide = np.pad(grid, 1, constant_values=-1)
        side[grid.ravel(), 4:] = np.stack(
            [part.ravel() for part in (wide[1:-1, 2:], wide[1:-1, :-2], wide[2:, 1:-1], wide[:-2, 1:-1])], axis=1
        )
    unknown = np.full(many, np.nan)
    columns = Columns(
        positions_px=np.zeros((many, 2)),
        covariance_px2=np.tile(0.003 * np.eye(2), (many, 1, 1)),
        amplitude=100.0 * np.exp(rng.normal(0.0, 0.05, many)),
        amplitude_sigma=unknown,
        background=unknown,
        widths_px=np.full((many, 2), 3.0),
        angle_deg=unknown,
        sublattice=(np.arange(many) >= (count + 1) ** 2).astype(np.int8),
        index=np.zeros((many, 2), np.int32),
        grain=np.zeros(many, np.int32),
        links=side,
        row_reach_px=np.full((many, 2), np.nan),
        chi2=np.exp(rng.normal(0.0, 0.1, many)),
        flags=np.zeros(many, np.uint32),
        noise=Noise(
            gain=1.0, floor=0.0, correlation=(1.0, 1.0), row_jitter_px=(0.0, 0.0), row_jitter_sigma_px=(0.0, 0.0)
        ),
        steps_px=np.zeros((2, 2)),
        profile=np.ones((2, 1, 2)),
    )
    center = ((count + 1) ** 2 + np.arange(len(cells.flags))).astype(np.int32)
    return replace(cells, corners=corners, center=center), columns

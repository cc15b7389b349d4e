"""The true domains of a simulated film, from its true cells."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from dipolar.core.domains import Domains
from dipolar.core.nouns import Cells
from dipolar.core.units import angle_deg, magnitude

NOT_POLAR = 0.1
"""Cells displaced by less than this share of the longest displacement belong to no domain."""


def true_domains(cells: Cells, directions_deg: tuple[float, ...]) -> Domains:
    """Return the connected regions in which the true displacement is nearest to the same direction.

    Parameters
    ----------
    cells
        True cells.
    directions_deg
        Directions of the displacement inside domains, counter-clockwise on the screen; none where it turns everywhere.
    """
    if not directions_deg:
        return _described(cells, np.full(len(cells.flags), -1, np.int32), np.zeros(0, np.int32), directions_deg)
    length = magnitude(cells.displacement_px)
    polar = length > NOT_POLAR * max(float(length.max(initial=0.0)), 1e-9)
    off = angle_deg(cells.displacement_px)[:, None] - np.array(directions_deg)[None]
    nearest = np.argmin(np.abs((off + 180.0) % 360.0 - 180.0), axis=1)
    label = np.full(len(length), -1, dtype=np.int32)
    state: list[int] = []
    row, col = cells.row - cells.row.min(initial=0), cells.col - cells.col.min(initial=0)
    for grain in np.unique(cells.grain):
        for number in range(len(directions_deg)):
            mine = np.flatnonzero((cells.grain == grain) & (nearest == number) & polar)
            if not len(mine):
                continue
            there = np.zeros((int(row.max()) + 1, int(col.max()) + 1), dtype=bool)
            there[row[mine], col[mine]] = True
            found, count = scipy.ndimage.label(there)
            label[mine] = found[row[mine], col[mine]] - 1 + len(state)
            state += [number] * count
    return _described(cells, label, np.array(state, dtype=np.int32), directions_deg)


def _described(cells: Cells, label: np.ndarray, state: np.ndarray, directions_deg: tuple[float, ...]) -> Domains:
    """Return the noun: means over the cells of each domain; every sigma is nan."""
    count = len(state)
    members = np.bincount(label[label >= 0], minlength=count)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(label[label >= 0], weights=values[label >= 0], minlength=count).astype(np.float64)

    area = np.abs(cells.a_px[:, 0] * cells.b_px[:, 1] - cells.a_px[:, 1] * cells.b_px[:, 0])
    mean = np.column_stack([total(cells.displacement_px[:, k]) for k in (0, 1)]) / np.maximum(members, 1)[:, None]
    centre = np.column_stack([total(cells.positions_px[:, k]) for k in (0, 1)]) / np.maximum(members, 1)[:, None]
    angles, unknown = np.radians(np.array(directions_deg)), np.full(count, np.nan)
    longest = np.max(magnitude(mean), initial=0.0)
    return Domains(
        label=label,
        probability=np.where(label >= 0, 1.0, np.nan),
        state=state,
        polar=np.ones(count, dtype=bool),
        mean_px=mean,
        mean_covariance_px2=np.full((count, 2, 2), np.nan),
        angle_deg=angle_deg(mean),
        angle_sigma_deg=unknown,
        cells=members.astype(np.int32),
        cells_sigma=unknown,
        area_px2=total(area),
        area_sigma_px2=unknown,
        centre_px=centre,
        state_px=longest * np.stack([-np.sin(angles), np.cos(angles)], axis=1),
        state_spread_px=np.zeros(len(angles)),
        pixel_size_pm=cells.pixel_size_pm,
    )

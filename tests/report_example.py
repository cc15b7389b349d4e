"""A made-up measurement for tests of the report: a displacement field on a lattice, drawn as an image of Gaussians."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dipolar.core.flags import Flag
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Calibration, Cells, Columns, Fact, Field, GainCheck, Image, Noise, Record, Reference

PIXEL_SIZE_PM = 17.25
LATTICE_PM = 396.0

PLAIN_FIGURES = {"map", "sigma", "histogram", "lattice", "columns", "gain"}
"""What a measurement without findings has to show."""


def vortex(rows: np.ndarray, cols: np.ndarray, count: tuple[int, int]) -> np.ndarray:
    """Return (dy, dx) in pm that runs counter-clockwise around the middle, zero at its core."""
    y, x = rows - (count[0] - 1) / 2, cols - (count[1] - 1) / 2
    radius = np.hypot(y, x)
    turn = 28.0 * np.tanh(radius / 5.0) / np.maximum(radius, 1e-9)
    return np.stack([-turn * x, turn * y], axis=-1)


def two_domains(rows: np.ndarray, cols: np.ndarray, count: tuple[int, int]) -> np.ndarray:
    """Return (dy, dx) in pm: up-right on the left, down-right on the right of an inclined wall."""
    side = np.tanh((cols - count[1] / 2 + 0.3 * (rows - count[0] / 2)) / 1.5)
    return np.stack([18.0 * side, np.full(side.shape, 18.0)], axis=-1)


def measurement(
    count: tuple[int, int] = (60, 60),
    *,
    field: Callable[[np.ndarray, np.ndarray, tuple[int, int]], np.ndarray] = vortex,
    displacement_pm: np.ndarray | None = None,
    edge_px: float = 22.0,
    sigma_pm: float = 2.4,
    calibrated: bool = True,
    reference: bool = True,
    flagged: float = 0.01,
    name: str = "film.dm4",
    image: bool = True,
) -> Measurement:
    """Return `count` cells (rows, columns) with the given displacement field; every random number is seeded."""
    rng = np.random.default_rng(7)
    n_rows, n_cols = count
    origin = np.array([1.2 * edge_px, 1.0 * edge_px + 0.03 * edge_px * n_rows])
    step_a, step_b = np.array([0.01, 1.0]) * edge_px, np.array([1.0, -0.03]) * edge_px

    def place(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return origin + y[..., None] * step_b + x[..., None] * step_a

    corner_rows, corner_cols = np.indices((n_rows + 1, n_cols + 1)) if n_rows * n_cols else np.zeros((2, 0, 0), int)
    rows, cols = (part.ravel() for part in np.indices(count))
    sigma_px = sigma_pm / PIXEL_SIZE_PM * np.exp(rng.normal(0, 0.15, rows.size))
    truth = field(rows, cols, count) if displacement_pm is None else displacement_pm
    displacement = truth / PIXEL_SIZE_PM + rng.normal(0, 1, (rows.size, 2)) * sigma_px[:, None]
    corner_positions = place(corner_rows, corner_cols).reshape(-1, 2) + rng.normal(0, 0.05, (corner_rows.size, 2))
    corner_index = (rows * (n_cols + 1) + cols)[:, None] + np.array([0, 1, n_cols + 1, n_cols + 2])
    positions = corner_positions[corner_index].mean(axis=1) if rows.size else np.zeros((0, 2))
    columns = _columns(corner_positions, positions + displacement, sigma_px, (step_a, step_b))
    bad = rng.random(rows.size) < flagged
    corners = corner_positions[corner_index] if rows.size else np.zeros((0, 4, 2))
    cells = Cells(
        row=rows.astype(np.int32),
        col=cols.astype(np.int32),
        grain=np.zeros(rows.size, np.int32),
        positions_px=positions,
        displacement_px=displacement,
        covariance_px2=sigma_px[:, None, None] ** 2 * np.array([[1.2, 0.1], [0.1, 0.8]]),
        a_px=(corners[:, 1] - corners[:, 0] + corners[:, 3] - corners[:, 2]) / 2,
        b_px=(corners[:, 2] - corners[:, 0] + corners[:, 3] - corners[:, 1]) / 2,
        a_sigma_px=np.full(rows.size, 0.04),
        b_sigma_px=np.full(rows.size, 0.04),
        gamma_sigma_deg=np.full(rows.size, 0.15),
        area_sigma_px2=np.full(rows.size, 1.3),
        corners=corner_index.astype(np.int32) if rows.size else np.zeros((0, 4), np.int32),
        center=(corner_positions.shape[0] + np.arange(rows.size)).astype(np.int32),
        flags=np.where(bad, np.uint32(Flag.FLAGGED_COLUMN), np.uint32(0)).astype(np.uint32),
        basis="A",
        pixel_size_pm=PIXEL_SIZE_PM if calibrated else None,
    )
    shape = (int((n_rows + 2.4) * edge_px), int((n_cols + 2 + 0.03 * n_rows) * edge_px))
    data = _draw(shape, columns, rng) if image else rng.normal(100, 10, shape).astype(np.float32)
    return _wrap(Image(data=data, pixel_size_pm=None, name=name, facts=FACTS), columns, cells, calibrated, reference)


FACTS = (
    Fact(name="voltage_kv", value=300.0, source="ImageTags.Microscope.Voltage"),
    Fact(name="detector", value="HAADF", source="ImageTags.DataBar.Signal"),
)


def _columns(a: np.ndarray, b: np.ndarray, sigma_px: np.ndarray, steps: tuple[np.ndarray, np.ndarray]) -> Columns:
    count = len(a) + len(b)
    sublattice = np.repeat(np.array([0, 1], np.int8), [len(a), len(b)])
    rng = np.random.default_rng(3)
    sigma = np.where(sublattice == 0, 0.057, 0.13) * np.exp(rng.normal(0, 0.1, count))
    flags = np.where(rng.random(count) < 0.01, np.uint32(Flag.POOR_FIT), np.uint32(0)).astype(np.uint32)
    step_a, step_b = steps
    return Columns(
        positions_px=np.concatenate([a, b]),
        covariance_px2=sigma[:, None, None] ** 2 * np.eye(2),
        amplitude=np.where(sublattice == 0, 150.0, 52.0),
        amplitude_sigma=np.full(count, 2.0),
        background=np.full(count, 20.0),
        widths_px=np.full((count, 2), 3.2),
        angle_deg=np.zeros(count),
        sublattice=sublattice,
        index=np.zeros((count, 2), np.int32),
        grain=np.zeros(count, np.int32),
        links=np.full((count, 8), -1, np.int32),
        row_reach_px=np.full((count, 2), 3.0),
        chi2=np.ones(count),
        flags=flags,
        noise=Noise(
            gain=1.02,
            floor=0.4,
            correlation=(1.0, 1.03),
            row_jitter_px=(0.02, 0.05),
            row_jitter_sigma_px=(0.004, 0.004),
        ),
        steps_px=np.stack([(step_a + step_b) / 2, (step_a - step_b) / 2]),
        profile=np.array([[[1.0, 1.0]], [[1.0, 1.0]]]),
    )


def _draw(shape: tuple[int, int], columns: Columns, rng: np.random.Generator) -> np.ndarray:
    """Sum one Gaussian per column, each in its own small window."""
    expected = np.full(shape, 20.0)
    for (y, x), amplitude in zip(columns.positions_px, columns.amplitude, strict=True):
        y0, x0 = int(y) - 11, int(x) - 11
        ys, xs = np.arange(max(y0, 0), min(y0 + 24, shape[0])), np.arange(max(x0, 0), min(x0 + 24, shape[1]))
        if ys.size and xs.size:
            bump = np.exp(-((ys - y) ** 2)[:, None] / 20.5 - (xs - x) ** 2 / 20.5)
            expected[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1] += amplitude * bump
    return rng.poisson(expected).astype(np.float32)


def _wrap(image: Image, columns: Columns, cells: Cells, calibrated: bool, reference: bool) -> Measurement:
    rng = np.random.default_rng(5)
    y, x = cells.positions_px.T / 300
    fields = tuple(
        Field(
            name=name,
            unit=unit,
            positions_px=cells.positions_px,
            values=size * np.sin(y + phase) * np.cos(x) + rng.normal(0, 0.3 * size, y.size),
            sigma=np.full(y.size, 0.3 * size),
        )
        for name, unit, size, phase in (
            ("strain_xx", "", 0.01, 0.0),
            ("strain_yy", "", 0.015, 1.0),
            ("strain_xy", "", 0.004, 2.0),
            ("rotation_deg", "deg", 0.4, 3.0),
        )
    )
    region = Reference(region_px=(20, 240, 20, 500), cells=162, offset_px=(0.31, -0.12), offset_sigma_px=(0.011, 0.01))
    return Measurement(
        image=image,
        columns=columns,
        cells=cells,
        fields=fields,
        calibration=Calibration(
            pixel_size_pm=PIXEL_SIZE_PM if calibrated else None,
            source="lattice" if calibrated else "none",
            file_pixel_size_pm=16.5 if calibrated else None,
            lattice_pm=LATTICE_PM if calibrated else None,
            measured_lattice_px=22.957,
            measured_lattice_sigma_px=0.004,
        ),
        reference=region if reference else None,
        gain_check=GainCheck(
            gain=(1.004, 0.991),
            gain_sigma=(0.006, 0.007),
            bias_px=(0.002, -0.001),
            zscore_width=(1.01, 0.98),
            cells=3400,
        ),
        summary={
            "cells": cells.flags.size,
            "rms_deviation_a_pm": 3.1234,
            "rms_deviation_b_pm": 21.98,
            "material": None,
        },
        record=Record(
            settings={"lattice_pm": LATTICE_PM, "pixel_size_pm": None, "basis": "A", "gain_check": True},
            versions={"dipolar": "0.1.0", "python": "3.11.2", "numpy": "2.4.6", "scipy": "1.17.1", "numba": "0.68.1"},
            inputs={image.name: "9f" * 32},
            timings_s={"locate": 1.234, "measure": 0.2},
            created="2025-01-01T12:00:00Z",
            notes=(),
        ),
    )

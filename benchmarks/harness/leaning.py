"""Images of a cell that leans against the beam, with known truth: by absorption and by frozen phonons of abTEM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dipolar.core.elements import symbols_of
from dipolar.core.structure import Structure, cartesian_pm, square_edges_pm, supercell
from dipolar.core.tilt_library import TiltLibrary, compared
from dipolar.measure.tilt_posterior import MeanCell
from dipolar.simulate.multislice import (
    AnnularImages,
    Fineness,
    Microscope,
    fit_columns,
    focal_series,
    formula_cell_parts,
    mean_cell,
)
from dipolar.simulate.structures import seen_along
from harness.process import run_fresh

A_OF = {"BiFeO3": 83, "SrTiO3": 38}
TRUE_PM = {"BiFeO3": 22.835, "SrTiO3": 0.0}
"""Displacement of B along y and along x."""
STOCK, POINTS, SLICES = 96, 18, 26
"""Frozen phonons: arrangements of each plane, places of the probe along an edge, slices between thicknesses."""
RADIUS = 0.283
"""Radius of the disk that Gaussians are fitted to, in cells: 0.4 of the distance to the nearest column."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One image of a cell, as terms, and what is true of it."""

    crystal: str
    nm: float
    focus_nm: float
    tilt_mrad: np.ndarray
    """(y, x)."""
    true_pm: np.ndarray
    """Displacement of B (dy, dx)."""
    terms: np.ndarray
    """At the orders that are compared; A near the origin, no blur of the source."""
    mean: float
    """Mean of the image, over the beam."""


def structure_of(crystal: str) -> Structure:
    """Return the crystal as it lies in the microscope, A at the origin."""
    structure = seen_along(crystal)
    atom = structure.fractional[structure.numbers == A_OF[crystal]][0]
    return replace(structure, fractional=(structure.fractional - atom) % 1.0)


def by_absorption(
    crystal: str, library: TiltLibrary, tilt_mrad: np.ndarray, *, nm: list[float], foci_nm: list[float], sign: int
) -> Iterator[Seen]:
    """Yield images by dipolar's own multislice, finer than the library's, of the true polar crystal or its opposite."""
    whole = structure_of(crystal)
    one = mean_cell(whole, formula_cell_parts(whole, A_OF[crystal]))
    cell = square_edges_pm(one)
    # a crystal with the opposite polarization is its own inverse
    one = replace(one, fractional=(sign * one.fractional) % 1.0)
    series = focal_series(
        one, Microscope(), thicknesses_nm=nm, defoci_pm=[1e3 * focus for focus in foci_nm],
        tilt_mrad=(float(tilt_mrad[0]), float(tilt_mrad[1])), top_pm=-0.25 * float(cell[2]),
        fineness=Fineness(pixel_pm=6.3, field_pm=4 * float(cell[0])),
    )  # fmt: skip
    orders = library.orders[compared(library)]
    for focus, images in zip(foci_nm, series, strict=True):
        index = {tuple(row): at for at, row in enumerate(np.rint(images.frequencies_per_pm * cell[:2]).astype(int))}
        rows = [index[tuple(order)] for order in orders.tolist()]
        for at, thick in enumerate(images.thicknesses_nm):
            yield Seen(
                crystal=crystal, nm=float(thick), focus_nm=focus, tilt_mrad=tilt_mrad,
                true_pm=np.full(2, sign * TRUE_PM[crystal]), terms=images.coefficients[at, rows],
                mean=float(images.data[at].mean()),
            )  # fmt: skip


def by_frozen_phonons(
    crystal: str, library: TiltLibrary, tilt_mrad: np.ndarray, *, focus_nm: float, python: Path, seed: int, kept: Path
) -> Iterator[Seen]:
    """Yield images by abTEM, 5 to 31 nm; a file of an earlier run is read."""
    if not kept.is_file():
        given, nm = _given(crystal, tilt_mrad, focus_nm, seed)
        with TemporaryDirectory() as folder:
            there, back = Path(folder) / "given.npz", Path(folder) / "found.npz"
            np.savez(there, **given)
            run_fresh("peers.abtem_workflow", ["tilted", str(there), str(back)], python=python)
            signal = np.load(back)["signal"].reshape(POINTS, POINTS, -1)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, signal=signal, nm=nm, tilt=tilt_mrad, focus_nm=focus_nm, name=crystal)
    found = np.load(kept)
    orders = library.orders[compared(library)]
    for at, thick in enumerate(found["nm"]):
        image = found["signal"][..., at].astype(np.float64)
        yield Seen(
            crystal=str(found["name"]), nm=float(thick), focus_nm=float(found["focus_nm"]), tilt_mrad=found["tilt"],
            true_pm=np.full(2, TRUE_PM[crystal]), mean=float(image.mean()),
            terms=np.fft.fft2(image, norm="forward")[orders[:, 0], orders[:, 1]],
        )  # fmt: skip


def _given(crystal: str, tilt_mrad: np.ndarray, focus_nm: float, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """Return what abTEM is to do: two by two cells of one formula unit, A first, and the thicknesses that it tells."""
    structure = structure_of(crystal)
    per = round(float(np.cbrt(np.count_nonzero(structure.numbers == A_OF[crystal]))))
    across = supercell(structure, (2 // per, 2 // per, 1))
    edges = square_edges_pm(across)
    depth = edges[2] / per
    places = (cartesian_pm(across) + np.array([0.0, 0.0, 0.25 * depth])) % edges
    symbols = symbols_of(across.numbers)
    elements = sorted(set(symbols))
    steps = np.stack(np.meshgrid(np.arange(POINTS), np.arange(POINTS), indexing="ij"), axis=-1).reshape(-1, 2)
    # neighbouring places look at different cells, so that all of them are in the mean
    cell = np.stack([steps.sum(axis=1) % 2, steps[:, 0] % 2], axis=1)
    scope = Microscope()
    return {
        "symbols": np.array(symbols), "positions_pm": places, "edges_pm": edges, "elements": np.array(elements),
        "rms_pm": np.array([float(across.rms_pm[symbols.index(element)]) for element in elements]),
        "stock": STOCK // per, "slices": 2 * per, "slices_per_exit": SLICES, "exits": 6, "pixel_pm": 4.15,
        "tilt_mrad": tilt_mrad, "focus_pm": 1e3 * focus_nm, "voltage_kv": scope.voltage_kv,
        "convergence_mrad": scope.convergence_mrad, "inner_mrad": scope.inner_mrad, "outer_mrad": scope.outer_mrad,
        "places_pm": (steps / POINTS + cell) * 0.5 * edges[:2], "seed": seed, "together": 9,
    }, np.arange(1, 7) * SLICES * depth / 2e3  # fmt: skip


def measured(
    seen: Seen, library: TiltLibrary, *, fwhm_pm: float, cells: int, dose_e_per_pm2: float, rng: np.random.Generator
) -> MeanCell | None:
    """Return the mean cell of so many such cells at a dose, A where a Gaussian is fitted; None where fits fail."""
    orders = library.orders[compared(library)]
    g = orders / library.cell_pm
    blurred = seen.terms * Microscope(source_fwhm_pm=fwhm_pm).blur(g)
    sigma = np.sqrt(0.5 * seen.mean / (dose_e_per_pm2 * library.cell_pm**2 * cells))
    noisy = blurred + sigma * (rng.normal(size=len(g)) + 1j * rng.normal(size=len(g)))
    images = AnnularImages(
        data=np.zeros((1, 1, 1), dtype=np.float32), pixel_size_pm=(1.0, 1.0), thicknesses_nm=np.array([seen.nm]),
        frequencies_per_pm=g, coefficients=2.0 * noisy[None],
    )  # fmt: skip
    starts = np.array([[0.0, 0.0], 0.5 * library.cell_pm + seen.true_pm])
    a, b = fit_columns(images, starts, radius_pm=RADIUS * library.cell_pm)[0]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    return MeanCell(
        terms=noisy * np.exp(2j * np.pi * (g @ a)), variance=np.full(len(g), sigma**2),
        spread=np.ones(len(g), dtype=np.complex128), displacement=(b - a) / library.cell_pm - 0.5, cells=cells,
    )  # fmt: skip

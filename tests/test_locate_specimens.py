"""Films as they are: layers, a dislocation, a surface, amorphous parts, borders, saturation; and what is no film."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage

import films
from dipolar.core.errors import ImageError, NoLatticeError
from dipolar.core.flags import POSITION_FLAGS, Flag, has
from dipolar.core.nouns import Columns, Image
from dipolar.locate import GaussianFit, SharedProfileFit, locate_columns
from dipolar.measure import build_cells
from dipolar.recipes.measure import measure_image
from dipolar.simulate import Dislocation, FilmSettings, Simulated, benchmark_film, simulate_film

CELL_PX = 390.5 / 17.25
STACK = FilmSettings(
    shape_px=(460, 460),
    layers=(films.layer("SrTiO3", 0.5), films.layer("BiFeO3", 0.5)),
    intensity_scatter=0.05,
)


def found_in(simulated: Simulated) -> tuple[Columns, np.ndarray, np.ndarray]:
    """Return the columns found, how far each is from the nearest true one, and which that is."""
    columns = locate_columns(simulated.image)
    return columns, *films.nearest(columns.positions_px, simulated.truth_columns.positions_px)


@pytest.mark.parametrize(
    "layers",
    [
        (films.layer("SrTiO3", 0.5), films.layer("BiFeO3", 0.5, ratio_b_to_a=1.3, brightness_a=0.5)),
        (
            films.layer("SrTiO3", 0.4),
            films.layer("BiFeO3", 0.2, ratio_b_to_a=1.0, brightness_a=0.5),
            films.layer("PbTiO3", 0.2, ratio_b_to_a=1.3),
            films.layer("BiFeO3", 0.2),
        ),
    ],
    ids=["two", "four"],
)
def test_sublattices_are_right_in_layers_where_b_outshines_a(layers):
    simulated = films.film(replace(STACK, layers=layers, rotation_deg=5.0), seed=2)
    columns, distance, row = found_in(simulated)
    assert (distance < 0.1 * CELL_PX).all()
    true = simulated.truth_columns
    brighter = true.amplitude[row][columns.sublattice == 1].max() > np.median(true.amplitude[true.sublattice == 0])
    assert brighter  # else this test shows nothing
    assert (columns.sublattice == true.sublattice[row]).all()
    cells = build_cells(columns)
    complete = simulated.truth_cells.positions_px[films.complete_cells(simulated)]
    assert films.nearest(complete, cells.positions_px)[0].max() < 0.1 * CELL_PX


def test_a_dislocation_costs_a_few_cells_at_its_core_and_shifts_none_elsewhere():
    settings = FilmSettings(
        shape_px=(520, 520), layers=(films.layer("BiFeO3"),), dislocation=Dislocation(place=(0.05, 0.05))
    )
    simulated = films.film(settings, seed=2)
    columns, distance, row = found_in(simulated)
    assert (distance < 0.1 * CELL_PX).all()
    assert (columns.sublattice == simulated.truth_columns.sublattice[row]).all()
    cells, true = build_cells(columns), simulated.truth_cells
    complete = films.complete_cells(simulated)
    off, _ = films.nearest(true.positions_px[complete], cells.positions_px)
    lost = true.positions_px[complete][off > 0.1 * CELL_PX]
    core = np.full(2, 259.5 + 0.05 * 520)
    assert len(lost) <= 6
    assert (np.linalg.norm(lost - core, axis=1) < 4 * CELL_PX).all()
    # no cell reaches across the extra half plane, near the core or along the seam that the indices have somewhere
    for edge in (cells.a_px, cells.b_px):
        assert (np.abs(np.linalg.norm(edge, axis=1) / CELL_PX - 1.0) < 0.2).all()
    _, its = films.nearest(cells.positions_px, true.positions_px)
    z = (cells.displacement_px - true.displacement_px[its]) / films.sigmas(cells.covariance_px2)
    assert len(z) > 400 and np.abs(z).max() < 5.0
    assert z.std() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("fit", [SharedProfileFit(), GaussianFit()], ids=["profile", "gaussian"])
def test_vacuum_has_no_columns_and_no_influence(fit):
    simulated = films.film(replace(STACK, vacuum=0.3), seed=1)
    columns = locate_columns(simulated.image, fit=fit)
    true = simulated.truth_columns
    distance, row = films.nearest(columns.positions_px, true.positions_px)
    assert (distance < 0.1 * CELL_PX).all()
    complete = films.complete_cells(simulated)
    found = build_cells(columns).positions_px
    assert films.nearest(simulated.truth_cells.positions_px[complete], found)[0].max() < 0.1 * CELL_PX
    # the darkness beyond the surface is not the background between the columns, nor the surface a jitter of the scan
    deep = columns.positions_px[:, 0] > 0.3 * 460 + 2 * CELL_PX
    np.testing.assert_allclose(np.median((columns.background / true.background[row])[deep]), 1.0, atol=0.1)
    np.testing.assert_allclose(np.median((columns.amplitude / true.amplitude[row])[deep]), 1.0, atol=0.1)
    assert max(columns.noise.row_jitter_px) < 0.03
    good = deep & ~has(columns.flags, POSITION_FLAGS)
    z = (columns.positions_px - true.positions_px[row])[good] / films.sigmas(columns.covariance_px2)[good]
    assert z.std() == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("seed", [1, 2])
def test_an_amorphous_region_has_no_columns(seed):
    simulated = films.film(replace(STACK, amorphous=(0.25, 1.0, 0.0, 0.3)), seed=seed)
    columns, distance, _ = found_in(simulated)
    inside = (columns.positions_px[:, 0] > 0.25 * 460) & (columns.positions_px[:, 1] < 0.3 * 460)
    stray = (distance > 0.25 * CELL_PX) & inside
    assert np.count_nonzero(distance > 0.25 * CELL_PX) == stray.sum()
    # a random spot where the lattice would go on cannot be told from a column: a few, in the first row beyond it
    assert stray.sum() <= 0.01 * len(distance)
    depth = np.minimum(columns.positions_px[:, 0] - 0.25 * 460, 0.3 * 460 - columns.positions_px[:, 1])
    assert (depth[stray] < CELL_PX).all()
    assert not np.isin(build_cells(columns).center, np.flatnonzero(stray)).any()


def test_a_border_of_nan_has_no_columns():
    simulated = films.film(replace(STACK, nan_border_px=12), seed=1)
    columns, _, _ = found_in(simulated)
    y, x = np.rint(columns.positions_px).astype(int).T
    assert np.isfinite(simulated.image.data[y, x]).all()
    complete = films.complete_cells(simulated, border_px=12.0)
    cells = build_cells(columns)
    assert films.nearest(simulated.truth_cells.positions_px[complete], cells.positions_px)[0].max() < 0.1 * CELL_PX
    assert has(columns.flags, Flag.NEAR_INVALID).any()


def test_saturated_columns_are_flagged_and_no_others():
    simulated = films.film(benchmark_film(size_px=300), seed=4)
    ceiling = np.float32(220.0)
    cut = replace(simulated.image, data=np.minimum(simulated.image.data, ceiling), ceiling=float(ceiling))
    columns = locate_columns(cut)
    saturated = has(columns.flags, Flag.SATURATED)
    at_ceiling = cut.data >= ceiling
    size = np.array(at_ceiling.shape)
    under = np.array(
        [
            at_ceiling[max(0, y - 3) : min(size[0], y + 4), max(0, x - 3) : min(size[1], x + 4)].sum()
            for y, x in np.rint(columns.positions_px).astype(int)
        ]
    )
    assert 3 < saturated.sum() < 0.5 * len(saturated)
    assert saturated[under > 4].all()
    assert not saturated[under == 0].any()
    assert not has(locate_columns(simulated.image).flags, Flag.SATURATED).any()


# --- what is no image of a crystal


def _speckle(rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(size=(400, 400))
    return scipy.ndimage.gaussian_filter(noise, 3.0) - scipy.ndimage.gaussian_filter(noise, 4.0)


NO_CRYSTAL: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "counting noise": lambda rng: rng.poisson(100.0, (400, 400)),
    "small noise": lambda rng: rng.normal(size=(64, 64)),
    "blurred noise": lambda rng: 50.0 + scipy.ndimage.gaussian_filter(rng.normal(size=(400, 400)), 3.0),
    "speckle of one size": _speckle,
    "stripes": lambda rng: 100.0 + 50.0 * np.sin(np.arange(300) / 3.0) + rng.normal(size=(300, 300)),
    "ramp": lambda rng: np.add.outer(np.arange(300.0), np.arange(300.0)),
    "amorphous": lambda rng: (
        simulate_film(FilmSettings(shape_px=(400, 400), amorphous=(0.0, 1.0, 0.0, 1.0)), rng=rng).image.data
    ),
}


@pytest.mark.parametrize("kind", NO_CRYSTAL)
def test_what_is_no_crystal_has_no_lattice(kind):
    data = NO_CRYSTAL[kind](np.random.default_rng(7))
    image = Image(data=data.astype(np.float32), name="picture")
    with pytest.raises(NoLatticeError) as caught:
        measure_image(image)
    assert re.search("lattice|crystal", caught.value.expected)
    assert str(image.data.shape[0]) in caught.value.got or "maxima" in caught.value.got
    assert caught.value.do


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.full((100, 100), 5.0), "contrast"),
        (np.full((100, 100), 65535.0), "65535"),
        (np.ones((8, 8)), "8 × 8"),
        (np.full((100, 100), np.nan), "nan"),
    ],
    ids=["constant", "saturated", "8x8", "nan"],
)
def test_what_is_no_image_is_refused_in_one_message(data, words):
    with pytest.raises(ImageError, match=words) as caught:
        measure_image(Image(data=data.astype(np.float32), name="picture", ceiling=65535.0))
    assert "picture" in caught.value.got


def test_a_crystal_all_but_drowned_in_saturation_gives_a_message_or_flags():
    simulated = films.film(benchmark_film(size_px=300), seed=1)
    image = replace(simulated.image, data=np.minimum(simulated.image.data, 60.0).astype(np.float32), ceiling=60.0)
    try:
        columns = locate_columns(image)
    except ImageError:
        return
    assert has(columns.flags, POSITION_FLAGS).mean() > 0.9


def test_dark_columns_are_refused_where_bright_ones_were_named():
    simulated = films.film(benchmark_film(size_px=300), seed=1)
    with pytest.raises(ImageError, match="bright columns were expected"):
        locate_columns(replace(simulated.image, data=-simulated.image.data), contrast="bright")

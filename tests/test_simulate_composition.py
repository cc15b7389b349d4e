"""Laws and trends of the simulated library of Sm-substituted BiFeO3."""

from __future__ import annotations

import numpy as np
import pytest

from dipolar.core.errors import SettingsError
from dipolar.core.nouns import A, B, same
from dipolar.core.units import angle_deg, magnitude
from dipolar.simulate import COMPOSITIONS, MATERIALS, Simulated, composition_film
from dipolar.simulate.composition import PIXEL_SIZE_PM, RESIDUAL_PM
from dipolar.simulate.composition_model import SM_BRIGHTNESS, SMFEO3_PM, lattice_pm, orthorhombic_share, polar_pm
from dipolar.simulate.crystal import inside

SHAPE = (500, 460)


def film(x: float, *, seed: int = 0, dose: float = 1.0) -> Simulated:
    return composition_film(x, rng=np.random.default_rng(seed), shape_px=SHAPE, dose=dose)


@pytest.fixture(scope="module")
def films() -> dict[float, list[Simulated]]:
    return {x: [film(x, seed=seed) for seed in range(3)] for x in (0.0, 0.10, 0.14, 0.20)}


def displacement_pm(simulated: Simulated) -> np.ndarray:
    return simulated.truth_cells.displacement_px * PIXEL_SIZE_PM


def antipolar_pm(simulated: Simulated) -> float:
    """Return the mean of half the distance of A columns from the middle of the neighbours that move the other way."""
    columns = simulated.truth_columns
    links, points = columns.links, columns.positions_px
    whole = (columns.sublattice == A) & (links[:, 4:] >= 0).all(axis=1)
    off = [points - (points[links[:, n]] + points[links[:, n + 1]]) / 2.0 for n in (4, 6)]
    return float(np.max([magnitude(vectors[whole]) for vectors in off], axis=0).mean() / 2.0 * PIXEL_SIZE_PM)


def test_the_library_is_thirteen_films_from_bifeo3_to_twenty_per_cent():
    assert len(COMPOSITIONS) == 13
    assert COMPOSITIONS[0] == 0.0
    assert COMPOSITIONS[-1] == 0.20
    assert list(COMPOSITIONS) == sorted(set(COMPOSITIONS))


def test_the_same_generator_gives_the_same_film():
    assert same(film(0.13, seed=4), film(0.13, seed=4))
    assert not same(film(0.13, seed=4), film(0.13, seed=5))


@pytest.mark.parametrize("x", [0.0, 0.13, 0.20])
def test_the_truth_is_one(x):
    one = film(x)
    columns, cells = one.truth_columns, one.truth_cells
    middle = columns.positions_px[cells.corners].mean(axis=1)
    np.testing.assert_allclose(columns.positions_px[cells.center] - middle, cells.displacement_px, atol=1e-9)
    assert inside(columns.positions_px, SHAPE).all()
    assert one.image.data.shape == one.expected.shape == SHAPE
    assert one.image.pixel_size_pm == PIXEL_SIZE_PM
    assert np.mean((one.image.data - one.expected) ** 2 / one.expected) == pytest.approx(1.0, abs=0.02)
    off_edge = inside(columns.positions_px, SHAPE, margin_px=-4.0)
    for y, x_px in np.rint(columns.positions_px[off_edge & (columns.sublattice == A)]).astype(int):
        patch = one.expected[y - 3 : y + 4, x_px - 3 : x_px + 4]
        assert np.abs(np.array(np.unravel_index(patch.argmax(), patch.shape)) - 3).max() <= 1


def test_light_scales_with_the_dose():
    np.testing.assert_allclose(film(0.07, dose=4.0).expected, 4.0 * film(0.07).expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_pure_bifeo3_is_displaced_along_110_and_leans_towards_it(seed):
    one = film(0.0, seed=seed)
    cells = one.truth_cells
    length = magnitude(displacement_pm(one))
    full = np.abs(length - MATERIALS["BiFeO3"].displacement_pm) < 2.0 * RESIDUAL_PM  # the rest is wall
    assert full.mean() > 0.1
    assert length.max() < MATERIALS["BiFeO3"].displacement_pm + 5.0 * RESIDUAL_PM
    direction = angle_deg(cells.displacement_px[full])
    off = (direction - 45.0 + 45.0) % 90.0 - 45.0
    assert np.median(np.abs(off)) < 8.0  # the crystal is turned by up to two degrees, and nothing is perfect
    gamma = (angle_deg(-cells.b_px) - angle_deg(cells.a_px))[full]
    towards = np.sign(np.sin(2.0 * np.radians(direction)))
    assert np.median(np.abs(gamma - 90.0 + towards * np.degrees(0.0099))) < 0.1


def test_the_displacement_falls_and_the_antipolar_order_rises_with_samarium(films):
    lengths = {x: np.concatenate([magnitude(displacement_pm(one)) for one in films[x]]) for x in films}
    assert np.median(lengths[0.10]) == pytest.approx(0.88 * np.median(lengths[0.0]), rel=0.05)
    polar = [lengths[x].mean() for x in sorted(films)]
    assert polar[0] > polar[1] > 1.3 * polar[2] > 2.0 * polar[3]
    assert polar[3] < 7.0
    net = [np.linalg.norm(displacement_pm(one).mean(axis=0)) for one in films[0.20]]
    assert max(net) < 2.5
    antipolar = [np.mean([antipolar_pm(one) for one in films[x]]) for x in sorted(films)]
    assert antipolar[0] < 1.0
    assert antipolar[0] < antipolar[1] < antipolar[2] < antipolar[3]
    assert antipolar[3] > 12.0


def test_the_cell_shrinks_with_samarium(films):
    edges = []
    for x in sorted(films):
        cells = films[x][0].truth_cells
        area = np.abs(cells.a_px[:, 0] * cells.b_px[:, 1] - cells.a_px[:, 1] * cells.b_px[:, 0])
        edges.append(np.sqrt(area.mean()) * PIXEL_SIZE_PM)
    np.testing.assert_allclose(edges, lattice_pm(np.array(sorted(films))), atol=0.3)
    assert (np.diff(edges) < 0).all()


def test_a_columns_grow_darker_and_scatter_with_samarium(films):
    mean, scatter = [], []
    for x in sorted(films):
        columns = films[x][0].truth_columns
        a = columns.amplitude[columns.sublattice == A]
        mean.append(a.mean() / columns.amplitude[columns.sublattice == B].mean())
        scatter.append(a.std() / a.mean())
    np.testing.assert_allclose(np.array(mean) * 0.35, 1.0 - np.array(sorted(films)) * (1.0 - SM_BRIGHTNESS), rtol=0.01)
    assert (np.diff(scatter) > 0).all()


def test_the_curves_go_where_the_docstring_says():
    x = np.array(COMPOSITIONS)
    for curve in (polar_pm(x), lattice_pm(x)):
        assert (np.diff(curve) < 0).all()
    assert orthorhombic_share(np.array([0.14])) == pytest.approx(0.5)
    assert orthorhombic_share(np.array([0.10, 0.18])) == pytest.approx([0.0, 1.0], abs=0.01)
    assert pytest.approx(387.7, abs=0.1) == SMFEO3_PM


def test_compositions_beyond_the_model_are_refused():
    with pytest.raises(SettingsError, match=r"between 0 and 0.25.\n.*x = 13"):
        film(13.0)

"""Laws of the specimens that unmixing is tested on, and what the literature observed on such."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dipolar.core.errors import SettingsError
from dipolar.core.nouns import same
from dipolar.core.units import angle_deg, magnitude
from dipolar.core.unmixing import Stack
from dipolar.learn.rvae import train_rvae
from dipolar.simulate import (
    FOUR_VARIANTS,
    PATTERNED_FILM,
    LabelledFilm,
    Polydomain,
    Regions,
    Superlattice,
    VariantSet,
    VariantSettings,
    Vortices,
    patterned_film,
    variant_set,
)
from dipolar.simulate.patterned import AbstractPattern
from dipolar.simulate.superlattice import LA_SR_OVER_BI
from dipolar.unmix import PCA, KMeans, adjusted_rand, cut_stack, separation


def patches(**options: object) -> VariantSet:
    settings = {"patches": 400, "window_px": 32, "noise": 0.0, "normalized": False, **options}
    return variant_set(VariantSettings(**settings), rng=np.random.default_rng(1))


def turned_back(angle: np.ndarray) -> np.ndarray:
    """Return angles in [-180, 180)."""
    return (angle + 180.0) % 360.0 - 180.0


def centroid(image: np.ndarray) -> np.ndarray:
    """Return the centre of light (y, x) of patches from their middle."""
    axis = np.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2.0
    light = image.sum(axis=(-2, -1))
    return np.stack([image.sum(axis=-1) @ axis / light, image.sum(axis=-2) @ axis / light], axis=-1)


def test_variants_have_their_shares_length_and_direction():
    made = patches(patches=1000)
    np.testing.assert_array_equal(np.bincount(made.variant), [400, 300, 200, 100])
    np.testing.assert_allclose(magnitude(made.dipole_px) * 15.2, 35.0)
    np.testing.assert_allclose(angle_deg(made.dipole_px), made.angle_deg, atol=1e-9)
    off = turned_back(made.angle_deg - np.array(FOUR_VARIANTS)[made.variant])
    assert off.std() == pytest.approx(4.0, rel=0.1) and abs(off.mean()) < 0.5
    measured = made.stack.displacement_px - made.dipole_px
    assert measured.std() * 15.2 == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("options", [{}, {"turn_deg": 180.0}, {"shift_px": 0.5}])
def test_b_columns_stand_where_the_truth_says(options):
    made = patches(cell_px=90.0, **options)  # cells so large that the central column is alone
    np.testing.assert_allclose(centroid(made.stack.images[:, 0]), made.dipole_px + made.shift_px, atol=1e-3)


def test_a_quarter_turn_of_everything_is_the_turned_image():
    made = patches(directions_deg=(45.0,), shares=(1.0,), scatter_deg=0.0)
    other = patches(directions_deg=(135.0,), shares=(1.0,), scatter_deg=0.0)
    np.testing.assert_allclose(np.rot90(made.stack.images[0, 0]), other.stack.images[0, 0], atol=1e-5)


def test_turns_and_shifts_are_in_the_truth():
    made = patches(turn_deg=180.0, shift_px=0.5, scatter_deg=0.0)
    nominal = np.array(FOUR_VARIANTS)[made.variant] + made.turn_deg
    np.testing.assert_allclose(turned_back(nominal - made.angle_deg), 0.0, atol=1e-9)
    assert 170.0 < np.abs(made.turn_deg).max() <= 180.0
    assert made.shift_px.std() == pytest.approx(0.5, rel=0.1)


def test_noise_and_normalisation_are_as_asked():
    made, quiet = patches(noise=0.1), patches()
    assert (made.stack.images - quiet.stack.images).std() == pytest.approx(0.1, rel=0.01)
    normal = patches(noise=0.1, normalized=True).stack
    np.testing.assert_allclose(normal.images.mean(axis=(1, 2, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(normal.images.std(axis=(1, 2, 3)), 1.0, atol=1e-4)
    assert normal.normalization == "patch" and quiet.stack.normalization == "none"


def test_all_directions_alike_are_no_variants():
    made = patches(directions_deg=None)
    assert (made.variant == -1).all()
    assert np.histogram(made.angle_deg, bins=8, range=(-180, 180))[0].min() > 25


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(SettingsError, match=r"Settings of the variants.*\n.*shares = \(0\.5, 0\.4\).*sum 1"):
        VariantSettings(directions_deg=(0.0, 90.0), shares=(0.5, 0.4))


PIXEL_SIZE_PM = PATTERNED_FILM.pixel_size_pm


def film(pattern: AbstractPattern, *, seed: int = 0, size_px: int = 768, **options: object) -> LabelledFilm:
    settings = replace(PATTERNED_FILM, shape_px=(size_px, size_px), **options)
    return patterned_film(pattern, settings, rng=np.random.default_rng(seed))


def displacement_pm(made: LabelledFilm) -> np.ndarray:
    return made.simulated.truth_cells.displacement_px * PIXEL_SIZE_PM


@pytest.mark.parametrize("pattern", [Superlattice(), Polydomain(), Vortices()])
def test_the_truth_is_one(pattern):
    made = film(pattern, size_px=256, rotation_deg=3.0)
    columns, cells = made.simulated.truth_columns, made.simulated.truth_cells
    middle = columns.positions_px[cells.corners].mean(axis=1)
    np.testing.assert_allclose(columns.positions_px[cells.center] - middle, cells.displacement_px, atol=1e-9)
    assert len(made.variant) == len(made.layer) == len(made.composition) == len(cells.flags)
    assert same(made.simulated, film(pattern, size_px=256, rotation_deg=3.0).simulated)
    data, expected = made.simulated.image.data, made.simulated.expected
    assert np.mean((data - expected) ** 2 / expected) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("pattern", [Polydomain(), Superlattice()])
def test_variants_of_films_have_their_shares_length_and_direction(pattern):
    made = film(pattern)
    polar = made.variant >= 0
    share = np.bincount(made.variant[polar], minlength=4) / polar.sum()
    np.testing.assert_allclose(share, pattern.regions.shares, atol=0.03)
    displacement = displacement_pm(made)
    assert np.median(magnitude(displacement[polar & (made.composition > 0.99)])) == pytest.approx(35.0, abs=0.5)
    for number, direction in enumerate(FOUR_VARIANTS):
        inner = displacement[(made.variant == number) & (magnitude(displacement) > 33.0)]  # the rest is in walls
        assert len(inner) > 10
        mean = inner.mean(axis=0, keepdims=True)
        assert turned_back(angle_deg(mean)[0] - direction) == pytest.approx(0.0, abs=2.5)
        assert magnitude(mean)[0] == pytest.approx(34.7, abs=0.5)


def test_the_scatter_of_directions_is_as_asked():
    inner = film(Polydomain(regions=Regions(directions_deg=(45.0,), shares=(1.0,), scatter_deg=4.0)))
    off = angle_deg(displacement_pm(inner)) - 45.0
    assert off.std() == pytest.approx(4.0, rel=0.1)
    np.testing.assert_allclose(magnitude(displacement_pm(inner)), 35.0, atol=1e-6)


@pytest.mark.parametrize("turn_deg", [20.0, 90.0, -130.0])
def test_a_turned_film_has_turned_displacements(turn_deg):
    straight, turned = film(Vortices(), size_px=400), film(Vortices(), size_px=400, rotation_deg=turn_deg)
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    turn = np.array([[cos, sin], [-sin, cos]])  # acts on rows (y, x), counter-clockwise on the screen
    before, after = straight.simulated.truth_cells, turned.simulated.truth_cells
    distance, row = cKDTree(after.positions_px).query((before.positions_px - 199.5) @ turn + 199.5)
    same_cell = distance < 1.0
    assert same_cell.sum() > 100
    np.testing.assert_allclose(
        after.displacement_px[row][same_cell], (before.displacement_px @ turn)[same_cell], atol=1e-9
    )
    assert turned_back(film(Polydomain(), size_px=128, rotation_deg=turn_deg).variants_deg - turn_deg) == pytest.approx(
        FOUR_VARIANTS
    )


def test_layers_differ_in_brightness_height_and_displacement():
    pattern = Superlattice()
    made = film(pattern)
    cells, columns = made.simulated.truth_cells, made.simulated.truth_columns
    inner = [made.composition < 0.01, made.composition > 0.99]
    dark, bright = (columns.amplitude[cells.corners[some]].mean() for some in inner)
    assert dark / bright == pytest.approx(LA_SR_OVER_BI, rel=0.03)
    heights = [np.abs(cells.b_px[some, 0]).mean() * PIXEL_SIZE_PM for some in inner]
    np.testing.assert_allclose(heights, [396.0 - 5.0, 396.0 + 6.0], atol=0.6)
    assert magnitude(displacement_pm(made)[inner[0]]).max() < 1.0
    assert (made.variant[inner[0]] == -1).all()
    assert made.composition.min() >= 0.0 and made.composition.max() <= 1.0
    assert np.mean((made.composition > 0.1) & (made.composition < 0.9)) > 0.05  # intermixed


def test_columns_of_both_sublattices_stay_on_one_lattice_where_nothing_is_polar():
    calm = Superlattice(regions=Regions(displacement_pm=0.0))
    assert magnitude(displacement_pm(film(calm))).max() < 1e-6


@pytest.mark.parametrize("winding", [1, -1])
@pytest.mark.parametrize("phase_deg", [0.0, 90.0])
def test_vortices_wind_once_around_their_core(winding, phase_deg):
    made = film(Vortices(cores=((1.5, -2.0, winding),), phase_deg=phase_deg))
    cells, columns = made.simulated.truth_cells, made.simulated.truth_columns
    origin = (np.array(made.simulated.image.data.shape) - 1) / 2.0
    off = (columns.positions_px[cells.center] - origin) / (396.0 / PIXEL_SIZE_PM) - np.array([1.5, -2.0])
    ring = np.flatnonzero(np.abs(magnitude(off) - 8.0) < 0.5)
    ring = ring[np.argsort(angle_deg(off[ring]))]
    angle = np.radians(angle_deg(displacement_pm(made)[ring]))
    steps = np.angle(np.exp(1j * np.diff(np.append(angle, angle[0]))))
    assert steps.sum() / (2.0 * np.pi) == pytest.approx(winding)
    assert magnitude(displacement_pm(made)).max() == pytest.approx(35.0, abs=0.1)
    assert (made.variant == -1).all() and len(made.variants_deg) == 0


def patches_of(made: LabelledFilm, *, window_px: int) -> Stack:
    """Return patches at the true cells."""
    cells = made.simulated.truth_cells
    return cut_stack(
        made.simulated.image.data[None],
        channels=("image",),
        positions_px=cells.positions_px,
        site=np.arange(len(cells.flags)),
        window_px=window_px,
        lattice_px=np.stack([cells.a_px.mean(axis=0), cells.b_px.mean(axis=0)]),
        pixel_size_pm=PIXEL_SIZE_PM,
        displacement_px=cells.displacement_px,
        displacement_sigma_px=np.full_like(cells.displacement_px, 0.1),
        centred_on="cells",
    )


def test_raw_patches_mix_variants_with_composition_and_need_eight_clusters():
    made = film(Superlattice())
    stack = patches_of(made, window_px=36)
    variant, layer = made.variant[stack.site], made.layer[stack.site]
    four, eight = (KMeans(clusters=k).unmix(stack, rng=np.random.default_rng(0)).cluster for k in (4, 8))
    assert adjusted_rand(four, variant) < 0.1  # four clusters are not the four variants …
    assert adjusted_rand(four, layer) > 0.3  # … but layers
    assert adjusted_rand(eight, variant) > 0.35
    principal = separation(
        PCA(components=4).unmix(stack, rng=np.random.default_rng(0)),
        variant=variant,
        composition=made.composition[stack.site],
    )
    _, rho, bit = principal.best()
    assert rho > 0.9 and bit < 0.1


def test_the_angle_of_an_autoencoder_separates_variants_and_leaves_composition_to_the_rest():
    made = film(Superlattice(), size_px=1024)
    stack = patches_of(made, window_px=48)
    variant, composition = made.variant[stack.site], made.composition[stack.site]
    found = train_rvae(stack, seed=0)
    assert found.angles is not None and found.angles.verdict == "good"
    assert adjusted_rand(found.angles.variant, variant) > 0.9  # where four clusters of raw patches have none
    name, rho, bit = separation(found, variant=variant, composition=composition).best()
    assert name.startswith("latent") and rho > 0.9 and bit < 0.05

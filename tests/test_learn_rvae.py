"""The autoencoder on small stacks: what turns turns with it, what is not polar is said to be noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipolar.core.circular import circular_sd_deg, wrap_deg
from dipolar.core.errors import DataError, SettingsError
from dipolar.core.units import angle_deg
from dipolar.core.unmixing import Components, Stack
from dipolar.learn.rvae import _limits, train_rvae
from dipolar.learn.rvae_gauge import turn_latents
from dipolar.learn.rvae_network import TurningRvae
from dipolar.learn.rvae_patches import prepare, symmetry_centre
from dipolar.learn.rvae_reading import read
from dipolar.learn.rvae_settings import RvaeSettings
from dipolar.learn.rvae_start import start
from dipolar.simulate.variants import VariantSet, VariantSettings, variant_set

SMALL = VariantSettings(
    patches=400, window_px=24, cell_px=13.0, pixel_size_pm=30.4, width_a_pm=48.0, width_b_pm=46.0, noise=0.1
)
FOUR = np.array([45.0, 135.0, -135.0, -45.0])


def small(**changes: object) -> VariantSet:
    return variant_set(replace(SMALL, **changes), rng=np.random.default_rng(0))  # type: ignore[arg-type]


def unmeasured(stack: Stack) -> Stack:
    unknown = np.full_like(stack.displacement_px, np.nan)
    return replace(stack, displacement_px=unknown, displacement_sigma_px=unknown)


def few(stack: Stack, images: np.ndarray) -> Stack:
    """Return a stack of these images, with the first rows of the rest."""
    rows = ("positions_px", "site", "displacement_px", "displacement_sigma_px")
    return replace(stack, images=images, **{name: getattr(stack, name)[: len(images)] for name in rows})


def share_right(found: Components, truth: VariantSet) -> float:
    assert found.angles is not None
    off = np.abs(wrap_deg(found.angles.variant_deg[:, None] - FOUR))
    told = found.angles.variant >= 0
    assert np.mean(told) > 0.99  # without walls, hardly any patch is said to be in one
    return float(np.mean(off.argmin(axis=1)[found.angles.variant[told]] == truth.variant[told]))


@pytest.fixture(scope="module")
def variants() -> VariantSet:
    return small()


@pytest.fixture(scope="module")
def found(variants: VariantSet) -> Components:
    return train_rvae(variants.stack, RvaeSettings(), seed=1)


def test_every_variant_is_told_and_the_angle_is_registered(found: Components, variants: VariantSet) -> None:
    angles = found.angles
    assert angles is not None
    assert share_right(found, variants) == 1.0
    assert np.median(np.abs(wrap_deg(angles.angle_deg - variants.angle_deg))) < 4.0
    assert (angles.registered, angles.sense, angles.verdict, angles.remedy) == (True, 1, "good", "")
    assert angles.posterior.sum(axis=1) == pytest.approx(1.0)
    assert angles.diagnosis["dipole_by_angle"] > 0.9
    assert angles.diagnosis["dipole_by_rest"] < 0.2


def test_small_windows_and_long_trainings_are_told(found: Components, variants: VariantSet) -> None:
    def said(*, cells: float, epochs: int = 4) -> str:
        stack = replace(variants.stack, lattice_px=np.eye(2) * 24 / cells)
        return " ".join(_limits(stack, found.angles, RvaeSettings(epochs=epochs)))

    assert said(cells=2.0, epochs=8) == ""
    assert "1.4 cells" in said(cells=1.4) and "too short" in said(cells=1.4)
    assert "In 9 epochs" in said(cells=2.0, epochs=9)


def test_the_drawn_dipole_is_the_true_one(found: Components, variants: VariantSet) -> None:
    angles = found.angles
    assert angles is not None
    off = np.abs(wrap_deg(angle_deg(angles.dipole_px) - variants.angle_deg))
    assert np.median(off) < 4.0
    ratio = np.linalg.norm(angles.dipole_px, axis=1) / np.linalg.norm(variants.dipole_px, axis=1)
    assert np.median(ratio) == pytest.approx(1.0, abs=0.08)


def test_columns_pictures_and_history_have_their_shapes(found: Components) -> None:
    assert found.names == ("angle_deg", "latent_1", "latent_2", "latent_3")
    assert found.scores.shape == (400, 4)
    angles = found.angles
    assert angles is not None
    assert angles.wheel.shape == (16, 1, 24, 24)
    assert angles.manifold.shape == (5, 5, 1, 24, 24)
    assert [row["epoch"] for row in angles.history] == [float(k) for k in range(1, 6)]
    assert (found.facts["steps"], found.settings["batch"], found.facts["converged"]) == (40, 50, True)
    assert found.curves[0].lines == ("loss", "reconstruction", "divergence")
    assert found.settings["seed"] == 1
    assert found.facts["cpu_seconds"] > 0


def test_the_same_seed_gives_the_same_and_leaves_torch_alone(found: Components, variants: VariantSet) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    again = train_rvae(variants.stack, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(again.scores, found.scores)
    other = train_rvae(variants.stack, RvaeSettings(epochs=2), seed=2)
    assert share_right(other, variants) == 1.0
    assert not np.array_equal(other.scores, found.scores)


@pytest.mark.parametrize("fine", [1, 3])
def test_turning_patches_by_a_quarter_turns_angles_and_dipoles_by_it_and_leaves_latents(fine: int) -> None:
    patches = prepare(small(patches=60).stack)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TurningRvae(channels=1, side=24, latents=2, fine=fine, shift_sigma=0.5)
        start(network, patches.images, starts=1, rng=np.random.default_rng(0))
        with torch.no_grad():  # any weights will do
            for weight in network.parameters():
                weight.add_(0.01 * torch.randn(weight.shape) * weight.abs().mean())
    straight = read(network, patches)
    turned = read(network, replace(patches, images=torch.rot90(patches.images, 1, (-2, -1))))
    assert wrap_deg(turned.angle_deg - straight.angle_deg - 90.0) == pytest.approx(0.0, abs=1e-2)
    assert turned.sigma_deg == pytest.approx(straight.sigma_deg, abs=0.1)
    assert turned.latent == pytest.approx(straight.latent, abs=1e-3)
    assert turned.offset is not None
    assert straight.offset is not None
    for after, before in ((turned.offset, straight.offset), (turned.dipole, straight.dipole)):
        quarter = np.stack([-before[:, 1], before[:, 0]], axis=1)
        assert after == pytest.approx(quarter, abs=1e-3, nan_ok=True)


def test_a_crystal_without_a_dipole_is_noise_and_the_run_ends_with_a_remedy() -> None:
    angles = train_rvae(small(displacement_pm=0.0).stack, RvaeSettings(epochs=1), seed=0).angles
    assert angles is not None
    assert angles.verdict == "noise"
    assert "do not map" in angles.remedy
    assert np.median(angles.sigma_deg) > 10.0


def test_composition_and_shifts_stay_out_of_the_angle() -> None:
    mixed = small(ratio_scatter=0.3, shift_px=0.7, noise=0.05)
    found = train_rvae(mixed.stack, RvaeSettings(epochs=3, latents=2, freedom="rotation+translation"), seed=0)
    assert found.names == ("angle_deg", "offset_y_px", "offset_x_px", "latent_1", "latent_2")
    assert share_right(found, mixed) > 0.99
    angles = found.angles
    assert angles is not None
    assert abs(np.corrcoef(angles.latent[:, 0], mixed.ratio)[0, 1]) > 0.9
    assert angles.offset_px is not None
    for axis in (0, 1):
        assert np.corrcoef(angles.offset_px[:, axis], mixed.shift_px[:, axis])[0, 1] > 0.95


def test_around_a_vortex_the_angle_locks_and_the_drawn_dipole_follows() -> None:
    vortex = small(directions_deg=None, noise=0.05)
    found = train_rvae(vortex.stack, RvaeSettings(epochs=3), seed=0)
    angles = found.angles
    assert angles is not None
    assert np.median(np.abs(wrap_deg(angle_deg(angles.dipole_px) - vortex.angle_deg))) < 6.0
    assert np.median(np.abs(wrap_deg(angles.angle_deg - vortex.angle_deg))) > 12.0
    assert any("locked to the lattice" in note for note in found.notes)
    assert angles.variant_deg.shape == (0,)


def test_eight_variants_on_a_square_lattice_are_told_by_the_dipole() -> None:
    eight = tuple(float(angle) for angle in np.arange(8) * 45.0 - 180.0)
    found = train_rvae(small(directions_deg=eight, shares=(0.125,) * 8, noise=0.03).stack, RvaeSettings(), seed=0)
    angles = found.angles
    assert angles is not None
    assert np.sort(np.mod(angles.variant_deg + 2.0, 360.0)) == pytest.approx(np.arange(8) * 45.0 + 2.0, abs=3.0)
    assert np.mean(angles.variant >= 0) > 0.99


def test_patches_turned_as_a_whole_are_followed_between_the_directions() -> None:
    turned = small(turn_deg=180.0, scatter_deg=0.0, noise=0.05)
    angles = train_rvae(turned.stack, RvaeSettings(directions=24, epochs=2, latents=0), seed=0).angles
    assert angles is not None
    assert np.median(np.abs(wrap_deg(angles.angle_deg - turned.angle_deg))) < 3.0
    assert angles.variant_deg.shape == (0,)


def test_without_measurements_the_zero_is_that_of_the_dipole_drawn(variants: VariantSet) -> None:
    found = train_rvae(unmeasured(variants.stack), RvaeSettings(epochs=1), seed=0)
    angles = found.angles
    assert angles is not None
    assert not angles.registered
    assert np.median(np.abs(wrap_deg(angles.angle_deg - variants.angle_deg))) < 5.0
    assert any("dipole drawn" in note for note in found.notes)


def test_around_a_columns_the_displacement_is_theirs_and_the_zero_is_the_same_measured_or_not() -> None:
    made = small(patches=200)
    stack = replace(made.stack, centred_on="A")
    for given in (stack, unmeasured(stack)):
        angles = train_rvae(given, RvaeSettings(epochs=1), seed=0).angles
        assert angles is not None
        assert angles.registered == (given is stack)
        assert np.median(np.abs(wrap_deg(angles.angle_deg - made.angle_deg))) < 5.0


def test_without_latents_the_closed_form_is_all_and_one_domain_is_no_collapse() -> None:
    single = small(shares=(1.0, 0.0, 0.0, 0.0))
    found = train_rvae(single.stack, RvaeSettings(latents=0), seed=0)
    assert found.names == ("angle_deg",)
    assert found.curves == ()
    assert found.angles is not None
    assert found.angles.verdict == "good"
    assert circular_sd_deg(found.angles.angle_deg) < 1.0


def test_the_published_network_runs_and_is_judged_by_its_angle_not_its_loss(variants: VariantSet) -> None:
    some = few(variants.stack, variants.stack.images[:40, :, 4:20, 4:20].copy())
    settings = RvaeSettings(architecture="published", freedom="rotation+translation", epochs=1, batch=20)
    found = train_rvae(some, settings, seed=0)
    angles = found.angles
    assert angles is not None
    assert angles.verdict != "good"
    assert angles.remedy
    ordinary = train_rvae(some, replace(settings, freedom="none"), seed=0)
    assert ordinary.angles is None
    assert ordinary.names == ("latent_1", "latent_2")


def test_ctrl_c_keeps_what_was_learned(variants: VariantSet) -> None:
    def stop(step: str, fraction: float) -> None:
        if step == "training the autoencoder" and 0.6 < fraction < 1.0:
            raise KeyboardInterrupt

    found = train_rvae(variants.stack, RvaeSettings(epochs=4), seed=0, progress=stop)
    assert share_right(found, variants) > 0.99
    assert (found.facts["converged"], found.facts["interrupted"]) == (False, True)
    assert any(note.startswith("Interrupted after 2 whole epochs") for note in found.notes)


def test_patches_cut_off_their_columns_are_brought_back() -> None:
    stack = small(noise=0.02, displacement_pm=0.0).stack
    shifted = np.roll(stack.images, (1, -1), axis=(-2, -1)).mean(axis=0)
    assert symmetry_centre(shifted) == pytest.approx((1.0, -1.0), abs=0.1)
    assert symmetry_centre(stack.images.mean(axis=0)) == pytest.approx((0.0, 0.0), abs=0.1)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((5, 1, 16, 20), np.float32), "square"),
        (np.zeros((5, 1, 4, 4), np.float32), "square"),
        (np.ones((5, 1, 16, 16), np.float32), "differ"),
        (np.full((5, 1, 16, 16), np.nan, np.float32), "finite"),
        (np.zeros((1, 1, 16, 16), np.float32), "several"),
    ],
)
def test_stacks_that_no_network_can_learn_from_are_refused(
    images: np.ndarray, words: str, variants: VariantSet
) -> None:
    with pytest.raises(DataError, match=words):
        train_rvae(few(variants.stack, images), seed=0)


def test_latents_are_turned_so_that_the_first_is_composition_and_the_drawing_stays() -> None:
    mixed = small(ratio_scatter=0.3, scatter_deg=25.0, noise=0.05)
    found = train_rvae(mixed.stack, RvaeSettings(epochs=1), seed=0)
    assert found.angles is not None
    follows = [abs(np.corrcoef(latent, mixed.ratio)[0, 1]) for latent in found.angles.latent.T]
    assert follows[0] > 0.95
    assert max(follows[1:]) < 0.5


def test_turning_latents_leaves_what_is_drawn_of_each_patch_as_it_was() -> None:
    patches = prepare(small(patches=80, ratio_scatter=0.3).stack)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TurningRvae(channels=1, side=24, latents=2, shift_sigma=0.5)
    start(network, patches.images, starts=1, rng=np.random.default_rng(0))
    with torch.no_grad():
        network.pictures[1:3] = network.pictures[1:3].flip(0) + network.pictures[1:3]  # any axes will do
        before = network(network.seen(patches.images)).misfit
        drawn = network.picture(torch.tensor([[1.0, -0.5]]))
        turn_latents(network)
        after = network(network.seen(patches.images)).misfit
    assert torch.allclose(before, after, rtol=1e-3)
    assert not torch.allclose(network.picture(torch.tensor([[1.0, -0.5]])), drawn, atol=1e-3)


def test_what_the_defaults_stand_for_is_told() -> None:
    assert RvaeSettings().filled() == RvaeSettings(latents=3, epochs=4, learning_rate=2e-3)
    assert RvaeSettings(architecture="published").filled().latents == 2
    few, many = RvaeSettings().filled(patches=40), RvaeSettings().filled(patches=23_340)
    assert (few.batch, few.epochs) == (5, 5)
    assert (many.batch, many.epochs) == (128, 4)
    assert RvaeSettings(epochs=1).filled(patches=40).epochs == 1


def test_settings_out_of_range_are_told_together() -> None:
    with pytest.raises(SettingsError) as caught:
        RvaeSettings(latents=-1, directions=6, freedom="none")
    with pytest.raises(SettingsError, match="at most 96"):
        RvaeSettings(directions=100)
    assert all(word in str(caught.value) for word in ("latents", "directions", "freedom"))

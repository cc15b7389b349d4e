"""Sigma of angles and drawn dipoles holds what it promises, and what is not polar has no direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.circular import unit_vectors, wrap_deg
from dipolar.core.units import angle_deg
from dipolar.core.unmixing import Angles, Stack
from dipolar.learn.rvae import train_rvae
from dipolar.learn.rvae_settings import RvaeSettings
from dipolar.learn.rvae_sigma import UNTOLD_DEG, Trust, excess, trust, unlike
from dipolar.simulate.variants import VariantSettings, variant_set

SMALL = VariantSettings(
    patches=400, window_px=24, cell_px=13.0, pixel_size_pm=30.4, width_a_pm=48.0, width_b_pm=46.0, noise=0.1
)


def trained(stack: Stack) -> Angles:
    angles = train_rvae(stack, RvaeSettings(epochs=2), seed=0).angles
    assert angles is not None
    return angles


def drawn_and_measured(*, error: float, noise: float, scatter_deg: float = 8.0) -> tuple[Trust, np.ndarray]:
    """Return trust in dipoles of length 2, half of them none, and whether true angles are within sigma."""
    rng = np.random.default_rng(0)
    angle = 90.0 * rng.integers(0, 4, 2000)
    true = wrap_deg(angle + scatter_deg * rng.standard_normal(2000))
    polar = rng.random(2000) < 0.5
    dipole = np.where(polar[:, None], 2.0 * unit_vectors(true), 0.0)
    found = trust(
        angle_deg=angle,
        posterior_deg=np.zeros(2000),
        dipole=dipole + error * rng.standard_normal((2000, 2)),
        dipole_spread=0.0,
        measured=dipole + noise * rng.standard_normal((2000, 2)),
        measured_sigma=np.full((2000, 2), noise),
    )
    assert np.mean(found.told[~polar]) < 0.03
    assert np.mean(found.told[polar]) > 0.99
    assert (found.angle_sigma_deg[~found.told] == UNTOLD_DEG).all()
    return found, np.abs(wrap_deg(angle - true))[polar] < found.angle_sigma_deg[polar]


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_sigma_holds_two_thirds_whatever_the_error_of_measurements(noise: float) -> None:
    found, inside = drawn_and_measured(error=0.1, noise=noise)
    assert np.mean(inside) == pytest.approx(0.68, abs=0.04)
    assert np.median(found.dipole_sigma) == pytest.approx(0.1, abs=0.02)


def test_excess_is_what_known_sigma_leave_out() -> None:
    rng = np.random.default_rng(0)
    sigma = rng.uniform(1.0, 5.0, 20000)
    off = np.hypot(sigma, 2.0) * rng.standard_normal(20000)
    assert excess(off, sigma) == pytest.approx(2.0, abs=0.15)
    assert excess(0.5 * sigma * rng.standard_normal(20000), sigma) == 0.0
    assert np.isnan(excess(off[:10], sigma[:10]))


def test_directions_that_no_variant_explains_widen_sigma_and_the_dipole_has_its_own() -> None:
    vortex = variant_set(replace(SMALL, directions_deg=None, noise=0.05), rng=np.random.default_rng(0))
    angles = trained(vortex.stack)
    inside = np.abs(wrap_deg(angles.angle_deg - vortex.angle_deg)) < angles.sigma_deg
    assert 0.6 < np.mean(inside) < 0.85
    assert np.median(angles.sigma_deg) > 15.0
    assert angles.dipole_sigma_px is not None
    within = np.abs(angles.dipole_px - vortex.dipole_px) < angles.dipole_sigma_px
    assert 0.55 < np.mean(within) < 0.85


@pytest.mark.parametrize("measured", [True, False])
def test_what_is_not_polar_is_of_no_variant_and_its_angle_may_be_any(measured: bool) -> None:
    rng = np.random.default_rng(0)
    polar = variant_set(replace(SMALL, noise=0.05), rng=rng)
    other = variant_set(replace(SMALL, patches=200, displacement_pm=0.0, ratio_b_to_a=0.9, noise=0.05), rng=rng)
    rows = ("images", "positions_px", "site", "displacement_px", "displacement_sigma_px")
    stack = replace(
        polar.stack,
        **{name: np.concatenate([getattr(polar.stack, name), getattr(other.stack, name)]) for name in rows},
    )
    if not measured:
        unknown = np.full_like(stack.displacement_px, np.nan)
        stack = replace(stack, displacement_px=unknown, displacement_sigma_px=unknown)
    angles = trained(stack)
    assert np.mean(angles.variant[:400] >= 0) > 0.98
    assert np.mean(angles.variant[400:] < 0) > 0.95
    none = angles.variant[400:] < 0
    assert (angles.sigma_deg[400:][none] >= 100.0).all()
    assert np.isnan(angles.posterior[400:][none]).all()
    off = np.abs(wrap_deg(angle_deg(angles.dipole_px) - angles.angle_deg))[:400]
    assert np.median(off) < 5.0


def test_only_what_is_unlike_is_said_to_be_and_its_sigma_holds_how_far_off_it_is() -> None:
    rng = np.random.default_rng(0)
    angle = 90.0 * rng.integers(0, 4, 2000)
    dipole = 2.0 * unit_vectors(angle)
    for walls in (0, 100):
        true = angle + np.where(np.arange(2000) < walls, 45.0, 0.0)
        found = trust(
            angle_deg=angle,
            posterior_deg=np.zeros(2000),
            dipole=dipole + 0.1 * rng.standard_normal((2000, 2)),
            dipole_spread=0.0,
            measured=2.0 * unit_vectors(true) + 0.1 * rng.standard_normal((2000, 2)),
            measured_sigma=np.full((2000, 2), 0.1),
        )
        assert found.like[:walls].sum() == 0
        assert np.sum(~found.like[walls:]) <= 0.2 * walls
        assert (found.angle_sigma_deg[:walls] > 30.0).all()
        assert np.median(found.angle_sigma_deg) < 5.0
    nothing = np.full((2000, 2), np.nan)
    assert not unlike(nothing, nothing, among=np.ones(2000, dtype=bool)).any()

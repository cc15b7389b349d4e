"""Laws of an offset taken off all cells: its error moves every mean alike, sides of walls too, but no difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.domains import Domains, Wall
from dipolar.maps import find_domains, find_walls
from maps_cells import PIXEL_SIZE_PM, crystal, two

OFFSET_PX2 = (np.array([[0.9, 0.3], [0.3, 0.5]]) / PIXEL_SIZE_PM) ** 2
FIELD = two(90.0, -90.0, width=2.0)


def seen(offset_px: np.ndarray, covariance_px2: np.ndarray | None, seed: int = 0) -> tuple[Domains, Wall]:
    cells = crystal(FIELD, (14, 30), seed=seed)
    cells = replace(cells, displacement_px=cells.displacement_px + offset_px)
    domains = find_domains(cells, offset_covariance_px2=covariance_px2)
    (wall,) = find_walls(cells, domains, rng=np.random.default_rng(0), offset_covariance_px2=covariance_px2)
    return domains, wall


def test_every_mean_has_the_covariance_of_the_offset_and_differences_have_not() -> None:
    (plain, wall), (domains, with_offset) = seen(np.zeros(2), None), seen(np.zeros(2), OFFSET_PX2)
    np.testing.assert_allclose(domains.mean_covariance_px2, plain.mean_covariance_px2 + OFFSET_PX2)
    np.testing.assert_allclose(domains.mean_px, plain.mean_px)
    apart = plain.mean_px[wall.after] - plain.mean_px[wall.before]
    axis = apart / np.linalg.norm(apart)
    along = axis @ OFFSET_PX2 @ axis
    one, two_sided = wall.profile, with_offset.profile
    assert two_sided.before_sigma_px**2 - one.before_sigma_px**2 == pytest.approx(along)
    assert two_sided.after_sigma_px**2 - one.after_sigma_px**2 == pytest.approx(along)
    assert two_sided.asymmetry_sigma_px**2 - one.asymmetry_sigma_px**2 == pytest.approx(4.0 * along)
    assert two_sided.width_px == one.width_px
    assert with_offset.charge_sigma_px == pytest.approx(wall.charge_sigma_px)


def test_sigma_is_that_of_repeated_subtractions() -> None:
    rng, z = np.random.default_rng(1), []
    truth, _ = seen(np.zeros(2), None, seed=0)
    for seed in range(24):
        offset = rng.multivariate_normal(np.zeros(2), OFFSET_PX2)
        domains, wall = seen(offset, OFFSET_PX2, seed=seed)
        up = int(np.argmin(domains.mean_px[:, 0]))
        off = domains.mean_px[up] - truth.mean_px[int(np.argmin(truth.mean_px[:, 0]))]
        z.append(
            (
                off[0] / np.sqrt(domains.mean_covariance_px2[up, 0, 0]),
                wall.profile.asymmetry_px / wall.profile.asymmetry_sigma_px,
                (wall.turn_deg - 180.0) / wall.turn_sigma_deg,
            )
        )
    width = np.sqrt(np.mean(np.square(z), axis=0))
    assert np.all((width[:2] > 0.6) & (width[:2] < 1.4)), width
    assert width[2] < 1.4  # a turn is at most 180°, half of a normal distribution


def test_an_offset_turns_opposite_directions_against_each_other_and_equal_ones_not_at_all() -> None:
    _, wall = seen(np.zeros(2), None)
    _, with_offset = seen(np.zeros(2), OFFSET_PX2)
    domains, _ = seen(np.zeros(2), None)
    length = np.linalg.norm(domains.mean_px, axis=1)
    turned = np.degrees(np.sqrt(OFFSET_PX2[1, 1])) * np.sum(1.0 / length)
    assert with_offset.turn_sigma_deg**2 - wall.turn_sigma_deg**2 == pytest.approx(turned**2, rel=0.05)

"""The series that a decoder is: what is drawn turned and shifted follows from its derivatives."""

from __future__ import annotations

import pytest
import torch

from dipolar.learn.rvae_series import frequencies, grid, matrix, monomials, tangents, turned_back

POSES = ("turn", "dy", "dx")
ANGLES = [0.0, 0.4]


def test_a_small_pose_is_drawn_by_derivatives_at_every_angle() -> None:
    points, waves = grid(10), frequencies(10)
    terms = tangents(points, waves, ANGLES, poses=POSES).terms
    pose = torch.tensor([0.02, 0.1, -0.05], dtype=torch.float64)
    drawn = torch.einsum("t,tmpf->mpf", monomials(pose).float(), terms)
    for place, angle in enumerate(ANGLES):
        exact = matrix(turned_back(points, angle + float(pose[0])) - pose[1:], waves).float()
        assert (drawn[place] - exact).abs().max() < 0.05 * (terms[0, place] - exact).abs().max()


@pytest.mark.parametrize("poses", [(), ("turn",), POSES])
def test_each_angle_has_its_own_matrix_whatever_others_there_are(poses: tuple[str, ...]) -> None:
    points, waves = grid(8), frequencies(8)
    both = tangents(points, waves, ANGLES, poses=poses).terms
    for place, angle in enumerate(ANGLES):
        assert torch.equal(both[:, place : place + 1], tangents(points, waves, [angle], poses=poses).terms)

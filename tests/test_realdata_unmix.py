"""Real patches, unmixed without a label: few of them are never called good, and components are those of the lattice."""

from __future__ import annotations

import numpy as np
import pytest

import dipolar
import realdata
from dipolar.core.measurement import Measurement

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def smbfo() -> Measurement:
    path = realdata.path("smbfo_patch/smbfo_patch_256.npy")
    return dipolar.measure_image(path, lattice_pm=396.0, gain_check=False, maps=False, mistilt="off")


def test_components_of_a_real_image_explain_more_than_noise_would(smbfo):
    found = dipolar.unmix_image(smbfo, method="pca", components=4)
    assert len(found.positions_px) > 40
    assert np.isfinite(found.components.scores).all()
    strength = found.components.strength
    assert strength is not None
    assert strength[0] > 5.0 / len(found.positions_px)  # noise alone would spread evenly over as many components


def test_too_few_patches_make_the_angle_doubtful(smbfo):
    found = dipolar.unmix_image(smbfo, method="rvae")
    angles = found.components.angles
    assert angles is not None
    assert angles.verdict != "good"
    assert angles.remedy

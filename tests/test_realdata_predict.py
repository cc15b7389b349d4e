"""The networks that come along, on real images without training: they agree with the fit as both say, or warn."""

from __future__ import annotations

import numpy as np
import pytest

import realdata
from dipolar.core.flags import DOUBTFUL_CELL, has
from dipolar.core.measurement import Measurement
from dipolar.recipes.predict import predict_image

pytestmark = pytest.mark.realdata

KNOWN = {
    "smbfo": ("smbfo_patch/smbfo_patch_256.npy", 396.0),
    "bto": ("bto_dm4/BTO_crystal_1.dm4", 400.0),
    "sto": ("sto_ser/16_STOimage_1.ser", 390.5),
    "pto": ("pto_sro_hspy/Cropped_PTO-SRO_Aligned.hspy", 395.0),
    "nsmo": ("nsmo_tif/FigS6_0716__Cryo_NSMO110_5-1Mx_0p5us_1024px_REGISTERED.tif", 385.0),
    "cspbbr3": ("cspbbr3_mat/Tutorial_ExampleCsPbBr3.mat", 587.0),
}
"""Files of perovskites along [100], bright columns, with what calibrates them."""


def predicted(file: str, lattice_pm: float | None) -> Measurement:
    return predict_image(realdata.path(file), lattice_pm=lattice_pm, compare=True, maps=False)


@pytest.mark.parametrize("name", KNOWN)
def test_networks_agree_with_the_fit_within_what_both_say(name):
    found = predicted(*KNOWN[name])
    comparison, prediction = found.findings.comparison, found.findings.prediction
    assert comparison is not None and prediction is not None
    assert prediction.flagged.mean() < 0.1
    assert comparison.counted.sum() > 0.5 * len(comparison.counted)
    for agreement in (comparison.dy, comparison.dx):
        assert agreement.zscore_width < 1.3  # they look at the same pixels: less than 1 is no wonder
        assert agreement.correlation > 0.4


def test_another_projection_is_not_believed():
    found = predicted("sto_110_pair/STO_ADF.hdf5", None)
    assert found.findings.prediction is not None
    assert found.findings.prediction.flagged.mean() > 0.95
    assert has(found.cells.flags, DOUBTFUL_CELL).mean() > 0.95
    assert any("unlike all" in note for note in found.record.notes)
    assert not np.isfinite(found.summary["displacement_median_px"] or np.nan)

"""The true domains of a simulated film."""

from __future__ import annotations

import numpy as np
import pytest

from dipolar.recipes.settings import SimulateSettings
from dipolar.recipes.simulate import simulate_image, write_simulated
from dipolar.simulate.truth_domains import true_domains


def test_two_domains_of_a_180_degree_wall_hold_all_polar_cells():
    made = simulate_image(SimulateSettings(layers="BiFeO3", height_px=320, width_px=320))
    truth = true_domains(made.truth_cells, (45.0, -135.0))
    assert len(truth.state) == 2
    assert np.allclose(np.sort(truth.angle_deg), [-135.0, 45.0], atol=3.0)
    inside = truth.label >= 0
    assert inside.mean() > 0.8 and truth.cells.sum() == inside.sum()
    assert truth.area_px2.sum() == pytest.approx(inside.sum() * (396.5 / 17.25) ** 2, rel=0.03)


@pytest.mark.parametrize(("options", "domains"), [({"wall": "none"}, 1), ({"layers": "SrTiO3"}, 0)])
def test_without_wall_or_polarization(options, domains, tmp_path):
    settings = SimulateSettings(**{"layers": "BiFeO3", "height_px": 256, "width_px": 256, **options})
    write_simulated(tmp_path / "made", settings=settings)
    lines = (tmp_path / "made" / "truth_domains.csv").read_text().splitlines()
    assert lines[0].startswith("domain,y_px,x_px") and len(lines) == 1 + domains

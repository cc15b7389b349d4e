"""The true domains of a simulated film."""

from __future__ import annotations

import numpy as np
import pytest

from dipolar.core.errors import SettingsError
from dipolar.core.units import magnitude
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


@pytest.mark.parametrize("pattern", ["superlattice", "regions", "vortex"])
def test_films_with_a_pattern_have_their_labels_in_the_table_of_cells(pattern, tmp_path):
    settings = SimulateSettings(pattern=pattern, height_px=400, width_px=400, displacement_pm=30.0)
    made, _ = write_simulated(tmp_path / "made", settings=settings)
    head, *rows = (tmp_path / "made" / "truth_cells.csv").read_text().splitlines()
    assert head.endswith("domain,domain_probability,composition,layer,variant") and len(rows) > 100
    variants = {int(row.rsplit(",", 1)[1]) for row in rows}
    assert variants <= {-1} if pattern == "vortex" else len(variants) > 2
    assert magnitude(made.truth_cells.displacement_px).max() * 17.25 == pytest.approx(30.0, abs=0.5)
    domains = (tmp_path / "made" / "truth_domains.csv").read_text().splitlines()
    assert (len(domains) == 1) == (pattern == "vortex")


def test_a_pattern_is_refused_beside_what_it_has_no_use_for():
    with pytest.raises(SettingsError, match=r"does not use layers, wall\.\n.*wall='109'\n.*leave out layers, wall"):
        simulate_image(pattern="vortex", layers="SrTiO3", wall="109")

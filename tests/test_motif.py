"""Other projections and oxygen: the cell is found, every column stands on its site, its sigma is honest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
from dipolar.core.errors import FormatError, ImageError, SettingsError
from dipolar.core.flags import POSITION_FLAGS, has
from dipolar.core.motif import PEROVSKITE_100, PEROVSKITE_110, Motif, SiteColumns, in_role
from dipolar.core.nouns import Image
from dipolar.io.cif import read_motif
from dipolar.locate import as_columns, locate_columns, locate_sites
from dipolar.measure import build_cells
from dipolar.measure.sites import site_offsets
from dipolar.simulate import benchmark_film
from dipolar.simulate.contrast import CrystalSettings, SimulatedCrystal, simulate_crystal

ALONG_100 = CrystalSettings(heights=(1.0, 0.5, 0.25, 0.25))
ALONG_110 = CrystalSettings(motif=PEROVSKITE_110, a_px=30.0, b_over_a=2**0.5, heights=(1.0, 0.5, 0.3))
CASES = {
    "100 bright": replace(ALONG_100, contrast="bright", rotation_deg=10.0),
    "100 dark": replace(ALONG_100, contrast="dark", rotation_deg=-33.0),
    "100 signed": replace(ALONG_100, contrast="signed"),
    "110 bright": replace(ALONG_110, contrast="bright", rotation_deg=90.0),
    "110 dark": replace(ALONG_110, contrast="dark", rotation_deg=38.0),
    "110 signed": replace(ALONG_110, contrast="signed", rotation_deg=-15.0),
}


def crystal(settings: CrystalSettings, *, seed: int = 1) -> SimulatedCrystal:
    return simulate_crystal(settings, rng=np.random.default_rng(seed))


def matched(sites: SiteColumns, truth: SiteColumns) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that carry no flag concerning the position, and those of the true columns nearest to them."""
    distance, row = films.nearest(sites.positions_px, truth.positions_px)
    good = np.flatnonzero(~has(sites.flags, POSITION_FLAGS))
    assert (distance[good] < 3.0).all()
    return good, row[good]


@pytest.mark.parametrize("name", CASES)
def test_every_column_stands_on_its_site_with_an_honest_sigma(name):
    simulated = crystal(CASES[name])
    sites, truth = locate_sites(simulated.image), simulated.truth
    assert sites.motif.name == CASES[name].motif.name
    assert [site.name for site in sites.motif.sites] == [site.name for site in CASES[name].motif.sites]
    found, true = (np.sort(np.linalg.norm(cell, axis=1)) for cell in (sites.cell_px, truth.cell_px))
    np.testing.assert_allclose(found, true, rtol=2e-3)
    mine, its = matched(sites, truth)
    roles = [np.array([site.role for site in table.motif.sites])[table.site] for table in (sites, truth)]
    assert (roles[0][mine] == roles[1][its]).all()
    z = (sites.positions_px[mine] - truth.positions_px[its]) / films.sigmas(sites.covariance_px2)[mine]
    for role in "ABO":
        chosen = roles[0][mine] == role
        assert chosen.sum() > 80
        assert z[chosen].std() == pytest.approx(1.0, abs=0.15), role
        # those near the edge fit worse: columns beyond it shine in, and nobody knows them
        inside = films.inside(truth.positions_px, simulated.image.data.shape, margin_px=-30.0)
        wanted = truth.positions_px[inside & (roles[1] == role)]
        assert np.mean(films.nearest(wanted, sites.positions_px[mine])[0] < 3.0) > 0.97
    amplitude = sites.amplitude[mine] / truth.amplitude[its]
    assert np.median(amplitude) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("contrast", "gain"), [("bright", 1.0), ("dark", 1.0), ("signed", 0.0)])
def test_the_noise_is_that_of_the_image(contrast, gain):
    noise = locate_sites(crystal(replace(ALONG_100, contrast=contrast)).image).noise
    assert noise.gain == pytest.approx(gain, abs=0.12)


@pytest.mark.parametrize("contrast", ["bright", "dark", "signed"])
def test_oxygen_that_does_not_show_is_not_found(contrast):
    simulated = crystal(replace(ALONG_100, contrast=contrast, heights=(1.0, 0.5, 0.0, 0.0)))
    sites = locate_sites(simulated.image)
    assert not in_role(sites, "O").any()
    assert [site.role for site in sites.motif.sites] == ["A", "B"]


@pytest.mark.parametrize("name", ["100 dark", "100 signed", "110 dark", "110 signed"])
def test_a_and_b_beside_oxygen_are_where_they_are(name):
    """Oxygen, moved to one side, would draw B with it if nobody fitted it."""
    move = {"B": (0.4, -0.3), "O": (0.5, 0.5)} if "110" in name else {"B": (0.4, -0.3), "O1": (0.5, 0.5)}
    simulated = crystal(replace(CASES[name], shifts_px=move))
    columns = locate_columns(simulated.image)
    cells = build_cells(columns)
    good = cells.flags == 0
    assert good.sum() > 70
    sigma = films.sigmas(cells.covariance_px2)[good]
    z = (cells.displacement_px[good] - np.array([0.4, -0.3])) / sigma
    assert z.std() == pytest.approx(1.0, abs=0.2)
    assert (np.abs(z.mean(axis=0)) * np.sqrt(len(z)) < 4.0).all()
    cations = np.isin(simulated.truth.site, [0, 1])
    distance, row = films.nearest(columns.positions_px, simulated.truth.positions_px[cations])
    assert (distance < 3.0).all()
    assert (simulated.truth.site[cations][row] == columns.sublattice).all()


def test_links_lead_where_they_say():
    columns = as_columns(locate_sites(crystal(CASES["110 dark"]).image))
    first, second = columns.steps_px
    for kind, step in enumerate((first, -first, second, -second, first + second, -first - second)):
        start = np.flatnonzero(columns.links[:, kind] >= 0)
        assert len(start) > 100
        moved = columns.positions_px[columns.links[start, kind]] - columns.positions_px[start]
        assert np.abs(moved - step).max() < 3.0
    assert (columns.index.sum(axis=1) % 2 == columns.index[0].sum() % 2)[columns.sublattice == 0].all() or (
        columns.index.sum(axis=1) % 2 != columns.index[0].sum() % 2
    )[columns.sublattice == 0].all()


def test_a_film_without_oxygen_has_the_columns_that_it_always_had():
    simulated = films.film(benchmark_film(size_px=300), seed=1)
    sites = locate_sites(simulated.image)
    assert sites.motif.name == PEROVSKITE_100.name
    offsets = site_offsets(sites, "B")
    mine, its = films.nearest(offsets.positions_px, simulated.truth_cells.positions_px)
    good = (mine < 2.0) & (offsets.flags == 0)
    z = (offsets.offset_px - simulated.truth_cells.displacement_px[its])[good] / films.sigmas(offsets.covariance_px2)[
        good
    ]
    assert good.sum() > 100
    assert z.std() == pytest.approx(1.0, abs=0.12)


# --- structure files

CIF = """data_{name}
_symmetry_space_group_name_H-M 'P 1'
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {c}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
 _symmetry_equiv_pos_as_xyz
 'x, y, z'
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
 Pb1 Pb 0 0 0 1
 Ti1 Ti 0.5 0.5 {ti} 1
 O1 O 0.5 0.5 {o} 1
 O2 O 0.5 0 {p} 1
 O3 O 0 0.5 {p} 1
"""


@pytest.fixture
def structure(tmp_path):
    """Return a function that writes a perovskite and returns the file."""

    def write(*, a: float = 3.9, c: float = 3.9, ti: float = 0.5, o: float = 0.0, p: float = 0.5):
        file = tmp_path / "perovskite.cif"
        file.write_text(CIF.format(name="perovskite", a=a, c=c, ti=ti, o=o, p=p))
        return file

    return write


@pytest.mark.parametrize(
    ("axis", "known", "edges_pm"),
    [
        ((1, 0, 0), PEROVSKITE_100, (390.0, 390.0)),
        ((0, 0, -2), PEROVSKITE_100, (390.0, 390.0)),
        ((1, 1, 0), PEROVSKITE_110, (390.0 / 2**0.5, 390.0)),
        ((0, -1, 1), PEROVSKITE_110, (390.0 / 2**0.5, 390.0)),
    ],
)
def test_a_structure_along_a_zone_axis_is_the_known_motif(structure, axis, known, edges_pm):
    motif = read_motif(structure(), zone_axis=axis)
    assert (motif.a_pm, motif.b_pm) == pytest.approx(edges_pm, rel=1e-6)
    assert motif.gamma_deg == pytest.approx(90.0)
    assert [site.role for site in motif.sites] == [site.role for site in known.sites]
    places = {(site.role, site.place) for site in motif.sites}
    swapped = {(site.role, site.place[::-1]) for site in motif.sites}
    assert {(site.role, site.place) for site in known.sites} in (places, swapped)
    assert [site.intensity for site in motif.sites] == sorted((s.intensity for s in motif.sites), reverse=True)


@pytest.mark.parametrize("axis", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 0), (1, 1, 2), (3, -3, 2), (-1, 2, 3)])
def test_the_projected_cell_has_the_area_that_the_axis_leaves(structure, axis):
    motif = read_motif(structure(c=4.1), zone_axis=axis)
    length_pm = float(np.linalg.norm(np.array(axis) * [390.0, 390.0, 410.0]))
    area = motif.a_pm * motif.b_pm * np.sin(np.radians(motif.gamma_deg))
    assert area * length_pm == pytest.approx(390.0 * 390.0 * 410.0, rel=1e-6)
    assert 60.0 - 1e-6 <= motif.gamma_deg <= 120.0 + 1e-6  # no shorter pair of vectors
    assert motif.sites[0].place == (0.0, 0.0) and motif.sites[0].intensity == 1.0


def test_columns_at_the_places_of_a_structure_have_no_offset_and_others_theirs(structure):
    """A polar structure: against its own places nothing is displaced, against the middle of the cell B is."""
    polar = read_motif(structure(c=4.1, ti=0.54, o=0.1, p=0.6), zone_axis=(1, 0, 0))
    settings = CrystalSettings(
        motif=polar,
        a_px=36.0,
        b_over_a=polar.b_pm / polar.a_pm,
        rotation_deg=20.0,
        contrast="dark",
        heights=tuple(max(0.3, site.intensity) for site in polar.sites),
    )
    image = crystal(settings).image
    column = next(site for site in polar.sites if site.role == "B")  # titanium, with the oxygen behind it
    off = np.abs(np.array(column.place) - 0.5).max()
    assert off > 0.04
    for motif, expected in ((polar, 0.0), (None, off)):
        offsets = site_offsets(locate_sites(image, motif=motif), "B")
        good = offsets.flags == 0
        mean = offsets.offset_px[good].mean(axis=0)
        error = films.sigmas(offsets.covariance_px2)[good].mean(axis=0) / np.sqrt(good.sum())
        assert np.hypot(*mean) == pytest.approx(expected * 36.0 * settings.b_over_a, abs=4.0 * float(np.hypot(*error)))
        assert (error < 0.05).all()


def test_a_structure_that_is_not_in_the_image_is_refused(structure):
    image = crystal(CASES["110 dark"]).image
    with pytest.raises(ImageError, match=r"perovskite.cif along \[1 0 0\]") as caught:
        locate_sites(image, motif=read_motif(structure()))
    assert "zone axis" in caught.value.do and "390 × 390 pm" in caught.value.got
    assert locate_sites(image, motif=read_motif(structure(), zone_axis=(1, 1, 0))).motif.sites[0].name == "Pb"


def test_what_is_no_structure_is_refused(tmp_path):
    for text in ("no structure at all", "data_empty\n_cell_length_a 3\n"):
        file = tmp_path / "broken.cif"
        file.write_text(text)
        with pytest.raises(FormatError) as caught:
            read_motif(file)
        assert "broken.cif" in caught.value.got
    with pytest.raises(FormatError, match="CIF"):
        read_motif(tmp_path / "missing.cif")
    with pytest.raises(SettingsError, match="zone axis"):
        read_motif(tmp_path / "missing.cif", zone_axis=(0, 0, 0))


def test_an_unknown_cell_with_many_columns_is_refused_by_name_and_measured_by_sites():
    places = ((0.0, 0.0), (0.33, 0.5), (0.67, 0.5), (0.5, 0.0))
    one = PEROVSKITE_100.sites[1]
    sites = tuple(
        replace(one, name=f"S{n + 1}", role="other", place=place, intensity=height)
        for n, (place, height) in enumerate(zip(places, (1.0, 0.6, 0.5, 0.4), strict=True))
    )
    settings = CrystalSettings(
        motif=Motif(name="something else", sites=sites), a_px=40.0, b_over_a=1.3, contrast="dark", width_over_a=0.08
    )
    image: Image = crystal(settings).image
    with pytest.raises(ImageError, match="perovskite") as caught:
        locate_columns(image)
    assert "4 columns" in caught.value.got and "read_motif" in caught.value.do
    found = locate_sites(image)
    got = np.array(sorted(site.place for site in found.motif.sites))
    assert np.abs(np.sort(got, axis=0) - np.sort(np.array(places), axis=0)).max() < 0.05

"""Reference regions proposed, and mistilt suspected: on films whose substrate and tilt are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import films
import realdata
from dipolar.core.nouns import Cells, Columns, take
from dipolar.io import open_image
from dipolar.locate import locate_columns
from dipolar.measure import build_cells, mistilt_suspicion, propose_reference, reference_offset
from dipolar.measure.linear import mean_displacement
from dipolar.measure.proposal import largest_rectangle
from dipolar.measure.reference import inside, trusted
from dipolar.simulate import Domains, FilmSettings

SIGMA_PX = 0.15


def known(settings: FilmSettings, *, seed: int = 0, offset_px: tuple[float, float] = (0.0, 0.0)) -> Columns:
    """Return columns known to `SIGMA_PX`, off by noise, B moved against A by an offset."""
    truth = films.film(settings).truth_columns
    rng = np.random.default_rng(seed)
    moved = np.where(truth.sublattice[:, None] == 1, np.array(offset_px), 0.0)
    noise = rng.normal(scale=SIGMA_PX, size=truth.positions_px.shape)
    return replace(
        truth,
        positions_px=truth.positions_px + moved + noise,
        covariance_px2=np.tile(np.eye(2) * SIGMA_PX**2, (len(truth.flags), 1, 1)),
    )


def stack(share: float = 0.4, **options) -> FilmSettings:
    layers = (films.layer("SrTiO3", share), films.layer("BiFeO3", 1.0 - share))
    return FilmSettings(shape_px=(700, 700), layers=layers, **options)


TWO = Domains(directions_deg=(-45.0, 45.0), walls=(0.0,))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("domains", [None, TWO])
def test_the_substrate_is_proposed_with_its_offset(seed, domains):
    offset = (0.2, -0.15)
    columns = known(stack(domains=domains), seed=seed, offset_px=offset)
    proposal = propose_reference(build_cells(columns), columns)
    y0, y1, x0, x1 = proposal.region_px
    assert y0 > 700 * 0.6 - 12 and (y1 - y0) * (x1 - x0) > 0.5 * 0.4 * 700**2, proposal
    z = (np.array(proposal.offset_px) - offset) / np.array(proposal.offset_sigma_px)
    assert np.all(np.abs(z) < 4.0)
    assert proposal.option == f"--reference {y0}:{y1},{x0}:{x1}"
    assert proposal.rest_px > 1.0


def test_turning_the_image_turns_the_region():
    turned = known(stack(rotation_deg=90.0))
    y0, y1, x0, _ = propose_reference(build_cells(turned), turned).region_px
    # what lay below lies to the right when the crystal is turned counter-clockwise by a quarter
    assert x0 > 700 * 0.55 and (y1 - y0) > 500


@pytest.mark.parametrize(
    ("layer", "domains", "words"),
    [
        ("SrTiO3", None, "the same everywhere"),
        ("BiFeO3", None, "nowhere"),
        ("BiFeO3", Domains(directions_deg=(-45.0, 135.0), walls=(0.0,)), "nowhere"),
    ],
)
def test_where_nothing_tells_a_reference_none_is_proposed(layer, domains, words):
    columns = known(FilmSettings(shape_px=(600, 600), layers=(films.layer(layer),), domains=domains))
    proposal = propose_reference(build_cells(columns), columns)
    assert proposal.region_px is None and words in proposal.why and proposal.option == ""


def test_few_cells_make_no_proposal():
    columns = known(FilmSettings(shape_px=(120, 120), layers=(films.layer("SrTiO3"),)))
    assert "can be trusted" in propose_reference(build_cells(columns), columns).why
    nothing = take(build_cells(columns), np.zeros(0, dtype=int))
    assert propose_reference(nothing, columns).region_px is None


def test_the_mean_of_a_region_is_that_of_the_reference():
    columns = locate_columns(films.film(stack(row_jitter_px=(0.2, 0.2)), seed=5).image)
    cells, region = build_cells(columns), (480, 690, 30, 600)
    reference = reference_offset(cells, columns, region)
    offset, sigma = mean_displacement(cells, columns, inside(cells, region) & trusted(cells))
    np.testing.assert_allclose(offset, reference.offset_px)
    np.testing.assert_allclose(sigma, reference.offset_sigma_px, rtol=0.05)


def test_the_largest_rectangle_is_the_largest():
    rng = np.random.default_rng(3)
    for _ in range(30):
        mask = rng.random((7, 8)) < 0.7
        areas = [
            (v1 - v0) * (u1 - u0)
            for v0 in range(7) for v1 in range(v0 + 1, 8) for u0 in range(8) for u1 in range(u0 + 1, 9)
            if mask[v0:v1, u0:u1].all()
        ]  # fmt: skip
        v0, v1, u0, u1 = largest_rectangle(mask)
        assert (v1 - v0) * (u1 - u0) == max(areas) and mask[v0:v1, u0:u1].all()
    assert largest_rectangle(np.zeros((3, 3), dtype=bool)) == (0, 0, 0, 0)


def tilted(
    *, ellipticity: float, axis_deg: float, offset_pm: float, towards_deg: float, seed: int = 1
) -> tuple[Cells, Columns]:
    """Return what is found of a crystal with elongated columns whose B are off along some direction."""
    layer = films.layer("SrTiO3", displacement_pm=offset_pm, direction_deg=towards_deg)
    settings = FilmSettings(shape_px=(400, 400), layers=(layer,), ellipticity=ellipticity, ellipse_angle_deg=axis_deg)
    columns = locate_columns(films.film(settings, seed=seed).image)
    return build_cells(columns), columns


@pytest.mark.parametrize(
    ("ellipticity", "axis", "offset", "towards", "verdict", "words"),
    [
        (1.25, 30.0, 6.0, 30.0, "suspected", "they agree"),
        (1.25, 30.0, 6.0, 210.0, "suspected", "they agree"),
        (1.25, -50.0, 6.0, 130.0, "suspected", "they agree"),
        (1.25, 30.0, 0.0, 30.0, "not suspected", "nothing"),
        (1.25, 30.0, 6.0, 110.0, "not suspected", "one line"),
        (1.01, 30.0, 20.0, 30.0, "not suspected", "too round"),
        (1.25, 0.0, 6.0, 0.0, "cannot tell", "along the scan"),
        (1.0, 0.0, 6.0, 30.0, "cannot tell", "no elongation"),
    ],
)
def test_offset_and_elongation_along_one_line_are_suspicious(ellipticity, axis, offset, towards, verdict, words):
    found = mistilt_suspicion(*tilted(ellipticity=ellipticity, axis_deg=axis, offset_pm=offset, towards_deg=towards))
    assert found.verdict == verdict and words in found.why, found
    assert 17.25 * np.hypot(*found.offset_px) == pytest.approx(offset, abs=0.6)
    if verdict == "suspected":
        assert abs((found.elongation_deg - axis + 90.0) % 180.0 - 90.0) < 4.0 * found.elongation_sigma_deg
        assert found.chance < 0.1 and found.smear_px > 2.0 * np.hypot(*found.offset_px)


def test_a_film_with_domains_needs_a_region():
    layers = (films.layer("SrTiO3", 0.4, displacement_pm=6.0, direction_deg=30.0), films.layer("BiFeO3", 0.6))
    domains = {"ellipticity": 1.25, "ellipse_angle_deg": 30.0}
    columns = locate_columns(films.film(FilmSettings(shape_px=(500, 500), layers=layers, **domains)).image)
    cells = build_cells(columns)
    assert mistilt_suspicion(cells, columns).verdict == "cannot tell"
    assert mistilt_suspicion(cells, columns, region=(330, 500, 0, 500)).verdict == "suspected"


def test_too_little_crystal_tells_nothing():
    cells, columns = tilted(ellipticity=1.2, axis_deg=30.0, offset_pm=6.0, towards_deg=30.0)
    found = mistilt_suspicion(cells, columns, region=(0, 50, 0, 50))
    assert found.verdict == "cannot tell" and "too few" in found.why and np.isnan(found.chance)


@pytest.mark.realdata
def test_real_images():
    columns = locate_columns(open_image(realdata.path("sto_ser/16_STOimage_1.ser")))
    cells = build_cells(columns)
    assert "the same everywhere" in propose_reference(cells, columns).why
    assert mistilt_suspicion(cells, columns).verdict != "not suspected"
    columns = locate_columns(open_image(realdata.path("stemfit_layers/image.tif")))
    region = propose_reference(build_cells(columns), columns).region_px
    assert region[0] > 500  # the lower half holds the substrate

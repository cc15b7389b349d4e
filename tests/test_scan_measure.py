"""Dose and dead pixels change no mean, counts are conserved, and what is turned turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dipolar.core.errors import FormatError, ScanError, SettingsError
from dipolar.core.scanning import Bank, View
from dipolar.locate.beam import centres, look_at
from dipolar.measure.bank import bank_counts, bank_for, counted, ratio_sigma, ratios
from dipolar.measure.bank_plan import stencil, units_per_electron
from dipolar.measure.bank_rules import Clicked, FromCif
from dipolar.measure.order import classes_without_labels, order_parameters, otsu
from dipolar.measure.patterns import binned, everything, totals
from dipolar.measure.virtual import Annulus, VirtualImages, friedel, usual_images, virtual_images
from dipolar.simulate.scan import simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings
from scan_patterns import held

SHAPE = (96, 96)
MIDDLE = (47.5, 47.5)


def view_of(*, radius: float = 4.0, step: float = 18.0, bad: tuple[tuple[int, int], ...] = (), **other: object) -> View:
    """Return a view of drawn patterns."""
    defective = np.zeros(SHAPE, dtype=bool)
    for place in bad:
        defective[place] = True
    usual = {
        "centre_px": MIDDLE,
        "reach_px": 3.0,
        "radius_px": radius,
        "lattice_px": np.array([[0.0, step], [step, 0.0]]),
        "lattice_sigma_px": np.full((2, 2), 0.01),
        "stopped": False,
        "mean": drawn(radius=radius, step=step).astype(np.float32),
        "variance": drawn(radius=radius, step=step).astype(np.float32),
        "counts_per_pattern": 1e4,
    }
    return View(defective=defective, **{**usual, **other})


def drawn(
    *,
    centre: tuple[float, float] = MIDDLE,
    radius: float = 4.0,
    step: float = 18.0,
    main: float = 8.0,
    across: float = 0.0,
    down: float = 0.0,
    ground: float = 2.0,
) -> np.ndarray:
    """Return mean counts: even disks, ghosts half way along x (`across`) and y (`down`), and an even background."""
    y, x = np.indices(SHAPE)
    counts = np.full(SHAPE, ground)
    for h in range(-6, 7):
        for k in range(-6, 7):
            height = (main, across, down, 0.0)[h % 2 + 2 * (k % 2)]
            if height:
                distance = np.hypot(y - centre[0] - k * step / 2, x - centre[1] - h * step / 2)
                counts = counts + height * np.clip(radius - distance + 0.5, 0.0, 1.0)
    return counts


def at(count: int, place: tuple[float, float] = MIDDLE) -> np.ndarray:
    return np.tile(np.array(place, dtype=np.float32), (count, 1))


def taken(mean: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean, size=(count, *SHAPE)).astype(np.uint16)


@pytest.fixture(scope="module")
def bank() -> Bank:
    return bank_for(view_of())


@pytest.mark.parametrize("radius", [0.7, 2.3, 4.1])
def test_a_stencil_is_round_and_whole(radius):
    weights, left, squares = stencil(radius)
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    rows = np.arange(weights.shape[1]) - left
    for phase in range(16):
        np.testing.assert_allclose(weights[phase].sum(axis=1) @ rows, (phase // 4) / 4, atol=0.03)
        np.testing.assert_allclose(weights[phase].sum(axis=0) @ rows, (phase % 4) / 4, atol=0.03)
    assert 0.9 < 1 / squares / (np.pi * radius**2) < 1.9


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
@pytest.mark.parametrize("radius", [4.0, 7.0])
def test_counts_are_those_above_the_ground(radius, dtype):
    step = 4.5 * radius
    view = view_of(radius=radius, step=step)
    bank, place = bank_for(view), (48.2, 46.9)
    mean = 10 * drawn(radius=radius, step=step, centre=place, across=3.0)
    counts = bank_counts(np.rint(mean[None]).astype(dtype), at(1, place), view, bank)[0]
    odd = bank.sites % 2 != 0
    np.testing.assert_allclose(counts[bank.main], 80.0, rtol=0.05)
    np.testing.assert_allclose(counts[odd[:, 0] & ~odd[:, 1]], 30.0, rtol=0.06)
    np.testing.assert_allclose(counts[odd[:, 1]], 0.0, atol=1.0)


def test_an_even_slope_is_no_ghost(bank):
    y, x = np.indices(SHAPE)
    mean = drawn() + 0.05 * y + 0.02 * x
    counts = bank_counts(mean[None].astype(np.float32), at(1), view_of(), bank)[0]
    np.testing.assert_allclose(counts[~bank.main], 0.0, atol=0.02)


def test_sigma_is_the_scatter_of_counts(bank):
    net, sigma = counted(taken(drawn(across=1.0), 400), at(400), view_of(), bank)
    scatter, expected = net.std(axis=0), sigma.mean(axis=0)
    assert abs(np.median(scatter / expected) - 1) < 0.05
    assert (scatter / expected).min() > 0.8 and (scatter / expected).max() < 1.25


def test_a_gain_widens_sigma_as_it_widens_the_scatter():
    made = simulate_scan(SimulatedScanSettings(shape=(12, 12), pattern_px=(96, 96), gain=9.0, detector_offset=30.0), 3)
    assert abs(units_per_electron(look_at(made.scan)) / 9.0 - 1) < 0.2


def test_ratios_do_not_depend_on_dose_and_their_sigma_falls_with_it(bank):
    low = counted(taken(drawn(across=1.5), 500), at(500), view_of(), bank)
    high = counted(taken(9 * drawn(across=1.5), 500, 1), at(500), view_of(), bank)
    values = [ratios(each[0], bank).mean(axis=0) for each in (low, high)]
    sigma = [ratio_sigma(*each, bank) for each in (low, high)]
    off = (values[0] - values[1]) / np.hypot(*(each.mean(axis=0) / np.sqrt(500) for each in sigma))
    assert np.abs(off).max() < 4.5
    np.testing.assert_allclose(np.median(sigma[0]) / np.median(sigma[1]), 3.0, rtol=0.03)
    np.testing.assert_allclose(ratios(low[0], bank).std(axis=0)[:2], sigma[0].mean(axis=0)[:2], rtol=0.12)


@pytest.mark.parametrize("bad", [(47, 56), (47, 65), (52, 52)])
def test_dead_pixels_change_nothing_in_the_mean(bank, bad):
    patterns = taken(drawn(across=1.0), 300)
    patterns[:, bad[0], bad[1]] = 60000
    view = view_of(bad=(bad,))
    clean, spoilt = taken(drawn(across=1.0), 300), patterns
    expected, sigma = counted(clean, at(300), view_of(), bank)
    found = bank_counts(spoilt, at(300), view, bank)
    assert (np.abs(found.mean(axis=0) - expected.mean(axis=0)) < 1.5 * sigma.mean(axis=0) / np.sqrt(300)).all()
    np.testing.assert_allclose(totals(spoilt, view), clean.sum(axis=(1, 2)) - clean[:, bad[0], bad[1]])
    copies = binned(spoilt, at(300), view, 24).sum(axis=(1, 2)).mean()
    assert abs(copies - clean.sum(axis=(1, 2)).mean()) < 1.0
    images = usual_images(view)
    now, before = virtual_images(spoilt, at(300), view, images), virtual_images(clean, at(300), view_of(), images)
    for name in now:
        assert abs(now[name].mean() - before[name].mean()) < 1.0


def test_a_dead_site_is_unknown_and_its_ratio_that_of_its_partner(bank):
    y, x = np.indices(SHAPE)
    bad = np.hypot(y - 47.5, x - 56.5) < 5
    view = view_of(bad=tuple(zip(*np.nonzero(bad), strict=True)))
    counts = bank_counts(taken(drawn(across=1.0), 2), at(2), view, bank)
    site = int(np.flatnonzero((bank.sites == (1, 0)).all(axis=1))[0])
    partner = int(np.flatnonzero((bank.sites == (-1, 0)).all(axis=1))[0])
    assert np.isnan(counts[:, site]).all() and np.isfinite(counts[:, partner]).all()
    values = ratios(counts, bank)[:, -int((~bank.main).sum()) :]
    ghosts = np.flatnonzero(~bank.main)
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values[:, ghosts == site], values[:, ghosts == partner])


def test_an_empty_pattern_has_no_ratios(bank):
    assert np.isnan(ratios(bank_counts(np.zeros((1, *SHAPE), np.uint16), at(1), view_of(), bank), bank)).all()


def test_a_bank_is_closed_under_inversion_and_lies_on_the_detector(bank):
    sites = {tuple(site) for site in bank.sites.tolist()}
    assert all((-h, -k) in sites for h, k in sites) and (0, 0) in sites
    assert (np.abs(bank.sites * 9.0) <= 47.5 - 0.9 * 4).all()
    np.testing.assert_array_equal(bank.main, (bank.sites % 2 == 0).all(axis=1))
    assert len(bank_for(view_of(), most=40).sites) <= 40
    with pytest.raises(ScanError, match="no lattice of disks"):
        bank_for(view_of(lattice_px=np.full((2, 2), np.nan)))


def test_clicks_choose_ghosts_and_their_partners():
    chosen = bank_for(view_of(), Clicked(((47.9, 56.1), (65.5, 56.5))))
    ghosts = {tuple(site) for site in chosen.sites[~chosen.main].tolist()}
    assert ghosts == {(1, 0), (-1, 0), (1, 2), (-1, -2)}
    for wrong in ((47.5, 65.5), (52.0, 52.0)):
        with pytest.raises(SettingsError, match="between the disks"):
            bank_for(view_of(), Clicked((wrong,)))


CIF = """data_{name}
_cell_length_a {a}
_cell_length_b {b}
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_symmetry_equiv_pos_as_xyz
'x,y,z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{atoms}
"""


def test_a_pair_of_structures_says_where_ghosts_are(tmp_path: Path):
    parent, child = tmp_path / "parent.cif", tmp_path / "child.cif"
    parent.write_text(CIF.format(name="parent", a=4.0, b=4.0, atoms="Pb1 Pb 0 0 0"))
    child.write_text(CIF.format(name="child", a=8.0, b=4.0, atoms="Pb1 Pb 0.01 0 0\nPb2 Pb 0.49 0 0"))
    bank = bank_for(view_of(), FromCif(parent, child))
    odd = bank.sites[~bank.main] % 2 != 0
    # Both variants of a cell doubled along one axis: never at both halves.
    assert (odd.sum(axis=1) == 1).all() and odd[:, 0].any() and odd[:, 1].any()
    with pytest.raises(SettingsError, match="between those of the parent"):
        bank_for(view_of(), FromCif(parent, parent))
    child.write_text("nothing")
    with pytest.raises(FormatError):
        bank_for(view_of(), FromCif(parent, child))


@pytest.fixture(scope="module")
def domains():
    """A scan of 24 × 24 patterns with its view, bank, counts and truth."""
    made = simulate_scan(SimulatedScanSettings(shape=(24, 24), pattern_px=(128, 128), electrons=2e4), seed=5)
    view = look_at(made.scan)
    bank = bank_for(view)
    patterns = made.scan.frames.read(0, 576)
    return made, view, bank, everything(patterns, view, centres, bank=bank, images=usual_images(view))


def ranked(score: np.ndarray, which: np.ndarray) -> float:
    """Return the probability that one of `which` scores lower than one of the others."""
    return float((score[which][:, None] < score[~which]).mean())


def test_order_parameters_tell_domains_without_a_label(domains):
    made, _, bank, found = domains
    order = order_parameters(found["counts"], found["counts_sigma"], bank)
    label, names = made.truth.label.ravel(), made.truth.names
    none = label == names.index("none")
    assert ranked(order.strength, none) > 0.97
    assert ((order.difference > 0) == (label == names.index("horizontal")))[~none].mean() > 0.97
    told = np.array(["horizontal", "vertical", "none"])[classes_without_labels(order)]
    assert (told == np.array(names)[label]).mean() > 0.9


def test_turned_patterns_have_exchanged_order_parameters(domains):
    made, _, bank, found = domains
    patterns = np.ascontiguousarray(np.rot90(made.scan.frames.read(0, 576), axes=(1, 2)))
    turned = look_at(held(patterns, (24, 24)))
    other = bank_for(turned)
    counts, sigma = counted(patterns, centres(patterns, turned)[0], turned, other)
    before, after = (
        order_parameters(found["counts"], found["counts_sigma"], bank),
        order_parameters(counts, sigma, other),
    )
    within = np.abs(before.difference + after.difference) / np.hypot(before.difference_sigma, after.difference_sigma)
    assert np.median(within) < 0.5 and {tuple(s) for s in other.sites.tolist()} == {
        tuple(s) for s in bank.sites.tolist()
    }


def test_any_pieces_give_the_same(domains):
    made, view, bank, found = domains
    for start, stop in ((0, 7), (100, 101), (569, 576)):
        patterns = made.scan.frames.read(start, stop)
        again = everything(patterns, view, centres, bank=bank, images=usual_images(view))
        assert set(again) == set(found)
        for name, values in again.items():
            np.testing.assert_array_equal(values, found[name][start:stop])


def test_together_and_alone_give_the_same(domains):
    made, view, bank, _ = domains
    patterns = made.scan.frames.read(0, 20)
    both = everything(patterns, view, centres, bank=bank, size_px=32)
    np.testing.assert_array_equal(both["patch"], binned(patterns, both["centre"], view, 32))
    np.testing.assert_array_equal(both["counts"], bank_counts(patterns, both["centre"], view, bank))
    np.testing.assert_allclose(both["totals"], totals(patterns, view), rtol=1e-6)
    assert np.log1p(both["patch"]) == pytest.approx(binned(patterns, both["centre"], view, 32, log=True))


def test_patterns_without_anything_are_blank(domains):
    made, view, bank, _ = domains
    patterns = made.scan.frames.read(0, 4).copy()
    patterns[1], patterns[2] = 0, 9
    found = everything(patterns, view, centres, bank=bank)
    np.testing.assert_array_equal(found["blank"], [False, True, True, False])
    np.testing.assert_array_equal(found["found"], ~found["blank"])
    assert len(everything(patterns[:0], view, centres, bank=bank)["counts"]) == 0


@pytest.mark.parametrize(("size", "radius"), [(96, 4.0), (48, 4.0), (24, 7.0), (32, 4.0), (20, 4.0)])
def test_copies_keep_counts_whole_and_turn_with_the_pattern(size, radius):
    view = view_of(radius=radius)
    patterns = taken(drawn(), 3)
    copies = binned(patterns, at(3), view, size)
    np.testing.assert_array_equal(copies, np.rint(copies))
    np.testing.assert_array_equal(copies.sum(axis=(1, 2)), patterns.sum(axis=(1, 2)))
    turned = binned(np.ascontiguousarray(np.rot90(patterns, axes=(1, 2))), at(3), view, size)
    np.testing.assert_array_equal(turned, np.rot90(copies, axes=(1, 2)))


def test_copies_are_centred():
    view, moved = view_of(), (50.5, 43.5)
    one = binned(drawn()[None].astype(np.float32), at(1), view, 48)
    other = binned(drawn(centre=moved)[None].astype(np.float32), at(1, moved), view, 48)
    np.testing.assert_allclose(one[:, 6:-6, 6:-6], other[:, 6:-6, 6:-6], atol=0.05)
    with pytest.raises(SettingsError):
        binned(drawn()[None], at(1), view, 3)


def test_numbers_that_are_none_do_not_count():
    view = view_of(bad=((47, 47), (10, 80)))
    patterns = taken(drawn(), 2).astype(np.float32)
    patterns[:, 47, 47] = np.nan
    patterns[:, 10, 80] = np.inf
    bank = bank_for(view)
    for values in (totals(patterns, view), binned(patterns, at(2), view, 24), bank_counts(patterns, at(2), view, bank)):
        assert np.isfinite(values).all()


@pytest.mark.parametrize("radius", [4.0, 7.0])
def test_virtual_images_are_sums_in_rings(radius):
    view, patterns = view_of(radius=radius), taken(drawn(), 2)
    offset = (6.0, -10.0)
    images = VirtualImages((("ring", Annulus(12.0, 30.0)), ("aside", Annulus(0.0, 8.0, offset))), 40.0)
    found = virtual_images(patterns, at(2), view, images)
    y, x = np.indices(SHAPE) - 47.5
    ring = patterns[:, (np.hypot(y, x) <= 30) & (np.hypot(y, x) > 12)].sum(axis=1)
    aside = patterns[:, np.hypot(y - offset[0], x - offset[1]) <= 8].sum(axis=1)
    # The rim goes through pixels.
    np.testing.assert_allclose(found["ring"], ring, rtol=0.02)
    np.testing.assert_allclose(found["aside"], aside, rtol=0.08)
    with pytest.raises(SettingsError, match="inner to its outer"):
        Annulus(5.0, 5.0)


def test_the_centre_of_mass_is_from_the_beam_and_turns_with_the_pattern():
    view, images = view_of(), VirtualImages((), 40.0)
    x = np.arange(SHAPE[1])
    tilted = 20 * drawn() * (1 + 0.004 * (x - 47.5))
    found = virtual_images(tilted[None].astype(np.float32), at(1), view, images)
    np.testing.assert_allclose(found["centre of mass y"], 0.0, atol=0.02)
    assert found["centre of mass x"][0] > 1.0
    turned = np.ascontiguousarray(np.rot90(tilted))[None].astype(np.float32)
    again = virtual_images(turned, at(1), view, images)
    np.testing.assert_allclose(again["centre of mass y"], -found["centre of mass x"], atol=0.02)
    away = (49.3, 45.9)
    flat = virtual_images(drawn(centre=away)[None].astype(np.float32), at(1, away), view, VirtualImages((), 30.0))
    assert abs(flat["centre of mass y"][0]) < 0.15 and abs(flat["centre of mass x"][0]) < 0.15


def test_a_centrosymmetric_pattern_has_no_friedel_difference(bank):
    value, sigma = friedel(*counted(taken(drawn(), 300), at(300), view_of(), bank), bank)
    assert abs(value.mean()) < 4 * sigma.mean() / np.sqrt(300)
    np.testing.assert_allclose(value.std(), sigma.mean(), rtol=0.15)
    x = np.arange(SHAPE[1])
    polar = drawn() * (1 + 0.004 * (x - 47.5))
    one = friedel(*counted(polar[None].astype(np.float32), at(1), view_of(), bank), bank)[0]
    other = friedel(*counted(polar[None, :, ::-1].astype(np.float32), at(1), view_of(), bank), bank)[0]
    assert one[0] > 0.02
    np.testing.assert_allclose(one, -other, rtol=1e-3)


def test_otsu_parts_two_groups_best():
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 50), np.random.default_rng(1).normal(8, 1, 150)])
    scatter = [
        (values < limit).sum() * values[values < limit].var() + (values >= limit).sum() * values[values >= limit].var()
        for limit in np.sort(values)[1:]
    ]
    limit = otsu(values)
    at_limit = (values < limit).sum() * values[values < limit].var()
    at_limit += (values >= limit).sum() * values[values >= limit].var()
    assert at_limit <= min(scatter) + 1e-9

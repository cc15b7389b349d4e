"""Windows and what is to be learned from them: laws of where they stand, of targets, of splits and of symmetries."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

import films
from dipolar.core.errors import DataError, SettingsError
from dipolar.core.flags import Flag
from dipolar.core.learning import NETWORK_CELL_PX, TARGETS
from dipolar.core.nouns import Image, take
from dipolar.learn.augment import (
    SYMMETRIES,
    Symmetry,
    draw_symmetries,
    target_rule,
    transform_images,
    transform_targets,
)
from dipolar.learn.blocks import (
    ACROSS,
    TEST,
    TRAINING,
    AbstractSplit,
    SplitByBlocks,
    SplitByLine,
    block_of,
    check_parts,
    sides,
)
from dipolar.learn.targets import cell_targets, sliding_targets
from dipolar.learn.windows import centered_patches, grid_of_windows, middles, sliding_patches
from dipolar.locate import locate_columns
from dipolar.measure import build_cells
from dipolar.simulate import FilmSettings, Simulated
from test_measure_cells import perfect, repeated

SHAPE = (160, 230)


def ramp(shape: tuple[int, int] = SHAPE) -> Image:
    """Return an image whose pixels say where they are."""
    y, x = np.indices(shape)
    return Image(data=(1000.0 * y + x).astype(np.float32))


def small_film(**changes: object) -> Simulated:
    return films.film(FilmSettings(shape_px=SHAPE, layers=(films.layer("BiFeO3"),), **changes))


# --- windows


@pytest.mark.parametrize("window_px", [10, 25, 40])
def test_a_window_stands_on_whole_pixels_as_near_to_its_cell_as_that_allows(window_px):
    cells = small_film(rotation_deg=3.0).truth_cells
    cut = centered_patches(ramp(), cells, window_px=window_px)
    patches = cut.patches
    assert len(cut.cell) > 10 and cut.invalid == 0
    assert patches.images.shape == (len(cut.cell), window_px, window_px)
    first = np.stack(np.divmod(patches.images[:, 0, 0].astype(int), 1000), axis=1)
    last = np.stack(np.divmod(patches.images[:, -1, -1].astype(int), 1000), axis=1)
    np.testing.assert_array_equal(patches.positions_px, (first + last) / 2.0)
    assert (last - first == window_px - 1).all()
    np.testing.assert_allclose(patches.positions_px + cut.remainder_px, cells.positions_px[cut.cell])
    assert np.abs(cut.remainder_px).max() <= 0.5
    assert (patches.block == 0).all()


def test_windows_that_leave_the_image_or_hold_nan_are_left_out_and_counted():
    cells = small_film().truth_cells
    data = ramp().data.copy()
    data[70:73, 100] = np.nan
    cut = centered_patches(Image(data=data), cells, window_px=40)
    distance = np.abs(cells.positions_px - [71.0, 100.0])
    y, x = cells.positions_px.T
    inside = (y >= 19.0) & (y < 140.0) & (x >= 19.0) & (x < 210.0)
    holds = inside & (distance[:, 0] < 21.0) & (distance[:, 1] < 20.0)
    assert cut.outside == np.sum(~inside) > 0
    assert abs(cut.invalid - holds.sum()) <= 1 and cut.invalid > 1
    assert len(cut.cell) + cut.outside + cut.invalid == len(cells.flags)
    assert np.isfinite(cut.patches.images).all()


def test_sliding_windows_are_all_of_a_grid_and_none_with_nan():
    cells = small_film().truth_cells
    data = ramp().data.copy()
    data[30, 40], data[:, 200:] = np.nan, np.nan
    cut = sliding_patches(Image(data=data), cells, window_px=21, stride_px=7)
    expected, corners = [], []
    for top, left in product(range(0, SHAPE[0] - 20, 7), range(0, SHAPE[1] - 20, 7)):
        window = data[top : top + 21, left : left + 21]
        if np.isfinite(window).all():
            expected.append(window)
            corners.append((top + 10.0, left + 10.0))
    np.testing.assert_array_equal(cut.patches.images, expected)
    np.testing.assert_array_equal(cut.patches.positions_px, corners)
    assert cut.invalid == len(grid_of_windows(SHAPE, window_px=21, stride_px=7)) - len(corners)
    assert (cut.cell == -1).all() and cut.outside == 0


def test_an_image_smaller_than_a_window_has_none():
    cells = small_film().truth_cells
    for cut in (
        centered_patches(ramp((30, 300)), cells, window_px=40),
        sliding_patches(ramp((30, 300)), cells, window_px=40, stride_px=5),
    ):
        assert cut.patches.images.shape == (0, 40, 40) and cut.patches.targets.shape == (0, 6)


def test_windows_too_small_or_too_large_and_strides_of_nothing_are_refused():
    cells = small_film().truth_cells
    for window_px in (9, 161):
        with pytest.raises(SettingsError, match=rf"10 to 160 px wide(.|\n)*window_px={window_px}"):
            centered_patches(ramp(), cells, window_px=window_px)
    with pytest.raises(SettingsError, match=r"whole pixels(.|\n)*stride_px=0"):
        sliding_patches(ramp(), cells, window_px=40, stride_px=0)


# --- targets


def test_targets_are_those_of_the_cell_in_network_units():
    cells = replace(build_cells(perfect(sigma_px=0.1)), displacement_px=np.tile([-1.5, 0.5], (16, 1)))
    a, b = np.array([2.0, 20.0]), np.array([24.0, -3.0])
    cells = replace(cells, a_px=np.tile(a, (16, 1)), b_px=np.tile(b, (16, 1)))
    values, sigma = cell_targets(cells, scale=1.2)
    gamma = np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    expected = [-1.8, 0.6, np.hypot(*a) / 20 - 1, np.hypot(*b) / 20 - 1, (gamma - 90) / 10, 486 / 400 - 1]
    np.testing.assert_allclose(values, [expected] * 16, atol=1e-12)
    np.testing.assert_allclose(sigma[:, :2], 1.2 * np.sqrt(1.25) * 0.1)
    for column, said in ((2, cells.a_sigma_px / 20), (4, cells.gamma_sigma_deg / 10), (5, cells.area_sigma_px2 / 400)):
        np.testing.assert_allclose(sigma[:, column], said)


def test_a_square_cell_of_the_networks_own_size_is_zero_but_for_its_displacement():
    cells = build_cells(perfect())
    square = np.array([NETWORK_CELL_PX, 0.0])
    cells = replace(cells, a_px=np.tile(square[::-1], (16, 1)), b_px=np.tile(square, (16, 1)))
    np.testing.assert_allclose(cell_targets(cells, scale=1.0)[0][:, 2:], 0.0, atol=1e-12)


def test_nobody_learns_from_a_doubtful_cell():
    cells = build_cells(perfect(sigma_px=0.1))
    flags = cells.flags.copy()
    flags[3], flags[5] = Flag.FLAGGED_COLUMN, Flag.AMBIGUOUS_SUBLATTICE
    values, sigma = cell_targets(replace(cells, flags=flags), scale=1.0)
    for table in (values, sigma):
        assert np.flatnonzero(np.isnan(table).any(axis=1)).tolist() == [3]
        assert np.isnan(table[3]).all()
    near, _ = sliding_targets(cells.positions_px[3:4], replace(cells, flags=flags), scale=1.0)
    others = cell_targets(cells, scale=1.0)[0]
    np.testing.assert_allclose(near[0], others[0], atol=1e-9)  # all others are alike


def test_a_point_between_four_cells_is_told_their_mean():
    film = small_film()
    cells = film.truth_cells
    y, x = cells.positions_px.T
    slanted = replace(cells, displacement_px=np.stack([0.01 * y, -0.02 * x], axis=1))
    steps = film.truth_columns.steps_px
    points = cells.positions_px[(cells.row > 0) & (cells.col > 0)] - steps[0]  # the common corner of four cells
    values, _ = sliding_targets(points, slanted, scale=1.0)
    np.testing.assert_allclose(values[:, 0], 0.01 * points[:, 0], atol=1e-6)
    np.testing.assert_allclose(values[:, 1], -0.02 * points[:, 1], atol=1e-6)


def test_far_from_all_cells_nothing_is_known_and_at_the_rim_what_is_near_counts():
    cells = build_cells(perfect())
    edge = np.sqrt(486.0)
    left = cells.positions_px[(cells.row == 2) & (cells.col == 0)][0]
    steps = np.array([[0.0, 0.0], [0.0, -1.2 * edge], [0.0, -1.6 * edge], [0.0, -300.0]])
    values, sigma = sliding_targets(left + steps, cells, scale=1.0)
    assert np.isfinite(values).all(axis=1).tolist() == [True, True, False, False]
    np.testing.assert_allclose(values[:2, :2], [(-1.5, 0.5)] * 2)
    assert np.isnan(sigma[2:]).all()
    nothing = take(cells, np.zeros(len(cells.flags), dtype=bool))
    for table in sliding_targets(left[None], nothing, scale=1.0):
        assert table.shape == (1, 6) and np.isnan(table).all()
    with pytest.raises(SettingsError, match=r"at least one cell(.|\n)*nearest=0"):
        sliding_targets(left[None], cells, scale=1.0, nearest=0)


def test_sigma_of_a_mean_of_cells_is_that_of_repeated_experiments():
    columns = perfect(3, sigma_px=0.1)
    said, repeats = build_cells(columns), 1500
    points = said.positions_px[[0, 4, 8]] + [[11.0, 10.0], [0.0, 0.0], [-3.0, 2.0]]
    _, sigma = sliding_targets(points, said, scale=1.0)
    noise = np.random.default_rng(4).normal(scale=0.1, size=(repeats, len(columns.flags), 2))
    apart = np.arange(repeats)[:, None, None] * [1000.0, 0.0]  # each experiment far from all others
    found = build_cells(repeated(columns, noise + apart))
    where = (said.positions_px + apart).reshape(-1, 2)
    assert np.abs(found.positions_px - where).max() < 0.5
    found = replace(found, positions_px=where)  # else the noise would choose other neighbours now and then
    values = sliding_targets((points + apart).reshape(-1, 2), found, scale=1.0)[0].reshape(repeats, 3, 6)
    np.testing.assert_allclose(values.std(axis=0), sigma, rtol=0.1)
    alone = cell_targets(said, scale=1.0)[1][0] / 2.0  # what four independent cells would have
    assert (sigma[0, :2] > 1.1 * alone[:2]).all() and (sigma[0, 2:4] < 0.95 * alone[2:4]).all()


# --- splits


SPLITS = [
    SplitByLine(),
    SplitByLine(share=0.5, axis="y"),
    SplitByLine(margin_px=12),
    SplitByBlocks(blocks=(3, 4), folds=4),
    SplitByBlocks(blocks=(2, 2), folds=4),
    SplitByBlocks(blocks=(5, 5), folds=2, margin_px=3),
    SplitByBlocks(blocks=(3, 2), folds=3),
]


@pytest.mark.parametrize("split", SPLITS, ids=repr)
@pytest.mark.parametrize("window_px", [10, 31, 90])
def test_no_pixel_of_a_training_window_lies_in_a_test_window(split: AbstractSplit, window_px: int):
    shape = (301, 420)
    rng = np.random.default_rng(window_px)
    corners = np.stack([rng.integers(size - window_px + 1, size=400) for size in shape], axis=1)
    block = block_of(corners, window_px=window_px, split=split, shape_px=shape)
    assert set(np.unique(block)) <= {ACROSS, *range(split.parts)}
    for test in range(split.parts):
        training, held_out = sides(block, test=test)
        assert not (training & held_out).any()
        seen = np.zeros(shape, dtype=bool)
        reach = split.margin_px
        for y, x in corners[training]:
            seen[max(y - reach, 0) : y + window_px + reach, max(x - reach, 0) : x + window_px + reach] = True
        for y, x in corners[held_out]:
            top, left = max(y - reach, 0), max(x - reach, 0)
            assert not seen[top : y + window_px + reach, left : x + window_px + reach].any()


def test_two_thirds_are_for_training_and_a_line_is_between():
    cells = films.film(FilmSettings(shape_px=(300, 600))).truth_cells
    image = ramp((300, 600))
    for cut in (
        centered_patches(image, cells, window_px=30, split=SplitByLine()),
        sliding_patches(image, cells, window_px=30, stride_px=10, split=SplitByLine()),
    ):
        training, held_out = sides(cut.patches.block)
        x = cut.patches.positions_px[:, 1]
        assert x[training].max() <= 400 - 15.5 and x[held_out].min() >= 400 + 14.5
        left_out = cut.patches.block == ACROSS
        assert np.abs(x[left_out] - 399.5).max() < 15.0 and left_out.any()
        assert training.sum() / (training.sum() + held_out.sum()) == pytest.approx(2 / 3, abs=0.03)
        assert (cut.patches.block[training] == TRAINING).all() and (cut.patches.block[held_out] == TEST).all()


@pytest.mark.parametrize("split", SPLITS[3:], ids=repr)
def test_every_fold_has_blocks_and_neighbours_differ(split: SplitByBlocks):
    part = split.regions((400, 400)).part
    counts = np.bincount(part.ravel(), minlength=split.folds)
    assert counts.min() >= 1 and np.ptp(counts) <= 1
    assert (np.diff(part, axis=0) != 0).all() and (np.diff(part, axis=1) != 0).all()


def test_a_split_without_enough_cells_says_how_many_are_needed():
    film = small_film()
    with pytest.raises(DataError, match=r"2 parts of a split needs at least 50 windows(.|\n)*100 in all") as caught:
        centered_patches(film.image, film.truth_cells, window_px=40, split=SplitByLine(fewest=50))
    assert "across a border" in caught.value.got and "smaller windows" in caught.value.do
    block, unknown = np.array([0] * 30 + [1] * 30, dtype=np.int32), np.full((60, 6), np.nan)
    with pytest.raises(DataError, match="got:  0, 0 windows"):  # windows without a target do not count
        check_parts(block, unknown, split=SplitByLine())
    check_parts(block, np.zeros((60, 6)), split=SplitByLine())


def test_splits_that_cannot_be_are_refused():
    with pytest.raises(SettingsError, match=r"must cross the image(.|\n)*share=1"):
        SplitByLine(share=1.0)
    for wrong in ({"folds": 1}, {"blocks": (1, 3), "folds": 4}, {"blocks": (0, 4)}):
        with pytest.raises(SettingsError, match="every fold needs a block"):
            SplitByBlocks(**wrong)


# --- symmetries


def numbers_of(symmetry: Symmetry, count: int) -> np.ndarray:
    return np.full(count, symmetry.number, dtype=np.int8)


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=repr)
def test_a_symmetry_and_its_inverse_change_nothing(symmetry: Symmetry):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(3, 1, 6, 6)))
    targets = torch.from_numpy(rng.normal(size=(3, 6)))
    there, back = numbers_of(symmetry, 3), numbers_of(symmetry.inverse, 3)
    assert torch.equal(transform_images(transform_images(images, there), back), images)
    assert torch.equal(transform_targets(transform_targets(targets, there), back), targets)
    assert torch.equal(transform_targets(targets[:, :2], there), transform_targets(targets, there)[:, :2])
    assert symmetry.inverse.after(symmetry) == Symmetry()
    assert SYMMETRIES[symmetry.number] == symmetry


def test_symmetries_are_a_group_that_acts_on_images_and_on_targets():
    rng = np.random.default_rng(1)
    images, targets = torch.from_numpy(rng.normal(size=(1, 1, 5, 5))), torch.from_numpy(rng.normal(size=(1, 6)))
    table = np.zeros((8, 8), dtype=int)
    for (i, first), (j, then) in product(enumerate(SYMMETRIES), repeat=2):
        both = then.after(first)
        table[i, j] = both.number
        for values, transform in ((images, transform_images), (targets, transform_targets)):
            in_turn = transform(transform(values, numbers_of(first, 1)), numbers_of(then, 1))
            assert torch.equal(in_turn, transform(values, numbers_of(both, 1)))
    for line in (*table, *table.T):
        assert sorted(line) == list(range(8))
    assert (table != table.T).any()  # a mirror and a turn do not commute


def test_each_window_is_transformed_by_its_own_number():
    rng = np.random.default_rng(2)
    numbers = draw_symmetries(200, rng=rng)
    assert set(numbers) == set(range(8))
    images, targets = torch.from_numpy(rng.normal(size=(200, 1, 4, 4))), torch.from_numpy(rng.normal(size=(200, 2)))
    turned, told = transform_images(images, numbers), transform_targets(targets, numbers)
    for k in range(200):
        symmetry = SYMMETRIES[numbers[k]]
        by_hand = np.rot90(images[k, 0].numpy()[:, :: -1 if symmetry.mirrored else 1], symmetry.quarter_turns)
        np.testing.assert_array_equal(turned[k, 0], by_hand)
        dy, dx = targets[k].tolist()
        dx = -dx if symmetry.mirrored else dx
        for _ in range(symmetry.quarter_turns):
            dy, dx = -dx, dy
        assert told[k].tolist() == [dy, dx]


def test_targets_turn_as_those_that_are_measured_in_the_turned_image():
    settings = FilmSettings(
        shape_px=(200, 200), layers=(films.layer("BiFeO3"),), strain=(0.1, 0.0), shear=0.05, rotation_deg=4.0, dose=50.0
    )
    image = films.film(settings).image
    cells = build_cells(locate_columns(image))
    straight, _ = cell_targets(cells, scale=1.0)
    assert np.nanmedian(np.abs(straight[:, :5]), axis=0).min() > 0.03  # none that turns could pass for zero
    for symmetry in (Symmetry(quarter_turns=1), Symmetry(quarter_turns=2, mirrored=True)):
        pixels = transform_images(torch.from_numpy(image.data[None, None]), numbers_of(symmetry, 1))
        turned = build_cells(locate_columns(replace(image, data=pixels[0, 0].numpy())))
        y, x = cells.positions_px.T
        x = 199.0 - x if symmetry.mirrored else x
        for _ in range(symmetry.quarter_turns):
            y, x = 199.0 - x, y
        distance, row = films.nearest(np.stack([y, x], axis=1), turned.positions_px)
        expected = transform_targets(torch.from_numpy(straight), numbers_of(symmetry, len(straight))).numpy()
        measured = cell_targets(turned, scale=1.0)[0][row]
        same = (distance < 0.5) & np.isfinite(measured + expected).all(axis=1)
        assert same.sum() > 25
        np.testing.assert_allclose(measured[same], expected[same], atol=0.03)


def test_the_rule_of_a_quarter_turn_reads_as_it_should():
    places, signs = target_rule(Symmetry(quarter_turns=1))
    rule = {
        new: ("-" if sign < 0 else "") + TARGETS[place] for new, place, sign in zip(TARGETS, places, signs, strict=True)
    }
    assert rule == {"dy": "-dx", "dx": "dy", "a": "b", "b": "a", "gamma": "-gamma", "area": "area"}


def test_middles_and_first_pixels_go_there_and_back():
    corners = grid_of_windows((60, 70), window_px=16, stride_px=9)
    np.testing.assert_array_equal(middles(corners, window_px=16), corners + 7.5)

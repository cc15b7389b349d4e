"""Lessons and losses: what is true turns and mirrors with the image, and the truth is what losses ask for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dipolar.core.flags import Flag
from dipolar.core.nouns import Cells
from dipolar.learn.lessons import HEAT_PX, Lesson, finder_lesson, rectangle, regressor_lesson
from dipolar.learn.networks import Finder, Regressor
from dipolar.learn.scale import Seen, see
from dipolar.learn.targets import cell_targets, sliding_targets
from dipolar.learn.tasks import FinderTask, RegressorTask, mirror
from dipolar.simulate import FilmRanges, random_film

SIZE = 160
RANGES = FilmRanges(cell_px=(24.0, 24.0), rotation_deg=(-6.0, 6.0), vacuum_share=0.0, amorphous_share=0.0)
EXACT = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def film():
    return random_film(np.random.default_rng(7), shape_px=(SIZE, SIZE), ranges=RANGES)


def seen_of(pixels):
    return Seen(pixels=torch.from_numpy(pixels.copy())[None, None], scale=1.0, shape=pixels.shape, cell_px=24.0)


def flipped(points, sign=-1):
    """Points, or vectors, with left and right exchanged."""
    return points * [1.0, -1.0] + ([0.0, SIZE - 1.0] if sign < 0 else [0.0, 0.0])


def turned(points, *, places=False):
    """Points, or vectors, turned by a quarter turn counter-clockwise on the screen."""
    return np.stack([-points[:, 1] + (SIZE - 1.0 if places else 0.0), points[:, 0]], axis=1)


def mirrored_cells(cells: Cells) -> Cells:
    """The cells of the film in the mirror: a points from left to right again."""
    return replace(
        cells,
        positions_px=flipped(cells.positions_px),
        displacement_px=flipped(cells.displacement_px, 1),
        a_px=-flipped(cells.a_px, 1),
        b_px=flipped(cells.b_px, 1),
    )


def turned_cells(cells: Cells) -> Cells:
    """The cells of the turned film: a points from left to right, b from top to bottom."""
    return replace(
        cells,
        positions_px=turned(cells.positions_px, places=True),
        displacement_px=turned(cells.displacement_px),
        a_px=turned(cells.b_px),
        b_px=-turned(cells.a_px),
        covariance_px2=cells.covariance_px2[:, ::-1, ::-1].copy(),
        a_sigma_px=cells.b_sigma_px,
        b_sigma_px=cells.a_sigma_px,
    )


def measured(cells: Cells, sigma_px=(0.3, 0.2)) -> Cells:
    return replace(cells, covariance_px2=np.tile(np.diag(np.square(sigma_px)), (len(cells.flags), 1, 1)))


# --- what is true


@pytest.mark.parametrize("windows", ["centered", "sliding"])
@pytest.mark.parametrize("more", [4, 0])
def test_the_lesson_in_the_mirror_is_that_of_the_mirrored_film(film, windows, more):
    lesson = regressor_lesson(seen_of(film.image), measured(film.cells), windows=windows, more=more)
    other = regressor_lesson(
        seen_of(film.image[:, ::-1]), measured(mirrored_cells(film.cells)), windows=windows, more=more
    )
    pixels, truth = mirror(lesson.pixels, lesson.truth, RegressorTask.mirrored)
    assert torch.equal(pixels, other.pixels)
    torch.testing.assert_close(truth, other.truth, equal_nan=True, **EXACT)
    assert lesson.truth.shape == (4 + more, SIZE // 4, SIZE // 4)
    assert torch.isfinite(lesson.truth).float().mean() > 0.9


@pytest.mark.parametrize("windows", ["centered", "sliding"])
def test_the_lesson_of_a_turned_film_is_turned_as_networks_turn(film, windows):
    one = regressor_lesson(seen_of(film.image), measured(film.cells), windows=windows).truth
    other = regressor_lesson(seen_of(np.rot90(film.image)), turned_cells(measured(film.cells)), windows=windows).truth
    dy, dx, a, b, gamma, area, sigma_y, sigma_x = torch.rot90(one, 1, (-2, -1))
    wanted = torch.stack([-dx, dy, b, a, -gamma, area, sigma_x, sigma_y])
    torch.testing.assert_close(other, wanted, equal_nan=True, **EXACT)


def test_columns_in_the_mirror(film):
    places = np.concatenate([film.a_px, film.b_px])
    kinds = np.repeat(np.array([0, 1], dtype=np.int8), [len(film.a_px), len(film.b_px)])
    lesson = finder_lesson(seen_of(film.image), places, kinds)
    other = finder_lesson(seen_of(film.image[:, ::-1]), flipped(places), kinds)
    _, truth = mirror(lesson.pixels, lesson.truth, FinderTask.mirrored)
    torch.testing.assert_close(truth, other.truth, **EXACT)


def test_classes_are_probabilities_and_offsets_lead_to_a_column(film):
    places = np.concatenate([film.a_px, film.b_px])
    kinds = np.repeat(np.array([0, 1], dtype=np.int8), [len(film.a_px), len(film.b_px)])
    truth = finder_lesson(seen_of(film.image), places, kinds).truth.double().numpy()
    np.testing.assert_allclose(truth[:3].sum(axis=0), 1.0, atol=1e-6)
    grid = np.indices(truth.shape[1:]).transpose(1, 2, 0) * 2 + 0.5
    away = np.linalg.norm((grid + truth[3:].transpose(1, 2, 0))[:, :, None] - places, axis=-1)
    assert away.min(axis=2).max() < 1e-4
    # a column of A: its probability falls as a Gaussian of its distance
    distance = np.linalg.norm(grid[:, :, None] - film.a_px, axis=-1).min(axis=2)
    alone = truth[1] < 1e-3
    np.testing.assert_allclose(truth[0][alone], np.exp(-0.5 * (distance[alone] / HEAT_PX) ** 2), atol=2e-3)


def test_columns_of_no_sublattice_are_left_out(film):
    kinds = np.full(len(film.a_px), -1, dtype=np.int8)
    truth = finder_lesson(seen_of(film.image), film.a_px, kinds).truth
    assert torch.equal(truth[:, 0, 0], torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]))


def grid_cells(*, flags=None, pitch=24.0, first=13.5, count=6):
    """Cells whose centres lie on points of the regressor's grid, each with a displacement of its own."""
    rng = np.random.default_rng(3)
    index = np.stack(np.meshgrid(*[np.arange(count)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    number = len(index)
    unknown = np.full(number, -1, dtype=np.int32)
    small = np.full(number, 0.01)
    return Cells(
        row=index[:, 0].astype(np.int32),
        col=index[:, 1].astype(np.int32),
        grain=np.zeros(number, dtype=np.int32),
        positions_px=first + pitch * index,
        displacement_px=rng.normal(size=(number, 2)),
        covariance_px2=np.tile(np.diag([0.04, 0.09]), (number, 1, 1)),
        a_px=np.tile([0.0, pitch], (number, 1)) + rng.normal(scale=0.3, size=(number, 2)),
        b_px=np.tile([pitch, 0.0], (number, 1)) + rng.normal(scale=0.3, size=(number, 2)),
        a_sigma_px=small,
        b_sigma_px=small,
        gamma_sigma_deg=small,
        area_sigma_px2=small,
        corners=np.repeat(unknown[:, None], 4, axis=1),
        center=unknown,
        flags=np.zeros(number, dtype=np.uint32) if flags is None else flags,
        basis="A",
        pixel_size_pm=None,
    )


def blank(size=(SIZE, SIZE)):
    return seen_of(np.zeros(size, dtype=np.float32))


def test_a_point_on_a_cells_centre_has_that_cells_values():
    cells = grid_cells()
    truth = regressor_lesson(blank(), cells, windows="centered").truth.numpy()
    at = ((cells.positions_px - 1.5) / 4).round().astype(int)
    values, _ = cell_targets(cells, scale=1.0)
    np.testing.assert_allclose(truth[:6, at[:, 0], at[:, 1]].T, values, atol=1e-5)
    np.testing.assert_allclose(truth[6:, at[:, 0], at[:, 1]].T, np.tile([0.2, 0.3], (len(at), 1)), atol=1e-5)


def test_between_cells_there_are_values_only_near_one():
    flags = np.zeros(36, dtype=np.uint32)
    flags[0] = Flag.ODD_CELL  # the one in the upper-left corner
    truth = regressor_lesson(blank(), grid_cells(flags=flags), windows="centered").truth
    assert torch.isnan(truth[:6, 0, 0]).all()
    assert torch.equal(truth[6:, 0, 0], torch.zeros(2))  # the loss adds their squares
    assert torch.isfinite(truth[:, 20, 20]).all()
    far = regressor_lesson(blank((SIZE, 400)), grid_cells(), windows="centered").truth
    assert torch.isnan(far[:6, :, 50:]).all()


def test_too_few_cells_teach_nothing():
    flags = np.full(36, int(Flag.ODD_CELL), dtype=np.uint32)
    flags[:3] = 0
    truth = regressor_lesson(blank(), grid_cells(flags=flags), windows="centered").truth
    assert torch.isnan(truth[:6]).all()


def test_a_sliding_lesson_is_that_of_sliding_targets(film):
    seen = see(film.image, cell_px=24.0)
    cells = measured(film.cells)
    truth = regressor_lesson(seen, cells, windows="sliding").truth
    y, x = np.indices(truth.shape[1:]).reshape(2, -1) * 4 + 1.5
    values, sigma = sliding_targets(np.stack([y, x], axis=1), cells, scale=1.0)
    np.testing.assert_allclose(truth[:6].reshape(6, -1).T, values, atol=1e-5)
    known = np.isfinite(sigma[:, 0])
    np.testing.assert_allclose(truth[6:].reshape(2, -1).T[known], sigma[known, :2], atol=1e-5)


@pytest.mark.parametrize("windows", ["centered", "sliding"])
def test_nothing_is_told_where_the_image_was_continued(film, windows):
    seen = see(film.image[:150, :156], cell_px=24.0)
    truth = regressor_lesson(seen, film.cells, windows=windows).truth
    assert truth.shape[1:] == (38, 40)  # 152 and 160 px seen; points stand at 1.5, 5.5, ... 149.5
    assert torch.isnan(truth[:6, 37]).all()
    assert torch.isnan(truth[:6, :, 39]).all()
    assert torch.isfinite(truth[:6, 36, 20]).all()


def test_a_part_of_a_lesson_lies_within_its_region():
    numbers = torch.arange(64 * 96, dtype=torch.float32).reshape(1, 64, 96)
    lesson = Lesson(pixels=numbers, truth=numbers[:, ::4, ::4])
    part = rectangle(lesson, (0, 61, 33, 71), stride=4)
    assert torch.equal(part.pixels, numbers[:, :56, 40:64])
    assert torch.equal(part.truth, numbers[:, :56:4, 40:64:4])


# --- what is asked


def lesson_of(film, task):
    seen = see(film.image, cell_px=24.0)
    if task is FinderTask:
        kinds = np.repeat(np.array([0, 1], dtype=np.int8), [len(film.a_px), len(film.b_px)])
        return finder_lesson(seen, np.concatenate([film.a_px, film.b_px]), kinds)
    return regressor_lesson(seen, film.cells, windows="centered")


@pytest.mark.parametrize(("task", "stride"), [(FinderTask, Finder.stride), (RegressorTask, Regressor.stride)])
def test_crops_are_parts_of_lessons_or_of_their_mirror_images(film, task, stride):
    lesson = lesson_of(film, task)
    small = Lesson(pixels=lesson.pixels[:, :72, :], truth=lesson.truth[:, : 72 // stride])
    made = task([lesson, small], [lesson], batch_size=24, crop_px=64)
    pixels, truth = made.batch(np.random.default_rng(0))
    assert pixels.shape == (24, 1, 64, 64)
    assert truth.shape == (24, len(lesson.truth), 64 // stride, 64 // stride)
    again = made.batch(np.random.default_rng(0))
    assert torch.equal(pixels, again[0])
    straight = 0
    for one, its in zip(pixels, truth, strict=True):
        for candidate, said in ((one, its), mirror(one, its, task.mirrored)):
            windows = lesson.pixels[0].unfold(0, 64, stride).unfold(1, 64, stride)
            same = torch.nonzero((windows == candidate[0]).all(dim=(2, 3)))
            if len(same):
                y, x = same[0].tolist()
                part = lesson.truth[:, y : y + 64 // stride, x : x + 64 // stride]
                torch.testing.assert_close(said, part, equal_nan=True)
                straight += candidate is one
                break
        else:
            pytest.fail("a crop that is nowhere in the lesson")
    assert 4 < straight < 20


def test_crops_fit_the_smallest_lesson_and_half_a_batch_is_half(film):
    lesson = lesson_of(film, RegressorTask)
    made = RegressorTask([rectangle(lesson, (0, 160, 0, 50), stride=4)], [lesson], batch_size=5, crop_px=128)
    assert made.crop_px == 48
    assert made.halved().batch(np.random.default_rng(0))[0].shape == (2, 1, 48, 48)
    assert made.halved().halved().halved().batch_size == 1


def truth_of_regressor(*, sigma=0.0, seed=0):
    rng = np.random.default_rng(seed)
    truth = torch.from_numpy(rng.normal(size=(2, 8, 6, 7)).astype(np.float32))
    truth[:, 2:6] *= 0.02
    truth[:, 6:] = sigma
    truth[0, :6, 0, 0] = math.nan
    return truth


def judged(truth, *, log_sigma=-1.0, error=0.0, parameters=0.0):
    said = torch.nan_to_num(truth[:, [0, 1, 6, 7, 2, 3, 4, 5]]).clone()
    said[:, :2] += error
    said[:, 2:4] = log_sigma
    said[:, 4:] += parameters
    return judge(said, truth)


def judge(said, truth):
    dummy = Lesson(pixels=torch.zeros(1, 8, 8), truth=torch.zeros(8, 2, 2))
    return {name: float(value) for name, value in RegressorTask([dummy], []).judge(said, truth).items()}


def test_the_loss_is_least_at_the_truth():
    truth = truth_of_regressor()
    least = judged(truth)["loss"]
    for error in (0.1, -0.3):
        assert judged(truth, error=error)["loss"] > least
        assert judged(truth, parameters=0.1 * error)["loss"] > least
    assert judged(truth)["rms_px"] == 0.0
    assert judged(truth, error=0.3)["rms_px"] == pytest.approx(0.3, rel=1e-5)


def test_at_the_truth_sigma_shall_be_small():
    losses = [judged(truth_of_regressor(), log_sigma=value)["loss"] for value in (0.0, -1.0, -2.0, -4.0, -6.0)]
    assert np.all(np.diff(losses) < -1.0)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_sigma_is_that_of_the_error_with_the_measurements_own(sigma):
    """The likelihood is greatest where sigma² is the mean square error plus the variance of the measurement."""
    truth, error = truth_of_regressor(sigma=sigma), 0.5
    tried = np.linspace(-2.0, 0.5, 501)
    losses = [judged(truth, error=error, log_sigma=float(value))["loss"] for value in tried]
    wanted = 0.5 * math.log(error**2 + sigma**2)
    assert tried[int(np.argmin(losses))] == pytest.approx(wanted, abs=0.01)


def test_the_loss_against_measured_values_is_the_mean_of_that_against_what_is_true():
    measured, truth = truth_of_regressor(sigma=0.3), truth_of_regressor()
    said = torch.nan_to_num(truth[:, [0, 1, 6, 7, 2, 3, 4, 5]]) + 0.1
    rng = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(400):
        true = truth.clone()
        true[:, :2] += 0.3 * torch.randn(true[:, :2].shape, generator=rng)
        losses.append(judge(said, true)["loss"])
    spread = np.std(losses) / np.sqrt(len(losses))
    assert judge(said, measured)["loss"] == pytest.approx(np.mean(losses), abs=4 * spread)


def test_what_nobody_knows_is_not_asked():
    truth = truth_of_regressor()
    said = torch.nan_to_num(truth[:, [0, 1, 6, 7, 2, 3, 4, 5]]).clone()
    other = said.clone()
    other[0, :, 0, 0] = 3.0
    assert judge(said, truth) == judge(other, truth)
    nothing = torch.full_like(truth, math.nan)
    nothing[:, 6:] = 0.0
    assert judge(said, nothing)["loss"] == 0.0


def test_a_network_of_displacement_alone_is_judged_by_it_alone():
    truth = truth_of_regressor()
    said = torch.nan_to_num(truth[:, [0, 1, 6, 7]])
    assert set(judge(said, truth[:, [0, 1, 6, 7]])) == {"loss", "rms_px"}


def test_the_finders_loss_is_least_at_the_truth(film):
    lesson = lesson_of(film, FinderTask)
    task, truth = FinderTask([lesson], [lesson]), lesson.truth[None]
    said = torch.cat(
        [torch.log(truth[:, :3].clamp_min(1e-9)), truth[:, 3:], torch.full_like(truth[:, :1], -2.0)], dim=1
    )
    least = task.judge(said, truth)
    assert float(least["offset_rms_px"]) < 1e-6
    rng = torch.Generator().manual_seed(0)
    for layer in range(5):
        wrong = said.clone()
        wrong[:, layer] += 0.2 * torch.randn(wrong[:, layer].shape, generator=rng)
        assert float(task.judge(wrong, truth)["loss"]) > float(least["loss"]) + 1e-4


class Says(torch.nn.Module):
    """Says the same everywhere."""

    def __init__(self, outputs):
        super().__init__()
        self.value = torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return self.value[None, :, None, None].expand(len(x), -1, x.shape[2] // 4, x.shape[3] // 4)


def test_a_validation_is_the_mean_over_area(film):
    lesson = lesson_of(film, RegressorTask)
    halves = [rectangle(lesson, region, stride=4) for region in ((0, 160, 0, 40), (0, 160, 40, 160))]
    one, two = RegressorTask([lesson], halves[:1]), RegressorTask([lesson], halves[1:])
    both = RegressorTask([lesson], halves)
    network = Says(8)
    losses = [task.validate(network)["loss"] for task in (one, two, both)]
    assert losses[2] == pytest.approx(0.25 * losses[0] + 0.75 * losses[1])

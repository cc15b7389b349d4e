"""The models that come with dipolar, made from nothing but simulation.

Films drawn at random teach a finder of columns and an ensemble of regressors; others of the same kind, which they never
see, make their sigma honest and tell what is usual. `make models` runs it (`benchmarks/train_shipped.py`); the cards
hold all that it takes to repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32

from dipolar.core.contracts import Progress, silent
from dipolar.core.learning import TARGETS, Card
from dipolar.core.nouns import A, B
from dipolar.learn.calibration import calibrate
from dipolar.learn.device import pick_device
from dipolar.learn.exam import Answers, examine, marks, taught, together
from dipolar.learn.lessons import Lesson, finder_lesson, from_arrays, regressor_lesson, to_arrays
from dipolar.learn.networks import build
from dipolar.learn.predictor import Model, find_columns
from dipolar.learn.scale import Seen, scale_of, see
from dipolar.learn.task import Trained, Training
from dipolar.learn.tasks import FinderTask, RegressorTask
from dipolar.learn.training import fit
from dipolar.recipes.record import now, versions
from dipolar.run import AbstractRunner, Processes, Serial
from dipolar.simulate import TrainingFilm, random_film
from dipolar.simulate.ranges import FilmRanges, happens, log_uniform

SEEN_PX = 384
"""Edge of the training images, in network px."""
OTHER_SIZES, SIZES = 0.25, (8.0, 60.0)
"""Share of films at a magnification that must be resampled, and the edges of their cells in px."""
ORDERLY = 0.6
"""Share of films whose cells are displaced smoothly, without scatter from cell to cell."""
SCATTER = (0.0, 0.02)
"""The scatter of the others, in cells."""
FINDER = {"fine": 4, "coarse": 10, "dilations": (1, 2, 4)}
REGRESSOR = {"finder": FINDER, "middle": 12, "coarse": 16, "dilations": (1, 2, 1), "cell_parameters": True}
SEES_PX = 160
"""What the regressor on top of the finder sees, in network px."""
Item = TypeVar("Item")
FINDER_SEED, REGRESSOR_SEED, EXAM_SEED = 41, 42, 43
FEWEST_HELD_OUT, MOST_HELD_OUT = 6, 120
"""Limits to the number of films held out for validation, for calibration and for the exam."""


def films(count: int, *, seed: int) -> Iterator[tuple[TrainingFilm, Seen]]:
    """Yield films drawn at random, each with what networks see of it.

    Parameters
    ----------
    count
        How many.
    seed
        Film n is drawn from (seed, n), whatever their number.
    """
    for number in range(count):
        film = _film(seed, number)
        yield film, see(film.image, cell_px=film.cell_px)


def _film(seed: int, number: int) -> TrainingFilm:
    rng = np.random.default_rng([seed, number])
    ranges = FilmRanges(scatter=(0.0, 0.0) if happens(rng, ORDERLY) else SCATTER)
    edge = SEEN_PX
    if happens(rng, OTHER_SIZES):
        cell_px = log_uniform(rng, SIZES)
        ranges = replace(ranges, cell_px=(cell_px, cell_px))
        edge = round(SEEN_PX / scale_of(cell_px))
    return random_film(rng, shape_px=(edge, edge), ranges=ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How the models that come along are trained."""

    films: int = 400
    """Training images; for validation, calibration and examination come others, a share of that number."""
    steps: int = 4000
    """Batches to learn from."""
    batch: int = 8
    """Crops in a batch."""
    crop_px: int = 128
    """Edge of the crops in network px."""
    workers: int = 1
    """Processes that simulate films."""

    def held_out(self, share: int) -> int:
        """Return how many films are held out for something: one for `share` training images, within limits."""
        return min(max(self.films // share, FEWEST_HELD_OUT), MOST_HELD_OUT)


def _lessons(
    make: Callable[[TrainingFilm, Seen], Lesson], course: Course, seed: int, progress: Progress
) -> list[Lesson]:
    """Return a lesson for each film, simulated by as many processes as the course has."""
    runner: AbstractRunner = Serial() if course.workers == 1 else Processes(workers=course.workers)
    made = runner.each(partial(_lesson, make, seed), range(course.films))
    return [from_arrays(*arrays) for arrays in told("films", made, course.films, progress)]


def _lesson(
    make: Callable[[TrainingFilm, Seen], Lesson], seed: int, number: int
) -> tuple[Float32[np.ndarray, "1 y x"], Float32[np.ndarray, "layer h w"]]:
    film = _film(seed, number)
    return to_arrays(make(film, see(film.image, cell_px=film.cell_px)))


def train_finder(out: Path, course: Course, *, progress: Progress = silent) -> Model:
    """Return the finder, trained; its checkpoint and metrics are in `out` while it learns."""
    lessons = _lessons(_columns_lesson, course, FINDER_SEED, progress)
    held_out = [_columns_lesson(film, seen) for film, seen in films(course.held_out(12), seed=EXAM_SEED)]
    network = build("finder", FINDER, seed=FINDER_SEED)
    choices = _choices(course, learning_rate=4e-3, seed=FINDER_SEED)
    task = FinderTask(lessons, held_out, batch_size=course.batch, crop_px=course.crop_px)
    trained = fit(network, task, choices, out=out, progress=progress)
    card = Card(
        kind="finder",
        architecture=FINDER,
        members=1,
        targets=(),
        window_px=80,
        windows="sliding",
        training=_training(course, FINDER_SEED, choices, [trained]),
        versions=versions(networks=True),
        created=now(),
    )
    model = Model(name="finder", card=card, networks=(trained.network.cpu(),))
    return _calibrated_finder(model, course.held_out(12))


def _calibrated_finder(model: Model, count: int) -> Model:
    """Return the finder with a factor on its sigma, and how well it did, on films it never saw."""
    from scipy.spatial import cKDTree

    errors, sigmas, found_all, true_all, spurious = [], [], 0, 0, 0
    for film, seen in films(count, seed=EXAM_SEED + 1):
        found, _ = find_columns(model, seen)
        truth = np.concatenate([film.a_px, film.b_px])
        inside = np.all((truth > 0) & (truth < np.array(film.image.shape) - 1), axis=1)
        reach = 0.25 * film.cell_px
        distance, row = cKDTree(found.positions).query(truth[inside]) if len(found.positions) else (np.zeros(0),) * 2
        near = distance < reach
        errors.append(((found.positions[row] - truth[inside])[near] * seen.scale).ravel())
        sigmas.append(np.repeat(found.sigma[row][near] * seen.scale, 2))
        true_all, found_all = true_all + len(distance), found_all + int(near.sum())
        middle = np.all((found.positions > 0) & (found.positions < np.array(film.image.shape) - 1), axis=1)
        spurious += int((cKDTree(truth).query(found.positions[middle])[0] > reach).sum())
    calibration = calibrate(np.concatenate(errors), np.concatenate(sigmas))
    metrics = {
        "recall": found_all / max(true_all, 1),
        "spurious_share": spurious / max(true_all, 1),
        "rms_network_px": float(np.sqrt(np.mean(np.concatenate(errors) ** 2))),
        "films": count,
    }
    card = replace(model.card, calibration=calibration.to_card(), metrics=metrics)
    return replace(model, card=card, calibration=calibration)


def train_regressor(finder: Model, out: Path, course: Course, *, members: int, progress: Progress = silent) -> Model:
    """Return an ensemble of regressors on top of a finder, with an honest sigma and with what was usual in training."""
    lessons = _lessons(_cells_lesson, course, REGRESSOR_SEED, progress)
    held_out = [_cells_lesson(film, seen) for film, seen in films(course.held_out(12), seed=EXAM_SEED)]
    trained = []
    for member in range(members):
        network = build("regressor", REGRESSOR, seed=REGRESSOR_SEED + member)
        network.get_submodule("finder").load_state_dict(finder.networks[0].state_dict())
        choices = _choices(course, learning_rate=1.5e-3, seed=REGRESSOR_SEED + member)
        task = RegressorTask(lessons, held_out, batch_size=course.batch, crop_px=course.crop_px)
        trained.append(fit(network, task, choices, out=out / f"member-{member}", progress=progress))
    card = Card(
        kind="regressor",
        architecture=REGRESSOR,
        members=members,
        targets=TARGETS,
        window_px=SEES_PX,
        windows="centered",
        training={
            **_training(course, REGRESSOR_SEED, choices, trained),
            "finder_sha256": finder.card.sha256,
        },
        versions=versions(networks=True),
        created=now(),
    )
    model = Model(name="regressor", card=card, networks=tuple(one.network for one in trained))
    known = _examined(model, course.held_out(4), REGRESSOR_SEED)
    model = taught(model, known, _examined(model, course.held_out(5), EXAM_SEED + 1))
    exam = _examined(model, course.held_out(5), EXAM_SEED + 2)
    networks = tuple(network.cpu() for network in model.networks)
    return replace(model, networks=networks, card=replace(model.card, metrics=metrics_of(model, exam)))


def metrics_of(model: Model, answers: Answers) -> dict[str, float]:
    """Return the figures of an exam for the card: in network px only, as films come at all magnifications."""
    quantiles = None if model.calibration is None else dict(model.calibration.quantiles)
    found = marks(answers, quantiles=quantiles)
    del found["rms_px"]
    return {"cells_tested": found.pop("cells"), **found}


def _examined(model: Model, count: int, seed: int) -> Answers:
    return together([_answers(model, film, seen) for film, seen in films(count, seed=seed)])


def _answers(model: Model, film: TrainingFilm, seen: Seen) -> Answers:
    inside = np.all((film.cells.positions_px > 0) & (film.cells.positions_px < np.array(film.image.shape)), axis=1)
    return examine(model, seen, film.cells, inside)


def _columns_lesson(film: TrainingFilm, seen: Seen) -> Lesson:
    kinds = np.repeat(np.array([A, B], dtype=np.int8), [len(film.a_px), len(film.b_px)])
    return finder_lesson(seen, np.concatenate([film.a_px, film.b_px]), kinds)


def _cells_lesson(film: TrainingFilm, seen: Seen) -> Lesson:
    return regressor_lesson(seen, film.cells, windows="centered")


def _choices(course: Course, *, learning_rate: float, seed: int) -> Training:
    # places are told to a hundredth of a pixel, which numbers of 16 bits cannot hold
    return Training(
        steps=course.steps, learning_rate=learning_rate, validate_every=500, seed=seed, mixed_precision=False
    )


def _training(course: Course, seed: int, choices: Training, trained: Sequence[Trained]) -> dict[str, Any]:
    """Return all that it takes to repeat a training; members after the first have the seeds that follow."""
    return {
        "films": course.films,
        "seed": seed,
        "steps": choices.steps,
        "learning_rate": choices.learning_rate,
        "validate_every": choices.validate_every,
        "batch": course.batch,
        "crop_px": course.crop_px,
        "device": pick_device(choices.device).type,
        "seconds": round(sum(one.seconds for one in trained)),
        "cpu_seconds": round(sum(one.cpu_seconds for one in trained)),
        **films_in_words(),
    }


def films_in_words() -> dict[str, Any]:
    """Return what films are drawn from, and the seeds of those held out, as plain values."""
    return {
        "seen_px": SEEN_PX,
        "resampled_share": OTHER_SIZES,
        "resampled_cell_px": list(SIZES),
        "orderly_share": ORDERLY,
        "ranges": asdict(FilmRanges(scatter=SCATTER)),
        "exam_seeds": {"validation": EXAM_SEED, "calibration": EXAM_SEED + 1, "test": EXAM_SEED + 2},
    }


def told(step: str, items: Iterator[Item], count: int, progress: Progress) -> Iterator[Item]:
    """Yield the items, telling how far it has come."""
    for number, item in enumerate(items):
        progress(step, (number + 1) / count)
        yield item

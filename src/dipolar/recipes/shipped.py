"""The models that come with dipolar, made from nothing but simulation.

Films drawn at random teach a finder of columns and an ensemble of regressors; others of the same kind, which they never
see, make their sigma honest and tell what is usual. `make models` runs it (`benchmarks/train_shipped.py`); the cards
hold all that it takes to repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.learning import TARGETS, Card
from dipolar.core.nouns import A, B
from dipolar.learn.calibration import calibrate
from dipolar.learn.exam import Answers, examine, marks, taught, together
from dipolar.learn.lessons import Lesson, finder_lesson, regressor_lesson
from dipolar.learn.networks import build
from dipolar.learn.predictor import Model, find_columns
from dipolar.learn.scale import Seen, scale_of, see
from dipolar.learn.task import Training
from dipolar.learn.tasks import FinderTask, RegressorTask
from dipolar.learn.training import fit
from dipolar.recipes.record import now, versions
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
        rng = np.random.default_rng([seed, number])
        ranges = FilmRanges(scatter=(0.0, 0.0) if happens(rng, ORDERLY) else SCATTER)
        edge = SEEN_PX
        if happens(rng, OTHER_SIZES):
            cell_px = log_uniform(rng, SIZES)
            ranges = replace(ranges, cell_px=(cell_px, cell_px))
            edge = round(SEEN_PX / scale_of(cell_px))
        film = random_film(rng, shape_px=(edge, edge), ranges=ranges)
        yield film, see(film.image, cell_px=film.cell_px)


def train_finder(out: Path, *, count: int, steps: int, progress: Progress = silent) -> Model:
    """Return the finder, trained; its checkpoint and metrics are in `out` while it learns."""
    lessons = [
        _columns_lesson(film, seen) for film, seen in told("films", films(count, seed=FINDER_SEED), count, progress)
    ]
    held_out = [_columns_lesson(film, seen) for film, seen in films(max(count // 12, 6), seed=EXAM_SEED)]
    network = build("finder", FINDER, seed=FINDER_SEED)
    choices = Training(steps=steps, learning_rate=4e-3, validate_every=500, seed=FINDER_SEED)
    trained = fit(network, FinderTask(lessons, held_out), choices, out=out, progress=progress)
    card = Card(
        kind="finder",
        architecture=FINDER,
        members=1,
        targets=(),
        window_px=80,
        windows="sliding",
        training=_training(count, FINDER_SEED, choices, cpu_seconds=trained.cpu_seconds),
        versions=versions(networks=True),
        created=now(),
    )
    model = Model(name="finder", card=card, networks=(trained.network,))
    return _calibrated_finder(model, max(count // 12, 6))


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


def train_regressor(
    finder: Model, out: Path, *, count: int, steps: int, members: int, progress: Progress = silent
) -> Model:
    """Return an ensemble of regressors on top of a finder, with an honest sigma and with what was usual in training."""
    data = list(told("films", films(count, seed=REGRESSOR_SEED), count, progress))
    lessons = [_cells_lesson(film, seen) for film, seen in data]
    held_out = [_cells_lesson(film, seen) for film, seen in films(max(count // 12, 6), seed=EXAM_SEED)]
    networks, spent = [], 0.0
    for member in range(members):
        network = build("regressor", REGRESSOR, seed=REGRESSOR_SEED + member)
        network.get_submodule("finder").load_state_dict(finder.networks[0].state_dict())
        choices = Training(steps=steps, learning_rate=1.5e-3, validate_every=500, seed=REGRESSOR_SEED + member)
        task = RegressorTask(lessons, held_out)
        trained = fit(network, task, choices, out=out / f"member-{member}", progress=progress)
        networks.append(trained.network)
        spent += trained.cpu_seconds
    card = Card(
        kind="regressor",
        architecture=REGRESSOR,
        members=members,
        targets=TARGETS,
        window_px=SEES_PX,
        windows="centered",
        training={
            **_training(count, REGRESSOR_SEED, choices, cpu_seconds=spent),
            "finder_sha256": finder.card.sha256,
        },
        versions=versions(networks=True),
        created=now(),
    )
    model = Model(name="regressor", card=card, networks=tuple(networks))
    known = together([_answers(model, film, seen) for film, seen in data[: max(count // 4, 6)]])
    model = taught(model, known, _exam(model, count, EXAM_SEED + 1))
    return replace(model, card=replace(model.card, metrics=metrics_of(model, _exam(model, count, EXAM_SEED + 2))))


def metrics_of(model: Model, answers: Answers) -> dict[str, float]:
    """Return the figures of an exam for the card: in network px only, as films come at all magnifications."""
    quantiles = None if model.calibration is None else dict(model.calibration.quantiles)
    found = marks(answers, quantiles=quantiles)
    del found["rms_px"]
    return {"cells_tested": found.pop("cells"), **found}


def _exam(model: Model, count: int, seed: int) -> Answers:
    return together([_answers(model, film, seen) for film, seen in films(max(count // 5, 6), seed=seed)])


def _answers(model: Model, film: TrainingFilm, seen: Seen) -> Answers:
    inside = np.all((film.cells.positions_px > 0) & (film.cells.positions_px < np.array(film.image.shape)), axis=1)
    return examine(model, seen, film.cells, inside)


def _columns_lesson(film: TrainingFilm, seen: Seen) -> Lesson:
    kinds = np.repeat(np.array([A, B], dtype=np.int8), [len(film.a_px), len(film.b_px)])
    return finder_lesson(seen, np.concatenate([film.a_px, film.b_px]), kinds)


def _cells_lesson(film: TrainingFilm, seen: Seen) -> Lesson:
    return regressor_lesson(seen, film.cells, windows="centered")


def _training(count: int, seed: int, choices: Training, *, cpu_seconds: float) -> dict[str, Any]:
    """Return all that it takes to repeat a training; members after the first have the seeds that follow."""
    return {
        "films": count,
        "seed": seed,
        "steps": choices.steps,
        "learning_rate": choices.learning_rate,
        "validate_every": choices.validate_every,
        "batch": 8,
        "crop_px": 128,
        "cpu_seconds": round(cpu_seconds),
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

"""From measured images to a model: lessons from one part of each image, an honest sigma, a test on the other part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import DataError
from dipolar.core.learning import NETWORK_CELL_PX, TARGETS, Card
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Image
from dipolar.learn.exam import Answers, examine, marks, taught, together
from dipolar.learn.lessons import Lesson, finder_lesson, rectangle, regressor_lesson
from dipolar.learn.networks import Finder, Regressor, build
from dipolar.learn.predictor import FINDER_REACH, Heard, Model, hear
from dipolar.learn.task import Trained, Training
from dipolar.learn.tasks import AbstractCrops, FinderTask, RegressorTask
from dipolar.learn.training import fit
from dipolar.recipes.models import by_name
from dipolar.recipes.record import now, versions
from dipolar.recipes.settings import change
from dipolar.recipes.train_finder import check_columns, judged_finder
from dipolar.recipes.train_settings import TrainSettings
from dipolar.recipes.train_sources import Source, check_parts, in_px, inside, open_source, source_of, strips

__all__ = ["Source", "TrainedModel", "asked", "source_of", "train_on_image", "train_on_sources"]

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "finder": {"fine": 4, "coarse": 8, "dilations": (1, 2, 4)},
    "regressor": {"fine": 8, "middle": 12, "coarse": 16},
}
VALIDATIONS = 20
"""Validations in a training."""
LEAST_R2, AS_GOOD, FAR_FROM_FIT = 0.2, 1.2, 3.0
"""R² up to which little was learned, unless errors are those of the fit itself (up to so many of its sigmas, as where
nothing varies); and errors, in sigmas of the fit, beyond which there is more to learn."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedModel:
    """A model, how its training went, and how it did on what it never saw."""

    model: Model
    """Calibrated."""
    trained: tuple[Trained, ...]
    """The training of each member; `stopped` says whether it was interrupted."""
    answers: Answers | None
    """On the parts of the images that were kept for the test; None for a finder."""
    marks: Mapping[str, float]
    """Figures of the test."""
    pixel_size_pm: float | None
    """Of the first image, for figures in pm."""
    asked: int
    """Members that were asked for; there are fewer where the training was interrupted."""

    @property
    def interrupted(self) -> bool:
        """Whether the training was interrupted, and the model is what was best so far."""
        return len(self.trained) < self.asked or any(one.stopped == "interrupted" for one in self.trained)


def train_on_image(
    images: str | Path | Image | Measurement | Sequence[str | Path | Image | Measurement],
    *,
    settings: TrainSettings | None = None,
    work: Path | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> TrainedModel:
    """Return a model trained on one or more images, tested on regions that it never saw.

    Each image is measured by column fitting, if it was not yet, and divided by a line: from one side networks learn,
    except for its last strip, which tells when they are best and what their sigma is worth; the other side is the test.
    Nothing that a network sees in training lies in the test.

    Parameters
    ----------
    images
        Files, result files or folders, images or measurements.
    settings
        How to train; None takes the defaults.
    work
        Folder of checkpoints and metrics; a training that was interrupted goes on from there. None writes nothing.
    progress
        Told how far it has come.
    **changes
        Settings to change by name, for example ``windows="sliding", ensemble=5``.

    Raises
    ------
    DataError
        If an image holds too few cells, or shows one sublattice only.
    TrainingError
        If the loss is not finite.
    KeyboardInterrupt
        If the training is interrupted before its first validation; later, the best so far is returned.
    """
    settings = change(settings or TrainSettings(), changes)
    many = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    sources = [open_source(one, settings, progress=progress) for one in many]
    return train_on_sources(sources, settings, work=work, progress=progress)


def train_on_sources(
    sources: Sequence[Source], settings: TrainSettings, *, work: Path | None = None, progress: Progress = silent
) -> TrainedModel:
    """Return a model trained on images whose columns and cells are known; see `train_on_image`.

    Parameters
    ----------
    sources
        Images with what was measured in them, or with their truth.
    settings
        How to train.
    work
        Folder of checkpoints and metrics.
    progress
        Told how far it has come.
    """
    if not sources:
        raise DataError("networks learn from at least one image.", got="none")
    kind = "finder" if settings.target == "columns" else "regressor"
    settings = in_px(settings, sources)
    (check_parts if kind == "regressor" else check_columns)(sources, settings)
    learn, validate = [], []
    for source in sources:
        lesson = _lesson(source, settings)
        stride = Finder.stride if kind == "finder" else Regressor.stride
        first, second, _ = strips(source.seen, settings)
        learn.append(rectangle(lesson, first, stride=stride))
        validate.append(rectangle(lesson, second, stride=stride))
    architecture = dict(ARCHITECTURES[kind])
    if kind == "regressor":
        architecture |= {"window_px": settings.window_px, "cell_parameters": settings.target == "cell"}
    tasks = {"finder": FinderTask, "regressor": RegressorTask}
    task = tasks[kind](learn, validate, batch_size=settings.batch, crop_px=settings.crop_px)
    trained = _members(kind, architecture, task, settings, work, progress)
    model = Model(
        name="",
        card=_card(kind, architecture, settings, sources, trained),
        networks=tuple(one.network for one in trained),
    )
    return _judged(model, sources, settings, trained, progress)


def _lesson(source: Source, settings: TrainSettings) -> Lesson:
    if settings.target == "columns":
        columns = source.columns
        if len(np.unique(columns.sublattice)) < 2:
            raise DataError("a finder learns from two sublattices.", got=f"{source.name}: one", do="take another image")
        return finder_lesson(source.seen, columns.positions_px, columns.sublattice)
    more = 4 if settings.target == "cell" else 0
    return regressor_lesson(source.seen, source.cells, windows=settings.windows, more=more)


def _members(
    kind: str,
    architecture: Mapping[str, Any],
    task: AbstractCrops,
    settings: TrainSettings,
    work: Path | None,
    progress: Progress,
) -> list[Trained]:
    """Return the members trained one after the other, up to the first that is interrupted.

    One that is interrupted before its first validation is no better than chance, and is left out.

    Raises
    ------
    KeyboardInterrupt
        If that is the first one.
    """
    members = asked(settings)
    trained: list[Trained] = []
    for number in range(members):
        seed = 1000 * settings.seed + number
        choices = Training(
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            validate_every=max(settings.steps // VALIDATIONS, 1),
            patience=settings.patience,
            seed=seed,
            device=settings.device,
        )
        out = None if work is None else work / f"member-{number}"
        step = "training" if members == 1 else f"training {number + 1} of {members}"
        told = partial(_told, progress, step)
        one = fit(build(kind, architecture, seed=seed), task, choices, out=out, progress=told)
        trained += [one] if one.best_step else []
        if one.stopped == "interrupted":
            break
    if not trained:
        raise KeyboardInterrupt
    return trained


def asked(settings: TrainSettings) -> int:
    """Return the number of networks to train."""
    return 1 if settings.target == "columns" else settings.ensemble


def _told(progress: Progress, name: str, step: str, fraction: float) -> None:
    """Tell progress under another name."""
    progress(name, fraction)


def _card(
    kind: str,
    architecture: Mapping[str, Any],
    settings: TrainSettings,
    sources: Sequence[Source],
    trained: Sequence[Trained],
) -> Card:
    targets = {"displacement": TARGETS[:2], "cell": TARGETS, "columns": ()}[settings.target]
    return Card(
        kind=kind,  # type: ignore[arg-type]
        architecture=architecture,
        members=len(trained),
        targets=targets,
        window_px=2 * FINDER_REACH if kind == "finder" else settings.window_px,
        windows=settings.windows,
        cell_px=NETWORK_CELL_PX,
        training={
            "images": by_name((source.name, source.sha256) for source in sources),
            "pixel_size_pm": [source.cells.pixel_size_pm for source in sources],
            "cell_px": [source.seen.cell_px for source in sources],
            "settings": settings.model_dump(),
            "best_steps": [one.best_step for one in trained],
            "stopped": [one.stopped for one in trained],
            "cpu_seconds": round(sum(one.cpu_seconds for one in trained), 1),
        },
        versions=versions(networks=True),
        created=now(),
    )


def _judged(
    model: Model, sources: Sequence[Source], settings: TrainSettings, trained: Sequence[Trained], progress: Progress
) -> TrainedModel:
    """Return the model with an honest sigma, and its figures on the part that was kept for the test."""
    pixel_size_pm, answers = sources[0].cells.pixel_size_pm, None
    if model.card.kind == "finder":
        model, found = judged_finder(model, sources, settings, progress)
    else:
        progress("testing", 0.0)
        heard = [hear(model, one.seen) for one in sources]
        known, held_out = (_answers(model, sources, heard, settings, part) for part in (0, 1))
        model = taught(model, known, held_out)
        progress("testing", 0.5)
        answers = _answers(model, sources, heard, settings, 2)
        found = marks(answers, quantiles=None if model.calibration is None else dict(model.calibration.quantiles))
        found["fit_sigma_px"] = float(np.sqrt(np.mean(answers.truth_sigma**2))) / answers.scale
        found["fit_median_sigma_px"] = float(np.median(answers.truth_sigma)) / answers.scale
        found["learned_little"] = float(learned_little(found))
        if pixel_size_pm is not None:
            found["rms_pm"] = found["rms_px"] * pixel_size_pm
        progress("testing", 1.0)
    return TrainedModel(
        model=replace(model, card=replace(model.card, metrics=found)),
        trained=tuple(trained),
        answers=answers,
        marks=found,
        pixel_size_pm=pixel_size_pm,
        asked=asked(settings),
    )


def learned_little(found: Mapping[str, float]) -> bool:
    """Return whether the test says that there is more to learn: low R², or errors far beyond the sigma of the fit."""
    rms, sigma = found["rms_px"], found["fit_median_sigma_px"]
    return (found["r2"] <= LEAST_R2 and rms > AS_GOOD * sigma) or rms > FAR_FROM_FIT * sigma > 0


def _answers(
    model: Model, sources: Sequence[Source], heard: Sequence[Heard], settings: TrainSettings, part: int
) -> Answers:
    """Return the answers on one part of every image; the networks ran once over the whole of each."""
    both = zip(sources, heard, strict=True)
    return together([examine(model, s.seen, s.cells, inside(s, settings, part), heard=told) for s, told in both])

"""From measured images to a model: lessons from one part of each image, an honest sigma, a test on the other part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import DataError, SettingsError
from dipolar.core.learning import NETWORK_CELL_PX, TARGETS, Card
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Cells, Columns, Image
from dipolar.io import load, sha256_of
from dipolar.learn.exam import Answers, examine, marks, taught, together
from dipolar.learn.lessons import Lesson, finder_lesson, rectangle, regressor_lesson
from dipolar.learn.networks import Finder, Regressor, build
from dipolar.learn.predictor import Model
from dipolar.learn.scale import Seen, see
from dipolar.learn.task import Trained, Training
from dipolar.learn.tasks import AbstractCrops, FinderTask, RegressorTask
from dipolar.learn.training import fit
from dipolar.recipes.measure import measure_image
from dipolar.recipes.record import now, versions
from dipolar.recipes.settings import change
from dipolar.recipes.train_settings import TrainSettings

VALIDATION = 0.25
"""Share of the part to learn from that is kept to validate with and to make sigma honest."""
FEWEST_CELLS = 60
"""Usable cells that the part to be tested on must hold."""
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "finder": {"fine": 4, "coarse": 8, "dilations": (1, 2, 4)},
    "regressor": {"fine": 8, "middle": 12, "coarse": 16},
}
VALIDATIONS = 20
"""Validations in a training."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """One image to learn from."""

    name: str
    """For messages and the card."""
    sha256: str
    """Of its file, where there is one."""
    columns: Columns
    """Its columns, measured or true."""
    cells: Cells
    """Its cells likewise."""
    seen: Seen
    """What networks see of it."""


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
    """
    settings = change(settings or TrainSettings(), changes)
    many = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    return train_on_sources([_source(one, settings, progress) for one in many], settings, work=work, progress=progress)


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
    kind = "finder" if settings.target == "columns" else "regressor"
    settings = _in_px(settings, sources)
    learn, validate = [], []
    for source in sources:
        lesson = _lesson(source, settings)
        stride = Finder.stride if kind == "finder" else Regressor.stride
        first, second, _ = _strips(source.seen, settings)
        learn.append(rectangle(lesson, first, stride=stride))
        validate.append(rectangle(lesson, second, stride=stride))
    architecture = dict(ARCHITECTURES[kind])
    if kind == "regressor":
        architecture |= {"window_px": settings.window_px, "cell_parameters": settings.target == "cell"}
    tasks = {"finder": FinderTask, "regressor": RegressorTask}
    task = tasks[kind](learn, validate, batch_size=settings.batch, crop_px=settings.crop_px)
    members = 1 if kind == "finder" else settings.ensemble
    trained = [_member(kind, architecture, task, settings, n, members, work, progress) for n in range(members)]
    model = Model(
        name="",
        card=_card(kind, architecture, settings, sources, trained),
        networks=tuple(one.network for one in trained),
    )
    return _judged(model, sources, settings, trained, progress)


def _source(one: str | Path | Image | Measurement, settings: TrainSettings, progress: Progress) -> Source:
    """Return an image with its measurement: loaded where it was measured before, or measured now."""
    digest = ""
    if isinstance(one, Measurement):
        measured = one
    elif isinstance(one, Image):
        measured = _measure(one, settings, progress)
    else:
        path = Path(one)
        is_result = (path / "result.h5").is_file() or (path.suffix == ".h5" and _holds_result(path))
        measured = load(path) if is_result else _measure(path, settings, progress)
        digest = sha256_of(path / "result.h5" if path.is_dir() else path)
    if measured.findings.prediction is not None:
        raise DataError(
            "networks learn from what was measured, not from what another network said.",
            got=f"{measured.image.name}: a prediction",
            do="dipolar image measure IMAGE, and train on its result",
        )
    return source_of(measured.image, measured.columns, measured.cells, sha256=digest)


def source_of(image: Image, columns: Columns, cells: Cells, *, sha256: str = "") -> Source:
    """Return an image with its columns and cells, measured or true, as something to learn from.

    Raises
    ------
    DataError
        If there are too few cells.
    """
    if len(cells.flags) < FEWEST_CELLS:
        raise DataError(
            f"an image to learn from must hold at least {FEWEST_CELLS} cells with both sublattices.",
            got=f"{image.name}: {len(cells.flags)} cells",
            do="take a larger image, or several",
        )
    p1, p2 = columns.steps_px
    cell_px = float(np.sqrt(2.0 * abs(p1[0] * p2[1] - p1[1] * p2[0])))
    seen = see(image.data, cell_px=cell_px)
    return Source(name=image.name, sha256=sha256, columns=columns, cells=cells, seen=seen)


def _holds_result(path: Path) -> bool:
    import h5py

    with h5py.File(path, "r") as file:
        return "format" in file.attrs


def _measure(image: Path | Image, settings: TrainSettings, progress: Progress) -> Measurement:
    return measure_image(
        image,
        pixel_size_pm=settings.pixel_size_pm,
        lattice_pm=settings.lattice_pm,
        select=settings.select,
        trust_pickle=settings.trust_pickle,
        gain_check=False,
        maps=False,
        mistilt="off",
        progress=progress,
    )


def _in_px(settings: TrainSettings, sources: Sequence[Source]) -> TrainSettings:
    """Return settings whose window is in network px."""
    if settings.window_pm is None:
        return settings
    pixel_size_pm = sources[0].cells.pixel_size_pm
    if pixel_size_pm is None:
        raise SettingsError(
            "a window in pm needs the size of a pixel.",
            got=f"window_pm = {settings.window_pm:g}, and {sources[0].name} has no pixel size",
            do="give --lattice-pm or --pixel-size-pm, or the window as --window-px",
        )
    window_px = round(settings.window_pm / pixel_size_pm * sources[0].seen.scale)
    return change(settings, {"window_px": window_px, "window_pm": None})


def _lesson(source: Source, settings: TrainSettings) -> Lesson:
    if settings.target == "columns":
        columns = source.columns
        if len(np.unique(columns.sublattice)) < 2:
            raise DataError("a finder learns from two sublattices.", got=f"{source.name}: one", do="take another image")
        return finder_lesson(source.seen, columns.positions_px, columns.sublattice)
    more = 4 if settings.target == "cell" else 0
    return regressor_lesson(source.seen, source.cells, windows=settings.windows, more=more)


Strip = tuple[int, int, int, int]


def _strips(seen: Seen, settings: TrainSettings) -> tuple[Strip, Strip, Strip]:
    """Return the regions (y0, y1, x0, x1) to learn from, to validate with and to be tested on, in network px."""
    tall, wide = seen.shape
    length = wide if settings.split == "x" else tall
    ends = [0, round(settings.share * (1.0 - VALIDATION) * length), round(settings.share * length), length]
    strips = []
    for start, end in pairwise(ends):
        if end - start < 32:
            raise DataError(
                "each part of an image must be at least 32 px wide at 24 px per cell.",
                got=f"{end - start} px of {length}",
                do="take a larger image, or divide it in the other direction: --split y",
            )
        strips.append((0, tall, start, end) if settings.split == "x" else (start, end, 0, wide))
    return strips[0], strips[1], strips[2]


def _member(
    kind: str,
    architecture: Mapping[str, Any],
    task: AbstractCrops,
    settings: TrainSettings,
    number: int,
    members: int,
    work: Path | None,
    progress: Progress,
) -> Trained:
    seed = 1000 * settings.seed + number
    choices = Training(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        validate_every=max(settings.steps // VALIDATIONS, 1),
        patience=settings.patience,
        seed=seed,
        device=settings.device,
    )
    step = "training" if members == 1 else f"training {number + 1} of {members}"
    return fit(
        build(kind, architecture, seed=seed),
        task,
        choices,
        out=None if work is None else work / f"member-{number}",
        progress=lambda _, fraction: progress(step, fraction),
    )


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
        window_px=settings.window_px,
        windows=settings.windows,
        cell_px=NETWORK_CELL_PX,
        training={
            "images": {source.name: source.sha256 for source in sources},
            "pixel_size_pm": [source.cells.pixel_size_pm for source in sources],
            "cell_px": [source.seen.cell_px for source in sources],
            "settings": settings.model_dump(),
            "best_steps": [one.best_step for one in trained],
            "stopped": [one.stopped for one in trained],
            "cpu_seconds": round(sum(one.cpu_seconds for one in trained), 1),
        },
        versions=versions(),
        created=now(),
    )


def _judged(
    model: Model, sources: Sequence[Source], settings: TrainSettings, trained: Sequence[Trained], progress: Progress
) -> TrainedModel:
    """Return the model with an honest sigma, and its figures on the part that was kept for the test."""
    pixel_size_pm = sources[0].cells.pixel_size_pm
    if model.card.kind == "finder":
        return TrainedModel(
            model=replace(
                model, card=replace(model.card, metrics=dict(trained[0].history[-1]) if trained[0].history else {})
            ),
            trained=tuple(trained),
            answers=None,
            marks={},
            pixel_size_pm=pixel_size_pm,
        )
    progress("testing", 0.0)
    known, held_out = (_answers(model, sources, settings, part) for part in (0, 1))
    model = taught(model, known, held_out)
    progress("testing", 0.5)
    answers = _answers(model, sources, settings, 2)
    found = marks(answers, quantiles=None if model.calibration is None else dict(model.calibration.quantiles))
    if pixel_size_pm is not None:
        found["rms_pm"] = found["rms_px"] * pixel_size_pm
    progress("testing", 1.0)
    return TrainedModel(
        model=replace(model, card=replace(model.card, metrics=found)),
        trained=tuple(trained),
        answers=answers,
        marks=found,
        pixel_size_pm=pixel_size_pm,
    )


def _answers(model: Model, sources: Sequence[Source], settings: TrainSettings, part: int) -> Answers:
    parts = []
    for source in sources:
        inside = _inside(source, _strips(source.seen, settings)[part], margin=settings.window_px // 2)
        parts.append(examine(model, source.seen, source.cells, inside))
    answers = together(parts)
    if len(answers.values) < (FEWEST_CELLS if part != 1 else 50):
        name = ("to learn from", "to validate with", "to be tested on")[part]
        raise DataError(
            "there are too few cells to divide.",
            got=f"{len(answers.values)} usable cells in the part {name}, a window away from its borders",
            do="take a larger image, several images, or a smaller window: --window-px 40",
        )
    return answers


def _inside(source: Source, strip: Strip, *, margin: int) -> Bool[np.ndarray, " cell"]:
    """Return the cells whose windows lie in a strip; at the rim of the image they may reach beyond it."""
    y, x = source.seen.to_network(source.cells.positions_px).T
    y0, y1, x0, x1 = strip
    tall, wide = source.seen.shape
    inside = (y >= (y0 + margin if y0 > 0 else 0)) & (y < (y1 - margin if y1 < tall else tall))
    inside &= (x >= (x0 + margin if x0 > 0 else 0)) & (x < (x1 - margin if x1 < wide else wide))
    return inside

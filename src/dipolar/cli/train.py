"""``dipolar image train``: networks from images of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dipolar.cli import show
from dipolar.cli.options import chosen, show_settings
from dipolar.recipes.train_settings import TrainSettings

if TYPE_CHECKING:
    from dipolar.recipes.train import TrainedModel


def train(
    images: list[Path],
    /,
    *,
    out: Path,
    settings: Path | None = None,
    options: Annotated[TrainSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train networks on one part of your images, make their sigma honest on another, and test them on a third.

    Ctrl-C ends a training with the best networks so far; the same command goes on with it.

    Parameters
    ----------
    images
        Images, which are then measured first, or results of `dipolar image measure`.
    out
        The model, NAME or NAME.safetensors; beside it go NAME.json, NAME.png and NAME.metrics.jsonl.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(TrainSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.train import asked, train_on_image
    from dipolar.recipes.train_result import check_target, remove_checkpoints, work_folder, write_trained

    target = check_target(out, images=images, onnx=wanted.onnx, members=asked(wanted))
    work = work_folder(target)
    go_on = "the same command goes on with the training"
    try:
        with show.progress_bars() as progress:
            result = train_on_image(images, settings=wanted, work=work, progress=progress)
            target = write_trained(result, target, onnx=wanted.onnx, progress=progress)
    except KeyboardInterrupt:
        kept = f"{go_on} from {work}" if work.is_dir() else "nothing was trained yet"
        raise KeyboardInterrupt(f"interrupted, no model was written; {kept}") from None
    report(result, target, json=json)
    if result.interrupted:
        raise KeyboardInterrupt(f"interrupted; {target} holds the best so far, {go_on} from {work}")
    remove_checkpoints(work)


def report(result: TrainedModel, target: Path, *, json: bool) -> None:
    """Print how the model does in a few lines and its path, or all of it as one JSON object."""
    from dipolar.recipes.train_words import headline_of, overview_of, training_notes

    if json:
        status = "interrupted" if result.interrupted else "done"
        show.as_json({"status": status, **overview_of(result), "model": str(target.resolve())})
        return
    for text in headline_of(result):
        show.line(text)
    show.line(str(target))
    for sentence in training_notes(result):
        show.note(f"note: {sentence}")

"""``dipolar scan train``: a classifier of diffraction patterns from a few labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show
from dipolar.cli.options import chosen, show_settings
from dipolar.recipes.scan_settings import ScanTrainSettings


def train(
    scan: Path,
    /,
    *,
    labels: Path,
    out: Path,
    settings: Path | None = None,
    options: Annotated[ScanTrainSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train a classifier on the labelled patterns of a scan, and tell how right it is on labels held out.

    Parameters
    ----------
    scan
        A scan, as for `dipolar scan info`.
    labels
        Its journal of labels, or a CSV or YAML table of them.
    out
        The model, NAME or NAME.safetensors; beside it goes NAME.json.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(ScanTrainSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.scan_train import headline_of, overview_of, train_on_scan, write_classifier
    from dipolar.recipes.train_result import check_target

    target = check_target(out)
    with show.progress_bars() as progress:
        trained = train_on_scan(scan, labels, settings=wanted, progress=progress)
        target = write_classifier(trained, target)
    if json:
        show.as_json({"status": "done", **overview_of(trained), "model": str(target.resolve())})
        return
    for text in headline_of(trained):
        show.line(text)
    show.line(str(target))
    for sentence in trained.notes:
        show.note(f"note: {sentence}")

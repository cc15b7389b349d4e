"""``dipolar study``: the published studies, one table and one figure each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from dipolar.cli import show
from dipolar.cli.options import chosen, going_on, show_settings
from dipolar.recipes.study_settings import CrossSettings, LabelsSettings, NoiseSettings
from dipolar.recipes.study_tilt_settings import TiltSettings

if TYPE_CHECKING:
    from dipolar.recipes.study_results import Study

app = App(name="study", help="Repeat published studies of networks on films of known truth.", help_format="plaintext")


@app.command
def noise(
    *,
    out: Path,
    settings: Path | None = None,
    options: Annotated[NoiseSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train networks for every noise and every window, centred (C) and sliding (NC), and tell their errors.

    With Ctrl-C it stops, and the same command goes on from there.

    Parameters
    ----------
    out
        Folder for noise.csv, figure.png and run.json, written whole or not at all; until then, work lies in OUT.work.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(NoiseSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.study_results import write_noise_study

    with going_on(out), show.progress_bars() as progress:
        study = write_noise_study(out, settings=wanted, progress=progress)
    _report(study, f"{out}/figure.png", json=json)


@app.command
def cross(
    *,
    out: Path,
    settings: Path | None = None,
    options: Annotated[CrossSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train networks on each film of a library of compositions, put them to every other, and tell their errors.

    With Ctrl-C it stops, and the same command goes on from there.

    Parameters
    ----------
    out
        Folder for cross.csv, figure.png, transfers.png, models/ and run.json, written whole or not at all; until then,
        work lies in OUT.work.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(CrossSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.study_results import write_cross_study

    with going_on(out), show.progress_bars() as progress:
        study = write_cross_study(out, settings=wanted, progress=progress)
    _report(study, f"{out}/figure.png", json=json)


@app.command
def labels(
    *,
    out: Path,
    settings: Path | None = None,
    options: Annotated[LabelsSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Label simulated 4D-STEM scans by several strategies, train on the labels, and tell how right each classifier is.

    With Ctrl-C it stops, and the same command goes on from there.

    Parameters
    ----------
    out
        Folder for labels.csv, labels_seeds.csv, figure.png and run.json, written whole or not at all; until then, work
        lies in OUT.work.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(LabelsSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.study_labels_result import headline, overview, write_labels_study

    with going_on(out), show.progress_bars() as progress:
        study = write_labels_study(out, settings=wanted, progress=progress)
    if json:
        show.as_json({"status": "done", "study": "labels", **overview(study), "out": str(study.out)})
        return
    for text in headline(study):
        show.line(text)
    show.line(f"{out}/figure.png")


@app.command
def tilt(
    *,
    out: Path,
    settings: Path | None = None,
    options: Annotated[TiltSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Simulate a crystal under a tilted beam by multislice, and tell how far its sublattices seem to move apart.

    With Ctrl-C it stops, and the same command goes on from there.

    Parameters
    ----------
    out
        Folder for tilt.csv, figure.png and run.json, written whole or not at all; until then, work lies in OUT.work.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(TiltSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.study_tilt_result import headline, overview, write_tilt_study

    with going_on(out), show.progress_bars() as progress:
        study = write_tilt_study(out, settings=wanted, progress=progress)
    if json:
        show.as_json({"status": "done", "study": "tilt", **overview(study), "out": str(study.out)})
        return
    for text in headline(study):
        show.line(text)
    for figure in sorted(study.out.glob("figure*.png")):
        show.line(str(figure))


def _report(study: Study, figure: str, *, json: bool) -> None:
    from dipolar.recipes.study_results import headline, overview

    if json:
        show.as_json({"status": "done", "study": study.kind, **overview(study), "out": str(study.out)})
        return
    for text in headline(study):
        show.line(text)
    show.line(figure)

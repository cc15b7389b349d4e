"""``dipolar image``: what can be done with one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from dipolar.cli import inside, show, train, unmix
from dipolar.cli.options import chosen, show_settings
from dipolar.recipes.align_settings import AlignSettings
from dipolar.recipes.predict_settings import PredictSettings
from dipolar.recipes.settings import MeasureSettings

if TYPE_CHECKING:
    from dipolar.core.measurement import Measurement

app = App(name="image", help="Measure one atomically resolved image.", help_format="plaintext")
app.command(inside.inside)
app.command(train.train)
app.command(unmix.unmix)


@app.command
def measure(
    image: Path,
    /,
    *,
    out: Path | None = None,
    settings: Path | None = None,
    options: Annotated[MeasureSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Find every column, fit it, build unit cells and map their polar displacement with one standard error per value.

    Parameters
    ----------
    image
        A dm3, dm4, emd, ser, emi, hspy, zspy, mrc, tif, tiff, png, npy, npz, mat, h5 or hdf5 file.
    out
        Folder for the result, written whole or not at all. Default: NAME.dipolar in the current folder.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(MeasureSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.measure import measure_image
    from dipolar.recipes.results import check_out, write_result

    folder = check_out(out or Path(f"{image.stem}.dipolar"), source=image)
    with show.progress_bars() as progress:
        measurement = measure_image(image, settings=wanted, progress=progress)
        write_result(measurement, folder, formats=wanted.figure_formats, progress=progress)
    report(measurement, folder, json=json)


@app.command
def predict(
    image: Path,
    /,
    *,
    out: Path | None = None,
    settings: Path | None = None,
    options: Annotated[PredictSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Let networks find the columns and tell the displacement, with one standard error and a score of familiarity.

    Parameters
    ----------
    image
        A file, as for `dipolar image measure`.
    out
        Folder for the result, written whole or not at all. Default: NAME.predicted.dipolar in the current folder.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(PredictSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.predict import predict_image
    from dipolar.recipes.results import check_out, write_result

    folder = check_out(out or Path(f"{image.stem}.predicted.dipolar"), source=image)
    with show.progress_bars() as progress:
        measurement = predict_image(image, settings=wanted, progress=progress)
        write_result(measurement, folder, formats=wanted.figure_formats, progress=progress)
    report(measurement, folder, json=json)


def report(measurement: Measurement, folder: Path, *, json: bool, extra: dict[str, Any] | None = None) -> None:
    """Print what was found in a few lines and the path of the report, or all of it as one JSON object."""
    from dipolar.recipes.results import headline, overview

    if json:
        show.as_json({"status": "done", **overview(measurement), **(extra or {}), "out": str(folder.resolve())})
        return
    for text in headline(measurement):
        show.line(text)
    show.line(str(folder / "report.html"))
    for sentence in measurement.record.notes:
        show.note(f"note: {sentence}")


@app.command
def align(
    *frames: Path,
    out: Path | None = None,
    options: Annotated[AlignSettings | None, Parameter(name="*")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Align frames of one place, or scans at several angles, and average them into one image with its sigma.

    Parameters
    ----------
    frames
        Two or more files, or one with a stack of frames, in the order of time.
    out
        The image, a name that ends in .tif; beside it go NAME.sigma.tif, NAME.coverage.tif, NAME.png and NAME.json, all
        or nothing. Default: FIRST-aligned.tif in the current folder, FIRST the name of the first file.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    from dipolar.recipes.align import align_images
    from dipolar.recipes.align_result import check_target, headline_of, overview_of, write_alignment

    target = check_target(out, frames)
    with show.progress_bars() as progress:
        result, record = align_images(frames, settings=options, progress=progress)
        path = write_alignment(result, target, record=record, progress=progress)
    if json:
        show.as_json({"status": "done", **overview_of(result), "notes": record.notes, "image": str(path.resolve())})
        return
    for text in headline_of(result):
        show.line(text)
    show.line(str(path))
    for sentence in record.notes:
        show.note(f"note: {sentence}")

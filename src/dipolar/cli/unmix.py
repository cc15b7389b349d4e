"""``dipolar image unmix``: what the patches say by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dipolar.cli import show
from dipolar.cli.options import chosen, show_settings
from dipolar.core.errors import DipolarError
from dipolar.recipes.unmix_settings import UnmixSettings

if TYPE_CHECKING:
    from dipolar.core.unmixing import Unmixed


def unmix(
    image: Path,
    /,
    *,
    out: Path | None = None,
    settings: Path | None = None,
    options: Annotated[UnmixSettings | None, Parameter(name="*")] = None,
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Find what the patches around lattice sites are made of, without a label: modes, clusters, manifolds, angles.

    Several methods measure the image once. Ctrl-C keeps the results that are finished.

    Parameters
    ----------
    image
        A file, as for `dipolar image measure`; or a result of `dipolar image measure` or `predict`.
    out
        Folder for the result, written whole or not at all; of several methods, the folder that theirs stand in.
        Default: NAME.METHOD.dipolar in the current folder.
    settings
        TOML file with any of the settings below; options on the command line win over it.
    show_
        Print the complete settings, as TOML, before the run.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    wanted = chosen(UnmixSettings(), settings, options)
    if show_:
        show_settings(wanted, json=json)

    from dipolar.recipes.unmix import unmix_one_by_one
    from dipolar.recipes.unmix_result import check_angle, targets, was_interrupted, write_unmixed

    folders = targets(out, image, wanted)
    done: list[tuple[Unmixed, Path]] = []
    try:
        with show.progress_bars() as progress:
            for found in unmix_one_by_one(image, wanted, progress=progress):
                folder = folders[found.components.method]
                done.append((found, write_unmixed(found, folder, formats=wanted.figure_formats, progress=progress)))
                if len(wanted.methods) > 1:  # at once: the others may take long, or fail
                    show.note(f"{found.components.method} finished: {folder / 'report.html'}")
                if was_interrupted(found):
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        kept = ", ".join(str(folder) for _, folder in done)
        words = f"interrupted; what was finished is in {kept}" if kept else "interrupted; nothing was finished yet"
        raise KeyboardInterrupt(words) from None
    except DipolarError as error:  # what is finished stays, and is told before what went wrong
        error.results = told_of(done)
        if done and not json:
            report(done, json=False)
        raise
    if not json and len(done) > 1:
        report(done, json=False)
    for found, folder in done:
        try:
            check_angle(found, folder)
        except DipolarError as error:
            error.results = told_of(done)
            raise
    if json or len(done) == 1:
        report(done, json=json)


def told_of(done: list[tuple[Unmixed, Path]]) -> list[dict[str, Any]]:
    """Return what was found in plain values, and the folder of each."""
    from dipolar.recipes.unmix_result import overview_of

    return [{**overview_of(found), "out": str(folder.resolve())} for found, folder in done]


def report(done: list[tuple[Unmixed, Path]], *, json: bool) -> None:
    """Print what was found in a few lines and the path of each report, or all of it as one JSON object."""
    from dipolar.recipes.unmix_result import headline_of

    if json:
        told = told_of(done)
        show.as_json({"status": "done", **(told[0] if len(told) == 1 else {"results": told})})
        return
    for found, folder in done:
        for text in headline_of(found):
            show.line(text)
        show.line(str(folder / "report.html"))
        for sentence in found.record.notes:
            show.note(f"note: {sentence}")

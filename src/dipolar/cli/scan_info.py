"""``dipolar scan info``: what was read of a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show
from dipolar.recipes.scan_settings import ReadSettings


def info(
    scan: Path,
    /,
    *,
    picture: Path | None = None,
    options: Annotated[ReadSettings | None, Parameter(name="*")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show what is read of a 4D-STEM scan: format, shape, scales, and the counts of a few patterns.

    Parameters
    ----------
    scan
        A mib, dm4, blo, tvips, raw with its xml (EMPAD), emd, h5, hdf5, hspy, zspy, zarr, npy or tif file, a DECTRIS
        master file, or a folder of PNG or TIFF patterns.
    picture
        File for the mean pattern, large and with a scale in px, on which --clicks of the other commands can be read:
        a png, svg or pdf. It is the mean of some hundred patterns, which takes longer than all the rest.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    from dipolar.recipes.scan_info import lines_of, look_into, values_of

    found = look_into(scan, settings=options)
    drawn: dict[str, str] = {}
    if picture is not None:
        from dipolar.recipes.scan_pictures import write_mean_picture

        with show.progress_bars() as progress:
            drawn = {"picture": str(write_mean_picture(found.scan, picture, progress=progress).resolve())}
    if json:
        show.as_json({"status": "done", **values_of(found), **drawn})
        return
    for text in lines_of(found):
        show.line(text)
    for sentence in found.remarks:
        show.note(f"note: {sentence}")
    if picture is not None:
        show.line(str(picture))

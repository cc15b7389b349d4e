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
    options: Annotated[ReadSettings | None, Parameter(name="*")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show what is read of a 4D-STEM scan: format, shape, scales, and the counts of a few patterns.

    Parameters
    ----------
    scan
        A mib, dm4, blo, tvips, raw with its xml (EMPAD), emd, h5, hdf5, hspy, zspy, zarr, npy or tif file, a DECTRIS
        master file, or a folder of PNG or TIFF patterns.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    from dipolar.recipes.scan_info import lines_of, look_into, values_of

    found = look_into(scan, settings=options)
    if json:
        show.as_json({"status": "done", **values_of(found)})
        return
    for text in lines_of(found):
        show.line(text)
    for sentence in found.remarks:
        show.note(f"note: {sentence}")

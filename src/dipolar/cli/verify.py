"""``dipolar verify``: is this result what was written?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show


def verify(path: Path, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Check every checksum of a result file or a result folder.

    Parameters
    ----------
    path
        A result.h5, or the folder that holds one.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    from dipolar.io import verify as check

    check(path)
    if json:
        show.as_json({"status": "done", "path": str(path.resolve())})
    else:
        show.line(f"undamaged: {path}")

"""``dipolar verify``: is this result, this model or this journal of labels what was written?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show

SQLITE = b"SQLite format 3\x00"
"""How a journal of labels begins."""


def verify(path: Path, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Check every checksum of a result file, a result folder, a model or a journal of labels.

    Parameters
    ----------
    path
        A result.h5 or components.h5, or the folder that holds one; a model, NAME, NAME.safetensors or NAME.json; or a
        journal of labels.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    named = not path.exists() and path.with_name(f"{path.name}.safetensors").is_file()
    if named or path.suffix in (".safetensors", ".json"):
        from dipolar.learn.model_file import verify_model

        verify_model(path)
    elif is_journal(path):
        from dipolar.label.journal import existing

        existing(path)
    else:
        from dipolar.io import verify as check

        check(path)
    if json:
        show.as_json({"status": "done", "path": str(path.resolve())})
    else:
        show.line(f"undamaged: {path}")


def is_journal(path: Path) -> bool:
    """Return whether a file begins as a journal of labels does."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(SQLITE)) == SQLITE

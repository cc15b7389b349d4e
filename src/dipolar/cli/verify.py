"""``dipolar verify``: is this result, or this model, what was written?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show


def verify(path: Path, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Check every checksum of a result file, a result folder or a model.

    Parameters
    ----------
    path
        A result.h5 or components.h5, or the folder that holds one; or a model, NAME, NAME.safetensors or NAME.json.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    named = not path.exists() and path.with_name(f"{path.name}.safetensors").is_file()
    if named or path.suffix in (".safetensors", ".json"):
        from dipolar.learn.model_file import verify_model

        verify_model(path)
    else:
        from dipolar.io import verify as check

        check(path)
    if json:
        show.as_json({"status": "done", "path": str(path.resolve())})
    else:
        show.line(f"undamaged: {path}")

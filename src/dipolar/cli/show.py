"""What the commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dipolar.core.contracts import Progress


def line(text: str = "") -> None:
    """Write one line to standard output."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(text + "\n")


def as_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object to standard output; nan and infinity, which JSON lacks, become null."""
    line(json.dumps(_plain(value), ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy number
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show a bar for each step on standard error while the block runs; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda step, fraction: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def told(step: str, fraction: float) -> None:
            name = step.partition(":")[0]  # what follows a colon changes as the step goes on
            if name not in tasks:
                tasks[name] = bars.add_task(step, total=1.0)
            bars.update(tasks[name], completed=fraction, description=step)

        yield told

"""What commands with settings share: options win over a settings file, ``--show`` prints the outcome, work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dipolar.cli import show
from dipolar.recipes.settings import Settings, change, read_toml, to_toml

Chosen = TypeVar("Chosen", bound=Settings)


def chosen(default: Chosen, file: Path | None, options: Chosen | None) -> Chosen:
    """Return settings from a file, and from options, which win."""
    found = default if file is None else read_toml(file, type(default))
    if options is None:
        return found
    return change(found, {name: getattr(options, name) for name in options.model_fields_set})


def show_settings(settings: Settings, *, json: bool) -> None:
    """Print the complete settings as TOML; beside JSON, on standard error."""
    (show.note if json else show.line)(to_toml(settings).rstrip())


@contextmanager
def going_on(out: Path) -> Iterator[None]:
    """Say after an interruption that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        from dipolar.recipes.study_results import work_folder

        work = work_folder(out)
        raise KeyboardInterrupt(
            f"interrupted; what was done is kept in {work}, and the same command goes on from there"
            if work.exists()
            else ""
        ) from None

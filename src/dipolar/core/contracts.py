"""What stages ask of whoever calls them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Told how far a long step has come; raise from it to stop the work."""

    def __call__(self, step: str, fraction: float) -> None:
        """Take the name of the step in plain words, then perhaps a colon and how fast it goes; and the share done."""


def silent(step: str, fraction: float) -> None:
    """Ignore progress."""

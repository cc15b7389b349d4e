"""Names of classes as people write them: what is the same name, and what must not stand beside it."""

from __future__ import annotations

from collections.abc import Iterable

from dipolar.core.errors import LabelError

LONGEST = 80
"""Characters of a name."""


def clean(name: str, *, where: str = "") -> str:
    """Return the name of a class without spaces around it.

    Parameters
    ----------
    name
        As it was written.
    where
        Line of a file or the like, for the message.

    Raises
    ------
    LabelError
        Nothing left, more than 80 characters, or characters that no printer prints.
    """
    found = name.strip()
    if not found or len(found) > LONGEST or not found.isprintable():
        raise LabelError(
            f"a label is the name of a class: one line of 1 to {LONGEST} characters.",
            got=f"{where + ': ' if where else ''}{name[: LONGEST + 1]!r}",
            do="write a word such as horizontal, vertical, none",
        )
    return found


def folded(name: str) -> str:
    """Return what two spellings of one name have in common: without case, spaces and underscores."""
    return "".join(name.casefold().replace("_", " ").split())


def check_alike(names: Iterable[tuple[str, str]]) -> None:
    """Refuse names that differ by case, spaces or underscores alone: they would be two classes by accident.

    Parameters
    ----------
    names
        (name, where it was written), in order.

    Raises
    ------
    LabelError
        The message tells both spellings and where they stand.
    """
    first: dict[str, tuple[str, str]] = {}
    for name, where in names:
        seen, place = first.setdefault(folded(name), (name, where))
        if seen != name:
            raise LabelError(
                "two labels differ by case, spaces or underscores alone, and would be two classes.",
                got=f'"{seen}" ({place}) and "{name}" ({where})',
                do=f'write one of them throughout, for example "{seen}"',
            )

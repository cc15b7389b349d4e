"""Which of the arrays in a file is the image: the only one, or the one that was named."""

from __future__ import annotations

from pathlib import Path

from dipolar.core.errors import ImageError, SelectionError
from dipolar.io.entry import Entry, Frame, describe

MIN_EDGE = 16
"""Smaller pictures hold no lattice; beside a real image they are tables and thumbnails."""


def choose(entries: list[Entry], select: str | None, *, path: Path) -> tuple[Entry, Frame]:
    """Return the image to read, and the frame of it where it is a stack.

    Parameters
    ----------
    entries
        What the file holds.
    select
        A name, the number of a frame (of the only stack, else of an entry in the list), or ``"NAME:3"``.

    Raises
    ------
    SelectionError
        Where several images qualify and none was named, or the named one is not there.
    ImageError
        Where there is no two-dimensional image at all.
    """
    usable = [entry for entry in entries if _is_image(entry)]
    if not usable:
        raise ImageError(
            "a two-dimensional image is needed",
            got=f"{path.name} holds {'; '.join(_line(entry) for entry in entries[:20]) or 'no numeric array'}",
            do="export the image alone, as .tif or .hspy",
        )
    if select is not None:
        return _named(usable, select.strip(), path=path)
    images = [entry for entry in usable if len(entry.shape) == 2]
    large = [entry for entry in images if min(entry.shape) >= MIN_EDGE]
    if len(large) == 1 or (len(images) == 1 and len(usable) == 1):
        return (large or images)[0], None
    raise SelectionError(
        "the file holds more than one image, and one must be named", got=_listing(usable, path), do=_advice(usable)
    )


def _is_image(entry: Entry) -> bool:
    return entry.is_image and len(entry.shape) in (2, 3) and min(entry.shape) > 0


def _named(usable: list[Entry], select: str, *, path: Path) -> tuple[Entry, Frame]:
    name, _, number = select.rpartition(":")
    whole = _matches(usable, select)
    part = _matches(usable, name) if name else []
    if len(whole) == 1 and len(whole[0].shape) == 2:
        return whole[0], None
    if len(part) == 1 and number.isdecimal() and len(part[0].shape) == 3 and int(number) < part[0].shape[0]:
        return part[0], int(number)
    if select.isdecimal() and not whole:
        stacks = [entry for entry in usable if len(entry.shape) == 3]
        if len(stacks) == 1 and int(select) < stacks[0].shape[0]:
            return stacks[0], int(select)
        if not stacks and int(select) < len(usable):
            return usable[int(select)], None
    raise SelectionError(
        "--select must name one image of the file",
        got=f"{select!r}; {_listing(usable, path)}",
        do=_advice(usable),
    )


def _matches(usable: list[Entry], name: str) -> list[Entry]:
    exact = [entry for entry in usable if entry.name == name]
    return exact or [entry for entry in usable if entry.name.casefold() == name.casefold()]


def _line(entry: Entry) -> str:
    kinds = {1: "a row of numbers", 2: "image", 3: "stack of frames", 4: "four-dimensional scan"}
    kind = kinds.get(len(entry.shape), "array") if entry.is_image else "spectra or patterns"
    return f"{entry.name!r} ({describe(entry.shape)}, {kind})"


def _listing(usable: list[Entry], path: Path) -> str:
    more = f"; and {len(usable) - 20} more" if len(usable) > 20 else ""
    return f"{path.name} holds {'; '.join(f'{n}: {_line(entry)}' for n, entry in enumerate(usable[:20]))}{more}"


def _advice(usable: list[Entry]) -> str:
    stacks = [entry for entry in usable if len(entry.shape) == 3]
    if len(usable) == 1 and stacks:
        return f"choose a frame with --select 0 … --select {stacks[0].shape[0] - 1}"
    if len(stacks) == len(usable):
        return f"choose a frame of one of them, for example --select '{stacks[0].name}:0'"
    images = [entry for entry in usable if len(entry.shape) == 2]
    if len({entry.name for entry in images}) < len(images) and not stacks:
        return "some names occur twice: choose by number, for example --select 0"
    return f"choose one, for example --select '{max(images, key=lambda entry: min(entry.shape)).name}'"

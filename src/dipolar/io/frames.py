"""`open_frames`: every frame in one or several files, as images, in order."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from dipolar.core.nouns import Image
from dipolar.io.border import border, check_file
from dipolar.io.images import FOLDERS, READERS, open_image
from dipolar.io.selection import MIN_EDGE


def open_frames(
    paths: Sequence[str | Path], *, pixel_size_pm: float | str | None = None, trust_pickle: bool = False
) -> list[Image]:
    """Return all frames in files, in the order of the files and, within a stack, of its frames.

    A file with one image gives that one; a file whose only image is a stack gives every frame of it.

    Parameters
    ----------
    paths
        Files that `open_image` reads.
    pixel_size_pm
        Pixel size that replaces the files', as for `open_image`.
    trust_pickle
        Allow pickled Python objects in `.npy` files. Reading those runs the code in them.

    Raises
    ------
    FormatError, CalibrationError, ImageError, SettingsError
        As `open_image`, for the first file at fault.
    SelectionError
        Where a file holds several images that are no stack.
    """
    frames = []
    for path in map(Path, paths):
        for select in _selections(path, trust_pickle=trust_pickle):
            frames.append(open_image(path, pixel_size_pm=pixel_size_pm, select=select, trust_pickle=trust_pickle))
    return frames


def _selections(path: Path, *, trust_pickle: bool) -> list[str | None]:
    """Return what to select for each frame of a file: its number in the only stack, or nothing."""
    check_file(path, suffixes=tuple(READERS), folders=FOLDERS)
    with border(path):
        module, _, function = READERS[path.suffix.lower()].partition(":")
        entries = getattr(importlib.import_module(f"dipolar.io.{module}"), function)(path, trust_pickle=trust_pickle)
    large = [
        entry
        for entry in entries
        if entry.is_image and len(entry.shape) in (2, 3) and min(entry.image_shape) >= MIN_EDGE
    ]
    if len(large) == 1 and len(large[0].shape) == 3:
        return [f"{large[0].name}:{number}" for number in range(large[0].shape[0])]
    return [None]  # one image; or several, about which `open_image` says what to do

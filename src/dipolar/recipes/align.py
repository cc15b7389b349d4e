"""From frames to one image: open, align, and say what a reader of it should know."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.align import align_frames
from dipolar.align.outcome import contradictions
from dipolar.core.alignment import Alignment
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import DataError
from dipolar.core.nouns import Image, Record
from dipolar.io import open_frames, sha256_of
from dipolar.recipes.align_settings import AlignSettings
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.settings import change

LEAST_SHARE = 0.5
"""Scans along one direction, averaged, should fit to the others at least as well as single ones do; half of that is
doubtful."""


def align_images(
    frames: Sequence[str | Path | Image],
    *,
    settings: AlignSettings | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> tuple[Alignment, Record]:
    """Return one image from frames of one place, with its sigma and what was moved, and the record of how.

    Parameters
    ----------
    frames
        Files, each with one image or a stack, or images already open; in the order of time.
    settings
        How to align; None takes the defaults.
    progress
        Told how far each step has come.
    **changes
        Settings to change by name, for example ``scan_angles="0,90"``.

    Raises
    ------
    FormatError, SelectionError
        If a file cannot be read as frames.
    DataError
        If the frames cannot be aligned: fewer than two, of different size or pixel size, or of different places.
    SettingsError
        If a setting is unknown or not allowed.
    """
    settings = change(settings or AlignSettings(), changes)
    clock = Clock(progress)
    with clock("opening the frames"):
        opened, inputs = _open(frames, settings)
    with clock("aligning", announce=False):
        angles = settings.angles_deg
        result = align_frames(opened, scan_angles_deg=angles, rows=settings.rows, progress=progress)
    record = Record(
        settings=settings.model_dump(),
        versions=versions(),
        inputs=inputs,
        timings_s=clock.seconds,
        created=now(),
        notes=tuple(notes(result)),
    )
    return result, record


def _open(frames: Sequence[str | Path | Image], settings: AlignSettings) -> tuple[list[Image], dict[str, str]]:
    """Return the frames, and the sha256 of every file, or of the pixels of an image that was handed over open."""
    opened: list[Image] = []
    inputs: dict[str, str] = {}
    for frame in [frames] if isinstance(frames, (str, Path, Image)) else frames:
        if isinstance(frame, Image):
            name = frame.name or f"frame {len(opened)}"
            digest = hashlib.sha256(np.ascontiguousarray(frame.data).tobytes()).hexdigest()
            inputs[_unused(name, inputs)] = digest
            size = settings.pixel_size_pm
            opened.append(frame if size is None else replace(frame, pixel_size_pm=size))
            continue
        if not isinstance(frame, (str, Path)):
            raise DataError("file names or Images were expected.", got=type(frame).__name__)
        opened += open_frames([frame], pixel_size_pm=settings.pixel_size_pm, trust_pickle=settings.trust_pickle)
        inputs[_unused(Path(frame).name, inputs)] = sha256_of(frame)
    names: dict[str, str] = {}
    unique = []
    for picture in opened:
        name = _unused(picture.name or "frame", names)
        names[name] = name
        unique.append(replace(picture, name=name))
    return unique, inputs


def _unused(name: str, taken: Mapping[str, str]) -> str:
    """Return the name, with a number behind it where it is taken."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    return found


def notes(result: Alignment) -> list[str]:
    """Return the sentences that a reader of this image should know."""
    found = [f"{name} is left out: it {reason}." for name, reason in result.dropped.items()]
    if len({frame.scan_angle_deg % 180.0 for frame in result.kept}) == 1:
        found.append(
            "All frames were scanned along the same direction: distortion that is common to them, such as the shear by "
            "an even drift, is still in the image. Scans at 0 and 90 degrees would show it."
        )
    against = contradictions(result)
    if against:
        found.append(f"This alignment is doubtful: {'; '.join(against)}. Look at its picture before you use the image.")
    crossed = len({frame.scan_angle_deg % 360.0 for frame in result.kept}) > 1
    usual = float(np.median([frame.lattice_margin for frame in result.kept]))
    if crossed and result.place_margin < LEAST_SHARE * usual:
        found.append(
            "Scans along different directions agree with each other much less than those along one direction do "
            f"(log-likelihood margin {result.place_margin:.0f}, where {usual:.0f} is usual): check --scan-angles."
        )
    unsure = [frame.name for frame in result.kept if frame.lattice_margin < np.log(100.0)]
    if unsure:
        found.append(
            "Little but the lattice itself says where these frames lie, so that they may be off by a lattice vector: "
            + ", ".join(unsure)
            + "."
        )
    return found

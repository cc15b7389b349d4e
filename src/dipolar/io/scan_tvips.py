"""Scans of TVIPS cameras: `.tvips`, one stream of patterns over files NAME_000.tvips, NAME_001.tvips …"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.errors import FormatError
from dipolar.core.nouns import Fact
from dipolar.io.scan_found import Found, factor_pairs, how_stored
from dipolar.io.scan_mapped import MappedFrames
from dipolar.io.scan_parts import joined

WORDS = (
    *("size", "version", "width", "height", "bits", "offset_x", "offset_y", "bin_x", "bin_y"),
    *("pixel", "kilovolt", "camera_length", "frame_header"),
)
"""Numbers at the beginning of the first file, four bytes each."""
ROTATOR_BYTE = 48
"""Where in the header of a pattern the rotator stands, which counts probe positions from 1; 0 is before the scan."""
FRAME_HEADERS = {1: 12}
"""Bytes before each pattern, where the header of the file does not say."""
PARTS = re.compile(r"(.+_)(\d{3})")


def read_tvips(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of a stream; where the scan begins in it only its rotator tells, and that in a message."""
    files = _files(path)
    told = _header(files[0])
    stored = np.dtype("<u1" if told["bits"] == 8 else "<u2")
    before = FRAME_HEADERS.get(told["version"], told["frame_header"])
    step = before + told["width"] * told["height"] * stored.itemsize
    parts, rest = [], 0
    for place, file in enumerate(files):
        begin = told["size"] if place == 0 else 0
        whole, rest = divmod(max(0, file.stat().st_size - begin), step)
        last = growing and file == files[-1]
        if whole or last:
            parts.append(
                MappedFrames(
                    path=file,
                    first=begin + before,
                    step=step,
                    stored=stored,
                    shape_px=(told["height"], told["width"]),
                    promised=1 << 40 if last else whole,
                    growing=last,
                )
            )
    if not parts:
        raise FormatError("the stream must hold a pattern", got=f"{path.name} holds none", do="copy the file again")
    begins, counted = _rotator(parts, before) if before > ROTATOR_BYTE + 4 else (0, 0)
    remarks = [_begin(begins, counted)] if counted else []
    remarks += ["the last one is cut off"] if rest and not growing else []
    return Found(
        frames=joined(list(parts), [part.path.name for part in parts]),
        facts=(*how_stored("TVIPS", f"memory map, {len(parts)} file{'s' if len(parts) > 1 else ''}"), *_facts(told)),
        remark="; ".join(remarks),
        begins=begins,
    )


def _files(path: Path) -> list[Path]:
    """Return all files of the stream that the one named is part of, the first before all."""
    named = PARTS.fullmatch(path.stem)
    if named is None:
        return [path]
    files = [path.with_name(f"{named[1]}000{path.suffix}")]
    if not files[0].is_file():
        raise FormatError(
            "a stream of a TVIPS camera begins with the file that ends in _000.tvips, which describes the others",
            got=f"no {files[0].name} beside {path.name}",
            do="copy it into the same folder",
        )
    while (following := path.with_name(f"{named[1]}{len(files):03d}{path.suffix}")).is_file():
        files.append(following)
    return files


def _header(path: Path) -> dict[str, int]:
    raw = np.fromfile(path, "<u4", count=len(WORDS))
    told = dict(zip(WORDS, raw.tolist(), strict=False))
    sound = (
        len(raw) == len(WORDS)
        and told["version"] in (1, 2)
        and told["bits"] in (8, 16)
        and 52 <= told["size"] <= 65_536
        and 0 < told["width"] <= 16_384
        and 0 < told["height"] <= 16_384
        and (told["version"] == 1 or 12 <= told["frame_header"] <= 65_536)
    )
    if not sound:
        raise FormatError(
            "a .tvips begins with a header of version 1 or 2, for patterns of 8 or 16 bit",
            got=f"{path.name}: {', '.join(f'{name} {told.get(name)}' for name in WORDS[:5])}",
            do="open the first file of the stream (it ends in _000.tvips), or copy it again",
        )
    return told


def _field(part: MappedFrames, before: int, byte: int) -> np.ndarray:
    """Return one number of four bytes from the header of every pattern."""
    whole = (part.path.stat().st_size - part.first + before) // part.step
    held = np.memmap(part.path, "u1", "r", offset=part.first - before, shape=(whole, part.step))
    return np.ascontiguousarray(held[:, byte : byte + 4]).view("<u4")[:, 0]


def _rotator(parts: list[MappedFrames], before: int) -> tuple[int, int]:
    """Return with which pattern the scan seems to begin, and how many positions it has; 0, 0 if no rotator says so."""
    turns = np.concatenate([_field(part, before, ROTATOR_BYTE) for part in parts])
    counted = np.flatnonzero(turns)
    if not len(counted) or len(counted) == 1 or turns[counted[-1]] < 2:
        return 0, 0
    first = int(counted[turns[counted] == turns[counted[0]]][-1]) if turns[counted[0]] == 1 else int(counted[0])
    return first, int(turns[counted[-1]])


def _begin(first: int, positions: int) -> str:
    """Return that in words, with shapes that so many positions can have."""
    shapes = " or ".join(f"{rows},{columns}" for rows, columns in factor_pairs(positions)[:4])
    told = f"its rotator counts {positions:,} probe positions from pattern {first} on"
    return f"{told}: try --skip {first} --scan-shape {shapes}"


def _kilovolt(told: dict[str, int]) -> float | None:
    return float(told["kilovolt"]) if 1 <= told["kilovolt"] <= 3000 else None


def _facts(told: dict[str, int]) -> list[Fact]:
    values: list[tuple[str, Any, str]] = [
        ("voltage_kv", _kilovolt(told), "ht"),
        ("camera_length_mm", float(told["camera_length"]) or None, "magtotal"),
        ("detector_binning", f"{told['bin_y']} × {told['bin_x']}" if told["bin_x"] else None, "biny, binx"),
    ]
    return [Fact(name=name, value=value, source=source) for name, value, source in values if value is not None]

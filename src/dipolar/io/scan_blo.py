"""Scans of NanoMEGAS ASTAR: `.blo`, patterns of one byte per pixel with a number before each."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from dipolar.core.errors import FormatError
from dipolar.core.nouns import Fact
from dipolar.io.scan_found import Found, how_stored
from dipolar.io.scan_mapped import MappedFrames

HEADER = struct.Struct("<6sHIIIHHHHHddIHId")
"""Name, signature, bytes at which the overview and the patterns begin, flags, size and rotation of a pattern, columns,
rows and rotation of the scan, steps x and y (nm), voltage (V), px of the detector per 100 cm, camera length (0.1 mm),
date."""
SIGNATURE = 0x0102
MARK = b"\xaa\x55"
"""Before every pattern, with its number."""


def read_blo(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of a blockfile."""
    with path.open("rb") as stream:
        raw = stream.read(HEADER.size)
        if len(raw) < HEADER.size or not raw.startswith(b"IMGBLO"):
            raise _not_one(path, "it does not begin with IMGBLO")
        fields = HEADER.unpack(raw)
        signature, first, size, columns, rows = fields[1], fields[3], fields[5], fields[7], fields[8]
        stream.seek(first)
        mark = stream.read(2)
    if signature != SIGNATURE or mark != MARK or 0 in (size, columns, rows):
        raise _not_one(path, f"signature {signature:#06x}, {rows} × {columns} patterns of {size} px")
    step = 6 + size * size
    whole, rest = divmod(path.stat().st_size - first, step)
    step_x, step_y, volt, per_metre, camera = fields[10], fields[11], fields[12], fields[13], fields[14]
    angle = (1.0 / per_metre) / (camera * 1e-4) * 1e3 if per_metre and camera else None
    more = [("voltage_kv", volt / 1000.0, "Beam_energy"), ("camera_length_mm", camera / 10.0, "Camera_length")]
    more += [("scan_rotation_deg", fields[9] / 100.0, "Scan_rotation")] if fields[9] else []
    more += [("step_x_nm", step_x, "SX"), ("step_y_nm", step_y, "SY")] if step_x != step_y else []
    return Found(
        frames=MappedFrames(
            path=path,
            first=first + 6,
            step=step,
            stored=np.dtype("u1"),
            shape_px=(size, size),
            promised=rows * columns if growing else whole,
            growing=growing,
        ),
        shape=(rows, columns),
        shape_source="NY, NX in the header",
        step_nm=step_x if step_x == step_y and step_x > 0 else None,
        pixel_mrad=angle,
        facts=(*how_stored("ASTAR blockfile"), *(Fact(name=n, value=v, source=s) for n, v, s in more if v)),
        remark="the last one is cut off" if rest and whole < rows * columns else "",
    )


def _not_one(path: Path, why: str) -> FormatError:
    return FormatError(
        "a .blo begins with the header of an ASTAR blockfile of 8 bit",
        got=f"{path.name}: {why}",
        do="export it again as .blo of version 1, or as .hspy",
    )

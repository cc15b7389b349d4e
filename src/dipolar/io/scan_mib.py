"""Scans of Merlin detectors (Medipix3): `.mib`, a header of text before every pattern, and the `.hdr` beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.errors import FormatError
from dipolar.core.nouns import Fact
from dipolar.core.scanning import AbstractFrames
from dipolar.io.scan_found import Found, how_stored
from dipolar.io.scan_mapped import MappedFrames
from dipolar.io.scan_medipix_raw import RawMedipixFrames, raw_layout
from dipolar.io.scan_parts import joined

MAGIC = b"MQ1,"
PROCESSED = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}
"""Types of pixels that the detector's computer has put in order, in the byte order of the network."""
UNLIMITED = 1 << 40
"""Patterns of a file that grows until nobody knows when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands before every pattern of a `.mib`."""

    number: int
    """Number of the pattern in its acquisition, the first is 1."""
    size: int
    """Bytes before the pixels."""
    chips: int
    """Detector chips that were read out."""
    width: int
    """Pixels in a row of the file."""
    height: int
    """Rows."""
    kind: str
    """Type of a pixel: U08, U16, U32, or R64 for pixels as the chip sends them."""
    layout: str
    """How chips lie: 1x1, 2x2, Nx1, with a G where gaps between them are filled."""
    exposure_s: float
    """Exposure of one pattern."""
    bits: int
    """Depth of the counter: 1, 6, 12 or 24."""


def read_mib(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of a `.mib`, or of the files that go on with it; the shape is in the `.hdr` beside."""
    if path.suffix.lower() == ".hdr":
        path = _mib_of(path)
    files = _sequence(path)
    frames, remarks = [], []
    for file in files:
        part, remark = _frames(file, growing=growing)
        frames.append(part)
        remarks.append(f"{remark} of {file.name}" if remark and len(files) > 1 else remark)
    told, beside = _told(files[0])
    shape, source = _shape(told)
    header = read_header(files[0])
    remarks += [] if beside else [f"there is no {_base(files[0])}.hdr beside, which could say more"]
    return Found(
        frames=joined(frames, [file.name for file in files]),
        shape=shape,
        shape_source=source,
        facts=(*how_stored("Merlin", _words(header)), *_facts(header, told)),
        remark="; ".join(remark for remark in remarks if remark),
    )


def read_header(path: Path, offset: int = 0) -> Header:
    """Return the header of the pattern at a byte of the file.

    Raises
    ------
    FormatError
        Where there is none.
    """
    with path.open("rb") as stream:
        stream.seek(offset)
        raw = stream.read(4096)
    try:
        if not raw.startswith(MAGIC):
            raise ValueError(f"no MQ1 at byte {offset:,}")
        size = int(raw.split(b",", 3)[2])
        words = raw[:size].split(b"\0", 1)[0].decode("latin-1").strip().rstrip(",").split(",")
        return Header(
            number=int(words[1]),
            size=size,
            chips=int(words[3]),
            width=int(words[4]),
            height=int(words[5]),
            kind=words[6].strip().upper(),
            layout=words[7].strip(),
            exposure_s=float(words[10]),
            bits=int(words[-1]) if words[-1].strip().isdigit() else 0,
        )
    except (ValueError, IndexError) as error:
        raise FormatError(
            "a .mib has a header that begins with MQ1 before every pattern",
            got=f"{path.name}: {error}",
            do="copy the file again; it is damaged, or of another detector",
        ) from error


def _frames(path: Path, *, growing: bool) -> tuple[AbstractFrames, str]:
    """Return the patterns of one file, and what to say of its end."""
    header = read_header(path)
    stored = PROCESSED.get(header.kind)
    layout = None if stored else raw_layout(header, path=path)
    pixels = header.width * header.height * np.dtype(stored).itemsize if layout is None else layout.bytes
    step = header.size + pixels
    count, rest = divmod(path.stat().st_size, step)
    if count:
        read_header(path, (count - 1) * step)
    elif not growing:
        raise FormatError(
            "the file must hold a whole pattern",
            got=f"{path.name}: {path.stat().st_size:,} bytes, a pattern has {step:,}",
            do="copy or export the file again; it is truncated",
        )
    mapped: dict[str, Any] = {
        "path": path,
        "first": header.size,
        "step": step,
        "promised": UNLIMITED if growing else count,
        "growing": growing,
    }
    remark = "the last one is cut off" if rest and not growing else ""
    if layout is None:
        return MappedFrames(stored=np.dtype(stored), shape_px=(header.height, header.width), **mapped), remark
    packed = MappedFrames(stored=np.dtype("u1"), shape_px=layout.shape_bytes, **mapped)
    return RawMedipixFrames(packed=packed, layout=layout), remark


def _base(path: Path) -> str:
    """Return the name of a file without the number that files of one acquisition end in."""
    return re.sub(r"\d+$", "", path.stem) or path.stem


def _mib_of(hdr: Path) -> Path:
    found = sorted(path for path in hdr.parent.glob("*.[mM][iI][bB]") if path.stem.startswith(hdr.stem))
    exact = [path for path in found if path.stem == hdr.stem]
    if not found:
        raise FormatError(
            "a .hdr describes patterns that lie in a .mib beside it",
            got=f"no {hdr.stem}.mib beside {hdr.name}",
            do="copy the .mib into the same folder",
        )
    return (exact or found)[0]


def _sequence(path: Path) -> list[Path]:
    """Return the files of one acquisition in order: NAME1.mib, NAME2.mib … that share NAME.hdr; else the file alone."""
    base = _base(path)
    shared = [hdr for hdr in path.parent.glob("*.[hH][dD][rR]") if hdr.stem == base]
    if base == path.stem or not shared:
        return [path]
    ends = re.compile(re.escape(base) + r"\d+")
    others = [other for other in path.parent.glob("*.[mM][iI][bB]") if ends.fullmatch(other.stem)]
    return sorted(others, key=lambda other: read_header(other).number)


def _told(path: Path) -> tuple[dict[str, str], bool]:
    """Return what the `.hdr` says, name by name, and whether there is one."""
    for hdr in path.parent.glob("*.[hH][dD][rR]"):
        if hdr.stem in (path.stem, _base(path)):
            lines = hdr.read_text(encoding="latin-1").splitlines()
            pairs = [line.split("\t", 1) for line in lines if "\t" in line]
            return {name.strip().rstrip(":"): value.strip() for name, value in pairs}, True
    return {}, False


def _shape(told: dict[str, str]) -> tuple[tuple[int, int] | None, str]:
    """Return the shape of the scan where the `.hdr` says it: one trigger per row, or the words of newer programs."""
    if told.get("ScanY", "").isdigit() and told.get("ScanX", "").isdigit():
        return (int(told["ScanY"]), int(told["ScanX"])), "ScanY, ScanX in the .hdr"
    frames, row = told.get("Frames in Acquisition (Number)", ""), told.get("Frames per Trigger (Number)", "")
    if frames.isdigit() and row.isdigit() and 1 < int(row) < int(frames) and int(frames) % int(row) == 0:
        return (int(frames) // int(row), int(row)), "frames per trigger in the .hdr"
    return None, ""


def _words(header: Header) -> str:
    raw = ", raw" if header.kind not in PROCESSED else ""
    return f"memory map, {header.bits or int(header.kind[1:])} bit{raw}, {header.chips} chip, {header.layout}"


def _facts(header: Header, told: dict[str, str]) -> list[Fact]:
    facts = [Fact(name="exposure_ms", value=header.exposure_s * 1e3, source="header")]
    names = {"Time and Date Stamp": "date", "Chip ID": "detector", "Software Version": "software"}
    for start, name in names.items():
        value = next((value for key, value in told.items() if key.startswith(start) and value), None)
        if value:
            facts.append(Fact(name=name, value=value, source=f"{start} in the .hdr"))
    return facts

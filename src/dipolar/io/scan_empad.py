"""Scans of an EMPAD: `.raw` with 130 rows of 128 float32 per pattern, of which the last two are no pixels."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from dipolar.core.errors import FormatError
from dipolar.core.nouns import Fact
from dipolar.io.scan_found import Found, how_stored
from dipolar.io.scan_mapped import MappedFrames
from dipolar.io.scan_units import pixel_mrad, step_nm

ROWS, STORED_ROWS, COLUMNS = 128, 130, 128
PATTERN_BYTES = STORED_ROWS * COLUMNS * 4
NAMED = re.compile(r"x(\d+)_y(\d+)", re.IGNORECASE)


def read_empad(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of an EMPAD, from its `.raw` or its `.xml`; the shape is in the `.xml` or the name."""
    raw, xml = _pair(path)
    tree = None if xml is None else ElementTree.parse(xml).getroot()
    size = raw.stat().st_size
    rest = size % PATTERN_BYTES
    shape, source = _shape(tree, raw)
    if size < PATTERN_BYTES or (rest and tree is None and shape is None):
        raise FormatError(
            "a .raw file is read where it is of an EMPAD: patterns of 130 × 128 float32, with their .xml beside",
            got=f"{raw.name}: {size:,} bytes are no whole number of them, and no .xml names the file",
            do="write the array as .npy or .h5; a bare .raw says neither size nor type of its patterns",
        )
    angle = _number(_text(tree, "iom_measurements/calibrated_diffraction_angle"))
    return Found(
        frames=MappedFrames(
            path=raw,
            first=0,
            step=PATTERN_BYTES,
            stored=np.dtype("<f4"),
            shape_px=(ROWS, COLUMNS),
            promised=size // PATTERN_BYTES if not growing else _most(shape),
            growing=growing,
        ),
        shape=shape,
        shape_source=source,
        step_nm=_step_nm(tree, shape),
        pixel_mrad=None if angle is None else pixel_mrad(angle, "rad", None),
        facts=(*how_stored("EMPAD"), *_facts(tree)),
        remark=f"and {rest:,} bytes of one more" if rest and not growing else "",
    )


def _most(shape: tuple[int, int] | None) -> int:
    return shape[0] * shape[1] if shape else np.iinfo(np.int64).max // PATTERN_BYTES


def _pair(path: Path) -> tuple[Path, Path | None]:
    """Return the `.raw` file, and the `.xml` that names it."""
    if path.suffix.lower() == ".xml":
        name = _text(ElementTree.parse(path).getroot(), "raw_file", "filename")
        if name is None:
            raise FormatError(
                "the .xml of an EMPAD names its .raw file",
                got=f"{path.name} names none",
                do="open the .raw file itself",
            )
        raw = path.with_name(Path(name.replace("\\", "/")).name)
        if not raw.is_file():
            raise FormatError(
                "the patterns of an EMPAD lie in the .raw file that its .xml names",
                got=f"no {raw.name} beside {path.name}",
                do="copy the .raw file into the same folder",
            )
        return raw, path
    for xml in sorted(path.parent.glob("*.[xX][mM][lL]")):
        try:
            name = _text(ElementTree.parse(xml).getroot(), "raw_file", "filename")
        except ElementTree.ParseError:  # some other file beside the scan
            continue
        if name is not None and Path(name.replace("\\", "/")).name == path.name:
            return path, xml
    return path, None


def _shape(tree: Any, raw: Path) -> tuple[tuple[int, int] | None, str]:
    columns, rows = _text(tree, "pix_x"), _text(tree, "pix_y")
    if columns and rows:
        return (int(rows), int(columns)), "pix_y, pix_x"
    named = NAMED.search(raw.stem)
    return ((int(named[2]), int(named[1])), "file name") if named else (None, "")


def _facts(tree: Any) -> list[Fact]:
    """Return what the `.xml` says of the microscope."""
    facts: list[Fact] = []
    volt = _number(_text(tree, "iom_measurements/source.get_voltage"))
    if volt:
        facts.append(Fact(name="voltage_kv", value=volt / 1000.0, source="iom_measurements"))
    length = _number(_text(tree, "iom_measurements/optics.get_cameralength"))
    if length:
        facts.append(Fact(name="camera_length_mm", value=length * 1000.0, source="iom_measurements"))
    exposure = _number(_text(tree, "exposure_time"))
    if exposure:
        facts.append(Fact(name="exposure_ms", value=exposure, source="exposure_time"))
    date = _text(tree, "timestamp", "isoformat")
    if date:
        facts.append(Fact(name="date", value=date, source="timestamp"))
    return facts


def _step_nm(tree: Any, shape: tuple[int, int] | None) -> float | None:
    """Return the step from the field of view, which is that of the longer side of the scan."""
    if shape is None:
        return None
    old = _text(tree, "iom_measurements/optics.get_full_scan_field_of_view")
    if old:
        field = ast.literal_eval(old)
        return step_nm(float(max(field)) / max(shape), "m")
    new = _number(_text(tree, "iom_measurements/full_scan_field_of_view/x"))
    factor = _number(_text(tree, "iom_measurements/full_scan_field_of_view/scale_factor"))
    return step_nm(new / factor / max(shape), "m") if new and factor else None


def _text(tree: Any, name: str, attribute: str | None = None) -> str | None:
    """Return the text of an element, also of one with dots in its name, or of an attribute of it."""
    for part in name.split("/"):
        tree = None if tree is None else next((node for node in tree if node.tag == part), None)
    if tree is None:
        return None
    text = tree.get(attribute) if attribute else tree.text
    return text.strip() if text and text.strip() else None


def _number(text: str | None) -> float | None:
    try:
        return float(text.split()[0]) if text else None
    except ValueError:
        return None

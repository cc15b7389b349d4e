"""TIFF files: ImageJ, Velox and other FEI software, DigitalMicrograph, OME and plain ones.

Read with tifffile itself: RosettaSciIO drops ImageJ's unit unless it is the micron.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from dipolar.core.nouns import Fact
from dipolar.io.entry import Entry, Frame, Scale, check_promise, dig
from dipolar.io.facts import collect

COLOURS = "S"
"""tifffile's letter for the axis of colours."""


def read_tiff(path: Path, *, trust_pickle: bool) -> list[Entry]:
    """Return one entry per series of a TIFF file: images, stacks of them, colours aside."""
    with tifffile.TiffFile(path) as file:
        own = _own_metadata(file)
        scale = _scale(file, own)
        facts = collect({}, own, more=_date(file))
        entries = []
        for number, series in enumerate(file.series):
            stored = sum(sum(page.databytecounts) for page in series.pages if page is not None)
            compressed = int(file.pages.first.compression) != 1
            available = min(stored, path.stat().st_size) if not compressed and stored else path.stat().st_size
            check_promise(series.shape, series.dtype, stored_bytes=None if compressed else available)
            entries.append(_entry(path, number, series, scale, facts))
        return entries


def _entry(path: Path, number: int, series: Any, scale: Scale | None, facts: tuple[Fact, ...]) -> Entry:
    axes: str = series.axes
    colour = axes.find(COLOURS)
    keep = [place for place, size in enumerate(series.shape) if place != colour and (size != 1 or axes[place] in "YX")]
    shape = tuple(int(series.shape[place]) for place in keep)

    def read(frame: Frame) -> np.ndarray:
        with tifffile.TiffFile(path) as file:
            chosen = file.series[number]
            page = None
            if frame is not None and len(chosen.pages) == shape[0] and colour < 0:
                page = chosen.pages[frame]
            data = np.asarray(chosen.asarray() if page is None else page.asarray())
        if page is not None:
            return data.reshape(shape[1:])
        data = np.moveaxis(data, colour, -1) if colour >= 0 else data
        data = data.reshape(*shape, *([series.shape[colour]] if colour >= 0 else []))
        return data if frame is None else data[frame]

    return Entry(
        name=series.name or f"series {number}",
        shape=shape,
        dtype=np.dtype(series.dtype),
        read=read,
        scale=scale,
        facts=facts,
    )


def _own_metadata(file: tifffile.TiffFile) -> dict[str, Any]:
    """Return what FEI's and ThermoFisher's programs write, as nested dicts."""
    own = dict(file.fei_metadata or {}) if file.is_fei else {}
    tag = file.pages.first.tags.get(34683)  # FEI_TITAN: the XML of Velox
    if tag is not None and isinstance(tag.value, (str, bytes)):
        text = tag.value.decode("utf-8", "replace") if isinstance(tag.value, bytes) else tag.value
        try:
            own |= _nested(ElementTree.fromstring(text.strip("\x00 \r\n")))
        except ElementTree.ParseError:
            return own
    return own


def _nested(element: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for child in element:
        found.setdefault(child.tag, _nested(child) if len(child) else (child.text or "").strip())
    return found


def _date(file: tifffile.TiffFile) -> tuple[Fact, ...]:
    tag = file.pages.first.tags.get("DateTime")
    return (Fact(name="date", value=str(tag.value), source="DateTime"),) if tag is not None else ()


def _scale(file: tifffile.TiffFile, own: dict[str, Any]) -> Scale | None:
    for key_y, key_x in (
        ("BinaryResult.PixelSize.Y", "BinaryResult.PixelSize.X"),
        ("Scan.PixelHeight", "Scan.PixelWidth"),
    ):
        y, x = dig(own, key_y), dig(own, key_x)
        if y and x:
            return Scale(y=float(y), x=float(x), unit_y="m", unit_x="m", source=key_x)
    tags = file.pages.first.tags
    if file.is_ome and file.ome_metadata:
        return _ome_scale(file.ome_metadata)
    if 65009 in tags and 65010 in tags:
        units = [str(tags[code].value) if code in tags else "" for code in (65004, 65003)]
        return Scale(
            y=float(tags[65010].value),
            x=float(tags[65009].value),
            unit_y=units[0],
            unit_x=units[1],
            source="DigitalMicrograph's tags 65009, 65010",
        )
    if file.is_imagej:
        return _imagej_scale(dict(file.imagej_metadata or {}), tags)
    return None


def _imagej_scale(metadata: dict[str, Any], tags: Any) -> Scale | None:
    """Return ImageJ's pixel size: pixels per unit in the resolution tags, the unit in the description."""
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "µ").replace("\\u00b5", "µ")
    if not unit or "XResolution" not in tags or "YResolution" not in tags:
        return None
    edges = []
    for name in ("YResolution", "XResolution"):
        pixels, units = tags[name].value
        if not pixels:
            return None
        edges.append(units / pixels)
    return Scale(y=edges[0], x=edges[1], unit_y=unit, unit_x=unit, source="ImageJ's unit and XResolution")


def _ome_scale(text: str) -> Scale | None:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    for element in root.iter():
        if element.tag.endswith("}Pixels") and "PhysicalSizeX" in element.attrib:
            found = element.attrib
            along_y = "Y" if "PhysicalSizeY" in found else "X"
            return Scale(
                y=float(found[f"PhysicalSize{along_y}"]),
                x=float(found["PhysicalSizeX"]),
                unit_y=found.get(f"PhysicalSize{along_y}Unit", "µm"),  # the default of the OME schema
                unit_x=found.get("PhysicalSizeXUnit", "µm"),
                source="OME PhysicalSizeX",
            )
    return None

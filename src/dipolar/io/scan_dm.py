"""Scans of DigitalMicrograph: four-dimensional `.dm4` (and `.dm3`), memory-mapped in either of their two orders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.errors import FormatError, ScanError, SelectionError
from dipolar.core.nouns import Fact
from dipolar.io.dm_tags import Place, read_tags
from dipolar.io.entry import describe
from dipolar.io.facts import collect
from dipolar.io.scan_found import MIN_EDGE_PX, Found, how_stored
from dipolar.io.scan_mapped import MappedFrames, file_ends
from dipolar.io.scan_units import is_angle, is_length, pixel_mrad, step_nm

TYPES = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 39: "i8", 40: "u8"}
"""DataType of an image → type of its numbers."""
TOGETHER_BYTES = 64 << 20
"""Patterns that are read together from a file in which the scan is fastest, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DmArray:
    """One array of the file."""

    name: str
    """Its name in the file, or its number."""
    sizes: tuple[int, ...]
    """Sizes of its axes, the fastest first."""
    place: Place
    """Where its data lie."""
    stored: np.dtype[Any]
    """Type of its numbers."""
    scales: tuple[float, ...]
    """Size of a px along each axis."""
    units: tuple[str, ...]
    """Its unit."""
    swapped: bool | None
    """What the file says of its order: whether the detector is fastest; None where it does not say."""


def read_dm(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of the one array with three or four axes, or of the one called `select`."""
    tags = read_tags(path)
    array = _chosen([array for array in _arrays(tags, path) if len(array.sizes) in (3, 4)], select, path=path)
    if array.place.offset + array.place.count * array.place.itemsize > path.stat().st_size:
        pattern = array.place.itemsize * array.sizes[0] * array.sizes[1]
        whole = max(0, path.stat().st_size - array.place.offset) // pattern
        raise file_ends(path, number=whole, promised=array.place.count * array.place.itemsize // pattern)
    facts = {fact.name: fact for fact in collect({}, _nested(tags))}
    volt = facts.get("voltage_kv")
    voltage = float(volt.value) if volt is not None else None
    fast, why = _detector_is_fastest(array)
    scan, detector = (array.sizes[2:], array.sizes[:2]) if fast else (array.sizes[:2], array.sizes[2:])
    scan_axis, detector_axis = (2, 0) if fast else (0, 2)
    return Found(
        frames=_frames(path, array, scan=scan, detector=detector, fast=fast),
        shape=(scan[1], scan[0]) if len(scan) == 2 else None,
        shape_source="Dimensions in the file",
        step_nm=step_nm(array.scales[scan_axis], array.units[scan_axis]) if len(scan) == 2 else None,
        pixel_mrad=pixel_mrad(array.scales[detector_axis], array.units[detector_axis], voltage),
        facts=(
            *how_stored("DigitalMicrograph", f"memory map, {'detector' if fast else 'scan'} fastest"),
            Fact(
                name="order", value=f"{'scan_y, scan_x, k_y, k_x' if fast else 'k_y, k_x, scan_y, scan_x'}", source=why
            ),
            Fact(name="dataset", value=array.name, source="file"),
            *facts.values(),
        ),
    )


def _arrays(tags: dict[str, Any], path: Path) -> list[DmArray]:
    found = []
    for number in sorted({name.split(".")[1] for name in tags if name.startswith("ImageList.")}, key=int):
        here = f"ImageList.{number}.ImageData"
        sizes = _listed(tags, f"{here}.Dimensions.{{}}")
        place, kind = tags.get(f"{here}.Data"), TYPES.get(tags.get(f"{here}.DataType", 0))
        if not isinstance(place, Place) or kind is None or np.prod(sizes, dtype=object) != place.count:
            continue
        swapped = tags.get(f"ImageList.{number}.ImageTags.Meta Data.Data Order Swapped")
        found.append(
            DmArray(
                name=str(tags.get(f"ImageList.{number}.Name") or f"image {number}"),
                sizes=tuple(int(size) for size in sizes),
                place=place,
                stored=np.dtype(kind).newbyteorder("<"),
                scales=tuple(
                    float(s) for s in _listed(tags, f"{here}.Calibrations.Dimension.{{}}.Scale", len(sizes), 1.0)
                ),
                units=tuple(str(u) for u in _listed(tags, f"{here}.Calibrations.Dimension.{{}}.Units", len(sizes), "")),
                swapped=None if swapped is None else bool(int(swapped)),
            )
        )
    return found


def _listed(tags: dict[str, Any], pattern: str, count: int | None = None, missing: Any = None) -> list[Any]:
    """Return the tags of a numbered list: `count` of them, or as many as there are."""
    if count is not None:
        return [tags.get(pattern.format(number), missing) for number in range(count)]
    values: list[Any] = []
    while (name := pattern.format(len(values))) in tags:
        values.append(tags[name])
    return values


def _chosen(arrays: list[DmArray], select: str | None, *, path: Path) -> DmArray:
    usable = [array for array in arrays if min(_detector(array)) >= MIN_EDGE_PX]
    whole = [array for array in usable if len(array.sizes) == 4] or usable
    if not whole:
        raise ScanError(
            "a scan has four axes, or three with --scan-shape",
            got=f"{path.name} holds no such array",
            do="check that this is the scan and not an image made from it (dipolar image measure)",
        )
    named = [array for array in whole if array.name == select]
    if len(named) == 1 or (select is None and len(whole) == 1):
        return (named or whole)[0]
    listing = "; ".join(f"{array.name!r} ({describe(array.sizes[::-1])} {array.stored})" for array in whole)
    raise SelectionError(
        "the file holds several scans, and one must be named" if select is None else "--select must name one scan",
        got=f"{path.name} holds {listing}",
        do=f"choose one, for example --select '{whole[0].name}'",
    )


def _detector(array: DmArray) -> tuple[int, ...]:
    """Return the sizes of its detector axes."""
    return array.sizes[:2] if _detector_is_fastest(array)[0] else array.sizes[2:]


def _detector_is_fastest(array: DmArray) -> tuple[bool, str]:
    """Tell whether neighbours in the file are pixels of one pattern, and how that is known.

    GMS writes scans in either order, and says which in the tag "Data Order Swapped"; else the units tell, a length for
    the scan and an angle or a reciprocal length for the detector. Stacks of patterns have the detector first.
    """
    if len(array.sizes) == 3:
        return True, "three axes"
    if array.swapped is not None:
        return array.swapped, "tag Data Order Swapped"
    first, last = array.units[0], array.units[2]
    if is_angle(first) or is_length(last):
        return True, "units of the axes"
    if is_length(first) or is_angle(last):
        return False, "units of the axes"
    return True, "assumed: neither tag nor units say it"


def _frames(
    path: Path, array: DmArray, *, scan: tuple[int, ...], detector: tuple[int, ...], fast: bool
) -> MappedFrames:
    size = array.stored.itemsize
    pattern = detector[0] * detector[1] * size
    common: dict[str, Any] = {
        "path": path,
        "first": array.place.offset,
        "stored": array.stored,
        "shape_px": (detector[1], detector[0]),
        "promised": int(np.prod(scan)),
    }
    if fast:
        return MappedFrames(step=pattern, **common)
    positions = scan[0] * scan[1]
    steps = (detector[0] * positions * size, positions * size)
    return MappedFrames(step=size, pixel_steps=steps, chunk=max(1, min(positions, TOGETHER_BYTES // pattern)), **common)


def _nested(tags: dict[str, Any]) -> dict[str, Any]:
    """Return tags as nested mappings, the way RosettaSciIO names them: `ImageList.TagGroup0.ImageTags …`."""
    if not tags:
        raise FormatError("the file must hold tags", got="none", do="export it again")
    tree: dict[str, Any] = {}
    images = [name for name in tags if name.startswith("ImageList.")]
    last = max((int(name.split(".")[1]) for name in images), default=0)
    for name in images:
        number, _, rest = name.removeprefix("ImageList.").partition(".")
        if int(number) == last and not isinstance(tags[name], Place):
            here = tree
            names = ["ImageList", "TagGroup0", *rest.split(".")]
            for folder in names[:-1]:
                below = here.setdefault(folder, {})
                here = below if isinstance(below, dict) else {}
            here[names[-1]] = tags[name]
    return tree

"""Scans in HDF5 files of any make: which dataset holds the patterns, and what stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dipolar.core.errors import ScanError, SelectionError
from dipolar.core.nouns import Fact
from dipolar.io.entry import describe
from dipolar.io.read_hdf5 import check_storage
from dipolar.io.scan_arina import is_master, read_master
from dipolar.io.scan_found import MIN_EDGE_PX, Found, how_stored
from dipolar.io.scan_hdf5_frames import hdf5_frames, open_hdf5
from dipolar.io.scan_hdf5_scales import scales_of


def read_hdf5(path: Path, *, select: str | None, growing: bool) -> Found:
    """Return the patterns of the one dataset that holds a scan, or of the one called `select`."""
    with open_hdf5(path, growing=growing) as file:
        if is_master(file):
            return read_master(path, file, growing=growing)
        if "Data" in file and "Image" in file["Data"] and "Version" in file:
            raise ScanError(
                "a scan holds a diffraction pattern for every probe position",
                got=f"{path.name} is of Velox, which keeps images and spectra in it",
                do="export the scan as .hspy or .h5; for an image: dipolar image measure",
            )
        dataset = chosen(candidates(file), select, path=path)
        axes = scan_axes(dataset.shape)
        if not growing:
            check_storage(path, dataset)
        frames, stored, remark = hdf5_frames(path, dataset, axes, growing=growing)
        scan = tuple(int(dataset.shape[axis]) for axis in axes)
        scales = scales_of(dataset, file, plain="HDF5")
        return Found(
            frames=frames,
            shape=(scan[0], scan[1]) if len(scan) == 2 else None,
            shape_source=f"shape of {dataset.name}",
            step_nm=scales.step_nm,
            pixel_mrad=scales.pixel_mrad,
            facts=(
                *how_stored(scales.make, stored),
                Fact(name="dataset", value=dataset.name.strip("/"), source="file"),
                *scales.facts,
            ),
            remark=remark,
        )


def candidates(root: Any) -> list[Any]:
    """Return every dataset that can be a scan: real numbers with two scan axes, or, where none has, with one."""
    found: list[Any] = []

    def visit(_: str, node: Any) -> None:
        if hasattr(node, "shape") and is_scan(node):
            found.append(node)

    root.visititems(visit)
    whole = [node for node in found if len(scan_axes(node.shape)) == 2]
    return whole or found


def is_scan(node: Any) -> bool:
    """Tell whether an array of h5py or zarr holds real numbers, and patterns on one or two axes of a scan."""
    sizes = node.shape or ()
    return bool(
        len(sizes) >= 3
        and node.dtype.kind in "uif"
        and 0 not in sizes
        and min(sizes[-2:]) >= MIN_EDGE_PX
        and scan_axes(sizes)
    )


def scan_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the one or two axes before the detector that are those of the scan; none where there are more.

    Of more than two, those of length one are left out, the last first: (scan_y, scan_x, colour) has one colour.
    """
    axes = list(range(len(shape) - 2))
    while len(axes) > 2:
        single = [axis for axis in axes if shape[axis] == 1]
        if not single:
            return ()
        axes.remove(single[-1])
    return tuple(axes)


def chosen(nodes: list[Any], select: str | None, *, path: Path) -> Any:
    """Return the dataset that is asked for, or the only one.

    Raises
    ------
    ScanError
        Where there is none.
    SelectionError
        Where there are several and none is named, or the named one is not there.
    """
    if not nodes:
        raise ScanError(
            "a scan is an array (scan_y, scan_x, k_y, k_x), or (pattern, k_y, k_x), of real numbers",
            got=f"{path.name} holds none",
            do="check that this is the scan and not an image made from it",
        )
    names = [(node.name or "").strip("/") for node in nodes]  # a Zarr store that is one array has no name
    named = [node for node, name in zip(nodes, names, strict=True) if select is not None and _called(name, select)]
    if len(named) == 1:
        return named[0]
    if select is None and len(nodes) == 1:
        return nodes[0]
    listing = "; ".join(
        f"{name} ({describe(node.shape)} {node.dtype})" for node, name in list(zip(nodes, names, strict=True))[:20]
    )
    raise SelectionError(
        "the file holds several scans, and one must be named" if select is None else "--select must name one scan",
        got=f"{'' if select is None else repr(select) + '; '}{path.name} holds {listing}",
        do=f"choose one, for example --select {names[0]}",
    )


def _called(name: str, select: str) -> bool:
    """Tell whether `select` is the name, or its end from a slash on, or a folder in it that no other has."""
    select = select.strip("/")
    return name == select or name.endswith("/" + select) or f"/{select}/" in f"/{name}/"

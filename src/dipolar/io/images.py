"""`open_image`: from a microscope's file to one checked two-dimensional image."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.errors import CalibrationError, ImageError
from dipolar.core.nouns import Fact, Image
from dipolar.io.border import border, check_file
from dipolar.io.entry import Entry, Scale, check_promise, describe
from dipolar.io.selection import MIN_EDGE, choose
from dipolar.io.units import length_pm, unit_pm

READERS: dict[str, str] = {
    ".dm3": "read_rsciio:read_dm",
    ".dm4": "read_rsciio:read_dm",
    ".emd": "read_emd:read_emd",
    ".ser": "read_rsciio:read_tia",
    ".emi": "read_rsciio:read_tia",
    ".hspy": "read_rsciio:read_hspy",
    ".zspy": "read_rsciio:read_zspy",
    ".mrc": "read_rsciio:read_mrc",
    ".hdf5": "read_hdf5:read_h5",
    ".h5": "read_hdf5:read_h5",
    ".tif": "read_tiff:read_tiff",
    ".tiff": "read_tiff:read_tiff",
    ".png": "read_numpy:read_png",
    ".npy": "read_numpy:read_npy",
    ".npz": "read_numpy:read_npz",
    ".mat": "read_numpy:read_mat",
}
"""Suffix → module of this package and function; the module is imported when such a file is met."""

FOLDERS = (".zspy",)
"""Formats that are folders on disk."""

SQUARE_WITHIN = 0.005
"""Largest difference of the pixel's edges that is taken for rounding."""

PLAUSIBLE_PM = (0.1, 5000.0)
"""Pixel sizes outside cannot be those of an atomically resolved image; a print resolution is the usual culprit."""

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def open_image(
    path: str | Path,
    *,
    pixel_size_pm: float | str | None = None,
    select: str | None = None,
    trust_pickle: bool = False,
) -> Image:
    """Return the one two-dimensional image in a file, as float32 with its pixel size in pm.

    Parameters
    ----------
    path
        A file with one of the suffixes in `READERS`.
    pixel_size_pm
        Pixel size that replaces the file's: a number in pm, or text such as "0.0156 nm". Both are kept as facts.
    select
        Which image, where the file holds several: a name, the number of a frame, or "NAME:3". The message that
        asks for it lists what is there.
    trust_pickle
        Allow pickled Python objects in `.npy` files. Reading those runs the code in them.

    Raises
    ------
    FormatError
        Where the file cannot be read.
    SelectionError
        Where the file holds several images and none was named.
    CalibrationError
        Where its pixels are not square and no `pixel_size_pm` is given.
    ImageError
        Where what is in it is not an image with columns; see `check_image`.
    SettingsError
        Where `pixel_size_pm` is no length.
    """
    path = Path(path)
    given_pm = None if pixel_size_pm is None else length_pm(pixel_size_pm)
    check_file(path, suffixes=tuple(READERS), folders=FOLDERS)
    with border(path):
        module, _, function = READERS[path.suffix.lower()].partition(":")
        entries = getattr(importlib.import_module(f"dipolar.io.{module}"), function)(path, trust_pickle=trust_pickle)
    entry, frame = choose(entries, select, path=path)
    with border(path):
        check_promise(entry.shape, entry.dtype)
        raw = entry.read(frame)
    size_pm, facts = calibrate(entry.scale, given_pm, path=path)
    name = path.name if select is None else f"{path.name} [{select}]"
    image = Image(
        data=to_grey(raw, name=name),
        pixel_size_pm=size_pm,
        name=name,
        facts=(*facts, *entry.facts, *_origin(entry, frame)),
        ceiling=_ceiling(raw.dtype),
    )
    check_image(image)
    return image


def check_image(image: Image) -> None:
    """Check that columns could be found in the image at all.

    Raises
    ------
    ImageError
        Where it is smaller than 16 px, has no valid pixel, or is the same everywhere.
    """
    data = image.data
    if data.ndim != 2 or min(data.shape) < MIN_EDGE:
        raise ImageError(
            f"an image needs at least {MIN_EDGE} × {MIN_EDGE} pixels for a lattice to show",
            got=f"{image.name or 'the image'}: {describe(data.shape)}",
            do="check that this is the image and not its thumbnail or a table",
        )
    valid = np.isfinite(data)
    if not valid.any():
        raise ImageError(
            "an image needs valid pixels",
            got=f"{image.name or 'the image'}: every pixel is nan",
            do="export the image again",
        )
    low, high = float(np.min(data, where=valid, initial=np.inf)), float(np.max(data, where=valid, initial=-np.inf))
    if low == high:
        raise ImageError(
            "an image needs contrast",
            got=f"{image.name or 'the image'}: every pixel is {low:g}",
            do="check that the right detector or frame was chosen (--select)",
        )


def to_grey(raw: np.ndarray, *, name: str = "") -> np.ndarray:
    """Return data as float32 in the machine's byte order, shape (y, x); nan where infinite or transparent.

    Parameters
    ----------
    raw
        Real numbers of shape (y, x), (y, x, 3), (y, x, 4), or records of the fields R, G, B.

    Raises
    ------
    ImageError
        For complex numbers, text and records, and for other shapes.
    """
    if raw.dtype.names and set("RGB") <= set(raw.dtype.names):
        raw = np.stack([raw[colour] for colour in raw.dtype.names], axis=-1)
    if raw.dtype.kind not in "buif" or raw.ndim not in (2, 3) or (raw.ndim == 3 and raw.shape[-1] not in (3, 4)):
        advice = "take its modulus or its phase first" if raw.dtype.kind == "c" else "export the image alone"
        raise ImageError(
            "an image is a two-dimensional array of real numbers",
            got=f"{name}: {describe(raw.shape)} of {raw.dtype}",
            do=advice,
        )
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 becomes infinite, and then nan
        if raw.ndim == 2:
            data = np.array(raw, dtype=np.float32, order="C")
        else:
            data = np.ascontiguousarray(raw[..., :3].astype(np.float32) @ LUMINANCE)
            if raw.shape[-1] == 4:
                data[raw[..., 3] == 0] = np.nan
    data[~np.isfinite(data)] = np.nan
    return data


def calibrate(scale: Scale | None, given_pm: float | None, *, path: Path) -> tuple[float | None, tuple[Fact, ...]]:
    """Return the pixel size in pm, None where unknown, and the facts that tell where it came from.

    Raises
    ------
    CalibrationError
        Where the file's pixels are not square and no size is given.
    """
    in_file_pm, facts = (None, ()) if scale is None else _file_pixel(scale)
    if given_pm is not None:
        return given_pm, (Fact(name="pixel_size_pm", value=given_pm, source="option"), *facts)
    if in_file_pm is None:
        return None, facts
    y_pm, x_pm = in_file_pm
    if abs(y_pm - x_pm) > SQUARE_WITHIN * max(y_pm, x_pm):
        raise CalibrationError(
            "the pixels must be square, or one size be given for both directions",
            got=f"{path.name}: {y_pm:.4g} pm along y, {x_pm:.4g} pm along x",
            do=f"resample the image, or add --pixel-size-pm {math.sqrt(y_pm * x_pm):.4g}",
        )
    return math.sqrt(y_pm * x_pm) if y_pm != x_pm else y_pm, facts


def _file_pixel(scale: Scale) -> tuple[tuple[float, float] | None, tuple[Fact, ...]]:
    """Return the file's pixel edges (y, x) in pm where they can be believed, and what to note about them."""
    unit_y, unit_x = unit_pm(scale.unit_y), unit_pm(scale.unit_x)
    if unit_y is None or unit_x is None:
        if scale.unit_y or scale.unit_x or (scale.y, scale.x) != (1.0, 1.0):
            unit = f"in {scale.unit_x!r}, which is no length" if scale.unit_x else "without a unit"
            return None, (Fact(name="pixel_size_raw", value=scale.x, source=f"{scale.source}; {unit}: not used"),)
        return None, ()
    y_pm, x_pm = scale.y * unit_y, scale.x * unit_x
    low, high = PLAUSIBLE_PM
    if not (low <= y_pm <= high and low <= x_pm <= high):
        note = f"{scale.source}, in {scale.unit_x}; not the pixel of an atomically resolved image: not used"
        return None, (Fact(name="pixel_size_raw", value=scale.x, source=note),)
    return (y_pm, x_pm), (Fact(name="file_pixel_size_pm", value=x_pm, source=scale.source),)


def _origin(entry: Entry, frame: int | None) -> tuple[Fact, ...]:
    facts = [Fact(name="data_type", value=str(entry.dtype), source="file")]
    if frame is not None:
        facts.append(Fact(name="frame", value=float(frame), source="option"))
    return tuple(facts)


def _ceiling(dtype: np.dtype[Any]) -> float | None:
    if dtype.names:
        dtype = dtype[0]
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else None

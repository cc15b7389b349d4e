"""The library of tilt on disk: one small file for one crystal and microscope.

Only those tilts and displacements are kept that the symmetry of the crystal does not make of others, and of their
stamps principal components, in whole numbers. A source of 40 pm at half maximum is taken for the least that blurs an
image: under it the RMS error of every image is below 2e-4 of its contrast, and the file says what it is, blurred and
not. It is a NumPy archive (``.npz``) without pickles, with a checksum over all that is in it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from dipolar.core.atomic import atomic_file
from dipolar.core.errors import ChecksumError, FormatError, SettingsError
from dipolar.core.tilt_library import STATES, TiltLibrary, turned_terms
from dipolar.core.tilt_symmetry import Lean, alike, folded, leans, unfolded
from dipolar.io.tilt_library_packed import SIGMA_PM, Packed, packed, unpacked

FORMAT, VERSION = "dipolar library of tilt", 1
WORDS = ("material", "elements", "cell_pm", "depth_pm", "voltage_kv", "convergence_mrad", "detector_mrad",
         "displacement_pm", "source", "displaced_every")  # fmt: skip
"""Fields of the library that are kept as text."""
AXES = ("tilts_mrad", "thicknesses_nm", "foci_nm", "orders")
"""Fields that are kept as arrays, as they are."""
SUM = "sha256"
UNLIKE = 1e-3
"""Largest difference of stamps that symmetry makes the same, over the largest term."""


def write_tilt_library(library: TiltLibrary, path: str | Path) -> None:
    """Write a library, whole or not at all.

    Parameters
    ----------
    library
        Tilts reach as far to both sides.
    path
        The file, ``NAME.npz``.

    Raises
    ------
    SettingsError
        If the library does not have the symmetry of its crystal, so that a part of it would not make the rest.
    OutputError
        If the file cannot be written.
    """
    _check_symmetry(library)
    runs = folded(library.stamps, every=library.displaced_every)
    first = next(iter(runs.values()))
    small = packed(np.stack(list(runs.values())).reshape(-1, *first.shape[2:]), library.orders, library.cell_pm)
    head = {
        "format": FORMAT, "version": VERSION, **{name: getattr(library, name) for name in WORDS},
        "polar": library.stamps.shape[2] > 1, "step": small.step, "rank": len(small.basis), "blur_sigma_pm": SIGMA_PM,
        "rms_error": small.error, "rms_error_sharp": small.sharp_error,
    }  # fmt: skip
    arrays: dict[str, Any] = {
        "head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
        **{name: getattr(library, name) for name in AXES},
        # bytes of one kind side by side, component by component: most of the upper ones are 0 and take no place
        "scores": _bytes_of(small.scores.T),
        "basis": _bytes_of(small.basis),
        "basis_steps": small.basis_steps,
        "contrast": small.contrast,
    }
    arrays[SUM] = _sum_of(arrays)
    with atomic_file(Path(path)) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_tilt_library(path: str | Path) -> TiltLibrary:
    """Return the library of a file, whole and checked.

    Parameters
    ----------
    path
        What `write_tilt_library` wrote.

    Raises
    ------
    FormatError
        If it is no such file, or one of a newer dipolar.
    ChecksumError
        If it is damaged.
    """
    head, arrays = _opened(Path(path))
    orders, cell_pm = arrays["orders"], float(head["cell_pm"])
    stamps = unpacked(
        Packed(
            scores=_numbers_of(arrays["scores"]).T, basis=_numbers_of(arrays["basis"]), step=head["step"],
            basis_steps=arrays["basis_steps"], contrast=arrays["contrast"], error=head["rms_error"],
            sharp_error=head["rms_error_sharp"],
        ),
        orders, cell_pm,
    )  # fmt: skip
    nodes = len(arrays["tilts_mrad"]) // 2
    names = leans(nodes, polar=head["polar"], every=head["displaced_every"])
    shape = (len(names), len(arrays["thicknesses_nm"]), len(arrays["foci_nm"]), *stamps.shape[1:])
    runs = dict(zip(names, stamps.reshape(shape), strict=True))
    fields: dict[str, Any] = {name: tuple(head[name]) if isinstance(head[name], list) else head[name] for name in WORDS}
    fields |= {name: arrays[name] for name in AXES}
    return TiltLibrary(
        **fields, stamps=unfolded(runs, orders, nodes=nodes, polar=head["polar"], every=head["displaced_every"])
    )


def kept_error(path: str | Path) -> tuple[float, float]:
    """Return the largest RMS error of an image in a file over its contrast: blurred by `SIGMA_PM`, and not blurred.

    Raises
    ------
    FormatError, ChecksumError
        As in `read_tilt_library`.
    """
    head, _ = _opened(Path(path))
    return head["rms_error"], head["rms_error_sharp"]


def _check_symmetry(library: TiltLibrary) -> None:
    """Refuse a library of which a part does not make the rest."""
    tilts, stamps = library.tilts_mrad, library.stamps
    nodes = len(tilts) // 2
    if len(tilts) % 2 == 0 or not np.allclose(tilts, -tilts[::-1]) or not np.allclose(np.diff(tilts, 2), 0.0):
        raise SettingsError(
            "tilts of a library reach as far to both sides, in equal steps.",
            got=", ".join(f"{tilt:g}" for tilt in tilts) + " mrad",
            do="tilts_mrad=[-10, 0, 10]",
        )
    most = UNLIKE * float(np.abs(stamps).max())
    for i, j, k in np.ndindex(stamps.shape[:3]):
        lean = Lean((i - nodes, j - nodes), STATES[k])
        run, matrix = alike(lean)
        same = stamps[nodes + run.tilt[0], nodes + run.tilt[1], STATES.index(run.state)]
        apart = float(np.abs(turned_terms(same, library.orders, matrix) - stamps[i, j, k]).max())
        if not apart <= most:
            raise SettingsError(
                "stamps of a library must have the symmetry of their crystal, 4mm.",
                got=f"those of tilt {lean.tilt} and displacement {lean.state} differ by {apart:.3g}",
                do="make it with dipolar.core.tilt_symmetry.unfolded",
            )


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return head and arrays of a file, checked."""
    if not path.is_file():
        raise FormatError(
            "a library of tilt must exist.",
            got=f"{path}: no such file",
            do="dipolar simulate tilt --material bfo --out tilt",
        )
    if not zipfile.is_zipfile(path):
        raise _damaged_or_none(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        kept = arrays.pop(SUM)
        whole = bool(np.array_equal(kept, _sum_of(arrays)))
        head = json.loads(arrays["head"].tobytes()) if whole else {}
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    if not whole:
        raise _damaged(path, "its checksum is another")
    if head.get("format") != FORMAT or head.get("version", 0) > VERSION:
        raise FormatError(
            f"a library of tilt that this dipolar reads has version {VERSION} at most.",
            got=f"{path}: {head.get('format')}, version {head.get('version')}",
            do="install a newer dipolar, or make it again: dipolar simulate tilt --out tilt",
        )
    return head, arrays


def _damaged_or_none(path: Path) -> FormatError | ChecksumError:
    """Return the error for a file that is no archive: one that was cut off still begins as one."""
    with path.open("rb") as stream:
        began = stream.read(4) == b"PK\x03\x04"
    if began:
        return _damaged(path, "it ends too early")
    return FormatError(
        "a library of tilt is a NumPy archive (.npz).",
        got=f"{path} is something else",
        do="give the library.npz that dipolar simulate tilt --out tilt writes",
    )


def _damaged(path: Path, why: str) -> ChecksumError:
    return ChecksumError(
        "a library of tilt must be what was written.",
        got=f"{path} is damaged: {why}",
        do="restore it from a copy, or make it again: dipolar simulate tilt --out tilt",
    )


def _sum_of(arrays: Mapping[str, np.ndarray]) -> UInt8[np.ndarray, " byte"]:
    """Return the SHA-256 of arrays with their names, types and shapes."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\n".encode())
        total.update(array.tobytes())
    return np.frombuffer(total.digest(), dtype=np.uint8)


def _bytes_of(numbers: Int32[np.ndarray, "row column"]) -> UInt8[np.ndarray, "4 row column"]:
    """Return the bytes of whole numbers, the lowest first; small numbers of either sign have no more than one."""
    unsigned = (np.abs(numbers.astype(np.int64)) * 2 - (numbers < 0)).astype("<u4")
    return np.ascontiguousarray(np.moveaxis(unsigned[..., None].view(np.uint8), -1, 0))


def _numbers_of(stored: UInt8[np.ndarray, "4 row column"]) -> Int32[np.ndarray, "row column"]:
    """Return the numbers of which these are the bytes."""
    unsigned = np.ascontiguousarray(np.moveaxis(stored, 0, -1)).view("<u4")[..., 0].astype(np.int64)
    return ((unsigned + 1) // 2 * np.where(unsigned % 2, -1, 1)).astype(np.int32)

"""Bitshuffle-LZ4, the compression of most counting detectors, undone outside HDF5, which lets one thread at a time in.

The code that undoes it is that of HDF5's own filter, in the library that hdf5plugin brings; threads may call it side
by side. Where that library does not offer it, patterns are read through HDF5. Format: K. Masui et al., Astron. Comput.
12, 181 (2015).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from numba import njit

HEADER = 12
"""Bytes before the blocks: the size of all, the size of a block, most significant byte first."""
FUNCTION = "bshuf_decompress_lz4"


def available() -> bool:
    """Tell whether the library is there."""
    return _library() is not None


def undo(packed: UInt8[np.ndarray, " byte"], out: Shaped[np.ndarray, "..."]) -> bool:
    """Put the numbers of one chunk into `out`; False where the chunk is damaged or has another size.

    Parameters
    ----------
    packed
        The chunk as it lies in the file.
    out
        Contiguous numbers in the byte order of the machine.
    """
    call = _library()
    size = out.dtype.itemsize
    block = _block(packed, out.size, size)
    if call is None or block == 0:
        return False
    used = call(packed.ctypes.data + HEADER, out.ctypes.data, out.size, size, block)
    return bool(used == len(packed) - HEADER)


@cache
def _library() -> Callable[..., int] | None:
    import hdf5plugin

    for path in Path(hdf5plugin.PLUGIN_PATH).glob("*bshuf*"):
        try:
            call: Any = getattr(ctypes.CDLL(str(path)), FUNCTION)
        except (OSError, AttributeError):
            continue
        call.restype = ctypes.c_int64
        call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t]
        return call
    return None


def _block(packed: np.ndarray, count: int, size: int) -> int:
    return int(_checked_block(packed, count, size))


@njit(cache=True, nogil=True)
def _checked_block(packed, count, size):  # type: ignore[no-untyped-def]
    """Return the numbers in a block; 0 where the blocks do not fill the chunk exactly: the library would read on."""
    if len(packed) < HEADER:
        return 0
    total, block = 0, 0
    for byte in range(8):
        total = total * 256 + packed[byte]
    for byte in range(8, HEADER):
        block = block * 256 + packed[byte]
    block //= size
    if total != count * size or block < 8 or block % 8:
        return 0
    at, done, whole = HEADER, 0, count - count % 8
    while done < whole:
        if at + 4 > len(packed):
            return 0
        length = 0
        for byte in range(4):
            length = length * 256 + packed[at + byte]
        at += 4 + length
        done += block
    return block if at + (count - whole) * size == len(packed) else 0

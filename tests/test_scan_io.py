"""Scans on disk: what is written is read back, in any format, piece by piece."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from dipolar import open_scan
from dipolar.io import write_scan

SHAPE, PATTERN = (5, 7), (12, 10)
FORMATS = [("a.npy", None), ("a.h5", None), ("a.hdf5", "bitshuffle"), ("a.zarr", None), ("b.zarr", "bitshuffle")]


def counts(dtype="u2", seed=0):
    patterns = np.random.default_rng(seed).poisson(30.0, (*SHAPE, *PATTERN))
    return patterns.astype(dtype)


def blocks(data, size=4):
    flat = data.reshape(-1, *data.shape[-2:])
    return (flat[start : start + size] for start in range(0, len(flat), size))


def written(path, data, **more):
    return write_scan(
        path, shape=data.shape[:2], pattern_px=data.shape[2:], dtype=data.dtype, blocks=blocks(data), **more
    )


@pytest.mark.parametrize(("name", "compression"), FORMATS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4"])
def test_what_is_written_is_read_back_in_any_pieces(tmp_path, name, compression, dtype):
    data = counts(dtype)
    scan = open_scan(written(tmp_path / name, data, compression=compression, step_nm=1.5, pixel_mrad=0.2))
    flat = data.reshape(-1, *PATTERN)
    assert scan.shape == SHAPE
    assert (scan.frames.count, scan.frames.shape_px, scan.frames.dtype) == (35, PATTERN, np.dtype(dtype))
    assert (scan.step_nm, scan.pixel_mrad) == (1.5, 0.2)
    for start, stop in [(0, 35), (0, 0), (3, 4), (6, 8), (5, 23), (34, 35)]:
        assert np.array_equal(scan.frames.read(start, stop), flat[start:stop])
    again = pickle.loads(pickle.dumps(scan.frames))
    assert np.array_equal(again.read(1, 9), flat[1:9])


def test_the_key_is_that_of_the_patterns_in_any_format_and_byte_order(tmp_path):
    data = counts()
    keys = {open_scan(written(tmp_path / name, data, compression=how)).key for name, how in FORMATS}
    np.save(tmp_path / "b.npy", data.astype(">u2"))
    np.save(tmp_path / "c.npy", np.asfortranarray(data.astype("u4")))
    keys |= {open_scan(tmp_path / "b.npy").key, open_scan(tmp_path / "c.npy").key}
    assert len(keys) == 1
    assert open_scan(written(tmp_path / "d.npy", counts(seed=1))).key not in keys
    assert open_scan(tmp_path / "b.npy", scan_shape=(7, 5)).key not in keys


def test_foreign_byte_and_axis_order_is_read_in_that_of_the_machine(tmp_path):
    data = counts()
    np.save(tmp_path / "b.npy", data.astype(">u2"))
    np.save(tmp_path / "c.npy", np.asfortranarray(data))
    np.save(tmp_path / "d.npy", np.asfortranarray(data.reshape(-1, *PATTERN)))
    for scan in (open_scan(tmp_path / name, scan_shape=SHAPE) for name in ("b.npy", "c.npy", "d.npy")):
        read = scan.frames.read(4, 17)
        assert read.dtype == np.dtype("u2") and read.dtype.isnative
        assert np.array_equal(read, data.reshape(-1, *PATTERN)[4:17])


def test_views_of_a_map_are_not_written_to(tmp_path):
    scan = open_scan(written(tmp_path / "a.npy", counts()))
    with pytest.raises(ValueError, match="read-only"):
        scan.frames.read(0, 2)[0, 0, 0] = 1

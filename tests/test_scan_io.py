"""Scans on disk: what is written is read back, in any format, piece by piece."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest

import scan_files as made
from dipolar import open_scan
from dipolar.cli.main import main
from dipolar.core.errors import FormatError, OutputError, ScanError, SettingsError
from dipolar.core.scan_key import same_scan
from dipolar.io import write_scan
from dipolar.io.scan_found import factor_pairs

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


@pytest.mark.parametrize(("name", "compression"), FORMATS)
def test_threads_that_read_side_by_side_get_what_one_gets(tmp_path, name, compression):
    data = counts()
    frames = open_scan(written(tmp_path / name, data, compression=compression)).frames
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda start: frames.read(start, min(start + 3, 35)), [*range(0, 35, 3)] * 5))
    flat = data.reshape(-1, *PATTERN)
    assert all(
        np.array_equal(part, flat[start : start + 3]) for part, start in zip(read, [*range(0, 35, 3)] * 5, strict=True)
    )


# What can be wrong with a file


@pytest.mark.parametrize("name", ["a.npy", "a.h5"])
def test_a_truncated_map_names_the_pattern_at_which_it_ends(tmp_path, name):
    path = written(tmp_path / name, counts())
    end = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(end - 3 * 12 * 10 * 2 - 1)
    with pytest.raises(FormatError, match=r"(?s)35 patterns.*ends in pattern 31|truncated"):
        open_scan(path)


def test_a_file_that_shrinks_while_it_is_open_is_an_error_and_not_a_crash(tmp_path):
    path = written(tmp_path / "a.npy", counts())
    scan = open_scan(path)
    with path.open("r+b") as stream:
        stream.truncate(20 * 240)
    assert scan.frames.read(0, 19).shape == (19, *PATTERN)
    with pytest.raises(FormatError, match=r"ends in pattern 19"):
        scan.frames.read(15, 25)
    path.unlink()
    with pytest.raises(FormatError, match="must stay where it was"):
        scan.frames.read(0, 1)


def test_a_damaged_chunk_is_named_and_the_others_are_read(tmp_path):
    data = counts()
    path = written(tmp_path / "a.h5", data, compression="bitshuffle")
    frames = open_scan(path).frames
    byte, length = (int(n) for n in frames.places[20])
    raw = bytearray(path.read_bytes())
    raw[byte + 12 : byte + length] = bytes(length - 12)
    path.write_bytes(raw)
    assert np.array_equal(frames.read(0, 20), data.reshape(-1, *PATTERN)[:20])
    with pytest.raises(FormatError, match=r"patterns 20 to 20.*damaged"):
        frames.read(18, 22)


def test_patterns_that_were_never_written_are_not_zeros(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("scan", (*SHAPE, *PATTERN), "u2", chunks=(1, 1, *PATTERN), compression="gzip")
        dataset[:3] = counts()[:3]
    with pytest.raises(ScanError, match=r"(?s)holds 21 patterns \(the others were never written\).*--scan-shape 3,7"):
        open_scan(tmp_path / "a.h5")
    assert np.array_equal(
        open_scan(tmp_path / "a.h5", scan_shape=(3, 7)).frames.read(0, 21), counts()[:3].reshape(-1, *PATTERN)
    )


def test_chunks_that_a_zarr_store_lacks_are_told(tmp_path, capsys):
    path = written(tmp_path / "a.zarr", counts())
    (path / "2.0.0.0").unlink()
    assert main(["scan", "info", str(path)]) == 0
    assert "note: 1 of 5 chunks are not in the store" in capsys.readouterr().err
    for chunk in path.glob("*.0.0.0"):
        chunk.unlink()
    with pytest.raises(FormatError, match="promises 5 chunks and stores none"):
        open_scan(path)


def test_a_zarr_in_one_zip_is_read_too(tmp_path):
    path = written(tmp_path / "a.zarr", counts())
    shutil.make_archive(str(tmp_path / "b"), "zip", path)
    (tmp_path / "b.zip").rename(tmp_path / "b.zarr")
    assert open_scan(tmp_path / "b.zarr").key == open_scan(path).key


def test_every_wrong_shape_says_what_is_there_and_what_to_type(tmp_path):
    path = made.write_mib(tmp_path / "a.mib", counts().reshape(-1, *PATTERN))
    with pytest.raises(
        ScanError, match=r"(?s)35 patterns.*6 × 6 \(option\) wants 36.*--scan-shape 5,6 --skip 0.*5,7 or 7,5"
    ):
        open_scan(path, scan_shape=(6, 6))
    with pytest.raises(ScanError, match=r"(?s)wants 30: 5 more.*--skip 0 where.*--skip 5 where"):
        open_scan(path, scan_shape=(5, 6))
    with pytest.raises(ScanError, match=r"(?s)at least one row.*0,7"):
        open_scan(path, scan_shape=(0, 7))
    with pytest.raises(ScanError, match=r"--skip 35 of 35"):
        open_scan(path, scan_shape=SHAPE, skip=35)


def test_extra_patterns_at_either_end_are_left_out_when_told(tmp_path):
    flat = counts().reshape(-1, *PATTERN)
    path = made.write_mib(tmp_path / "a.mib", flat)
    first, last = open_scan(path, scan_shape=(5, 6), skip=0), open_scan(path, scan_shape=(5, 6), skip=5)
    assert (first.frames.count, last.frames.count) == (30, 30)
    assert np.array_equal(first.frames.read(0, 30), flat[:30])
    assert np.array_equal(last.frames.read(4, 30), flat[9:])
    with pytest.raises(FormatError):
        first.frames.read(25, 31)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", None, "no such file"),
        ("a.npy", b"", "empty"),
        ("a.xyz", b"1", "ends in '.xyz'.*"),
        ("scan", b"1", "no suffix"),
        ("a.npy", b"\x93NUMPY", "must be that of"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "HDF5"),
        ("a.mib", b"MQ1,0001", "MQ1"),
        ("a.mib", b"1234" * 200, "no MQ1"),
        ("a.dm4", b"\0\0\0\4" + bytes(30), "tags|four axes"),
        ("a.dm4", b"DM4 file", "version"),
        ("a.blo", b"IMGBLO" + bytes(200), "signature"),
        ("a_000.tvips", bytes(400), "version"),
        ("a.xml", b"<root/>", "names none"),
        ("a.tif", b"II*\0" + bytes(20), "must be that of"),
    ],
)
def test_files_that_are_none_are_refused_in_one_message(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((FormatError, ScanError), match=f"(?s)got:.*{message}|{message}.*got:") as caught:
        open_scan(tmp_path / name)
    assert "do:" in str(caught.value)


@pytest.mark.parametrize(
    "array", [np.zeros((20, 20)), np.zeros((4, 2, 2), "u2"), np.zeros((2, 3, 4, 5, 6)), np.zeros((0, 8, 8))]
)
def test_arrays_that_are_no_scan_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ScanError, match=r"\(scan_y, scan_x, k_y, k_x\)"):
        open_scan(tmp_path / "a.npy")


def test_objects_and_complex_numbers_are_no_counts(tmp_path):
    for array in (np.zeros((2, 2, 8, 8), complex), np.array([[1, "a"], [None, 2]], dtype=object)):
        np.save(tmp_path / "a.npy", array, allow_pickle=True)
        with pytest.raises(FormatError, match="real numbers"):
            open_scan(tmp_path / "a.npy")


# A file that grows


def test_patterns_are_counted_again_while_a_file_grows(tmp_path):
    flat = counts().reshape(-1, *PATTERN)
    whole = made.write_mib(tmp_path / "whole.mib", flat).read_bytes()
    path, step = tmp_path / "a.mib", 384 + 240
    path.write_bytes(whole[: 5 * step])
    with pytest.raises(ScanError, match="16th pattern"):
        open_scan(path, scan_shape=SHAPE, growing=True)
    path.write_bytes(whole[: 20 * step + 500])
    scan = open_scan(path, scan_shape=SHAPE, growing=True)
    assert scan.growing and scan.frames.count == 20
    with pytest.raises(FormatError, match=r"(?s)0 to 20.*wait"):
        scan.frames.read(18, 21)
    path.write_bytes(whole)
    assert scan.frames.count == 35
    assert np.array_equal(scan.frames.read(18, 35), flat[18:])
    whole = open_scan(tmp_path / "whole.mib", scan_shape=SHAPE).key
    assert whole.startswith(f"{scan.key}-") and same_scan(scan.key, whole)


def test_npy_grows_as_the_writer_appends(tmp_path):
    data = counts()
    whole = written(tmp_path / "whole.npy", data).read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-3000])
    scan = open_scan(tmp_path / "a.npy", growing=True)
    assert scan.frames.count == 35 - 13
    (tmp_path / "a.npy").write_bytes(whole)
    assert scan.frames.count == 35
    assert np.array_equal(scan.frames.read(0, 35), data.reshape(-1, *PATTERN))


WRITER = """
import sys, h5py, numpy as np
with h5py.File(sys.argv[1], "w", libver="latest") as file:
    data = file.create_dataset("scan", (0, 12, 10), "u2", maxshape=(None, 12, 10), chunks=(1, 12, 10))
    file.swmr_mode = True
    for count in map(int, sys.stdin):
        data.resize(count, axis=0)
        data[:] = np.arange(count)[:, None, None]
        data.flush()
        print(count, flush=True)
"""


def test_hdf5_grows_while_another_process_writes(tmp_path):
    path = tmp_path / "a.h5"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as writer:
        scan = None
        for count in (20, 35):
            print(count, file=writer.stdin, flush=True)
            assert int(writer.stdout.readline()) == count
            scan = scan or open_scan(path, scan_shape=SHAPE, growing=True)
            assert scan.frames.count == count
            assert np.array_equal(scan.frames.read(0, count)[:, 3, 4], np.arange(count))
        writer.stdin.close()
    whole = open_scan(path, scan_shape=SHAPE).key
    assert whole.startswith(f"{scan.key}-") and same_scan(scan.key, whole)


def test_a_file_that_grows_beyond_the_scan_ends_with_it(tmp_path):
    flat = counts().reshape(-1, *PATTERN)
    path = made.write_mib(tmp_path / "a.mib", flat[:20])
    scan = open_scan(path, scan_shape=(5, 6), growing=True)
    made.write_mib(path, flat)
    assert scan.frames.count == 30


def test_formats_that_are_written_at_once_do_not_grow(tmp_path):
    with pytest.raises(SettingsError, match=r"(?s)still written.*a\.zarr"):
        open_scan(written(tmp_path / "a.zarr", counts()), growing=True)


def test_a_dataset_that_cannot_grow_is_not_waited_for(tmp_path):
    path = written(tmp_path / "a.h5", counts())
    with pytest.raises(FormatError, match=r"without an end"):
        open_scan(path, growing=True)


# What can go wrong when a scan is written


@contextmanager
def small_disk(size):
    """Let no file become larger than `size` bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("name", "compression"), FORMATS)
def test_a_full_disk_is_one_error_and_leaves_what_was_there(tmp_path, name, compression):
    old = written(tmp_path / name, counts(seed=1), compression=compression)
    key = open_scan(old).key
    noise = np.random.default_rng(0).integers(0, 65535, (*SHAPE, 64, 64), dtype="u2")
    with small_disk(30_000), pytest.raises(OutputError, match=r"do:"):
        written(tmp_path / name, noise, compression=compression)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert open_scan(old).key == key


@pytest.mark.parametrize(("name", "compression"), FORMATS)
def test_pieces_that_are_no_scan_leave_nothing(tmp_path, name, compression):
    data = counts()
    common = {"shape": SHAPE, "pattern_px": PATTERN, "dtype": "u2", "compression": compression}
    for wrong in (list(blocks(data))[:-1], [*blocks(data), data[0]], [data[0, :, :5]]):
        with pytest.raises(ScanError, match="35 patterns"):
            write_scan(tmp_path / name, blocks=wrong, **common)
    with pytest.raises(KeyboardInterrupt):
        write_scan(tmp_path / name, blocks=interrupted(data), **common)
    assert list(tmp_path.iterdir()) == []


def interrupted(data):
    yield from list(blocks(data))[:3]
    raise KeyboardInterrupt


def test_formats_that_are_not_written_are_named(tmp_path):
    with pytest.raises(SettingsError, match=r"\.h5, \.hdf5, \.npy, \.zarr"):
        written(tmp_path / "a.mib", counts())
    with pytest.raises(SettingsError, match="bitshuffle"):
        written(tmp_path / "a.npy", counts(), compression="bitshuffle")


def test_a_zarr_never_replaces_something_else(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "diary.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"):
        written(tmp_path / "a.zarr", counts())
    assert (tmp_path / "a.zarr" / "diary.txt").read_text() == "mine"


# What is shown


def test_factor_pairs_are_all_there_and_the_squarest_first():
    for count in (1, 2, 7, 12, 36, 7004):
        pairs = factor_pairs(count)
        assert len(set(pairs)) == len(pairs) == sum(count % n == 0 for n in range(1, count + 1))
        assert all(rows * columns == count for rows, columns in pairs)
        assert all(abs(a - b) <= abs(c - d) for (a, b), (c, d) in pairwise(pairs))


def test_info_shows_what_was_read(tmp_path, capsys):
    data = counts()
    path = written(tmp_path / "a.h5", data, step_nm=1.5, pixel_mrad=0.25)
    assert main(["scan", "info", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["scan_shape"], told["pattern_px"], told["data_type"]) == ([5, 7], [12, 10], "uint16")
    assert (told["step_nm"], told["pixel_mrad"], told["key"]) == (1.5, 0.25, open_scan(path).key)
    assert told["bytes"] == data.nbytes
    flat = data.reshape(-1, *PATTERN)
    assert told["counts"]["sums"] == [float(flat[number].sum()) for number in told["counts"]["patterns"]]
    assert main(["scan", "info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert all(
        word in shown for word in ("5 × 7 probe positions", "12 × 10 px uint16", "1.5 nm", "0.25 mrad", told["key"])
    )


def test_info_takes_the_shape_and_proposes_it(tmp_path, capsys):
    path = made.write_mib(tmp_path / "a.mib", counts().reshape(-1, *PATTERN))
    assert main(["scan", "info", str(path)]) == 1
    assert "5,7 or 7,5" in capsys.readouterr().err
    assert main(["scan", "info", str(path), "--scan-shape", "5,7"]) == 0
    assert "5 × 7 probe positions (option)" in capsys.readouterr().out


def test_info_says_when_patterns_are_no_patterns(tmp_path, capsys):
    for name, data, note in (
        ("zero.npy", np.zeros((4, 4, 8, 8), "u2"), "every pixel that was looked at is 0"),
        ("nan.npy", np.where(np.eye(8) > 0, np.nan, np.ones((4, 4, 8, 8))), "hold no number"),
        ("minus.npy", np.random.default_rng(0).normal(size=(4, 4, 8, 8)), "counts down to"),
    ):
        np.save(tmp_path / name, data)
        assert main(["scan", "info", str(tmp_path / name)]) == 0
        assert note in capsys.readouterr().err

"""Small files of real detectors and programs: every one is opened as its maker's program has it, or refused."""

from __future__ import annotations

import numpy as np
import pytest

import realdata
from dipolar import open_scan
from dipolar.core.errors import ScanError, SelectionError

pytestmark = pytest.mark.realdata

# name, what must be given, shape, pattern, type, sum of all counts, what is asked for without
FILES = [
    ("001_4x2_6bit.mib", {"scan_shape": (2, 4)}, (2, 4), (256, 256), "u1", 3623664, "8 patterns are 2,4 or 4,2"),
    ("001_4x2_6bit.hdr", {"scan_shape": (2, 4)}, (2, 4), (256, 256), "u1", 3623664, "8 patterns are 2,4 or 4,2"),
    ("002_4x2_6bit_roi128.mib", {"scan_shape": (2, 4)}, (2, 4), (128, 256), "u1", 3263829, "2,4 or 4,2"),
    (
        "Single_9_Frame_CounterDepth_12_Rows_256.mib",
        {"scan_shape": (3, 3)},
        (3, 3),
        (256, 256),
        "u2",
        260753,
        "9 patterns are 3,3",
    ),
    (
        "Single_9_Frame_CounterDepth_1_Rows_256RAW.mib",
        {"scan_shape": (3, 3)},
        (3, 3),
        (256, 256),
        "u1",
        21605,
        "9 patterns are 3,3",
    ),
    ("Si100_4D.emd", {"select": "CBED_array_depth0001"}, (11, 11), (8, 8), "f4", 110.607315, "--select"),
    ("fpd_file_test.hdf5", {}, (2, 2), (256, 256), "u2", 3288875, ""),
    ("libertem_hdf5_sample.h5", {}, (16, 16), (16, 16), "f4", 152.9518, ""),
    ("map4x4.xml", {}, (4, 4), (128, 128), "f4", 3.4862924e10, ""),
    ("scan_x4_y4.raw", {}, (4, 4), (128, 128), "f4", 3.4862924e10, ""),
    ("py4DSTEM_size2x3x4x5.h5", {}, (2, 3), (4, 5), "f4", 28255.877, ""),
    ("test1.blo", {}, (3, 2), (144, 144), "u1", 5164570, ""),
    ("test_00_master.h5", {"scan_shape": (4, 4)}, (4, 4), (192, 192), "u4", 0, "16 patterns are 4,4"),
    ("test_00_data_000001.h5", {"scan_shape": (4, 4)}, (4, 4), (192, 192), "u4", 0, "16 patterns are 4,4"),
    ("test_tvips_2345_000.tvips", {"scan_shape": (2, 3)}, (2, 3), (4, 5), "u2", 7140, "6 patterns are 2,3 or 3,2"),
]


@pytest.mark.parametrize(
    ("name", "given", "shape", "pattern", "dtype", "total", "asked"), FILES, ids=lambda v: str(v)[:24]
)
def test_real_files_are_read_whole(name, given, shape, pattern, dtype, total, asked):
    path = realdata.path(f"formats_4dstem/{name}")
    if asked:
        with pytest.raises((ScanError, SelectionError), match=asked):
            open_scan(path)
    scan = open_scan(path, **given)
    assert (scan.shape, scan.frames.shape_px, scan.frames.dtype) == (shape, pattern, np.dtype(dtype))
    whole = scan.frames.read(0, scan.count)
    assert whole.sum(dtype=float) == pytest.approx(total, rel=1e-6)
    assert np.array_equal(whole[1:4], scan.frames.read(1, 4))


def test_what_a_stream_without_a_shape_proposes_opens_it():
    path = realdata.path("formats_4dstem/test_tvips_2345_000.tvips")
    with pytest.raises(ScanError, match=r"counts 5 probe positions from pattern 1 on: try --skip 1 --scan-shape 1,5"):
        open_scan(path)
    assert open_scan(path, scan_shape=(1, 5), skip=1).shape == (1, 5)


def test_every_file_of_the_folder_is_looked_at():
    known = {name for name, *_ in FILES} | {
        path.with_suffix(".hdr").name for path in map(realdata.Path, (f[0] for f in FILES))
    }
    assert {path.name for path in realdata.path("formats_4dstem").iterdir()} <= known


@pytest.mark.parametrize(
    ("name", "plugin"), [("test1.blo", "blockfile"), ("test_tvips_2345_000.tvips", "tvips"), ("map4x4.xml", "empad")]
)
def test_counts_are_those_of_rosettasciio(name, plugin):
    from importlib import import_module

    path = realdata.path(f"formats_4dstem/{name}")
    theirs = np.asarray(import_module(f"rsciio.{plugin}").file_reader(str(path))[0]["data"])
    theirs = theirs.reshape(-1, *theirs.shape[-2:])
    assert np.array_equal(
        open_scan(path, scan_shape=(2, 3) if name.endswith("tvips") else None).frames.read(0, len(theirs)), theirs
    )


def test_merlin_is_that_of_rosettasciio_with_the_first_row_first():
    from rsciio.quantumdetector import load_mib_data

    for name in ("001_4x2_6bit", "002_4x2_6bit_roi128", "Single_9_Frame_CounterDepth_12_Rows_256"):
        path = realdata.path(f"formats_4dstem/{name}.mib")
        theirs = np.asarray(load_mib_data(str(path)))
        ours = open_scan(path, scan_shape=(1, len(theirs))).frames.read(0, len(theirs))
        assert np.array_equal(ours, theirs)

"""Scans of every detector: what its file holds is read whole, in order, in the byte order of the machine."""

from __future__ import annotations

import pickle
import re
import warnings

import numpy as np
import pytest

import scan_files as made
from dipolar.core.errors import FormatError, ScanError, SelectionError
from dipolar.io import open_scan, write_scan

SHAPE = (3, 4)


def counts(height, width, dtype="u2", shape=SHAPE):
    rng = np.random.default_rng(height * 1000 + width)
    return rng.poisson(20.0, (*shape, height, width)).astype(dtype)


def flat(data):
    return data.reshape(-1, *data.shape[-2:])


def check(scan, data):
    """The law of every reader: all patterns, in order, in any pieces, also after a journey to another process."""
    assert scan.shape == data.shape[:2]
    assert scan.frames.shape_px == data.shape[2:]
    assert scan.frames.dtype == data.dtype and scan.frames.dtype.isnative
    for frames in (scan.frames, pickle.loads(pickle.dumps(scan.frames))):
        count = frames.count
        for start, stop in ((0, count), (1, 2), (2, min(7, count)), (0, 0), (count - 1, count)):
            read = frames.read(start, stop)
            assert read.dtype == frames.dtype and np.array_equal(read, flat(data)[start:stop]), (start, stop)
    with pytest.raises(FormatError, match=r"asked for"):
        scan.frames.read(0, scan.frames.count + 1)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_merlin_with_the_shape_in_its_hdr(tmp_path, dtype):
    data = counts(6, 8, dtype)
    path = made.write_mib(tmp_path / "scan.mib", flat(data), size=768, chips=4, layout="  2x2G")
    made.write_hdr(tmp_path / "scan.hdr", **made.triggers(12, 4))
    check(open_scan(path), data)
    assert open_scan(tmp_path / "scan.hdr").key == open_scan(path).key


def test_merlin_without_hdr_asks_for_the_shape_and_proposes_it(tmp_path):
    data = counts(6, 8)
    path = made.write_mib(tmp_path / "scan.mib", flat(data))
    with pytest.raises(ScanError, match=r"12 patterns \(there is no scan.hdr beside.*\n.*3,4 or 4,3 or 2,6"):
        open_scan(path)
    check(open_scan(path, scan_shape=SHAPE), data)


def test_merlin_over_several_files_is_one_scan_in_order(tmp_path):
    data = counts(6, 8)
    for number, start in ((1, 5), (2, 0)):  # the order of the names is not that of the patterns
        stop = {0: 5, 5: 12}[start]
        made.write_mib(tmp_path / f"scan_{number}.mib", flat(data)[start:stop], first=start + 1)
    made.write_hdr(tmp_path / "scan_.hdr", ScanX=4, ScanY=3)
    check(open_scan(tmp_path / "scan_1.mib"), data)
    check(open_scan(tmp_path / "scan_.hdr"), data)


@pytest.mark.parametrize("bits", [1, 6, 12, 24])
@pytest.mark.parametrize("chips", [1, 4])
def test_raw_patterns_are_put_in_order_as_libertem_has_it(tmp_path, bits, chips):
    from libertem.io.dataset import mib

    rows, columns = (256, 1024) if chips == 4 else (8, 64)
    chip_rows = np.random.default_rng(bits).integers(0, 2**bits, (2, rows, columns)).astype("u4")
    encode = {1: mib.encode_r1, 6: mib.encode_r6, 12: mib.encode_r12, 24: mib.encode_r12}[bits].py_func
    layout = "   2x2" if chips == 4 else "   1x1"
    if chips == 4:  # a few rows suffice to tell the order
        chip_rows[:, 3:] = 0
    with (tmp_path / "raw.mib").open("wb") as stream:
        for number, pattern in enumerate(chip_rows, start=1):
            width = columns * 2 if bits == 24 else columns
            stream.write(made.mib_header(number, rows, width, "R64", bits=bits, chips=chips, layout=layout))
            for half in [pattern >> 12, pattern & 0xFFF] if bits == 24 else [pattern]:
                out = np.zeros((rows, {1: columns // 8, 6: columns}.get(bits, columns * 2)), "u1")
                encode(half[:8], out[:8])
                stream.write(out.tobytes())
    if (bits, chips) == (24, 4):
        with pytest.raises(FormatError, match=r"(?s)of one chip.*24 bit, 4 chips.*do: .*without RAW"):
            open_scan(tmp_path / "raw.mib", scan_shape=(1, 2))
        return
    expected = chip_rows
    if chips == 4:
        fourth, third, second, first = np.split(chip_rows, 4, axis=2)
        below = [third[:, ::-1, ::-1], fourth[:, ::-1, ::-1]]
        expected = np.concatenate([np.concatenate([first, second], 2), np.concatenate(below, 2)], 1)
    scan = open_scan(tmp_path / "raw.mib", scan_shape=(1, 2))
    assert scan.frames.dtype == {1: "u1", 6: "u1", 12: "u2", 24: "u4"}[bits]
    assert np.array_equal(scan.frames.read(0, 2), expected)
    assert np.array_equal(scan.frames.read(1, 2), expected[1:])


@pytest.mark.parametrize(
    ("kind", "bits", "chips", "layout"), [("R64", 7, 1, "   1x1"), ("R64", 12, 3, "   3x1"), ("U64", 12, 1, "1x1")]
)
def test_other_raw_modes_are_refused_with_their_name(tmp_path, kind, bits, chips, layout):
    path = tmp_path / "raw.mib"
    path.write_bytes(made.mib_header(1, 256, 256, kind, bits=bits, chips=chips, layout=layout) + bytes(256 * 256 * 2))
    with pytest.raises(FormatError, match=f"(?s)got:  raw.mib: {kind}, {bits} bit, {chips} chips"):
        open_scan(path, scan_shape=(1, 1))


def test_empad_from_raw_or_xml_without_its_last_two_rows(tmp_path):
    data = counts(128, 128, "f4", (2, 3))
    path = made.write_empad(tmp_path / "scan.raw", flat(data), (2, 3))
    scan = open_scan(path)
    check(scan, data)
    assert (scan.step_nm, scan.pixel_mrad) == (pytest.approx(2.0), pytest.approx(0.4))
    assert open_scan(tmp_path / "scan.xml").key == scan.key
    (tmp_path / "scan.xml").unlink()
    with pytest.raises(ScanError, match="6 patterns"):
        open_scan(path)
    path.rename(tmp_path / "scan_x3_y2.raw")
    check(open_scan(tmp_path / "scan_x3_y2.raw"), data)


def test_a_bare_raw_is_refused(tmp_path):
    (tmp_path / "scan.raw").write_bytes(bytes(1000))
    with pytest.raises(FormatError, match=r"(?s)130 × 128.*1,000 bytes.*\.npy"):
        open_scan(tmp_path / "scan.raw", scan_shape=(1, 1))


def test_blockfiles_that_rosettasciio_writes(tmp_path):
    from rsciio.blockfile import file_writer

    data = counts(16, 16, "u1")
    axes = [
        {"size": size, "scale": scale, "units": unit, "navigate": place < 2, "offset": 0.0, "name": name}
        for place, (size, scale, unit, name) in enumerate(
            [(3, 5.0, "nm", "y"), (4, 5.0, "nm", "x"), (16, 0.02, "cm", "dy"), (16, 0.02, "cm", "dx")]
        )
    ]
    metadata = {"Acquisition_instrument": {"TEM": {"beam_energy": 200.0, "camera_length": 20.0}}}
    signal = {"data": data, "axes": axes, "metadata": metadata, "original_metadata": {}, "attributes": {"_lazy": False}}
    file_writer(str(tmp_path / "scan.blo"), signal, intensity_scaling=None, show_progressbar=False)
    scan = open_scan(tmp_path / "scan.blo")
    check(scan, data)
    assert scan.step_nm == 5.0


def assert_proposals_open(message: str, path):
    """Every shape that a message proposes is one that opens the file, with what stands before it."""
    said = re.search(r"--skip (\d+) --scan-shape ((?:\d+,\d+(?: or )?)+)", message)
    for shape in said[2].split(" or "):
        rows, columns = map(int, shape.split(","))
        assert open_scan(path, scan_shape=(rows, columns), skip=int(said[1])).shape == (rows, columns)
    whole = re.search(r"for all of them .* patterns are ((?:\d+,\d+(?: or )?)+)", message)
    for shape in whole[1].split(" or "):
        rows, columns = map(int, shape.split(","))
        assert open_scan(path, scan_shape=(rows, columns)).shape == (rows, columns)


def test_tvips_over_files_with_the_start_of_the_scan_proposed(tmp_path):
    data = counts(6, 8)
    before = np.full((2, 6, 8), 99, "u2")
    stream, turns = np.concatenate([before, flat(data)]), [0, 0, *range(1, 13)]
    made.write_tvips(tmp_path / "run_000.tvips", stream[:9], rotator=turns[:9])
    made.write_tvips(tmp_path / "run_001.tvips", stream[9:], rotator=turns[9:], first=False)
    with pytest.raises(
        ScanError, match=r"14 patterns \(its rotator counts 12 probe positions from pattern 2 on: try --skip 2"
    ) as refused:
        open_scan(tmp_path / "run_000.tvips")
    assert_proposals_open(str(refused.value), tmp_path / "run_000.tvips")
    check(open_scan(tmp_path / "run_001.tvips", scan_shape=SHAPE, skip=2), data)
    (tmp_path / "run_000.tvips").unlink()
    with pytest.raises(FormatError, match=r"no run_000.tvips beside"):
        open_scan(tmp_path / "run_001.tvips", scan_shape=SHAPE)


ANGLES, NM = ("1/nm", "1/nm"), ("nm", "nm")


@pytest.mark.parametrize("scan_is_fastest", [False, True])
def test_dm4_of_nionswift_in_both_orders(tmp_path, scan_is_fastest):
    data = counts(10, 6)
    stored, units, scales = data, (*NM, *ANGLES), (0.5, 0.5, 0.02, 0.02)
    if scan_is_fastest:  # as older versions of GMS have it: neighbours in the file are probe positions
        stored, units, scales = np.ascontiguousarray(data.transpose(2, 3, 0, 1)), (*ANGLES, *NM), scales[::-1]
    path = made.write_dm4(tmp_path / "scan.dm4", stored, units, scales)
    scan = open_scan(path)
    check(scan, data)
    assert scan.step_nm == 0.5
    assert scan.pixel_mrad == pytest.approx(0.02 * 1.96875, rel=1e-3)  # 1.97 pm at 300 kV
    assert scan.frames.read(1, 5).flags.c_contiguous


def test_dm4_without_units_has_the_detector_fastest_and_says_that_this_is_assumed(tmp_path):
    data = counts(10, 6)
    scan = open_scan(made.write_dm4(tmp_path / "scan.dm4", data, [""] * 4, [1.0] * 4))
    check(scan, data)
    assert any(fact.name == "order" and fact.source.startswith("assumed") for fact in scan.facts)


def test_dm4_of_an_image_is_no_scan(tmp_path):
    path = made.write_dm4(tmp_path / "image.dm4", np.ones((20, 20), "f4"), NM, [1.0] * 2)
    with pytest.raises(ScanError, match="four axes"):
        open_scan(path)


def test_arina_over_data_files_with_its_mask(tmp_path):
    data = counts(12, 10, "u4")
    mask = np.zeros((12, 10), bool)
    mask[3, 4] = mask[0, 9] = True
    master = made.write_arina(tmp_path, flat(data), per_file=5, mask=mask)
    scan = open_scan(master, scan_shape=SHAPE)
    check(scan, data)
    assert np.array_equal(scan.defective, mask)
    (tmp_path / "run_data_000002.h5").unlink()
    with pytest.raises(FormatError, match=r"no run_data_000002.h5 beside run_master.h5 \(1 of 3"):
        open_scan(master, scan_shape=SHAPE)


@pytest.mark.parametrize("suffix", ["hspy", "zspy"])
def test_what_hyperspy_writes(tmp_path, suffix):
    from importlib import import_module

    data = counts(12, 10)
    axes = [
        {"name": n, "scale": s, "offset": 0.0, "units": u, "size": z, "navigate": v, "_type": "UniformDataAxis"}
        for n, s, u, z, v in [
            ("y", 20.0, "Å", 3, True),
            ("x", 20.0, "Å", 4, True),
            ("ky", 0.01, "1/nm", 12, False),
            ("kx", 0.01, "$A^{-1}$", 10, False),
        ]
    ]
    told = {"General": {"title": "scan"}, "Acquisition_instrument": {"TEM": {"beam_energy": 200.0}}, "Signal": {}}
    signal = {
        "data": data,
        "axes": axes,
        "metadata": told,
        "original_metadata": {},
        "learning_results": {},
        "attributes": {"_lazy": False, "ragged": False},
        "package": "hyperspy",
        "package_version": "2",
        "package_info": {},
        "tmp_parameters": {},
        "models": {},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of zarr about what RosettaSciIO calls
        import_module(f"rsciio.{suffix}").file_writer(str(tmp_path / f"scan.{suffix}"), signal)
    scan = open_scan(tmp_path / f"scan.{suffix}")
    check(scan, data)
    assert scan.step_nm == pytest.approx(2.0)
    assert scan.pixel_mrad == pytest.approx(0.1 * 2.5079, rel=1e-3)  # 2.51 pm at 200 kV


def write_h5(path, data, **options):
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("entry/patterns", data=data, **options)
        file.create_dataset("entry/image", data=np.ones((20, 20)))
    return path


@pytest.mark.parametrize(
    "chunks",
    [
        None,
        (1, 1, 12, 10),
        (1, 2, 12, 10),
        (1, 4, 12, 10),
        (2, 4, 12, 10),
        (2, 3, 12, 10),
        (1, 3, 12, 10),
        (3, 4, 6, 5),
        (1, 1, 5, 10),
    ],
    ids=str,
)
@pytest.mark.parametrize("filters", ["none", "gzip", "bitshuffle", "zstd"])
def test_hdf5_in_any_chunks_and_compressions(tmp_path, chunks, filters):
    import hdf5plugin

    data = counts(12, 10)
    how = {
        "none": {},
        "gzip": {"compression": "gzip", "shuffle": True},
        "bitshuffle": hdf5plugin.Bitshuffle(),
        "zstd": hdf5plugin.Zstd(),
    }
    options = {} if chunks is None else {"chunks": chunks, **how[filters]}
    scan = open_scan(write_h5(tmp_path / "scan.h5", data, **options))
    check(scan, data)
    assert scan.frames.chunk >= 1


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">f4", "<i4", "u8", "f8"])
@pytest.mark.parametrize("compressed", [False, True])
def test_hdf5_in_any_type(tmp_path, dtype, compressed):
    import hdf5plugin

    data = counts(12, 10, dtype)
    options = {"chunks": (1, 1, 12, 10), **hdf5plugin.Bitshuffle()} if compressed else {}
    check(open_scan(write_h5(tmp_path / "scan.h5", data, **options)), data.astype(np.dtype(dtype).newbyteorder("=")))


def test_a_stack_of_patterns_asks_for_the_shape(tmp_path):
    data = counts(12, 10)
    path = write_h5(tmp_path / "scan.h5", flat(data), chunks=(5, 12, 10))
    with pytest.raises(ScanError, match="12 patterns"):
        open_scan(path)
    check(open_scan(path, scan_shape=SHAPE), data)


def test_several_scans_in_a_file_ask_which(tmp_path):
    import h5py

    data = counts(12, 10)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["a/patterns"], file["b/patterns"] = data, data[:, ::-1]
    with pytest.raises(SelectionError, match=r"a/patterns \(3 × 4 × 12 × 10 uint16\); b/patterns"):
        open_scan(tmp_path / "scan.h5")
    check(open_scan(tmp_path / "scan.h5", select="b"), data[:, ::-1])
    with pytest.raises(SelectionError, match="'c'"):
        open_scan(tmp_path / "scan.h5", select="c")


def test_velox_is_refused_with_the_reason(tmp_path):
    import h5py

    with h5py.File(tmp_path / "scan.emd", "w") as file:
        file["Data/Image/0123/Data"], file["Version"] = np.zeros((64, 64, 5), "u2"), "x"
    with pytest.raises(ScanError, match="Velox"):
        open_scan(tmp_path / "scan.emd")


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("named", [True, False])
def test_a_folder_of_patterns(tmp_path, suffix, named):
    import tifffile
    from PIL import Image

    data = counts(12, 10)
    for y in range(3):
        for x in range(4):
            name = tmp_path / (f"{x}_{y}_pattern.{suffix}" if named else f"pattern {4 * y + x + 1}.{suffix}")
            Image.fromarray(data[y, x]).save(name) if suffix == "png" else tifffile.imwrite(name, data[y, x])
    (tmp_path / "notes.txt").write_text("beside")
    check(open_scan(tmp_path, scan_shape=None if named else SHAPE), data)
    if named:
        next(tmp_path.glob("2_1_*")).unlink()
        with pytest.raises(
            ScanError, match="11 files for 3 × 4 positions; scan_x 2, scan_y 1 is the first that is missing"
        ):
            open_scan(tmp_path)


def test_pictures_of_patterns_are_refused(tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 10, 3), dtype="u1")).save(tmp_path / "1.png")
    with pytest.raises(FormatError, match="colours hold no counts"):
        open_scan(tmp_path, scan_shape=(1, 1))


def test_a_tiff_with_a_page_per_pattern(tmp_path):
    import tifffile

    data = counts(12, 10, ">u2")
    tifffile.imwrite(tmp_path / "scan.tif", flat(data), byteorder=">")
    check(open_scan(tmp_path / "scan.tif", scan_shape=SHAPE), data.astype("u2"))


def test_the_key_is_the_same_in_every_format(tmp_path):
    data = counts(16, 16, "u1")
    paths = [made.write_mib(tmp_path / "a.mib", flat(data)), write_h5(tmp_path / "b.h5", data, chunks=(1, 2, 8, 16))]
    paths += [made.write_dm4(tmp_path / "c.dm4", data.astype("i4"), [""] * 4, [1.0] * 4)]
    paths += [made.write_arina(tmp_path, flat(data).astype("u4"))]
    for suffix in ("npy", "zarr"):
        paths.append(tmp_path / f"d.{suffix}")
        write_scan(paths[-1], shape=SHAPE, pattern_px=(16, 16), dtype="u2", blocks=[flat(data)])
    assert len({open_scan(path, scan_shape=SHAPE).key for path in paths}) == 1

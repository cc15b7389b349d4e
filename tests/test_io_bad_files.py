"""Bad files: one clear message each, before memory is taken, and never a library's own exception."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image as Picture

import realdata
from dipolar.core.errors import DataError, FormatError, ImageError
from dipolar.io import open_image
from dipolar.io.images import READERS

PICTURE = np.random.default_rng(3).integers(0, 60_000, (64, 48)).astype(np.uint16)


def npy_header(shape: str, *, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def test_missing_folder_empty_and_unknown(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "film.jpg").write_bytes(b"x")
    (tmp_path / "film").write_bytes(b"x")
    (tmp_path / "empty.zspy").mkdir()
    for name, words in {
        "missing.dm4": "no such file",
        "": "is a folder",
        "empty.tif": r"empty \(0 bytes\)",
        "film.jpg": r"ends in '.jpg'(.|\n)*\.dm3, \.dm4, .*\.tif",
        "film": "has no suffix",
        "empty.zspy": "is empty",
    }.items():
        with pytest.raises(FormatError, match=words):
            open_image(tmp_path / name)


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "film.npy", PICTURE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # file modes do not stop the superuser, who may run the tests
    with pytest.raises(FormatError, match="permission denied"):
        open_image(tmp_path / "film.npy")


@pytest.mark.parametrize("suffix", [suffix for suffix in READERS if suffix != ".zspy"])
@pytest.mark.parametrize("content", [b"not an image at all\n", bytes(5000), bytes(range(256)) * 40])
def test_wrong_content_under_a_right_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"film{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="film"):
        open_image(path)


def whole_files(folder: Path) -> list[Path]:
    np.save(folder / "film.npy", PICTURE)
    np.savez_compressed(folder / "film.npz", PICTURE)
    Picture.fromarray(PICTURE).save(folder / "film.png")
    scipy.io.savemat(folder / "film.mat", {"image": PICTURE}, do_compression=True)
    tifffile.imwrite(folder / "film.tif", PICTURE)
    tifffile.imwrite(folder / "packed.tif", PICTURE, compression="zlib")
    with h5py.File(folder / "film.h5", "w") as file:
        file.create_dataset("image", data=PICTURE, compression="gzip")
    with h5py.File(folder / "plain.h5", "w") as file:
        file.create_dataset("image", data=PICTURE)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, share: float) -> None:
    for path in whole_files(tmp_path):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DataError):
            open_image(path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "bto_dm4/BTO_crystal_1.dm4",
        "sto_ser/16_STOimage_1.ser",
        "pto_sro_hspy/Cropped_PTO-SRO_Aligned.hspy",
        "sto_110_pair/STO_ADF.hdf5",
        "idpc_series/1.tif",
        "cspbbr3_mat/Tutorial_ExampleCsPbBr3.mat",
    ],
)
def test_truncated_and_damaged_real_files_give_an_image_or_a_message(tmp_path: Path, name: str) -> None:
    real = realdata.path(name)
    content = bytearray(real.read_bytes())
    path = tmp_path / real.name
    for size in (100, 2000, len(content) // 3):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=path.stem):
            open_image(path)
    rng = np.random.default_rng(5)
    for _ in range(6):
        damaged = content.copy()
        for place in rng.integers(0, 4000, 20):
            damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            assert open_image(path).data.ndim == 2
        except DataError as error:
            assert path.stem in str(error)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("(1000000, 1000000)", "promises an image larger than any"),
        ("(20000, 20000)", "shorter than its header promises"),
        ("(4611686018427387904, 4611686018427387904)", "larger than any"),
    ],
)
def test_npy_headers_that_promise_too_much(tmp_path: Path, shape: str, words: str) -> None:
    (tmp_path / "huge.npy").write_bytes(npy_header(shape) + bytes(1000))
    with pytest.raises(FormatError, match=words):
        open_image(tmp_path / "huge.npy")


def test_tiff_header_that_promises_terabytes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "huge.tif", PICTURE)
    with tifffile.TiffFile(tmp_path / "huge.tif", mode="r+b") as file:
        file.pages.first.tags["ImageWidth"].overwrite(1_000_000)
        file.pages.first.tags["ImageLength"].overwrite(1_000_000)
    with pytest.raises(FormatError, match="larger than any that dipolar reads"):
        open_image(tmp_path / "huge.tif")
    with tifffile.TiffFile(tmp_path / "huge.tif", mode="r+b") as file:
        file.pages.first.tags["ImageWidth"].overwrite(20_000)
        file.pages.first.tags["ImageLength"].overwrite(20_000)
    with pytest.raises(FormatError, match="shorter than its header promises"):
        open_image(tmp_path / "huge.tif")


def test_mrc_header_that_promises_terabytes(tmp_path: Path) -> None:
    header = np.zeros(256, dtype="<i4")
    header[:4] = 1_000_000, 1_000_000, 1, 2
    (tmp_path / "huge.mrc").write_bytes(header.tobytes() + bytes(4000))
    with pytest.raises(FormatError, match="shorter than its header promises"):
        open_image(tmp_path / "huge.mrc")


def test_hdf5_header_that_promises_terabytes(tmp_path: Path) -> None:
    for suffix in ("h5", "emd"):
        with h5py.File(tmp_path / f"huge.{suffix}", "w") as file:
            file.create_dataset("image", shape=(1_000_000, 1_000_000), dtype="f4", chunks=(64, 64), compression="gzip")
        with pytest.raises(FormatError, match="larger than any that dipolar reads"):
            open_image(tmp_path / f"huge.{suffix}")
    with h5py.File(tmp_path / "hollow.h5", "w") as file:
        file.create_dataset("image", shape=(20_000, 20_000), dtype="f4", chunks=(64, 64), compression="gzip")
    with pytest.raises(FormatError, match="promises 400,000,000 values and stores none"):
        open_image(tmp_path / "hollow.h5")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.arange(500.0), "a row of numbers"),
        (np.zeros((4, 5, 20, 20)), "four-dimensional scan"),
        (PICTURE + 1j, "real numbers(.|\n)*modulus or its phase"),
        (np.full((20, 20), "a"), "real numbers"),
        (np.float64(3.0), "a single number"),
    ],
    ids=["1-D", "4-D", "complex", "text", "scalar"],
)
def test_arrays_that_are_no_image(tmp_path: Path, data: np.ndarray, words: str) -> None:
    np.save(tmp_path / "film.npy", data)
    with pytest.raises(ImageError, match=words):
        open_image(tmp_path / "film.npy")


def test_infinite_pixels_are_unknown_and_warnings_do_not_leak(tmp_path: Path) -> None:
    data = PICTURE.astype(np.float64)
    data[0, 0], data[0, 1] = np.inf, 1e300
    np.save(tmp_path / "film.npy", data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = open_image(tmp_path / "film.npy")
    assert np.isnan(image.data[0, :2]).all() and np.isfinite(image.data).sum() == data.size - 2

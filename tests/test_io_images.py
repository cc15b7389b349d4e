"""Reading images: every format says the same about the same picture, and the real files say what is known of them."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image as Picture

import realdata
from dipolar.core.errors import CalibrationError, FormatError, ImageError, SelectionError, SettingsError
from dipolar.core.nouns import Image
from dipolar.io import check_image, length_pm, open_image
from dipolar.io.images import LUMINANCE, to_grey

COUNTS = np.random.default_rng(0).integers(0, 60_000, (24, 40)).astype(np.uint16)
FLOATS = COUNTS.astype(np.float32) / 7.0


def fact(image: Image, name: str) -> float | str:
    return next(fact.value for fact in image.facts if fact.name == name)


def signal(data: np.ndarray, *, scale: float = 0.0156, units: str = "nm", title: str = "HAADF") -> dict[str, object]:
    """Return a picture as RosettaSciIO's writers want it."""
    names = ("frame", "y", "x")[-data.ndim :]
    axes = [
        {
            "name": name,
            "size": size,
            "scale": 1.0 if name == "frame" else scale,
            "offset": 0.0,
            "units": "" if name == "frame" else units,
            "navigate": name == "frame",
            "index_in_array": place,
            "_type": "UniformDataAxis",
            "is_binned": False,
        }
        for place, (name, size) in enumerate(zip(names, data.shape, strict=True))
    ]
    metadata = {
        "General": {"title": title, "date": "2024-11-15"},
        "Signal": {"signal_type": ""},
        "Acquisition_instrument": {"TEM": {"beam_energy": 300.0}},
    }
    return {
        "data": data,
        "axes": axes,
        "metadata": metadata,
        "original_metadata": {},
        "learning_results": {},
        "package_info": {"package": "", "package_version": ""},
        "attributes": {"_lazy": False},
        "tmp_parameters": {},
        "models": {},
    }


def write(path: Path, plugin: str, data: np.ndarray, **options: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the writers' own deprecations
        importlib.import_module(f"rsciio.{plugin}").file_writer(str(path), signal(data, **options))  # type: ignore[arg-type]
    return path


def write_mrc(path: Path, data: np.ndarray, *, edge_angstrom: float) -> Path:
    ny, nx = data.shape
    header = np.zeros(256, dtype="<i4")
    header[:4] = nx, ny, 1, {"uint16": 6, "float32": 2}[str(data.dtype)]
    header[7:10] = nx, ny, 1
    header[10:13] = np.array([nx * edge_angstrom, ny * edge_angstrom, 1.0], dtype="<f4").view("<i4")
    path.write_bytes(header.tobytes() + data.tobytes())
    return path


@pytest.mark.parametrize(("suffix", "plugin"), [("hspy", "hspy"), ("zspy", "zspy"), ("emd", "emd"), ("hdf5", "hspy")])
@pytest.mark.parametrize("data", [COUNTS, FLOATS], ids=["uint16", "float32"])
def test_rosettasciio_formats_come_back_with_pixels_and_scale(
    tmp_path: Path, suffix: str, plugin: str, data: np.ndarray
) -> None:
    path = write(tmp_path / f"film.{'hspy' if suffix == 'hdf5' else suffix}", plugin, data)
    image = open_image(path.rename(path.with_suffix(f".{suffix}")))
    np.testing.assert_array_equal(image.data, data)
    assert image.data.dtype == np.float32 and image.data.flags.c_contiguous
    assert image.pixel_size_pm == pytest.approx(15.6)
    assert image.ceiling == (65_535.0 if data is COUNTS else None)
    assert fact(image, "file_pixel_size_pm") == pytest.approx(15.6)
    if plugin != "emd":  # the Berkeley layout has no place for the voltage
        assert fact(image, "voltage_kv") == 300.0 and fact(image, "date") == "2024-11-15"


def test_plain_formats_come_back_with_pixels(tmp_path: Path) -> None:
    big_endian = COUNTS.astype(">u2")
    np.save(tmp_path / "film.npy", big_endian)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(FLOATS))
    np.savez(tmp_path / "film.npz", image=COUNTS, table=np.zeros((3, 2)))
    Picture.fromarray(COUNTS).save(tmp_path / "film.png")
    scipy.io.savemat(tmp_path / "film.mat", {"image": COUNTS, "note": "text"})
    tifffile.imwrite(tmp_path / "film.tif", big_endian, byteorder=">")
    with h5py.File(tmp_path / "film.h5", "w") as file:
        file.create_dataset("group/image", data=COUNTS[None], compression="gzip")
        file.create_dataset("table", data=np.zeros((30, 2)))
    for path in sorted(tmp_path.iterdir()):
        image = open_image(path)
        expected = FLOATS if path.stem == "fortran" else COUNTS
        np.testing.assert_array_equal(image.data, expected, err_msg=path.name)
        assert image.data.dtype == np.dtype("f4") and image.data.flags.c_contiguous and image.data.flags.owndata
        assert image.pixel_size_pm is None and image.name == path.name
        assert image.ceiling == (None if path.stem == "fortran" else 65_535.0)


def test_mrc_comes_back_with_its_scale_in_angstrom(tmp_path: Path) -> None:
    image = open_image(write_mrc(tmp_path / "film.mrc", FLOATS, edge_angstrom=0.156))
    np.testing.assert_array_equal(image.data, FLOATS)
    assert image.pixel_size_pm == pytest.approx(15.6)


@pytest.mark.parametrize(
    ("options", "expected_pm"),
    [
        ({"imagej": True, "resolution": (1 / 0.0156, 1 / 0.0156), "metadata": {"unit": "nm"}}, 15.6),
        ({"imagej": True, "resolution": (1 / 1.56e-5, 1 / 1.56e-5), "metadata": {"unit": "micron"}}, 15.6),
        ({"imagej": True, "resolution": (64.0, 64.0), "metadata": {"unit": "pixel"}}, None),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.156, "PhysicalSizeXUnit": "Å", "axes": "YX"}}, 15.6),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
    ],
    ids=["ImageJ nm", "ImageJ micron", "ImageJ pixel", "OME", "print resolution"],
)
def test_tiff_calibrations(tmp_path: Path, options: dict[str, object], expected_pm: float | None) -> None:
    tifffile.imwrite(tmp_path / "film.tif", COUNTS, **options)
    image = open_image(tmp_path / "film.tif")
    np.testing.assert_array_equal(image.data, COUNTS)
    if expected_pm is None:
        assert image.pixel_size_pm is None
    else:
        assert image.pixel_size_pm == pytest.approx(expected_pm, rel=1e-4)


def test_colours_become_grey_and_transparent_pixels_nan(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (20, 30, 4)).astype(np.uint8)
    colours[..., 3] = 255
    colours[:3, :, 3] = 0
    grey = colours[..., :3].astype(np.float32) @ LUMINANCE
    Picture.fromarray(colours).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("a.png", "a.tif"):
        image = open_image(tmp_path / name)
        assert np.isnan(image.data[:3]).all() and image.ceiling == 255.0
        np.testing.assert_allclose(image.data[3:], grey[3:], rtol=1e-6)
    # A grey picture stays what it is whichever way its colours are stored.
    np.testing.assert_allclose(to_grey(np.repeat(COUNTS[..., None], 3, axis=-1)), COUNTS, rtol=1e-6)


def test_statstem_gives_its_observation_in_angstrom(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "old.mat", {"input": {"obs": COUNTS, "dx": 0.3109}, "other": FLOATS})
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:  # v7.3 keeps columns first
        file["input/obs"], file["input/dx"] = COUNTS.T, np.array([[0.3109]])
    with (tmp_path / "new.mat").open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file")
    for name in ("old.mat", "new.mat"):
        image = open_image(tmp_path / name)
        np.testing.assert_array_equal(image.data, COUNTS)
        assert image.pixel_size_pm == pytest.approx(31.09)


def test_composition_library_in_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "Sm_7_0_HAADF.h5", "w") as file:
        file["MainImage"], file["Scale"], file["Units(m)"] = FLOATS, np.array([[0.0198]]), 1e-9
    image = open_image(tmp_path / "Sm_7_0_HAADF.h5")
    assert image.pixel_size_pm == pytest.approx(19.8)


def test_pickled_library_only_with_trust(tmp_path: Path) -> None:
    bordered = FLOATS.astype(np.float64)
    bordered[:2] = np.nan
    library = {
        name: {"main_image": bordered + k, "xy_COM": np.zeros((9, 2))} for k, name in enumerate(("Sm_0", "Sm_7"))
    }
    np.save(tmp_path / "library.npy", np.array(library, dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"runs whatever code is in them(.|\n)*--trust-pickle"):
        open_image(tmp_path / "library.npy")
    with pytest.raises(SelectionError, match=r"'Sm_0' \(24 × 40, image\); 1: 'Sm_7'"):
        open_image(tmp_path / "library.npy", trust_pickle=True)
    image = open_image(tmp_path / "library.npy", trust_pickle=True, select="Sm_7")
    assert np.isnan(image.data[:2]).all() and not np.isnan(image.data[2:]).any()
    np.testing.assert_allclose(image.data[2:], FLOATS[2:] + 1)


def write_velox(path: Path, detectors: tuple[str, ...], *, frames: int = 1, spectra: bool = False) -> Path:
    """Write what Velox writes: images of (y, x, frame), their metadata as columns of JSON bytes."""
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([json.dumps({"format": "Velox", "version": "1.9"})], dtype=h5py.string_dtype())
        for number, detector in enumerate(detectors):
            metadata = {
                "BinaryResult": {
                    "Detector": detector,
                    "PixelUnitX": "m",
                    "PixelUnitY": "m",
                    "PixelSize": {"width": "1.56e-11", "height": "1.56e-11"},
                },
                "Optics": {"AccelerationVoltage": "300000"},
                "Scan": {"DwellTime": "2e-06", "FrameTime": "2.9"},
                "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1574301656"}},
                "Detectors": {},
            }
            text = np.frombuffer(json.dumps(metadata).encode().ljust(900, b"\0"), dtype=np.uint8)
            group = file.create_group(f"Data/Image/{number:032x}")
            group["Metadata"] = np.repeat(text[:, None], frames, axis=1)
            stack = np.stack([COUNTS + number + frame for frame in range(frames)], axis=-1)
            group.create_dataset("Data", data=stack, chunks=True)
        for name in ("Displays", "Operations", "SharedProperties", "Features"):
            file.create_group(name)
        if spectra:
            file.create_group("Data/SpectrumImage/0")
    return path


@pytest.mark.parametrize("spectra", [False, True])
def test_velox_with_and_without_spectra(tmp_path: Path, spectra: bool) -> None:
    path = write_velox(tmp_path / "film.emd", ("HAADF", "BF"), spectra=spectra)
    with pytest.raises(SelectionError, match=r"'HAADF' \(24 × 40, image\); 1: 'BF'"):
        open_image(path)
    image = open_image(path, select="BF")
    np.testing.assert_array_equal(image.data, COUNTS + 1)
    assert image.pixel_size_pm == pytest.approx(15.6)
    found = [fact(image, name) for name in ("voltage_kv", "dwell_us", "detector")]
    assert found == [300.0, 2.0, "BF"] and str(fact(image, "date")).startswith("2019-11-21")
    movie = write_velox(tmp_path / "movie.emd", ("HAADF",), frames=3, spectra=spectra)
    np.testing.assert_array_equal(open_image(movie, select="HAADF:2").data, COUNTS + 2)


def test_stacks_and_several_images_are_chosen_by_name_or_number(tmp_path: Path) -> None:
    stack = np.stack([FLOATS, FLOATS + 1, FLOATS + 2])
    write(tmp_path / "movie.hspy", "hspy", stack)
    tifffile.imwrite(tmp_path / "movie.tif", stack, photometric="minisblack")
    np.save(tmp_path / "movie.npy", stack)
    write_both = {"first": stack, "second": FLOATS + 5}
    np.savez(tmp_path / "both.npz", **write_both)
    for name in ("movie.hspy", "movie.tif", "movie.npy"):
        with pytest.raises(SelectionError, match=r"3 × 24 × 40, stack of frames\)\n.*--select 0 … --select 2"):
            open_image(tmp_path / name)
        image = open_image(tmp_path / name, select="2")
        np.testing.assert_array_equal(image.data, FLOATS + 2)
        assert fact(image, "frame") == 2.0
        with pytest.raises(SelectionError, match="'3'"):
            open_image(tmp_path / name, select="3")
    np.testing.assert_array_equal(open_image(tmp_path / "both.npz").data, FLOATS + 5)  # the one image beside a stack
    np.testing.assert_array_equal(open_image(tmp_path / "both.npz", select="second").data, FLOATS + 5)
    np.testing.assert_array_equal(open_image(tmp_path / "both.npz", select="first:1").data, FLOATS + 1)
    with pytest.raises(SelectionError, match=r"'third'; both.npz holds 0: 'first'"):
        open_image(tmp_path / "both.npz", select="third")


def test_a_given_pixel_size_wins_and_both_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "film.hspy", "hspy", FLOATS)
    image = open_image(path, pixel_size_pm="0.016 nm")
    assert image.pixel_size_pm == pytest.approx(16.0)
    assert fact(image, "pixel_size_pm") == pytest.approx(16.0)
    assert fact(image, "file_pixel_size_pm") == pytest.approx(15.6)


def test_a_scale_without_a_length_is_told_and_not_used(tmp_path: Path) -> None:
    for units, scale in (("", 0.0093), ("1/nm", 0.0093), ("mm", 0.35)):
        path = write(tmp_path / "film.hspy", "hspy", FLOATS, units=units, scale=scale)
        image = open_image(path)
        assert image.pixel_size_pm is None
        assert fact(image, "pixel_size_raw") == pytest.approx(scale)
        path.unlink()


def test_pixels_that_are_not_square_ask_for_a_size(tmp_path: Path) -> None:
    resolution = (1 / 0.0156, 1 / 0.0160)
    tifffile.imwrite(tmp_path / "film.tif", COUNTS, imagej=True, resolution=resolution, metadata={"unit": "nm"})
    with pytest.raises(CalibrationError, match=r"16 pm along y, 15.6 pm along x\n.*--pixel-size-pm 15.8"):
        open_image(tmp_path / "film.tif")
    assert open_image(tmp_path / "film.tif", pixel_size_pm=15.8).pixel_size_pm == 15.8


@pytest.mark.parametrize(
    "text", ["15.6", "15.6 pm", "0.0156 nm", "0.156 Å", "0.156Å", "1.56e-11 m", "15.6 pm/px", 15.6]
)
def test_lengths_mean_the_same_in_every_unit(text: float | str) -> None:
    assert length_pm(text) == pytest.approx(15.6)


@pytest.mark.parametrize(
    "text", ["", "pm", "15.6 V", "15,6 pm", "-3 pm", "0", "nan", "1/nm", "fifteen", "1..2 nm", -1.0]
)
def test_what_is_no_length_is_refused(text: float | str) -> None:
    with pytest.raises(SettingsError, match="a length must be a positive number"):
        length_pm(text)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((8, 8)), "at least 16 × 16"),
        (np.full((20, 20), np.nan), "every pixel is nan"),
        (np.full((20, 20), 7.0), "every pixel is 7"),
    ],
)
def test_images_without_columns_are_refused(data: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        check_image(Image(data=data.astype(np.float32)))


@pytest.mark.parametrize(
    ("name", "pixel_pm"),
    [
        ("bto_dm4/BTO_crystal_1.dm4", 29.66),
        ("sto_ser/16_STOimage_1.ser", 10.01),
        ("sto_ser/16_STOimage.emi", 10.01),
        ("pto_sro_hspy/Cropped_PTO-SRO_Aligned.hspy", 15.0),
        ("sto_110_pair/STO_ADF.hdf5", None),
        ("sto_110_pair/STO_ABF.hdf5", None),
        ("sto_abf_movie/stem_abf_data.hspy", None),
        ("stemfit_layers/image.tif", None),
        ("idpc_series/1.tif", 3.531),
        ("nsmo_tif/FigS6_0716__Cryo_NSMO110_5-1Mx_0p5us_1024px_REGISTERED.tif", None),
        ("pmn_idpc/PMN_iDPC.tif", None),
        ("cspbbr3_mat/Tutorial_ExampleCsPbBr3.mat", 31.09),
        ("cspbbr3_mat/Tutorial_Example3.mat", 31.09),
        ("smbfo_patch/smbfo_patch_256.npy", None),
        ("smbfo_patch/smbfo_clean_example.png", None),
    ],
)
@pytest.mark.realdata
def test_real_files(name: str, pixel_pm: float | None) -> None:
    image = open_image(realdata.path(name))
    assert image.data.ndim == 2 and np.isfinite(image.data).mean() > 0.9
    assert image.pixel_size_pm == (None if pixel_pm is None else pytest.approx(pixel_pm, rel=1e-3))


@pytest.mark.realdata
def test_real_files_say_how_they_were_taken() -> None:
    velox = open_image(realdata.path("idpc_series/1.tif"))
    assert [fact(velox, name) for name in ("voltage_kv", "dwell_us", "detector")] == [300.0, 2.0, "DF4"]
    tia = open_image(realdata.path("sto_ser/16_STOimage.emi"))
    assert [fact(tia, name) for name in ("voltage_kv", "dwell_us")] == [80.0, 29.0]
    assert fact(open_image(realdata.path("sto_110_pair/STO_ADF.hdf5")), "pixel_size_raw") == pytest.approx(
        0.009326, 1e-3
    )


@pytest.mark.realdata
def test_real_stacks_and_scans() -> None:
    movie = realdata.path("sto_abf_movie/stem_abf_data_imagestack.hspy")
    with pytest.raises(SelectionError, match=r"5 × 512 × 512"):
        open_image(movie)
    assert open_image(movie, select="4").pixel_size_pm == pytest.approx(9.202, rel=1e-3)
    with pytest.raises(ImageError, match="four-dimensional scan"):
        open_image(realdata.path("formats_4dstem/py4DSTEM_size2x3x4x5.h5"))

"""Files of detectors, made by hand from what is known of their formats, for tests."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

MIB_TYPES = {"u1": "U08", "u2": "U16", "u4": "U32"}


def mib_header(number, height, width, kind, *, bits, chips=1, layout="   1x1", size=384):
    head = f"MQ1,{number:06d},{size:05d},{chips:02d},{width:04d},{height:04d},{kind},{layout},01,"
    head += f"2026-01-02 03:04:05.600000,0.002000,0,0,0,{','.join(['1.0E+1'] * 8)},3RX,{','.join(['100'] * 27)},"
    head += f"MQ1A,2026-01-02T03:04:05.600000000Z,2000000ns,{bits},"
    return head.encode().ljust(size, b"\0")


def write_mib(path: Path, patterns: np.ndarray, *, first=1, **more) -> Path:
    """Write patterns in order, as the detector's computer does."""
    kind = MIB_TYPES[patterns.dtype.str[1:]]
    with path.open("wb") as stream:
        for number, pattern in enumerate(patterns, start=first):
            stream.write(mib_header(number, *pattern.shape, kind, bits=12, **more))
            stream.write(pattern.astype(pattern.dtype.newbyteorder(">")).tobytes())
    return path


def write_hdr(path: Path, **told) -> Path:
    lines = ["HDR,\t", *(f"{name}:\t{value}" for name, value in told.items()), "End\t"]
    path.write_text("\n".join(lines))
    return path


def triggers(frames, row):
    return {"Frames in Acquisition (Number)": frames, "Frames per Trigger (Number)": row}


def write_empad(path: Path, patterns: np.ndarray, shape) -> Path:
    """Write 130 rows per pattern, the last two of which are no pixels, and the `.xml` beside."""
    with_rows = np.full((len(patterns), 130, 128), -7, "<f4")
    with_rows[:, :128] = patterns
    path.write_bytes(with_rows.tobytes())
    path.with_suffix(".xml").write_text(
        f"<root><pix_x>{shape[1]}</pix_x><pix_y>{shape[0]}</pix_y><raw_file filename='{path.name}'/>"
        "<iom_measurements><source.get_voltage>200000.0</source.get_voltage>"
        "<calibrated_diffraction_angle>0.0004</calibrated_diffraction_angle>"
        f"<optics.get_full_scan_field_of_view>[{shape[1] * 2e-9}, 0.0]</optics.get_full_scan_field_of_view>"
        "</iom_measurements></root>"
    )
    return path


def write_arina(folder: Path, patterns: np.ndarray, *, per_file=4, mask=None) -> Path:
    """Write NAME_master.h5 and its data files, compressed as the detector does."""
    import h5py
    import hdf5plugin

    master = folder / "run_master.h5"
    with h5py.File(master, "w") as file:
        for number, start in enumerate(range(0, len(patterns), per_file), start=1):
            name = f"run_data_{number:06d}.h5"
            with h5py.File(folder / name, "w") as data:
                part = patterns[start : start + per_file]
                data.create_dataset(
                    "entry/data/data", data=part, chunks=(1, *part.shape[1:]), **hdf5plugin.Bitshuffle()
                )
            file[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
        specific = "entry/instrument/detector/detectorSpecific"
        file[f"{specific}/nimages"], file[f"{specific}/ntrigger"] = 1, len(patterns)
        file[f"{specific}/pixel_mask"] = np.zeros(patterns.shape[1:], "u4") if mask is None else mask.astype("u4")
        file["entry/instrument/detector/frame_time"] = 1e-4
    return master


def write_tvips(path: Path, patterns: np.ndarray, *, rotator, first=True) -> Path:
    """Write one file of a stream of 16-bit patterns, with the counter of the scan in front of each."""
    height, width = patterns.shape[1:]
    head = struct.pack("<13I", 256, 2, width, height, 16, 0, 0, 4, 4, 15500, 200, 80, 64).ljust(256, b"T")
    with path.open("wb") as stream:
        stream.write(head if first else b"")
        for number, (pattern, turn) in enumerate(zip(patterns, rotator, strict=True)):
            frame = bytearray(64)
            struct.pack_into("<I", frame, 0, number)
            struct.pack_into("<I", frame, 48, turn)
            stream.write(bytes(frame) + pattern.astype("<u2").tobytes())
    return path


def write_dm4(path: Path, data: np.ndarray, units, scales) -> Path:
    """Write an array of any order with nionswift-io, somebody else's program."""
    from nion.data import Calibration, DataAndMetadata
    from nionswift_plugin.DM_IO import dm3_image_utils

    described = DataAndMetadata.new_data_and_metadata(
        data,
        dimensional_calibrations=[
            Calibration.Calibration(0.0, scale, unit) for scale, unit in zip(scales, units, strict=True)
        ],
        data_descriptor=DataAndMetadata.DataDescriptor(False, data.ndim - 2, 2),
        metadata={"Microscope Info": {"Voltage": 300000.0}},
    )
    with path.open("wb") as stream:
        dm3_image_utils.save_image(described, stream, 4)
    return path

"""What a file says about its image besides the pixels: voltage, detector, dwell time, date, each with its key."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from dipolar.core.nouns import Fact
from dipolar.io.entry import dig

Convert = Callable[[Any], float | str | None]


def _times(factor: float) -> Convert:
    def convert(value: Any) -> float | None:
        number = float(str(value).split()[0])
        return round(number * factor, 9) if math.isfinite(number) and number != 0.0 else None

    return convert


def _text(value: Any) -> str | None:
    return " ".join(str(value).split())[:200] or None


def _unix_time(value: Any) -> str | None:
    seconds = float(value)
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat() if seconds > 0 else None


# Dotted keys of RosettaSciIO's common metadata, whose units are those of HyperSpy (kV, s, mm, mrad, nA).
_COMMON: tuple[tuple[str, str, Convert], ...] = (
    ("General.title", "title", _text),
    ("General.date", "date", _text),
    ("General.time", "time", _text),
    ("Acquisition_instrument.TEM.beam_energy", "voltage_kv", _times(1.0)),
    ("Acquisition_instrument.TEM.microscope", "microscope", _text),
    ("Acquisition_instrument.TEM.magnification", "magnification", _times(1.0)),
    ("Acquisition_instrument.TEM.camera_length", "camera_length_mm", _times(1.0)),
    ("Acquisition_instrument.TEM.convergence_angle", "convergence_mrad", _times(1.0)),
    ("Acquisition_instrument.TEM.beam_current", "beam_current_na", _times(1.0)),
    ("Acquisition_instrument.TEM.dwell_time", "dwell_us", _times(1e6)),
    ("Acquisition_instrument.TEM.Stage.x", "stage_x_nm", _times(1e6)),
    ("Acquisition_instrument.TEM.Stage.y", "stage_y_nm", _times(1e6)),
    ("Acquisition_instrument.TEM.Detector.Camera.name", "detector", _text),
)

# Dotted keys of the makers' own metadata, with their own units.
_OWN: tuple[tuple[str, str, Convert], ...] = (
    ("BinaryResult.Detector", "detector", _text),
    ("Optics.AccelerationVoltage", "voltage_kv", _times(1e-3)),
    ("Optics.BeamConvergence", "convergence_mrad", _times(1e3)),
    ("Optics.CameraLength", "camera_length_mm", _times(1e3)),
    ("Scan.DwellTime", "dwell_us", _times(1e6)),
    ("ScanSettings.DwellTime", "dwell_us", _times(1e6)),
    ("ScanSettings.FrameTime", "frame_s", _times(1.0)),
    ("Instrument.InstrumentClass", "microscope", _text),
    ("Acquisition.AcquisitionStartDatetime.DateTime", "date", _unix_time),
    ("Acquisition.AcquisitionStartDatetime", "date", _text),
    ("ObjectInfo.ExperimentalDescription.High tension_kV", "voltage_kv", _times(1.0)),
    ("ObjectInfo.ExperimentalDescription.Microscope", "microscope", _text),
    ("ObjectInfo.ExperimentalDescription.Camera length_m", "camera_length_mm", _times(1e3)),
    ("ObjectInfo.AcquireInfo.DwellTimePath", "dwell_us", _times(1e6)),
    ("ObjectInfo.AcquireInfo.FrameTime", "frame_s", _times(1.0)),
    ("ObjectInfo.AcquireDate", "date", _text),
    ("ImageList.TagGroup0.ImageTags.DigiScan.Sample Time", "dwell_us", _times(1.0)),
    ("ImageList.TagGroup0.ImageTags.DataBar.Signal Name", "detector", _text),
    ("ImageList.TagGroup0.ImageTags.DataBar.Acquisition Date", "date", _text),
    ("ImageList.TagGroup0.ImageTags.Microscope Info.Voltage", "voltage_kv", _times(1e-3)),
    ("ImageList.TagGroup0.ImageTags.Microscope Info.Microscope", "microscope", _text),
    ("ImageList.TagGroup0.ImageTags.Microscope Info.STEM Camera Length", "camera_length_mm", _times(1.0)),
)


def collect(common: Mapping[str, Any], own: Mapping[str, Any], *, more: tuple[Fact, ...] = ()) -> tuple[Fact, ...]:
    """Return one fact per name; the first source that knows it wins.

    Parameters
    ----------
    common
        Metadata in RosettaSciIO's common layout.
    own
        The maker's metadata as nested mappings.
    more
        Facts already known, which win over both.
    """
    found = {fact.name: fact for fact in more}
    for fact in (*_walk(common, _COMMON), *_walk(own, _OWN)):
        found.setdefault(fact.name, fact)
    return tuple(found.values())


def _walk(tree: Mapping[str, Any], table: tuple[tuple[str, str, Convert], ...]) -> Iterator[Fact]:
    for key, name, convert in table:
        raw = dig(tree, key)
        if raw is None or isinstance(raw, (dict, list)):
            continue
        try:
            value = convert(raw)
        except (ValueError, IndexError, OverflowError, OSError):  # not the number it should be: then it is not known
            continue
        if value is not None:
            yield Fact(name=name, value=value, source=key)

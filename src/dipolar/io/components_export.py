"""Components for other tools: the parts of an xarray Dataset, of a HyperSpy signal, and a file that HyperSpy opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.errors import DataError, OutputError
from dipolar.core.unmixing import Unmixed
from dipolar.io.components_table import components_table

UNITS = (("_px", "px"), ("_pm", "pm"), ("_deg", "degree"))


def pictures_of(unmixed: Unmixed) -> dict[str, np.ndarray]:
    """Return the pictures that tell what components mean, by name, the telling ones first: (picture, channel, y, x)."""
    found = unmixed.components
    shown: dict[str, np.ndarray] = {}
    if found.cluster_means is not None and found.method in ("gmm", "kmeans"):  # their modes only lead there
        shown["cluster_means"] = found.cluster_means
    if found.modes is not None:
        shown["modes"] = found.modes
    if found.cluster_means is not None:
        shown["cluster_means"] = found.cluster_means
    if found.angles is not None and len(found.angles.wheel):
        shown["wheel"] = found.angles.wheel
    return shown


def components_dataset(unmixed: Unmixed) -> dict[str, Any]:
    """Return variables, coordinates and attributes of a Dataset: columns of the table, and pictures."""
    variables: dict[str, Any] = {
        name: ("patch", values, {"units": _unit(name)}) for name, values in components_table(unmixed).items()
    }
    for name, pictures in pictures_of(unmixed).items():
        variables[name] = ((name.removesuffix("s"), "channel", "y", "x"), pictures)
    if unmixed.components.mean is not None:
        variables["mean"] = (("channel", "y", "x"), unmixed.components.mean)
    offsets = (np.arange(unmixed.window_px) - (unmixed.window_px - 1) / 2.0) * unmixed.step_px
    return {
        "data_vars": variables,
        "coords": {"channel": list(unmixed.channels), "y": offsets, "x": offsets},
        "attrs": {
            "method": unmixed.components.method,
            "image": unmixed.image.name,
            "centred_on": unmixed.centred_on,
            "normalization": unmixed.normalization,
            "pixel_size_pm": np.nan if unmixed.pixel_size_pm is None else unmixed.pixel_size_pm,
        },
    }


def modes_signal(unmixed: Unmixed) -> dict[str, Any]:
    """Return data, axes and metadata of a two-dimensional signal: pictures, then channels, then y and x.

    Raises
    ------
    DataError
        Where the method makes no pictures.
    """
    shown = pictures_of(unmixed)
    if not shown:
        raise DataError(
            "modes, cluster means or decoded pictures can be handed on.",
            got=f"{unmixed.components.method}, which has none",
            do="to_pandas gives its coordinates",
        )
    name, data = next(iter(shown.items()))
    known = unmixed.pixel_size_pm is not None
    scale = unmixed.step_px * (unmixed.pixel_size_pm / 1000.0 if unmixed.pixel_size_pm is not None else 1.0)
    axes: list[dict[str, Any]] = [{"name": name.removesuffix("s"), "size": len(data), "navigate": True}]
    if len(unmixed.channels) > 1:
        axes.append({"name": "channel", "size": len(unmixed.channels), "navigate": True})
    else:
        data = data[:, 0]
    start = -(unmixed.window_px - 1) / 2.0 * scale
    for axis in "yx":
        size = unmixed.window_px
        axes.append(
            {"name": axis, "size": size, "scale": scale, "offset": start, "units": "nm" if known else "px",
             "navigate": False}
        )  # fmt: skip
    words = f"{unmixed.components.method} {name.replace('_', ' ')} of {unmixed.image.name}".strip()
    return {"data": data.copy(), "axes": axes, "metadata": {"General": {"title": words}}}


def write_modes(unmixed: Unmixed, path: Path) -> None:
    """Write the pictures as a file that HyperSpy, and any HDF5 program, opens; HyperSpy itself is not needed.

    Raises
    ------
    DataError
        Where the method makes no pictures.
    OutputError
        Where the file cannot be written.
    """
    from rsciio.hspy import file_writer

    signal = modes_signal(unmixed)
    axes = [
        {"scale": 1.0, "offset": 0.0, "units": "", "index_in_array": place, "_type": "UniformDataAxis", **axis}
        for place, axis in enumerate(signal["axes"])
    ]
    content = {
        **signal,
        "axes": axes,
        "metadata": {**signal["metadata"], "Signal": {"signal_type": ""}, "_HyperSpy": {}},
        "original_metadata": {},
        "learning_results": {},
        "models": None,
        "tmp_parameters": {},
        # HyperSpy imports the package that a signal is said to come from: nobody needs dipolar to open it.
        "package_info": {"package": "hyperspy", "package_version": "2.0.0"},
        "attributes": {"_lazy": False, "ragged": False},
    }
    try:
        file_writer(str(path), content, show_progressbar=False)
    except OSError as error:
        raise OutputError("the modes must be writable.", got=f"{path}: {error}", do="choose another --out") from error


def _unit(name: str) -> str:
    return next((unit for ending, unit in UNITS if name.endswith(ending)), "1")

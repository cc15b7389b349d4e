"""Results for the tools people already use: pandas, xarray, HyperSpy. Each is imported only when asked for."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from dipolar.core.errors import MissingExtraError
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Cells, Columns, Image
from dipolar.core.unmixing import Unmixed
from dipolar.io.components_export import components_dataset, modes_signal
from dipolar.io.components_table import components_table
from dipolar.io.tables import cells_table, columns_table


def to_pandas(result: Cells | Columns | Measurement | Unmixed) -> Any:
    """Return a DataFrame with the names of `columns.csv`, `cells.csv` or `components.csv`.

    Parameters
    ----------
    result
        Columns, cells, what unmixing found, or a whole measurement: then its cells, with the values and the sigma of
        every field (strain, rotation) beside them.

    Raises
    ------
    MissingExtraError
        Where pandas is not installed.
    """
    pandas = _extra("pandas")
    if isinstance(result, Columns):
        return pandas.DataFrame(columns_table(result))
    if isinstance(result, Cells):
        return pandas.DataFrame(cells_table(result))
    if isinstance(result, Unmixed):
        return pandas.DataFrame(components_table(result))
    table = cells_table(result.cells)
    for field in result.fields:
        if len(field.values) == len(result.cells.flags):
            table[field.name] = field.values
            table[f"{field.name}_sigma"] = field.sigma
    return pandas.DataFrame(table)


def to_xarray(result: Cells | Unmixed) -> Any:
    """Return a Dataset of the largest grain on its lattice, with dimensions `row` and `col`; nan where no cell is.

    Of what unmixing found, a Dataset of every column of `components.csv` over `patch`, with modes, cluster means and
    decoded pictures over `channel`, `y` and `x` of a patch.

    Raises
    ------
    MissingExtraError
        Where xarray is not installed.
    """
    xarray = _extra("xarray")
    if isinstance(result, Unmixed):
        return xarray.Dataset(**components_dataset(result))
    cells = result
    grains, counts = np.unique(cells.grain, return_counts=True)
    inside = cells.grain == grains[np.argmax(counts)] if len(grains) else np.zeros(0, dtype=bool)
    row, col = cells.row[inside], cells.col[inside]
    first = (int(row.min()), int(col.min())) if row.size else (0, 0)
    shape = (int(row.max()) - first[0] + 1, int(col.max()) - first[1] + 1) if row.size else (0, 0)
    variables = {}
    for name, values in cells_table(cells).items():
        if name in ("row", "col", "grain"):
            continue
        # Flags have no nan; where there is no cell, there is none to flag.
        grid = np.zeros(shape, np.uint32) if name == "flags" else np.full(shape, np.nan)
        grid[row - first[0], col - first[1]] = values[inside]
        variables[name] = (("row", "col"), grid, {"units": _unit(name)})
    return xarray.Dataset(
        variables,
        coords={"row": first[0] + np.arange(shape[0]), "col": first[1] + np.arange(shape[1])},
        attrs={"basis": cells.basis, "pixel_size_pm": np.nan if cells.pixel_size_pm is None else cells.pixel_size_pm},
    )


def to_hyperspy(result: Image | Unmixed) -> Any:
    """Return a HyperSpy Signal2D, calibrated in nm where the pixel size is known, with voltage and title.

    Of what unmixing found, the pictures that tell what components mean, one after the other: modes, cluster means, or
    what an autoencoder draws for angles once around.

    Raises
    ------
    DataError
        Where the method makes no pictures.
    MissingExtraError
        Where HyperSpy is not installed.
    """
    signals = _extra("hyperspy.signals")
    if isinstance(result, Unmixed):
        return signals.Signal2D(**modes_signal(result))
    image = result
    known = image.pixel_size_pm is not None
    scale = image.pixel_size_pm / 1000.0 if image.pixel_size_pm is not None else 1.0
    axes = [
        {"name": name, "size": size, "scale": scale, "offset": 0.0, "units": "nm" if known else "px"}
        for name, size in zip("yx", image.data.shape, strict=True)
    ]
    facts = {fact.name: fact.value for fact in image.facts}
    metadata: dict[str, Any] = {"General": {"title": str(facts.get("title", image.name))}}
    if "voltage_kv" in facts:
        metadata["Acquisition_instrument"] = {"TEM": {"beam_energy": facts["voltage_kv"]}}
    return signals.Signal2D(image.data.copy(), axes=axes, metadata=metadata)


def _unit(name: str) -> str:
    for ending, unit in (("_pm2", "pm2"), ("_px2", "px2"), ("_pm", "pm"), ("_px", "px"), ("_deg", "degree")):
        if name.endswith(ending):
            return unit
    return "1"


def _extra(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"this export hands the result to {package}, which is not installed",
            got=str(error),
            do="pip install dipolar[export]",
        ) from error

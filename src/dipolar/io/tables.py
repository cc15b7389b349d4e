"""Columns and cells as tables: `columns.csv` and `cells.csv`, with stable names and units in them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dipolar.core.atomic import atomic_file
from dipolar.core.errors import FormatError
from dipolar.core.geometry import cell_area_px2, cell_gamma_deg
from dipolar.core.nouns import Cells, Columns
from dipolar.core.units import angle_deg, magnitude

Table = dict[str, np.ndarray]
"""Column name → values, all of one length."""

SUBLATTICES = np.array(["A", "B", "?"])
"""Letter of each sublattice code; the code -1 finds the last one."""

_WHOLE = {"flags", "row", "col", "grain", "index_i", "index_j", "domain"}


def columns_table(columns: Columns) -> Table:
    """Return atomic columns as a table, one row each, names as in `columns.csv`."""
    variance = columns.covariance_px2
    return {
        "y_px": columns.positions_px[:, 0],
        "x_px": columns.positions_px[:, 1],
        "y_sigma_px": np.sqrt(variance[:, 0, 0]),
        "x_sigma_px": np.sqrt(variance[:, 1, 1]),
        "amplitude": columns.amplitude,
        "background": columns.background,
        "width_major_px": columns.widths_px[:, 0],
        "width_minor_px": columns.widths_px[:, 1],
        "width_angle_deg": columns.angle_deg,
        "sublattice": SUBLATTICES[columns.sublattice],
        "flags": columns.flags,
        "amplitude_sigma": columns.amplitude_sigma,
        "y_x_covariance_px2": variance[:, 0, 1],
        "chi2": columns.chi2,
        "index_i": columns.index[:, 0],
        "index_j": columns.index[:, 1],
        "grain": columns.grain,
    }


def cells_table(cells: Cells) -> Table:
    """Return unit cells as a table, one row each, names as in `cells.csv`.

    Without a pixel size the ``_pm`` values are nan, and the ``_px`` values carry the lengths.
    """
    pm = float("nan") if cells.pixel_size_pm is None else cells.pixel_size_pm
    variance = cells.covariance_px2
    sigma = np.sqrt(variance[:, [0, 1], [0, 1]])
    a, b = magnitude(cells.a_px), magnitude(cells.b_px)
    area = cell_area_px2(cells)
    length = magnitude(cells.displacement_px)
    return {
        "row": cells.row,
        "col": cells.col,
        "y_px": cells.positions_px[:, 0],
        "x_px": cells.positions_px[:, 1],
        "dy_pm": cells.displacement_px[:, 0] * pm,
        "dx_pm": cells.displacement_px[:, 1] * pm,
        "dy_sigma_pm": sigma[:, 0] * pm,
        "dx_sigma_pm": sigma[:, 1] * pm,
        "magnitude_pm": length * pm,
        "angle_deg": angle_deg(cells.displacement_px),
        "a_pm": a * pm,
        "b_pm": b * pm,
        "gamma_deg": cell_gamma_deg(cells),
        "area_pm2": area * pm**2,
        "flags": cells.flags,
        "dy_px": cells.displacement_px[:, 0],
        "dx_px": cells.displacement_px[:, 1],
        "dy_sigma_px": sigma[:, 0],
        "dx_sigma_px": sigma[:, 1],
        "dy_dx_covariance_px2": variance[:, 0, 1],
        "magnitude_px": length,
        "a_px": a,
        "b_px": b,
        "area_px2": area,
        "a_sigma_px": cells.a_sigma_px,
        "b_sigma_px": cells.b_sigma_px,
        "area_sigma_px2": cells.area_sigma_px2,
        "a_sigma_pm": cells.a_sigma_px * pm,
        "b_sigma_pm": cells.b_sigma_px * pm,
        "gamma_sigma_deg": cells.gamma_sigma_deg,
        "area_sigma_pm2": cells.area_sigma_px2 * pm**2,
        "grain": cells.grain,
    }


def write_columns_csv(columns: Columns, path: str | Path) -> None:
    """Write `columns.csv`; nan is an empty field.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    _write(columns_table(columns), Path(path))


def write_table(table: Table, path: str | Path) -> None:
    """Write any table; nan is an empty field.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    _write(table, Path(path))


def write_cells_csv(cells: Cells, path: str | Path, *, more: Table | None = None) -> None:
    """Write `cells.csv`, with more columns behind; nan is an empty field, and so are lengths in pm without calibration.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    _write({**cells_table(cells), **(more or {})}, Path(path))


def read_columns_csv(path: str | Path) -> Table:
    """Return a table of columns from CSV: text for `sublattice`, whole numbers for flags and indices, nan where empty.

    Raises
    ------
    FormatError
        Where the file is no such table.
    """
    return _read(Path(path), required=("y_px", "x_px"))


def read_cells_csv(path: str | Path) -> Table:
    """Return a table of cells from CSV: whole numbers for row, col, flags and grain, nan where empty.

    Raises
    ------
    FormatError
        Where the file is no such table.
    """
    return _read(Path(path), required=("row", "col", "y_px", "x_px"))


def _write(table: Table, path: Path) -> None:
    # One format for a whole row: formatting is all the time there is in writing a table.
    formats = {"U": "%s", "i": "%d", "u": "%d", "f": "%.9g"}
    line = ",".join(formats[values.dtype.kind] for values in table.values())
    rows = zip(*(values.tolist() for values in table.values()), strict=True)
    body = "\n".join([line % row for row in rows]).replace(",nan", ",")
    body = re.sub(r"^nan", "", body, flags=re.MULTILINE)
    with atomic_file(path) as part:
        part.write_text(",".join(table) + "\n" + body + ("\n" if body else ""), encoding="utf-8", newline="\n")


def _read(path: Path, *, required: tuple[str, ...]) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError("a table of CSV must be readable", got=f"{path}: {error}", do="check the path") from error
    lines = [line for line in text.splitlines() if line.strip()]
    names = [name.strip() for name in lines[0].split(",")] if lines else []
    missing = [name for name in required if name not in names]
    if missing:
        raise FormatError(
            f"the table must have the columns {', '.join(required)}",
            got=f"{path.name} lacks {', '.join(missing)}",
            do="give a table written by dipolar, or one with the same names",
        )
    rows = [line.split(",") for line in lines[1:]]
    wrong = next((number for number, row in enumerate(rows, start=2) if len(row) != len(names)), None)
    if wrong is not None:
        raise FormatError(
            f"every line must have {len(names)} fields", got=f"{path.name}, line {wrong}", do="write the table again"
        )
    values = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    try:
        return {name: _typed(name, fields) for name, fields in zip(names, values, strict=True)}
    except ValueError as error:
        raise FormatError("fields must be numbers", got=f"{path.name}: {error}", do="write the table again") from error


def _typed(name: str, fields: tuple[str, ...]) -> np.ndarray:
    if name == "sublattice":
        return np.array(fields, dtype="U1")
    if name in _WHOLE:
        return np.array([int(field) for field in fields], dtype=np.int64)
    return np.array([float(field or "nan") for field in fields], dtype=np.float64)

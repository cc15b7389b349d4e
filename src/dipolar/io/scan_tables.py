"""A mapped scan as tables: `domains.csv`, `walls.csv` with `wall_points.csv`, `areas.csv`, and those of a series.

Lengths are in probe steps; columns that end in ``_nm`` say the same where the step is known, and are empty elsewhere.
Fields that are unknown are empty.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from dipolar.core.atomic import atomic_file
from dipolar.core.errors import FormatError
from dipolar.core.flags import names
from dipolar.core.scanning import ScanDomains, ScanResult, ScanSeries, ScanWall
from dipolar.io.tables import Table

TEXT = {"label", "before", "after", "flag_names"}
"""Columns of words."""
WHOLE = {"scan_y", "scan_x", "flags", "domain", "number", "wall", "point", "closed", "track"}
"""Columns of whole numbers."""
DIGITS = 6
"""Digits of numbers: nothing here is known better."""


def domains_table(result: ScanResult) -> Table:
    """Return one row per probe position, row by row: names as in `domains.csv`.

    `label` is the most probable class of the pattern by itself, empty where none was read; `domain` the connected
    region, in which neighbours had a say, -1 where there is none. Conventional images and order parameters follow, each
    under its own name; at the end, the names of the flags with semicolons between.
    """
    scan_map, names = result.map, result.map.names
    height, width = scan_map.flags.shape
    y, x = np.divmod(np.arange(height * width), width)
    label = scan_map.label.ravel()
    probability = scan_map.probability.reshape(-1, len(names))
    known = label >= 0
    most = np.full(len(label), np.nan, dtype=np.float32)
    most[known] = probability[known, label[known]]
    table: Table = {
        "scan_y": y,
        "scan_x": x,
        "label": np.array([*names, ""])[label],
        "probability": most,
        **{f"p_{name}": probability[:, place] for place, name in enumerate(names)},
        "flags": scan_map.flags.ravel(),
        "domain": result.domains.domain.ravel(),
        "counts": scan_map.counts.ravel(),
        "centre_y_px": scan_map.centre_px[..., 0].ravel(),
        "centre_x_px": scan_map.centre_px[..., 1].ravel(),
    }
    if scan_map.mixture is not None:
        share = scan_map.mixture.reshape(-1, len(names))
        table |= {f"share_{name}": share[:, place] for place, name in enumerate(names)}
    table |= {_column(name): values.ravel() for name, values in scan_map.virtual.items()}
    return table | {"flag_names": flag_names(scan_map.flags.ravel())}


def flag_names(flags: np.ndarray) -> np.ndarray:
    """Return the names of the flags of each row, with semicolons between; "" where there are none."""
    found, place = np.unique(flags, return_inverse=True)
    return _words(";".join(names(int(bits))) for bits in found)[place]


def _column(name: str) -> str:
    """Return the name of a column for that of a map."""
    return name.replace("−", "minus").replace(" ", "_").lower()


def walls_table(domains: ScanDomains) -> Table:
    """Return one row per wall, the longest first: names as in `walls.csv`.

    Where `width_sigma` is empty, `width` is an upper bound (95 %). `before` is the class on the left when one walks
    along the points of the wall, as seen on the screen.
    """
    walls, nm = domains.walls, _nm(domains.step_nm)
    values = {
        name: np.array([getattr(wall, name) for wall in walls], dtype=np.float64)
        for name in ("length", "length_sigma", "width", "width_sigma")
    }
    return {
        "number": np.arange(len(walls)),
        "before": _words(wall.before for wall in walls),
        "after": _words(wall.after for wall in walls),
        **values,
        **{f"{name}_nm": nm * value for name, value in values.items()},
        "position_sigma": np.array([np.sqrt(np.mean(wall.points_sigma**2)) for wall in walls], dtype=np.float64),
        "closed": np.array([int(wall.closed) for wall in walls], dtype=np.int64),
        "flags": np.array([wall.flags for wall in walls], dtype=np.int64),
        "flag_names": flag_names(np.array([wall.flags for wall in walls], dtype=np.int64)),
    }


def wall_points_table(domains: ScanDomains) -> Table:
    """Return one row per point of a wall, in order along it: names as in `wall_points.csv`."""
    walls = domains.walls
    counts = [len(wall.points) for wall in walls]
    points = np.concatenate([wall.points for wall in walls]) if walls else np.zeros((0, 2))
    sigma = np.concatenate([wall.points_sigma for wall in walls]) if walls else np.zeros(0)
    nm = _nm(domains.step_nm)
    return {
        "wall": np.repeat(np.arange(len(walls)), counts),
        "point": np.concatenate([np.arange(count) for count in counts]) if walls else np.zeros(0, dtype=np.int64),
        "y": points[:, 0],
        "x": points[:, 1],
        "sigma": sigma,
        "y_nm": nm * points[:, 0],
        "x_nm": nm * points[:, 1],
        "sigma_nm": nm * sigma,
    }


def areas_table(domains: ScanDomains) -> Table:
    """Return one row per domain, the largest first: names as in `areas.csv`."""
    nm2 = _nm(domains.step_nm) ** 2
    return {
        "domain": np.arange(len(domains.state)),
        "label": _words(domains.names[state] for state in domains.state),
        "area": domains.area,
        "area_sigma": domains.area_sigma,
        "area_nm2": nm2 * domains.area,
        "area_sigma_nm2": nm2 * domains.area_sigma,
    }


def fractions_table(series: ScanSeries) -> Table:
    """Return one row per scan of a series: names as in `fractions.csv`."""
    table: Table = {"time": series.time}
    for place, name in enumerate(series.names):
        table[f"fraction_{name}"] = series.fraction[:, place]
        table[f"fraction_{name}_sigma"] = series.fraction_sigma[:, place]
    return table


def tracks_table(series: ScanSeries) -> Table:
    """Return one row per wall and scan in which it is seen: names as in `tracks.csv`."""
    nm = _nm(series.step_nm)
    seen = [np.flatnonzero(np.isfinite(track.moved)) for track in series.tracks]

    def column(values: Callable[[int], np.ndarray]) -> np.ndarray:
        return np.concatenate([values(place)[rows] for place, rows in enumerate(seen)]) if seen else np.zeros(0)

    tracks, counts = series.tracks, [len(rows) for rows in seen]
    moved, sigma = column(lambda place: tracks[place].moved), column(lambda place: tracks[place].moved_sigma)
    return {
        "track": np.repeat(np.arange(len(tracks)), counts),
        "before": _words(name for track, count in zip(tracks, counts, strict=True) for name in [track.before] * count),
        "after": _words(name for track, count in zip(tracks, counts, strict=True) for name in [track.after] * count),
        "time": column(lambda _: series.time),
        "moved": moved,
        "moved_sigma": sigma,
        "moved_nm": nm * moved,
        "moved_sigma_nm": nm * sigma,
        "length": column(lambda place: tracks[place].length),
    }


def walls_from(walls: Table, points: Table) -> tuple[ScanWall, ...]:
    """Return walls from the tables of `walls.csv` and `wall_points.csv`."""
    found = []
    for row, number in enumerate(walls["number"].tolist()):
        mine = points["wall"] == number
        found.append(
            ScanWall(
                before=str(walls["before"][row]),
                after=str(walls["after"][row]),
                points=np.stack([points["y"][mine], points["x"][mine]], axis=1),
                points_sigma=points["sigma"][mine],
                closed=bool(walls["closed"][row]),
                flags=int(walls["flags"][row]),
                **{name: float(walls[name][row]) for name in ("length", "length_sigma", "width", "width_sigma")},
            )
        )
    return tuple(found)


def probabilities_from(table: Table) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return classes, probabilities (scan_y, scan_x, class) and flags from the table of `domains.csv`.

    Raises
    ------
    FormatError
        Where rows are missing or there twice.
    """
    names = tuple(name[2:] for name in table if name.startswith("p_"))
    y, x = table["scan_y"], table["scan_x"]
    shape = (int(y.max(initial=-1)) + 1, int(x.max(initial=-1)) + 1)
    if len(np.unique(y * shape[1] + x)) != len(y) or len(y) != shape[0] * shape[1]:
        raise FormatError(
            "a table of domains has one row per probe position",
            got=f"{len(y)} rows for {shape[0]} × {shape[1]} positions",
            do="give the domains.csv that dipolar wrote",
        )
    probability = np.full((*shape, len(names)), np.nan, dtype=np.float32)
    for place, name in enumerate(names):
        probability[y, x, place] = table[f"p_{name}"]
    flags = np.zeros(shape, dtype=np.uint32)
    flags[y, x] = table["flags"]
    return names, probability, flags


def write_scan_tables(result: ScanResult, folder: str | Path) -> list[Path]:
    """Write `domains.csv`, `walls.csv`, `wall_points.csv` and `areas.csv` into a folder; return their paths.

    Raises
    ------
    OutputError
        Where one cannot be written.
    """
    tables = {
        "domains.csv": domains_table(result),
        "walls.csv": walls_table(result.domains),
        "wall_points.csv": wall_points_table(result.domains),
        "areas.csv": areas_table(result.domains),
    }
    return [write_csv(table, Path(folder) / name) for name, table in tables.items()]


def write_series_tables(series: ScanSeries, folder: str | Path) -> list[Path]:
    """Write `fractions.csv` and `tracks.csv` into a folder; return their paths.

    Raises
    ------
    OutputError
        Where one cannot be written.
    """
    tables = {"fractions.csv": fractions_table(series), "tracks.csv": tracks_table(series)}
    return [write_csv(table, Path(folder) / name) for name, table in tables.items()]


def write_csv(table: Table, path: str | Path) -> Path:
    """Write a table whose words may hold commas and quotation marks; nan is an empty field.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    columns = [_fields(values) for values in table.values()]
    with (
        atomic_file(Path(path)) as part,
        part.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*columns, strict=True))
    return Path(path)


def read_csv(path: str | Path, *, required: tuple[str, ...] = ()) -> Table:
    """Return a table that `write_csv` wrote: words, whole numbers, and numbers with nan where a field is empty.

    Parameters
    ----------
    path
        The file.
    required
        Columns that must be there.

    Raises
    ------
    FormatError
        Where the file is no such table.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError("a table of CSV must be readable", got=f"{path}: {error}", do="check the path") from error
    names = [name.strip() for name in rows[0]] if rows else []
    missing = [name for name in required if name not in names]
    wrong = next((number for number, row in enumerate(rows[1:], start=2) if len(row) != len(names)), None)
    if missing or wrong is not None or len(set(names)) != len(names):
        raise FormatError(
            f"the table must have {', '.join(required) or 'columns'}, and as many fields in every line",
            got=f"{path.name} lacks {', '.join(missing)}" if missing else f"{path.name}, line {wrong or 1}",
            do="give a table written by dipolar, or one with the same names",
        )
    columns = list(zip(*rows[1:], strict=True)) if len(rows) > 1 else [()] * len(names)
    try:
        return {name: _typed(name, fields) for name, fields in zip(names, columns, strict=True)}
    except ValueError as error:
        raise FormatError("fields must be numbers", got=f"{path.name}: {error}", do="write the table again") from error


def _fields(values: np.ndarray) -> list[str]:
    if values.dtype.kind != "f":
        return [str(value) for value in values.tolist()]
    if values.dtype == np.float32:  # a map
        return _alike(values)
    return ["" if math.isnan(value) else _whole_kept(value) for value in values.tolist()]


def _whole_kept(value: float) -> str:
    """Return `DIGITS` digits of a number, and all those before its point."""
    return f"{value:.0f}" if 10**DIGITS <= abs(value) < math.inf else f"{value:.{DIGITS}g}"


def _alike(values: np.ndarray) -> list[str]:
    """Return numbers with as many places behind the point as give the largest `DIGITS` digits, less zeros at the end.

    What a probability of 1e-9 says is that it is none.
    """
    most = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    behind = DIGITS - 1 - math.floor(math.log10(most)) if most > 0 else 0
    if behind > 2 * DIGITS:  # nothing but zeros would be left
        return ["" if math.isnan(value) else f"{value:.{DIGITS}g}" for value in values.tolist()]
    form = f"%.{max(behind, 0)}f"
    return ["" if math.isnan(value) else _bare(form % value) for value in values.tolist()]


def _bare(text: str) -> str:
    """Return a number without the zeros that end it, and without the sign of a zero."""
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _typed(name: str, fields: tuple[str, ...]) -> np.ndarray:
    if name in TEXT:
        return np.array(fields, dtype=np.str_) if fields else np.zeros(0, dtype="U1")
    if name in WHOLE:
        return np.array([int(field) for field in fields], dtype=np.int64)
    return np.array([float(field or "nan") for field in fields], dtype=np.float64)


def _words(words: Iterable[str]) -> np.ndarray:
    found = list(words)
    return np.array(found, dtype=np.str_) if found else np.zeros(0, dtype="U1")


def _nm(step_nm: float | None) -> float:
    return float("nan") if step_nm is None else step_nm

"""Every figure of a measurement, drawn, encoded and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dipolar.core.errors import OutputError, SettingsError
from dipolar.core.measurement import Measurement

from . import style
from .displacement import displacement_map
from .gain import gain_figure
from .histogram import displacement_histogram
from .overlay import columns_figure
from .panels import lattice_sheet
from .sigma import sigma_figure

FIGURES: Mapping[str, Callable[[Measurement], Figure]] = {
    "map": displacement_map,
    "sigma": sigma_figure,
    "histogram": displacement_histogram,
    "lattice": lattice_sheet,
    "columns": columns_figure,
    "gain": gain_figure,
}
"""Name → function, in the order of the report."""

Rendered = Mapping[str, Mapping[str, bytes]]
"""Figure name → format → the bytes of the file."""


def render_figures(measurement: Measurement, *, formats: Sequence[str] = ("png",)) -> dict[str, dict[str, bytes]]:
    """Return every figure in every format, each drawn once; the gain check only where it was run.

    Raises
    ------
    SettingsError
        A format is not one of png, svg, pdf.
    """
    unknown = [name for name in formats if name not in style.FORMATS]
    if unknown or not formats:
        raise SettingsError(
            "Figures are written as " + ", ".join(style.FORMATS) + ".",
            got=", ".join(map(repr, unknown)) or "no format",
            do='formats=("png", "pdf")',
        )
    rendered = {}
    for name, draw in FIGURES.items():
        if name != "gain" or measurement.gain_check is not None:
            drawn = draw(measurement)
            rendered[name] = {file_format: style.encode(drawn, file_format) for file_format in formats}
    return rendered


def write_figures(
    measurement: Measurement, folder: Path, *, formats: Sequence[str] = ("png",), rendered: Rendered | None = None
) -> list[Path]:
    """Write ``map.png`` and, for each other figure, ``figures/NAME.png``; return the paths.

    Parameters
    ----------
    measurement
        What was measured.
    folder
        Where to; made if it does not exist.
    formats
        Any of png, svg, pdf. Maps of many cells are bitmaps inside SVG and PDF; lines and words stay vectors.
    rendered
        What `render_figures` returned, to save drawing again; it then decides figures and formats.

    Raises
    ------
    SettingsError
        A format is not one of png, svg, pdf.
    OutputError
        A file cannot be written.
    """
    rendered = render_figures(measurement, formats=formats) if rendered is None else rendered
    written = []
    for name, files in rendered.items():
        place = folder if name == "map" else folder / "figures"
        for file_format, content in files.items():
            written.append(write_bytes(place / f"{name}.{file_format}", content))
    return written


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file, making its folder; return the path.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(
            f"The file {path} cannot be written.",
            got=str(error.strerror or error),
            do="choose another folder with --out",
        ) from error
    return path

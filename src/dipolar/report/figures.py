"""Every figure of a measurement, drawn, encoded and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dipolar.core.errors import OutputError, SettingsError
from dipolar.core.measurement import Measurement

from . import style
from .anomalies import anomalies_figure
from .antipolar import order_figure
from .dense import dense_figure
from .displacement import displacement_map
from .domains import domains_figure
from .gain import gain_figure
from .histogram import displacement_histogram
from .layers import tetragonality_figure
from .network import beside_the_fit
from .overlay import columns_figure
from .panels import lattice_sheet
from .points import octahedra_figure, planes_figure
from .polarization import polarization_figure
from .reference import reference_figure
from .scan import scan_figure
from .sigma import sigma_figure
from .tilt import tilt_figure
from .walls import walls_figure

FIGURES: Mapping[str, Callable[[Measurement], Figure | None]] = {
    "map": displacement_map,
    "polarization": lambda m: (
        None if m.findings.polarization is None else polarization_figure(m, m.findings.polarization)
    ),
    "sigma": sigma_figure,
    "histogram": displacement_histogram,
    "prediction": lambda m: (
        None
        if m.findings.prediction is None
        else dense_figure(m.image, m.findings.prediction, pixel_size_pm=m.calibration.pixel_size_pm)
    ),
    "comparison": beside_the_fit,
    "domains": lambda m: None if m.findings.maps is None else domains_figure(m, m.findings.maps),
    "walls": lambda m: (
        None if m.findings.maps is None or not m.findings.maps.walls else walls_figure(m, m.findings.maps)
    ),
    "reference": lambda m: (
        None if m.findings.proposal is None else reference_figure(m, m.findings.proposal, m.findings.mistilt)
    ),
    "tilt": lambda m: None if m.findings.tilt is None else tilt_figure(m, m.findings.tilt),
    "order": lambda m: None if m.findings.order is None else order_figure(m, m.findings.order, m.findings.wave),
    "lattice": lattice_sheet,
    "layers": lambda m: (
        None
        if m.findings.tetragonality is None or m.findings.layers is None
        else tetragonality_figure(m, m.findings.tetragonality, m.findings.layers)
    ),
    "planes": lambda m: planes_figure(m, m.findings.planes) if m.findings.planes else None,
    "scan": lambda m: (
        None
        if m.findings.scan is None and m.findings.shape is None
        else scan_figure(m, m.findings.scan, m.findings.shape)
    ),
    "octahedra": lambda m: None if m.findings.sites is None else octahedra_figure(m, m.findings.sites),
    "columns": columns_figure,
    "anomalies": lambda m: (
        None
        if m.findings.maps is None or not len(m.findings.maps.anomalies.cell)
        else anomalies_figure(m, m.findings.maps)
    ),
    "gain": lambda m: None if m.gain_check is None else gain_figure(m),
}
"""Name → function, in the order of the report; a function returns None where it has nothing to show."""

Rendered = Mapping[str, Mapping[str, bytes]]
"""Figure name → format → the bytes of the file."""


def render_figures(measurement: Measurement, *, formats: Sequence[str] = ("png",)) -> dict[str, dict[str, bytes]]:
    """Return every figure that has something to show in every format, each drawn once.

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
        drawn = draw(measurement)
        if drawn is not None:
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


def write_bytes(path: Path, content: bytes, *, option: str = "--out") -> Path:
    """Write a file, making its folder; return the path.

    Parameters
    ----------
    path
        The file.
    content
        What shall be in it.
    option
        The one that says where to, for the message.

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
            do=f"choose another folder with {option}",
        ) from error
    return path

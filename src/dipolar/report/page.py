"""The report: one HTML file with every figure inside it, which opens from disk and loads nothing."""

from __future__ import annotations

import base64
from pathlib import Path

from dipolar.core.measurement import Measurement

from . import style
from .captions import TITLES, caption
from .citations import citations
from .figures import Rendered, render_figures, write_bytes
from .notices import notices
from .repeat import repeat_lines
from .table import table_rows
from .template import filled

PAGE_PX = style.TWO_COLUMNS_MM * style.MM * style.DPI
"""Width of a full figure; narrower ones are shown narrower, so that their type is equally large."""


def write_report(measurement: Measurement, path: Path, *, rendered: Rendered | None = None) -> Path:
    """Write the report as one HTML file and return its path.

    Parameters
    ----------
    measurement
        What was measured.
    path
        The file, usually ``report.html``.
    rendered
        What `render_figures` returned with PNG among its formats, to save drawing again.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    return write_bytes(path, report_html(measurement, rendered=rendered).encode("utf-8"))


def report_html(measurement: Measurement, *, rendered: Rendered | None = None) -> str:
    """Return the text of the report; every word that comes from the user's data is escaped by the template."""
    rendered = render_figures(measurement) if rendered is None else rendered
    return filled(
        "report.html.j2",
        name=measurement.image.name or "unnamed image",
        record=measurement.record,
        how="measured" if measurement.findings.prediction is None else "predicted",
        calibrated=measurement.calibration.pixel_size_pm is not None,
        notices=notices(measurement),
        figures=[
            {
                "name": name,
                "title": TITLES[name],
                "caption": caption(measurement, name),
                "width_percent": round(100 * _png_width(files["png"]) / PAGE_PX, 1),
                "data": base64.b64encode(files["png"]).decode("ascii"),
            }
            for name, files in rendered.items()
        ],
        rows=table_rows(measurement),
        repeat=repeat_lines(measurement),
        citations=citations(measurement),
    )


def _png_width(png: bytes) -> int:
    """Return the width in pixels, which the first chunk of every PNG holds in its bytes 16 to 19."""
    return int.from_bytes(png[16:20], "big")

"""The report: one HTML file with every figure inside it, which opens from disk and loads nothing."""

from __future__ import annotations

import base64
from itertools import groupby
from pathlib import Path

import jinja2

from dipolar.core.nouns import Measurement

from . import style
from .citations import bibtex, citations
from .displacement import full_radius
from .figures import Rendered, render_figures, write_bytes
from .notices import notices
from .repeat import repeat_lines
from .scene import unit_of
from .table import table_rows
from .wording import basis_words, number, reference_words, sentence

PAGE_PX = style.TWO_COLUMNS_MM * style.MM * style.DPI
"""Width of a full figure; narrower ones are shown narrower, so that their type is equally large."""
TITLES = {
    "map": "Polar displacement",
    "sigma": "Sigma",
    "histogram": "Distribution of the displacements",
    "lattice": "Lattice, strain and rotation",
    "columns": "Columns over the image",
    "gain": "Gain check on this image",
}


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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cited = citations(measurement)
    return environment.get_template("report.html.j2").render(
        name=measurement.image.name or "unnamed image",
        record=measurement.record,
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
        sections=[(title, list(rows)) for title, rows in groupby(table_rows(measurement), key=lambda row: row.section)],
        repeat=repeat_lines(measurement),
        citations=cited,
        bibtex=bibtex(cited),
    )


def _png_width(png: bytes) -> int:
    """Return the width in pixels, which the first chunk of every PNG holds in its bytes 16 to 19."""
    return int.from_bytes(png[16:20], "big")


def caption(measurement: Measurement, name: str) -> str:
    """Return how to read the figure `name`, in plain text."""
    unit = unit_of(measurement).name
    words = {
        "map": (
            "Each quadrilateral is one unit cell; its colour is the polar displacement, "
            f"{basis_words(measurement.cells.basis)}. Hue is the direction as seen on the screen, counted "
            "counter-clockwise from the right (90° is up); colour deepens from white at zero to its full hue at "
            f"{number(full_radius(measurement))} {unit}, the radius of the wheel, and stays there beyond. Grey cells "
            "are flagged or have no displacement. An arrow is the mean of the cells around it. "
            f"{sentence(reference_words(measurement))} This is a displacement, not a polarization: no charges and "
            "no factor of a material enter it."
        ),
        "sigma": (
            "One standard error per component: the square root of the mean of the variances of y and x. Left: of the "
            "displacement of each cell. Right: of the positions of A and B columns and of the displacement, as shares "
            "of their number. What differs by less than a few sigma from its surroundings may be noise."
        ),
        "histogram": (
            "Every unflagged cell by its displacement as it points on the screen: up is up, which is negative dy. "
            "Domains are separate clouds. The ellipse is one standard error of one cell, from the median covariance; "
            "a cloud that is wider holds true variation. The cross is the mean: where domains balance, its distance "
            "from zero may be an instrumental offset."
        ),
        "lattice": (
            "a runs from left to right, b from top to bottom, gamma is the angle between them. Lattice parameters are "
            "centred on their median, strain and rotation on zero; the limits hold 98 % of the cells. Scan drift and "
            "distortion appear here too, as strain that follows the scan direction."
        ),
        "columns": (
            "Fitted centres over the image: A columns as vermillion discs, B columns as blue squares, with a yellow "
            "ring where a flag concerns the position. a: the middle of the image; b: where most columns are flagged, "
            "else far from the middle. Where columns stand too close on paper, the overview marks only flagged ones."
        ),
        "gain": (
            "The image was simulated anew from its own fit, with its own noise, and measured again. Gain is the slope "
            "of the displacement found against the one put in: 1 is true, less means that displacements come out too "
            "small. The width of (found − put in) / sigma is 1 where sigma is honest."
        ),
    }
    return words[name]

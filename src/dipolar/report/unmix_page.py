"""The report of unmixing: one HTML file with the sheet inside it, which opens from disk and loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import jinja2

from dipolar.core.unmixing import Unmixed

from .citations import bibtex
from .figures import write_bytes
from .repeat import lines_of
from .unmix import render_sheet, sheet_caption
from .unmix_angle_parts import WRONG
from .unmix_citations import unmix_citations
from .unmix_table import NAMES, unmix_rows


def write_unmix_report(unmixed: Unmixed, path: Path, *, rendered: Mapping[str, bytes] | None = None) -> Path:
    """Write the report as one HTML file and return its path.

    Parameters
    ----------
    unmixed
        What was found.
    path
        The file, usually ``report.html``.
    rendered
        What `render_sheet` returned with PNG among its formats, to save drawing again.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    return write_bytes(path, unmix_report_html(unmixed, rendered=rendered).encode("utf-8"))


def unmix_report_html(unmixed: Unmixed, *, rendered: Mapping[str, bytes] | None = None) -> str:
    """Return the text of the report; every word that comes from the user's data is escaped by the template."""
    rendered = render_sheet(unmixed) if rendered is None else rendered
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    record, cited = unmixed.record, unmix_citations(unmixed)
    name = next(iter(record.inputs), unmixed.image.name or "IMAGE")
    name = next((one for one in record.inputs if one.endswith(".h5") and one != name), name)  # what was measured there
    return environment.get_template("unmix.html.j2").render(
        name=unmixed.image.name or "unnamed image",
        method=NAMES[unmixed.components.method],
        patches=len(unmixed.site),
        record=record,
        calibrated=unmixed.pixel_size_pm is not None,
        wrong=_wrong(unmixed),
        notices=list(record.notes),
        caption=sheet_caption(unmixed),
        data=base64.b64encode(rendered["png"]).decode("ascii"),
        sections=[(title, list(rows)) for title, rows in groupby(unmix_rows(unmixed), key=lambda row: row.section)],
        repeat=lines_of("unmix", name, record.settings),
        citations=cited,
        bibtex=bibtex(cited),
    )


def _wrong(unmixed: Unmixed) -> list[str]:
    """Return why an autoencoder has no map, and what to do; nothing where all is well."""
    angles = unmixed.components.angles
    if angles is None or angles.verdict == "good":
        return []
    return [WRONG[angles.verdict], f"What to do: {angles.remedy}"]

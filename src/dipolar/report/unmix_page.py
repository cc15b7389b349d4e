"""The report of unmixing: one HTML file with the sheet inside it, which opens from disk and loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from dipolar.core.unmixing import Unmixed

from .figures import write_bytes
from .repeat import lines_of
from .template import filled
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
    record = unmixed.record
    name = next(iter(record.inputs), unmixed.image.name or "IMAGE")
    name = next((one for one in record.inputs if one.endswith(".h5") and one != name), name)  # what was measured there
    return filled(
        "unmix.html.j2",
        name=unmixed.image.name or "unnamed image",
        method=NAMES[unmixed.components.method],
        patches=len(unmixed.site),
        record=record,
        calibrated=unmixed.pixel_size_pm is not None,
        wrong=_wrong(unmixed),
        notices=list(record.notes),
        caption=sheet_caption(unmixed),
        data=base64.b64encode(rendered["png"]).decode("ascii"),
        rows=unmix_rows(unmixed),
        repeat=lines_of("unmix", name, record.settings),
        citations=unmix_citations(unmixed),
    )


def _wrong(unmixed: Unmixed) -> list[str]:
    """Return why an autoencoder has no map, and what to do; nothing where all is well."""
    angles = unmixed.components.angles
    if angles is None or angles.verdict == "good":
        return []
    return [WRONG[angles.verdict], f"What to do: {angles.remedy}"]

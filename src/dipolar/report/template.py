"""The skeleton of all reports: one HTML file that opens from disk and loads nothing, filled from a template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2

from .citations import Citation, bibtex
from .repeat import Repeat
from .table import Row


def filled(template: str, *, rows: Iterable[Row], repeat: Repeat, citations: Sequence[Citation], **values: Any) -> str:
    """Return the text of a report; every word that comes from the user's data is escaped by the template.

    Parameters
    ----------
    template
        Its name in ``templates``; it extends ``page.html.j2``, which takes `rows`, `repeat` and `citations`.
    rows
        Lines of its table, those of one section after the other.
    repeat
        How the run is repeated.
    citations
        What to cite.
    **values
        What else the template takes; one that it misses is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        sections=[(title, list(lines)) for title, lines in groupby(rows, key=lambda row: row.section)],
        repeat=repeat,
        citations=citations,
        bibtex=bibtex(citations),
        **values,
    )

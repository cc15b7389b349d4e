"""Results → figures, tables and a page. Figures are functions of a `Measurement` and know nothing of files."""

from __future__ import annotations

from .citations import bibtex, citations
from .colour import displacement_colours
from .displacement import displacement_map, full_radius
from .figures import FIGURES, render_figures, write_figures
from .gain import gain_figure
from .histogram import displacement_histogram
from .notices import notices
from .overlay import columns_figure
from .page import report_html, write_report
from .panels import lattice_sheet
from .repeat import Repeat, repeat_lines
from .sigma import sigma_figure
from .table import Row, table_rows

__all__ = [
    "FIGURES",
    "Repeat",
    "Row",
    "bibtex",
    "citations",
    "columns_figure",
    "displacement_colours",
    "displacement_histogram",
    "displacement_map",
    "full_radius",
    "gain_figure",
    "lattice_sheet",
    "notices",
    "render_figures",
    "repeat_lines",
    "report_html",
    "sigma_figure",
    "table_rows",
    "write_figures",
    "write_report",
]

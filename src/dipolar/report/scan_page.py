"""The report of a mapped scan: one HTML file with every figure inside it, which opens from disk and loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

import jinja2
from matplotlib.figure import Figure

from dipolar.core.errors import SettingsError
from dipolar.core.scanning import ScanResult

from . import style
from .citations import bibtex
from .figures import Rendered, write_bytes
from .page import PAGE_PX
from .repeat import lines_of
from .scan_citations import scan_citations
from .scan_confidence import confidence_figure
from .scan_map import scan_figure
from .scan_parts import flags_everywhere
from .scan_patterns import mean_patterns_figure
from .scan_table import scan_rows_of
from .scan_walls import scan_walls_figure

SCAN_FIGURES: Mapping[str, Callable[[ScanResult], Figure | None]] = {
    "map": scan_figure,
    "walls": scan_walls_figure,
    "patterns": mean_patterns_figure,
    "confidence": confidence_figure,
}
"""Name → the function that draws it, or returns None where there is nothing to draw."""
MODEL = ".safetensors"
"""Ending of the files of models."""
TITLES = {"map": "Map", "walls": "Walls", "patterns": "Mean patterns", "confidence": "Confidence"}
CAPTIONS = {
    "map": "a: the class of every probe position, in which neighbours have a say where a pattern leaves doubt, with "
    "the walls between classes; how probable the class is; and mixtures of classes, as {mixture}. b: what the same "
    "patterns give without any label. Flagged positions are hatched. Directions of the centre of mass are coloured as "
    "on the wheel, its mean taken off; a shift of the direct beam by bending or thickness is in it too.{order}",
    "walls": "Walls, the longest numbered as in walls.csv: where two classes have equal {level}, between positions and "
    "smoothed along the wall. Grey bands are as wide as the wall, the full width 2ξ of a tanh fitted to {profile} "
    "across it. Errors are one standard error; an arrow is an upper bound (95 %).",
    "patterns": "Mean pattern of each class, centred on the direct beam, with the virtual detectors on its left half "
    "alone so that ghosts on the right are seen as they are; and how it differs from the mean of all "
    "classes in units of its root: a difference of 1 is as large as the noise of one pixel of one pattern.",
    "confidence": "How probable the class of each position is; bars of classes stand on each other. {reliability}",
}


def render_scan_figures(result: ScanResult, *, formats: Sequence[str] = ("png",)) -> Rendered:
    """Return every figure in every format, drawn once: name → format → bytes.

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
    drawn = {name: draw(result) for name, draw in SCAN_FIGURES.items()}
    return {
        name: {file_format: style.encode(one, file_format) for file_format in formats}
        for name, one in drawn.items()
        if one is not None
    }


def write_scan_figures(result: ScanResult, folder: Path, *, rendered: Rendered | None = None) -> list[Path]:
    """Write ``map.png`` and, for each other figure, ``figures/NAME.png``, in every format drawn; return the paths.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    rendered = render_scan_figures(result) if rendered is None else rendered
    return [
        write_bytes((folder if name == "map" else folder / "figures") / f"{name}.{file_format}", content)
        for name, files in rendered.items()
        for file_format, content in files.items()
    ]


def write_scan_report(result: ScanResult, path: Path, *, rendered: Rendered | None = None) -> Path:
    """Write the report as one HTML file and return its path.

    Parameters
    ----------
    result
        What was found.
    path
        The file, usually ``report.html``.
    rendered
        What `render_scan_figures` returned with PNG among its formats, to save drawing again.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    return write_bytes(path, scan_report_html(result, rendered=rendered).encode("utf-8"))


def scan_report_html(result: ScanResult, *, rendered: Rendered | None = None) -> str:
    """Return the text of the report; every word that comes from the user's data is escaped by the template."""
    rendered = render_scan_figures(result) if rendered is None else rendered
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    record, cited = result.record, scan_citations(result)
    scan, *others = record.inputs or (result.map.name or "SCAN",)
    files = files_of(others)
    return environment.get_template("scan.html.j2").render(
        name=result.map.name or "unnamed scan",
        record=record,
        positions=result.map.flags.size,
        classes=len(result.map.names),
        calibrated=result.map.step_nm is not None,
        wrong=flags_everywhere(result.map),
        notices=list(record.notes),
        figures=[
            {
                "name": name,
                "title": TITLES[name],
                "caption": scan_caption(result, name),
                "width_percent": round(100 * int.from_bytes(files["png"][16:20], "big") / PAGE_PX, 1),
                "data": base64.b64encode(files["png"]).decode("ascii"),
            }
            for name, files in rendered.items()
        ],
        sections=[(title, list(rows)) for title, rows in groupby(scan_rows_of(result), key=lambda row: row.section)],
        repeat=lines_of("map", scan, acting(record.settings, files), noun="scan", files=files),
        citations=cited,
        bibtex=bibtex(cited),
    )


def files_of(inputs: Sequence[str]) -> dict[str, str]:
    """Return the files that were read besides the scan, by the names of their options: a model and labels."""
    return {"model" if PurePath(name).suffix == MODEL else "labels": name for name in inputs}


def acting(settings: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that had a say: what belongs to another choice, or was not asked for, is left out.

    A model knows where its ghosts are; and CIF files, clicks and patience say something with one choice alone.
    """
    ghosts = settings.get("ghosts")
    idle = {
        "ghosts": "model" in files,
        "clicks": ghosts != "clicks",
        **dict.fromkeys(("parent", "child", "parent_axis", "child_axis"), ghosts != "cif"),
        "patience_s": not settings.get("follow"),
        "follow": not settings.get("follow"),
        "libertem": not settings.get("libertem"),
    }
    return {name: value for name, value in settings.items() if not idle.get(name)}


def scan_caption(result: ScanResult, name: str) -> str:
    """Return what a figure shows, what its colours mean, and what it cannot say."""
    shares = result.map.mixture is not None
    order = (
        " Ghost strength is the intensity of ghosts over that of main disks, above what surrounds both: near bright "
        "disks too much is taken off, and no ghosts at all come out below 0. Horizontal − vertical is that of ghosts "
        "along one axis less that of ghosts along the other."
    )
    validated = "Right: how often the class is right against how sure the classifier is; on the line it is honest."
    return CAPTIONS[name].format(
        mixture="the shares found in each pattern" if shares else "the probabilities, which jump where shares do not",
        level="shares" if shares else "probabilities",
        profile="the share"
        if shares
        else "the probability, over which the classifier changes its mind: the wall itself may be wider,",
        order=order if "ghost strength" in result.map.virtual else "",
        reliability=validated
        if result.validation is not None and result.validation.count.sum()
        else "How right the classifier is was not measured here.",
    )

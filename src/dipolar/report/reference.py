"""The reference region that is proposed, and whether a mistilt is to be suspected, with the evidence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from dipolar.core.findings import MistiltFinding, ReferenceProposal
from dipolar.core.measurement import Measurement

from . import colour, scene, style
from .displacement import full_radius
from .ground import ground, paint, show_image
from .panels import panel_size
from .table import Row
from .wording import counted, number, with_sigma

COLOURS = {"A": style.COLOUR_A, "B": style.COLOUR_B}


@style.styled
def reference_figure(measurement: Measurement, proposal: ReferenceProposal, mistilt: MistiltFinding | None) -> Figure:
    """Return the map with the proposed region, beside the offset and the elongation of the columns.

    The measurement is the one that the proposal was made for, without a reference taken off.
    """
    title, name = "Offset, reference, mistilt", measurement.image.name
    if not measurement.cells.flags.size:
        return style.message("no unit cells were found", title=title, name=name)
    height, width = measurement.image.data.shape
    below = width > 2.2 * height
    map_width, map_height = panel_size(
        width / height, widest=style.TWO_COLUMNS_MM - 4 if below else 110.0, tallest=110.0
    )
    drawn = style.figure(style.TWO_COLUMNS_MM, 20 + (map_height + 66 if below else max(map_height, 92)))
    style.heading(drawn, title, name)
    axes = style.axes_mm(drawn, 2, 11, map_width, map_height)
    _draw_map(axes, measurement, proposal)
    left, top = (6.0, map_height + 26) if below else (map_width + 10, 13.0)
    if mistilt is not None:
        _draw_evidence(style.axes_mm(drawn, left, top + 2, 38, 38), mistilt, measurement)
    words_at = (left + 48, top - 2) if below else (left - 2, top + 56)
    full_width, full_height = (float(inches) / style.MM for inches in drawn.get_size_inches())
    room = int((full_width - words_at[0] - 2) / 1.18)
    region = f"proposed: {proposal.option}" if proposal.option else "no reference region is proposed"
    paragraphs = [region, proposal.why]
    paragraphs += [] if mistilt is None else [f"mistilt: {mistilt.verdict}", mistilt.why]
    lines = "\n".join(
        "\n".join(textwrap.wrap(words, room)) + ("\n" if k % 2 else "") for k, words in enumerate(paragraphs)
    )
    drawn.text(words_at[0] / full_width, 1 - words_at[1] / full_height, lines, size=6.5, va="top", linespacing=1.35)
    return drawn


def reference_rows(measurement: Measurement, proposal: ReferenceProposal) -> list[Row]:
    """Return what the table says of the proposal."""
    return list(_proposal_rows(measurement, proposal))


def _proposal_rows(measurement: Measurement, proposal: ReferenceProposal) -> Iterator[Row]:
    section, unit = "Reference, proposed", scene.unit_of(measurement)
    yield Row(section, "region", proposal.option or "none", proposal.why)
    if proposal.region_px is not None:
        pairs = zip(proposal.offset_px, proposal.offset_sigma_px, strict=True)
        parts = [with_sigma(unit.scale * value, unit.scale * sigma) for value, sigma in pairs]
        yield Row(
            section,
            "offset there",
            f"({parts[0]}, {parts[1]}) {unit.name}",
            f"(dy, dx) of {counted(proposal.cells, 'cell')}",
        )


def mistilt_rows(measurement: Measurement, mistilt: MistiltFinding) -> Iterator[Row]:
    """Yield what the table says of a tilt of the crystal."""
    section, unit = "Mistilt", scene.unit_of(measurement)
    yield Row(section, "verdict", mistilt.verdict, mistilt.why)
    if np.isfinite(mistilt.angle_between_deg):
        between = with_sigma(mistilt.angle_between_deg, mistilt.angle_between_sigma_deg, "°")
        yield Row(section, "offset to elongation", between, f"as near by chance: {number(100 * mistilt.chance, 2)} %")
        yield Row(section, "smear, if a tilt made it all", f"{number(unit.scale * mistilt.smear_px, 3)} {unit.name}")
    for found in mistilt.elongations:
        excess = float(np.hypot(*found.excess_px2))
        value = with_sigma(excess, found.sigma_px2, "px²")
        yield Row(section, f"elongation of {found.sublattice}", value, "variance along minus across, median of columns")


def _draw_map(axes: Axes, measurement: Measurement, proposal: ReferenceProposal) -> None:
    cells = measurement.cells
    trusted = scene.trusted_cells(cells)
    under = ground(measurement)
    show_image(axes, under, dim=0.35)
    vectors = np.where(trusted[:, None], cells.displacement_px, np.nan) * scene.unit_of(measurement).scale
    paint(axes, under, colour.displacement_colours(vectors, full_radius=full_radius(measurement)))
    if proposal.region_px is not None:
        y0, y1, x0, x1 = proposal.region_px
        axes.add_patch(
            Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ls=(0, (4, 2)), lw=1.1, ec="0.05", zorder=5)
        )
    style.bare(axes)
    axes.set_title("displacement, offset not removed" + ("; dashed: proposed" if proposal.region_px else ""))
    style.scale_bar(axes, measurement.calibration.pixel_size_pm, below=True)


def _draw_evidence(axes: Axes, mistilt: MistiltFinding, measurement: Measurement) -> None:
    """Draw the offset as an arrow, and the shapes of A and B columns with their elongation six times as strong."""
    unit = scene.unit_of(measurement)
    size = np.hypot(*mistilt.offset_px)
    for found in mistilt.elongations:
        if not np.isfinite(found.sigma_px2):
            continue
        code = 0 if found.sublattice == "A" else 1
        mine = measurement.columns.widths_px[measurement.columns.sublattice == code]
        mean = float(np.nanmedian(mine**2)) if len(mine) else 1.0
        share = min(6.0 * float(np.hypot(*found.excess_px2)) / (2.0 * mean), 0.8)
        angle = 0.5 * float(np.degrees(np.arctan2(found.excess_px2[1], found.excess_px2[0])))
        major, minor = np.sqrt(1.0 + share), np.sqrt(1.0 - share)
        # the axes point upwards here, so screen angles are those of mathematics
        axes.add_patch(
            Ellipse((0, 0), 1.3 * major, 1.3 * minor, angle=angle, fill=False, ec=COLOURS[found.sublattice], lw=1.1)
        )
        axes.plot([], [], color=COLOURS[found.sublattice], label=f"shape of {found.sublattice} (elongation × 6)")
    if np.isfinite(size) and size > 0:
        dy, dx = np.array(mistilt.offset_px) / size
        axes.annotate("", (dx, -dy), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "0.1", "lw": 1.2})
        axes.plot([], [], color="0.1", label=f"offset of B: {number(unit.scale * float(size), 3)} {unit.name}")
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    style.bare(axes)
    if not axes.get_legend_handles_labels()[0]:
        axes.text(0, 0, "neither is known", size=6.5, ha="center", va="center", color=style.QUIET)
        return
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.01), borderaxespad=0.0, handlelength=1.4)

"""What was corrected of the scan: shifts of single rows, and the shape of the scan, before and after."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dipolar.core.edits import EditsRecord
from dipolar.core.findings import ScanCalibration, ScanCorrection
from dipolar.core.measurement import Measurement

from . import scene, style
from .table import Row
from .wording import number, with_sigma


@style.styled
def scan_figure(measurement: Measurement, rows: ScanCorrection | None, shape: ScanCalibration | None) -> Figure:
    """Return the shifts of scan rows that were removed, and a square of the crystal as it was scanned."""
    drawn = style.figure(style.TWO_COLUMNS_MM, 62)
    style.heading(drawn, "Scan, corrected", measurement.image.name)
    unit = scene.unit_of(measurement)
    if rows is not None:
        at = rows.first_row + np.arange(len(rows.row_shift_px))
        inside = (at >= 0) & (at < measurement.image.data.shape[0])
        for axis, (name, colour) in enumerate((("y", style.COLOUR_A), ("x", style.COLOUR_B))):
            axes = style.axes_mm(drawn, 14, 12 + 22 * axis, 108, 17)
            shift, sigma = unit.scale * rows.row_shift_px[:, axis], unit.scale * rows.row_shift_sigma_px[:, axis]
            low, middle, high = ((shift + way * sigma)[inside] for way in (-1, 0, 1))
            axes.fill_between(at[inside], low, high, color=colour, alpha=0.25, lw=0)
            axes.plot(at[inside], middle, color=colour, lw=0.6)
            axes.margins(x=0)
            axes.set_ylabel(f"{name} ({unit.name})")
            axes.set_title(
                f"shift of rows in {name}: jitter {number(unit.scale * rows.jitter_before_px[axis], 3)} → "
                f"{number(unit.scale * rows.jitter_after_px[axis], 3)} {unit.name}"
            )
            style.open_frame(axes)
            if axis:
                axes.set_xlabel("scan row (px)")
            else:
                axes.tick_params(labelbottom=False)
    if shape is not None:
        axes = style.axes_mm(drawn, 140, 14, 34, 34)
        true = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], dtype=float)  # (y, x)
        scanned = true @ np.linalg.inv(shape.straighten).T
        axes.plot(true[:, 1], true[:, 0], color=style.COLOUR_B, lw=1.0, label="after")
        axes.plot(scanned[:, 1], scanned[:, 0], color=style.COLOUR_A, lw=1.0, ls="--", label="before")
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.axis("off")
        axes.set_title("a square of the crystal")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
    return drawn


def scan_rows(rows: ScanCorrection | None, shape: ScanCalibration | None, edits: EditsRecord | None) -> list[Row]:
    """Return what the table says of corrections of the scan and by hand."""
    found, section = [], "Corrections"
    if rows is not None:
        for axis, name in enumerate("yx"):
            value = f"{number(rows.jitter_before_px[axis], 3)} → {number(rows.jitter_after_px[axis], 3)} px"
            moved = f"columns moved by {number(rows.removed_px[axis], 3)} px (RMS)"
            found.append(Row(section, f"row jitter in {name}, before → after", value, moved))
        found.append(Row(section, "left in", "slow shifts of rows", rows.note))
    if shape is not None:
        for name, size, sigma in (
            ("y", shape.pixel_size_y_pm, shape.pixel_size_y_sigma_pm),
            ("x", shape.pixel_size_x_pm, shape.pixel_size_x_sigma_pm),
        ):
            found.append(Row(section, f"pixel size along {name}", with_sigma(size, sigma, "pm")))
        angle = float(np.degrees(np.arctan(shape.shear)))
        found.append(Row(section, "scan shear", with_sigma(shape.shear, shape.shear_sigma), f"{number(angle, 2)}°"))
    if edits is not None:
        counts = {"removed": edits.removed, "in masks": edits.ignored, "added": edits.added, "labels": edits.reassigned}
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(Row(section, "columns changed by hand", told))
    return found

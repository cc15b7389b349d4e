"""A library of tilt on disk and in words, with what it says of the error of a measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex128, Float

from dipolar.core.contracts import Progress, silent
from dipolar.core.nouns import Record
from dipolar.core.tilt_library import TiltLibrary, image_terms
from dipolar.io import result_folder, write_run_json
from dipolar.io.scan_tables import write_csv
from dipolar.io.tilt_library import kept_error, write_tilt_library
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.study_results import checked_folder, in_progress, table_of
from dipolar.recipes.tilt_library import tilt_library
from dipolar.recipes.tilt_library_checks import check_library, runner_of
from dipolar.recipes.tilt_library_settings import TiltLibrarySettings
from dipolar.recipes.tilt_library_shipped import LIBRARY
from dipolar.simulate.multislice import AnnularImages, Microscope, fit_columns

Row = Mapping[str, Any]
SOURCE_PM = 80.0
"""Width at half maximum of the source under which the shifts of columns are told."""
STEP_PM = 10.0
"""Largest pixel of the images in which columns are looked for."""
MIDDLE = (0.5, 0.5)
"""Where B is in the cell when nothing is displaced."""
NEAR = 0.4
"""Radius of the disk that is fitted, over the distance of A and B."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltLibraryResult:
    """A library on disk."""

    library: TiltLibrary
    """As it was made."""
    rows: Sequence[Row]
    """Where columns seem to be: one row for every thickness and tilt."""
    rms_error: float
    """Largest RMS error of an image on disk over its contrast, under a source of 40 pm."""
    rms_error_sharp: float
    """The same without a source's size."""
    size_bytes: int
    """Size of the file."""
    out: Path
    """Its folder."""


def write_tilt_library_folder(
    out: str | Path, *, settings: TiltLibrarySettings | None = None, progress: Progress = silent
) -> TiltLibraryResult:
    """Write a library of tilt into a folder, whole or not at all; one that was stopped goes on.

    Parameters
    ----------
    out
        The folder: library.npz, bias.csv, run.json. Until they are whole, work lies in ``OUT.work`` beside it.
    settings
        Crystal, microscope and nodes; None takes the defaults.
    progress
        Told how far it has come.

    Raises
    ------
    SettingsError
        If there can be no such library, or its cluster does not answer.
    OutputError
        If it cannot be written, or something else than a library has that name.
    """
    settings = settings or TiltLibrarySettings()
    check_library(settings)
    spread = runner_of(settings)
    out, clock = checked_folder(out, "a library of tilt"), Clock(progress)
    with in_progress(out, "library of tilt") as work:
        with clock("multislice", announce=False):
            library = tilt_library(settings, work=work, spread=spread, progress=progress)
        with clock("fitting columns"):
            rows = bias_rows(library)
        with result_folder(out) as folder, clock("writing the library"):
            write_tilt_library(library, folder / LIBRARY)
            write_csv(table_of(rows), folder / "bias.csv")
            blurred, sharp = kept_error(folder / LIBRARY)
            result = TiltLibraryResult(
                library=library, rows=rows, rms_error=blurred, rms_error_sharp=sharp,
                size_bytes=(folder / LIBRARY).stat().st_size, out=out,
            )  # fmt: skip
            record = Record(
                settings=settings.model_dump(),
                versions=versions(networks=True),
                inputs={"structure": library.source},
                seeds={},
                timings_s=clock.seconds,
                created=now(),
            )
            write_run_json(folder, record, extra={"summary": overview(result)})
    return result


def bias_rows(library: TiltLibrary) -> list[Row]:
    """Return where columns of a crystal in which nothing is displaced seem to be, when the beam leans along y.

    A Gaussian is fitted to each column, as to those of a real image, at the focus nearest to the entrance surface.
    """
    nodes = len(library.tilts_mrad) // 2
    focus = int(np.argmin(np.abs(library.foci_nm)))
    rows = []
    for tilt in range(nodes + 1):
        images = cell_images(library, tilt=(tilt, 0), focus=focus, source_fwhm_pm=SOURCE_PM)
        moved = column_shifts(images, library.cell_pm)
        for thickness, (a, b) in zip(library.thicknesses_nm, moved, strict=True):
            rows.append(
                {
                    "thickness_nm": float(thickness),
                    "focus_nm": float(library.foci_nm[focus]),
                    "tilt_mrad": float(library.tilts_mrad[nodes + tilt]),
                    "a_shift_pm": float(a[0]),
                    "b_shift_pm": float(b[0]),
                    "difference_pm": float(b[0] - a[0]),
                }
            )
    return sorted(rows, key=lambda row: (row["thickness_nm"], row["tilt_mrad"]))


def cell_images(library: TiltLibrary, *, tilt: tuple[int, int], focus: int, source_fwhm_pm: float) -> AnnularImages:
    """Return images of a cell in which nothing is displaced, at all thicknesses.

    Parameters
    ----------
    library
        With its stamps.
    tilt
        Number of the node (y, x), counted from no tilt.
    focus
        Number of the focus.
    source_fwhm_pm
        Width of the source at half maximum.
    """
    nodes = len(library.tilts_mrad) // 2
    stamps = library.stamps[nodes + tilt[0], nodes + tilt[1], 0, :, focus]
    terms = image_terms(stamps, library.orders, np.broadcast_to(MIDDLE, (len(stamps), 2)).copy())
    return images_of_terms(terms, library, thicknesses_nm=library.thicknesses_nm, source_fwhm_pm=source_fwhm_pm)


def images_of_terms(
    terms: Complex128[np.ndarray, "thickness term"],
    library: TiltLibrary,
    *,
    thicknesses_nm: Float[np.ndarray, " thickness"],
    source_fwhm_pm: float,
) -> AnnularImages:
    """Return images of a cell from their terms.

    Parameters
    ----------
    terms
        At the library's `orders`, of which the opposite ones are not written down.
    library
        Cell and microscope.
    thicknesses_nm
        Of the images.
    source_fwhm_pm
        Width of the source at half maximum.
    """
    orders = library.orders
    frequencies = orders / library.cell_pm
    blur = Microscope(voltage_kv=library.voltage_kv, source_fwhm_pm=source_fwhm_pm).blur(frequencies)
    count = int(np.ceil(library.cell_pm / STEP_PM))
    axis = np.arange(count) * library.cell_pm / count
    places = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    coefficients = terms * blur * np.where(np.any(orders != 0, axis=1), 2.0, 1.0)
    pixels = (coefficients @ np.exp(2j * np.pi * (frequencies @ places.T))).real
    return AnnularImages(
        data=pixels.reshape(-1, count, count).astype(np.float32),
        pixel_size_pm=(library.cell_pm / count,) * 2,
        thicknesses_nm=thicknesses_nm,
        frequencies_per_pm=frequencies,
        coefficients=coefficients,
    )


def column_shifts(
    images: AnnularImages, cell_pm: float, *, b_share: tuple[float, float] = MIDDLE
) -> Float[np.ndarray, "thickness 2 2"]:
    """Return how far A and B seem to be, (y, x) in pm, from where they are.

    Parameters
    ----------
    images
        Of a cell with A at the origin.
    cell_pm
        Its edge.
    b_share
        Where B is, in shares of the cell.
    """
    places = np.array([(0.0, 0.0), b_share]) * cell_pm
    radius_pm = NEAR * cell_pm * np.linalg.norm(MIDDLE)
    return fit_columns(images, places, radius_pm=float(radius_pm)) - places


def overview(result: TiltLibraryResult) -> dict[str, Any]:
    """Return what was made as plain values, for ``--json`` and run.json."""
    library = result.library
    return {
        "material": library.material,
        "a": library.elements[0],
        "b": library.elements[1],
        "tilts_mrad": library.tilts_mrad.tolist(),
        "thicknesses_nm": library.thicknesses_nm.tolist(),
        "foci_nm": library.foci_nm.tolist(),
        "displacement_pm": library.displacement_pm,
        "rms_error": result.rms_error,
        "rms_error_sharp": result.rms_error_sharp,
        "bytes": result.size_bytes,
        "bias": [dict(row) for row in result.rows],
    }


def headline(result: TiltLibraryResult) -> list[str]:
    """Return what was made, and the distance of B from A that a tilt makes, in a few lines."""
    library = result.library
    tilts = sorted({row["tilt_mrad"] for row in result.rows})
    a, b = library.elements
    lines = [
        f"{result.size_bytes / 1e6:.2g} MB; RMS error of images: {100 * result.rms_error:.2g} % of contrast at most",
        f"{b} − {a} (pm) under tilts along y, source of {SOURCE_PM:g} pm",
        "nm     " + "".join(f"{tilt:5g} mrad" for tilt in tilts),
    ]
    for thickness in library.thicknesses_nm:
        mine = [row["difference_pm"] for row in result.rows if row["thickness_nm"] == thickness]
        lines.append(f"{thickness:6.1f} " + "".join(f"{value:+10.2f}" for value in mine))
    return lines

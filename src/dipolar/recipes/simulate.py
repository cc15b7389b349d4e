"""A simulated image with its truth: settings in, image and tables out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from dipolar.core.contracts import Progress, silent
from dipolar.core.domains import Domains
from dipolar.core.errors import SettingsError
from dipolar.core.nouns import Image, Record
from dipolar.io import result_folder, write_cells_csv, write_columns_csv, write_run_json
from dipolar.io.finding_tables import domains_table
from dipolar.io.folder import check_target
from dipolar.io.tables import write_table
from dipolar.recipes.record import now, versions
from dipolar.recipes.settings import SimulateSettings, change
from dipolar.recipes.simulate_tilted import tilted_film, tilted_settings
from dipolar.simulate import (
    Dislocation,
    FilmSettings,
    LabelledFilm,
    Layer,
    Simulated,
    material_named,
    patterned_film,
    simulate_film,
    wall,
)
from dipolar.simulate.pattern_names import pattern_named
from dipolar.simulate.tilted.film import TiltedFilm
from dipolar.simulate.truth_domains import true_domains


def simulate_image(settings: SimulateSettings | None = None, **changes: Any) -> Simulated:
    """Return a simulated image of a ferroelectric film, with its true columns and cells.

    Parameters
    ----------
    settings
        What to simulate; None takes the defaults.
    **changes
        Settings to change by name, for example ``layers="PbTiO3", dose=0.1, seed=3``.

    Raises
    ------
    SettingsError
        If a setting is unknown or not allowed.
    """
    settings = change(settings or SimulateSettings(), changes)
    return _simulated(settings)[0]


def _simulated(settings: SimulateSettings) -> tuple[Simulated, LabelledFilm | TiltedFilm | None]:
    """Return the film, and what else is true of its cells where it carries a pattern or the beam is tilted."""
    rng, film = np.random.default_rng(settings.seed), film_settings(settings)
    labelled: LabelledFilm | TiltedFilm | None = None
    tilted = tilted_settings(settings)
    if tilted is not None:
        labelled = tilted_film(settings, film, tilted, rng=rng)
    elif settings.pattern != "none":
        _check_pattern(settings)
        pattern = pattern_named(settings.pattern, displacement_pm=settings.displacement_pm)
        labelled = patterned_film(pattern, film, rng=rng)
    made = labelled.simulated if labelled else simulate_film(film, rng=rng)
    return replace(made, image=replace(made.image, name=f"film.{settings.format[:3]}")), labelled


def _check_pattern(settings: SimulateSettings) -> None:
    """Refuse what a pattern has no use for."""
    unused = [name for name in ("layers", "wall", "wall_width_pm") if name in settings.changed()]
    if unused:
        names = ", ".join(unused)
        raise SettingsError(
            f"A film with a pattern is one crystal, and does not use {names}.",
            got=f"pattern={settings.pattern!r} and "
            + ", ".join(f"{name}={getattr(settings, name)!r}" for name in unused),
            do=f"leave out {names}, or the pattern",
        )


def film_settings(settings: SimulateSettings) -> FilmSettings:
    """Return the film that these settings describe."""
    domains, stack = None, settings.stack if settings.pattern == "none" else (("BiFeO3", 1.0),)
    if settings.wall != "none":
        domains = wall(settings.wall, width_pm=settings.wall_width_pm)
    return FilmSettings(
        shape_px=(settings.height_px, settings.width_px),
        pixel_size_pm=settings.pixel_size_pm,
        layers=tuple(Layer(material=material_named(name), share=share) for name, share in stack),
        displacement_pm=settings.displacement_pm,
        ratio_b_to_a=settings.ratio_b_to_a,
        domains=domains,
        vacuum=settings.vacuum,
        rotation_deg=settings.rotation_deg,
        strain=(settings.strain_y, settings.strain_x),
        shear=settings.shear,
        dislocation=Dislocation() if settings.dislocation else None,
        amplitude=settings.amplitude_counts,
        background=settings.background_counts,
        background_gradient=(0.0, settings.background_slope),
        intensity_scatter=settings.intensity_scatter,
        tail_fraction=settings.tail_fraction,
        row_jitter_px=(settings.row_jitter_px, settings.row_jitter_px),
        drift_px=(settings.drift_y_px, settings.drift_x_px),
        dose=settings.dose,
        gain=settings.gain,
        detector_offset=settings.detector_offset,
        readout=settings.readout,
    )


def write_simulated(
    out: str | Path, *, settings: SimulateSettings | None = None, progress: Progress = silent
) -> tuple[Simulated, Path]:
    """Write a folder with a simulated image and its truth, whole or not at all; return both and the image's path.

    Parameters
    ----------
    out
        The folder: film.tif (or .npy), truth_columns.csv, truth_cells.csv,
        truth_domains.csv, run.json.
    settings
        What to simulate; None takes the defaults.
    progress
        Told how far it has come.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind then.
    """
    settings = settings or SimulateSettings()
    out = Path(out)
    check_target(out, kind="a simulation")
    with result_folder(out) as folder:
        progress("simulating", 0.0)
        made, labelled = _simulated(settings)
        progress("writing", 0.0)
        for name, write in files_of(made, settings, labelled).items():
            write(folder / name)
        write_run_json(folder, record_of(settings), extra={})
        progress("writing", 1.0)
    return made, out / made.image.name


def files_of(
    made: Simulated, settings: SimulateSettings, labelled: LabelledFilm | TiltedFilm | None = None
) -> dict[str, Callable[[Path], None]]:
    """Return the files of a simulation by name, each as a function that writes it to a path.

    Parameters
    ----------
    made
        The simulated film.
    settings
        What it was made with.
    labelled
        The same film with its labels where it carries a pattern, and with its tilts where the beam is tilted.
    """
    labels: dict[str, np.ndarray] = {}
    if labelled is None:
        truth = _true_domains(made, settings)
    elif isinstance(labelled, TiltedFilm):
        truth, (tilt_y, tilt_x) = _true_domains(made, settings), labelled.tilt_mrad.T
        labels = {"tilt_y_mrad": tilt_y, "tilt_x_mrad": tilt_x, "thickness_nm": labelled.thickness_nm}
    else:
        truth = true_domains(made.truth_cells, tuple(float(angle) for angle in labelled.variants_deg))
        labels = {name: getattr(labelled, name) for name in ("composition", "layer", "variant")}
    return {
        made.image.name: lambda path: write_image(made.image, path, integers=settings.format == "tif16"),
        "truth_columns.csv": lambda path: write_columns_csv(made.truth_columns, path),
        "truth_cells.csv": lambda path: write_cells_csv(
            made.truth_cells, path, more={"domain": truth.label, "domain_probability": truth.probability, **labels}
        ),
        "truth_domains.csv": lambda path: write_table(domains_table(truth), path),
    }


def _true_domains(made: Simulated, settings: SimulateSettings) -> Domains:
    """Return the true domains; without a wall, one in each polar layer."""
    film = film_settings(settings)
    directions = (
        film.domains.directions_deg if film.domains else [layer.material.direction_deg for layer in film.layers]
    )
    turned = tuple(dict.fromkeys(float(angle) + settings.rotation_deg for angle in directions))
    return true_domains(made.truth_cells, turned)


def record_of(settings: SimulateSettings) -> Record:
    """Return the record of a simulation."""
    return Record(
        settings=settings.model_dump(), versions=versions(), inputs={}, seeds={"simulate": settings.seed}, created=now()
    )


def write_image(image: Image, path: Path, *, integers: bool = False) -> None:
    """Write an image as ``.npy`` or ``.tif``; a TIFF holds the pixel size as ImageJ writes it.

    Parameters
    ----------
    image
        What to write.
    path
        Its ending decides the format.
    integers
        Round to 16-bit integers.

    Raises
    ------
    SettingsError
        If rounding to 16 bits would lose values beyond them.
    """
    data = np.asarray(image.data, dtype=np.float32)
    if integers:
        least, most = float(np.min(data)), float(np.max(data))
        if not (least >= 0 and most <= 65535):
            raise SettingsError(
                "16-bit integers hold 0 to 65535, and the image goes beyond.",
                got=f"{least:.4g} to {most:.4g}",
                do="use format tif, or change gain and detector_offset",
            )
        data = np.rint(data).astype(np.uint16)
    if path.suffix == ".npy":
        np.save(path, data, allow_pickle=False)
        return
    scale: dict[str, Any] = {}
    if image.pixel_size_pm is not None:
        per_nm = 1000.0 / image.pixel_size_pm
        scale = {"resolution": (per_nm, per_nm), "metadata": {"unit": "nm"}}
    tifffile.imwrite(path, data, imagej=True, **scale)

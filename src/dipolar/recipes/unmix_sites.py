"""From an image, or what was measured in it, to lattice sites with everything that patches are cut by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from dipolar.core.contracts import Progress
from dipolar.core.errors import DataError, FormatError, SettingsError
from dipolar.core.flags import DOUBTFUL_CELL, POSITION_FLAGS, has
from dipolar.core.geometry import cell_edge_px
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import A, B, Cells, Image
from dipolar.core.unmixing import Stack, Unmixed
from dipolar.io import load, sha256_of
from dipolar.io.result_file import FORMATS, NAMES
from dipolar.measure import build_cells
from dipolar.recipes.measure import measure_image
from dipolar.recipes.overview import contrast_of
from dipolar.recipes.unmix_settings import UnmixSettings
from dipolar.unmix.stack import cut_stack

WIDEST_CELL_PX, CELL_PX = 32.0, 24.0
"""Cells wider than this are resampled, to this, unless a step is given: patches stay small, noise averages out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sites:
    """Where patches stand, and what is known there."""

    measured: Measurement
    """The image and its columns."""
    inputs: Mapping[str, str]
    """File name → sha256 of all that was read."""
    positions_px: Float[np.ndarray, "site 2"]
    """Middle (y, x) of each."""
    row: Int32[np.ndarray, " site"]
    """Row of each in its table."""
    usable: Bool[np.ndarray, " site"]
    """Those that no doubtful flag concerns, or all of them where that was asked for."""
    displacement_px: Float[np.ndarray, "site 2"]
    """Displacement (dy, dx) of the column in the middle against its cage; nan where none was measured."""
    displacement_sigma_px: Float[np.ndarray, "site 2"]
    """One standard error of each."""
    lattice_px: Float[np.ndarray, "2 2"]
    """Mean lattice vectors a and b as rows of (y, x)."""
    step_px: float
    """Image px per patch px."""
    window_px: int
    """Edge of a patch, in its own px."""


def measured_in(
    one: str | Path | Image | Measurement, settings: UnmixSettings, *, progress: Progress
) -> tuple[Measurement, dict[str, str]]:
    """Return an image with its measurement, loaded where it was measured before, and sha256 of what was read.

    Raises
    ------
    DataError
        If it is nothing of the kind, or a result of unmixing.
    """
    if isinstance(one, Measurement):
        return _as_asked(one, settings), dict(one.record.inputs)
    if isinstance(one, (str, Path)):
        path = Path(one)
        if (path.is_dir() and any((path / name).is_file() for name in NAMES)) or _is_result(path):
            found = load(path)
            if not isinstance(found, Measurement):
                told = "a mapped scan"
                if isinstance(found, Unmixed):
                    told = f"what {found.components.method} found in {found.image.name or 'an image'}"
                raise FormatError(
                    "patches are cut from an image whose columns are known.",
                    got=f"{path}: {told}",
                    do="give the image, or the result of dipolar image measure or predict",
                )
            file = next((path / name for name in NAMES if (path / name).is_file()), path)
            name = f"{path.name}/{file.name}" if path.is_dir() else path.name
            return _as_asked(found, settings), {**found.record.inputs, name: sha256_of(file)}
    elif not isinstance(one, Image):
        raise DataError(
            "a file name, an Image or a Measurement was expected.",
            got=type(one).__name__,
            do='of an array: dipolar.Image(data=array.astype("float32"), pixel_size_pm=16.0)',
        )
    measured = measure_image(
        one,
        pixel_size_pm=settings.pixel_size_pm,
        lattice_pm=settings.lattice_pm,
        reference=settings.reference,
        bright=settings.bright,
        contrast=settings.contrast,
        select=settings.select,
        trust_pickle=settings.trust_pickle,
        gain_check=False,
        maps=False,
        mistilt="off",
        progress=progress,
    )
    return measured, dict(measured.record.inputs)


def _as_asked(measured: Measurement, settings: UnmixSettings) -> Measurement:
    """Return a measurement with the pixel size that settings ask for; what else it rests on cannot be changed now."""
    late = [name for name in ("reference", "bright", "contrast", "select") if name in settings.changed()]
    if late:
        raise SettingsError(
            f"{', '.join(late)}: settled where an image is measured.",
            got=", ".join(f"{name} = {getattr(settings, name)}" for name in late) + ", for a result",
            do=f"dipolar image measure IMAGE with --{' and --'.join(late)}, and unmix that",
        )
    size, lattice_px = settings.pixel_size_pm, measured.calibration.measured_lattice_px
    if settings.lattice_pm is not None and lattice_px > 0:
        size = settings.lattice_pm / lattice_px
    if size is None:
        return measured
    parts = {name: replace(getattr(measured, name), pixel_size_pm=size) for name in ("image", "cells", "calibration")}
    return replace(measured, **parts)


def _is_result(path: Path) -> bool:
    import h5py

    if path.suffix != ".h5" or not path.is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("format")
            return isinstance(found, bytes) and found.decode("ascii", "replace") in FORMATS
    except OSError:
        return False  # whoever reads images says what is wrong


def sites_of(measured: Measurement, inputs: Mapping[str, str], settings: UnmixSettings) -> Sites:
    """Return the sites that patches shall be centred on.

    On A columns the displacement is that of A in its cage of B, as it is A that stands in the middle there.

    Raises
    ------
    DataError
        If there is no such site.
    SettingsError
        If a window in pm was asked for, and there is no pixel size.
    """
    cells = measured.cells
    if settings.centred_on == "A":
        cells = replace(build_cells(measured.columns, basis="B"), pixel_size_pm=measured.cells.pixel_size_pm)
    elif settings.centred_on == "B" and cells.basis != "A":
        cells = replace(build_cells(measured.columns, basis="A"), pixel_size_pm=measured.cells.pixel_size_pm)
    if not len(cells.flags):
        raise DataError(
            "patches are centred on unit cells, or on their columns.",
            got=f"{measured.image.name or 'the image'} with {len(measured.columns.flags)} columns and no unit cell",
            do="look at its columns first: dipolar image measure IMAGE",
        )
    lattice_px, edge_px = _lattice(cells), cell_edge_px(cells)
    step_px = settings.step_px or (1.0 if edge_px <= WIDEST_CELL_PX else edge_px / CELL_PX)
    window_px = _window(settings, step_px, edge_px, cells.pixel_size_pm)
    found = Sites(
        measured=measured,
        inputs=inputs,
        positions_px=cells.positions_px,
        row=np.arange(len(cells.flags), dtype=np.int32),
        usable=_usable(has(cells.flags, DOUBTFUL_CELL), settings),
        displacement_px=cells.displacement_px,
        displacement_sigma_px=_sigma(cells),
        lattice_px=lattice_px,
        step_px=step_px,
        window_px=window_px,
    )
    return found if settings.centred_on == "cells" else _on_columns(found, cells, settings)


def _on_columns(found: Sites, cells: Cells, settings: UnmixSettings) -> Sites:
    """Return the columns of one sublattice, with the displacement of those in the middle of a cell."""
    columns = found.measured.columns
    rows = np.flatnonzero(columns.sublattice == (A if settings.centred_on == "A" else B)).astype(np.int32)
    displacement, sigma = np.full((2, len(columns.flags), 2), np.nan)
    linked = (cells.center >= 0) & ~has(cells.flags, DOUBTFUL_CELL)
    displacement[cells.center[linked]] = cells.displacement_px[linked]
    sigma[cells.center[linked]] = _sigma(cells)[linked]
    return replace(
        found,
        positions_px=columns.positions_px[rows],
        row=rows,
        usable=_usable(has(columns.flags[rows], POSITION_FLAGS), settings),
        displacement_px=displacement[rows],
        displacement_sigma_px=sigma[rows],
    )


def _usable(doubtful: Bool[np.ndarray, " site"], settings: UnmixSettings) -> Bool[np.ndarray, " site"]:
    return np.ones_like(doubtful) if settings.flagged else ~doubtful


def _sigma(cells: Cells) -> Float[np.ndarray, "cell 2"]:
    variance = cells.covariance_px2[:, [0, 1], [0, 1]]
    return np.sqrt(np.where(variance >= 0, variance, np.nan))


def _lattice(cells: Cells) -> Float[np.ndarray, "2 2"]:
    """Return the median edges of the cells that can be trusted, or of all where there are none."""
    good = ~has(cells.flags, DOUBTFUL_CELL)
    good = good if good.any() else np.ones_like(good)
    return np.stack([np.nanmedian(edges[good], axis=0) for edges in (cells.a_px, cells.b_px)])


def _window(settings: UnmixSettings, step_px: float, edge_px: float, pixel_size_pm: float | None) -> int:
    size, unit = settings.window
    if unit == "px":
        return round(size)
    if unit == "cells":
        return round(size * edge_px / step_px)
    if pixel_size_pm is None:
        raise SettingsError(
            "a window in pm needs the size of a pixel.",
            got=f"window_px = {settings.window_px}, and the image has no pixel size",
            do="give --lattice-pm or --pixel-size-pm, or the window as '2 cells'",
        )
    return round(size / pixel_size_pm / step_px)


def cut(
    sites: Sites,
    settings: UnmixSettings,
    *,
    channels: Float32[np.ndarray, "channel y x"],
    names: tuple[str, ...],
    normalization: str,
    window_px: int | None = None,
) -> Stack:
    """Return the patches of all sites.

    Parameters
    ----------
    sites
        Where they stand.
    settings
        What was asked for.
    channels, names
        What they show; see `channels_of`.
    normalization
        How they are normalised.
    window_px
        Edge of a patch in its own px; None: that of the sites.
    """
    return cut_stack(
        channels,
        channels=names,
        positions_px=sites.positions_px,
        site=sites.row,
        window_px=sites.window_px if window_px is None else window_px,
        step_px=sites.step_px,
        lattice_px=sites.lattice_px,
        pixel_size_pm=sites.measured.cells.pixel_size_pm,
        displacement_px=sites.displacement_px,
        displacement_sigma_px=sites.displacement_sigma_px,
        centred_on=settings.centred_on,
        normalization=normalization,
        usable=sites.usable,
    )


def channels_of(
    measured: Measurement, kind: Literal["image", "probability", "both"], finder: str | None, *, progress: Progress
) -> tuple[Float32[np.ndarray, "channel y x"], tuple[str, ...], dict[str, str]]:
    """Return what patches are cut from, the names of its channels, and sha256 of the network that told them, by file.

    Dark columns are turned bright.

    Parameters
    ----------
    measured
        The image with its columns.
    kind
        The image, the probabilities of A, B and background, or both.
    finder
        The network that tells them; None: the one that dipolar brings along.
    progress
        Told how far it has come.

    Raises
    ------
    ImageError
        If networks cannot see such an image.
    """
    sign = -1.0 if contrast_of(measured) == "dark" else 1.0
    image = (np.float32(sign) * measured.image.data)[None]
    if kind == "image":
        return image, ("image",), {}
    from dipolar.recipes.unmix_probability import PROBABILITIES, probability_channels  # torch is not needed before

    fields, sums = probability_channels(measured, finder, progress=progress)
    if kind == "probability":
        return fields, PROBABILITIES, sums
    return np.concatenate([image, fields]), ("image", *PROBABILITIES), sums

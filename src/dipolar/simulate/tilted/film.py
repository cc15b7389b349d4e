"""A film under a tilted beam: settings and libraries of stamps → image and truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dipolar.core.errors import SettingsError
from dipolar.core.nouns import Basis, Image
from dipolar.core.tilt_library import TiltLibrary
from dipolar.simulate.detector import count
from dipolar.simulate.film import Simulated
from dipolar.simulate.settings import FilmSettings
from dipolar.simulate.specimen import drift_of_rows, specimen
from dipolar.simulate.tilted.settings import TiltedSettings
from dipolar.simulate.tilted.shares import expected_shares, place_on_screen, unshaped
from dipolar.simulate.truth import truth_cells
from dipolar.simulate.truth_columns import true_columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltedFilm:
    """A simulated image under a tilted beam, and what is true about it."""

    simulated: Simulated
    """Image, true columns and true cells: places of the crystal, which no tilt moves. Heights and widths are nan."""
    tilt_mrad: Float[np.ndarray, "cell 2"]
    """Tilt (y, x) on the screen at each true cell."""
    thickness_nm: Float[np.ndarray, " cell"]
    """Thickness there."""


def simulate_tilted_film(
    settings: FilmSettings,
    tilted: TiltedSettings,
    libraries: Sequence[TiltLibrary],
    *,
    rng: np.random.Generator,
    basis: Basis = "A",
) -> TiltedFilm:
    """Return one image of a film as a tilted beam shows it, with its truth.

    Columns stand where `simulate_film` would put them, and look as the library of their layer says: what belongs to
    heights, widths and background in the settings of the film is not used. A stamp goes with its column, and changes
    with the displacement of B as far as the library knows.

    Parameters
    ----------
    settings
        The film, and of the microscope how it scans and counts.
    tilted
        Tilt, thickness, focus, source and dose.
    libraries
        One for each layer, from bottom to top.
    rng
        Draws scatter of the brightness, row jitter, counts, readout.
    basis
        Which sublattice stands at the corners of the true cells.

    Raises
    ------
    SettingsError
        Where the library of a layer is missing, a tilt, a thickness or the focus lies outside one, or the film has an
        amorphous region, of which there are no stamps.
    """
    if settings.amorphous is not None:
        raise SettingsError(
            "A film under a tilted beam has no amorphous region.", got=f"{settings.amorphous}", do="leave it out"
        )
    settings = unshaped(settings)
    film = specimen(settings, rng=rng)
    jitter = rng.normal(size=(settings.shape_px[0], 2)) * settings.row_jitter_px
    shares = expected_shares(settings, tilted, film, libraries, row_shift_px=jitter + drift_of_rows(settings))
    counts = shares * np.float32(settings.dose * tilted.dose_e_per_pm2 * settings.pixel_size_pm**2)
    border = settings.nan_border_px
    if border:
        unmeasured = np.ones(settings.shape_px, dtype=bool)
        unmeasured[border : settings.shape_px[0] - border, border : settings.shape_px[1] - border] = False
        counts[unmeasured] = np.nan
    data = count(counts, rng=rng, gain=settings.gain, offset=settings.detector_offset, readout=settings.readout)
    columns = replace(true_columns(film, film.on_pixels), amplitude=np.full(np.count_nonzero(film.on_pixels), np.nan))
    cells = truth_cells(columns, basis, pixel_size_pm=settings.pixel_size_pm)
    place = place_on_screen(settings, tilted, film.points_px[film.on_pixels][cells.center])
    simulated = Simulated(
        image=Image(data=data, pixel_size_pm=settings.pixel_size_pm, name="simulated film"),
        expected=(counts * settings.gain + settings.detector_offset).astype(np.float32),
        truth_columns=columns,
        truth_cells=cells,
        row_shift_px=jitter,
    )
    return TiltedFilm(simulated=simulated, tilt_mrad=place.tilt_mrad, thickness_nm=place.thickness_nm)

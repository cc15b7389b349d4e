"""A film under a tilted beam: what settings mean for it, and the libraries that it takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dipolar.core.errors import SettingsError
from dipolar.core.tilt_library import TiltLibrary
from dipolar.recipes.parse import parse_pair
from dipolar.recipes.settings import SimulateSettings
from dipolar.recipes.tilt_library_shipped import KEYS, library_for
from dipolar.simulate import FilmSettings
from dipolar.simulate.tilted.film import TiltedFilm, simulate_tilted_film
from dipolar.simulate.tilted.settings import TiltedSettings

OF_TILT = (
    "tilt_change_mrad", "thickness_nm", "thickness_change_nm", "focus_nm", "source_fwhm_pm", "dose_e_per_pm2",
    "tilt_library",
)  # fmt: skip
"""Settings that say nothing without a tilt."""
NOT_OF_TILT = (
    "pattern", "ratio_b_to_a", "amplitude_counts", "background_counts", "background_slope", "tail_fraction",
)  # fmt: skip
"""Settings that a tilt leaves no room for: what columns look like is in the library."""


def tilted_settings(settings: SimulateSettings) -> TiltedSettings | None:
    """Return how the film lies in the beam; None where nothing is said of a tilt.

    Raises
    ------
    SettingsError
        If settings contradict each other.
    """
    given = [f"{name}={getattr(settings, name)}" for name in OF_TILT if getattr(settings, name) is not None]
    if settings.tilt_mrad is None:
        if given:
            raise SettingsError(
                "these settings belong to a film under a tilted beam.", got=", ".join(given), do="--tilt-mrad 0,0"
            )
        return None
    unused = [f"{name}={value}" for name, value in settings.changed().items() if name in NOT_OF_TILT]
    if unused:
        raise SettingsError(
            "under a tilted beam, columns look as the library of tilt says, on one plain film.",
            got=f"tilt_mrad={settings.tilt_mrad} and {', '.join(unused)}",
            do="leave out one or the other; for brightness give --dose-e-per-pm2",
        )
    more: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("thickness_nm", "focus_nm", "source_fwhm_pm", "dose_e_per_pm2")
        if getattr(settings, name) is not None
    }
    return TiltedSettings(
        tilt_mrad=parse_pair(settings.tilt_mrad),
        tilt_right_mrad=parse_pair(settings.tilt_change_mrad or "0,0"),
        thickness_change_nm=(0.0, settings.thickness_change_nm or 0.0),
        **more,
    )


def libraries_of(settings: SimulateSettings, film: FilmSettings) -> list[TiltLibrary]:
    """Return the library of each layer, from bottom to top.

    Raises
    ------
    SettingsError
        If the library that was given is of no layer's material, or one is not there.
    """
    own = None if settings.tilt_library is None else library_for(settings.tilt_library)
    keys = [KEYS[layer.material.name.lower()] for layer in film.layers]
    if own is not None and own.material not in keys:
        raise SettingsError(
            "the library of tilt must be of the material of a layer.",
            got=f"{settings.tilt_library}: {own.material}; layers of {', '.join(keys)}",
            do="--layers with that material, or another library",
        )
    known = {key: own if own is not None and own.material == key else library_for(key) for key in set(keys)}
    return [known[key] for key in keys]


def tilted_film(
    settings: SimulateSettings, film: FilmSettings, tilted: TiltedSettings, *, rng: np.random.Generator
) -> TiltedFilm:
    """Return the film under the tilted beam, with its truth."""
    return simulate_tilted_film(film, tilted, libraries_of(settings, film), rng=rng)

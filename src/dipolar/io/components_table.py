"""Components as a table: `components.csv`, one row per patch."""

from __future__ import annotations

import numpy as np

from dipolar.core.unmixing import Angles, Unmixed
from dipolar.io.tables import Table


def components_table(unmixed: Unmixed) -> Table:
    """Return what was found of each patch as a table, one row each, names as in `components.csv`.

    Without a pixel size the ``_pm`` values are nan, and the ``_px`` values carry the lengths. Where the angle of an
    autoencoder means nothing, its columns are nan, and the variant is -1: `components.h5` still holds them. So with the
    dipole, unless the angle only leaked into other latents, which the dipole is drawn from too.
    """
    found = unmixed.components
    pm = float("nan") if unmixed.pixel_size_pm is None else unmixed.pixel_size_pm
    table: Table = {"y_px": unmixed.positions_px[:, 0], "x_px": unmixed.positions_px[:, 1]}
    if found.angles is not None:
        table |= _angles(found.angles, pm)
    else:
        table |= {name: found.scores[:, place] for place, name in enumerate(found.names)}
    count = len(unmixed.site)
    table["cluster"] = np.full(count, -1, dtype=np.int32) if found.cluster is None else found.cluster
    if found.posterior is not None and found.posterior.shape[1] and found.method != "kmeans":
        table["cluster_posterior"] = found.posterior.max(axis=1)
    table["site"] = unmixed.site
    for name, place in (("dy", 0), ("dx", 1)):
        table[f"{name}_px"] = unmixed.displacement_px[:, place]
        table[f"{name}_pm"] = unmixed.displacement_px[:, place] * pm
    return table


def _angles(found: Angles, pm: float) -> Table:
    """Return what an autoencoder says of each patch, its angle first."""
    good = found.mapped
    blank, drawn = (1.0 if keep else float("nan") for keep in (good, good or found.verdict == "leaked"))
    table: Table = {
        "angle_deg": blank * found.angle_deg,
        "angle_sigma_deg": blank * np.abs(found.sigma_deg),
        "variant": found.variant if good else np.full_like(found.variant, -1),
        "dipole_dy_pm": drawn * found.dipole_px[:, 0] * pm,
        "dipole_dx_pm": drawn * found.dipole_px[:, 1] * pm,
        "dipole_dy_px": drawn * found.dipole_px[:, 0],
        "dipole_dx_px": drawn * found.dipole_px[:, 1],
    }
    if found.dipole_sigma_px is not None:
        for place, name in enumerate(("dy", "dx")):
            table[f"dipole_{name}_sigma_pm"] = drawn * found.dipole_sigma_px[:, place] * pm
            table[f"dipole_{name}_sigma_px"] = drawn * found.dipole_sigma_px[:, place]
    if good and found.posterior.shape[1]:
        table["variant_posterior"] = found.posterior.max(axis=1)
    for place in range(found.latent.shape[1]):
        table[f"latent_{place + 1}"] = found.latent[:, place]
        table[f"latent_{place + 1}_sigma"] = found.latent_sigma[:, place]
    if found.offset_px is not None:
        sigma = found.offset_sigma_px if found.offset_sigma_px is not None else np.full_like(found.offset_px, np.nan)
        for place, name in enumerate(("dy", "dx")):
            table[f"offset_{name}_pm"] = found.offset_px[:, place] * pm
            table[f"offset_{name}_px"] = found.offset_px[:, place]
            table[f"offset_{name}_sigma_px"] = sigma[:, place]
    return table

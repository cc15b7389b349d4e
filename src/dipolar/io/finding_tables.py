"""What follows from columns and cells as tables: `domains.csv`, `walls.csv`, `layers.csv`, `sites.csv`, and more."""

from __future__ import annotations

import numpy as np

from dipolar.core.domains import Anomalies, Domains, Wall
from dipolar.core.findings import Profile, TiltCorrection
from dipolar.core.measurement import Findings
from dipolar.core.motif import SiteColumns
from dipolar.core.nouns import Cells
from dipolar.core.units import magnitude
from dipolar.io.tables import Table


def cell_findings_table(findings: Findings, cells: Cells) -> Table:
    """Return more columns for `cells.csv`: domain, polarization, c/a, what a network said; only what was found."""
    table: Table = {}
    if findings.maps is not None:
        table["domain"] = findings.maps.domains.label
        table["domain_probability"] = findings.maps.domains.probability
        table["anomaly_score"] = findings.maps.anomalies.cell_score
    if findings.polarization is not None:
        vectors, covariance = findings.polarization.vectors_uc_per_cm2, findings.polarization.covariance_uc2_per_cm4
        for axis, name in enumerate(("py", "px")):
            table[f"{name}_uc_per_cm2"] = vectors[:, axis]
            table[f"{name}_sigma_uc_per_cm2"] = np.sqrt(covariance[:, axis, axis])
    if findings.tilt is not None:
        for axis, name in enumerate("yx"):
            table[f"false_d{name}_px"] = findings.tilt.cell_false_px[:, axis]
            table[f"false_d{name}_sigma_px"] = np.sqrt(findings.tilt.cell_covariance_px2[:, axis, axis])
    if findings.tetragonality is not None:
        table["c_over_a"] = findings.tetragonality.c_over_a.values
        table["c_over_a_sigma"] = findings.tetragonality.c_over_a.sigma
    if findings.prediction is not None:
        table["ood"] = findings.prediction.cell_unfamiliar
        table |= {f"predicted_{field.name}": field.values for field in findings.prediction.fields}
    return {name: values for name, values in table.items() if len(values) == len(cells.flags)}


def domains_table(domains: Domains) -> Table:
    """Return domains as a table, one row each; lengths in pm are nan without calibration."""
    pm = float("nan") if domains.pixel_size_pm is None else domains.pixel_size_pm
    sigma = np.sqrt(np.diagonal(domains.mean_covariance_px2, axis1=1, axis2=2))
    return {
        "domain": np.arange(len(domains.state), dtype=np.int32),
        "y_px": domains.centre_px[:, 0],
        "x_px": domains.centre_px[:, 1],
        "dy_pm": domains.mean_px[:, 0] * pm,
        "dx_pm": domains.mean_px[:, 1] * pm,
        "dy_sigma_pm": sigma[:, 0] * pm,
        "dx_sigma_pm": sigma[:, 1] * pm,
        "magnitude_pm": magnitude(domains.mean_px) * pm,
        "angle_deg": domains.angle_deg,
        "angle_sigma_deg": domains.angle_sigma_deg,
        "cells": domains.cells,
        "cells_sigma": domains.cells_sigma,
        "area_nm2": domains.area_px2 * pm**2 * 1e-6,
        "area_sigma_nm2": domains.area_sigma_px2 * pm**2 * 1e-6,
        "polar": domains.polar.astype(np.int32),
        "state": domains.state,
        "dy_px": domains.mean_px[:, 0],
        "dx_px": domains.mean_px[:, 1],
        "area_px2": domains.area_px2,
    }


def tilt_table(tilt: TiltCorrection, *, pixel_size_pm: float | None) -> Table:
    """Return the tilt of every region, and the displacement that it fakes there, one row each."""
    pm = float("nan") if pixel_size_pm is None else pixel_size_pm
    table: Table = {"y_px": tilt.positions_px[:, 0], "x_px": tilt.positions_px[:, 1], "cells": tilt.cells}
    for name, values in (("tilt", tilt.tilt_mrad), ("tilt_sigma", tilt.tilt_sigma_mrad)):
        kind = name.removeprefix("tilt")
        table |= {f"tilt_{axis}{kind}_mrad": values[:, k] for k, axis in enumerate("yx")}
    for unit, scale in (("pm", pm), ("px", 1.0)):
        for kind, values in (("", tilt.false_px), ("_sigma", tilt.false_sigma_px)):
            table |= {f"false_d{axis}{kind}_{unit}": scale * values[:, k] for k, axis in enumerate("yx")}
    return table | {"thickness_nm": tilt.thickness_nm, "focus_nm": tilt.focus_nm, "misfit": tilt.misfit}


def walls_table(walls: tuple[Wall, ...], *, pixel_size_pm: float | None) -> Table:
    """Return walls as a table, one row each; widths are 2ξ with the bounds of their 68 % interval."""
    pm = float("nan") if pixel_size_pm is None else pixel_size_pm
    width = np.array([wall.profile.width_px for wall in walls]).reshape(-1, 3)
    names = ("width_low", "width", "width_high")
    return {
        "wall": np.arange(len(walls), dtype=np.int32),
        "domain_before": np.array([wall.before for wall in walls], dtype=np.int32),
        "domain_after": np.array([wall.after for wall in walls], dtype=np.int32),
        "kind": np.array([wall.kind.replace(",", ";") for wall in walls], dtype=np.str_),
        **{f"{name}_pm": width[:, k] * pm for k, name in enumerate(names)},
        "resolved": np.array([wall.profile.resolved for wall in walls], dtype=np.int32),
        **_of_walls(walls, "turn_deg", "turn_sigma_deg"),
        "length_nm": _numbers([wall.length_px for wall in walls]) * pm / 1000.0,
        "before_pm": _numbers([wall.profile.before_px for wall in walls]) * pm,
        "after_pm": _numbers([wall.profile.after_px for wall in walls]) * pm,
        "asymmetry_pm": _numbers([wall.profile.asymmetry_px for wall in walls]) * pm,
        "asymmetry_sigma_pm": _numbers([wall.profile.asymmetry_sigma_px for wall in walls]) * pm,
        "charge": np.array([wall.charge for wall in walls], dtype=np.str_),
        "charge_pm": _numbers([wall.charge_px for wall in walls]) * pm,
        "charge_sigma_pm": _numbers([wall.charge_sigma_px for wall in walls]) * pm,
        **_of_walls(walls, "charge_e_per_nm2"),
        **{f"{name}_px": width[:, k] for k, name in enumerate(names)},
        **_of_walls(walls, "length_px"),
    }


def wall_points_table(walls: tuple[Wall, ...]) -> Table:
    """Return the curves of all walls as a table, one row per point, in order along each wall."""
    counts = [len(wall.points_px) for wall in walls]
    points = np.concatenate([np.zeros((0, 2)), *(wall.points_px for wall in walls)])
    return {
        "wall": np.repeat(np.arange(len(walls), dtype=np.int32), counts),
        "y_px": points[:, 0],
        "x_px": points[:, 1],
    }


def anomalies_table(anomalies: Anomalies) -> Table:
    """Return places to look next as a table, the strangest first; reasons hold no commas."""
    return {
        "rank": np.arange(1, len(anomalies.cell) + 1),
        "y_px": anomalies.positions_px[:, 0],
        "x_px": anomalies.positions_px[:, 1],
        "y_nm": anomalies.from_origin_nm[:, 0],
        "x_nm": anomalies.from_origin_nm[:, 1],
        "y_from_centre_nm": anomalies.from_centre_nm[:, 0],
        "x_from_centre_nm": anomalies.from_centre_nm[:, 1],
        "score": anomalies.score,
        "cell": anomalies.cell,
        "reason": np.array([words.replace(",", ";") for words in anomalies.reason], dtype=np.str_),
    }


def layers_table(profile: Profile, *, pixel_size_pm: float | None) -> Table:
    """Return a quantity layer by layer as a table."""
    nm = float("nan") if pixel_size_pm is None else pixel_size_pm / 1000.0
    name = profile.name.replace("/", "_over_")
    return {
        "layer": profile.layer,
        "position_nm": profile.position_px * nm,
        name: profile.mean,
        f"{name}_sigma": profile.sigma,
        "cells": profile.cells,
        "position_px": profile.position_px,
    }


def sites_table(sites: SiteColumns) -> Table:
    """Return columns on all sites of a unit cell as a table, names as in `columns.csv`."""
    variance = sites.covariance_px2
    names = np.array([site.name for site in sites.motif.sites], dtype=np.str_)
    return {
        "y_px": sites.positions_px[:, 0],
        "x_px": sites.positions_px[:, 1],
        "y_sigma_px": np.sqrt(variance[:, 0, 0]),
        "x_sigma_px": np.sqrt(variance[:, 1, 1]),
        "amplitude": sites.amplitude,
        "amplitude_sigma": sites.amplitude_sigma,
        "site": names[sites.site],
        "cell_a": sites.cell[:, 0],
        "cell_b": sites.cell[:, 1],
        "grain": sites.grain,
        "chi2": sites.chi2,
        "flags": sites.flags,
    }


def _numbers(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def _of_walls(walls: tuple[Wall, ...], *names: str) -> Table:
    return {name: _numbers([getattr(wall, name) for wall in walls]) for name in names}

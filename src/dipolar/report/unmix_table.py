"""The table of a run of unmixing: patches, method, components, clusters, variants, and what made it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dipolar.core.unmixing import Angles, Unmixed

from .table import Row
from .wording import name_and_unit, number

NAMES = {
    "pca": "Principal component analysis",
    "nmf": "Non-negative matrix factorisation",
    "ica": "Independent component analysis",
    "gmm": "Gaussian mixture",
    "kmeans": "k-means",
    "tsne": "t-SNE",
    "mds": "Multidimensional scaling",
    "isomap": "Isomap",
    "umap": "UMAP",
    "rvae": "Rotation-invariant variational autoencoder",
}
"""What a method is called in full."""
WHY = {
    "outside": "their patch would leave the image",
    "invalid": "not measured whole",
    "constant": "flat",
    "flagged": "doubtful columns",
}
NORMALIZED = {
    "patch": "each patch mean 0, variance 1",
    "stack": "all together mean 0, variance 1",
    "range": "all together 0 to 1",
    "none": "as they are",
}
FIGURES = {
    "evidence": "likelihood of a direction over that of none; below 1: noise",
    "polar_share": "share of patches whose drawn dipole is told from zero; below 0.05: doubtful",
    "certainty": "mean length of the posterior, 0 to 1; below 0.5: noise",
    "angle_concentration": "length of the mean angle; above 0.98 it is constant: collapsed, unless dipoles are",
    "dipole_concentration": "length of the mean direction of dipoles; above 0.9 they point one way",
    "dipole_by_angle": "share of the variance of the direction that the angle explains; below 0.6: leaked",
    "dipole_by_rest": "the same for the other latents; above that of the angle: doubtful",
    "mutual_information_bit": "what the angle tells of the direction; 2 for four variants told apart",
    "dipole_about_angle_deg": "spread of drawn dipoles about the angle; above 12° it has locked to the lattice",
    "dipole_agreement": "correlation of drawn dipoles with measured displacements; below 0.3: doubtful",
    "held_against_measured": "1: directions are those measured; 0: those drawn",
}
"""What a figure of the diagnosis says, and from where on it decides."""
MOST = 24
"""Components, clusters or variants that have a row each."""


def unmix_rows(unmixed: Unmixed) -> Iterator[Row]:
    """Yield every line of the table."""
    yield from _patch_rows(unmixed)
    found, section = unmixed.components, NAMES[unmixed.components.method]
    for name, value in found.settings.items():
        words, unit = name_and_unit(name)
        yield Row(section, words, f"{number(value)}{' ' + unit if unit else ''}", "setting")
    for name, value in found.facts.items():
        words, unit = name_and_unit(name)
        yield Row(section, words, f"{number(value)}{' ' + unit if unit else ''}", "")
    if found.strength is not None:
        of = "of the squared signal of all modes" if found.method == "nmf" else "of the variance"
        for name, share in zip(found.names[:MOST], found.strength, strict=False):
            yield Row("Components", name.replace("_", " "), f"{number(100 * float(share), 3)} %", of)
    if found.cluster is not None:
        yield from _cluster_rows(found.cluster, found.posterior)
    if found.angles is not None:
        yield from _angle_rows(found.angles)
    for name, digest in unmixed.record.inputs.items():
        yield Row("Made from", name, digest[:12], "sha256, first letters")
    for name, version in unmixed.record.versions.items():
        yield Row("Made with", name, version, "")


def _patch_rows(unmixed: Unmixed) -> Iterator[Row]:
    section, edge_px = "Patches", unmixed.window_px * unmixed.step_px
    centre = {"cells": "unit cells", "A": "A columns", "B": "B columns"}[unmixed.centred_on]
    yield Row(section, "number", number(len(unmixed.site)), f"centred on {centre}")
    for reason, count in unmixed.dropped.items():
        if count:
            yield Row(section, "sites without a patch", number(count), WHY.get(reason, reason))
    known = unmixed.pixel_size_pm
    length = f"{number(edge_px, 3)} px of the image" + (f", {number(edge_px * known, 3)} pm" if known else "")
    cell_px = float(np.sqrt(abs(np.linalg.det(unmixed.lattice_px))))
    cells = f"{number(edge_px / cell_px, 3)} cells" if cell_px > 0 else ""
    yield Row(section, "edge", f"{unmixed.window_px} px", f"{length}; {cells}")
    yield Row(section, "channels", ", ".join(unmixed.channels), "")
    yield Row(section, "normalisation", unmixed.normalization, NORMALIZED.get(unmixed.normalization, ""))
    there = int(np.isfinite(unmixed.displacement_px).all(axis=1).sum())
    yield Row(section, "with a measured displacement", number(there), "to compare with; no method but rvae sees it")


def _cluster_rows(cluster: np.ndarray, posterior: np.ndarray | None) -> Iterator[Row]:
    placed = cluster[cluster >= 0]
    for place in range(min(int(placed.max(initial=-1)) + 1, MOST)):
        mine = cluster == place
        sure = "" if posterior is None else f"median probability {number(float(np.median(posterior[mine, place])), 3)}"
        value = f"{number(100 * float(np.mean(placed == place)), 3)} %"
        yield Row("Clusters", str(place), value, f"{_patches(int(mine.sum()))}; {sure}".rstrip("; "))


def _patches(count: int) -> str:
    return f"{number(count)} patch{'' if count == 1 else 'es'}"


def _angle_rows(found: Angles) -> Iterator[Row]:
    section = "Angle"
    yield Row(section, "verdict", found.verdict, found.remedy)
    if found.mapped:
        zero = f"zero {number(found.zero_deg, 3)}°, sense {found.sense:+d}"
        yield Row(section, "registered", number(found.registered), zero if found.registered else _unregistered(found))
        if found.polar.any():
            told = number(float(np.nanmedian(found.sigma_deg[found.polar])), 2)
            yield Row(section, "median sigma", f"{told}°", "circular, where a dipole is told from zero")
        for place, direction in enumerate(found.variant_deg[:MOST]):
            share = f"{number(100 * float(np.mean(found.variant == place)), 3)} %"
            yield Row(section, f"variant {place}", f"{number(float(direction), 4)}°", share)
        if len(found.variant_deg):
            share = f"{number(100 * float(found.between.mean()), 3)} %"
            yield Row(section, "between variants", share, "polar, and of none: as in walls, where a network draws one")
        else:
            yield Row(section, "variants", "none", "the histogram of the angle has no peaks that cannot be chance")
    for name, value in found.diagnosis.items():
        words, unit = name_and_unit(name)
        yield Row("Diagnosis", words, f"{number(float(value), 4)}{' ' + unit if unit else ''}", FIGURES.get(name, ""))


def _unregistered(found: Angles) -> str:
    drawn = bool(np.isfinite(found.dipole_px).any())
    return "zero is that of the dipole drawn" if drawn else "from any zero, as no dipole can be read"

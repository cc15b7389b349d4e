"""Settings → the object that unmixes, with the options that it has; and clusters of what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from dipolar.core.contracts import Progress
from dipolar.core.errors import SettingsError
from dipolar.core.unmixing import Components, Stack
from dipolar.recipes.unmix_settings import UnmixSettings

CLASSES = {
    "pca": "PCA",
    "nmf": "NMF",
    "ica": "ICA",
    "gmm": "GaussianMixture",
    "kmeans": "KMeans",
    "tsne": "TSNE",
    "mds": "MDS",
    "isomap": "Isomap",
    "umap": "UMAP",
}
"""Method → its class in `dipolar.unmix`."""
MANIFOLDS = ("tsne", "mds", "isomap", "umap")
FEW_CLUSTERS = 4
"""Clusters that a manifold is coloured by, where none were asked for."""
OPTIONS = (
    "components", "clusters", "covariance", "dimensions", "most", "restarts", "steps", "perplexity", "neighbours",
    "landmarks", "patches",
)  # fmt: skip
"""Settings that are options of methods."""
NETWORK = (
    "architecture", "freedom", "directions", "shift_sigma_px", "epochs", "batch", "learning_rate", "starts", "hidden",
)  # fmt: skip
"""Settings that are options of the autoencoder, beside its further latents: `components`."""
MIXTURE = ("covariance", "restarts")
"""Settings that serve where `clusters` loadings or latents are asked for."""
ANY = ("clusters",)
"""Settings that serve every method."""
Way = Callable[[Stack, Progress], Components]


def check_known(settings: UnmixSettings) -> None:
    """Refuse an option that none of the methods has, rather than ignore it.

    Raises
    ------
    SettingsError
        With the methods that have it.
    """
    known = {name for method in settings.methods for name in _used_by(method, settings)}
    if settings.windows and "pca" not in settings.methods:
        raise SettingsError(
            "windows is an option of pca.",
            got=f"windows = {settings.windows}, with method = {settings.method}",
            do="leave --windows out, or add pca to --method",
        )
    for name in (*OPTIONS, *NETWORK):
        if getattr(settings, name) is not None and name not in known:
            has = [method for method in (*CLASSES, "rvae") if name in options_of(method)]
            raise SettingsError(
                f"{name} is an option of {', '.join(has)}.",
                got=f"{name} = {getattr(settings, name)}, with method = {settings.method}",
                do=f"leave --{name.replace('_', '-')} out, or choose another --method",
            )


def settings_of(method: str, settings: UnmixSettings) -> UnmixSettings:
    """Return the settings of one method alone, without options of the others: so it is repeated by itself.

    Parameters
    ----------
    method
        One of those that the settings name.
    settings
        What was asked for.
    """
    unused = {*OPTIONS, *NETWORK} - _used_by(method, settings)
    windows = settings.windows and method == "pca"
    return settings.model_copy(update={"method": method, "windows": windows, **dict.fromkeys(unused)})


def _used_by(method: str, settings: UnmixSettings) -> set[str]:
    own = options_of(method)
    return own | set(ANY) | (set(MIXTURE) if settings.clusters is not None and "clusters" not in own else set())


def options_of(method: str) -> set[str]:
    """Return the settings that a method takes."""
    if method == "rvae":
        return {"components", *NETWORK}
    import dipolar.unmix

    return {one.name for one in fields(getattr(dipolar.unmix, CLASSES[method]))} & set(OPTIONS)


def way_of(method: str, settings: UnmixSettings) -> Way:
    """Return what unmixes a stack by that method, clusters included where they were asked for."""
    first = _autoencoder(settings) if method == "rvae" else _classical(method, settings)
    if settings.clusters is None or "clusters" in options_of(method):
        return first

    def with_clusters(stack: Stack, progress: Progress) -> Components:
        return clustered(first(stack, progress), stack, settings)

    return with_clusters


def _classical(method: str, settings: UnmixSettings) -> Way:
    import dipolar.unmix

    given = {name: getattr(settings, name) for name in OPTIONS if name in options_of(method)}
    given = {name: value for name, value in given.items() if value is not None}
    if method in MANIFOLDS:
        given.setdefault("clusters", FEW_CLUSTERS)
    chosen: Any = getattr(dipolar.unmix, CLASSES[method])(**given)

    def unmix(stack: Stack, progress: Progress) -> Components:
        found: Components = chosen.unmix(stack, rng=np.random.default_rng(settings.seed))
        return found

    return unmix


def _autoencoder(settings: UnmixSettings) -> Way:
    def unmix(stack: Stack, progress: Progress) -> Components:
        from dipolar.recipes.unmix_rvae import autoencode  # torch is not needed before

        return autoencode(stack, settings, progress=progress)

    return unmix


def clustered(components: Components, stack: Stack, settings: UnmixSettings) -> Components:
    """Return components with a Gaussian mixture in their loadings or latents, and the mean patch of each cluster.

    Parameters
    ----------
    components
        What was found.
    stack
        The patches that it was found in.
    settings
        How many clusters, of which shape; and whether the angle of an autoencoder counts.
    """
    from dipolar.unmix import cluster_latent

    angles = components.angles
    values = components.scores if angles is None else angles.latent
    angle = angles.angle_deg if angles is not None and settings.cluster_angle and angles.verdict == "good" else None
    shape: Mapping[str, Any] = {
        name: getattr(settings, name) for name in MIXTURE if getattr(settings, name) is not None
    }
    found = cluster_latent(values, angle, rng=np.random.default_rng(settings.seed), clusters=settings.clusters, **shape)
    weights = np.nan_to_num(found.posterior).astype(np.float32)
    totals = np.maximum(weights.sum(axis=0), np.float32(1e-12))
    flat = stack.images.reshape(len(stack.images), -1)
    means = ((weights / totals).T @ flat).reshape(-1, *stack.images.shape[1:]).astype(np.float32)
    values_are = "latents" if angles is not None else "loadings"
    by = f"{values_are} and angle" if angle is not None else values_are
    told = {f"cluster_{name}": fact for name, fact in found.facts.items()}
    return replace(
        components,
        cluster=found.cluster,
        posterior=found.posterior,
        cluster_means=means,
        curves=(*components.curves, *found.curves),
        facts={**components.facts, **told, "clusters_of": by},
        notes=(*components.notes, *found.notes),
    )

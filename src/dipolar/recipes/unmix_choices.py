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
OURS = ("directions", "starts", "hidden")
"""Those of them that the published network has not."""
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
    _check_useful(settings)
    for name in (*OPTIONS, *NETWORK):
        if getattr(settings, name) is not None and name not in known:
            has = [method for method in (*CLASSES, "rvae") if name in options_of(method)]
            raise SettingsError(
                f"{name} is an option of {', '.join(has)}.",
                got=f"{name} = {getattr(settings, name)}, with method = {settings.method}",
                do=f"leave --{name.replace('_', '-')} out, or choose another --method",
            )


def _check_useful(settings: UnmixSettings) -> None:
    """Refuse options that others make useless."""
    useless = {
        "shift_sigma_px": settings.freedom != "rotation+translation" and "freedom = rotation+translation",
        **dict.fromkeys(OURS, settings.architecture == "published" and "architecture = equivariant"),
        "finder": settings.channels == "image" and "channels = probability, or both",
    }
    for name, needed in useless.items():
        if needed and getattr(settings, name) is not None:
            raise SettingsError(
                f"{name} is of use with {needed}.",
                got=f"{name} = {getattr(settings, name)} without it",
                do=f"leave --{name.replace('_', '-')} out, or set {needed}",
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
        from dipolar.unmix.clusters import check_clusters

        check_clusters(settings.clusters, len(stack.images))  # before a training that would be lost
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
        fitting = {
            name: most
            for name, most in most_for(len(stack.images)).items()
            if name in options_of(method) and getattr(settings, name) is None and getattr(chosen, name) > most
        }
        way = replace(chosen, **fitting)
        found: Components = way.unmix(stack, rng=np.random.default_rng(settings.seed))
        said = tuple(
            f"Of few patches {name} is {most:g}, not {getattr(chosen, name):g}." for name, most in fitting.items()
        )
        return replace(found, notes=(*found.notes, *said))

    return unmix


def most_for(patches: int) -> dict[str, float]:
    """Return how large options of manifolds may be for so few patches, where nobody set them."""
    return {"perplexity": max((patches - 1) / 3.0, 1.0), "neighbours": max((patches - 1) // 3, 2)}


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
    from dipolar.unmix.clusters import cluster_means

    angles = components.angles
    values = components.scores if angles is None else angles.latent
    angle = angles.angle_deg if angles is not None and settings.cluster_angle and angles.mapped else None
    shape: Mapping[str, Any] = {
        name: getattr(settings, name) for name in MIXTURE if getattr(settings, name) is not None
    }
    found = cluster_latent(values, angle, rng=np.random.default_rng(settings.seed), clusters=settings.clusters, **shape)
    flat = stack.images.reshape(len(stack.images), -1)
    means = cluster_means(flat, found.posterior).reshape(-1, *stack.images.shape[1:])
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

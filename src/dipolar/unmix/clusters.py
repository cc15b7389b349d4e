"""Clusters of patches that look alike: k-means and Gaussian mixtures on their principal components, or on latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float32

from dipolar.core.errors import DataError
from dipolar.core.unmixing import Components, Method
from dipolar.unmix.choices import AbstractUnmixing, Table, check_count, names
from dipolar.unmix.mixtures import Clustering, Covariance, gaussian_mixture, k_means
from dipolar.unmix.principal import Principal, reduced

FEWEST, FEWEST_EACH = 5, 10
"""Patches in the smallest cluster of a mixture, and for each cluster, below which a note is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KMeans(AbstractUnmixing):
    """k-means: the clusters whose means are nearest to their patches, by squared difference."""

    method: ClassVar[Method] = "kmeans"
    clusters: int = 4
    """Number of clusters."""
    dimensions: int = 30
    """Principal components that patches are told apart by; what lies beyond is noise for the most part."""
    restarts: int = 10
    """Starts, of which the best counts."""
    steps: int = 300
    """Steps at most from each."""

    def find(self, table: Table, *, seed: int) -> Components:
        """Return clusters and their means, beside the principal components that they were found in."""
        check_clusters(self.clusters, len(table.values))
        first = reduced(table, self.dimensions, seed=seed)
        found = k_means(first.scores, self.clusters, restarts=self.restarts, steps=self.steps, seed=seed)
        return with_clusters(principal_components(self.method, table, first), table, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianMixture(AbstractUnmixing):
    """A mixture of normal distributions: clusters of their own shapes, and a probability of each for each patch."""

    method: ClassVar[Method] = "gmm"
    clusters: int | None = None
    """Number of clusters; None: that with the lowest Bayesian information criterion."""
    most: int = 10
    """Greatest number to try where it is not given."""
    covariance: Covariance = "full"
    """Shape: any for each cluster (``full``), one for all (``tied``), along axes (``diag``), round (``spherical``)."""
    dimensions: int = 10
    """Principal components that patches are told apart by. A full covariance of d of them has d (d + 1) / 2 values."""
    restarts: int = 3
    """Starts from k-means, of which the best counts."""
    steps: int = 300
    """Steps at most from each."""
    tolerance: float = 1e-4
    """It has converged where a step gains less log-likelihood per patch."""

    def find(self, table: Table, *, seed: int) -> Components:
        """Return clusters and their means, beside the principal components that they were found in."""
        check_clusters(self.clusters, len(table.values))
        first = reduced(table, self.dimensions, seed=seed)
        found = gaussian_mixture(
            first.scores,
            self.clusters,
            most=self.most,
            covariance=self.covariance,
            restarts=self.restarts,
            steps=self.steps,
            tolerance=self.tolerance,
            seed=seed,
        )
        return with_clusters(principal_components(self.method, table, first), table, with_few_told(found))


def cluster_latent(
    latent: Float[np.ndarray, "patch latent"],
    angle_deg: Float[np.ndarray, " patch"] | None = None,
    *,
    rng: np.random.Generator,
    clusters: int | None = None,
    most: int = 10,
    covariance: Covariance = "full",
    angle_weight: float = 1.0,
    restarts: int = 3,
) -> Clustering:
    """Return a Gaussian mixture in a latent space, with the angle or without.

    An angle has no beginning and no end, so that it enters by its cosine and sine. Every column is set to a standard
    deviation of 1; those two as they would be for angles all around. `Clustering.centres` are of such columns, around
    their mean.

    Parameters
    ----------
    latent
        Latent coordinates, or scores of any method; rows with nan belong to no cluster.
    angle_deg
        Angle of each; None: without.
    rng
        Where the seed comes from.
    clusters, most, covariance, restarts
        As for `GaussianMixture`.
    angle_weight
        How much the angle counts, against one latent; more than 0.

    Raises
    ------
    DataError
        Fewer rows without nan than clusters, or nothing to cluster by.
    """
    known = np.isfinite(latent).all(axis=1)
    if angle_deg is not None:
        known &= np.isfinite(angle_deg)
    rows = np.flatnonzero(known)
    check_clusters(clusters, len(rows))
    if len(rows) < 2:
        raise DataError(
            "Clusters are found among two patches at least.",
            got=f"{len(rows)} without nan",
            do="look at where nan is from",
        )
    columns = list(latent[rows].T)
    if angle_deg is not None:
        angle = np.radians(angle_deg[rows])
        columns += [np.cos(angle), np.sin(angle)]
    scale = [*(column.std() for column in columns[: latent.shape[1]]), *[np.sqrt(0.5) / angle_weight] * 2]
    columns = [column / size for column, size in zip(columns, scale, strict=False) if np.ptp(column) > 0]
    if not columns:
        raise DataError(
            "Clusters are found by what differs, and nothing does.",
            got=f"{latent.shape[1]} latents, {'no' if angle_deg is None else 'one'} angle",
            do="pass angle_deg, or latents that are not all the same",
        )
    found = gaussian_mixture(
        np.stack([column - column.mean() for column in columns], axis=1),
        clusters,
        most=most,
        covariance=covariance,
        restarts=restarts,
        seed=int(rng.integers(2**31 - 1)),
    )
    return with_few_told(found).spread_over(rows, len(latent))


def with_few_told(found: Clustering) -> Clustering:
    """Return a mixture with a note where its clusters rest on so few patches that they may be chance."""
    sizes = np.bincount(found.cluster, minlength=found.posterior.shape[1])
    count, patches, least = len(sizes), len(found.cluster), int(sizes.min())
    if count < 2 or (least >= FEWEST and patches >= FEWEST_EACH * count):
        return found
    fewer = max(1, min(count - 1, patches // FEWEST_EACH))
    note = (
        f"{count} clusters of {patches} patches, the smallest of {least}: so few may be chance. "
        f"Take fewer (clusters={fewer}, --clusters {fewer}), or a larger image."
    )
    return replace(found, notes=(*found.notes, note))


def check_clusters(clusters: int | None, patches: int) -> None:
    """Refuse fewer than one cluster, or more than patches; None is no number.

    Raises
    ------
    SettingsError
        Fewer than one.
    DataError
        More clusters than patches.
    """
    if clusters is not None:
        check_count("clusters", clusters, patches, "patches", option="--clusters")


def principal_components(method: Method, table: Table, first: Principal) -> Components:
    """Return principal components as the result of another method, which works on them."""
    return Components(
        method=method,
        names=names("pca", len(first.share)),
        scores=first.scores,
        modes=table.pictures(first.modes),
        mean=table.pictures(first.mean[None])[0],
        strength=first.share,
        facts={"dimensions": len(first.share), "explained": float(first.share.sum())},
    )


def with_clusters(components: Components, table: Table, found: Clustering) -> Components:
    """Return components with clusters, and what their mean patch looks like, each patch by its probability."""
    return replace(
        components,
        cluster=found.cluster,
        posterior=found.posterior,
        cluster_means=table.pictures(cluster_means(table.values, found.posterior)),
        curves=(*components.curves, *found.curves),
        facts={**components.facts, **found.facts},
        notes=(*components.notes, *found.notes),
    )


def cluster_means(
    values: Float32[np.ndarray, "patch pixel"], posterior: Float[np.ndarray, "patch cluster"]
) -> Float32[np.ndarray, "cluster pixel"]:
    """Return the mean of the patches of each cluster, each by its probability; patches without one do not count."""
    weight = np.nan_to_num(posterior).astype(np.float32)
    total = np.maximum(weight.sum(axis=0, dtype=np.float64), 1e-12)
    means: Float32[np.ndarray, "cluster pixel"] = (weight / total.astype(np.float32)).T @ values
    return means

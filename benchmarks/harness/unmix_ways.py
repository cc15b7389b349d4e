"""Every way to unmix that is compared, and the cluster that each puts a patch into."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dipolar.core.unmixing import Components, Stack
from dipolar.unmix import ICA, MDS, NMF, PCA, TSNE, AbstractUnmixing, GaussianMixture, Isomap, KMeans, cluster_latent
from harness import rvae_truth

Way = AbstractUnmixing | rvae_truth.Rvae

WAYS: dict[str, tuple[Way, str]] = {
    "PCA": (PCA(components=8), "patch"),
    "NMF": (NMF(components=8), "range"),
    "ICA": (ICA(components=8), "patch"),
    "k-means": (KMeans(clusters=4), "patch"),
    "GMM": (GaussianMixture(clusters=4), "patch"),
    "t-SNE": (TSNE(), "patch"),
    "MDS": (MDS(), "patch"),
    "Isomap": (Isomap(), "patch"),
    "rVAE": (rvae_truth.Rvae(), "patch"),
}
"""Each way and the normalisation of its patches."""


def clustered(way: Way, found: Components, stack: Stack, clusters: int, seed: int) -> np.ndarray:
    """Return the cluster of each patch: by the method itself where it clusters, else by a mixture of its scores.

    Of the autoencoder, four are the peaks of its angle (patches that it cannot tell are a class of their own), eight a
    mixture of its latents and the angle, two one of its latents alone.
    """
    rng = np.random.default_rng(seed)
    if found.angles is not None:
        angles = found.angles
        if clusters == 4:
            return np.where(angles.variant < 0, len(angles.variant_deg), angles.variant)
        angle = angles.angle_deg if clusters == 8 else None
        return cluster_latent(angles.latent, angle, clusters=clusters, rng=rng).cluster
    if isinstance(way, (KMeans, GaussianMixture)):
        cluster = replace(way, clusters=clusters).unmix(stack, rng=rng).cluster
        assert cluster is not None
        return cluster
    return cluster_latent(found.scores, clusters=clusters, rng=rng).cluster

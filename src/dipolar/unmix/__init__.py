"""Patches → components: PCA, NMF, ICA, clusters and manifolds, without a label."""

from dipolar.unmix.choices import AbstractUnmixing
from dipolar.unmix.clusters import GaussianMixture, KMeans, cluster_latent
from dipolar.unmix.embedding import AbstractManifold
from dipolar.unmix.linear import ICA, NMF, PCA, scree_against_window
from dipolar.unmix.manifolds import TSNE, UMAP, Isomap
from dipolar.unmix.mixtures import Clustering
from dipolar.unmix.scaling import MDS
from dipolar.unmix.separation import Separation, adjusted_rand, rank_correlation, separation
from dipolar.unmix.stack import cut_stack

__all__ = [
    "ICA",
    "MDS",
    "NMF",
    "PCA",
    "TSNE",
    "UMAP",
    "AbstractManifold",
    "AbstractUnmixing",
    "Clustering",
    "GaussianMixture",
    "Isomap",
    "KMeans",
    "Separation",
    "adjusted_rand",
    "cluster_latent",
    "cut_stack",
    "rank_correlation",
    "scree_against_window",
    "separation",
]

"""Patches → components: PCA, NMF, ICA, clusters and manifolds, without a label."""

"""How far clusters and latents tell variants of the ferroelectric apart from composition, against what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int64

from dipolar.core.errors import DataError
from dipolar.core.information import information_bit
from dipolar.core.unmixing import Components

SLICES = 12
"""Parts of equal number into which a latent is cut to count what it tells of a variant."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Separation:
    """What clusters and components tell of variants and of composition. nan is unknown."""

    cluster_variant_rand: float
    """Adjusted Rand index of clusters against variants: 1 the same, 0 as by chance."""
    cluster_variant_bit: float
    """Information that a cluster holds about the variant, in bit."""
    cluster_layer_rand: float
    """Adjusted Rand index of clusters against layers."""
    cluster_layer_bit: float
    """Information that a cluster holds about the layer, in bit."""
    variant_bit: Mapping[str, float]
    """Information that each component holds about the variant, in bit."""
    composition_rho: Mapping[str, float]
    """Size of Spearman's rank correlation of each component with composition."""

    def best(self) -> tuple[str, float, float]:
        """Return the component that follows composition best, that correlation, and what it tells of the variant."""
        known = {name: rho for name, rho in self.composition_rho.items() if np.isfinite(rho)}
        if not known:
            return "", float("nan"), float("nan")
        name = max(known, key=lambda key: known[key])
        return name, known[name], self.variant_bit.get(name, float("nan"))


def separation(
    components: Components,
    *,
    variant: Int[np.ndarray, " patch"] | None = None,
    composition: Float[np.ndarray, " patch"] | None = None,
    layer: Int[np.ndarray, " patch"] | None = None,
) -> Separation:
    """Return what a result tells of variants and of composition.

    Parameters
    ----------
    components
        The result of any method. The columns that count are those of `Components.scores`.
    variant
        Variant of each patch: of the truth, or measured; -1 unknown.
    composition
        Composition of the layer of each patch, or anything that grows with it; nan unknown.
    layer
        Number of the kind of layer; -1 unknown; None: the different values of `composition`.

    Raises
    ------
    DataError
        There is not one value for each patch.
    """
    for name, values in (("variant", variant), ("composition", composition), ("layer", layer)):
        if values is not None and len(values) != len(components.scores):
            raise DataError(
                "What is known must be known of the same patches, one value for each.",
                got=f"{len(values)} values of {name}, {len(components.scores)} patches",
                do=f"{name}={name}[stack.site]",
            )
    if layer is None and composition is not None:
        known = np.isfinite(composition)
        layer = np.full(len(composition), -1, dtype=np.int64)
        layer[known] = np.unique(composition[known], return_inverse=True)[1]
    clusters = components.cluster
    columns = dict(zip(components.names, components.scores.T, strict=True))
    nothing = float("nan")
    return Separation(
        cluster_variant_rand=nothing if clusters is None or variant is None else adjusted_rand(clusters, variant),
        cluster_variant_bit=nothing if clusters is None or variant is None else information_bit(clusters, variant),
        cluster_layer_rand=nothing if clusters is None or layer is None else adjusted_rand(clusters, layer),
        cluster_layer_bit=nothing if clusters is None or layer is None else information_bit(clusters, layer),
        variant_bit={} if variant is None else {k: information_bit(slices(v), variant) for k, v in columns.items()},
        composition_rho={}
        if composition is None
        else {k: rank_correlation(v, composition) for k, v in columns.items()},
    )


def adjusted_rand(one: Int[np.ndarray, " patch"], other: Int[np.ndarray, " patch"]) -> float:
    """Return the adjusted Rand index of two labellings; patches that either leaves out (-1) do not count.

    L. Hubert and P. Arabie, J. Classif. 2, 193 (1985). nan without patches that both label.
    """
    from sklearn.metrics import adjusted_rand_score

    both = (one >= 0) & (other >= 0)
    return float(adjusted_rand_score(other[both], one[both])) if both.any() else float("nan")


def slices(values: Float[np.ndarray, " patch"], count: int = SLICES) -> Int64[np.ndarray, " patch"]:
    """Return the part of the range that each value lies in, of parts with as many values each; -1 for nan."""
    known = np.isfinite(values)
    part = np.full(len(values), -1, dtype=np.int64)
    if known.any():
        edges = np.unique(np.quantile(values[known], np.linspace(0.0, 1.0, count + 1)[1:-1]))
        part[known] = np.searchsorted(edges, values[known], side="right")
    return part


def rank_correlation(one: Float[np.ndarray, " patch"], other: Float[np.ndarray, " patch"]) -> float:
    """Return the size of Spearman's rank correlation; rows with nan do not count; nan where either is constant."""
    from scipy.stats import rankdata

    known = np.isfinite(one) & np.isfinite(other)
    if np.count_nonzero(known) < 3:
        return float("nan")
    a, b = rankdata(one[known]), rankdata(other[known])
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    return abs(float(np.sum(a * b))) / size if size > 0 else float("nan")

"""What ways to lay patches out on a plane share: principal components first, landmarks, clusters beside."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from dipolar.core.errors import SettingsError
from dipolar.core.unmixing import Components, Fact
from dipolar.unmix.choices import AbstractUnmixing, Table, names, told_facts
from dipolar.unmix.clusters import check_clusters, with_clusters
from dipolar.unmix.landmarks import chosen
from dipolar.unmix.mixtures import k_means
from dipolar.unmix.principal import reduced

JUDGED = 1000
"""Patches by which the result is judged, chosen by chance where there are more."""
NEIGHBOURS = 15
"""Neighbours of a patch on the plane that should be its neighbours among the patches."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """Points laid out on a plane, or in a few dimensions."""

    coordinates: Float[np.ndarray, "point axis"]
    """Where each is."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What the method says of itself."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractManifold(AbstractUnmixing):
    """Patches laid out so that those alike lie together. Subclass it with `embed`; see `TSNE`."""

    components: int = 2
    """Axes of the result."""
    dimensions: int = 30
    """Principal components that distances between patches are taken in; what lies beyond is noise for the most part."""
    clusters: int | None = None
    """Clusters to colour by, found by k-means in those dimensions, not in the result; None: none."""

    def find(self, table: Table, *, seed: int) -> Components:
        """Return where each patch lies, the mean patch, and clusters where they were asked for."""
        check_clusters(self.clusters, len(table.values))
        if not 1 <= self.components < min(4, *table.values.shape):
            raise SettingsError(
                "Patches are laid out on 1 to 3 axes, and on fewer than there are patches.",
                got=f"components={self.components}, {len(table.values)} patches",
                do="components=2 (--components 2)",
            )
        first = reduced(table, self.dimensions, seed=seed)
        found = self.embed(first.scores, seed=seed)
        result = Components(
            method=self.method,
            names=names(self.method, self.components),
            scores=found.coordinates,
            mean=table.pictures(first.mean[None])[0],
            facts=told_facts(
                dimensions=len(first.share),
                explained=first.share.sum(),
                trustworthiness=trustworthiness(first.scores, found.coordinates, seed=seed),
                **found.facts,
            ),
            notes=found.notes,
        )
        if self.clusters is None:
            return result
        groups = k_means(first.scores, self.clusters, seed=seed)
        told = {"clusters": self.clusters, "clusters_converged": bool(groups.facts["converged"])}
        return with_clusters(result, table, replace(groups, facts=told))

    @abstractmethod
    def embed(self, points: Float[np.ndarray, "point dimension"], *, seed: int) -> Embedding:
        """Return where points lie, two at least."""


def principal_axes(coordinates: Float[np.ndarray, "point axis"]) -> Float[np.ndarray, "point axis"]:
    """Return the same points around their mean, the longest axis first, the farthest point on each axis positive.

    Distances alone tell neither place nor turn nor hand; so all three are the same for the same points.
    """
    centred = coordinates - coordinates.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    placed = centred @ axes[:, ::-1]
    farthest = placed[np.abs(placed).argmax(axis=0), np.arange(placed.shape[1])]
    return placed * np.where(farthest < 0, -1.0, 1.0)


def trustworthiness(
    points: Float[np.ndarray, "point dimension"], coordinates: Float[np.ndarray, "point axis"], *, seed: int
) -> float:
    """Return how far neighbours in the result are neighbours among the points: 1 all of them, 0.5 as by chance.

    J. Venna and S. Kaski, ICANN 2001, LNCS 2130, 485. Of `JUDGED` points at most; nan of fewer than four.
    """
    from sklearn.manifold import trustworthiness as trust

    rows = chosen(len(points), JUDGED, seed=seed)
    neighbours = min(NEIGHBOURS, (len(rows) - 1) // 2)
    if neighbours < 1:
        return float("nan")
    return float(trust(points[rows], coordinates[rows], n_neighbors=neighbours))

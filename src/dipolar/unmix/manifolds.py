"""Patches laid out on a plane by who their neighbours are: t-SNE, Isomap, UMAP."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from dipolar.core.errors import MissingExtraError, SettingsError
from dipolar.core.unmixing import Method
from dipolar.unmix.embedding import AbstractManifold, Embedding, principal_axes
from dipolar.unmix.landmarks import chosen, others, subsample_note

BESIDE = 5
"""Neighbours that a patch is placed between where only others were laid out."""
AT_ONCE = 1000
"""Patches that Isomap places at a time, with a distance from each to every landmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TSNE(AbstractManifold):
    """t-SNE: neighbours stay neighbours; distances between far groups, their sizes and densities mean nothing.

    L. van der Maaten and G. Hinton, J. Mach. Learn. Res. 9, 2579 (2008); it starts from principal components (D. Kobak
    and P. Berens, Nat. Commun. 10, 5416 (2019)), so that the large picture does not depend on chance.
    """

    method: ClassVar[Method] = "tsne"
    perplexity: float = 30.0
    """How many neighbours a patch has, roughly: 5 to 50."""
    patches: int = 8000
    """Patches to lay out; the others are placed between their nearest."""
    steps: int = 1000
    """Steps of descent."""
    early_exaggeration: float = 12.0
    """How much more neighbours attract each other in the first 250 steps."""
    learning_rate: float | None = None
    """Length of steps; None: patches / early exaggeration / 4, 50 at least."""
    angle: float = 0.5
    """How far groups of patches count as one in forces: 0.2 exact and slow, 0.8 rough and fast."""

    def embed(self, points: Float[np.ndarray, "point dimension"], *, seed: int) -> Embedding:
        """Return where points lie."""
        from sklearn.manifold import TSNE as Layout

        rows = chosen(len(points), self.patches, seed=seed)
        if not 1.0 <= self.perplexity < len(rows):
            raise SettingsError(
                "The perplexity is at least 1 and less than the number of patches.",
                got=f"perplexity={self.perplexity:g}, {len(rows)} patches",
                do=f"perplexity={max(len(rows) // 4, 1)}",
            )
        if self.steps < 250:
            raise SettingsError("t-SNE takes 250 steps at least.", got=f"steps={self.steps}", do="steps=1000")
        taken = points[rows].astype(np.float32)
        layout = Layout(
            self.components,
            perplexity=self.perplexity,
            early_exaggeration=self.early_exaggeration,
            learning_rate="auto" if self.learning_rate is None else self.learning_rate,
            max_iter=self.steps,
            init=_start(taken, self.components),
            angle=self.angle,
            random_state=seed,
        )
        placed = layout.fit_transform(taken).astype(np.float64)
        return Embedding(
            coordinates=_between_neighbours(points, rows, placed),
            facts={
                "divergence": float(layout.kl_divergence_),
                "iterations": int(layout.n_iter_),
                "laid_out": len(rows),
            },
            notes=subsample_note(len(rows), len(points), "placed between their nearest", "patches"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Isomap(AbstractManifold):
    """Isomap: distances along the surface that patches lie on, from neighbour to neighbour.

    J. B. Tenenbaum, V. de Silva, J. C. Langford, Science 290, 2319 (2000).
    """

    method: ClassVar[Method] = "isomap"
    neighbours: int = 12
    """Neighbours to step to from each patch: too few and the surface falls apart, too many and it is cut short."""
    landmarks: int = 2000
    """Patches that the surface is made of; the others are placed by their way to those."""

    def embed(self, points: Float[np.ndarray, "point dimension"], *, seed: int) -> Embedding:
        """Return where points lie."""
        from scipy.sparse.csgraph import connected_components
        from sklearn.manifold import Isomap as Surface
        from sklearn.neighbors import kneighbors_graph

        rows = chosen(len(points), self.landmarks, seed=seed)
        _check_neighbours(self.neighbours, len(rows))
        taken = points[rows]
        parts, _ = connected_components(kneighbors_graph(taken, self.neighbours), directed=False)
        surface = Surface(n_neighbors=self.neighbours, n_components=self.components, eigen_solver="dense")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parts, told below with what to do
            placed = np.empty((len(points), self.components))
            placed[rows] = surface.fit_transform(taken)
        rest = others(len(points), rows)
        for start in range(0, len(rest), AT_ONCE):
            some = rest[start : start + AT_ONCE]
            placed[some] = surface.transform(points[some])
        notes = subsample_note(len(rows), len(points), "placed by their way to those", "landmarks")
        if parts > 1:
            notes = (
                f"The patches fall into {parts} parts that are nobody's neighbours; Isomap joined them where they are "
                f"nearest, and distances between them mean little. Raise neighbours={2 * self.neighbours}.",
                *notes,
            )
        return Embedding(
            coordinates=principal_axes(placed),
            facts={
                "parts": int(parts),
                "laid_out": len(rows),
                "reconstruction_error": float(surface.reconstruction_error()),
            },
            notes=notes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UMAP(AbstractManifold):
    """UMAP: like t-SNE, with a little more of the large picture. Needs the extra ``umap``.

    L. McInnes, J. Healy, J. Melville, arXiv:1802.03426.
    """

    method: ClassVar[Method] = "umap"
    neighbours: int = 15
    """Neighbours of each patch: 5 for fine structure, 50 for the large picture."""
    least_distance: float = 0.1
    """How close points may lie in the result."""
    steps: int | None = None
    """Steps of descent; None: 200 for more than 10,000 patches, else 500."""

    def embed(self, points: Float[np.ndarray, "point dimension"], *, seed: int) -> Embedding:
        """Return where points lie."""
        umap = _umap()
        _check_neighbours(self.neighbours, len(points))
        taken = points.astype(np.float32)
        layout = umap.UMAP(
            n_components=self.components,
            n_neighbors=self.neighbours,
            min_dist=self.least_distance,
            n_epochs=self.steps,
            init=1e5 * _start(taken, self.components),
            random_state=seed,
            n_jobs=1,  # more would not repeat
        )
        return Embedding(coordinates=np.asarray(layout.fit_transform(taken), dtype=np.float64))


def _start(points: Float[np.ndarray, "point dimension"], components: int) -> Float[np.ndarray, "point axis"]:
    """Return the first principal components, small, as where to start."""
    first = np.zeros((len(points), components), dtype=np.float32)
    first[:, : min(components, points.shape[1])] = points[:, :components]
    return 1e-4 * first / max(float(first[:, 0].std()), 1e-30)


def _between_neighbours(
    points: Float[np.ndarray, "point dimension"],
    rows: np.ndarray,
    placed: Float[np.ndarray, "landmark axis"],
) -> Float[np.ndarray, "point axis"]:
    """Return where all points lie: those laid out, and the others at the mean of their nearest, by inverse distance."""
    from sklearn.neighbors import KNeighborsRegressor

    everywhere = np.empty((len(points), placed.shape[1]))
    everywhere[rows] = placed
    rest = others(len(points), rows)
    if len(rest):
        nearest = KNeighborsRegressor(min(BESIDE, len(rows)), weights="distance").fit(points[rows], placed)
        everywhere[rest] = nearest.predict(points[rest])
    return everywhere


def _check_neighbours(neighbours: int, patches: int) -> None:
    if not 1 <= neighbours < patches:
        raise SettingsError(
            "A patch has at least one neighbour, and fewer than there are patches.",
            got=f"neighbours={neighbours}, {patches} patches",
            do=f"neighbours={max(min(12, patches - 1), 1)}",
        )


def _umap() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # about a part of it that needs tensorflow
            import umap
    except ImportError as error:
        raise MissingExtraError(
            "UMAP comes from the package umap-learn, which is not installed.",
            got=str(error),
            do="pip install dipolar[umap], or take --method tsne",
        ) from error
    return umap

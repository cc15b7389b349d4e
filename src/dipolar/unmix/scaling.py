"""Multidimensional scaling: patches laid out so that distances on the plane are those between patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from dipolar.core.errors import SettingsError
from dipolar.core.unmixing import Method
from dipolar.unmix.embedding import AbstractManifold, Embedding, principal_axes
from dipolar.unmix.landmarks import chosen, others, subsample_note

AT_ONCE = 4096
"""Points that are placed at a time, with a distance from each to every landmark."""
PLACING_STEPS = 40
"""Steps by which a point finds its place among landmarks; it moves by less than a thousandth long before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MDS(AbstractManifold):
    """Multidimensional scaling on landmarks; all other patches are placed by their distances to those.

    V. de Silva and J. B. Tenenbaum, Sparse multidimensional scaling using landmark points, Stanford (2004).
    """

    method: ClassVar[Method] = "mds"
    landmarks: int = 600
    """Patches whose distances to each other count."""
    way: Literal["smacof", "classical"] = "smacof"
    """``smacof`` makes distances agree as they are, by majorisation of the stress (I. Borg and P. J. F. Groenen, Modern
    Multidimensional Scaling, ch. 8); ``classical`` (W. S. Torgerson, Psychometrika 17, 401 (1952)) keeps what it can of
    scalar products, as principal components do."""
    steps: int = 500
    """Steps of majorisation at most."""
    tolerance: float = 1e-6
    """It has converged where a step lowers the stress by less than this share."""

    def embed(self, points: Float[np.ndarray, "point dimension"], *, seed: int) -> Embedding:
        """Return where points lie."""
        from scipy.spatial.distance import cdist

        if self.landmarks <= self.components:
            raise SettingsError(
                "Places follow from distances to more landmarks than there are axes.",
                got=f"landmarks={self.landmarks}, components={self.components}",
                do="landmarks=600",
            )
        rows = chosen(len(points), self.landmarks, seed=seed)
        distance = cdist(points[rows], points[rows])
        anchors = classical_scaling(distance, self.components)
        iterations, converged = 0, True
        if self.way == "smacof":
            anchors, iterations = self._majorise(distance, anchors)
            converged = iterations < self.steps
        placed = np.empty((len(points), self.components))
        placed[rows] = anchors
        rest = others(len(points), rows)
        for start in range(0, len(rest), AT_ONCE):
            some = rest[start : start + AT_ONCE]
            away = cdist(points[some], points[rows])
            there = triangulate(away, anchors, distance)
            placed[some] = settle(there, away, anchors) if self.way == "smacof" else there
        note = f"Scaling has not converged after {self.steps} steps: raise steps={4 * self.steps}."
        notes = subsample_note(len(rows), len(points), "placed by their distances to those", "landmarks")
        return Embedding(
            coordinates=principal_axes(placed),
            facts={
                "stress": stress(distance, anchors),
                "iterations": iterations,
                "converged": converged,
                "laid_out": len(rows),
            },
            notes=notes if converged else (note, *notes),
        )

    def _majorise(
        self, distance: Float[np.ndarray, "landmark landmark"], start: Float[np.ndarray, "landmark axis"]
    ) -> tuple[Float[np.ndarray, "landmark axis"], int]:
        """Return landmarks whose distances agree as far as they can, from where classical scaling puts them."""
        from sklearn.manifold import smacof

        placed, _, iterations = smacof(
            distance,
            n_components=self.components,
            init=start,
            n_init=1,
            max_iter=self.steps,
            eps=self.tolerance,
            return_n_iter=True,
            normalized_stress=False,
        )
        return placed - placed.mean(axis=0), int(iterations)


def classical_scaling(distance: Float[np.ndarray, "point point"], axes: int) -> Float[np.ndarray, "point axis"]:
    """Return points around zero whose scalar products are nearest to those that follow from the distances."""
    from scipy.linalg import eigh

    count = len(distance)
    square = distance**2
    product = -0.5 * (square - square.mean(axis=0) - square.mean(axis=1)[:, None] + square.mean())
    kept = min(axes, count)
    values, vectors = eigh(product, subset_by_index=(count - kept, count - 1))
    placed = np.zeros((count, axes))
    placed[:, :kept] = (vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1]
    return placed


def triangulate(
    away: Float[np.ndarray, "point landmark"],
    anchors: Float[np.ndarray, "landmark axis"],
    distance: Float[np.ndarray, "landmark landmark"],
) -> Float[np.ndarray, "point axis"]:
    """Return where points lie by their distances to landmarks, ``-1/2 L# (square - mean square)``.

    Exact where all distances are those of a plane. V. de Silva and J. B. Tenenbaum (2004), section 2.4.

    Parameters
    ----------
    away
        Distance of each point to each landmark.
    anchors
        Where landmarks lie, around zero.
    distance
        Distances between landmarks.
    """
    inverse = np.linalg.pinv(anchors)
    return -0.5 * (away**2 - np.mean(distance**2, axis=0)) @ inverse.T


def settle(
    placed: Float[np.ndarray, "point axis"],
    away: Float[np.ndarray, "point landmark"],
    anchors: Float[np.ndarray, "landmark axis"],
) -> Float[np.ndarray, "point axis"]:
    """Return points moved to where their distances to landmarks, which stay, agree best with what they should be.

    Each step is the Guttman transform of one point: the mean of where each landmark wants it.
    """
    from scipy.spatial.distance import cdist

    scale = max(float(anchors.std()), 1e-300)
    for _ in range(PLACING_STEPS):
        pull = away / np.maximum(cdist(placed, anchors), 1e-9 * scale)
        moved = anchors.mean(axis=0) + placed * pull.mean(axis=1)[:, None] - pull @ anchors / len(anchors)
        step = float(np.abs(moved - placed).max(initial=0.0))
        placed = moved
        if step < 1e-6 * scale:
            break
    return placed


def stress(distance: Float[np.ndarray, "point point"], placed: Float[np.ndarray, "point axis"]) -> float:
    """Return Kruskal's stress: root of the squared error of distances, over that of the distances."""
    from scipy.spatial.distance import cdist

    return float(np.sqrt(np.sum((cdist(placed, placed) - distance) ** 2) / max(float(np.sum(distance**2)), 1e-300)))

"""k-means and mixtures of normal distributions on any table of numbers, with clusters numbered by size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int32, Int64

from dipolar.core.errors import DataError
from dipolar.core.unmixing import Curve, Fact
from dipolar.unmix.choices import largest_first, not_converged, told_facts

Covariance = Literal["full", "tied", "diag", "spherical"]
"""Shapes of clusters, as they are typed."""
FLOOR = 1e-6
"""Added to the variance of each cluster, as a share of the mean variance, so that none becomes a point."""

SAME = 1e-5
"""Points that differ by less than about this share of the largest coordinate are the same."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clustering:
    """Which point belongs to which cluster."""

    cluster: Int32[np.ndarray, " point"]
    """Number of the cluster, from 0, the largest first; -1 where the point has none."""
    posterior: Float[np.ndarray, "point cluster"]
    """Probability of each cluster; 0 and 1 for k-means; nan where the point has none."""
    centres: Float[np.ndarray, "cluster dimension"]
    """Mean of each, as the points are given."""
    curves: tuple[Curve, ...] = ()
    """How the number was chosen."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """Converged, iterations, criterion."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""

    def spread_over(self, rows: Int64[np.ndarray, " point"], count: int) -> Clustering:
        """Return the same for `count` points, of which these are `rows` and the others belong to no cluster."""
        cluster = np.full(count, -1, dtype=np.int32)
        posterior = np.full((count, self.posterior.shape[1]), np.nan)
        cluster[rows], posterior[rows] = self.cluster, self.posterior
        return replace(self, cluster=cluster, posterior=posterior)


def k_means(
    points: Float[np.ndarray, "point dimension"], clusters: int, *, restarts: int = 10, steps: int = 300, seed: int
) -> Clustering:
    """Return the clusters whose means are nearest to their points, by squared distance.

    Raises
    ------
    DataError
        There are more clusters than points that differ.
    """
    from sklearn.cluster import KMeans

    _check_different(points, clusters)
    model = KMeans(clusters, n_init=restarts, max_iter=steps, random_state=seed)
    with not_converged() as complaints:
        labels = model.fit_predict(points)
    converged = not complaints and model.n_iter_ < steps
    order = largest_first(labels, clusters, points[:, 0])
    cluster = np.argsort(order)[labels].astype(np.int32)
    note = f"k-means has not converged after {steps} steps: raise steps={4 * steps}."
    return Clustering(
        cluster=cluster,
        posterior=np.eye(clusters)[cluster],
        centres=model.cluster_centers_[order].astype(np.float64),
        facts=told_facts(clusters=clusters, inertia=model.inertia_, iterations=model.n_iter_, converged=converged),
        notes=() if converged else (note,),
    )


def gaussian_mixture(
    points: Float[np.ndarray, "point dimension"],
    clusters: int | None,
    *,
    most: int = 10,
    covariance: Covariance = "full",
    restarts: int = 3,
    steps: int = 300,
    tolerance: float = 1e-4,
    seed: int,
) -> Clustering:
    """Return a mixture of normal distributions, of a given number or the one of lowest BIC up to `most`.

    Bayesian information criterion: G. Schwarz, Ann. Stat. 6, 461 (1978). It takes points as independent; patches that
    overlap are not quite, so that it tends to too many clusters.

    Raises
    ------
    DataError
        There are more clusters than points that differ.
    """
    scale = float(np.sqrt(np.mean(np.var(points, axis=0)))) or 1.0
    scaled = points / scale  # the floor of variances is no share of anything in scikit-learn
    if clusters is not None:
        _check_different(points, clusters)
    enough = max(min(most, len(points) // (2 * points.shape[1] + 2)), 1)  # fewer points than dimensions have no shape
    tried = range(1, enough + 1) if clusters is None else (clusters,)
    models, failed = [], []
    for count in tried:
        model = _mixture(count, covariance, restarts, steps, tolerance, seed)
        with not_converged() as complaints:
            model.fit(scaled)
        models.append(model)
        failed.append(bool(complaints) or not model.converged_)
    criterion = np.array([float(model.bic(scaled)) for model in models])
    best = int(np.argmin(criterion))
    found = _numbered(models[best], scaled, scale, criterion=float(criterion[best]), converged=not failed[best])
    notes = (*found.notes, *_mixture_notes(len(points), failed[best], steps, enough if clusters is None else 0, most))
    if clusters is None and best + 1 == most:
        notes = (*notes, f"The criterion still falls at {most} clusters: raise most={2 * most}, or give clusters.")
    curves = (_bic_curve(criterion, best + 1, covariance),) if clusters is None else ()
    return replace(found, curves=curves, notes=notes)


def _mixture(count: int, covariance: Covariance, restarts: int, steps: int, tolerance: float, seed: int) -> Any:
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(
        count,
        covariance_type=covariance,
        n_init=restarts,
        max_iter=steps,
        tol=tolerance,
        reg_covar=FLOOR,
        random_state=seed,
    )


def _mixture_notes(points: int, failed: bool, steps: int, tried: int, most: int) -> Iterator[str]:
    if failed:
        yield (
            f"The mixture has not converged after {steps} steps: raise steps={4 * steps}, take fewer clusters or "
            'dimensions, or a simpler shape, covariance="tied".'
        )
    if 0 < tried < most:
        yield (
            f"{points} patches are enough for the shapes of {tried} cluster{'' if tried == 1 else 's'} at most: take "
            "fewer dimensions, or give clusters."
        )


def _numbered(
    model: Any, scaled: Float[np.ndarray, "point dimension"], scale: float, *, criterion: float, converged: bool
) -> Clustering:
    """Return a fitted mixture with its clusters numbered by size."""
    posterior = model.predict_proba(scaled).astype(np.float64)
    labels = posterior.argmax(axis=1)
    count = posterior.shape[1]
    order = largest_first(labels, count, scaled[:, 0])
    empty = count - len(np.unique(labels))
    note = f"{empty} of {count} clusters of the mixture are the likeliest of no patch: take fewer clusters."
    return Clustering(
        cluster=np.argsort(order)[labels].astype(np.int32),
        posterior=posterior[:, order],
        centres=(scale * model.means_[order]).astype(np.float64),
        facts=told_facts(
            clusters=count,
            bic=criterion,
            iterations=model.n_iter_,
            converged=converged,
            log_likelihood=model.lower_bound_,
        ),
        notes=(note,) if empty else (),
    )


def _bic_curve(criterion: Float[np.ndarray, " tried"], chosen: int, covariance: Covariance) -> Curve:
    return Curve(
        title=f"Bayesian information criterion of the mixture ({covariance} covariance)",
        x_label="clusters",
        y_label="BIC",
        x=np.arange(1.0, len(criterion) + 1.0),
        y=criterion[None],
        lines=(covariance,),
        chosen=float(chosen),
    )


def _check_different(points: Float[np.ndarray, "point dimension"], clusters: int) -> None:
    grain = SAME * max(float(np.abs(points).max()), 1e-300)
    different = len(np.unique(np.round(points / grain), axis=0))
    if clusters > different:
        raise DataError(
            "There cannot be more clusters than patches that differ.",
            got=f"clusters={clusters}, {different} different patches of {len(points)}",
            do=f"clusters={different} (--clusters {different}) or fewer",
        )

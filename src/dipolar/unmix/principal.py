"""Principal components of a table: the first step of every other way, and exact where that costs little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from dipolar.core.errors import SettingsError
from dipolar.unmix.choices import Table, total_variance

EXACT = 1.5e9
"""Operations (patches × pixels × the fewer of both) up to which the decomposition is exact: a second or so."""
SMALL = 0.2
"""Share of all components from which the randomised way has no advantage."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Principal:
    """Leading principal components, the strongest first."""

    mean: Float32[np.ndarray, " pixel"]
    """Mean patch."""
    modes: Float32[np.ndarray, "component pixel"]
    """Orthonormal modes, each turned so that its largest pixel is positive."""
    scores: Float[np.ndarray, "patch component"]
    """Loadings: a patch is about the mean and the sum of loading times mode."""
    share: Float[np.ndarray, " component"]
    """Share of the total variance of each."""
    variance: float
    """Total variance, summed over pixels."""


def principal(table: Table, count: int, *, seed: int) -> Principal:
    """Return the leading principal components.

    Large tables are decomposed by projection on random directions, with power steps: N. Halko, P. G. Martinsson,
    J. A. Tropp, SIAM Rev. 53, 217 (2011).

    Parameters
    ----------
    table
        The patches.
    count
        Number of components, at most that of patches and of pixels.
    seed
        Of the random directions.
    """
    from sklearn.decomposition import PCA

    values = table.values
    fewer = min(values.shape)
    exact = values.size * fewer <= EXACT or count > SMALL * fewer
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    total = total_variance(values, mean)
    centred = (values - mean).astype(np.float64 if exact else np.float32, copy=False)
    found = PCA(count, svd_solver="full" if exact else "randomized", random_state=seed, copy=False)
    scores = found.fit_transform(centred)
    modes, sign = turned(found.components_)
    return Principal(
        mean=mean,
        modes=modes.astype(np.float32),
        scores=scores.astype(np.float64) * sign,
        share=found.explained_variance_ratio_.astype(np.float64),
        variance=total,
    )


def turned(
    modes: Float[np.ndarray, "component pixel"],
) -> tuple[Float[np.ndarray, "component pixel"], Float[np.ndarray, " component"]]:
    """Return modes with the sign by which the pixel of largest size is positive, and the signs."""
    largest = modes[np.arange(len(modes)), np.abs(modes).argmax(axis=1)]
    sign = np.where(largest < 0, -1.0, 1.0).astype(modes.dtype)
    return modes * sign[:, None], sign.astype(np.float64)


def reduced(table: Table, dimensions: int, *, seed: int) -> Principal:
    """Return as many principal components as asked for, or as there can be.

    Raises
    ------
    SettingsError
        Fewer than one is asked for.
    """
    if dimensions < 1:
        raise SettingsError("At least one dimension is needed.", got=f"dimensions={dimensions}", do="dimensions=30")
    return principal(table, min(dimensions, len(table.values) - 1, table.values.shape[1]), seed=seed)

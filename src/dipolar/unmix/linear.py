"""Linear unmixing: every patch is a mean and a sum of modes, each times its loading.

In all three, a mode has length 1 (its squared pixels sum to 1) and loadings carry the unit of the patches; modes come
strongest first, by the share of the variance (of NMF: of the squared signal), and have the sign by which their largest
pixel is positive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float32, Int64

from dipolar.core.errors import DataError, SettingsError
from dipolar.core.unmixing import Components, Curve, Method, Stack
from dipolar.unmix.choices import (
    AT_ONCE,
    AbstractUnmixing,
    Table,
    check_count,
    names,
    not_converged,
    table_of,
    told_facts,
    total_variance,
)
from dipolar.unmix.landmarks import chosen, subsample_note
from dipolar.unmix.principal import Principal, principal, reduced, turned

SCREE = 20
"""Components in the scree curve, where there are so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PCA(AbstractUnmixing):
    """Principal component analysis: orthogonal modes that explain the most variance."""

    method: ClassVar[Method] = "pca"
    components: int = 8
    """Number of modes."""

    def find(self, table: Table, *, seed: int) -> Components:
        """Return the modes, and the scree: the share of variance of each component, further ones included."""
        check_components(table, self.components)
        found = reduced(table, max(self.components, SCREE), seed=seed)
        if len(found.share) < self.components:  # one for each patch: the last explains nothing
            found = principal(table, self.components, seed=seed)
        count = self.components
        return Components(
            method=self.method,
            names=names("pca", count),
            scores=found.scores[:, :count],
            modes=table.pictures(found.modes[:count]),
            mean=table.pictures(found.mean[None])[0],
            strength=found.share[:count],
            curves=(_scree(found, count),),
            facts=told_facts(explained=found.share[:count].sum()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NMF(AbstractUnmixing):
    """Non-negative matrix factorisation: patches are sums, never differences, of modes that are nowhere negative.

    Nothing is taken off first, so that the result has no mean. Modes overlap, so that the variance cannot be shared out
    among them: the strength of a mode is its squared signal (loading times mode), over the sum of that of all modes.
    """

    method: ClassVar[Method] = "nmf"
    components: int = 4
    """Number of modes."""
    patches: int = 2000
    """Patches to find the modes in; loadings are found for all."""
    steps: int = 2000
    """Steps of coordinate descent at most."""
    tolerance: float = 2e-4
    """It has converged where a step changes less than this share of what the first changed."""
    start: Literal["nndsvda", "nndsvd", "random"] = "nndsvda"
    """Where it starts: a singular value decomposition without its negative part, with zeros filled (``a``) or kept."""

    def find(self, table: Table, *, seed: int) -> Components:
        """Return the modes."""
        check_components(table, self.components)
        check_count("patches", self.patches, max(self.patches, 1), "patches")
        lowest = float(table.values.min())
        if lowest < 0:
            raise DataError(
                "NMF explains patches by sums of modes that are nowhere negative, so that patches must not be, either.",
                got=f'values down to {lowest:.4g} (normalization="{table.normalization}")',
                do='normalization="range" (--normalization range) shifts and scales all patches to 0 to 1',
            )
        rows = chosen(len(table.values), max(self.patches, self.components), seed=seed)
        modes, scores, iterations, converged = self._factors(table.values, rows, seed)
        length = np.linalg.norm(modes, axis=1)
        modes, scores = modes / np.where(length > 0, length, 1.0)[:, None], scores * length
        mean = table.values.mean(axis=0, dtype=np.float64).astype(np.float32)
        total = total_variance(table.values, mean)
        left = _left(table.values, scores, modes)
        energy = np.mean(scores**2, axis=0)
        order = np.argsort(-energy, kind="stable")
        steps = (
            f"NMF has not converged after {self.steps} steps: raise steps={4 * self.steps}, or take fewer components."
        )
        notes = subsample_note(len(rows), len(scores), "given loadings of the same modes", "patches")
        return Components(
            method=self.method,
            names=names("nmf", self.components),
            scores=scores[:, order],
            modes=table.pictures(modes[order].astype(np.float32)),
            strength=energy[order] / max(float(energy.sum()), 1e-300),
            facts=told_facts(
                explained=1.0 - left / total,
                explained_square=1.0 - left / (total + float(np.sum(mean.astype(np.float64) ** 2))),
                iterations=iterations,
                converged=converged,
            ),
            notes=notes if converged else (steps, *notes),
        )

    def _factors(
        self, values: Float32[np.ndarray, "patch pixel"], rows: Int64[np.ndarray, " landmark"], seed: int
    ) -> tuple[Float[np.ndarray, "mode pixel"], Float[np.ndarray, "patch mode"], int, bool]:
        """Return modes found in some patches, loadings of all, the steps it took, and whether that was enough."""
        from sklearn.decomposition import NMF as Factorisation

        factors = Factorisation(
            self.components, init=self.start, max_iter=self.steps, tol=self.tolerance, random_state=seed
        )
        everything = len(rows) == len(values)
        with not_converged() as complaints:
            scores = factors.fit_transform(values if everything else values[rows])
            steps = int(factors.n_iter_)
            if not everything:
                scores = factors.transform(values)
        return factors.components_.astype(np.float64), scores.astype(np.float64), steps, not complaints


@dataclass(frozen=True, slots=True, kw_only=True)
class ICA(AbstractUnmixing):
    """Independent component analysis: modes whose loadings are as independent, and as little Gaussian, as can be.

    FastICA on principal components: A. Hyvärinen and E. Oja, Neural Netw. 13, 411 (2000).
    """

    method: ClassVar[Method] = "ica"
    components: int = 4
    """Number of modes: they span what as many principal components do."""
    steps: int = 400
    """Steps at most."""
    tolerance: float = 1e-4
    """It has converged where a step turns no component by more than this."""
    contrast: Literal["logcosh", "exp", "cube"] = "logcosh"
    """What is maximised; ``exp`` for loadings with long tails, ``cube`` (kurtosis) only without outliers."""

    def find(self, table: Table, *, seed: int) -> Components:
        """Return the modes."""
        from sklearn.decomposition import FastICA

        check_components(table, self.components)
        first = principal(table, self.components, seed=seed)
        if first.share[-1] < 1e-10:
            real = int(np.sum(first.share > 1e-10))
            raise DataError(
                "Independent components are made of as many principal components, and these patches have fewer.",
                got=f"components={self.components}, patches that differ in {real} ways",
                do=f"components={real} (--components {real})",
            )
        analysis = FastICA(
            whiten="unit-variance", fun=self.contrast, max_iter=self.steps, tol=self.tolerance, random_state=seed
        )
        with not_converged() as complaints:
            sources = analysis.fit_transform(first.scores)
        modes = analysis.mixing_.T @ first.modes
        length = np.linalg.norm(modes, axis=1)
        order = np.argsort(-length, kind="stable")
        modes, sign = turned(modes[order] / length[order, None])
        steps = (
            f"ICA has not converged after {self.steps} steps: raise steps={4 * self.steps}, or take fewer components; "
            "where loadings are Gaussian, as those of noise are, there is nothing to converge to."
        )
        return Components(
            method=self.method,
            names=names("ica", self.components),
            scores=sources[:, order] * length[order] * sign,
            modes=table.pictures(modes.astype(np.float32)),
            mean=table.pictures(first.mean[None])[0],
            strength=length[order] ** 2 / first.variance,
            facts=told_facts(explained=first.share.sum(), iterations=analysis.n_iter_, converged=not complaints),
            notes=(steps,) if complaints else (),
        )


def scree_against_window(stacks: Iterable[Stack], *, rng: np.random.Generator, components: int = 4) -> Curve:
    """Return the share of variance that the first principal components explain, for patches of several sizes.

    Parameters
    ----------
    stacks
        One for each size of patch, of the same image; looked at one by one, so that they may be cut one by one.
    rng
        Where the seed comes from.
    components
        How many are drawn by themselves; one more line is the sum of them.

    Raises
    ------
    SettingsError
        No stacks.
    DataError
        One of them cannot be unmixed; see `PCA`.
    """
    seed = int(rng.integers(2**31 - 1))

    def looked_at(stack: Stack) -> tuple[float, Float[np.ndarray, " component"]]:
        table = table_of(stack)
        check_components(table, components)
        return stack.images.shape[-1] * stack.step_px, principal(table, components, seed=seed).share

    found = list(map(looked_at, stacks))  # unlike a loop, it holds no stack while the next one is cut
    if not found:
        raise SettingsError(
            "A curve against the window needs stacks of patches.", got="none", do="windows_px=(24, 36, 48)"
        )
    edges = np.array([edge for edge, _ in found])
    order = np.argsort(edges, kind="stable")
    each = np.array([share for _, share in found])[order].T
    return Curve(
        title="variance explained, against the size of patches",
        x_label="edge of patch (image px)",
        y_label="share of variance",
        x=edges[order],
        y=np.concatenate([each, each.sum(axis=0)[None]]),
        lines=(*names("pca", components), "together"),
    )


def check_components(table: Table, count: int) -> None:
    """Refuse more components than patches, or than pixels.

    Raises
    ------
    SettingsError
        Fewer than one.
    DataError
        Too many.
    """
    check_count("components", count, len(table.values), "patches", option="--components")
    check_count("components", count, table.values.shape[1], "pixels in a patch", option="--components")


def _left(
    values: Float32[np.ndarray, "patch pixel"],
    scores: Float[np.ndarray, "patch mode"],
    modes: Float[np.ndarray, "mode pixel"],
) -> float:
    """Return the squared difference that modes leave, summed over pixels, as the mean over patches."""
    total = 0.0
    for start in range(0, len(values), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        total += float(np.sum((values[part] - scores[part] @ modes) ** 2))
    return total / len(values)


def _scree(found: Principal, chosen: int) -> Curve:
    count = len(found.share)
    return Curve(
        title="variance explained by each component",
        x_label="component",
        y_label="share of variance",
        x=np.arange(1.0, count + 1.0),
        y=found.share[None],
        lines=("share of variance",),
        chosen=float(chosen),
    )

"""What every way to unmix shares: a table of patches in an order of its own, and a common record."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from dipolar.core.errors import DataError, SettingsError
from dipolar.core.unmixing import Components, Fact, Method, Stack

AT_ONCE = 1024
"""Patches that sums are taken over at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A stack with a row for each patch, ordered by site, so that no result depends on the order of patches."""

    values: Float32[np.ndarray, "patch pixel"]
    """All pixels of each patch."""
    rows: Int64[np.ndarray, " patch"]
    """Row of each in the stack."""
    shape: tuple[int, int, int]
    """Of a patch: channels, y, x."""
    normalization: str
    """Of the stack."""

    def pictures(self, modes: Float32[np.ndarray, "mode pixel"]) -> Float32[np.ndarray, "mode channel y x"]:
        """Return rows of pixels as pictures."""
        return modes.reshape(len(modes), *self.shape).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractUnmixing(ABC):
    """A way to unmix, with its settings. Subclass it with `method` and `find`; see `dipolar.unmix.linear.PCA`."""

    method: ClassVar[Method]
    """Its name."""

    def unmix(self, stack: Stack, *, rng: np.random.Generator) -> Components:
        """Return what the stack is made of.

        Two generators in the same state give the same result, and so does the stack in any order of its patches.

        Parameters
        ----------
        stack
            The patches; see `dipolar.unmix.stack.cut_stack`.
        rng
            Where the one seed comes from that scikit-learn gets; it is in the settings of the result.

        Raises
        ------
        DataError
            The stack cannot be unmixed this way: too few patches, all of them the same, negative values.
        SettingsError
            A setting is out of range for this stack.
        """
        start = time.process_time()
        table = table_of(stack)
        seed = int(rng.integers(2**31 - 1))
        found = self.find(table, seed=seed)
        back = np.argsort(table.rows)
        told = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(
            found,
            scores=found.scores[back],
            cluster=None if found.cluster is None else found.cluster[back],
            posterior=None if found.posterior is None else found.posterior[back],
            settings={**{k: v for k, v in told.items() if v is not None}, "seed": seed},
            facts={**found.facts, "patches": len(back), "cpu_s": time.process_time() - start},
        )

    @abstractmethod
    def find(self, table: Table, *, seed: int) -> Components:
        """Return what the table is made of, row for row; settings and the time it took are filled in by `unmix`."""


def table_of(stack: Stack) -> Table:
    """Return the patches as rows ordered by site, and by position where sites share a row.

    Raises
    ------
    DataError
        Fewer than two patches, or values that are no numbers, or patches that are all the same.
    """
    count = len(stack.images)
    if count < 2:
        raise DataError(
            "Unmixing compares patches, so that two at least are needed.",
            got=f"{count} patch{'' if count == 1 else 'es'}",
            do="a larger image, or smaller patches: window_px=24 (--window-px 24)",
        )
    values = stack.images.reshape(count, -1)
    lowest, highest = values.min(axis=0), values.max(axis=0)  # nan where a patch has one
    if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
        raise DataError(
            "Every pixel of every patch must be a number.",
            got=f"{int(np.sum(~np.isfinite(values).all(axis=1)))} of {count} patches with values that are none",
            do="cut the stack with dipolar.unmix.cut_stack, which leaves such patches out and counts them",
        )
    if (lowest == highest).all():
        raise DataError(
            "Patches that are all the same have nothing to unmix.",
            got=f"{count} patches without any difference",
            do="look at the image, and at what the patches are centred on",
        )
    y, x = stack.positions_px.T
    rows = np.lexsort((x, y, stack.site))
    in_order = bool((np.diff(rows) == 1).all())
    return Table(
        values=values if in_order else values[rows],
        rows=rows,
        shape=(stack.images.shape[1], stack.images.shape[2], stack.images.shape[3]),
        normalization=stack.normalization,
    )


def names(method: str, count: int) -> tuple[str, ...]:
    """Return names of components, from 1."""
    return tuple(f"{method}_{n + 1}" for n in range(count))


def total_variance(values: Float32[np.ndarray, "patch pixel"], mean: Float32[np.ndarray, " pixel"]) -> float:
    """Return the variance of patches around their mean, summed over pixels, in little memory."""
    parts = (values[start : start + AT_ONCE] - mean for start in range(0, len(values), AT_ONCE))
    return float(sum(np.sum(part.astype(np.float64) ** 2) for part in parts)) / len(values)


def check_count(name: str, count: int, most: int, what: str, *, option: str = "") -> None:
    """Refuse fewer than one of something, or more than there can be.

    Raises
    ------
    SettingsError
        With the largest number that can be.
    """
    if 1 <= count <= most:
        return
    if count < 1:
        raise SettingsError(f"{name} is 1 or more.", got=f"{name}={count}", do=f"{name}=4{_typed(option, 4)}")
    raise DataError(
        f"There cannot be more {name} than {what}.",
        got=f"{name}={count}, {most} {what}",
        do=f"{name}={most}{_typed(option, most)} or fewer, or more patches: a larger image, or smaller patches",
    )


def _typed(option: str, value: int) -> str:
    return f" ({option} {value})" if option else ""


@contextmanager
def not_converged() -> Iterator[list[str]]:
    """Collect what scikit-learn says about not having converged, instead of letting it warn in its own words."""
    from sklearn.exceptions import ConvergenceWarning

    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            said.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def largest_first(
    labels: Shaped[np.ndarray, " patch"], count: int, key: Shaped[np.ndarray, " patch"]
) -> Int64[np.ndarray, " cluster"]:
    """Return the numbers of clusters, the largest first; of two of a size, the one with the smaller mean of `key`."""
    sizes = np.bincount(labels, minlength=count)
    middle = np.bincount(labels, weights=key, minlength=count) / np.maximum(sizes, 1)
    return np.lexsort((middle, -sizes))


def told_facts(**facts: Fact) -> dict[str, Fact]:
    """Return facts as plain numbers, so that they can be written down."""
    return {name: fact.item() if isinstance(fact, np.generic) else fact for name, fact in facts.items()}

"""What the tables of the studies say: whether what was published holds, in numbers and in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from dipolar.simulate.composition_model import orthorhombic_share

Row = Mapping[str, Any]
RISES = 0.8
"""Rank correlation from which on something is said to grow, or to fall."""
LEVEL = 1.1
"""Errors within this factor of the least one are level with it; a difference begins beyond it."""
POLAR, ANTIPOLAR = 0.1, 0.9
"""Orthorhombic share up to which a film is polar, and from which on antipolar; those between are both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One thing that a table says."""

    name: str
    """For programs."""
    value: float
    """The number behind it."""
    holds: bool | None
    """Whether it is as published; None where this table cannot tell, or nothing was published."""
    words: str
    """The same in one sentence."""


def noise_trends(rows: Sequence[Row]) -> list[Trend]:
    """Return what a study of noise says: of noise, of windows, and of C against NC.

    Parameters
    ----------
    rows
        Of `dipolar.recipes.study_noise.study_noise`.
    """
    found = []
    for mode in modes_of(rows):
        own = [row for row in rows if row["windows"] == mode]
        found += [_with_noise(mode, own), _with_window(mode, own)]
    return [*found, *_sliding(rows, ("window_px", "variance"))]


def _with_noise(mode: str, rows: Sequence[Row]) -> Trend:
    name, value = f"{mode} noise", _mean_rank(rows, "window_px", lambda row: row["variance"])
    if np.isnan(value):
        return Trend(name=name, value=value, holds=None, words=f"{mode}: one noise tells no trend")
    holds = value >= RISES
    verb = "grows with noise" if holds else "does not grow steadily with noise"
    words = f"{mode}: the error {verb} (rank correlation {_signed(value)}, mean over windows)"
    return Trend(name=name, value=value, holds=holds, words=words)


def _with_window(mode: str, rows: Sequence[Row]) -> Trend:
    """Return whether the error falls with the window until it is level with the least one."""
    name = f"{mode} window"
    edges, rms = _curve(rows, "window_px")
    value = _mean_rank(rows, "variance", lambda row: row["window_px"])
    if len(edges) < 2:
        return Trend(name=name, value=value, holds=None, words=f"{mode}: one window tells no trend")
    level = int(np.flatnonzero(rms <= LEVEL * rms.min())[0])
    fall = f"from {edges[0]:g} to {edges[level]:g} px, by a factor of {rms[0] / rms[level]:.2f}"
    falls = level > 0 and rank_correlation(edges[: level + 1], rms[: level + 1]) <= -RISES
    if not falls:
        least = edges[int(np.argmin(rms))]
        words = f"{mode}: the error does not fall with the window: it is least at {least:g} px"
    elif level == len(edges) - 1:
        words = f"{mode}: the error falls with the window {fall}, and is not yet level"
    else:
        after = rms[level + 1 :]
        worst = int(np.argmax(after))
        grows = after[worst] > LEVEL * rms.min()
        end = f"grows again to {after[worst] / rms.min():.2f} times the least at {edges[level + 1 + worst]:g} px"
        words = f"{mode}: the error falls with the window {fall}, and {end if grows else 'is level beyond'}"
        falls = not grows
    words += f" (rank correlation {_signed(value)}, mean over noise)"
    return Trend(name=name, value=value, holds=falls, words=words)


def cross_trends(rows: Sequence[Row]) -> list[Trend]:
    """Return what a cross study says: of films of its own and others, of distance, of both sides of the boundary.

    Parameters
    ----------
    rows
        Of `dipolar.recipes.study_cross.study_cross`.
    """
    found = []
    for mode in modes_of(rows):
        own = [row for row in rows if row["windows"] == mode]
        found += [_diagonal(mode, own), _with_distance(mode, own), _across_the_boundary(mode, own)]
    return [*found, *_sliding(rows, ("trained_on", "tested_on"))]


def _diagonal(mode: str, rows: Sequence[Row]) -> Trend:
    same = typical_rms(row for row in rows if row["trained_on"] == row["tested_on"])
    other = typical_rms(row for row in rows if row["trained_on"] != row["tested_on"])
    value = other / same
    holds = None if np.isnan(value) else bool(value > LEVEL)
    words = f"{mode}: {same:.2f} pm on the film learned from, {other:.2f} pm on others, {value:.2f} times as much"
    return Trend(
        name=f"{mode} diagonal", value=value, holds=holds, words=words + ("" if holds else ": no clear difference")
    )


def _with_distance(mode: str, rows: Sequence[Row]) -> Trend:
    name = f"{mode} distance"
    value = _mean_rank(rows, "trained_on", lambda row: abs(row["trained_on"] - row["tested_on"]))
    if np.isnan(value):
        return Trend(name=name, value=value, holds=None, words=f"{mode}: too few films to tell of their distance")
    holds = value >= 0.5 * RISES  # other things change with composition too: this is one cause among several
    verb = "grows with" if holds else "does not grow with"
    words = f"{mode}: the error {verb} the distance in composition (rank correlation {_signed(value)}, mean over films)"
    return Trend(name=name, value=value, holds=holds, words=words)


def _across_the_boundary(mode: str, rows: Sequence[Row]) -> Trend:
    """Return how much more is lost across the boundary one way than the other.

    Over the error of networks of the side that is tested: displacements, and with them errors, are smaller on one side.
    """

    def side(share: float) -> str:
        part = float(orthorhombic_share(share))
        return "polar" if part <= POLAR else "antipolar" if part >= ANTIPOLAR else "both"

    sides = [(side(row["trained_on"]), side(row["tested_on"]), row) for row in rows]

    def rms(first: str, second: str) -> float:
        return typical_rms(row for trained, tested, row in sides if (trained, tested) == (first, second))

    there = rms("polar", "antipolar") / rms("antipolar", "antipolar")
    back = rms("antipolar", "polar") / rms("polar", "polar")
    value, name = there / back, f"{mode} asymmetry"
    if np.isnan(value):
        words = f"{mode}: films on one side of the boundary only, so that nothing can be told across it"
        return Trend(name=name, value=value, holds=None, words=words)
    holds = max(value, 1.0 / value) > LEVEL
    words = (
        f"{mode}: across the boundary errors are {there:.2f} times those of networks of that side from polar to "
        f"antipolar films, {back:.2f} times the other way"
    )
    return Trend(name=name, value=value, holds=holds, words=words + ("" if holds else ": no clear asymmetry"))


def _sliding(rows: Sequence[Row], names: tuple[str, str]) -> list[Trend]:
    """Return the error of NC over that of C, over the fields of the table that both have."""
    errors = {(row["windows"], *(row[name] for name in names)): row["rms_pm"] for row in rows}
    places = {key[1:] for key in errors}
    pairs = [(errors.get(("NC", *key)), errors.get(("C", *key))) for key in places]
    logs = [np.log(sliding / centred) for sliding, centred in pairs if sliding and centred]
    logs = [value for value in logs if np.isfinite(value)]
    if not logs:
        return []
    value = float(np.exp(np.mean(logs)))
    words = (
        f"NC against C: {value:.2f} times the error, geometric mean of {len(logs)} "
        f"pair{'' if len(logs) == 1 else 's'}; NC windows tell the mean of four cells, C windows each cell"
    )
    return [Trend(name="NC over C", value=value, holds=None, words=words)]


def modes_of(rows: Iterable[Row]) -> list[str]:
    """Return the kinds of windows in a table, in order."""
    return list(dict.fromkeys(row["windows"] for row in rows))


def typical_rms(rows: Iterable[Row]) -> float:
    """Return the geometric mean of RMS errors in pm, nan without any."""
    known = np.array([row["rms_pm"] for row in rows], dtype=np.float64)
    known = known[np.isfinite(known) & (known > 0)]
    return float(np.exp(np.mean(np.log(known)))) if known.size else float("nan")


def _curve(rows: Sequence[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of one column, from the least on, and the typical error at each."""
    values = sorted({row[name] for row in rows})
    rms = np.array([typical_rms(row for row in rows if row[name] == value) for value in values])
    known = np.isfinite(rms)
    return np.array(values, dtype=np.float64)[known], rms[known]


def _mean_rank(rows: Sequence[Row], group: str, of: Callable[[Row], float]) -> float:
    """Return the rank correlation of the error with something, within each group of rows, as mean over the groups."""
    groups = sorted({row[group] for row in rows})
    ranks = [
        rank_correlation(
            np.array([of(row) for row in rows if row[group] == one]),
            np.array([row["rms_pm"] for row in rows if row[group] == one]),
        )
        for one in groups
    ]
    known = [rank for rank in ranks if np.isfinite(rank)]
    return float(np.mean(known)) if known else float("nan")


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation; nan where one of both is the same everywhere, or there are fewer than two."""
    from scipy.stats import rankdata

    known = np.isfinite(x) & np.isfinite(y)
    if len(np.unique(x[known])) < 2 or len(np.unique(y[known])) < 2:
        return float("nan")
    return float(np.corrcoef(rankdata(x[known]), rankdata(y[known]))[0, 1])


def grid(rows: Sequence[Row], mode: str, names: tuple[str, str], value: str) -> np.ndarray:
    """Return one column of a table as a matrix over two others, both from the least on; nan where there is no row.

    Parameters
    ----------
    rows
        Of the table.
    mode
        The kind of windows.
    names
        Columns whose values make the rows and the columns of the matrix.
    value
        Column whose values stand in it.
    """
    known = {tuple(row[name] for name in names): row[value] for row in rows if row["windows"] == mode}
    sides = [sorted({row[name] for row in rows}) for name in names]
    values = [known.get(place, np.nan) for place in product(*sides)]
    return np.array(values, dtype=np.float64).reshape(len(sides[0]), len(sides[1]))


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")

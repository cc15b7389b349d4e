"""Polar, antipolar, modulated or nothing: order in the displacement with a period of few cells, told from domains."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import scipy.sparse
import scipy.stats
from jaxtyping import Float

from dipolar.core.findings import Modulation, Order, Staggered
from dipolar.core.geometry import cell_edge_px
from dipolar.core.nouns import Cells, Columns, Field
from dipolar.core.units import angle_deg
from dipolar.measure.linear import covariance_of
from dipolar.measure.reference import trusted
from dipolar.measure.verdict import is_slow, verdict
from dipolar.measure.waves import Channel, Wave, candidates, channels, fit_wave, on_rows, smooth_basis

PATTERNS: dict[Literal["rows", "columns", "checkerboard"], tuple[float, float]] = {
    "rows": (0.5, 0.0),
    "columns": (0.0, 0.5),
    "checkerboard": (0.5, 0.5),
}
RARE = 1e-3
"""Probability below which a wave is no chance."""
FAINTEST = 0.004
"""Amplitude, in cells, below which a wave decides nothing (1.6 pm of 400)."""
ALIKE = 0.3
"""Amplitudes of A and B nearer to each other than this ratio may be those of shifted scan rows."""
KERNEL = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16.0
"""Local mean over five cells; nothing with a period of 2 passes."""


def antipolar_order(
    cells: Cells, columns: Columns, *, offset_removed: bool = False, offset_sigma_px: tuple[float, float] = (0.0, 0.0)
) -> Order:
    """Return whether the largest crystal is polar, antipolar (period 2), modulated (other short periods), or none.

    The mean and the three patterns of period 2 are fitted together to the displacement of all trusted cells. Waves of
    2 to 6 cells are looked for in the spectra of the displacement and of the A and B columns against their own smooth
    lattice, and fitted by least squares; one counts where noise makes its like nowhere in the spectrum with a
    probability above 0.1 %, it is longer than 0.4 % of a cell, it is no edge of a domain, and it is not what shifted
    scan rows make (waves along the rows in which A and B move alike). Sigma is propagated from the columns with the
    scan rows they share. A wave longer than a third of the crystal, or one weaker than 1 % of a cell where no reference
    tells that the instrument is quiet, is what slow distortion of a scan makes as well: it is told by size and period,
    and decides nothing, unless its period is 2.

    A constant displacement alone is called polar only above 3 % of a cell (1 % where a reference was taken off): less
    is what mistilt and scan distortion do to centrosymmetric crystals.

    Parameters
    ----------
    cells
        Measured cells.
    columns
        The columns they were built from.
    offset_removed
        Whether the offset of a reference region was taken off the cells.
    offset_sigma_px
        Its standard error, which is part of that of the mean displacement.
    """
    good = trusted(cells) & np.isfinite(cells.covariance_px2).all(axis=(1, 2))
    if np.count_nonzero(good) < 16:
        return _nothing(int(np.count_nonzero(good)))
    grain = int(np.bincount(cells.grain[good]).argmax())
    every = channels(cells, columns, good, grain)
    edge = cell_edge_px(cells, good)
    polar, polar_sigma, staggered = _period_two(every[0], columns)
    polar_sigma = np.hypot(polar_sigma, offset_sigma_px)
    spread = _spread(every[0], columns)
    modulation, left_out = _strongest(every, cells, columns, good, edge, offset_removed)
    decided, why = verdict(polar, polar_sigma, spread, modulation, edge, offset_removed)
    if left_out:
        why += "; a wave along the scan rows was left out, as shifted rows make the same: turn the scan by 90° to tell"
    return Order(
        verdict=decided,
        why=why,
        cells=len(every[0].nodes),
        polar_px=_pair(polar),
        polar_sigma_px=_pair(polar_sigma),
        polar_spread_px=spread,
        staggered=staggered,
        modulation=modulation,
    )


def wave_map(cells: Cells, columns: Columns, modulation: Modulation) -> Field:
    """Return the local amplitude of a wave, over five cells each way, where it was found: at cells or at columns.

    The displacement is turned back by the wave's phase and averaged with binomial weights; the length of the mean is
    the amplitude. It is never negative, so that noise alone has a length of about its sigma.

    Parameters
    ----------
    cells, columns
        As in `antipolar_order`.
    modulation
        Which wave.
    """
    good = trusted(cells) & np.isfinite(cells.covariance_px2).all(axis=(1, 2))
    grain = int(np.bincount(cells.grain[good]).argmax())
    channel = next(c for c in channels(cells, columns, good, grain) if c.name == modulation.channel)
    mean = _local_mean(channel)
    values = channel.values_px - (mean @ channel.values_px if channel.name == "displacement" else _lattice(channel))
    q = np.array(modulation.wavevector)
    phase = np.exp(-2j * np.pi * (channel.nodes @ q))
    factor = 1.0 if np.all(np.abs(2.0 * q - np.rint(2.0 * q)) < 1e-9) else 2.0
    local = factor * (mean @ (phase[:, None] * values))
    trace = np.trace(covariance_of(scipy.sparse.csr_matrix(mean @ channel.weights), columns), axis1=1, axis2=2)
    at = cells.positions_px[good & (cells.grain == grain)] if channel.name == "displacement" else channel.values_px
    return Field(
        name=f"wave_{modulation.channel.lower()}",
        unit="px",
        positions_px=at,
        values=_major(np.stack([local.real, local.imag], axis=1)),
        # of a wave with two phases, half of the noise is in each
        sigma=factor * np.sqrt(trace / (2.0 * factor)),
    )


def _lattice(channel: Channel) -> Float[np.ndarray, "node 2"]:
    """Return where the columns would be on a smooth lattice."""
    basis = smooth_basis(channel)
    return basis @ np.linalg.lstsq(basis, channel.values_px, rcond=None)[0]


def _nothing(count: int) -> Order:
    unknown = (float("nan"), float("nan"))
    return Order(
        verdict="null",
        why=f"only {count} cells can be trusted, too few to tell any order",
        cells=count,
        polar_px=unknown,
        polar_sigma_px=unknown,
        polar_spread_px=float("nan"),
        staggered=(),
        modulation=None,
    )


def _period_two(
    channel: Channel, columns: Columns
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"], tuple[Staggered, ...]]:
    """Return the mean displacement with sigma, and the amplitudes of the three patterns, fitted together."""
    signs = [np.cos(2.0 * np.pi * (channel.nodes @ np.array(q))) for q in PATTERNS.values()]
    solve = np.linalg.pinv(np.column_stack([np.ones(len(channel.nodes)), *signs]))
    values = solve @ channel.values_px
    covariance = covariance_of(scipy.sparse.csr_matrix(solve) @ channel.weights, columns)
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    staggered = tuple(
        Staggered(pattern=name, amplitude_px=_pair(value), sigma_px=_pair(error))
        for name, value, error in zip(PATTERNS, values[1:], sigma[1:], strict=True)
    )
    return values[0], sigma[0], staggered


def _local_mean(channel: Channel) -> scipy.sparse.csr_matrix:
    """Return the matrix (node, node) of binomial means over five rows and columns, of the nodes that are there."""
    low, count = channel.nodes.min(axis=0), len(channel.nodes)
    table = np.full(np.ptp(channel.nodes, axis=0) + 5, -1, dtype=np.int64)
    at = channel.nodes - low + 2
    table[tuple(at.T)] = np.arange(count)
    rows, cols, values = [], [], []
    for i, along in enumerate(KERNEL):
        for j, across in enumerate(KERNEL):
            other = table[at[:, 0] + i - 2, at[:, 1] + j - 2]
            there = np.flatnonzero(other >= 0)
            rows.append(there)
            cols.append(other[there])
            values.append(np.full(len(there), along * across))
    matrix = scipy.sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))), shape=(count, count)
    )
    return scipy.sparse.csr_matrix(scipy.sparse.diags(1.0 / np.asarray(matrix.sum(axis=1)).ravel()) @ matrix)


def _spread(channel: Channel, columns: Columns) -> float:
    """Return the RMS of the local mean displacement about the overall mean, with what sigma makes taken off."""
    mean = _local_mean(channel)
    off = mean @ channel.values_px
    off = off - off.mean(axis=0)
    noise = np.trace(covariance_of(scipy.sparse.csr_matrix(mean @ channel.weights), columns), axis1=1, axis2=2)
    return float(np.sqrt(max(np.mean(np.sum(off**2, axis=1)) - float(np.mean(noise)), 0.0)))


def _strongest(
    every: list[Channel], cells: Cells, columns: Columns, good: np.ndarray, edge: float, offset_removed: bool
) -> tuple[Modulation | None, bool]:
    """Return the largest significant wave of all channels, and whether one was left out that the scan may have made.

    Slow ones come last: they decide nothing.
    """
    cell = np.stack([np.median(cells.b_px[good], axis=0), np.median(cells.a_px[good], axis=0)])
    rows_k = cell[:, 0]  # a wave exp(i k·r) along y has q = (k·b, k·a)
    found, left_out = [], False
    for channel in every:
        for wave in candidates(channel, rows_k):
            described = _described(channel, wave, columns, cell, on_rows(wave.wavevector, rows_k, channel.extent))
            if described.chance < RARE and described.amplitude_px > FAINTEST * edge:
                scan = described.along_rows and _shifted_rows(every, wave)
                left_out |= scan
                slow = is_slow(described, cells.positions_px[good], edge, offset_removed)
                found += [] if scan else [replace(described, slow=slow)]
    return max(found, key=lambda m: (not m.slow, m.amplitude_px), default=None), left_out


def _described(
    channel: Channel, wave: Wave, columns: Columns, cell: Float[np.ndarray, "2 2"], along_rows: np.ndarray
) -> Modulation:
    twofold = not wave.parts_px[1].any()
    covariance = covariance_of(wave.weights[: 1 if twofold else 2], columns)
    variance = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), wave.noise_px**2)
    z2 = float(np.sum(wave.parts_px[: len(variance)] ** 2 / variance))
    trials = 1.0 if twofold else float(len(channel.nodes))
    k = np.linalg.solve(cell, wave.wavevector)  # periods per px
    left, lengths, _ = np.linalg.svd(wave.parts_px.T)
    sigma = float(np.sqrt(variance.mean()))
    # standard error of a frequency: D. C. Rife and R. R. Boorstyn, IEEE Trans. Inf. Theory 20, 591 (1974)
    error = np.sqrt(6.0) / (np.pi * channel.extent) * sigma / max(float(lengths[0]), 1e-300)
    return Modulation(
        channel=channel.name,
        wavevector=_pair(wave.wavevector),
        wavevector_sigma=(0.0, 0.0) if twofold else _pair(error),
        period_px=float(1.0 / np.hypot(*k)),
        normal_deg=_axis_deg(k),
        amplitude_px=float(lengths[0]),
        amplitude_sigma_px=sigma,
        direction_deg=_axis_deg(left[:, 0]),
        chance=float(min(1.0, trials * scipy.stats.f.sf(z2 / variance.size, variance.size, wave.freedom))),
        along_rows=bool(along_rows),
    )


def _shifted_rows(every: list[Channel], wave: Wave) -> bool:
    """Return whether shifted scan rows may have made a wave: they move A and B alike, a crystal rarely does."""
    sizes = [float(np.linalg.norm(fit_wave(c, wave.wavevector).parts_px)) for c in every[1:] if len(c.nodes) >= 40]
    return len(sizes) < 2 or min(sizes) > ALIKE * max(sizes)


def _axis_deg(vector: Float[np.ndarray, "2"]) -> float:
    """Return the direction of an axis, counter-clockwise, in (-90, 90]."""
    return float(90.0 - (90.0 - angle_deg(np.asarray(vector, dtype=float)[None])[0]) % 180.0)


def _major(parts: Float[np.ndarray, "node 2 2"]) -> Float[np.ndarray, " node"]:
    """Return the longer half axis of the ellipse that each displacement runs through."""
    return np.linalg.svd(parts, compute_uv=False)[:, 0] if len(parts) else np.zeros(0)


def _pair(values: Float[np.ndarray, "2"]) -> tuple[float, float]:
    return float(values[0]), float(values[1])

"""Periodic displacements on the lattice: candidates in the spectrum, amplitudes by least squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse
from jaxtyping import Bool, Float, Int64

from dipolar.core.flags import POSITION_FLAGS, has
from dipolar.core.nouns import A, B, Cells, Columns
from dipolar.measure.linear import displacement_weights

LONGEST_CELLS = 6.5
"""Longer waves are domains, layers or a bent scan, and no order of the crystal."""
FEWEST_PERIODS = 3.0
PADDING = 3
TRIED = 4
"""Candidates per channel."""
MEDIAN_CHI2_4 = 3.357
HANN_NOISE = 2.25
"""Variance of an amplitude under a Hann taper over that without, in two dimensions: (3/2)²."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channel:
    """Displacements at the nodes of a lattice."""

    name: Literal["displacement", "A", "B"]
    """What they are."""
    nodes: Int64[np.ndarray, "node 2"]
    """Lattice row and column."""
    values_px: Float[np.ndarray, "node 2"]
    """(dy, dx); of a sublattice, its positions."""
    weights: scipy.sparse.csr_matrix
    """How the values are made of column positions: (node, column)."""
    degree: int
    """Degree of the polynomial in row and column that is no part of a wave."""

    @property
    def extent(self) -> Float[np.ndarray, "2"]:
        """Number of rows and columns that the nodes span."""
        return np.ptp(self.nodes, axis=0) + 1.0 if len(self.nodes) else np.zeros(2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wave:
    """Amplitudes of one wave: cosine and sine part of y and x."""

    wavevector: Float[np.ndarray, "2"]
    """Periods per cell along (row, column)."""
    parts_px: Float[np.ndarray, "2 2"]
    """Rows: cosine and sine; columns: y and x. The sine of a wave of period 2 is 0."""
    weights: scipy.sparse.csr_matrix
    """How the two rows are made of column positions."""
    noise_px: float
    """Standard error of each part, as the spectrum around it says."""
    freedom: float
    """Degrees of freedom of `noise_px`."""


def channels(cells: Cells, columns: Columns, good: Bool[np.ndarray, " cell"], grain: int) -> list[Channel]:
    """Return the displacement in the cells and the places of A and of B columns, in one crystal.

    Antipolar shifts of A by one cell up, the next one down cancel in the mean of four corners, so that the
    displacement does not know them; the columns do.
    """
    rows = np.flatnonzero(good & (cells.grain == grain))
    nodes = np.column_stack([cells.row[rows], cells.col[rows]]).astype(np.int64)
    weights = displacement_weights(cells, columns)[rows]
    found = [_channel("displacement", nodes, cells.displacement_px[rows], weights, 2)]
    fine = ~has(columns.flags, POSITION_FLAGS) & (columns.grain == grain)
    fine &= np.isfinite(columns.covariance_px2).all(axis=(1, 2))
    for name, code in (("A", A), ("B", B)):
        mine = np.flatnonzero(fine & (columns.sublattice == code))
        index = columns.index[mine].astype(np.int64)
        nodes = np.column_stack([(index[:, 0] - index[:, 1]) // 2, (index[:, 0] + index[:, 1]) // 2])
        pick = scipy.sparse.csr_matrix(
            (np.ones(len(mine)), (np.arange(len(mine)), mine)), shape=(len(mine), len(columns.flags))
        )
        found.append(_channel(name, nodes, columns.positions_px[mine], pick, 5))
    return found


def _channel(
    name: Literal["displacement", "A", "B"] | str,
    nodes: Int64[np.ndarray, "node 2"],
    values: Float[np.ndarray, "node 2"],
    weights: scipy.sparse.csr_matrix,
    degree: int,
) -> Channel:
    span = int(min(np.ptp(nodes, axis=0))) if len(nodes) else 0
    return Channel(name=name, nodes=nodes, values_px=values, weights=weights, degree=min(degree, max(span // 6, 1)))  # type: ignore[arg-type]


def smooth_basis(channel: Channel) -> Float[np.ndarray, "node term"]:
    """Return the polynomials in row and column up to the channel's degree, at its nodes."""
    low, reach = channel.nodes.min(axis=0), np.maximum(np.ptp(channel.nodes, axis=0), 1)
    v, u = (2.0 * (channel.nodes - low) / reach - 1.0).T
    powers = [(i, j) for i in range(channel.degree + 1) for j in range(channel.degree + 1 - i)]
    eye = np.eye(channel.degree + 1)
    terms = [np.polynomial.legendre.legval(v, eye[i]) * np.polynomial.legendre.legval(u, eye[j]) for i, j in powers]
    return np.stack(terms, axis=1)


def candidates(channel: Channel, rows_k: Float[np.ndarray, "2"]) -> list[Wave]:
    """Return the strongest waves of the spectrum, with amplitudes by least squares.

    Parameters
    ----------
    channel
        The displacements.
    rows_k
        Wavevector (periods per cell) of a wave across the scan rows, of any length: where the scan makes waves of its
        own, and the noise is that of other such waves.
    """
    if len(channel.nodes) < 40 or channel.extent.min() < 6:
        return []
    basis = smooth_basis(channel)
    residual = channel.values_px - basis @ np.linalg.lstsq(basis, channel.values_px, rcond=None)[0]
    power, q = _spectrum(channel, residual)
    length = np.hypot(q[..., 0], q[..., 1])
    periods = np.max(np.abs(q) * channel.extent, axis=-1)
    allowed = (length >= 1.0 / LONGEST_CELLS) & (periods >= FEWEST_PERIODS)
    allowed &= (q[..., 1] > 0) | ((q[..., 1] == 0) & (q[..., 0] != 0)) | (q[..., 1] == -0.5)
    peak = (scipy.ndimage.maximum_filter(power, 3, mode="wrap") == power) & allowed
    order = np.argsort(-power[peak])[:TRIED]
    ridge = on_rows(q, rows_k, channel.extent)
    found = []
    for number in order:
        at = q[peak][number]
        if not _stands_out(power, q, at):
            continue
        along = bool(on_rows(at, rows_k, channel.extent))
        around = power[_apart(q, at, 3.0 / channel.extent) & (ridge == along) & (length > 0.75 / LONGEST_CELLS)]
        # of padded and tapered bins only some are independent: along the ridge in one direction, else in both
        count = len(around) / (2.0 * PADDING) ** (1 if along else 2)
        if count < 1.0:
            continue
        noise = np.sqrt(np.median(around) / MEDIAN_CHI2_4 / HANN_NOISE)
        place = refined(channel, residual, at)
        found.append(fit_wave(channel, place, noise_px=float(noise), freedom=4.0 * count, basis=basis))
    return found


def on_rows(
    q: Float[np.ndarray, "*wave 2"], rows_k: Float[np.ndarray, "2"], extent: Float[np.ndarray, "2"]
) -> np.ndarray:
    """Return where a wave, or one that looks the same on the lattice, has its crests along the scan rows."""
    unit = rows_k / np.hypot(*rows_k)
    result = np.zeros(q.shape[:-1], dtype=bool)
    for m in (-1, 0, 1):
        for n in (-1, 0, 1):
            k = q + np.array([m, n])
            across = np.abs(k[..., 0] * unit[1] - k[..., 1] * unit[0])
            result |= (across < 0.75 / extent.min()) & (np.hypot(k[..., 0], k[..., 1]) < 1.01)
    return result


def _spectrum(
    channel: Channel, residual: Float[np.ndarray, "node 2"]
) -> tuple[Float[np.ndarray, "v u"], Float[np.ndarray, "v u 2"]]:
    """Return the squared amplitude, summed over y and x, and the wavevectors (periods per cell)."""
    at = channel.nodes - channel.nodes.min(axis=0)
    size = [scipy.fft.next_fast_len(int(PADDING * n)) for n in channel.extent]
    size = [n + n % 2 for n in size]  # so that period 2 is on the grid
    taper = np.prod(np.sin(np.pi * (at + 0.5) / channel.extent) ** 2, axis=1)
    power = np.zeros(size)
    for axis in (0, 1):
        grid = np.zeros(size)
        grid[at[:, 0], at[:, 1]] = taper * residual[:, axis]
        power += 4.0 * np.abs(scipy.fft.fft2(grid)) ** 2 / taper.sum() ** 2
    q = np.stack(np.meshgrid(*(np.fft.fftfreq(n) for n in size), indexing="ij"), axis=-1)
    return power, q


def _apart(
    q: Float[np.ndarray, "v u 2"], at: Float[np.ndarray, "2"], reach: Float[np.ndarray, "2"]
) -> Bool[np.ndarray, "v u"]:
    """Return which wavevectors are not near `at` nor near its opposite, up to whole periods per cell."""
    far = np.ones(q.shape[:-1], dtype=bool)
    for sign in (1.0, -1.0):
        off = np.abs((q - sign * at + 0.5) % 1.0 - 0.5)
        far &= np.any(off > reach, axis=-1)
    return far


def _stands_out(power: Float[np.ndarray, "v u"], q: Float[np.ndarray, "v u 2"], at: Float[np.ndarray, "2"]) -> bool:
    """Return whether the peak is higher than all longer waves of its direction: a wall's spectrum falls as 1/q."""
    size = np.array(power.shape)
    peak = power[tuple(np.rint(at * size).astype(int) % size)]
    longer = [power[tuple(np.rint(t * at * size).astype(int) % size)] for t in np.arange(0.45, 0.85, 0.05)]
    return bool(peak > 1.5 * max(longer))


def refined(
    channel: Channel, residual: Float[np.ndarray, "node 2"], at: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "2"]:
    """Return the wavevector of the highest amplitude near `at`; one that is a half or 0 within its error becomes so."""
    best, step = np.array(at, dtype=float), 0.5 / (PADDING * channel.extent)
    for _ in range(8):
        shifts = best + step * np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
        phase = np.exp(-2j * np.pi * (channel.nodes @ shifts.T))
        power = np.sum(np.abs(phase.T @ residual) ** 2, axis=1)
        best = shifts[np.argmax(power)]
        step = 0.6 * step
    best = (best + 0.5) % 1.0 - 0.5
    for axis in (0, 1):
        for special in (-0.5, 0.0, 0.5):
            if abs(best[axis] - special) < 0.35 / channel.extent[axis]:
                best[axis] = abs(special)
    return best


def fit_wave(
    channel: Channel,
    wavevector: Float[np.ndarray, "2"],
    *,
    noise_px: float = 0.0,
    freedom: float = float("inf"),
    basis: Float[np.ndarray, "node term"] | None = None,
) -> Wave:
    """Return the amplitudes of a wave beside a smooth background, by unweighted least squares.

    Parameters
    ----------
    channel
        The displacements.
    wavevector
        Periods per cell along (row, column).
    noise_px, freedom
        Standard error of each part from the spectrum around it, and its degrees of freedom.
    basis
        `smooth_basis` of the channel, where it is at hand.
    """
    basis = smooth_basis(channel) if basis is None else basis
    phase = 2.0 * np.pi * (channel.nodes @ wavevector)
    twofold = np.all(np.abs(2.0 * wavevector - np.rint(2.0 * wavevector)) < 1e-9)
    waves = np.cos(phase)[:, None] if twofold else np.column_stack([np.cos(phase), np.sin(phase)])
    design = np.column_stack([waves, basis])
    solve = np.linalg.pinv(design)[: waves.shape[1]]
    if twofold:
        solve = np.vstack([solve, np.zeros_like(solve)])
    weights = scipy.sparse.csr_matrix(scipy.sparse.csr_matrix(solve) @ channel.weights)
    return Wave(
        wavevector=wavevector,
        parts_px=solve @ channel.values_px,
        weights=weights,
        noise_px=noise_px,
        freedom=freedom,
    )

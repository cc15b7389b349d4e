"""The dipole in what a decoder draws: its central column against the four corner columns."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

WINDOW = 0.1
"""Standard deviation of the window in which a column is centred, in cell edges."""
ROUNDS = 6
"""Times that the window is moved onto what it sees."""
STRAYED = 0.3
"""A column found farther from its site, in cell edges, is another one."""
VISIBLE = 0.1
"""Least height of a column, over the range of the mean picture."""
GROUND = 0.05
"""Quantile of a picture that is taken for its ground."""


def corners(lattice: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "4 2"]:
    """Return where the corners of the cell are, from its middle."""
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    return 0.5 * signs @ lattice


def lattice_turn(mean: Float[Tensor, "y x"], lattice: Float[np.ndarray, "2 2"]) -> float:
    """Return by which angle (rad, within a quarter turn) the lattice is turned in a picture: corners are brightest."""
    tried = np.radians(np.arange(0.0, 90.0, 1.0))
    places = np.stack([corners(lattice) @ _rotation(angle).T for angle in tried])
    return float(tried[int(_at(mean, torch.from_numpy(places).float()).sum(-1).argmax())])


def _rotation(angle: float) -> Float[np.ndarray, "2 2"]:
    """Return the matrix that turns (dy, dx) counter-clockwise on the screen."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _at(picture: Float[Tensor, "y x"], places: Float[Tensor, "*many 2"]) -> Float[Tensor, "*many"]:
    """Return values of a picture at places from its middle, bilinear."""
    side = picture.shape[-1]
    where = places.flip(-1).reshape(1, -1, 1, 2) * 2 / side
    found = torch.nn.functional.grid_sample(picture[None, None], where, mode="bilinear", align_corners=False)
    return found.reshape(places.shape[:-1])


def read_dipoles(
    pictures: Float[Tensor, "patch 2 y x"], lattice: Float[np.ndarray, "2 2"], *, turn_rad: float = 0.0
) -> Float[Tensor, "patch 2"]:
    """Return (dy, dx) of the central column against the mean of the corners, in px of the pictures; nan if unreadable.

    Columns are centred in a Gaussian window that follows them: its moment, doubled, is the step for a column about as
    wide as the window.

    Parameters
    ----------
    pictures
        What the decoder draws, in two channels: one that shows the central column, one that shows the corners.
    lattice
        Lattice vectors in px of the pictures.
    turn_rad
        By how much the lattice is turned in them.
    """
    sites = corners(lattice) @ _rotation(turn_rad).T
    edge = float(np.sqrt(abs(np.linalg.det(lattice))))
    if np.abs(sites).max() > pictures.shape[-1] / 2 - 0.5 or edge < 4:
        return torch.full((len(pictures), 2), torch.nan)
    middle = _column(pictures[:, 0], np.zeros(2), edge)
    around = [_column(pictures[:, 1], site, edge) for site in sites]
    return middle - torch.stack(around).mean(0)


def _column(
    pictures: Float[Tensor, "patch y x"], site: Float[np.ndarray, " 2"], edge: float
) -> Float[Tensor, "patch 2"]:
    """Return where the column of a site is in each picture; nan where there is none."""
    ground = torch.quantile(pictures.flatten(1), GROUND, dim=1)[:, None, None]
    above = (pictures - ground).clamp_min(0.0)
    first = torch.from_numpy(site).float()
    mean = above.mean(0)
    if float(_at(mean, first)) < VISIBLE * float(mean.max()):
        return torch.full((len(pictures), 2), torch.nan)
    ticks = torch.arange(pictures.shape[-1]) - (pictures.shape[-1] - 1) / 2
    place = first.expand(len(pictures), 2)
    for _ in range(ROUNDS):
        away_y, away_x = ticks - place[:, :1], ticks - place[:, 1:]
        seen_y, seen_x = (torch.exp(-0.5 * (away / (WINDOW * edge)) ** 2) for away in (away_y, away_x))
        rows = torch.einsum("nyx,nx->ny", above, seen_x)
        columns = torch.einsum("nyx,ny->nx", above, seen_y)
        weight = (rows * seen_y).sum(1).clamp_min(1e-12)
        step = torch.stack([(rows * seen_y * away_y).sum(1), (columns * seen_x * away_x).sum(1)], dim=1)
        place = place + (2 * step / weight[:, None]).clamp(-WINDOW * edge, WINDOW * edge)
    strayed = (place - first).norm(dim=1) > STRAYED * edge
    return torch.where(strayed[:, None], torch.nan, place)

"""Networks that tell, from the mean cell of a region, which displacement a tilted beam fakes there.

A small network per material sees the Fourier terms of a mean cell, once with A in the corner and once with B, with the
thickness and the displacement that was measured. It tells the false displacement with its covariance, and the tilt.
An ensemble of them sees every cell turned and mirrored in the eight ways of the square and tells the mean, turned back:
what it says turns with the cell exactly.

A Gaussian whose width is told as well: D. A. Nix and A. S. Weigend, Proc. IEEE ICNN 1, 55 (1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Complex, Complex128, Float, Int64
from torch import Tensor, nn

from dipolar.core.errors import DataError
from dipolar.core.learning import Card
from dipolar.core.tilt_symmetry import TURNS
from dipolar.learn.calibration import Calibration
from dipolar.learn.tilt_network_frames import UNIT_MRAD, UNIT_PM, seen_numbers, seen_of, turned_seen

TOLD = 9
"""Numbers that a network tells: false displacement (y, x), tilt (y, x), root of the covariance of the first
(log yy, xy, log xx), log sigma of the tilt (y, x)."""
LOG_SIGMA = (-4.0, 3.0)
"""Limits of logarithms of sigma: beyond them the loss has no useful slope."""


@runtime_checkable
class AbstractMeanCell(Protocol):
    """The mean cell of a region, with A in the corner; anything that has these will do."""

    @property
    def terms(self) -> Complex128[np.ndarray, " term"]:
        """Fourier terms at `TiltModel.orders`."""

    @property
    def displacement(self) -> Float[np.ndarray, " 2"]:
        """Measured displacement (y, x), in shares of the cell."""


class TiltNetwork(nn.Module):
    """What is seen of mean cells → what `TOLD` says."""

    def __init__(self, *, terms: int, width: int = 128, layers: int = 3) -> None:
        """Make it for cells of so many terms, with so many hidden layers of a width."""
        super().__init__()
        seen = seen_numbers(terms)
        self.middle: Tensor
        self.spread: Tensor
        self.register_buffer("middle", torch.zeros(seen))
        self.register_buffer("spread", torch.ones(seen))
        sizes = [seen, *[width] * layers]
        parts: list[nn.Module] = []
        for before, after in pairwise(sizes):
            parts += [nn.Linear(before, after), nn.SiLU()]
        self.body = nn.Sequential(*parts, nn.Linear(width, TOLD))

    def forward(self, x: Float[Tensor, "cell seen"]) -> Float[Tensor, "cell told"]:
        """Return what it tells of each cell."""
        return self.body((x - self.middle) / self.spread)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltModel:
    """An ensemble for one material and microscope, with what is known about it."""

    name: str
    """What errors and results call it."""
    card: Card
    """Written beside the weights."""
    networks: tuple[TiltNetwork, ...]
    """Its members, in evaluation mode."""
    orders: Int64[np.ndarray, "term 2"]
    """Frequencies (y, x) of the terms that it sees, in units of the inverse cell."""
    cell_pm: float
    """Edge of the cell that it was trained on."""
    thickness_nm: tuple[float, float]
    """Limits of the thickness that it was trained on."""
    displacement: Calibration
    """Makes the covariance of the displacement honest."""
    tilt: Calibration
    """Makes the sigma of the tilt honest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ToldTilt:
    """What an ensemble says of regions, in the frame of the cell."""

    false_pm: Float[np.ndarray, "region 2"]
    """What the beam fakes (y, x): measured minus true."""
    covariance_pm2: Float[np.ndarray, "region 2 2"]
    """Its covariance."""
    tilt_mrad: Float[np.ndarray, "region 2"]
    """Tilt (y, x)."""
    tilt_sigma_mrad: Float[np.ndarray, "region 2"]
    """One standard error of each."""


def told_by_network(model: TiltModel, mean_cells: Sequence[AbstractMeanCell], thickness_nm: float) -> ToldTilt:
    """Return what a tilted beam fakes in each region, and how far it is tilted there.

    Parameters
    ----------
    model
        Of the material and the microscope.
    mean_cells
        Of the regions, with the terms that the model sees.
    thickness_nm
        Of the specimen; it may be wrong by a fifth.

    Raises
    ------
    DataError
        If cells have other terms, terms or displacements that are not finite, or the specimen is thinner or thicker
        than any that the model was trained on.
    """
    low, high = model.thickness_nm
    if not low <= thickness_nm <= high:
        raise DataError(
            f"the network {model.name} was trained on specimens of {low:g} to {high:g} nm.",
            got=f"{thickness_nm:g} nm",
            do="correct the tilt by the library instead of the network, or give the thickness anew",
        )
    wrong = [f"{cell.terms.shape[0]} terms" for cell in mean_cells if cell.terms.shape != (len(model.orders),)]
    wrong = wrong or ["nan or infinity in a cell" for cell in mean_cells if not _whole(cell)]
    if wrong:
        raise DataError(
            f"the network {model.name} sees {len(model.orders)} finite Fourier terms of each cell.",
            got=f"{wrong[0]}, in {len(wrong)} of {len(mean_cells)} regions",
            do="take the mean cells at `model.orders`",
        )
    terms = np.array([cell.terms for cell in mean_cells], dtype=np.complex128).reshape(-1, len(model.orders))
    shift = model.cell_pm * np.array([cell.displacement for cell in mean_cells], dtype=np.float64).reshape(-1, 2)
    return honest(
        model,
        mixed(model.networks, model.orders, terms, shift, thickness_nm + np.zeros(len(terms)), cell_pm=model.cell_pm),
    )


def _whole(cell: AbstractMeanCell) -> bool:
    return bool(np.isfinite(cell.terms).all() and np.abs(cell.terms).any() and np.isfinite(cell.displacement).all())


def honest(model: TiltModel, told: ToldTilt) -> ToldTilt:
    """Return what an ensemble says with its sigmas made honest."""
    floor = model.displacement.floor**2 * np.eye(2)
    return ToldTilt(
        false_pm=told.false_pm,
        covariance_pm2=model.displacement.scale**2 * (told.covariance_pm2 + floor),
        tilt_mrad=told.tilt_mrad,
        tilt_sigma_mrad=model.tilt.honest(told.tilt_sigma_mrad),
    )


def mixed(
    networks: Sequence[TiltNetwork],
    orders: Int64[np.ndarray, "term 2"],
    terms: Complex[np.ndarray, "cell term"],
    displacement_pm: Float[np.ndarray, "cell 2"],
    thickness_nm: Float[np.ndarray, " cell"],
    *,
    cell_pm: float,
) -> ToldTilt:
    """Return what an ensemble says of cells, before calibration: the mixture over its members and the turns.

    Parameters
    ----------
    networks
        The members.
    orders
        Of the terms.
    terms
        Of the cells, with A in the corner.
    displacement_pm
        As it was measured (y, x).
    thickness_nm
        As it is given.
    cell_pm
        Edge of the cell.
    """
    false, covariance, tilt, variance = [], [], [], []
    seen = seen_of(terms, orders, displacement_pm, thickness_nm, cell_pm=cell_pm)
    for turn in TURNS:
        turned = turned_seen(seen, orders, turn)
        for network in networks:
            with torch.inference_mode():
                mean, root, sigma = (part.double().numpy() for part in parts_of(network(torch.from_numpy(turned))))
            false.append(mean[:, :2] @ turn)
            tilt.append(mean[:, 2:] @ turn)
            back = root.swapaxes(1, 2) @ turn
            covariance.append(back.swapaxes(1, 2) @ back)
            variance.append(sigma**2 @ turn**2)
    apart = np.array(false) - np.mean(false, axis=0)
    between = np.einsum("mci,mcj->cij", apart, apart) / len(apart)
    return ToldTilt(
        false_pm=UNIT_PM * np.mean(false, axis=0),
        covariance_pm2=UNIT_PM**2 * (np.mean(covariance, axis=0) + between),
        tilt_mrad=UNIT_MRAD * np.mean(tilt, axis=0),
        tilt_sigma_mrad=UNIT_MRAD * np.sqrt(np.mean(variance, axis=0) + np.var(tilt, axis=0)),
    )


def parts_of(
    told: Float[Tensor, "cell told"],
) -> tuple[Float[Tensor, "cell 4"], Float[Tensor, "cell 2 2"], Float[Tensor, "cell 2"]]:
    """Return means, the lower root of the covariance of the displacement, and sigmas of the tilt, in units."""
    log = told[:, [4, 6, 7, 8]].clamp(*LOG_SIGMA).exp()
    nothing = torch.zeros_like(told[:, 0])
    root = torch.stack([log[:, 0], nothing, told[:, 5], log[:, 1]], dim=1).reshape(-1, 2, 2)
    return told[:, :4], root, log[:, 2:]

"""Networks at work on an image: columns by species, and displacement with sigma and familiarity at every point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.ndimage import map_coordinates, uniform_filter
from torch import Tensor, nn
from torch.nn import functional

from dipolar.core.contracts import Progress, silent
from dipolar.core.learning import NETWORK_CELL_PX, Card
from dipolar.learn.calibration import Calibration, combine_members
from dipolar.learn.dense import dense
from dipolar.learn.equivariant import TURNS
from dipolar.learn.familiarity import Familiarity
from dipolar.learn.find import Found, peaks, probabilities
from dipolar.learn.networks import Finder, Regressor, plain, told
from dipolar.learn.scale import Seen

FINDER_REACH = 40
"""How far from a column the finder looks, in network px: half of its field of view, and the offset."""
OVER_CELLS = 1.0
"""Familiarity is judged over the neighbourhood of a cell."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Networks with what is known about them."""

    name: str
    """For titles and messages."""
    card: Card
    """What is written on it."""
    networks: tuple[nn.Module, ...]
    """The members, as they were trained."""
    calibration: Calibration | None = None
    """What makes sigma honest; None: as the networks say it."""
    familiarity: Familiarity | None = None
    """What was usual in training; None: nothing is ever called unfamiliar."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Said:
    """What an ensemble says at every point of its grid, in network px and calibrated."""

    values: Float32[np.ndarray, "h w target"]
    """Mean over the members, in the order of the card's targets."""
    sigma: Float32[np.ndarray, "h w 2"]
    """One standard error of dy and dx: the members' own and their disagreement, recalibrated."""
    disagreement: Float32[np.ndarray, "h w"]
    """Spread of the members over their own sigma."""
    features: Float32[np.ndarray, "h w feature"]
    """What the first member sees, averaged over a cell and blind to turns, with the roughness of the image."""
    unfamiliar: Float32[np.ndarray, "h w"]
    """Score: above 1 where the image is unlike what the networks were trained on; 0 without a familiarity."""


def find_columns(
    model: Model, seen: Seen, *, progress: Progress = silent
) -> tuple[Found, Float32[np.ndarray, "3 h w"]]:
    """Return columns by species in image px, and the probability fields of A, B and background.

    Parameters
    ----------
    model
        A finder.
    seen
        The image as networks see it.
    progress
        Told how far it has come.
    """
    said = dense(
        plain(model.networks[0]), seen.pixels, stride=Finder.stride, reach=FINDER_REACH, progress=progress,
        step="finding columns",
    )  # fmt: skip
    said = said[:, : -(-seen.shape[0] // Finder.stride), : -(-seen.shape[1] // Finder.stride)]
    found = peaks(said, stride=Finder.stride, cell_px=seen.cell_px * seen.scale)
    factor = 1.0 if model.calibration is None else model.calibration.scale
    found = replace(found, positions=seen.to_image(found.positions), sigma=factor * found.sigma / seen.scale)
    return found, probabilities(said)


def predict(model: Model, seen: Seen, *, progress: Progress = silent) -> Said:
    """Return displacement, sigma, cell parameters and familiarity at every point of the grid.

    Parameters
    ----------
    model
        A regressor of one or more members.
    seen
        The image as networks see it.
    progress
        Told how far it has come.
    """
    means, sigmas, features = [], [], None
    reach = model.card.window_px // 2 + Regressor.stride
    for number, network in enumerate(map(plain, model.networks)):
        run = _with_features(network) if number == 0 else network
        maps = dense(
            network, seen.pixels, stride=Regressor.stride, reach=reach, run=run, progress=progress,
            step=f"predicting ({number + 1} of {len(model.networks)})" if len(model.networks) > 1 else "predicting",
        )  # fmt: skip
        outputs = 4 + len(model.card.targets) - 2
        means.append(np.concatenate([maps[:2], maps[4:outputs]]))
        sigmas.append(np.exp(maps[2:4]))
        if number == 0:
            features = np.stack([_over_a_cell(one) for one in maps[outputs:]], axis=-1)
    assert features is not None
    return judged(model, np.stack(means), np.stack(sigmas), features)


def judged(
    model: Model,
    means: Float32[np.ndarray, "member target h w"],
    sigmas: Float32[np.ndarray, "member 2 h w"],
    features: Float32[np.ndarray, "h w feature"],
) -> Said:
    """Return what members say together: combined, recalibrated, with the score of familiarity."""
    _, sigma, spread = combine_members(means[:, :2], sigmas)
    disagreement = np.sqrt(np.sum(spread**2, axis=0) / np.sum(np.mean(sigmas**2, axis=0), axis=0))
    disagreement = _over_a_cell(disagreement.astype(np.float32))
    factor = 1.0 if model.calibration is None else model.calibration.scale
    score = np.zeros(disagreement.shape, dtype=np.float32)
    if model.familiarity is not None:
        flat = model.familiarity.score(features.reshape(-1, features.shape[-1]), disagreement.ravel())
        score = flat.reshape(score.shape).astype(np.float32)
    return Said(
        values=np.moveaxis(means.mean(axis=0), 0, -1).astype(np.float32),
        sigma=np.moveaxis(factor * sigma, 0, -1).astype(np.float32),
        disagreement=disagreement,
        features=features,
        unfamiliar=score,
    )


def at_points(
    maps: Float32[np.ndarray, "h w *channel"], points: Float[np.ndarray, "point 2"], *, stride: int = Regressor.stride
) -> Float[np.ndarray, "point *channel"]:
    """Return maps at points (y, x) in network px, from the four grid points around each.

    Parameters
    ----------
    maps
        Values at the points of a grid.
    points
        Where they are wanted; beyond the grid its rim is continued.
    stride
        Network px per grid point.
    """
    places = ((points - (stride - 1) / 2.0) / stride).T
    flat = maps.reshape(*maps.shape[:2], -1)
    columns = [map_coordinates(flat[..., k], places, order=1, mode="nearest") for k in range(flat.shape[2])]
    return np.stack(columns, axis=-1).astype(np.float64).reshape(len(points), *maps.shape[2:])


def _with_features(network: nn.Module):  # type: ignore[no-untyped-def]
    """Return a call that gives the network's outputs and, behind them, features blind to turns."""

    def run(pixels: Tensor) -> Tensor:
        features = network.features(pixels)  # type: ignore[operator]
        said = told(network.head(features))  # type: ignore[operator]
        grouped = features.unflatten(1, (TURNS, -1))
        parts = [said, grouped.mean(dim=1), grouped.std(dim=1), *_roughness(pixels)]
        return torch.cat(parts, dim=1)

    return run


def _roughness(pixels: Tensor) -> Sequence[Tensor]:
    """Return how rough the image is from pixel to pixel: what noise, blur and resampling change first."""
    padded = functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
    four = padded[:, :, 2:, 1:-1] + padded[:, :, :-2, 1:-1] + padded[:, :, 1:-1, 2:] + padded[:, :, 1:-1, :-2]
    square = functional.avg_pool2d((pixels - 0.25 * four) ** 2, Regressor.stride)
    return [torch.log(square + 1e-4)]


def _over_a_cell(one: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Return a map averaged over a cell."""
    return uniform_filter(one, size=round(OVER_CELLS * NETWORK_CELL_PX / Regressor.stride), mode="nearest")

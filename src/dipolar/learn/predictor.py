"""Networks at work on an image: columns by species, and displacement with sigma and familiarity at every point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.ndimage import map_coordinates, uniform_filter
from torch import Tensor, nn
from torch.nn import functional

from dipolar.core.contracts import Progress, silent
from dipolar.core.learning import NETWORK_CELL_PX, Card
from dipolar.learn.calibration import Calibration, combine_members
from dipolar.learn.dense import dense, dense_maps
from dipolar.learn.equivariant import TURNS
from dipolar.learn.familiarity import Familiarity
from dipolar.learn.find import Found, peaks, probabilities
from dipolar.learn.networks import Finder, Regressor, plain, told
from dipolar.learn.scale import Seen
from dipolar.learn.stacked import share_finder
from dipolar.learn.texture import AROUND, texture

FINDER_REACH = 40
"""How far from a column the finder looks, in network px: half of its field of view, and the offset."""
FEATURE_STRIDE = 8
"""Network px between points at which familiarity is judged."""
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
    disagreement: Float32[np.ndarray, "half_h half_w"]
    """Spread of the members over their own sigma, averaged over a cell, at every eighth pixel."""
    features: Float32[np.ndarray, "half_h half_w feature"]
    """What the first member sees, averaged over a cell and blind to turns, with the texture of the image."""
    unfamiliar: Float32[np.ndarray, "h w"]
    """Score: above 1 where the image is unlike what the networks were trained on; 0 without a familiarity."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heard:
    """What each member of an ensemble says of an image, in network px, before it is combined and recalibrated."""

    means: Float32[np.ndarray, "member target h w"]
    """In the order of the card's targets, at every fourth pixel."""
    sigmas: Float32[np.ndarray, "member 2 h w"]
    """One standard error of dy and dx."""
    features: Float32[np.ndarray, "half_h half_w feature"]
    """As in `Said`."""


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
    sigma = found.sigma if model.calibration is None else model.calibration.honest(found.sigma)
    found = replace(found, positions=seen.to_image(found.positions), sigma=sigma / seen.scale)
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
    return judged(model, hear(model, seen, progress=progress))


def hear(model: Model, seen: Seen, *, progress: Progress = silent) -> Heard:
    """Return what each member says at every point of the grid: what takes the time in `predict`."""
    networks = [plain(network) for network in model.networks]
    reach = model.card.window_px // 2 + Regressor.stride + AROUND // 2
    outputs = 4 + len(model.card.targets) - 2
    *said, features = dense_maps(
        partial(_all_said, networks, shared=share_finder(networks)), seen.pixels,
        strides=(*[Regressor.stride] * len(networks), FEATURE_STRIDE), reach=reach,
        device=next(networks[0].parameters()).device, progress=progress, step="predicting",
    )  # fmt: skip
    means = [np.concatenate([each[:2], each[4:outputs]]) for each in said]
    sigmas = [np.exp(each[2:4]) for each in said]
    return Heard(means=np.stack(means), sigmas=np.stack(sigmas), features=np.moveaxis(features, 0, -1))


def judged(model: Model, heard: Heard) -> Said:
    """Return what members say together: combined, recalibrated, with the score of familiarity.

    Parameters
    ----------
    model
        With its calibration and familiarity, if it has them.
    heard
        From each member.
    """
    means, sigmas, features = heard.means, heard.sigmas, heard.features
    _, sigma, spread = combine_members(means[:, :2], sigmas)
    disagreement = _blocks(np.sqrt(np.sum(spread**2, axis=0) / np.sum(np.mean(sigmas**2, axis=0), axis=0)))
    sigma = sigma if model.calibration is None else model.calibration.honest(sigma)
    score = np.zeros(disagreement.shape)
    if model.familiarity is not None:
        flat = model.familiarity.score(features.reshape(-1, features.shape[-1]), disagreement.ravel())
        score = flat.reshape(score.shape)
    return Said(
        values=np.moveaxis(means.mean(axis=0), 0, -1).astype(np.float32),
        sigma=np.moveaxis(sigma, 0, -1).astype(np.float32),
        disagreement=disagreement.astype(np.float32),
        features=features.astype(np.float32),
        unfamiliar=np.kron(score, np.ones((2, 2))).astype(np.float32),
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


def nearest_to(
    maps: Float32[np.ndarray, "h w *channel"], points: Float[np.ndarray, "point 2"], *, stride: int = Regressor.stride
) -> Float[np.ndarray, "point *channel"]:
    """Return maps at the grid points nearest to points (y, x) in network px.

    Familiarity is read like this, where thresholds are set and where they are used: a mean of four points is quieter
    than each of them, and what is usual among means is not usual in the map.
    """
    places = np.rint((points - (stride - 1) / 2.0) / stride).astype(int)
    y, x = np.clip(places, 0, np.array(maps.shape[:2]) - 1).T
    return maps[y, x].astype(np.float64)


def _all_said(networks: Sequence[nn.Module], pixels: Tensor, *, shared: bool) -> tuple[Tensor, ...]:
    """Return what each network says, and what the first one sees in the neighbourhood of every eighth pixel."""
    found = networks[0].found(pixels) if shared else None  # type: ignore[operator]
    seen = [
        network.features(pixels) if found is None else network.understood(found)  # type: ignore[operator]
        for network in networks
    ]
    said = [told(network.head(one)) for network, one in zip(networks, seen, strict=True)]  # type: ignore[operator]
    return (*said, _pooled(seen[0], pixels))


def _blocks(one: np.ndarray) -> np.ndarray:
    """Return a map at every eighth instead of every fourth pixel, averaged over a cell."""
    halved = one.reshape(one.shape[0] // 2, 2, one.shape[1] // 2, 2).mean(axis=(1, 3))
    return uniform_filter(halved, size=round(OVER_CELLS * NETWORK_CELL_PX / FEATURE_STRIDE), mode="nearest")


def _pooled(features: Tensor, pixels: Tensor) -> Tensor:
    """Return features averaged over a cell, blind to turns, and the texture of the image, at every eighth pixel.

    What the network sees is told by mean and root mean square over the four orientations, the image by its texture.
    """
    size = round(OVER_CELLS * NETWORK_CELL_PX / Regressor.stride)
    around = functional.avg_pool2d(features, size, stride=2, padding=size // 2 - 1, count_include_pad=False)
    grouped = around.reshape(len(around), TURNS, -1, *around.shape[2:])
    mean, rms = grouped.mean(dim=1), torch.sqrt((grouped * grouped).mean(dim=1))
    return torch.cat([mean, rms, texture(pixels)], dim=1)

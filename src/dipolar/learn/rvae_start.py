"""Where the training starts: the angle alone by expectation and maximisation, then latents by principal components.

Without further latents nothing can stand for the angle, the decoder is one template, and every step has a closed form:
how probable each direction of each patch is, then the mean of all patches turned back accordingly. From there the
linear parts of decoder and encoder follow in closed form, too: M. E. Tipping and C. M. Bishop, "Probabilistic principal
component analysis", J. R. Stat. Soc. B 61, 611 (1999). Gradients only have to bend what is already right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dipolar.learn.rvae_network import TurningRvae

PATCHES = 2000
"""Patches that the search sees."""
ROUNDS = 60
"""Rounds at most."""
SETTLED = 1e-3
"""A search has settled when a round raises the logarithm of the likelihood by less, in nats per patch."""
RIDGE = 1e-3
"""Added to the diagonal of normal equations, over its mean: waves that no pixel sees stay at 0."""


class _Noise(NamedTuple):
    """What a template leaves over."""

    variance: float
    """Of each pixel."""
    blind: Float[Tensor, "pixel mode"]
    """Nuisance modes, each by the root of the share of its variance that is not noise."""
    level: float
    """Half the logarithm of the determinant of all its covariance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """What one search found."""

    template: Float[Tensor, "channel frequency"]
    """Coefficients of what is drawn without latents."""
    noise: _Noise
    """What it leaves over."""
    likelihood: float
    """Mean logarithm per patch, in nats, up to a constant."""
    evidence: float
    """Gain over a template without a direction, over what its coefficients cost (half the logarithm of the number of
    patches for each, G. Schwarz, Ann. Stat. 6, 461 (1978)): below 1, the direction may be chance."""
    rounds: int
    """How many it took."""


def start(
    network: TurningRvae, images: Float[Tensor, "patch channel y x"], *, starts: int, rng: np.random.Generator
) -> list[Start]:
    """Give the network the likeliest template of several searches, and latents by principal components; return all."""
    some = images[torch.from_numpy(rng.permutation(len(images))[:PATCHES])]
    with torch.no_grad():
        seen = network.seen(some)
        search = _Search(network, seen)
        found = sorted((search.run(int(rng.integers(len(seen)))) for _ in range(starts)), key=lambda s: -s.likelihood)
        network.pictures[0] = found[0].template
        network.variance.fill_(found[0].noise.variance)
        if network.told:
            _latents(network, seen, search, found[0])
        network.nuisance = found[0].noise.blind
    return found


class _Search:
    """Expectation and maximisation of one template in all directions.

    Nuisance modes have a variance of their own, which is estimated along: what varies in them beyond the noise does
    not speak for a direction, and what does not vary costs no information.
    """

    def __init__(self, network: TurningRvae, seen: Float[Tensor, "patch 4 pixel"]) -> None:
        self.seen, self.at, self.channels = seen, network.terms[0], network.channels
        self.modes = network.nuisance
        self.energy = (seen**2).sum(-1)[..., None]
        self.within = seen @ self.modes
        self.free = seen.shape[-1] - self.modes.shape[1]
        self.squares = self.at.transpose(1, 2) @ self.at
        self.blur = (1.0 + math.sqrt(self.modes.shape[1] / len(seen))) ** 2
        even = torch.full((*seen.shape[:2], len(self.at)), 1.0 / (seen.shape[1] * len(self.at)))
        self.even = self.template(even)

    def template(self, weight: Float[Tensor, "patch 4 fine"]) -> Float[Tensor, "channel frequency"]:
        """Return the coefficients of the mean of patches turned back, each direction by its weight."""
        fine, points, size = self.at.shape
        sums = torch.einsum("nqm,nqp->mp", weight, self.seen).reshape(fine, self.channels, points)
        squares = torch.einsum("m,mfg->fg", weight.sum((0, 1)), self.squares)
        squares += RIDGE * squares.diagonal().mean() * torch.eye(size)
        return torch.linalg.solve(squares, torch.einsum("mcp,mpf->fc", sums, self.at)).T

    def drawn(self, template: Float[Tensor, "channel frequency"]) -> Float[Tensor, "fine pixel"]:
        """Return the template in each direction within a quarter turn."""
        return torch.einsum("cf,mpf->mcp", template, self.at).flatten(1)

    def weighed(
        self, template: Float[Tensor, "channel frequency"], noise: _Noise | None
    ) -> tuple[Float[Tensor, "patch 4 fine"], _Noise, float]:
        """Return the probability of each direction, the noise that is left, and the logarithm of the likelihood."""
        drawn = self.drawn(template)
        misfit = self.energy - 2 * torch.einsum("nqp,mp->nqm", self.seen, drawn) + (drawn**2).sum(-1)
        off = self.within[:, :, None] - (drawn @ self.modes)
        outside = misfit - (off**2).sum(-1)
        if noise is None:
            variance = float(outside.mean()) / self.free
            noise = _Noise(variance, self.modes, 0.5 * self.free * math.log(variance))
        fits = -0.5 * (misfit - ((off @ (self.modes.T @ noise.blind)) ** 2).sum(-1)) / noise.variance
        weight = torch.softmax(fits.flatten(1), dim=1).reshape(fits.shape)
        likelihood = float(torch.logsumexp(fits.flatten(1), dim=1).mean()) - noise.level
        return weight, self._noise(weight, outside, off), likelihood

    def _noise(self, weight: Tensor, outside: Tensor, off: Tensor) -> _Noise:
        """Return noise and nuisance that make what is left over likeliest."""
        variance = max(float((weight * outside).sum()) / len(self.seen) / self.free, 1e-9)
        spread = torch.einsum("nqm,nqmk,nqml->kl", weight, off, off) / len(self.seen)
        strength, axes = torch.linalg.eigh(spread)
        beyond = (strength - variance * self.blur).clamp_min(0.0)
        blind = self.modes @ (axes * (beyond / (beyond + variance)).sqrt())
        level = 0.5 * (self.free + len(beyond)) * math.log(variance) + 0.5 * float(torch.log1p(beyond / variance).sum())
        return _Noise(variance, blind, level)

    def run(self, first: int) -> Start:
        """Search from a template that leans towards one patch."""
        weight = torch.zeros(*self.seen.shape[:2], len(self.at))
        weight[first, 0, 0] = 1.0
        template = 0.5 * (self.even + self.template(weight))
        _, noise, before = self.weighed(self.even, None)
        _, _, even = self.weighed(self.even, noise)
        rounds = 0
        for rounds in range(1, ROUNDS + 1):
            weight, noise, likelihood = self.weighed(template, noise)
            template = self.template(weight)
            if rounds > 5 and abs(likelihood - before) < SETTLED:
                break
            before = likelihood
        cost = 0.5 * template.numel() * math.log(len(self.seen)) / len(self.seen)
        evidence = (before - even) / cost
        return Start(template=template, noise=noise, likelihood=before, evidence=evidence, rounds=rounds)


def _latents(network: TurningRvae, seen: Float[Tensor, "patch 4 pixel"], search: _Search, found: Start) -> None:
    """Set linear parts of decoder and encoder: what varies among patches turned back, pose and nothing else apart."""
    template, at = network.pictures[0], network.terms[0]
    weight, _, _ = search.weighed(template, found.noise)
    turn, fine = np.divmod(weight.flatten(1).argmax(1).numpy(), network.fine)
    rows = torch.arange(len(seen))
    left = seen[rows, torch.from_numpy(turn)] - search.drawn(template)[torch.from_numpy(fine)]
    upright = _turned_back(network, left, torch.from_numpy(fine), search)
    slopes = torch.einsum("cf,tpf->tcp", template, network.terms[1 : 1 + len(network.poses), 0]).flatten(1)
    slopes = slopes * network.pose_sigma[:, None]
    if len(slopes):
        basis = torch.linalg.qr(slopes.T)[0]
        upright = upright - upright @ basis @ basis.T
    upright = upright - upright.mean(0)
    strength, modes = torch.linalg.eigh(upright.T @ upright / len(upright))
    strength, modes = strength.flip(0)[: network.latents], modes.flip(1)[:, : network.latents]
    variance = max(float(network.variance) - float(strength.sum()) / network.pixels, 0.1 * float(network.variance))
    loadings = (modes * (strength - variance).clamp_min(1e-6 * variance).sqrt()).T
    squares = search.squares[0]
    squares = squares + RIDGE * squares.diagonal().mean() * torch.eye(len(squares))

    def series(pictures: Float[Tensor, "picture pixel"]) -> Float[Tensor, "picture channel frequency"]:
        sums = torch.unflatten(pictures, 1, (network.channels, -1)) @ at[0]
        return torch.linalg.solve(squares, sums.flatten(0, 1).T).T.reshape(sums.shape)

    network.pictures[1 : 1 + network.latents] = series(loadings)
    network.variance.fill_(variance)
    fields = torch.cat([loadings, slopes])
    precision = fields @ fields.T / variance + torch.eye(len(fields))
    filters = torch.linalg.solve(precision, fields) / variance
    network.linear.copy_(series(filters))
    network.constant.copy_(-filters @ search.drawn(template)[0])
    network.log_sigma.copy_(0.5 * torch.linalg.inv(precision).diagonal().log())


def _turned_back(
    network: TurningRvae, left: Float[Tensor, "patch pixel"], fine: Tensor, search: _Search
) -> Float[Tensor, "patch pixel"]:
    """Return residuals within a quarter turn turned back to its beginning, through their series."""
    if network.fine == 1:
        return left
    squares = search.squares + RIDGE * search.squares.diagonal(dim1=1, dim2=2).mean() * torch.eye(
        search.squares.shape[-1]
    )
    back = torch.zeros_like(left)
    for k in range(network.fine):
        mine = torch.unflatten(left[fine == k], 1, (network.channels, -1))
        if len(mine):
            coefficients = torch.linalg.solve(squares[k], (mine @ network.terms[0, k]).flatten(0, 1).T).T
            back[fine == k] = (coefficients @ network.terms[0, 0].T).reshape(len(mine), -1)
    return back

"""The rotation-invariant autoencoder that turns with the patch: every direction is weighed, none is guessed.

Patches are seen in all directions of a group of rotations. For each, one encoder tells the further latents and the pose
within a step of the group, and one decoder draws the patch; the posterior over directions follows from how well each
fits, exactly, as for a mixture. A quarter turn of the patch therefore turns the posterior by a quarter turn, whatever
the weights are. The noise variance is learned: with a fixed one the divergence can outweigh the polar signal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dipolar.learn.equivariant import TURNS
from dipolar.learn.rvae_series import frequencies, grid, matrix, monomials, tangents, turned_back

BENT = 12
"""Pictures that are mixed in as functions of the further latents, beside those that are linear in them."""
BEND_WIDTH = 32
"""Width of the network that mixes them."""
LOG_SIGMA = (-6.0, 0.5)
"""Limits of the logarithm of a posterior's sigma over that of its prior."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Told:
    """What the network makes of patches, for each direction of the group."""

    misfit: Float[Tensor, "patch turn fine"]
    """Sum of squares of what the drawing leaves over."""
    blind: Float[Tensor, "patch turn fine"]
    """The same without what says nothing of the direction (see `rvae_nuisance`)."""
    divergence: Float[Tensor, "patch turn fine"]
    """Of the posterior of latents and pose from their prior, in nats."""
    mean: Float[Tensor, "patch turn fine hidden"]
    """Means of latents and pose, over the sigma of their prior."""
    log_sigma: Float[Tensor, "patch turn fine hidden"]
    """Logarithms of their sigma, likewise."""


def quarters(images: Float[Tensor, "patch channel y x"]) -> Float[Tensor, "patch 4 channel y x"]:
    """Return patches turned back by 0, 1, 2, 3 quarter turns."""
    return torch.stack([torch.rot90(images, -turn, (-2, -1)) for turn in range(TURNS)], dim=1)


class TurningRvae(nn.Module):
    """Encoder, decoder and the posterior over directions."""

    def __init__(
        self,
        *,
        channels: int,
        side: int,
        latents: int,
        fine: int = 1,
        shift_sigma: float | None = None,
        hidden: int = 64,
        nuisance: Float[Tensor, "pixel mode"] | None = None,
    ) -> None:
        """Make it for patches of `side` px: `fine` directions in a quarter turn, and a shift with this prior in px."""
        super().__init__()
        self.channels, self.side, self.latents, self.fine = channels, side, latents, fine
        poses = (("turn",) if fine > 1 else ()) + (("dy", "dx") if shift_sigma else ())
        self.poses, self.bent = poses, BENT if latents else 0
        step = math.pi / 2 / fine
        points = grid(side)
        # a disc looks the same in all directions; the square does under quarter turns alone
        self.inside = points.norm(dim=1) <= side / 2 if fine > 1 else torch.ones(len(points), dtype=torch.bool)
        self.waves = frequencies(side)
        self.angles = [step * k for k in range(fine)]
        self.terms = tangents(points[self.inside], self.waves, self.angles, poses=poses).terms
        self.pixels = int(self.inside.sum()) * channels
        self.nuisance = torch.zeros(self.pixels, 0) if nuisance is None else nuisance
        sigma = {"turn": step / math.sqrt(12), "dy": shift_sigma or 0.0, "dx": shift_sigma or 0.0}
        self.pose_sigma = torch.tensor([sigma[pose] for pose in poses])
        self.told = latents + len(poses)
        size = self.terms.shape[-1]
        self.pictures = nn.Parameter(torch.zeros(1 + latents + self.bent, channels, size))
        self.linear = nn.Parameter(torch.zeros(self.told, channels, size))
        self.constant = nn.Parameter(torch.zeros(self.told))
        self.log_sigma = nn.Parameter(torch.zeros(self.told))
        self.lift = nn.Parameter(torch.randn(hidden, channels, size) * math.sqrt(2 * size / self.pixels))
        self.lift_bias = nn.Parameter(torch.zeros(hidden))
        if self.told:
            self.inner, self.head = nn.Linear(hidden, hidden), nn.Linear(hidden, 2 * self.told)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        if latents:
            self.bend = nn.Sequential(nn.Linear(latents, BEND_WIDTH), nn.SiLU(), nn.Linear(BEND_WIDTH, self.bent))
        self.register_buffer("variance", torch.ones(()))
        self.variance: Tensor

    def seen(self, images: Float[Tensor, "patch channel y x"]) -> Float[Tensor, "patch 4 pixel"]:
        """Return patches as `forward` takes them: in four quarter turns, what lies inside."""
        return quarters(images).flatten(-2)[..., self.inside].flatten(-2)

    def drawn(self, coefficients: Float[Tensor, "picture channel frequency"]) -> Float[Tensor, "fine picture pixel"]:
        """Return pictures in each direction within a quarter turn."""
        return torch.einsum("ocf,mpf->mocp", coefficients, self.terms[0]).flatten(-2)

    def drawn_terms(self) -> Float[Tensor, "fine part pixel"]:
        """Return all pictures and their derivatives by the pose."""
        return torch.einsum("ocf,tmpf->mtocp", self.pictures, self.terms).flatten(-2).flatten(1, 2)

    def encoded(
        self, seen: Float[Tensor, "patch 4 pixel"]
    ) -> tuple[Float[Tensor, "patch 4 fine hidden"], Float[Tensor, "patch 4 fine hidden"]]:
        """Return means and log sigma of latents and pose for each direction: a linear part and what corrects it."""
        if not self.told:
            nothing = seen.new_zeros((*seen.shape[:2], self.fine, 0))
            return nothing, nothing
        filters = self.drawn(torch.cat([self.lift, self.linear]))
        seen_by = torch.einsum("nqp,mop->nqmo", seen, filters)
        width = len(self.lift_bias)
        inner = functional.silu(self.inner(functional.silu(seen_by[..., :width] + self.lift_bias)))
        mean, log_sigma = self.head(inner).chunk(2, dim=-1)
        return seen_by[..., width:] + self.constant + mean, (self.log_sigma + log_sigma).clamp(*LOG_SIGMA)

    def mixed(self, hidden: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch part"]:
        """Return by what each of `drawn_terms` counts, for latents and pose over the sigma of their prior."""
        latent, pose = hidden[..., : self.latents], hidden[..., self.latents :]
        parts = [hidden.new_ones((*hidden.shape[:-1], 1)), latent]
        if self.latents:
            parts.append(self.bend(latent))
        mixture = torch.cat(parts, dim=-1)
        if not self.poses:
            return mixture
        return (monomials(pose * self.pose_sigma).unsqueeze(-1) * mixture.unsqueeze(-2)).flatten(-2)

    def forward(self, seen: Float[Tensor, "patch 4 pixel"], generator: torch.Generator | None = None) -> Told:
        """Return what all directions make of patches; with a generator, latents are drawn from their posterior."""
        parts = self.drawn_terms()
        mean, log_sigma = self.encoded(seen)
        hidden = mean
        if generator is not None and self.told:
            hidden = mean + log_sigma.exp() * torch.randn(mean.shape, generator=generator)
        mixture = self.mixed(hidden)
        match = torch.einsum("nqp,mop->nqmo", seen, parts)
        gram = parts @ parts.transpose(1, 2)
        total = (seen**2).sum(-1)[..., None]
        misfit = total - 2 * (mixture * match).sum(-1) + _form(mixture, gram)
        blind = misfit
        if self.nuisance.shape[1]:
            inside, of_parts = seen @ self.nuisance, parts @ self.nuisance
            left = inside[:, :, None] - torch.einsum("nqmo,mok->nqmk", mixture, of_parts)
            blind = misfit - (left**2).sum(-1)
        divergence = 0.5 * (mean**2 + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(-1)
        return Told(misfit=misfit, blind=blind, divergence=divergence, mean=mean, log_sigma=log_sigma)

    def picture(
        self, latent: Float[Tensor, "patch latent"], angle_rad: float = 0.0, *, side: int | None = None
    ) -> Float[Tensor, "patch channel y x"]:
        """Return what is drawn for latents, turned counter-clockwise, on a square of so many px."""
        side = side or self.side
        points = turned_back(grid(side, across=self.side), angle_rad)
        at = matrix(points, self.waves).float()
        parts = [torch.ones(len(latent), 1), latent] + ([self.bend(latent)] if self.latents else [])
        coefficients = torch.einsum("no,ocf->ncf", torch.cat(parts, dim=-1), self.pictures)
        return torch.unflatten(coefficients @ at.T, -1, (side, side))


def _form(mixture: Float[Tensor, "patch turn fine part"], gram: Float[Tensor, "fine part part"]) -> Tensor:
    return (torch.einsum("nqmo,mop->nqmp", mixture, gram) * mixture).sum(-1)

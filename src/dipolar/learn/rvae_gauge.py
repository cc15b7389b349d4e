"""Latents turned among themselves, so that each means something: what is symmetric first, what is polar last.

The prior of the latents is the same in all directions, so that training leaves their axes to chance. Brightness, and
with it composition, changes a patch alike on both sides of its middle; what moves the central column does not. Axes are
those along which the share of what stays under a half turn is stationary, the most symmetric first.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dipolar.learn.rvae_network import TurningRvae


def turn_latents(network: TurningRvae) -> None:
    """Turn the latents of a trained network, in place; what it draws and how well stays as it is."""
    if not network.latents:
        return
    with torch.no_grad():
        axes = _axes(network)
        count = network.latents
        network.pictures[1 : 1 + count] = torch.einsum("lk,lcf->kcf", axes, network.pictures[1 : 1 + count])
        network.linear[:count] = torch.einsum("lk,lcf->kcf", axes, network.linear[:count])
        network.constant[:count] = axes.T @ network.constant[:count]
        bend = network.bend[0]
        assert isinstance(bend, nn.Linear)
        bend.weight.copy_(bend.weight @ axes)
        network.head.weight[:count] = axes.T @ network.head.weight[:count]
        network.head.bias[:count] = axes.T @ network.head.bias[:count]
        # the covariance of a posterior turns along; only its diagonal is kept
        squares = (axes**2).T
        network.log_sigma[:count] = 0.5 * (squares @ (2 * network.log_sigma[:count]).exp()).log()
        own = slice(network.told, network.told + count)
        network.head.weight[own] = squares @ network.head.weight[own]
        network.head.bias[own] = squares @ network.head.bias[own]


def _axes(network: TurningRvae) -> Float[Tensor, "latent axis"]:
    """Return orthonormal axes as columns, each with the sign that makes the patch more like the mean of all."""
    steps = torch.eye(network.latents)
    moves = 0.5 * (network.picture(steps) - network.picture(-steps))
    turned = torch.rot90(moves, 2, (-2, -1))
    even, odd = (0.5 * (moves + turned)).flatten(1), (0.5 * (moves - turned)).flatten(1)
    _, axes = torch.linalg.eigh(odd @ odd.T - even @ even.T)
    mean = network.picture(torch.zeros(1, network.latents)).flatten()
    sign = torch.where((axes.T @ even) @ mean < 0, -1.0, 1.0)
    return axes * sign

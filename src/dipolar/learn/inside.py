"""Looking inside a network: what its layers make of an image, what they look for, and where an output looks.

For any network of convolutions that takes images of shape (batch, 1, y, x). Everything is done on the network as it is
used, in evaluation mode, and leaves no trace in it: no gradient, no mode, no hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from dipolar.core.errors import SettingsError

STEP = 0.1
"""How far the ascent goes at first, relative to the spread of the input."""


def layer_names(network: nn.Module) -> list[str]:
    """Return the layers of a network by name: its parts that hold weights or have no parts of their own."""
    return [
        name
        for name, module in network.named_modules()
        if name and (not list(module.children()) or next(module.parameters(recurse=False), None) is not None)
    ]


def feature_maps(
    network: nn.Module, image: Float32[np.ndarray, "y x"]
) -> dict[str, Float32[np.ndarray, "channel h w"]]:
    """Return what every layer makes of an image: name of the layer → maps of its channels.

    Layers whose output is no map are left out. Further axes, such as orientations, count as channels. A layer that is
    used several times shows its last use.

    Parameters
    ----------
    network
        Any network of convolutions.
    image
        What it sees, prepared as in training.
    """
    maps: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(_: nn.Module, __: tuple[object, ...], output: object) -> None:
            if isinstance(output, Tensor) and output.ndim >= 4:
                maps[name] = output[0].flatten(0, -3).float().cpu().numpy().copy()

        return hook

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in layer_names(network)]
    try:
        with evaluating(network), torch.no_grad():
            network(_as_input(network, image[None]))
    finally:
        for handle in handles:
            handle.remove()
    return maps


def preferred_inputs(
    network: nn.Module,
    layer: str,
    channels: Sequence[int],
    *,
    size_px: int,
    steps: int = 60,
    rng: np.random.Generator,
    blur_px: float = 0.6,
) -> Float32[np.ndarray, "channel size size"]:
    """Return, for each channel of a layer, an input that excites it most: what it looks for.

    Activation maximisation (D. Erhan et al., University of Montreal report 1341, 2009): from noise, uphill along the
    gradient of the channel's mean activation. After each step the input is blurred a little, less and less, as nothing
    else keeps the ascent from patterns finer than any column, and brought back to mean 0 and standard deviation 1: that
    is how networks see images, and what a penalty on the square of the input would aim at.

    Parameters
    ----------
    network
        Any network of convolutions.
    layer
        Name of the layer, one of `layer_names`.
    channels
        Numbers of its channels.
    size_px
        Edge of the input; it may differ from what later layers would ask for.
    steps
        Steps of the ascent.
    rng
        Where the noise comes from that the ascent begins with.
    blur_px
        Standard deviation of the first blur; 0 for none.

    Raises
    ------
    SettingsError
        If there is no such layer or channel, or its output is no map.
    """
    from scipy.ndimage import gaussian_filter

    inputs = _standard(rng.normal(size=(len(channels), size_px, size_px)))
    for step in range(steps):
        left = 1.0 - step / steps
        slope = _slope(network, layer, channels, inputs)
        spread = np.sqrt(np.mean(slope**2, axis=(1, 2), keepdims=True))
        inputs = inputs + STEP * (0.2 + 0.8 * left) * slope / np.maximum(spread, 1e-30)
        inputs = _standard(gaussian_filter(inputs, (0.0, blur_px * left, blur_px * left), mode="mirror"))
    return inputs.astype(np.float32)


def saliency(
    network: nn.Module,
    image: Float32[np.ndarray, "y x"],
    *,
    output: int,
    at: tuple[int, int] | None = None,
    layer: str | None = None,
) -> Float32[np.ndarray, "y x"]:
    """Return the gradient of one output with respect to the image: where it looks, and which way each pixel pulls.

    It is 0 where the output does not look (K. Simonyan et al., ICLR workshop 2014).

    Parameters
    ----------
    network
        Any network of convolutions.
    image
        What it sees, prepared as in training.
    output
        Number of the output, or of the channel.
    at
        Place (y, x) on the grid of the output; None for outputs that are no map.
    layer
        Name of an inner layer to ask in place of the network's output.

    Raises
    ------
    SettingsError
        If there is no such layer, output or place.
    """
    with evaluating(network):
        seen = _as_input(network, image[None]).requires_grad_()
        said = _said(network, layer, seen)[0]
        wanted = (output, *(at or ()))
        if len(wanted) != said.ndim or any(not 0 <= n < size for n, size in zip(wanted, said.shape, strict=True)):
            raise SettingsError(
                "an output is named by its number, and by its place on the grid where it is a map.",
                got=f"output={output}, at={at}; the outputs have the shape {tuple(said.shape)}",
                do="output=0, at=(0, 0)" if said.ndim == 3 else "output=0, at=None",
            )
        (slope,) = torch.autograd.grad(said[wanted], seen)
    return slope[0, 0].float().cpu().numpy()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every part of it back afterwards."""
    before = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


class _ReachedError(Exception):
    """Ends a pass at the layer that is asked; what comes after it need not fit the input."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output


def _said(network: nn.Module, layer: str | None, seen: Tensor) -> Tensor:
    """Return the output of a layer, or of the network; of several ones, the first."""
    if layer is None:
        output = network(seen)
    else:
        if layer not in dict(network.named_modules()):
            raise SettingsError(
                "the network has no such layer.", got=layer, do=f"one of {', '.join(layer_names(network))}"
            )

        def hook(_: nn.Module, __: tuple[object, ...], output: object) -> None:
            raise _ReachedError(output)

        handle = network.get_submodule(layer).register_forward_hook(hook)
        try:
            output = network(seen)
        except _ReachedError as reached:
            output = reached.output
        finally:
            handle.remove()
    return output[0] if isinstance(output, tuple | list) else output


def _slope(
    network: nn.Module, layer: str, channels: Sequence[int], inputs: np.ndarray
) -> Float32[np.ndarray, "channel size size"]:
    """Return the gradient of each channel's mean activation with respect to its own input."""
    with evaluating(network):
        seen = _as_input(network, inputs.astype(np.float32)).requires_grad_()
        said = _said(network, layer, seen)
        if said.ndim < 4:
            raise SettingsError(
                "only a layer whose output is a map has channels to look at.", got=layer, do="a convolution"
            )
        said = said.flatten(1, -3)
        if not all(0 <= channel < said.shape[1] for channel in channels):
            raise SettingsError(
                f"layer {layer} has {said.shape[1]} channels.",
                got=f"channels {', '.join(map(str, channels))}",
                do=f"numbers from 0 to {said.shape[1] - 1}",
            )
        excited = said.mean(dim=(2, 3))[torch.arange(len(channels)), list(channels)].sum()
        (slope,) = torch.autograd.grad(excited, seen)
    return slope[:, 0].float().cpu().numpy()


def _as_input(network: nn.Module, images: Float32[np.ndarray, "image y x"]) -> Tensor:
    """Return images as the network takes them: with a channel, of its own precision, where its weights are."""
    first = next(network.parameters(), torch.zeros(1))
    return torch.from_numpy(np.ascontiguousarray(images))[:, None].to(device=first.device, dtype=first.dtype)


def _standard(inputs: np.ndarray) -> np.ndarray:
    """Return inputs of mean 0 and standard deviation 1."""
    centred = inputs - inputs.mean(axis=(1, 2), keepdims=True)
    return centred / np.maximum(centred.std(axis=(1, 2), keepdims=True), 1e-30)

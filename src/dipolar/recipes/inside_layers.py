"""The layers of a network one by one: what each makes of the surroundings of a place, and what it looks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from dipolar.learn.equivariant import TURNS, Lift, Turn
from dipolar.learn.inside import feature_maps, preferred_inputs, saliency
from dipolar.learn.networks import MULTIPLE, Finder, Regressor, plain
from dipolar.learn.predictor import Model
from dipolar.learn.scale import Seen
from dipolar.learn.stacked import StackedRegressor
from dipolar.report.inside_sheet import ACROSS, liveliest

Network = Finder | Regressor | StackedRegressor
AROUND_PX = 24
"""What is shown beyond the window of a network, in network px: about half a cell on each side."""
LARGEST_PX = 64
"""Edge of the largest input that is made to excite a channel."""
BLUR_PX = 1.0
"""First blur on the way there: with less, steps as few as these leave much of the noise they begin with."""


def plain_network(model: Model) -> Network:
    """Return the network, of an ensemble the first, with ordinary convolutions."""
    network = plain(model.networks[0])
    assert isinstance(network, Network)
    return network


def surroundings(
    seen: Seen, at_px: tuple[float, float], *, reach_px: int
) -> tuple[Float32[np.ndarray, "y x"], tuple[float, float]]:
    """Return what a network sees around a place, and where in it the place is, (y, x) in network px.

    Borders are multiples of `MULTIPLE`, so that its grid stands as in the whole image.

    Parameters
    ----------
    seen
        The whole image.
    at_px
        The place (y, x) in image px.
    reach_px
        Edge of the surroundings in network px, at least; smaller where the image is.
    """
    pixels = seen.pixels[0, 0].numpy()
    edge = -(-reach_px // MULTIPLE) * MULTIPLE
    place = seen.to_network(np.array(at_px))
    start = []
    for middle, size in zip(place, pixels.shape, strict=True):
        nearest = round((float(middle) - edge / 2.0) / MULTIPLE) * MULTIPLE
        start.append(max(min(nearest, size - edge), 0))
    y, x = start
    return np.ascontiguousarray(pixels[y : y + edge, x : x + edge]), (float(place[0]) - y, float(place[1]) - x)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One layer, and what it makes of the surroundings."""

    name: str
    """In the network."""
    title: str
    """On the figure."""
    stride: int
    """Network px from point to point of its maps."""
    maps: Float32[np.ndarray, "channel h w"]
    """Of its channels; where each filter is there in four turns, those of the first turn."""


def layers_of(model: Model, seen: Seen, at_px: tuple[float, float]) -> list[Layer]:
    """Return every layer with its maps, cut out of what it makes of a wider region: there the rim leaves its trace."""
    edge = model.card.window_px + AROUND_PX
    wide, place_in_wide = surroundings(seen, at_px, reach_px=edge + model.card.window_px + 2 * MULTIPLE)
    crop, place = surroundings(seen, at_px, reach_px=edge)
    first = [round(outer - inner) for outer, inner in zip(place_in_wide, place, strict=True)]
    found = []
    for name, maps in feature_maps(plain_network(model), wide).items():
        stride = wide.shape[0] // maps.shape[1]
        (y0, y1), (x0, x1) = ((n // stride, (n + size) // stride) for n, size in zip(first, crop.shape, strict=True))
        turns = isinstance(model.networks[0].get_submodule(name), Lift | Turn)
        own = maps[: len(maps) // TURNS] if turns else maps
        title = name.replace(".", " ") + (f", {TURNS} turns" if turns else "")
        cut = np.ascontiguousarray(own[:, y0:y1, x0:x1])
        found.append(Layer(name=name, title=title, stride=stride, maps=cut))
    return found


def preferred_by(
    network: Network, layer: Layer, steps: int, rng: np.random.Generator
) -> Float32[np.ndarray, "channel y x"]:
    """Return the inputs that excite most those channels that are shown; the others, which are not, stay empty."""
    shown = liveliest(layer.maps, most=ACROSS)
    size = _field(network, layer)
    found = np.zeros((len(layer.maps), size, size), dtype=np.float32)
    found[shown] = preferred_inputs(network, layer.name, shown, size_px=size, steps=steps, rng=rng, blur_px=BLUR_PX)
    return found


def _field(network: Network, layer: Layer) -> int:
    """Return the edge of an input for a layer: one and a half times what its outputs see, within limits."""
    probe = np.random.default_rng(0).normal(size=(2 * LARGEST_PX,) * 2).astype(np.float32)
    stride = layer.stride
    middle = LARGEST_PX // stride
    slope = saliency(network, probe, output=0, at=(middle, middle), layer=layer.name)
    seen = np.flatnonzero(np.any(slope != 0.0, axis=0))
    wanted = 1.5 * (int(seen[-1] - seen[0]) + 1) if len(seen) else 0.0
    return -(-round(min(max(wanted, 3 * MULTIPLE), LARGEST_PX)) // MULTIPLE) * MULTIPLE

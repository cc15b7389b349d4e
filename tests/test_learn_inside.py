"""Looking inside networks: laws of feature maps, preferred inputs and saliency."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from dipolar.core.errors import SettingsError
from dipolar.learn.inside import feature_maps, layer_names, preferred_inputs, saliency
from dipolar.learn.networks import Regressor
from dipolar.learn.published import PublishedDCNN


class Small(nn.Module):
    """Two convolutions and a pooling between: an output at (y, x) sees 10 px, from 2 y - 3 on."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.body = nn.Sequential(nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Dropout(0.5), nn.BatchNorm2d(6))
        self.second = nn.Conv2d(6, 4, 3, padding=1)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.body(torch.relu(self.first(x))))


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


NETWORKS = {
    "small": (Small, ("first", "body.0", "second")),
    "published": (lambda: PublishedDCNN(window_px=24), ("features.conv1", "features.conv9")),
    "ours": (lambda: Regressor(window_px=24, fine=2, middle=3), ("lift", "skip")),
}


def noise_image(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def test_layers_are_the_parts_that_hold_weights_or_have_no_parts():
    assert layer_names(Small()) == ["first", "body.0", "body.1", "body.2", "body.3", "second", "unused"]


def test_feature_maps_are_what_the_layers_say():
    network, image = seeded(Small), noise_image(20, 24)
    maps = feature_maps(network, image)
    network.eval()
    with torch.no_grad():
        first = network.first(torch.from_numpy(image)[None, None])
        last = network(torch.from_numpy(image)[None, None])
    np.testing.assert_allclose(maps["first"], first[0], atol=1e-6)
    np.testing.assert_allclose(maps["second"], last[0], atol=1e-6)
    assert {name: layer.shape for name, layer in maps.items()} == {
        "first": (6, 20, 24),
        **dict.fromkeys(["body.0"], (6, 20, 24)),
        **dict.fromkeys(["body.1", "body.2", "body.3"], (6, 10, 12)),
        "second": (4, 10, 12),
    }


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_preferred_input_excites_its_channel_more_than_noise(kind):
    build, layers = NETWORKS[kind]
    network = seeded(build)
    rng = np.random.default_rng(1)
    for layer in layers:
        found = preferred_inputs(network, layer, [0, 1, 2], size_px=24, steps=25, rng=rng)
        assert found.shape == (3, 24, 24)
        np.testing.assert_allclose(found.mean(axis=(1, 2)), 0.0, atol=1e-5)
        np.testing.assert_allclose(found.std(axis=(1, 2)), 1.0, atol=1e-5)
        noise = [feature_maps(network, noise_image(24, 24)) for _ in range(3)]
        for channel in range(3):
            excited = feature_maps(network, found[channel])[layer][channel].mean()
            usual = [maps[layer][channel].mean() for maps in noise]
            assert excited > max(usual), (layer, channel)


def test_the_same_noise_finds_the_same_input():
    network = seeded(Small)
    one, other = (
        preferred_inputs(network, "second", [2], size_px=16, steps=5, rng=np.random.default_rng(3)) for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_the_size_of_a_preferred_input_is_free_of_what_comes_after_the_layer():
    network = seeded(lambda: PublishedDCNN(window_px=24))  # its dense layer takes 24 px and nothing else
    found = preferred_inputs(network, "features.conv2", [5], size_px=40, steps=2, rng=np.random.default_rng(0))
    assert found.shape == (1, 40, 40)


def test_saliency_is_zero_where_an_output_does_not_look():
    network, image = seeded(Small), noise_image(40, 44)
    pull = saliency(network, image, output=1, at=(8, 9))
    seen = np.zeros(image.shape, dtype=bool)
    seen[16 - 3 : 16 + 5, 18 - 3 : 18 + 5] = True
    assert (pull[~seen] == 0.0).all() and (pull[seen] != 0.0).mean() > 0.3
    ours = saliency(seeded(lambda: Regressor(window_px=24)), noise_image(96, 96), output=0, at=(12, 12))
    y, x = np.nonzero(ours)
    assert 0 < np.ptp(y) < 24 and 0 < np.ptp(x) < 24


def test_saliency_is_the_change_of_the_output_with_a_pixel():
    network, image = seeded(Small).double(), noise_image(20, 20)
    pull = saliency(network, image, output=2, at=(4, 5))
    inner = saliency(network, image, output=2, at=(4, 5), layer="second")
    np.testing.assert_array_equal(inner, pull)
    network.eval()
    for pixel in ((8, 10), (9, 12), (7, 9)):
        said = []
        for change in (1e-5, -1e-5):
            moved = torch.from_numpy(image.astype(float))[None, None]
            moved[0, 0, pixel[0], pixel[1]] += change
            with torch.no_grad():
                said.append(float(network(moved)[0, 2, 4, 5]))
        assert pull[pixel] == pytest.approx((said[0] - said[1]) / 2e-5, abs=1e-6)


def test_outputs_that_are_no_map_have_a_saliency_too():
    network = seeded(lambda: PublishedDCNN(window_px=16))
    assert saliency(network, noise_image(16, 16), output=1).shape == (16, 16)
    with pytest.raises(SettingsError, match=r"shape \(2,\)(.|\n)*at=None"):
        saliency(network, noise_image(16, 16), output=1, at=(0, 0))


def test_looking_leaves_no_trace():
    network = seeded(Small)
    network.body.eval()  # as when batch norm is frozen in training
    modes = [part.training for part in network.modules()]
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    feature_maps(network, noise_image(16, 16))
    preferred_inputs(network, "second", [0], size_px=16, steps=2, rng=np.random.default_rng(0))
    saliency(network, noise_image(16, 16), output=0, at=(2, 2))
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())
    assert not any(part._forward_hooks for part in network.modules())


def test_what_is_not_there_is_refused_by_name():
    network, rng = seeded(Small), np.random.default_rng(0)
    with pytest.raises(SettingsError, match=r"no such layer(.|\n)*got:  third(.|\n)*first, body.0"):
        preferred_inputs(network, "third", [0], size_px=16, rng=rng)
    with pytest.raises(SettingsError, match=r"second has 4 channels(.|\n)*channels 1, 4(.|\n)*0 to 3"):
        preferred_inputs(network, "second", [1, 4], size_px=16, rng=rng)
    with pytest.raises(SettingsError, match="map has channels"):
        preferred_inputs(seeded(lambda: PublishedDCNN(window_px=16)), "dense", [0], size_px=16, rng=rng)
    with pytest.raises(SettingsError, match=r"named by its number, and by its place(.|\n)*output=0, at=None"):
        saliency(network, noise_image(16, 16), output=0)
    with pytest.raises(SettingsError, match="named by its number"):
        saliency(network, noise_image(16, 16), output=0, at=(0, 8))

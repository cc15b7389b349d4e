"""The published network: its size, and one pass over an image against window by window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dipolar.core.errors import ImageError, SettingsError
from dipolar.learn.published import PublishedDCNN, as_one_pass, predict_windows
from dipolar.learn.windows import cut_windows, grid_of_windows, middles


def network_of(window_px: int, *, padding: str = "valid", seed: int = 0, outputs: int = 2) -> PublishedDCNN:
    """Return a network that answers to what it sees, as one does after training: a fresh one hardly would."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PublishedDCNN(window_px=window_px, padding=padding, outputs=outputs)
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=0.1)
        nn.init.normal_(network.features.norm.running_mean)
        nn.init.uniform_(network.features.norm.running_var, 0.5, 2.0)
        nn.init.uniform_(network.features.norm.weight, 0.5, 2.0)
    return network.eval()


def noise_image(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def test_it_has_exactly_the_published_number_of_parameters():
    assert sum(weights.numel() for weights in PublishedDCNN().parameters()) == 724_034


def test_its_layers_come_in_the_published_order():
    kinds = [type(layer) for layer in PublishedDCNN().features]
    convolution = [nn.Conv2d, nn.LeakyReLU]
    assert kinds == convolution * 7 + [nn.MaxPool2d] + convolution * 2 + [nn.Dropout, nn.BatchNorm2d]
    channels = [layer.out_channels for layer in PublishedDCNN().features if isinstance(layer, nn.Conv2d)]
    assert channels == [32] * 5 + [64] * 2 + [128] * 2


@pytest.mark.parametrize(("window_px", "outputs", "padding"), [(10, 2, "same"), (25, 6, "same"), (24, 2, "valid")])
def test_windows_and_outputs_are_free(window_px, outputs, padding):
    network = network_of(window_px, padding=padding, outputs=outputs)
    assert network(torch.zeros((3, 1, window_px, window_px))).shape == (3, outputs)


@pytest.mark.parametrize("window_px", [26, 29])
@pytest.mark.parametrize("step_px", [1, 2, 8])
@pytest.mark.parametrize("shape", [(32, 37), (35, 34)])
def test_one_pass_without_padding_is_window_by_window(window_px, step_px, shape):
    network = network_of(window_px).double()
    image = noise_image(*shape)
    corners = grid_of_windows(shape, window_px=window_px, stride_px=step_px)
    one_pass = as_one_pass(network, step_px=step_px)
    windows = torch.from_numpy(cut_windows(image, corners, window_px=window_px))[:, None].double()
    with torch.no_grad():
        said = one_pass(torch.from_numpy(image)[None, None].double())[0]
        alone = network(windows)
    assert said.flatten(1).T.shape == alone.shape and said.std() > 0.1
    torch.testing.assert_close(said.flatten(1).T, alone, rtol=0.0, atol=1e-12)
    first_y, first_x, spacing = one_pass.grid_px
    places = np.stack(np.indices(said.shape[1:]), axis=-1).reshape(-1, 2) * spacing + [first_y, first_x]
    np.testing.assert_array_equal(places, middles(corners, window_px=window_px))


def test_in_single_precision_it_is_equal_to_rounding():
    network, image = network_of(26), noise_image(46, 46)
    with torch.no_grad():
        said = as_one_pass(network)(torch.from_numpy(image)[None, None])[0].flatten(1).T.numpy()
    places = middles(grid_of_windows((46, 46), window_px=26, stride_px=2), window_px=26)
    alone = predict_windows(network, image, places, window_px=26)
    np.testing.assert_allclose(said, alone, atol=1e-5 * alone.std())


def test_with_padding_one_pass_is_something_else():
    network, image = network_of(26, padding="same"), noise_image(46, 46)
    with torch.no_grad():
        said = as_one_pass(network)(torch.from_numpy(image)[None, None])[0].flatten(1).T.numpy()
    places = middles(grid_of_windows((46, 46), window_px=26, stride_px=2), window_px=26)
    alone = predict_windows(network, image, places, window_px=26)
    assert said.shape == alone.shape
    assert np.sqrt(np.mean((said - alone) ** 2)) > 0.1 * alone.std()
    single = image[:26, :26]  # on an image of one window they are the same
    with torch.no_grad():
        np.testing.assert_allclose(
            as_one_pass(network)(torch.from_numpy(single)[None, None])[0, :, 0, 0], alone[0], atol=1e-5
        )


def test_one_pass_shares_the_weights():
    network = network_of(24)
    one_pass, image = as_one_pass(network), torch.from_numpy(noise_image(30, 30))[None, None]
    with torch.no_grad():
        before = one_pass(image)
        network.dense.bias += 1.0
        torch.testing.assert_close(one_pass(image), before + 1.0)


def test_windows_are_predicted_where_they_fit_whatever_the_batch():
    network, image = network_of(24), noise_image(50, 60)
    points = np.array([[25.2, 30.1], [11.5, 11.5], [10.9, 30.0], [37.9, 47.9], [38.0, 30.0], [-5.0, 400.0]])
    said = predict_windows(network, image, points, window_px=24)
    assert np.isfinite(said).all(axis=1).tolist() == [True, True, False, True, False, False]
    np.testing.assert_allclose(predict_windows(network, image, points, window_px=24, batch=1), said, atol=1e-5)
    with torch.no_grad():
        by_hand = network(torch.from_numpy(image[14:38, 19:43].copy())[None, None])[0].numpy()
    np.testing.assert_allclose(said[0], by_hand, atol=1e-5)
    assert predict_windows(network, image, points[2:3], window_px=24).shape == (1, 2)


def test_nan_in_a_window_is_nan_in_what_is_said_of_it():
    network, image = network_of(24), noise_image(30, 60)
    image[10, 10] = np.nan
    said = predict_windows(network, image, np.array([[12.0, 12.0], [12.0, 40.0]]), window_px=24)
    assert np.isfinite(said).all(axis=1).tolist() == [False, True]


def test_predicting_leaves_the_network_in_training():
    network = network_of(24).train()
    before = network.features.norm.running_mean.clone()
    predict_windows(network, noise_image(30, 30), np.array([[15.0, 15.0]]), window_px=24)
    assert all(part.training for part in network.modules())
    assert torch.equal(network.features.norm.running_mean, before)


def test_windows_too_small_for_the_network_and_images_too_small_for_a_window_are_refused():
    with pytest.raises(SettingsError, match=r"at least 24 px with padding 'valid'(.|\n)*window_px=23"):
        PublishedDCNN(window_px=23, padding="valid")
    with pytest.raises(SettingsError, match="at least 2 px with padding 'same'"):
        PublishedDCNN(window_px=1)
    with pytest.raises(ImageError, match=r"one window of 24 px(.|\n)*20 x 30 px"):
        as_one_pass(network_of(24))(torch.zeros((1, 1, 20, 30)))

"""The networks: they turn with the image, see no more than their window, and are what their plain copies are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dipolar.core.errors import SettingsError
from dipolar.learn import networks
from dipolar.learn.equivariant import AXIAL, SCALAR, VECTOR, Head, Lift, Turn
from dipolar.learn.networks import MULTIPLE, Finder, Regressor, build, depth, plain
from dipolar.learn.scale import padded

NETWORKS = {
    "finder": ("finder", {}),
    "regressor 20": ("regressor", {"window_px": 20}),
    "regressor 80": ("regressor", {"window_px": 80}),
    "displacement only": ("regressor", {"window_px": 40, "cell_parameters": False}),
}
MANY = pytest.mark.parametrize("name", NETWORKS)


def network(name, *, seed=3):
    """A network with weights and biases of ordinary size in every layer, in double precision."""
    kind, options = NETWORKS[name]
    made = build(kind, options, seed=seed).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        spread = 0.3 if parameter.ndim == 1 else 1.0
        parameter.data = parameter.data * spread + 0.3 * torch.randn(parameter.shape, generator=generator).double() / (
            parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 1.0
        )
    return made


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def turned_outputs(said, outputs):
    """What a network must say of an image that was turned by a quarter turn counter-clockwise."""
    maps = dict(zip(outputs, torch.rot90(said, 1, (-2, -1)).unbind(1), strict=True))
    turned = dict(maps)
    turned["dy"], turned["dx"] = -maps["dx"], maps["dy"]  # to the right becomes up
    for one, other in (("a", "b"), ("log_sigma_y", "log_sigma_x")):
        if other in maps and "background" not in maps:
            turned[one], turned[other] = maps[other], maps[one]
    if "gamma" in maps:
        turned["gamma"] = -maps["gamma"]
    return torch.stack([turned[output] for output in outputs], dim=1)


@MANY
@pytest.mark.parametrize("shape", [(64, 64), (61, 83), (40, 97)])
def test_turning_the_image_turns_what_is_said(name, shape):
    net = network(name)
    pixels = padded(noise(2, 1, *shape).float()).double()
    with torch.no_grad():
        said = net(pixels)
        for turns in range(1, 4):
            wanted = said
            for _ in range(turns):
                wanted = turned_outputs(wanted, net.outputs)
            found = net(torch.rot90(pixels, turns, (-2, -1)))
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    assert said.std(dim=(0, 2, 3)).min() > 1e-3  # nothing is right for being silent


def test_every_layer_moves_its_orientations_on():
    lift, turn = Lift(1, 3, 4, stride=2, padding=1).double(), Turn(3, 5, dilation=2).double()
    pixels = noise(1, 1, 24, 32)
    with torch.no_grad():
        here, there = (turn(lift(part)) for part in (pixels, torch.rot90(pixels, 1, (-2, -1))))
    moved = torch.roll(torch.rot90(here, 1, (-2, -1)).unflatten(1, (4, 5)), 1, dims=1).flatten(1, 2)
    torch.testing.assert_close(there, moved)


def test_a_head_tells_numbers_of_every_kind():
    head = Head(3, (AXIAL, VECTOR, SCALAR)).double()
    head.bias.data += 1.0
    field = noise(1, 12, 5, 5)
    moved = torch.roll(torch.rot90(field, 1, (-2, -1)).unflatten(1, (4, 3)), 1, dims=1).flatten(1, 2)
    with torch.no_grad():
        (axial, dy, dx, scalar), turned = torch.rot90(head(field), 1, (-2, -1))[0], head(moved)[0]
    torch.testing.assert_close(turned, torch.stack([-axial, -dx, dy, scalar]))


@MANY
def test_the_plain_copy_says_the_same(name):
    net = network(name)
    copy = plain(net)
    assert not copy.training
    assert {type(layer).__name__ for layer in copy.modules()} & {"Lift", "Turn", "Head"} == set()
    with torch.no_grad():
        torch.testing.assert_close(copy(noise(1, 1, 64, 88)), net(noise(1, 1, 64, 88)), rtol=1e-10, atol=1e-10)
    assert any(parameter.requires_grad for parameter in net.parameters())  # the copy alone is frozen


@pytest.fixture
def open_gates(monkeypatch):
    """A ReLU that is shut hides what lies behind it; here none is."""
    monkeypatch.setattr(networks.functional, "relu", torch.nn.functional.leaky_relu)


def seen_by(net, at, *, size=288):
    """First and last row, and column, of the pixels on which the outputs at one grid point depend."""
    pixels = noise(1, 1, size, size).requires_grad_()
    said = net.head(net.features(pixels))[0, :, at, at]  # before sigma is kept within its limits
    (said * noise(len(said), seed=9)).sum().backward()
    rows, columns = (torch.nonzero((pixels.grad[0, 0] != 0).any(dim=axis)).ravel() for axis in (1, 0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


@pytest.mark.parametrize("window_px", [10, 13, 20, 33, 34, 40, 58, 61, 80, 160])
def test_an_output_sees_no_more_than_the_window_around_it(window_px, open_gates):
    net = Regressor(window_px=window_px, fine=1, middle=2, coarse=2).double()
    for at in (34, 35):  # on either side of the middle of a block of coarse pixels
        middle = 4 * at + 1.5
        for edge in seen_by(net, at):
            assert abs(edge - middle) + 0.5 <= window_px / 2


@pytest.mark.parametrize("window_px", [40, 80, 160])
def test_a_window_is_made_use_of(window_px, open_gates):
    net = Regressor(window_px=window_px, fine=1, middle=2, coarse=2).double()
    first, last, *_ = seen_by(net, 34)
    assert last - first + 1 > 0.5 * window_px
    assert depth(window_px)[0]


def test_windows_that_are_too_small_are_refused():
    with pytest.raises(SettingsError, match="at least 10 px"):
        depth(9)


def test_the_finder_sees_less_than_dense_passes_allow_for(open_gates):
    from dipolar.learn.predictor import FINDER_REACH

    net = Finder(fine=1, coarse=2).double()
    for at in (68, 69, 70, 71):
        for edge in seen_by(net, at):
            assert abs(edge - (2 * at + 0.5)) <= FINDER_REACH


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, other, third = build("finder", {}, seed=5), build("finder", {}, seed=5), build("finder", {}, seed=6)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.lift.weight, third.lift.weight)


def test_there_are_two_kinds():
    with pytest.raises(SettingsError, match="no such network") as caught:
        build("transformer", {}, seed=0)
    assert caught.value.do == "finder, regressor"


def test_maps_of_any_shape_are_padded_as_in_a_mirror():
    pixels = noise(1, 1, 61, 72).float()
    wide = padded(pixels)
    assert wide.shape == (1, 1, 64, 72)
    assert all(size % MULTIPLE == 0 for size in wide.shape[2:])
    np.testing.assert_array_equal(wide[0, 0, 61:], pixels[0, 0, [59, 58, 57]])
    assert padded(wide) is wide

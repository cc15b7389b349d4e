"""Models on disk: saving and loading is identity, nothing foreign is opened, and ONNX says the same."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from dipolar.core.errors import ChecksumError, FormatError, MissingExtraError, OutputError, TrainingError
from dipolar.core.learning import Card
from dipolar.learn import onnx_export
from dipolar.learn.json_text import to_json
from dipolar.learn.model_file import load_model, load_networks, model_paths, save_model, verify_model
from dipolar.learn.onnx_export import export_onnx

CARD = Card(
    kind="regressor",
    architecture={"channels": 6},
    members=2,
    targets=("dy", "dx"),
    window_px=72,
    windows="sliding",
    calibration={"factor": np.float64(1.25), "quantiles": np.array([0.5, 0.75])},
    metrics={"rms_px": 0.04, "bias_px": math.nan},
    versions={"dipolar": "0.0"},
    created="2026-01-01T00:00:00+00:00",
)


class Net(nn.Module):
    """A small U-Net with everything that makes exports hard: strides, skips, norms, two outputs."""

    def __init__(self, channels=6):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
        self.down = nn.Conv2d(channels, channels, 2, stride=2)
        self.head = nn.Conv2d(channels, 4, 1)

    def forward(self, x):
        fine = self.first(x)
        coarse = functional.relu(self.down(fine))
        said = self.head(fine + functional.interpolate(coarse, scale_factor=2, mode="nearest"))
        return said[:, :2], functional.softplus(said[:, 2:])


def network(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net().to(memory_format=torch.channels_last).eval()


def build(card):
    return Net(**card.architecture)


@pytest.fixture
def stored(tmp_path):
    """Path of a model of two members."""
    save_model([network(0), network(1)], CARD, tmp_path / "bto.v1", {"mean": torch.arange(4.0)})
    return tmp_path / "bto.v1"


def rewrite_card(path, **changes):
    """Change a card as someone would who also makes its sum right."""
    card_path = model_paths(path)[1]
    content = json.loads(card_path.read_text())
    content.update(changes)
    del content["sha256_of_card"]
    content = {name: value for name, value in content.items() if value is not ...}
    content["sha256_of_card"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    card_path.write_text(json.dumps(content))


def rewrite_tensors(path, tensors):
    tensor_path = model_paths(path)[0]
    save_file(tensors, tensor_path)
    rewrite_card(path, sha256=hashlib.sha256(tensor_path.read_bytes()).hexdigest())


def tensors_of(path):
    members, extra, _ = load_model(path)
    numbered = {f"{n}.{name}": value for n, member in enumerate(members) for name, value in member.items()}
    return {**numbered, **{f"extra.{name}": value for name, value in extra.items()}}


@pytest.mark.parametrize("ending", ["", ".safetensors", ".json"])
def test_save_and_load_is_identity(tmp_path, ending):
    members = [network(0), network(1), network(2)]
    card = save_model(members, CARD, tmp_path / f"bto.v1{ending}", {"mean": torch.arange(4.0)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bto.v1.json", "bto.v1.safetensors"]
    before = torch.get_rng_state()
    networks, extra, found = load_networks(tmp_path / f"bto.v1{ending}", build=build)
    assert torch.equal(torch.get_rng_state(), before)
    assert found == card
    pixels = torch.randn(1, 1, 16, 16)
    for wanted, loaded in zip(members, networks, strict=True):
        assert not loaded.training
        for name, value in wanted.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[name])
        # The convolution may choose another order of sums for another order in memory.
        torch.testing.assert_close(wanted(pixels), loaded(pixels))
    assert torch.equal(extra["mean"], torch.arange(4.0))
    verify_model(tmp_path / f"bto.v1{ending}")


def test_the_card_says_what_it_was_told(stored):
    _, _, card = load_model(stored)
    assert card.members == 2 and card.targets == ("dy", "dx")
    assert card.calibration == {"factor": 1.25, "quantiles": [0.5, 0.75]}
    assert card.metrics == {"rms_px": 0.04, "bias_px": None}
    assert card.sha256 == hashlib.sha256(model_paths(stored)[0].read_bytes()).hexdigest()
    assert replace(card, metrics={}, calibration={}, sha256="") == replace(CARD, metrics={}, calibration={})


def test_the_same_model_is_the_same_file(tmp_path):
    first, second = (save_model([network(0)], CARD, tmp_path / name) for name in "ab")
    assert first == second


def test_only_plain_things_become_json():
    assert to_json({"a": (np.int64(1), np.float32(0.5), math.inf), "b": None, "c": "å"}) == (
        '{"a": [1, 0.5, null], "b": null, "c": "å"}'
    )
    with pytest.raises(TypeError):
        to_json({"a": object()})


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt", "model.pkl", "model.safetensors"])
def test_pickles_are_not_opened(tmp_path, name):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FormatError, match="a pickle can run any code"):
        load_model(path)
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(FormatError, match="a pickle can run any code"):
        load_model(path)


@pytest.mark.parametrize(("half", "word"), [(0, "no tensors at"), (1, "no card at")])
def test_half_a_model_is_none(stored, half, word):
    model_paths(stored)[half].unlink()
    with pytest.raises(FormatError, match=word):
        load_model(stored)


def test_every_damage_is_found(stored):
    for path in model_paths(stored):
        whole = path.read_bytes()
        for place in (len(whole) // 3, len(whole) // 2, len(whole) - 9):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(ChecksumError, match="a model must be what was written"):
                verify_model(stored)
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ChecksumError):
            load_model(stored)
        path.write_bytes(whole)
    verify_model(stored)


def test_a_model_half_replaced_is_refused(stored, tmp_path):
    save_model([network(5)], CARD, tmp_path / "other")
    model_paths(tmp_path / "other")[0].replace(model_paths(stored)[0])
    with pytest.raises(ChecksumError, match="does not match its card"):
        load_model(stored)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "something else"}, "another JSON file"),
        ({"format_version": 99}, "up to version 1"),
        ({"kind": "oracle"}, "kind of a model is one of finder, regressor, published"),
        ({"windows": "round"}, "windows of a model is one of centered, sliding"),
        ({"window_px": ...}, "lacks window_px"),
        ({"members": "two", "targets": 3}, "wrong in members, targets"),
        ({"members": 1}, "1 members, numbered from 0"),
        ({"members": 3}, "no tensors of 2"),
        ({"members": 10**9}, r"1000000000 members(.|\n)*tensors in"),
        ({"members": 0}, "0 members"),
        ({"calibration": [1.0], "metrics": "good"}, "wrong in calibration, metrics"),
        ({"cell_px": 30.0}, r"cell_px of a model is one of 24\.0(.|\n)*30\.0 in"),
    ],
)
def test_a_card_that_cannot_be_right(stored, changes, words):
    rewrite_card(stored, **changes)
    with pytest.raises(FormatError, match=words):
        load_model(stored)


def test_what_a_newer_card_adds_is_ignored(stored):
    rewrite_card(stored, colour="green")
    assert load_model(stored)[2].members == 2


def test_tensors_that_are_no_safetensors(stored):
    path = model_paths(stored)[0]
    path.write_bytes(b"nonsense" * 9)
    rewrite_card(stored, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(FormatError, match="are safetensors"):
        load_model(stored)


def test_tensors_of_another_architecture(stored):
    def wider(card):
        return Net(channels=9)

    with pytest.raises(FormatError, match=r"member 0: first.0.weight is float32 6x1x3x3, not float32 9x1x3x3; .*more"):
        load_networks(stored, build=wider)
    tensors = tensors_of(stored)
    del tensors["1.head.bias"]
    rewrite_tensors(stored, {**tensors, "1.tail.bias": torch.zeros(1)})
    with pytest.raises(FormatError, match=r"member 1: head\.bias is missing; tail\.bias is not part of it\n"):
        load_networks(stored, build=build)


def test_an_architecture_that_is_unknown(stored):
    rewrite_card(stored, architecture={"heads": 8})
    with pytest.raises(FormatError, match=r"architecture of a regressor(.|\n)*heads"):
        load_networks(stored, build=build)


def test_weights_that_are_not_finite(stored, tmp_path):
    tensors = tensors_of(stored)
    tensors["1.head.bias"][2] = math.inf
    rewrite_tensors(stored, tensors)
    with pytest.raises(FormatError, match=r"nan or infinity in 1\.head\.bias"):
        load_model(stored)
    broken = network(0)
    broken.down.weight.data[0] = math.nan
    with pytest.raises(TrainingError, match=r"nan or infinity in 0\.down\.weight"):
        save_model([broken], CARD, tmp_path / "broken")
    assert not (tmp_path / "broken.safetensors").exists()


def test_onnx_says_the_same(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    one = network(0)
    one.train()
    difference = export_onnx(one, tmp_path / "net.onnx", example=torch.randn(1, 1, 32, 24))
    assert 0 <= difference < 1e-5
    assert one.training and [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 1, "y", "x"]
    pixels = torch.randn(3, 1, 40, 56)
    with torch.no_grad():
        wanted = one.eval()(pixels)
    for there, here in zip(session.run(None, {"image": pixels.numpy()}), wanted, strict=True):
        np.testing.assert_allclose(there, here.numpy(), atol=1e-5)


def missing(name):
    def import_module(module):
        if module == name:
            raise ImportError(f"No module named {name!r}")
        return importlib.import_module(module)

    return import_module


def test_onnx_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export.importlib, "import_module", missing("onnx"))
    with pytest.raises(MissingExtraError, match=r"pip install dipolar\[onnx\]"):
        export_onnx(network(0), tmp_path / "net.onnx", example=torch.zeros(1, 1, 8, 8))


def test_onnx_that_says_something_else_is_not_kept(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_export, "_write", lambda net, path, example: path.write_bytes(b""))

    class Session:
        def __init__(self, *_, **__):
            pass

        def run(self, _, inputs):
            return [part.numpy() + 0.1 for part in network(0)(torch.from_numpy(inputs["image"]))]

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    with torch.no_grad(), pytest.raises(OutputError, match=r"a difference of 0\.1"):
        export_onnx(network(0), tmp_path / "net.onnx", example=torch.randn(1, 1, 8, 8))
    assert not list(tmp_path.iterdir())

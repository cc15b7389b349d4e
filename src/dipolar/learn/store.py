"""Models between disk and use: weights with their card, calibration and familiarity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dipolar.core.errors import FormatError
from dipolar.core.learning import Card
from dipolar.learn.calibration import Calibration
from dipolar.learn.familiarity import Familiarity
from dipolar.learn.model_file import load_networks, model_paths, save_model
from dipolar.learn.networks import build
from dipolar.learn.predictor import Model
from dipolar.learn.published import PublishedDCNN
from dipolar.learn.tilt_network_file import TARGETS


def write_model(model: Model, path: str | Path) -> Model:
    """Write a model and return it as it will be read.

    Parameters
    ----------
    model
        Networks with what is known about them.
    path
        ``NAME``, ``NAME.safetensors`` or ``NAME.json``.

    Raises
    ------
    TrainingError
        If a weight is not finite.
    OutputError
        If the file system refuses.
    """
    tensors = {} if model.familiarity is None else model.familiarity.to_tensors()
    extra = {f"familiarity.{name}": torch.from_numpy(array) for name, array in tensors.items()}
    card = save_model(model.networks, model.card, path, extra)
    return replace(model, name=model_paths(path)[0].stem, card=card)


def read_model(path: str | Path) -> Model:
    """Return a model that `write_model` wrote, whole and checked.

    Raises
    ------
    FormatError, ChecksumError
        As `dipolar.learn.model_file.load_networks`.
    """
    networks, extra, card = load_networks(path, build=of_card)
    arrays = {
        name.removeprefix("familiarity."): value.numpy()
        for name, value in extra.items()
        if name.startswith("familiarity.")
    }
    return Model(
        name=model_paths(path)[0].stem,
        card=card,
        networks=tuple(networks),
        calibration=Calibration.from_card(card.calibration) if card.calibration else None,
        familiarity=Familiarity.from_parts(arrays, card.unfamiliar) if arrays else None,
    )


def of_card(card: Card) -> nn.Module:
    """Return a network of the architecture on a card, its weights yet to be filled in."""
    if card.kind.startswith("pattern"):
        raise FormatError(
            "columns and displacement are told by a network of images.",
            got=f"a classifier of diffraction patterns: {', '.join(card.targets)}",
            do="dipolar scan map SCAN --model MODEL",
        )
    if tuple(card.targets) == TARGETS:
        raise FormatError(
            "columns and displacement are told by a network of images.",
            got="a network of tilt, which tells from mean cells what a tilted beam fakes",
            do="dipolar image measure IMAGE --material BiFeO3 --mistilt correct --tilt-by network --thickness-nm 30",
        )
    if card.kind == "published":
        return PublishedDCNN(**card.architecture)
    return build(card.kind, card.architecture, seed=0)

"""Classifiers of patterns on disk: tensors and card as of every model (`dipolar.learn.model_file`), never a pickle."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

import dipolar
from dipolar.core.errors import FormatError
from dipolar.core.learning import Card
from dipolar.core.scanning import Bank
from dipolar.learn.model_file import load_model, load_networks, save_model
from dipolar.learn.pattern_bank import BankClassifier, BankMember
from dipolar.learn.pattern_basis import Basis
from dipolar.learn.pattern_classes import Classes
from dipolar.learn.pattern_network import AbstractNetworkClassifier, PublishedClassifier, SmallClassifier, ready
from dipolar.learn.pattern_networks import PatternNetwork, PublishedNetwork, build_pattern_network
from dipolar.learn.patterns import AbstractPatternClassifier

_KIND = "pattern "
_NETWORKS: dict[str, type[SmallClassifier] | type[PublishedClassifier]] = {
    "small": SmallClassifier,
    "published": PublishedClassifier,
}


class _Arrays(nn.Module):
    """Arrays as a module, which is what a model file keeps."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        for name, value in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.array(value, dtype=np.float64)))


def save_classifier(classifier: AbstractPatternClassifier, path: str | Path) -> Card:
    """Write a classifier and return its card as it will be read.

    Parameters
    ----------
    classifier
        Of any kind.
    path
        ``NAME``, ``NAME.safetensors`` or ``NAME.json``.

    Raises
    ------
    TrainingError
        If a number in it is not finite.
    OutputError
        If the file system refuses.
    """
    card = Card(
        kind=cast(Literal["pattern bank"], _KIND + classifier.kind),
        architecture={},
        members=1,
        targets=classifier.names,
        window_px=classifier.size_px,
        windows="centered",
        training={"scan": classifier.key, "dose": list(classifier.dose), "notes": list(classifier.notes)},
        metrics=dict(classifier.metrics),
        versions={"dipolar": dipolar.__version__, "python": platform.python_version(), "torch": str(torch.__version__)},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if isinstance(classifier, BankClassifier):
        return _save_bank(classifier, card, path)
    if isinstance(classifier, AbstractNetworkClassifier):
        return _save_networks(classifier, card, path)
    raise TypeError(f"{type(classifier).__name__} is not kept on disk")


def load_classifier(path: str | Path) -> AbstractPatternClassifier:
    """Return a classifier that `save_classifier` wrote, whole and checked.

    Parameters
    ----------
    path
        ``NAME``, ``NAME.safetensors`` or ``NAME.json``.

    Raises
    ------
    FormatError
        If it is no classifier of patterns, one of a newer dipolar, or a file that could run foreign code when read.
    ChecksumError
        If tensors or card are not what was written.
    """
    members, extra, card = load_model(path)
    kind = card.kind.removeprefix(_KIND)
    if not card.kind.startswith(_KIND):
        raise FormatError(
            "diffraction patterns are told apart by a classifier of patterns.",
            got=f"{path}, a {card.kind} for images",
            do="dipolar scan train SCAN --labels FILE --out MODEL",
        )
    try:
        if kind == "bank":
            return _load_bank(members, extra, card)
        if kind in _NETWORKS:
            return _load_networks(path, card)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(
            "a classifier of patterns holds all that it needs.",
            got=f"{path}: {type(error).__name__} {error}",
            do="pip install --upgrade dipolar, or train it again",
        ) from error
    raise FormatError("there is no such classifier of patterns.", got=card.kind, do="pip install --upgrade dipolar")


def _common(card: Card) -> dict[str, Any]:
    """Return what every classifier keeps on its card."""
    low, high = card.training["dose"]
    return {
        "names": card.targets,
        "dose": (float(low), float(high)),
        "key": str(card.training["scan"]),
        "notes": tuple(card.training["notes"]),
        "metrics": dict(card.metrics),
    }


def _save_bank(classifier: BankClassifier, card: Card, path: str | Path) -> Card:
    told, modules, extra = _bank_parts(classifier)
    card = replace(
        card,
        architecture=told,
        calibration={"temperature": classifier.temperature},
        unfamiliar={"distance": classifier.limits[0], "rest": classifier.limits[1]},
    )
    return save_model(modules, card, path, extra)


def _bank_parts(classifier: BankClassifier) -> tuple[dict[str, Any], list[nn.Module], dict[str, Tensor]]:
    """Return what is told of a bank classifier, its members and the tensors that they share."""
    bank, basis = classifier.bank, classifier.basis
    sites = None if bank is None else {field.name: getattr(bank, field.name) for field in fields(bank)}
    modules: list[nn.Module] = [
        _Arrays({"means": m.classes.means, "within": m.classes.within, "weights": m.weights})
        for m in classifier.ensemble
    ]
    extra = {f"basis.{name}": torch.from_numpy(array) for name, array in basis.to_tensors().items()}
    softness = [member.softness for member in classifier.ensemble]
    return {"bank": sites, "softness": softness, "basis": basis.to_card()}, modules, extra


def _load_bank(members: Sequence[Mapping[str, Tensor]], extra: Mapping[str, Tensor], card: Card) -> BankClassifier:
    ensemble = tuple(
        BankMember(
            classes=Classes(means=tensors["means"].numpy(), within=tensors["within"].numpy()),
            weights=tensors["weights"].numpy(),
            softness=float(softness),
        )
        for tensors, softness in zip(members, card.architecture["softness"], strict=True)
    )
    arrays = {name.removeprefix("basis."): value.numpy() for name, value in extra.items() if name.startswith("basis.")}
    return BankClassifier(
        **_common(card),
        bank=_bank_of(card.architecture["bank"]),
        basis=Basis.from_parts(arrays, card.architecture["basis"]),
        ensemble=ensemble,
        temperature=float(card.calibration["temperature"]),
        limits=(float(card.unfamiliar["distance"]), float(card.unfamiliar["rest"])),
    )


def _save_networks(classifier: AbstractNetworkClassifier, card: Card, path: str | Path) -> Card:
    first, familiar = classifier.networks[0], classifier.familiar
    size: dict[str, Any] = (
        {"reading": first.reading}
        if isinstance(first, PublishedNetwork)
        else {"size_px": first.size_px, "channels": first.channels}
    )
    told, (member,), extra = _bank_parts(familiar)
    extra |= {f"member.{name}": value for name, value in member.state_dict().items()}
    card = replace(
        card,
        architecture={**size, "classes": first.classes},
        calibration={"temperature": classifier.temperature},
        unfamiliar={
            **told,
            "distance": familiar.limits[0],
            "rest": familiar.limits[1],
            "temperature": familiar.temperature,
            "dose": familiar.dose,
        },
    )
    return save_model(classifier.networks, card, path, extra)


def _load_networks(path: str | Path, card: Card) -> AbstractNetworkClassifier:
    kind = card.kind.removeprefix(_KIND)
    networks, extra, _ = load_networks(path, build=lambda told: build_pattern_network(kind, told.architecture))
    member = {name.removeprefix("member."): value for name, value in extra.items() if name.startswith("member.")}
    low, high = card.unfamiliar["dose"]
    inner = replace(card, architecture=card.unfamiliar, calibration=card.unfamiliar)
    return _NETWORKS[kind](
        **_common(card),
        networks=ready(cast(list[PatternNetwork], networks)),
        temperature=float(card.calibration["temperature"]),
        familiar=replace(_load_bank([member], extra, inner), dose=(float(low), float(high))),
    )


def _bank_of(told: Mapping[str, Any] | None) -> Bank | None:
    if told is None:
        return None
    return Bank(
        sites=np.array(told["sites"], dtype=np.int8).reshape(-1, 2),
        main=np.array(told["main"], dtype=bool),
        radius=float(told["radius"]),
        weight=None if told["weight"] is None else np.array(told["weight"], dtype=np.float32),
        lattice=None if told.get("lattice") is None else np.array(told["lattice"], dtype=np.float64),
    )

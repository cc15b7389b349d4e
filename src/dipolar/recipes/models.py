"""Networks by path, or those that dipolar brings along, ready for work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from dipolar.core.errors import FormatError, SettingsError
from dipolar.learn.networks import plain
from dipolar.learn.predictor import Model
from dipolar.learn.store import read_model

SHIPPED = Path(__file__).parents[1] / "learn" / "shipped"
"""Folder of the networks that dipolar brings along, trained on nothing but simulated films."""
Kind = Literal["finder", "regressor"]
DOES = {
    "finder": "finds columns",
    "regressor": "tells displacement",
    "published": "tells displacement (the published network)",
}
WANTED = {"finder": ("--finder", ("finder",)), "regressor": ("--model", ("regressor", "published"))}
"""Kind → the option that names such a model, and what its card may call it."""


def open_model(model: str | Path | Model | None, kind: Kind) -> Model:
    """Return a model of that kind, its networks ready for inference.

    Parameters
    ----------
    model
        Its path, ``NAME`` or ``NAME.safetensors``; or a model already open; None: the one that dipolar brings along.
    kind
        "finder": finds columns. "regressor": tells displacement.

    Raises
    ------
    FormatError, ChecksumError
        If it is no model, a damaged one, a pickle, or one of a newer dipolar.
    SettingsError
        If it is a model of another kind.
    """
    option, allowed = WANTED[kind]
    opened = model if isinstance(model, Model) else read_model(_shipped(kind) if model is None else model)
    if opened.card.kind not in allowed:
        found = opened.card.kind
        other = next(name for name, (_, kinds) in WANTED.items() if found in kinds)
        raise SettingsError(
            f"{option} takes a network that {DOES[kind]}.",
            got=f"{opened.name}, a {found}: it {DOES[found]}",
            do=f"give it as {WANTED[other][0]}, or leave {option} out to use the one that dipolar brings along",
        )
    return replace(opened, networks=tuple(plain(network) for network in opened.networks))


def _shipped(kind: Kind) -> Path:
    path = SHIPPED / f"{kind}.safetensors"
    if not path.is_file():
        option = WANTED[kind][0]
        raise FormatError(
            f"dipolar brings along a network that {DOES[kind]}.",
            got=f"none at {path}",
            do=f"install dipolar again, or name a network of yours with {option}",
        )
    return path

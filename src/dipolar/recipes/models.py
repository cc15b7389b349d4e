"""Networks by path, or those that dipolar brings along."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from dipolar.core.errors import FormatError, SettingsError
from dipolar.learn.predictor import Model
from dipolar.learn.store import read_model

SHIPPED = Path(__file__).parents[1] / "learn" / "shipped"
"""Folder of the networks that dipolar brings along, trained on nothing but simulated films."""
Kind = Literal["finder", "regressor"]
DOES = {
    "finder": "finds columns",
    "regressor": "tells displacement with its sigma, at every point of an image",
    "published": "tells displacement without a sigma, window by window",
}
OPTION = {"finder": "--finder", "regressor": "--model"}
"""The option that names a model of that kind."""


def open_model(model: str | Path | Model | None, kind: Kind) -> Model:
    """Return a model of that kind.

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
    opened = model if isinstance(model, Model) else read_model(_shipped(kind) if model is None else model)
    found = opened.card.kind
    if found != kind:
        rest = f"leave {OPTION[kind]} out to use the one that dipolar brings along"
        raise SettingsError(
            f"{OPTION[kind]} takes a network that {DOES[kind]}.",
            got=f"{opened.name}, a {found} network: it {DOES[found]}",
            do=f"give it as {OPTION[found]}, or {rest}" if found in OPTION else rest,
        )
    return opened


def _shipped(kind: Kind) -> Path:
    path = SHIPPED / f"{kind}.safetensors"
    if not path.is_file():
        raise FormatError(
            f"dipolar brings along a network that {DOES[kind]}.",
            got=f"none at {path}",
            do=f"install dipolar again, or name a network of yours with {OPTION[kind]}",
        )
    return path


def by_name(sums: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return checksums by file name; files of one name, from several folders, are numbered from the second on."""
    found: dict[str, str] = {}
    for name, digest in sums:
        free, number = name, 1
        while free in found:
            number += 1
            free = f"{name} ({number})"
        found[free] = digest
    return found

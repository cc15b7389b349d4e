"""Models on disk: ``NAME.safetensors`` holds the tensors, ``NAME.json`` the card; the card knows the sum of both.

Tensors of member n are named ``n.…``, what else a model needs ``extra.…``. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dipolar.core.atomic import atomic_file
from dipolar.core.errors import ChecksumError, FormatError, SettingsError, TrainingError
from dipolar.core.learning import NETWORK_CELL_PX, Card, Windows
from dipolar.learn.checkpoint import weights
from dipolar.learn.json_text import to_json

FORMAT = "dipolar model"
VERSION = 1
"""Raised when an older dipolar could not use the model any more."""
KINDS = get_args(get_type_hints(Card)["kind"])
SHOWN = 5
"""How many of the tensors that are wrong an error names."""

_SUM_OF_CARD = "sha256_of_card"
_TYPES = {"members": int, "window_px": int, "targets": list, "architecture": dict, "sha256": str}
_TYPES |= dict.fromkeys(("calibration", "unfamiliar", "training", "metrics", "versions"), dict)
_PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib")


def save_model(
    networks: Sequence[nn.Module], card: Card, path: str | Path, extra: Mapping[str, Tensor] | None = None
) -> Card:
    """Write a model and return its card as it will be read, with the number of members and the sum of the tensors.

    The card comes last: a model that was only half replaced does not match its card, and is refused. In a card, nan
    becomes None and an array a list, as JSON has neither.

    Parameters
    ----------
    networks
        Members of the ensemble, all of one architecture.
    card
        What is to be known of them.
    path
        ``NAME``, ``NAME.safetensors`` or ``NAME.json``.
    extra
        More tensors that the model needs.

    Raises
    ------
    TrainingError
        If a weight is not finite.
    OutputError
        If the file system refuses.
    """
    tensors = {f"extra.{name}": value.detach().cpu().clone().contiguous() for name, value in (extra or {}).items()}
    for n, network in enumerate(networks):
        tensors.update(weights(network, prefix=f"{n}."))
    if broken := _not_finite(tensors):
        raise TrainingError(
            "only a network of finite weights is worth keeping",
            got=_some(broken),
            do="train with a lower learning rate, and check that the data hold no nan",
        )
    data = save(tensors)
    card = replace(card, members=len(networks), sha256=hashlib.sha256(data).hexdigest())
    content = json.loads(to_json({"format": FORMAT, "format_version": VERSION, **asdict(card)}))
    text = to_json({**content, _SUM_OF_CARD: _sum_of(content)}, indent=2) + "\n"
    tensor_path, card_path = model_paths(path)
    with atomic_file(tensor_path) as part:
        part.write_bytes(data)
    with atomic_file(card_path) as part:
        part.write_text(text, encoding="utf-8")
    return _card_of(content, card_path)


def load_model(path: str | Path) -> tuple[list[dict[str, Tensor]], dict[str, Tensor], Card]:
    """Return the weights of every member, the extra tensors and the card of a model that was checked to be whole.

    Parameters
    ----------
    path
        ``NAME``, ``NAME.safetensors`` or ``NAME.json``.

    Raises
    ------
    FormatError
        If it is no model, one of a newer dipolar, or a file that could run foreign code when read.
    ChecksumError
        If tensors or card are not what was written.
    """
    tensor_path, card_path = model_paths(path)
    _refuse_pickle(Path(path))
    _refuse_pickle(tensor_path)
    for file, holds in ((tensor_path, "tensors"), (card_path, "card")):
        if not file.is_file():
            raise FormatError(
                f"a model is two files side by side, {tensor_path.name} and {card_path.name}",
                got=f"no {holds} at {file}",
                do="give the path of a model that dipolar wrote, and copy both files together",
            )
    card = _read_card(card_path)
    members, extra = _read_tensors(tensor_path, card)
    return members, extra, card


def load_networks(
    path: str | Path, *, build: Callable[[Card], nn.Module]
) -> tuple[list[nn.Module], dict[str, Tensor], Card]:
    """Return the networks of a model, in evaluation mode, with the extra tensors and the card.

    Parameters
    ----------
    path
        As for `load_model`.
    build
        Makes a network of the architecture that a card names; its weights are then replaced.

    Raises
    ------
    FormatError
        As `load_model`; and if the tensors are not those of the architecture.
    ChecksumError
        As `load_model`.
    """
    members, extra, card = load_model(path)
    networks = []
    for n, tensors in enumerate(members):
        with torch.random.fork_rng(devices=[]):  # first weights, drawn and thrown away, must not move anyone's dice
            network = _built(build, card, Path(path))
        _check_tensors(tensors, network, f"{path}, member {n}")
        network.load_state_dict(tensors)
        networks.append(network.eval())
    return networks, extra, card


def verify_model(path: str | Path) -> None:
    """Check that tensors and card of a model are what was written.

    Raises
    ------
    FormatError, ChecksumError
        As `load_model`.
    """
    load_model(path)


def model_paths(path: str | Path) -> tuple[Path, Path]:
    """Return the paths of tensors and card, whichever of the two, or their common name, is given."""
    path = Path(path)
    name = path.name.removesuffix(".safetensors").removesuffix(".json")
    return path.with_name(f"{name}.safetensors"), path.with_name(f"{name}.json")


def _refuse_pickle(path: Path) -> None:
    """Refuse what Python would have to unpickle: reading it runs whatever code it brings along."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        start = stream.read(4)
    pickled = start == b"PK\x03\x04" or (len(start) > 1 and start[0] == 0x80 and 2 <= start[1] <= 5)
    if pickled or path.suffix.lower() in _PICKLES:
        raise FormatError(
            "models are read from safetensors; a pickle can run any code when it is opened, so dipolar opens none",
            got=str(path),
            do="train one with dipolar, or ask whoever made it for safetensors",
        )


def _read_card(path: Path) -> Card:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(f"{path}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FormatError("a card says that it is one", got=f"{path} is another JSON file", do="give a model's card")
    version = content.get("format_version")
    if not isinstance(version, int) or version > VERSION:
        raise FormatError(
            f"this dipolar reads models up to version {VERSION}",
            got=f"{path} has version {version}",
            do="pip install --upgrade dipolar",
        )
    if _sum_of(content) != content.get(_SUM_OF_CARD):
        raise _damaged(f"{path} is not what was written")
    return _card_of(content, path)


def _card_of(content: Mapping[str, Any], path: Path) -> Card:
    known = {item.name: content[item.name] for item in fields(Card) if item.name in content}
    missing = [
        item.name
        for item in fields(Card)
        if item.name not in known and item.default is MISSING and item.default_factory is MISSING
    ]
    if missing:
        raise FormatError("a card tells all that its model needs", got=f"{path} lacks {', '.join(missing)}")
    wrong = [name for name, kind in _TYPES.items() if name in known and not isinstance(known[name], kind)]
    if wrong:
        raise FormatError("what a card tells is of the right type", got=f"{path} is wrong in {', '.join(wrong)}")
    for name, allowed in (("kind", KINDS), ("windows", get_args(Windows)), ("cell_px", (NETWORK_CELL_PX,))):
        if known.get(name, allowed[0]) not in allowed:  # only cell_px may be missing
            raise FormatError(
                f"the {name} of a model is one of {', '.join(map(str, allowed))}",
                got=f"{known[name]!r} in {path}",
                do="pip install --upgrade dipolar",
            )
    return Card(**{**known, "targets": tuple(known["targets"])})


def _read_tensors(path: Path, card: Card) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise _damaged(f"{path} does not match its card")
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise FormatError("the tensors of a model are safetensors", got=f"{path}: {error}") from error
    if broken := _not_finite(tensors):
        raise FormatError(
            "the weights of a model are finite numbers", got=f"{_some(broken)} in {path}", do="train it again"
        )
    if not 0 < card.members <= len(tensors):
        raise FormatError(f"the model has {card.members} members", got=f"{len(tensors)} tensors in {path}")
    members: list[dict[str, Tensor]] = [{} for _ in range(card.members)]
    extra: dict[str, Tensor] = {}
    for name, value in tensors.items():
        owner, _, inner = name.partition(".")
        if owner != "extra" and not (owner.isdigit() and int(owner) < card.members):
            raise FormatError(f"the model has {card.members} members, numbered from 0", got=f"{name} in {path}")
        (extra if owner == "extra" else members[int(owner)])[inner] = value
    if not all(members):
        raise FormatError(f"the model has {card.members} members", got=f"no tensors of {members.index({})} in {path}")
    return members, extra


def _built(build: Callable[[Card], nn.Module], card: Card, path: Path) -> nn.Module:
    try:
        return build(card)
    except (TypeError, ValueError, KeyError, SettingsError) as error:
        raise FormatError(
            f"the architecture of a {card.kind} must be one that this dipolar knows",
            got=f"{dict(card.architecture)} in {path}: {error}",
            do="pip install --upgrade dipolar",
        ) from error


def _check_tensors(tensors: Mapping[str, Tensor], network: nn.Module, where: str) -> None:
    wanted = network.state_dict()
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is not part of it" for name in tensors if name not in wanted]
    wrong += [
        f"{name} is {_shape(tensors[name])}, not {_shape(value)}"
        for name, value in wanted.items()
        if name in tensors and _shape(tensors[name]) != _shape(value)
    ]
    if wrong:
        raise FormatError(
            "the tensors of a model are those of its architecture",
            got=f"{where}: {_some(wrong)}",
            do="pip install --upgrade dipolar, or train it again",
        )


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {'x'.join(str(n) for n in tensor.shape) or 'number'}"


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    return [f"nan or infinity in {name}" for name, value in tensors.items() if not bool(value.isfinite().all())]


def _some(wrong: Sequence[str]) -> str:
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return "; ".join(wrong[:SHOWN]) + more


def _sum_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a card, its own entry left out."""
    rest = {key: value for key, value in content.items() if key != _SUM_OF_CARD}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _damaged(what: str) -> ChecksumError:
    return ChecksumError(
        "a model must be what was written", got=what, do="copy both of its files again, or train it again"
    )

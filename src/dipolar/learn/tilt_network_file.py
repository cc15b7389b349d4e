"""Networks of tilt on disk: the same files as all models, weights in 16 bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from dipolar.core.errors import FormatError
from dipolar.core.learning import Card
from dipolar.learn.calibration import Calibration
from dipolar.learn.model_file import load_networks, model_paths, save_model
from dipolar.learn.tilt_network import TiltModel, TiltNetwork

TARGETS = ("false_dy", "false_dx", "tilt_y", "tilt_x")
"""What a network of tilt tells; its card is known by them."""


def write_tilt_model(model: TiltModel, path: str | Path) -> TiltModel:
    """Write a model and return it as it will be read.

    Parameters
    ----------
    model
        Networks with what is known about them; their weights are rounded to 16 bits.
    path
        ``NAME``, ``NAME.safetensors`` or ``NAME.json``.

    Raises
    ------
    TrainingError
        If a weight is not finite, or too large for 16 bits.
    OutputError
        If the file system refuses.
    """
    short = [_network(model.card).half() for _ in model.networks]
    for copy, network in zip(short, model.networks, strict=True):
        copy.load_state_dict(network.state_dict())
    card = save_model(short, model.card, path, {"orders": torch.from_numpy(model.orders)})
    networks = tuple(copy.float().eval() for copy in short)
    return replace(model, name=model_paths(path)[0].stem, card=card, networks=networks)


def read_tilt_model(path: str | Path) -> TiltModel:
    """Return a model that `write_tilt_model` wrote, whole and checked.

    Raises
    ------
    FormatError
        As `dipolar.learn.model_file.load_networks`; and if it tells something else than tilts.
    ChecksumError
        If tensors or card are not what was written.
    """
    networks, extra, card = load_networks(path, build=_short)
    told = card.training
    wanted = ("cell_pm", "thickness_nm", "material")
    if "orders" not in extra or any(name not in told for name in wanted):
        raise FormatError(
            f"a network of tilt tells its orders and {', '.join(wanted)}.",
            got=str(path),
            do="copy both of its files again, or train it again",
        )
    return TiltModel(
        name=model_paths(path)[0].stem,
        card=card,
        networks=tuple(network.float() for network in networks if isinstance(network, TiltNetwork)),
        orders=extra["orders"].numpy(),
        cell_pm=float(told["cell_pm"]),
        thickness_nm=(float(told["thickness_nm"][0]), float(told["thickness_nm"][1])),
        displacement=Calibration.from_card(card.calibration.get("displacement", {})),
        tilt=Calibration.from_card(card.calibration.get("tilt", {})),
    )


def _short(card: Card) -> TiltNetwork:
    if tuple(card.targets) != TARGETS:
        raise FormatError(
            "the displacement that a beam fakes is told by a network of tilt.",
            got=f"a {card.kind} that tells {', '.join(card.targets) or 'nothing of the kind'}",
            do="give one that benchmarks/train_tilt.py wrote, such as tilt_bfo",
        )
    return _network(card).half()


def _network(card: Card) -> TiltNetwork:
    return TiltNetwork(**card.architecture)

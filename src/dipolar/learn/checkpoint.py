"""Checkpoints: everything that a training needs to go on as if it had never stopped, in one file.

Weights, best weights and the optimiser's moments are tensors of one safetensors file; all else is JSON in its header.
One file is replaced in one step, so that tensors and numbers always belong together.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from dipolar.core.atomic import atomic_file, cannot_write
from dipolar.core.errors import FormatError, SettingsError
from dipolar.learn.json_text import to_json

NAME = "checkpoint.safetensors"
METRICS = "metrics.jsonl"
FORMAT = "dipolar training"
VERSION = 1
"""Raised when an older dipolar could not go on with the training any more."""

_HEADER = "dipolar"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(slots=True, kw_only=True)
class Standing:
    """How far a training has come: all but the tensors."""

    step: int = 0
    """Steps done."""
    best_step: int = 0
    """Step whose weights were best; 0 before the first validation."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row per validation."""
    loss_sum: float = 0.0
    """Sum of the training loss since the last validation."""
    loss_count: int = 0
    """Number of terms in it."""
    failures: int = 0
    """Steps in a row whose loss or gradient was not finite."""
    slowed: float = 1.0
    """Factor on the learning rate: halved by every failure, doubled back by every validation."""
    halved: bool = False
    """Whether batches are half as large as asked for, for want of memory."""
    seconds: float = 0.0
    """Time on the clock, all sittings together."""
    cpu_seconds: float = 0.0
    """The same of the processor, all threads together."""
    stopped: str = ""
    """Why the training is over; empty while it goes on."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the factor on the loss, where 16-bit numbers need one."""

    @property
    def best_loss(self) -> float:
        """The lowest loss of a validation so far."""
        return next((row["loss"] for row in self.history if row["step"] == self.best_step), math.inf)

    @property
    def without_gain(self) -> int:
        """Validations since the best one."""
        return sum(row["step"] > self.best_step for row in self.history)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """What is on disk."""

    fingerprint: Mapping[str, Any]
    """What the training is of: two with equal ones may go on from each other's checkpoints."""
    standing: Standing
    """How far it has come."""
    tensors: Mapping[str, Tensor]
    """Of `gather`, and the best weights under ``best.``."""


def gather(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return copies, on the CPU, of the weights as ``network.…`` and the optimiser's moments as ``optimizer.…``."""
    tensors = weights(network, prefix="network.")
    for name, parameter in network.named_parameters():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{moment}"] = _copy(value)
    return tensors


def put_back(network: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put what `gather` returned into a network and an optimiser of the same shape, on whatever device they are."""
    put_back_weights(network, tensors, prefix="network.")
    optimizer.state.clear()
    for name, parameter in network.named_parameters():
        if f"optimizer.{name}.step" not in tensors:
            continue  # frozen, or no step was made yet
        found = {moment: tensors[f"optimizer.{name}.{moment}"] for moment in _MOMENTS}
        # In the memory order of the weights, as the optimiser itself makes them: all then rounds alike.
        state = {moment: torch.empty_like(parameter).copy_(found[moment]).detach() for moment in _MOMENTS[1:]}
        fused = optimizer.defaults.get("fused")
        optimizer.state[parameter] = {
            "step": found["step"].clone().to(parameter.device if fused else "cpu"),
            **state,
        }


def weights(network: nn.Module, *, prefix: str = "") -> dict[str, Tensor]:
    """Return copies, on the CPU, of every weight and buffer that is stored."""
    return {f"{prefix}{name}": _copy(value) for name, value in network.state_dict().items()}


def put_back_weights(network: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str = "") -> None:
    """Load weights whose names begin with the prefix."""
    network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def sum_of_weights(network: nn.Module) -> str:
    """Return the SHA-256 of names, shapes and values of all weights."""
    total = hashlib.sha256()
    for name, value in sorted(weights(network).items()):
        total.update(f"{name}\0{value.dtype}{tuple(value.shape)}".encode())
        total.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Replace the checkpoint of a folder, and the table of its validations, each in one step.

    Raises
    ------
    OutputError
        Where the file system refuses.
    """
    header = to_json(
        {
            "format": FORMAT,
            "format_version": VERSION,
            "fingerprint": checkpoint.fingerprint,
            "standing": asdict(checkpoint.standing),
        }
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with atomic_file(folder / NAME) as part:
        part.write_bytes(save(dict(checkpoint.tensors), metadata={_HEADER: header}))
    write_metrics(checkpoint.standing, folder)


def write_metrics(standing: Standing, folder: Path) -> None:
    """Write one line of JSON per validation; whole each time, so that no line is missing or there twice."""
    with atomic_file(folder / METRICS) as part:
        part.write_text("".join(f"{to_json(row)}\n" for row in standing.history), encoding="utf-8")


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the checkpoint of a folder, or None where there is none.

    Raises
    ------
    FormatError
        Where it is damaged, of another kind, or of a newer dipolar.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            _check_version(header, path)
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        standing = Standing(**header["standing"])
        fingerprint = dict(header["fingerprint"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise FormatError(
            "a training goes on only from a whole checkpoint",
            got=f"{path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            do=f"delete {path} to begin anew",
        ) from error
    for row in standing.history:
        row.update({name: math.nan for name, value in row.items() if value is None})
    return Checkpoint(fingerprint=fingerprint, standing=standing, tensors=tensors)


def _check_version(header: Mapping[str, Any], path: Path) -> None:
    if header["format"] != FORMAT or header["format_version"] > VERSION:
        raise FormatError(
            f"this dipolar goes on with trainings up to version {VERSION}",
            got=f"{path}: {header['format']} {header['format_version']}",
            do=f"pip install --upgrade dipolar, or delete {path} to begin anew",
        )


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Check that a checkpoint is one of the training that is asked for.

    Raises
    ------
    SettingsError
        With everything that differs.
    """
    wanted = json.loads(to_json(wanted))
    differing = [
        f"{name}: {found.get(name)!r} there, {wanted.get(name)!r} here"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    ]
    if differing:
        raise SettingsError(
            "a training goes on only with the data and settings that it was begun with",
            got=f"{folder} holds another training; " + "; ".join(differing),
            do=f"choose another folder, or delete {folder / NAME} to begin anew",
        )

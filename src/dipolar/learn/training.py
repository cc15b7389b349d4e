"""The training loop, the same for every network: step, validate, keep the best, write down, go on where it stopped.

The batch of step n is drawn from a generator seeded by (seed, n), and so is PyTorch's own randomness. What a step does
therefore depends on nothing but weights, moments and n: a training that was killed goes on bit by bit as if it had not
been (on a CPU with the same number of threads; sums on a GPU have no fixed order).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import TrainingError
from dipolar.learn.checkpoint import (
    NAME,
    Checkpoint,
    Standing,
    check_same,
    gather,
    put_back,
    put_back_weights,
    read_checkpoint,
    weights,
    write_checkpoint,
    write_metrics,
)
from dipolar.learn.device import on_device, pick_device, threads
from dipolar.learn.repeatable import fingerprint, own_randomness, seed_torch
from dipolar.learn.task import AbstractTask, Batch, Trained, Training

__all__ = ["AbstractTask", "Batch", "Trained", "Training", "TrainingWarning", "fit"]

FAILURES = 3
"""Steps in a row without a finite loss and gradient after which a training is given up."""
CHECKPOINT_SECONDS = 60.0
"""Time after which a checkpoint is written between validations, too."""


class TrainingWarning(UserWarning):
    """A training goes on otherwise than asked: with smaller batches, on the CPU, or past a step that failed."""


def fit(
    network: nn.Module,
    task: AbstractTask,
    choices: Training,
    *,
    out: Path | None = None,
    progress: Progress = silent,
) -> Trained:
    """Return the network with the weights that did best in validation.

    Ctrl-C ends it like any other end, with `Trained.stopped` saying so: what was done is kept, here and on disk.

    Parameters
    ----------
    network
        Trained in place. Its first weights are part of what a checkpoint is recognised by: make them from a seed.
    task
        Where batches come from and what is wrong.
    choices
        How to train.
    out
        Folder of the checkpoint and of ``metrics.jsonl``; a training that it holds unfinished is gone on with. None
        writes nothing.
    progress
        Told how far it has come.

    Raises
    ------
    TrainingError
        If loss or gradient are not finite three times in a row, or memory is short even on the CPU. What was best so
        far is in the checkpoint.
    SettingsError
        If `out` holds a training of other data or settings, or there is no GPU where one was asked for.
    FormatError, OutputError
        If the checkpoint cannot be read or written.
    """
    device = pick_device(choices.device)
    with threads(choices.threads), own_randomness(device):
        run = _Run(network, task, choices, out, device)
        stopped: str = "interrupted"
        try:
            while not run.standing.stopped:
                run.advance()
                progress("training", run.standing.step / choices.steps)
            stopped = run.standing.stopped
        except KeyboardInterrupt:
            pass  # the last checkpoint stands; the one of this moment might be of half a step
        return run.result(cast(Literal["done", "early", "interrupted"], stopped))


class _Run:
    """A training under way."""

    def __init__(
        self, network: nn.Module, task: AbstractTask, choices: Training, out: Path | None, device: torch.device
    ) -> None:
        """Begin, or take up what `out` holds."""
        self.network, self.task, self.choices, self.out = network.train(), task, choices, out
        self.standing = Standing()
        self.fingerprint = fingerprint(network, task, choices)
        self.best = weights(network)
        found = read_checkpoint(out) if out is not None else None
        if found is not None and out is not None:
            check_same(found.fingerprint, self.fingerprint, out)
            self.standing = found.standing
            self.best = {k.removeprefix("best."): v for k, v in found.tensors.items() if k.startswith("best.")}
            write_metrics(self.standing, out)
            if self.standing.halved:
                self.task = _halved(task) or task
        self._place(device, found.tensors if found is not None else None)
        self.buffers: list[Tensor] = []
        self.clock = self.saved = (time.perf_counter(), time.process_time())

    def advance(self) -> None:
        """Do what comes next: a validation, a step, or the same in less memory."""
        standing, choices = self.standing, self.choices
        last = standing.step == choices.steps
        validated = standing.history[-1]["step"] if standing.history else 0
        try:
            if standing.step > validated and (last or standing.step % choices.validate_every == 0):
                self._validate()
            else:
                self._step()
            short = ""
        except torch.OutOfMemoryError as error:
            short = str(error) or "out of memory"  # the error itself holds on to the memory
        if short:
            self._shrink(short)
        elif self.clock[0] - self.saved[0] > CHECKPOINT_SECONDS:
            self._save()

    def _step(self) -> None:
        standing, choices = self.standing, self.choices
        seed_torch(self.device, choices.seed, standing.step)
        batch = self.task.batch(np.random.default_rng([choices.seed, standing.step]))
        rate = choices.rate(standing.step) * standing.slowed
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.buffers = [buffer.clone() for buffer in self.network.buffers()]
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast:
            loss = self.task.loss(self.network, tuple(on_device(self.device, part) for part in batch))
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), choices.clip_norm))
        value = float(loss.detach())
        if math.isfinite(value) and math.isfinite(norm):
            self.scaler.step(self.optimizer)
            standing.failures = 0
            standing.loss_sum += value
            standing.loss_count += 1
        elif not math.isfinite(value) or self.scaler.get_scale() <= 1:  # else the scaler makes up for it
            self._skip(f"loss {value:g}, norm of the gradient {norm:g} in step {standing.step + 1}")
        self.scaler.update()
        self.buffers = []
        standing.step += 1
        self._tick()

    def _validate(self) -> None:
        standing, choices = self.standing, self.choices
        self.network.eval()
        with torch.no_grad():
            found = {name: float(value) for name, value in self.task.validate(self.network).items()}
        self.network.train()
        self._tick()
        better = found["loss"] < standing.best_loss
        row = {
            "step": standing.step,
            "loss": found["loss"],
            "training_loss": standing.loss_sum / standing.loss_count if standing.loss_count else math.nan,
            "learning_rate": choices.rate(standing.step - 1) * standing.slowed,
            "seconds": round(standing.seconds, 3),
        }
        standing.history.append({**row, **found})
        if better:
            standing.best_step, self.best = standing.step, weights(self.network)
        standing.loss_sum, standing.loss_count = 0.0, 0
        standing.slowed = min(2 * standing.slowed, 1.0)
        if standing.step == choices.steps:
            standing.stopped = "done"
        elif choices.patience is not None and standing.without_gain >= choices.patience:
            standing.stopped = "early"
        self._save()

    def _skip(self, what: str) -> None:
        """Leave weights as they were before the step and halve the learning rate; the third time in a row, give up."""
        self._undo()
        self.standing.failures += 1
        self.standing.slowed /= 2
        if self.standing.failures < FAILURES:
            warnings.warn(f"{what}: step skipped, learning rate halved", TrainingWarning, stacklevel=5)
            return
        kept = f"; the best network, of step {self.standing.best_step}, is in {self.out / NAME}" if self.out else ""
        raise TrainingError(
            "loss and gradient must be finite numbers",
            got=f"{what}, {FAILURES} times in a row{kept}",
            do=f"train with a lower learning rate, for example {self.choices.learning_rate / 10:g}, and check that the "
            "data hold no nan",
        )

    def _shrink(self, short: str) -> None:
        """Go on with half the batch, or else on the CPU."""
        self._undo()
        half = None if self.standing.halved else _halved(self.task)
        if half is not None:
            self.task, self.standing.halved, how = half, True, "with batches half as large"
        elif self.device != torch.device("cpu"):
            self._place(torch.device("cpu"), gather(self.network, self.optimizer))
            how = "on the CPU"
        else:
            raise TrainingError("a batch must fit into memory", got=short, do="train with smaller batches or windows")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        warnings.warn(f"memory is short, training goes on {how} ({short})", TrainingWarning, stacklevel=4)

    def _undo(self) -> None:
        """Take back what half a step has left: gradients, and means that layers keep of their input."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in zip(self.network.buffers(), self.buffers, strict=False):  # none between steps
                buffer.copy_(before)
        self.buffers = []

    def _place(self, device: torch.device, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Put network and optimiser onto a device, with the weights and moments of `gather` where given."""
        self.device = device
        self.network.to(device)
        free = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in free if p.ndim > 1], "weight_decay": self.choices.weight_decay},
            {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0},
        ]
        gpu = device.type == "cuda"
        # One kernel for all weights: it needs no memory of its own, so that a step is never left half done.
        self.optimizer = torch.optim.AdamW(groups, fused=gpu)
        if tensors is not None:
            put_back(self.network, self.optimizer, tensors)
        short = gpu and self.choices.mixed_precision
        kind = torch.float16 if gpu and not torch.cuda.is_bf16_supported() else torch.bfloat16
        self.autocast = torch.autocast(device.type, dtype=kind, enabled=short)
        self.scaler = torch.amp.GradScaler(device.type, enabled=short and kind is torch.float16)
        if self.standing.scaler and self.scaler.is_enabled():
            self.scaler.load_state_dict(self.standing.scaler)

    def _save(self) -> None:
        self.saved = self.clock
        if self.out is None:
            return
        self.standing.scaler = self.scaler.state_dict()
        best = {f"best.{name}": value for name, value in self.best.items()}
        tensors = {**gather(self.network, self.optimizer), **best}
        write_checkpoint(Checkpoint(fingerprint=self.fingerprint, standing=self.standing, tensors=tensors), self.out)

    def _tick(self) -> None:
        now = (time.perf_counter(), time.process_time())
        self.standing.seconds += now[0] - self.clock[0]
        self.standing.cpu_seconds += now[1] - self.clock[1]
        self.clock = now

    def result(self, stopped: Literal["done", "early", "interrupted"]) -> Trained:
        """Return the network with its best weights."""
        if not self.standing.best_step and stopped != "interrupted":
            raise TrainingError(
                "the loss of a validation must be a finite number at least once",
                got=f"none in {len(self.standing.history)} validations",
                do="check that the data held out hold no nan, and train with a lower learning rate",
            )
        self.network.zero_grad(set_to_none=True)
        put_back_weights(self.network, self.best)
        return Trained(
            network=self.network.eval(),
            history=self.standing.history,
            best_step=self.standing.best_step,
            seconds=self.standing.seconds,
            cpu_seconds=self.standing.cpu_seconds,
            stopped=stopped,
        )


def _halved(task: AbstractTask) -> AbstractTask | None:
    return task.halved() if hasattr(task, "halved") else None

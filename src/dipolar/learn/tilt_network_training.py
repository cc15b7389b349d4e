"""Training of the networks that tell tilts: what is learned, how, and how well it went."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from dipolar.core.contracts import Progress, silent
from dipolar.core.learning import Card
from dipolar.core.tilt_library import TiltLibrary, compared
from dipolar.core.tilt_symmetry import TURNS
from dipolar.learn.calibration import calibrate, coverage
from dipolar.learn.task import Batch, Training
from dipolar.learn.tilt_network import TiltModel, TiltNetwork, ToldTilt, honest, mixed, parts_of
from dipolar.learn.tilt_network_data import THICKNESS_NM, TiltDraws, draws_of, in_words
from dipolar.learn.tilt_network_file import TARGETS
from dipolar.learn.tilt_network_frames import UNIT_MRAD, UNIT_PM, seen_of, turned_seen
from dipolar.learn.training import fit

BANDS_MRAD = ((0.0, 5.0), (5.0, 15.0), (15.0, 30.0))
"""Tilts between which figures are told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltCourse:
    """How the networks of one material are trained."""

    draws: int = 80000
    """Regions to learn from; for validation and calibration come others, a tenth of that number each."""
    members: int = 3
    """Networks in the ensemble."""
    steps: int = 4500
    """Batches to learn from."""
    batch: int = 256
    """Regions in a batch."""
    width: int = 128
    """Width of the hidden layers."""
    layers: int = 3
    """Number of hidden layers."""
    learning_rate: float = 2e-3
    """At its peak."""
    weight_decay: float = 0.02
    """Of AdamW."""
    seed: int = 51
    """Of draws, weights and batches."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """Regions to learn from."""

    seen: Float32[np.ndarray, "draw seen"]
    """What a network sees of each."""
    truth: Float32[np.ndarray, "draw 4"]
    """False displacement and tilt, in the units of networks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TiltTask:
    """To tell the false displacement and the tilt, with sigma."""

    lesson: Lesson
    """To learn from."""
    held_out: Lesson
    """For validation."""
    orders: Int64[np.ndarray, "term 2"]
    """Of the terms."""
    size: int
    """Regions in a batch."""

    def batch(self, rng: np.random.Generator) -> Batch:
        """Return regions, all turned or mirrored in the same way, and what is true of them."""
        rows, turn = rng.integers(0, len(self.lesson.seen), self.size), TURNS[rng.integers(len(TURNS))]
        truth = self.lesson.truth[rows].reshape(-1, 2, 2) @ turn.T.astype(np.float32)
        return turned_seen(self.lesson.seen[rows], self.orders, turn), truth.reshape(-1, 4)

    def loss(self, network: nn.Module, batch: Any) -> Float[Tensor, ""]:
        """Return the negative logarithm of the likelihood, less what is constant in it."""
        seen, truth = batch
        return unlikely(network(seen), truth)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the loss, and root mean squares of the errors."""
        truth = torch.from_numpy(self.held_out.truth)
        told = network(torch.from_numpy(self.held_out.seen))
        error = (told[:, :4] - truth).square().mean(dim=0)
        return {
            "loss": float(unlikely(told, truth)),
            "rms_pm": UNIT_PM * float(error[:2].mean().sqrt()),
            "rms_mrad": UNIT_MRAD * float(error[2:].mean().sqrt()),
        }


def lesson_of(draws: TiltDraws, orders: Int64[np.ndarray, "term 2"], *, cell_pm: float) -> Lesson:
    """Return what networks learn from some regions."""
    truth = np.concatenate([draws.false_pm / UNIT_PM, draws.tilt_mrad / UNIT_MRAD], axis=1)
    seen = seen_of(draws.terms, orders, draws.displacement_pm, draws.thickness_nm, cell_pm=cell_pm)
    return Lesson(seen=seen, truth=truth.astype(np.float32))


def unlikely(told: Float[Tensor, "cell told"], truth: Float[Tensor, "cell 4"]) -> Float[Tensor, ""]:
    """Return the mean negative log likelihood of the truth, less what is constant in it."""
    mean, root, sigma = parts_of(told)
    error = truth - mean
    first = error[:, 0] / root[:, 0, 0]
    second = (error[:, 1] - root[:, 1, 0] * first) / root[:, 1, 1]
    of_displacement = 0.5 * (first**2 + second**2) + root[:, 0, 0].log() + root[:, 1, 1].log()
    of_tilt = (0.5 * (error[:, 2:] / sigma) ** 2 + sigma.log()).sum(dim=1)
    return (of_displacement + of_tilt).mean()


def train_tilt(
    library: TiltLibrary, course: TiltCourse, *, work: Path | None = None, progress: Progress = silent
) -> TiltModel:
    """Return an ensemble trained on regions drawn from a library, its sigmas made honest on others.

    Parameters
    ----------
    library
        Of the material and the microscope.
    course
        How to train.
    work
        Folder of the checkpoints; a training that was interrupted goes on. None keeps none.
    progress
        Told how far it has come.

    Raises
    ------
    DataError
        If the library does not reach as far as draws do.
    TrainingError
        As `dipolar.learn.training.fit`.
    """
    rows = compared(library)
    orders, cell_pm = library.orders[rows], library.cell_pm
    few = max(course.draws // 10, 1)
    draws, held_out, others = (
        draws_of(library, count, np.random.default_rng([course.seed, number]))
        for number, count in enumerate((course.draws, few, few))
    )
    task = TiltTask(
        lesson=lesson_of(draws, orders, cell_pm=cell_pm),
        held_out=lesson_of(held_out, orders, cell_pm=cell_pm),
        orders=orders,
        size=course.batch,
    )
    seconds = 0.0
    networks: list[TiltNetwork] = []
    for member in range(course.members):
        choices = Training(
            steps=course.steps, learning_rate=course.learning_rate, weight_decay=course.weight_decay,
            validate_every=max(course.steps // 20, 1), seed=course.seed + member, device="cpu",
        )  # fmt: skip
        out = None if work is None else work / f"member-{member}"
        network = fresh(task, course, member)
        trained = fit(network, task, choices, out=out, progress=progress)
        networks.append(network.half().float())  # as it will be on disk
        seconds += trained.cpu_seconds
    said = mixed(networks, orders, others.terms, others.displacement_pm, others.thickness_nm, cell_pm=cell_pm)
    of_shift = calibrate(said.false_pm - others.false_pm, _sigma(said))
    of_tilt = calibrate(said.tilt_mrad - others.tilt_mrad, said.tilt_sigma_mrad)
    card = Card(
        kind="regressor",
        architecture={"terms": len(orders), "width": course.width, "layers": course.layers},
        members=course.members,
        targets=TARGETS,
        window_px=0,
        windows="sliding",
        calibration={"displacement": of_shift.to_card(), "tilt": of_tilt.to_card()},
        training={
            "material": library.material,
            "cell_pm": cell_pm,
            "thickness_nm": list(THICKNESS_NM),
            "microscope": _microscope(library),
            "library": library.source,
            "draws": in_words(),
            "course": {name: getattr(course, name) for name in course.__slots__},
            "cpu_seconds": round(seconds),
        },
        versions={"python": platform.python_version(), "torch": torch.__version__},
    )
    model = TiltModel(
        name=f"tilt_{library.material}", card=card, networks=tuple(networks), orders=orders, cell_pm=cell_pm,
        thickness_nm=THICKNESS_NM, displacement=of_shift, tilt=of_tilt,
    )  # fmt: skip
    return model


def fresh(task: TiltTask, course: TiltCourse, member: int) -> TiltNetwork:
    """Return a member before training: weights from the seed, middle and spread of what it sees from the draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(course.seed + member)
        network = TiltNetwork(terms=len(task.orders), width=course.width, layers=course.layers)
    seen = np.concatenate([turned_seen(task.lesson.seen[:4096], task.orders, turn) for turn in TURNS])
    network.middle.copy_(torch.from_numpy(seen.mean(axis=0)))
    network.spread.copy_(torch.from_numpy(seen.std(axis=0) + 1e-3))
    return network


def examined(model: TiltModel, draws: TiltDraws) -> dict[str, dict[str, float]]:
    """Return how well a model does on regions that it never saw, by tilt.

    Parameters
    ----------
    model
        The ensemble.
    draws
        The regions.
    """
    said = honest(
        model,
        mixed(
            model.networks, model.orders, draws.terms, draws.displacement_pm, draws.thickness_nm, cell_pm=model.cell_pm
        ),
    )
    error, sigma = said.false_pm - draws.false_pm, _sigma(said)
    off = said.tilt_mrad - draws.tilt_mrad
    lean = np.linalg.norm(draws.tilt_mrad, axis=1)
    found: dict[str, dict[str, float]] = {}
    for low, high in BANDS_MRAD:
        some = (lean >= low) & (lean < high)
        found[f"{low:g} to {high:g} mrad"] = {
            "regions": float(some.sum()),
            "raw_rms_pm": _rms(draws.false_pm[some]),
            "rms_pm": _rms(error[some]),
            "coverage_68": coverage(error[some], sigma[some], (0.68,))[0.68],
            "tilt_rms_mrad": _rms(off[some]),
            "tilt_coverage_68": coverage(off[some], said.tilt_sigma_mrad[some], (0.68,))[0.68],
        }
    return found


def _sigma(told: ToldTilt) -> Float[np.ndarray, "region 2"]:
    return np.sqrt(np.einsum("rii->ri", told.covariance_pm2))


def _rms(vectors: Float[np.ndarray, "row 2"]) -> float:
    """Return the root mean square of each coordinate."""
    return float(np.sqrt(np.mean(vectors.astype(np.float64) ** 2)))


def _microscope(library: TiltLibrary) -> Mapping[str, Any]:
    return {
        "voltage_kv": library.voltage_kv,
        "convergence_mrad": library.convergence_mrad,
        "detector_mrad": list(library.detector_mrad),
    }

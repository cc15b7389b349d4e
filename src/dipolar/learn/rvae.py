"""From a stack of patches to what a rotation-invariant variational autoencoder says of each: angle first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from jaxtyping import Float

from dipolar.core.contracts import Progress, silent
from dipolar.core.unmixing import LOCKED_DEG, Angles, Components, Curve, Fact, Stack
from dipolar.learn.device import threads
from dipolar.learn.rvae_angles import angles_of
from dipolar.learn.rvae_diagnosis import Told
from dipolar.learn.rvae_gauge import turn_latents
from dipolar.learn.rvae_network import TurningRvae
from dipolar.learn.rvae_patches import Patches, prepare
from dipolar.learn.rvae_published import PublishedRvae, published_loss, read_published
from dipolar.learn.rvae_reading import Reading, read
from dipolar.learn.rvae_settings import RvaeSettings
from dipolar.learn.rvae_start import Start, start
from dipolar.learn.rvae_training import Course, rise_and_fall, train, turning_loss, turning_optimizer

WHOLE_CELLS = 1.8
"""In smaller patches the columns at the corners of the cell are cut off, for which dipoles are drawn 5 % too short."""
MOST_EPOCHS = 8
"""Longer trainings may make more variants wrong in walls, whatever the loss gains."""


def train_rvae(
    stack: Stack, settings: RvaeSettings | None = None, *, seed: int, progress: Progress = silent
) -> Components:
    """Train a rotation-invariant variational autoencoder on patches, and return what it says of them.

    Sense and zero of the angle come from the displacements that the stack brings, where there are any; else the zero
    comes from the dipole that the decoder draws. Ctrl-C while it trains keeps what was learned so far, with a note.

    Parameters
    ----------
    stack
        Square patches, centred alike; 1.5 to 2.5 cells wide.
    settings
        How it is made and trained; None takes the defaults.
    seed
        Where all randomness comes from. PyTorch's own generator is left as it was.
    progress
        Told how far it has come.

    Returns
    -------
    Components
        Of method ``rvae``: scores ``angle_deg``, ``offset_y_px`` and ``offset_x_px`` (with translation), ``latent_1``
        and so on, and `Components.angles`. What is drawn around the wheel starts at angle 0 and goes counter-clockwise.

    Raises
    ------
    DataError
        If patches are too few, not square, too small, not finite or all alike.
    TrainingError
        If the loss is no finite number, step after step.
    """
    settings = (settings or RvaeSettings()).filled(patches=len(stack.images))
    began = time.process_time()
    rng = np.random.default_rng([seed, 0])
    with threads(settings.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))
        ours = settings.architecture == "equivariant"
        shift = settings.shift_sigma_px if ours and settings.freedom == "rotation+translation" else None
        patches = prepare(stack, coarse=ours, shift_sigma_px=shift)
        network: TurningRvae | PublishedRvae
        searches: list[Start] = []
        if ours:
            network, searches, course = _equivariant(patches, settings, rng, progress)
        else:
            network, course = _published(patches, settings, rng, progress)
        reading = _read(network, patches, stack)
        angles = None
        if settings.freedom != "none":
            told = Told(
                architecture=settings.architecture,
                latents=settings.latents or 0,
                translation=settings.freedom == "rotation+translation",
                steps=course.steps,
                settled=_settled(course),
            )
            angles = angles_of(stack, patches, reading, network, course=course, searches=searches, told=told)
    names, scores = _scores(reading, angles, patches.scale)
    facts: dict[str, Fact] = {
        "cpu_seconds": time.process_time() - began,
        "epochs": len(course.history),
        "steps": course.steps,
        "converged": not course.stopped and _settled(course),
        "interrupted": course.stopped,
        "parameters": sum(p.numel() for p in network.parameters()),
        "network_px": patches.images.shape[-1],
        "centre_y_px": patches.centre_px[0],
        "centre_x_px": patches.centre_px[1],
        "skipped_steps": course.skipped,
    }
    if isinstance(network, TurningRvae):
        facts["noise_variance"] = float(network.variance)
        facts["redundancy"] = reading.redundancy
    return Components(
        method="rvae",
        names=names,
        scores=scores,
        mean=stack.images.mean(axis=0),
        curves=_curves(course),
        angles=angles,
        settings={**{name: value for name, value in asdict(settings).items() if value is not None}, "seed": seed},
        facts=facts,
        notes=(*_notes(angles, course, settings), *_limits(stack, angles, settings)),
    )


def _equivariant(
    patches: Patches, settings: RvaeSettings, rng: np.random.Generator, progress: Progress
) -> tuple[TurningRvae, list[Start], Course]:
    network = TurningRvae(
        channels=patches.images.shape[1],
        side=patches.images.shape[-1],
        latents=settings.latents or 0,
        fine=settings.directions // 4,
        shift_sigma=settings.shift_sigma_px / patches.scale if settings.freedom == "rotation+translation" else None,
        hidden=settings.hidden,
        nuisance=patches.nuisance if settings.directions == 4 else None,
    )
    progress("looking for the angle", 0.0)
    searches = start(network, patches.images, starts=settings.starts, rng=rng)
    if not network.told:
        return network, searches, Course()
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    course = train(
        network,
        patches.images,
        turning_loss(network, generator),
        turning_optimizer(network, settings.learning_rate or 0.0),
        rate=rise_and_fall,
        epochs=settings.epochs or 0,
        batch=settings.batch,
        rng=rng,
        progress=progress,
    )
    turn_latents(network)
    return network, searches, course


def _published(
    patches: Patches, settings: RvaeSettings, rng: np.random.Generator, progress: Progress
) -> tuple[PublishedRvae, Course]:
    network = PublishedRvae(
        channels=patches.images.shape[1],
        side=patches.images.shape[-1],
        latents=settings.latents or 0,
        freedom=settings.freedom,
    )
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    course = train(
        network,
        patches.images,
        published_loss(network, generator),
        torch.optim.Adam(network.parameters(), lr=settings.learning_rate or 0.0),
        rate=lambda done: 1.0,
        epochs=settings.epochs or 0,
        batch=settings.batch,
        rng=rng,
        progress=progress,
    )
    return network, course


def _read(network: TurningRvae | PublishedRvae, patches: Patches, stack: Stack) -> Reading:
    """Return what the network says; columns are looked for where the stack shows them."""
    image = stack.channels.index("image") if "image" in stack.channels else None
    middle, corner = ("A", "B") if stack.centred_on == "A" else ("B", "A")
    centre_channel, corner_channel = (
        image if image is not None else (stack.channels.index(name) if name in stack.channels else 0)
        for name in (middle, corner)
    )
    if isinstance(network, TurningRvae):
        return read(network, patches, centre_channel=centre_channel, corner_channel=corner_channel)
    return read_published(network, patches, centre_channel=centre_channel, corner_channel=corner_channel)


def _scores(
    reading: Reading, angles: Angles | None, scale: float
) -> tuple[tuple[str, ...], Float[np.ndarray, "patch component"]]:
    """Return names and columns of the table."""
    names: list[str] = []
    columns: list[np.ndarray] = []
    if angles is not None:
        names, columns = ["angle_deg"], [angles.angle_deg[:, None]]
    if reading.offset is not None:
        names += ["offset_y_px", "offset_x_px"]
        columns.append(reading.offset * scale)
    names += [f"latent_{k + 1}" for k in range(reading.latent.shape[1])]
    columns.append(reading.latent)
    return tuple(names), np.concatenate(columns, axis=1)


def _curves(course: Course) -> tuple[Curve, ...]:
    """Return how the loss went."""
    if not course.history:
        return ()
    rows = ("loss", "reconstruction", "divergence")
    return (
        Curve(
            title="Training of the autoencoder",
            x_label="epoch",
            y_label="nats per patch",
            x=np.array([row["epoch"] for row in course.history]),
            y=np.array([[row[name] for row in course.history] for name in rows]),
            lines=rows,
        ),
    )


def _settled(course: Course) -> bool:
    """Return whether the last epoch lowered the loss by less than a twentieth of what all did, or 0.5 nats."""
    losses = [row["loss"] for row in course.history]
    if len(losses) < 2:
        return not losses  # without anything to train, what was found in closed form has settled
    return losses[-2] - losses[-1] < max(0.05 * (losses[0] - losses[-1]), 0.5)


def _limits(stack: Stack, angles: Angles | None, settings: RvaeSettings) -> Iterator[str]:
    """Yield what patches, or a training, of that size are known to do to angles and dipoles."""
    if angles is None or settings.architecture != "equivariant":
        return
    edge_px = float(np.sqrt(abs(np.linalg.det(stack.lattice_px)))) / stack.step_px
    cells = stack.images.shape[-1] / edge_px
    if cells < WHOLE_CELLS and np.isfinite(angles.dipole_px).any():
        yield (
            f"Patches of {cells:.2g} cells cut off the columns at the corners: dipoles are drawn some 5 % too short; "
            "patches of 2 cells draw them whole (--window-px '2 cells')."
        )
    elif cells < WHOLE_CELLS and angles.mapped:
        yield (
            f"In patches of {cells:.2g} cells no dipole can be read, so that patches in walls are not told from "
            "variants; in patches of 2 cells they are (--window-px '2 cells')."
        )
    if (settings.epochs or 0) > MOST_EPOCHS:
        yield (
            f"In {settings.epochs} epochs latents can take over from the angle in walls: more variants may be wrong "
            f"there than after {MOST_EPOCHS} or fewer."
        )


def _notes(angles: Angles | None, course: Course, settings: RvaeSettings) -> tuple[str, ...]:
    """Return what a reader must know."""
    notes = []
    if course.stopped:
        notes.append(f"Interrupted after {len(course.history)} whole epochs; what was learned until then is told.")
    elif not _settled(course):
        more = 2 * (settings.epochs or 0)
        notes.append(f"The loss was still falling in the last epoch: more epochs may tell more (--epochs {more}).")
    if course.skipped:
        notes.append(f"{course.skipped} steps of the training were not finite and were left out.")
    if angles is None:
        return tuple(notes)
    if angles.remedy:
        notes.append(f"{angles.verdict}: {angles.remedy}")
    if angles.mapped and not angles.registered:
        notes.append(
            "No displacement was measured, or none that the angle follows: its zero is that of the dipole drawn."
            if np.isfinite(angles.dipole_px).any()
            else "No displacement was measured, and no dipole can be read: the angle has any zero."
        )
    if angles.mapped and angles.diagnosis["dipole_about_angle_deg"] > LOCKED_DEG:
        notes.append(
            f"Dipoles spread by {angles.diagnosis['dipole_about_angle_deg']:.0f}° about the angle, which is locked to "
            "the lattice: peaks of its histogram are the lattice's. Variants are those of the dipole that is drawn"
            + (", which says more." if len(angles.variant_deg) else ", whose directions have no peaks.")
        )
    return tuple(notes)

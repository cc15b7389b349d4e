"""How a rotation-invariant variational autoencoder is made and trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from dipolar.core.errors import SettingsError

Freedom = Literal["rotation", "rotation+translation", "none"]
"""What the network may do to what it draws, apart from the further latents."""

DEFAULTS = {"equivariant": (3, 4, 2e-3), "published": (2, 30, 1e-3)}
"""Latents, epochs and learning rate unless told otherwise."""


STEPS = 40
"""Least steps of a training whose epochs are not told; many more let latents take over from the angle in walls."""
MOST_DIRECTIONS = 96
"""More would be finer than the poses between them, and take gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RvaeSettings:
    """Choices for `train_rvae`; the defaults find the angle of ferroelectric variants on every seed."""

    architecture: Literal["equivariant", "published"] = "equivariant"
    """``equivariant``: turns with the patch by construction and weighs all directions; ``published``: two
    convolutions of 128 channels, a dense coordinate decoder, noise variance 1, an angle that is not wound up (for
    comparison with the literature)."""
    freedom: Freedom = "rotation"
    """What is kept out of the further latents: the angle, or the angle and a translation; ``none`` (published only) is
    an ordinary variational autoencoder."""
    latents: int | None = None
    """Further latent dimensions beside angle and translation; None: 3, or 2 for the published network."""
    directions: int = 4
    """Directions that the equivariant network weighs, a multiple of 4: 4 suits patches of one lattice, 48 patches that
    are turned as a whole, between which it then interpolates. Not used by the published one."""
    shift_sigma_px: float = 1.0
    """Standard deviation of the translation that is expected, in image px; small, so that it cannot stand for the
    dipole. Not used without translation."""
    epochs: int | None = None
    """Passes through the stack; None: 4, more where these are fewer than 40 steps; 30 for the published network."""
    batch: int = 128
    """Patches in a step; of small stacks no more than an eighth."""
    learning_rate: float | None = None
    """The highest, in the first third of the training; None: 2e-3, or 1e-3 (constant) for the published network."""
    starts: int = 4
    """Patches from which the search for the angle starts; the likeliest outcome is taken. Not used by the published."""
    hidden: int = 64
    """Width of the encoder. Not used by the published network, whose widths are 128."""
    threads: int | None = 1
    """Threads of the CPU; None leaves PyTorch as it is."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing, all of them in one message."""
        wrong = [f"{name} = {getattr(self, name)} (at least 1)" for name in ("batch", "starts", "hidden")
                 if getattr(self, name) < 1]  # fmt: skip
        if self.latents is not None and self.latents < 0:
            wrong.append(f"latents = {self.latents} (0 or more)")
        if not 4 <= self.directions <= MOST_DIRECTIONS or self.directions % 4:
            wrong.append(f"directions = {self.directions} (a multiple of 4, at most {MOST_DIRECTIONS})")
        if not self.shift_sigma_px > 0:
            wrong.append(f"shift_sigma_px = {self.shift_sigma_px} (more than 0)")
        if self.epochs is not None and self.epochs < 1:
            wrong.append(f"epochs = {self.epochs} (at least 1)")
        if self.learning_rate is not None and not self.learning_rate > 0:
            wrong.append(f"learning_rate = {self.learning_rate} (more than 0)")
        if self.freedom == "none" and (self.architecture != "published" or self.latents == 0):
            wrong.append('freedom = "none" (only with architecture "published" and at least 1 latent)')
        if wrong:
            raise SettingsError(
                "Settings of the autoencoder are out of range.", got="; ".join(wrong), do="RvaeSettings()"
            )

    def filled(self, *, patches: int | None = None) -> RvaeSettings:
        """Return the same with the numbers that None stands for, for a stack of so many patches."""
        latents, epochs, rate = DEFAULTS[self.architecture]
        batch = self.batch if patches is None else max(1, min(self.batch, patches // 8))
        if patches is not None and self.architecture == "equivariant":
            epochs = max(epochs, math.ceil(STEPS / max(1, patches // batch)))
        return replace(
            self,
            batch=batch,
            latents=latents if self.latents is None else self.latents,
            epochs=self.epochs or epochs,
            learning_rate=self.learning_rate or rate,
        )

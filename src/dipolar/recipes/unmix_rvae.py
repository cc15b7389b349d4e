"""The rotation-invariant autoencoder as one of the ways to unmix."""

from __future__ import annotations

from dipolar.core.contracts import Progress
from dipolar.core.unmixing import Components, Stack
from dipolar.recipes.unmix_settings import UnmixSettings


def autoencode(stack: Stack, settings: UnmixSettings, *, progress: Progress) -> Components:
    """Return what an autoencoder says of each patch, its angle set apart from all else.

    Parameters
    ----------
    stack
        The patches.
    settings
        How many further latents, and the seed.
    progress
        Told how far the training has come.
    """
    from dipolar.learn.rvae import train_rvae  # type: ignore[import-not-found]

    found: Components = train_rvae(stack, None, progress=progress, seed=settings.seed)
    return found

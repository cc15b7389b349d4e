"""The rotation-invariant autoencoder as one of the ways to unmix."""

from __future__ import annotations

from dipolar.core.contracts import Progress
from dipolar.core.unmixing import Components, Stack
from dipolar.recipes.unmix_choices import NETWORK
from dipolar.recipes.unmix_settings import UnmixSettings


def autoencode(stack: Stack, settings: UnmixSettings, *, progress: Progress) -> Components:
    """Return what an autoencoder says of each patch, its angle set apart from all else.

    Parameters
    ----------
    stack
        The patches.
    settings
        How many further latents (`components`), the options of the network, and the seed.
    progress
        Told how far the training has come.

    Raises
    ------
    DataError
        If there are too few patches, or such as no network can learn from.
    SettingsError
        If options do not go together.
    TrainingError
        If the loss is not finite.
    """
    from dipolar.learn.rvae import train_rvae
    from dipolar.learn.rvae_settings import RvaeSettings

    given = {name: getattr(settings, name) for name in NETWORK if getattr(settings, name) is not None}
    if settings.components is not None:
        given["latents"] = settings.components
    return train_rvae(stack, RvaeSettings(**given), progress=progress, seed=settings.seed)

"""Image → Stack: patches centred on lattice sites, between pixels too, screened, counted and normalised."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from dipolar.core.errors import DataError, SettingsError
from dipolar.core.unmixing import Stack
from dipolar.unmix.normalise import NORMALIZATIONS, channel_groups, flat_patches, normalise
from dipolar.unmix.sampling import half_edge_px, sample_windows, windows_inside, windows_measured

SMALLEST_PX, LARGEST_PX = 4, 256
"""Edges of a patch."""


def cut_stack(
    image_data: Float32[np.ndarray, "channel y x"],
    *,
    channels: tuple[str, ...],
    positions_px: Float[np.ndarray, "site 2"],
    site: Int[np.ndarray, " site"],
    window_px: int,
    step_px: float = 1.0,
    lattice_px: Float[np.ndarray, "2 2"],
    pixel_size_pm: float | None,
    displacement_px: Float[np.ndarray, "site 2"],
    displacement_sigma_px: Float[np.ndarray, "site 2"],
    centred_on: Literal["cells", "A", "B"],
    normalization: str = "patch",
    usable: Bool[np.ndarray, " site"] | None = None,
) -> Stack:
    """Return a patch for every site that has one, in the order of the sites, and count those that have none.

    Patches are centred exactly on their sites by cubic spline: what they show does not depend on where pixels lie.
    Coarser patches (`step_px` over 1) are of the smoothed image, so that noise averages out instead of folding back.

    The image is normalised by itself. Channels of probabilities are normalised together, with one mean and one scale
    for all of them, so that a patch with little A stays one with little A. Both then weigh alike.

    A site is left out, and counted in `Stack.dropped`, for the first of these that is true: ``flagged``, not
    `usable`; ``outside``, its patch leaves the image; ``invalid``, its place is nan or pixels were not measured that
    the patch depends on; ``constant``, its patch is flat, in the image or in all probabilities.

    Parameters
    ----------
    image_data
        Image, probabilities, or both; nan where nothing was measured.
    channels
        What they are: ``image``, or the probabilities ``A``, ``B``, ``background``.
    positions_px
        Sites (y, x) in image px; nan where unknown.
    site
        Row of each in the table it comes from.
    window_px
        Edge of a patch in its own px, 4 to 256.
    step_px
        Image px per patch px.
    lattice_px
        Mean lattice vectors a and b as rows of (y, x), in image px.
    pixel_size_pm
        Of the image; None where unknown.
    displacement_px, displacement_sigma_px
        Displacement (dy, dx) measured at each site and its standard errors, in image px; nan where there are none.
    centred_on
        What the sites are.
    normalization
        ``patch`` (each mean 0, variance 1), ``stack`` (the same over all of them), ``range`` (0 to 1 over all of
        them) or ``none``.
    usable
        Sites to take; None: all.

    Raises
    ------
    SettingsError
        Settings out of range, a name that is no normalisation, or a window that no site has room for.
    DataError
        No site, or none left.
    """
    _check(image_data, channels, window_px, step_px, normalization)
    shape = (image_data.shape[1], image_data.shape[2])
    known = np.isfinite(positions_px).all(axis=1)
    usable = np.ones(len(site), dtype=bool) if usable is None else usable
    inside = windows_inside(positions_px, shape, window_px=window_px, step_px=step_px)
    left = np.flatnonzero(usable & inside)
    whole = windows_measured(
        np.isfinite(image_data).all(axis=0), positions_px[left], window_px=window_px, step_px=step_px
    )
    dropped = {
        "flagged": int(np.sum(~usable)),
        "outside": int(np.sum(usable & known & ~inside)),
        "invalid": int(np.sum(usable & ~known) + np.sum(~whole)),
    }
    kept = left[whole]
    if not len(left):
        _no_room(positions_px[usable & known], shape, window_px, step_px)
    images = np.empty((len(kept), len(channels), window_px, window_px), dtype=np.float32)
    for channel, data in enumerate(image_data):
        if len(kept):
            images[:, channel] = sample_windows(data, positions_px[kept], window_px=window_px, step_px=step_px)
    groups = channel_groups(channels)
    flat = flat_patches(images, groups)
    dropped["constant"] = int(np.sum(flat))
    if flat.all():
        _none_left(len(site), dropped, window_px)
    if flat.any():
        kept, images = kept[~flat], images[~flat]
    normalise(images, groups, normalization)
    return Stack(
        images=images,
        channels=channels,
        positions_px=positions_px[kept],
        site=site[kept].astype(np.int32),
        displacement_px=displacement_px[kept],
        displacement_sigma_px=displacement_sigma_px[kept],
        step_px=step_px,
        lattice_px=lattice_px,
        pixel_size_pm=pixel_size_pm,
        centred_on=centred_on,
        normalization=normalization,
        dropped=dropped,
    )


def _check(
    image_data: Float32[np.ndarray, "channel y x"],
    channels: tuple[str, ...],
    window_px: int,
    step_px: float,
    normalization: str,
) -> None:
    if len(channels) != len(image_data):
        raise SettingsError(
            "Each channel of the image has a name.",
            got=f"{len(image_data)} channels, channels={channels!r}",
            do='channels=("image",)',
        )
    if not SMALLEST_PX <= window_px <= LARGEST_PX:
        fits = min(max(window_px, SMALLEST_PX), LARGEST_PX)
        raise SettingsError(
            f"Patches are {SMALLEST_PX} to {LARGEST_PX} px wide.",
            got=f"window_px={window_px}",
            do=f"window_px={fits} (--window-px {fits})",
        )
    if not (np.isfinite(step_px) and step_px > 0):
        raise SettingsError(
            "The step between pixels of a patch is more than 0.", got=f"step_px={step_px}", do="step_px=1.0"
        )
    if normalization not in NORMALIZATIONS:
        raise SettingsError(
            f"Patches are normalised in one of these ways: {', '.join(NORMALIZATIONS)}.",
            got=f"normalization={normalization!r}",
            do='normalization="patch"',
        )


def _no_room(
    positions_px: Float[np.ndarray, "site 2"], shape_px: tuple[int, int], window_px: int, step_px: float
) -> None:
    """Say why no patch fits into the image, and which would."""
    if not len(positions_px):
        raise DataError(
            "Patches are cut around lattice sites, and there is none that can be used.",
            got="no site with a place and without a flag",
            do="look at the columns first: dipolar image measure IMAGE",
        )
    room = float(np.min([positions_px, np.array(shape_px) - 1 - positions_px], axis=0).min(axis=1).max())
    most = int(np.floor(2.0 * max(room, 0.0) / step_px + 1e-9)) + 1
    wanted = half_edge_px(window_px, step_px)
    fits = (
        f"window_px={most} (--window-px {most}) has room at one site at least; smaller ones at more"
        if most >= SMALLEST_PX
        else "take a larger image"
    )
    raise SettingsError(
        f"A patch of {window_px} px reaches {wanted:.4g} px from its site, and no site is that far from the edge.",
        got=f"an image of {shape_px[0]} x {shape_px[1]} px, the site farthest from its edge {room:.4g} px from it",
        do=fits,
    )


def _none_left(sites: int, dropped: dict[str, int], window_px: int) -> None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
    half = max(window_px // 2, SMALLEST_PX)
    do = f"smaller patches avoid what was not measured: window_px={half} (--window-px {half})"
    if dropped["constant"]:
        do = "patches without any contrast hold nothing to unmix; look at the image"
    raise DataError("At least one patch is needed.", got=f"{sites} sites: {reasons}", do=do)

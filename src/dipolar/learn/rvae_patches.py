"""Patches as the autoencoder sees them: at its scale, about their centre of symmetry, and what is nuisance in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from dipolar.core.errors import DataError
from dipolar.core.unmixing import Stack
from dipolar.learn.equivariant import TURNS

CELL_PX = 12
"""Least px of the network per cell edge: columns are then about 1.5 px wide, which its series can draw."""
LARGEST = 36
"""Largest side of a patch, in px of the network: larger ones are seen more coarsely."""
SMALLEST = 8
"""Smallest side of a patch."""
REACH = 0.1
"""How far from the middle, in sides of the patch, the common centre is sought."""
TAPER = 0.1
"""Share of the side over which a patch is faded out before it is compared with its half turn."""
SHARP = 0.15
"""How sharply the share of a column in a pixel falls with distance, in cell edges."""
SAME = 1e-3
"""Nuisance modes with less than this share of the strongest are rounding."""
CENTRAL = 0.25
"""Standard deviation of what the central column may fill, in cell edges."""
ROUNDS = 4
"""Times that patches are aligned with their mean, where translation is free."""
AT_ONCE = 2000
"""Patches that are resampled together."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patches:
    """A stack, ready for the network."""

    images: Float[Tensor, "patch channel y x"]
    """Patches about their common centre, with mean 0 and variance 1 over all of them, channel by channel."""
    scale: float
    """Image px per px of the network."""
    centre_px: tuple[float, float]
    """Common centre (y, x) from the middle of the patches, in patch px; patches were moved back by it."""
    moved: Float[np.ndarray, "patch 2"]
    """Where each patch was found to stand (y, x) from the common centre, in px of the network; moved back by it. Zero
    where translation is not free."""
    nuisance: Float[Tensor, "pixel mode"]
    """Orthonormal modes that say nothing of the direction (see `nuisance_modes`), closed under quarter turns."""
    lattice: Float[np.ndarray, "2 2"]
    """Lattice vectors in px of the network."""


def prepare(stack: Stack, *, coarse: bool = True, shift_sigma_px: float | None = None) -> Patches:
    """Return patches as the network sees them.

    Parameters
    ----------
    stack
        Square patches.
    coarse
        With no more px than their columns need; else as they are.
    shift_sigma_px
        Sigma of the translations that are expected, in image px: each patch is moved by its own. None: none is.

    Raises
    ------
    DataError
        If there are too few patches, or they are not square, too small or not finite, or all alike.
    """
    _check(stack)
    window = stack.images.shape[-1]
    lattice = stack.lattice_px / stack.step_px
    edge = float(np.sqrt(abs(np.linalg.det(lattice))))
    coarser = max(1, int(edge / CELL_PX), -(-window // LARGEST)) if coarse else 1
    side = -(-window // coarser)
    scale = window / side
    centre = symmetry_centre(stack.images.mean(axis=0))
    everywhere = torch.tensor(centre).expand(len(stack.images), 2)
    images = _standard(_resampled(stack.images, everywhere, side))
    moved = torch.zeros(len(images), 2)
    if shift_sigma_px is not None:
        moved = _standing(images, shift_sigma_px / stack.step_px / scale, edge / scale)
        images = _standard(_resampled(stack.images, everywhere + moved * scale, side))
    shrunk = lattice / scale
    return Patches(
        images=images,
        scale=stack.step_px * scale,
        centre_px=centre,
        moved=moved.numpy().astype(np.float64),
        nuisance=nuisance_modes(images.mean(dim=0), shrunk) if coarse else torch.zeros(0, 0),
        lattice=shrunk,
    )


def _standard(images: Float[Tensor, "patch channel y x"]) -> Float[Tensor, "patch channel y x"]:
    """Return patches with mean 0 and variance 1 in each channel, over all of them."""
    images = images - images.mean(dim=(0, 2, 3), keepdim=True)
    return images / images.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-12)


def _standing(images: Float[Tensor, "patch channel y x"], sigma: float, edge: float) -> Float[Tensor, "patch 2"]:
    """Return where each patch stands against the mean of all, in px: the most probable, sigma being that of the prior.

    Steps of Gauss and Newton, by the slopes of the mean, which grows sharper from round to round. The mean is that of
    itself and its half turn, so that no dipole is in it; and the central column, which the dipole moves, has no say.
    """
    ticks = torch.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    away = ticks[:, None] ** 2 + ticks**2
    around = 1 - torch.exp(-away / (2 * (CENTRAL * edge) ** 2))
    moved, seen = torch.zeros(len(images), 2), images
    for _ in range(ROUNDS):
        mean = seen.mean(dim=0)
        mean = 0.5 * (mean + torch.rot90(mean, 2, (-2, -1)))
        slopes = torch.stack([(slope * around).flatten() for slope in torch.gradient(mean, dim=(1, 2))])
        left = ((seen - mean) * around).flatten(1)
        noise = float(left.square().mean())
        precision = slopes @ slopes.T + noise / sigma**2 * torch.eye(2)
        step = torch.linalg.solve(precision, slopes @ left.T).T + noise / sigma**2 * (
            torch.linalg.solve(precision, moved.T).T
        )
        moved = (moved - step).clamp(-3 * sigma, 3 * sigma)
        moved = moved - moved.mean(dim=0)
        seen = _resampled(images.numpy(), moved, images.shape[-1])
    return moved


def _check(stack: Stack) -> None:
    images = stack.images
    if images.shape[-1] != images.shape[-2] or images.shape[-1] < SMALLEST:
        raise DataError(
            f"the autoencoder turns patches: they must be square, of at least {SMALLEST} px.",
            got=f"{images.shape[-2]} × {images.shape[-1]} px",
            do="cut patches of 1.5 to 2.5 cells",
        )
    if len(images) < 2:
        raise DataError("the autoencoder compares patches: there must be several.", got=f"{len(images)}")
    if not np.isfinite(images).all():
        raise DataError("patches must be finite.", got="nan or infinite pixels", do="drop such patches from the stack")
    if not float(images.std(axis=0).max()) > 1e-6 * max(float(np.abs(images).max()), 1e-30):
        raise DataError(
            "patches must differ from one another.", got=f"{len(images)} that are all alike", do="check the image"
        )


def symmetry_centre(mean: Float32[np.ndarray, "channel y x"]) -> tuple[float, float]:
    """Return the point (y, x), from the middle, about which a half turn changes the mean patch least.

    A patch cut half a pixel off its column differs from its own half turn in the same way everywhere; the network
    would take that for a direction. The correlation of the mean with its half turn peaks at twice the offset.
    """
    side = mean.shape[-1]
    window = np.minimum(1.0, np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) / (TAPER * side))
    field = (mean - mean.mean(axis=(1, 2), keepdims=True)) * window[:, None] * window
    spectrum = np.fft.rfft2(field, s=(2 * side, 2 * side))
    half = np.fft.rfft2(field[:, ::-1, ::-1], s=(2 * side, 2 * side))
    correlation = np.fft.irfft2((spectrum * half.conj()).sum(axis=0), s=(2 * side, 2 * side))
    reach = max(2, round(2 * REACH * side))
    near = np.roll(correlation, (reach, reach), axis=(0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    y, x = (int(k) for k in np.unravel_index(int(near.argmax()), near.shape))
    if not (0 < y < 2 * reach and 0 < x < 2 * reach):
        return 0.0, 0.0
    dy, dx = _summit(near[y - 1 : y + 2, x]), _summit(near[y, x - 1 : x + 2])
    return 0.5 * (y + dy - reach), 0.5 * (x + dx - reach)


def _summit(three: Float[np.ndarray, " 3"]) -> float:
    """Return where a parabola through three neighbouring values peaks, from the middle one."""
    bend = float(three[0] - 2 * three[1] + three[2])
    return 0.0 if bend >= 0 else 0.5 * float(three[0] - three[2]) / bend


def _resampled(
    images: Float32[np.ndarray, "patch channel y x"], centres: Float[Tensor, "patch 2"], side: int
) -> Float[Tensor, "patch channel h w"]:
    """Return patches moved back by where they stand, in as many pixels as the network sees."""
    window = images.shape[-1]
    ticks = (2 * torch.arange(window) + 1) / window - 1
    parts = []
    for some, centre in zip(*(np.array_split(a, -(-len(images) // AT_ONCE)) for a in (images, centres.numpy())),
                            strict=True):  # fmt: skip
        part = torch.from_numpy(np.ascontiguousarray(some))
        if np.abs(centre).max() > 0.02:
            at = ticks + 2 * torch.from_numpy(centre)[..., None].float() / window
            x, y = at[:, 1, None, :].expand(-1, window, -1), at[:, 0, :, None].expand(-1, -1, window)
            where = torch.stack([x, y], dim=-1)
            part = functional.grid_sample(part, where, mode="bicubic", padding_mode="border", align_corners=False)
        parts.append(part if side == window else functional.adaptive_avg_pool2d(part, side))
    return torch.cat(parts)


def nuisance_modes(
    mean: Float[Tensor, "channel y x"], lattice: Float[np.ndarray, "2 2"]
) -> Float[Tensor, "pixel mode"]:
    """Return what may vary from patch to patch without a direction: brightness and ground of each column, a shift.

    Composition changes the brightness of columns, even of those on one side of the patch alone; a patch may stand a
    little off its middle. Neither is polar, and either can be stronger than what is. To first order they are the mean
    patch within the reach of each column, that reach itself, and the slopes of the mean patch; the mean is that of the
    mean patch and its half turn, in which nothing is polar.
    """
    mean = 0.5 * (mean + torch.rot90(mean, 2, (-2, -1)))
    side = mean.shape[-1]
    ticks = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    points = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), dim=-1)
    sites = torch.tensor(_sites(lattice, side / 2), dtype=torch.float32)
    away = ((points[None] - sites[:, None, None]) ** 2).sum(-1)
    edge = float(np.sqrt(abs(np.linalg.det(lattice))))
    share = torch.softmax(-away / (2 * (SHARP * edge) ** 2), dim=0)
    slopes = torch.gradient(mean, dim=(1, 2))
    modes = [*slopes]
    for channel in range(len(mean)):
        only = torch.zeros(len(mean), 1, 1)
        only[channel] = 1.0
        modes += [only * share_of for share_of in share]
        modes += [only * share_of * mean for share_of in share]
    turned = [torch.rot90(mode, turn, (-2, -1)).flatten() for mode in modes for turn in range(TURNS)]
    stacked = torch.stack([mode / mode.norm().clamp_min(1e-12) for mode in turned], dim=1).double()
    left, strength, _ = torch.linalg.svd(stacked, full_matrices=False)
    return left[:, strength > SAME**0.5 * strength[0]].float()


def _sites(lattice: Float[np.ndarray, "2 2"], reach: float) -> Float[np.ndarray, "site 2"]:
    """Return places of columns in a square of this half side: lattice points about the middle, and between them."""
    across = int(2 * reach / max(float(np.linalg.norm(lattice, axis=1).min()), 1.0)) + 2
    whole = np.stack(np.meshgrid(*[np.arange(-across, across + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    places = np.concatenate([whole, whole + 0.5]) @ lattice
    edge = float(np.sqrt(abs(np.linalg.det(lattice))))
    return places[np.abs(places).max(axis=1) <= reach + 0.25 * edge]

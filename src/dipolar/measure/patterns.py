"""What is taken from each pattern in one pass: its sum, its bank, its virtual images and a small centred copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from dipolar.core.errors import SettingsError
from dipolar.core.scanning import Bank, View
from dipolar.measure.bank_kernels import measure_patterns
from dipolar.measure.bank_plan import apertures_of, factor_of, grid_of
from dipolar.measure.passes import Wanted, inputs, no_rings, no_sites, outputs
from dipolar.measure.virtual import VirtualImages, friedel

Centre: TypeAlias = Callable[
    [Shaped[np.ndarray, "pattern k_y k_x"], View],
    tuple[Float32[np.ndarray, "pattern 2"], Bool[np.ndarray, " pattern"]],
]
"""Says where the beam of each pattern is, and whether it was found: `dipolar.locate.beam.centres`."""


def totals(patterns: Shaped[np.ndarray, "pattern k_y k_x"], view: View) -> Float32[np.ndarray, " pattern"]:
    """Return the sum of each pattern without the pixels that do not count."""
    middle = np.tile(np.array(view.centre_px, dtype=np.float32), (len(patterns), 1))
    filled = outputs(len(patterns), Wanted())
    plain, words, bits = inputs(patterns, view, 1)
    measure_patterns(plain, words, bits, middle, grid_of(view, 1), no_sites(), no_rings(), 1, filled)
    return filled.totals


def block_of(view: View, size_px: int) -> int:
    """Return the edge of the squares of pixels that make one pixel of a small copy: the least that holds the detector.

    Raises
    ------
    SettingsError
        Less than 4 pixels.
    """
    if size_px < 4:
        raise SettingsError("Small copies of patterns have 4 pixels along an edge, or more.", got=f"{size_px}")
    return max(1, -(-max(view.defective.shape) // size_px))


def _factor_for(view: View, size_px: int) -> int:
    """Return in which squares a small copy is summed: where its pixels are large, the beam need not be in the middle
    of one to better than a pixel of the detector.
    """
    block = block_of(view, size_px)
    return 2 if block >= 4 and block % 2 == 0 and factor_of(view) == 2 else 1


def binned(
    patterns: Shaped[np.ndarray, "pattern k_y k_x"],
    centres: Float32[np.ndarray, "pattern 2"],
    view: View,
    size_px: int,
    *,
    log: bool = False,
) -> Float32[np.ndarray, "pattern size size"]:
    """Return small copies of patterns: sums of whole pixels in square blocks, the beam in the middle.

    Counts stay whole numbers: the beam is put into the middle to the nearest pixel (of two, where blocks are of four
    or more), and none is shared between blocks. A pixel that does not count is as the one opposite the beam, or as
    those around it. What was not recorded is 0.

    Parameters
    ----------
    patterns
        Some patterns of the scan.
    centres
        Their direct beams (k_y, k_x).
    view
        How they are looked at.
    size_px
        Edge of a copy.
    log
        Whether to return log(1 + counts).
    """
    factor = _factor_for(view, size_px)
    wanted = Wanted(size=size_px, block=block_of(view, size_px) // factor)
    filled = outputs(len(patterns), wanted)
    plain, words, bits = inputs(patterns, view, factor)
    grid = grid_of(view, factor)
    measure_patterns(plain, words, bits, centres, grid, no_sites(), wanted.rings, wanted.block, filled)
    return np.log1p(filled.patch, out=filled.patch) if log else filled.patch


def everything(
    patterns: Shaped[np.ndarray, "pattern k_y k_x"],
    view: View,
    centre: Centre,
    *,
    bank: Bank | None = None,
    size_px: int = 0,
    images: VirtualImages | None = None,
) -> dict[str, np.ndarray]:
    """Return all that is wanted of some patterns, each read from memory once.

    Parameters
    ----------
    patterns
        Some patterns of the scan.
    view
        How they are looked at.
    centre
        What finds their beams.
    bank
        Virtual detectors to be counted; None: none.
    size_px
        Edge of small copies; 0: none.
    images
        Virtual images to be summed; None: none.

    Returns
    -------
    dict
        Arrays whose first axis is the pattern: ``centre`` (k_y, k_x), ``found``, ``blank`` (empty, constant or no
        number), ``totals``; with a bank ``counts`` and ``counts_sigma``; with small copies ``patch``; with images one
        array for each, by its name.
    """
    places, found = centre(patterns, view)
    factor = factor_of(view)
    together = not size_px or _factor_for(view, size_px) == factor
    wanted = Wanted(
        sites=0 if bank is None else len(bank.sites),
        rings=no_rings() if images is None else images.rings(factor),
        size=size_px if together else 0,
        block=block_of(view, size_px) // factor if size_px and together else 1,
    )
    filled = outputs(len(patterns), wanted)
    plain, words, bits = inputs(patterns, view, factor)
    sites = no_sites() if bank is None else apertures_of(view, bank, factor)
    measure_patterns(plain, words, bits, places, grid_of(view, factor), sites, wanted.rings, wanted.block, filled)
    made: dict[str, np.ndarray] = {
        "centre": places,
        "found": found,
        "blank": _blank(plain, found, filled.totals),
        "totals": filled.totals,
    }
    if bank is not None:
        made |= {"counts": filled.net, "counts_sigma": filled.sigma}
    if size_px:
        made["patch"] = filled.patch if together else binned(patterns, places, view, size_px)
    if images is not None:
        made |= images.named(filled.images, filled.mass)
        if bank is not None:
            made["Friedel difference"] = friedel(filled.net, filled.sigma, bank)[0]
    return made


def _blank(
    patterns: Shaped[np.ndarray, "pattern k_y k_x"],
    found: Bool[np.ndarray, " pattern"],
    sums: Float32[np.ndarray, " pattern"],
) -> Bool[np.ndarray, " pattern"]:
    """Return which patterns hold nothing; those with a beam hold something."""
    blank = np.zeros(len(patterns), dtype=bool)
    for number in np.flatnonzero(~found):
        pattern = patterns[number]
        # A hot pixel may count in an empty pattern: what counts at all must not be constant.
        blank[number] = not sums[number] > 0 or np.ptp(pattern) == 0
    return blank

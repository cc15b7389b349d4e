"""From an image to what its patches say by themselves: components, clusters, manifolds, or the angle of a variant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import DataError, SettingsError
from dipolar.core.measurement import Measurement
from dipolar.core.nouns import Image, Record
from dipolar.core.unmixing import Components, Stack, Unmixed
from dipolar.recipes.record import Clock, now, versions
from dipolar.recipes.settings import change
from dipolar.recipes.unmix_choices import check_known, settings_of, way_of
from dipolar.recipes.unmix_settings import UnmixSettings
from dipolar.recipes.unmix_sites import Sites, channels_of, cut, measured_in, sites_of

SIZES = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Sizes of patches that `windows` compares, over that asked for."""


def unmix_image(
    image: str | Path | Image | Measurement,
    *,
    settings: UnmixSettings | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> Unmixed:
    """Return what the patches around the lattice sites of one image are made of, found without a label.

    The image is measured, if it was not yet; a patch is cut around every unit cell, or every column of a sublattice,
    centred between pixels, and normalised; then one method says what they are made of: `components` holds the numbers
    for each patch, and the pictures that tell what they mean.

    Parameters
    ----------
    image
        A file, a result file or folder, an image already open, or a measurement.
    settings
        How to unmix; None takes the defaults.
    progress
        Told how far each step has come.
    **changes
        Settings to change by name, for example ``method="gmm", clusters=4, window_px="1.5 cells"``.

    Raises
    ------
    FormatError, SelectionError
        If the file cannot be read as one image.
    ImageError, NoLatticeError
        If no columns can be found in it.
    DataError
        If it holds too few patches, or such as the method cannot take.
    SettingsError
        If a setting is unknown, not allowed, or of no use to the method.
    MissingExtraError
        If the method needs a package that is not installed.
    """
    settings = change(settings or UnmixSettings(), changes)
    if len(settings.methods) > 1:
        raise SettingsError(
            "unmix_image takes one method at a time.",
            got=f'method="{settings.method}"',
            do='measure once, and unmix that: found = measure_image(...); unmix_image(found, method="pca")',
        )
    return next(unmix_one_by_one(image, settings, progress=progress))


def unmix_one_by_one(
    image: str | Path | Image | Measurement, settings: UnmixSettings, *, progress: Progress = silent
) -> Iterator[Unmixed]:
    """Yield what each method of the settings found, as soon as it has; the image is measured once.

    Parameters
    ----------
    image
        As for `unmix_image`.
    settings
        How to unmix.
    progress
        Told how far each step has come.
    """
    check_known(settings)
    work = open_work(image, settings, progress=progress)
    for method in settings.methods:
        yield work.unmix(method)


def open_work(image: str | Path | Image | Measurement, settings: UnmixSettings, *, progress: Progress = silent) -> Work:
    """Return an image ready to be unmixed: measured, with its sites and the channels that patches show."""
    clock = Clock(progress)
    with clock("measuring the image", announce=False):
        measured, inputs = measured_in(image, settings, progress=progress)
        sites = sites_of(measured, inputs, settings)
    with clock("making channels", announce=False):
        channels, names, sums = channels_of(measured, settings.channels, settings.finder, progress=progress)
        sites = replace(sites, inputs={**sites.inputs, **sums})
    return Work(settings=settings, sites=sites, channels=channels, names=names, clock=clock)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """An image with its sites, and the patches cut so far: methods that normalise alike share them."""

    settings: UnmixSettings
    """What was asked for."""
    sites: Sites
    """Where patches stand."""
    channels: Float32[np.ndarray, "channel y x"]
    """What they show."""
    names: tuple[str, ...]
    """What the channels are."""
    clock: Clock
    """Times the steps."""
    stacks: dict[str, Stack] = field(default_factory=dict)
    """Normalisation → patches."""

    def stack(self, method: str) -> Stack:
        """Return the patches for a method; the last ones are kept, as many may fill the memory."""
        normalization = normalization_of(self.settings, method)
        if normalization not in self.stacks:
            self.stacks.clear()
            with self.clock("cutting patches"):
                self.stacks[normalization] = self._cut(normalization, self.sites.window_px)
        return self.stacks[normalization]

    def _cut(self, normalization: str, window_px: int) -> Stack:
        return cut(
            self.sites, self.settings, channels=self.channels, names=self.names, normalization=normalization,
            window_px=window_px,
        )  # fmt: skip

    def unmix(self, method: str) -> Unmixed:
        """Return what one method finds."""
        settings = self.settings
        stack = self.stack(method)
        with self.clock(f"unmixing: {method}", announce=method != "rvae"):
            components = way_of(method, settings)(stack, self.clock.progress)
        if method == "pca" and settings.windows:
            with self.clock("comparing windows"):
                components = self._with_windows(components, stack.normalization)
        mine = (f"unmixing: {method}", *(("comparing windows",) if method == "pca" else ()))
        shared = ("measuring the image", "making channels", "cutting patches")
        seconds = {name: time for name, time in self.clock.seconds.items() if name in (*shared, *mine)}
        return unmixed_of(stack, components, self.sites, settings, seconds)

    def _with_windows(self, components: Components, normalization: str) -> Components:
        """Return components with one more curve: variance explained against the size of patches."""
        from dipolar.unmix import scree_against_window

        edges = sorted({max(4, round(self.sites.window_px * size)) for size in SIZES}, reverse=True)
        stacks = self._of_sizes(edges, normalization)
        first = next(stacks)  # the largest have the fewest sites with room
        few = min(4, len(first.images), edges[-1] ** 2 - 1)
        rng = np.random.default_rng(self.settings.seed)
        every = chain([first], stacks)
        del first  # else it stays in memory beside the others
        curve = scree_against_window(every, rng=rng, components=few)
        return replace(components, curves=(*components.curves, replace(curve, chosen=float(self._edge_px))))

    def _of_sizes(self, edges: Sequence[int], normalization: str) -> Iterator[Stack]:
        """Yield patches of each size, cut one size after the other: together they may fill the memory."""
        for edge in edges:
            if edge == self.sites.window_px:
                yield self.stacks[normalization]
                continue
            try:
                yield self._cut(normalization, edge)
            except (DataError, SettingsError):  # no site has room for a patch of that size, or none is measured whole
                continue

    @property
    def _edge_px(self) -> float:
        """Edge of a patch in image px."""
        return self.sites.window_px * self.sites.step_px


def normalization_of(settings: UnmixSettings, method: str) -> str:
    """Return how patches are normalised for a method, where settings leave it open."""
    if settings.normalization is not None:
        return settings.normalization
    if method == "nmf":  # probabilities too: between pixels, a spline swings a little below 0
        return "range"
    return "none" if settings.channels == "probability" else "patch"


def unmixed_of(
    stack: Stack, components: Components, sites: Sites, settings: UnmixSettings, seconds: dict[str, float]
) -> Unmixed:
    """Return the result of a run: sites, components, and what made them.

    Parameters
    ----------
    stack
        The patches.
    components
        What was found in them.
    sites
        Where they stand.
    settings
        What was asked for.
    seconds
        How long the steps took.
    """
    measured = sites.measured
    record = Record(
        settings=settings_of(components.method, settings).model_dump(),
        versions=_versions(components.method, stack.channels),
        inputs=dict(sites.inputs),
        seeds={"unmix": settings.seed},
        timings_s=seconds,
        created=now(),
        notes=tuple(dict.fromkeys((*components.notes, *_notes(stack, sites)))),
    )
    return Unmixed(
        image=measured.image,
        positions_px=stack.positions_px,
        site=stack.site,
        displacement_px=stack.displacement_px,
        displacement_sigma_px=stack.displacement_sigma_px,
        window_px=int(stack.images.shape[-1]),
        step_px=stack.step_px,
        lattice_px=stack.lattice_px,
        pixel_size_pm=stack.pixel_size_pm,
        centred_on=stack.centred_on,
        channels=stack.channels,
        normalization=stack.normalization,
        dropped=dict(stack.dropped),
        components=components,
        record=record,
    )


def _versions(method: str, channels: Sequence[str]) -> dict[str, str]:
    return versions(networks=method == "rvae" or len(channels) > 1, more=("scikit-learn",))


def _notes(stack: Stack, sites: Sites) -> Iterator[str]:
    if stack.pixel_size_pm is None:
        yield "The pixel size is unknown: lengths are in px. For pm give lattice_pm (--lattice-pm)."
    lost = stack.dropped.get("flagged", 0) + stack.dropped.get("invalid", 0)
    if lost > 0.2 * len(sites.row):
        yield (
            f"{lost} of {len(sites.row)} sites have no patch, as their columns are doubtful or not measured whole: "
            "flagged=True (--flagged) takes those with a flag, too."
        )
    if stack.centred_on == "A":
        yield "On A columns, displacement is that of A in its cage of B: against that of B in its cage of A."

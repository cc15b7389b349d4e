"""Settings of ``dipolar image unmix``; those that it shares with ``measure`` are described there."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from dipolar.recipes.parse import Formats, LengthPm, Region
from dipolar.recipes.predict_settings import as_measured
from dipolar.recipes.settings import Settings

METHODS = ("pca", "nmf", "ica", "gmm", "kmeans", "tsne", "mds", "isomap", "umap", "rvae")
"""Ways to unmix, as they are typed."""
ALL = "all"
WINDOW = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([^\s\d.]*)\s*")
FORMS = "a window is written as px (a bare number), cells or a length, for example 48, '2 cells' or 720pm"
Channels = Literal["image", "probability", "both"]
Centre = Literal["cells", "A", "B"]


def parse_methods(text: str) -> tuple[str, ...]:
    """Return methods one by one from ``"pca,gmm"``; ``"all"`` is all but `umap`, which needs an extra.

    Raises
    ------
    ValueError
        If one is unknown.
    """
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    wrong = [part for part in wanted if part not in (*METHODS, ALL)]
    if wrong or not wanted:
        raise ValueError(f"a method is one of {', '.join(METHODS)}, or several with commas between, or {ALL}")
    every = [name for name in METHODS if name != "umap"]
    return tuple(dict.fromkeys(name for part in wanted for name in (every if part == ALL else [part])))


def parse_window(text: str) -> tuple[float, str]:
    """Return a size and its unit, "px", "pm" or "cells", from ``"48"``, ``"720 pm"``, ``"0.72nm"`` or ``"2 cells"``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    match = WINDOW.fullmatch(text)
    if match is None:
        raise ValueError(FORMS)
    value, unit = float(match[1]), match[2]
    if unit in ("", "px"):
        size, unit = value, "px"
    elif unit in ("cell", "cells"):
        size, unit = value, "cells"
    else:
        from dipolar.core.errors import DipolarError
        from dipolar.io.units import length_pm

        try:
            size, unit = length_pm(text), "pm"
        except DipolarError as error:
            raise ValueError(FORMS) from error
    if not 0 < size < 1e6:
        raise ValueError("a window is larger than nothing")
    return size, unit


def _methods(text: str) -> str:
    return ",".join(parse_methods(text))


def _method_text(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _window(text: str) -> str:
    size, unit = parse_window(text)
    return f"{size:g}" if unit == "px" else f"{size:g} {unit}"


def _window_text(value: object) -> object:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else value


Methods = Annotated[str, BeforeValidator(_method_text), AfterValidator(_methods)]
Window = Annotated[str, BeforeValidator(_window_text), AfterValidator(_window)]


class UnmixSettings(Settings):
    """Settings of ``dipolar image unmix``."""

    method: Methods = Field(
        "pca",
        description=f"How to unmix: {', '.join(METHODS)}; several with commas between, or all. umap needs an extra.",
    )
    components: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Components of pca, nmf and ica; dimensions of a manifold; further latents of rvae, beside the "
        "angle. Not given: 8 for pca, 4 for nmf and ica, 2 for manifolds, 3 for rvae (published: 2).",
    )
    clusters: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Clusters. Not given: four for kmeans and manifolds; for gmm the number of the lowest BIC; for the "
        "others none. Given, loadings and latents are clustered too.",
    )
    window_px: Window = Field(
        "2 cells",
        description="Edge of the patches: a number of their px, a length (720pm), or cells ('2 cells'). In less than "
        "1.8 cells rvae draws dipoles some 5 % too short.",
    )
    step_px: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Image px per patch px. Not given: 1, and more where a cell is wider than 32 px, to make it 24.",
    )
    centred_on: Centre = Field(
        "cells", description="What patches are centred on: unit cells, or the columns of one sublattice."
    )
    channels: Channels = Field(
        "image",
        description="What patches show: the image, the probabilities of A, B and background that a network tells, or "
        "both.",
    )
    normalization: Literal["patch", "stack", "range", "none"] | None = Field(
        None,
        description="patch: each patch mean 0, variance 1. stack: all of them together. range: 0 to 1 over all. Not "
        "given: patch; for nmf, range; for probabilities alone with any other method, none.",
    )
    flagged: bool = Field(False, description="Take sites whose columns carry a doubtful flag, too.")
    covariance: Literal["full", "tied", "diag", "spherical"] | None = Field(
        None, description="Shape of the clusters of a Gaussian mixture. Not given: full."
    )
    dimensions: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Principal components that clusters and manifolds are found in. Not given: 30; gmm: 10.",
    )
    most: int | None = Field(
        None, ge=1, le=100, description="Clusters that gmm tries at most, where none are given. Not given: 10."
    )
    restarts: int | None = Field(
        None, ge=1, le=1000,
        description="Starts of kmeans and gmm, of which the best counts. Not given: 10 for kmeans, 3 for gmm.",
    )  # fmt: skip
    steps: int | None = Field(
        None, ge=1, le=1_000_000,
        description="Steps of an iteration at most. Not given: 300 for kmeans and gmm, 400 for ica, "
        "500 for mds, 1000 for tsne, 2000 for nmf, and umap's own.",
    )  # fmt: skip
    perplexity: float | None = Field(
        None, gt=1, le=1000,
        description="Neighbours of a patch in tsne, roughly. Not given: 30; fewer where patches are few.",
    )  # fmt: skip
    neighbours: int | None = Field(
        None, ge=2, le=1000,
        description="Neighbours of a patch. Not given: 12 in isomap, 15 in umap; fewer where patches are few.",
    )  # fmt: skip
    landmarks: int | None = Field(
        None, ge=3,
        description="Patches that are laid out; the others are placed by them. Not given: 600 in mds, 2000 in isomap.",
    )  # fmt: skip
    patches: int | None = Field(
        None, ge=10, description="Patches that are laid out, or modes found in. Not given: 8000 in tsne, 2000 in nmf."
    )
    architecture: Literal["equivariant", "published"] | None = Field(
        None,
        description="Network of rvae: equivariant, which turns with the patch and finds the angle on every seed (the "
        "default); or published, as in the literature, to compare with.",
    )
    freedom: Literal["rotation", "rotation+translation", "none"] | None = Field(
        None,
        description="What rvae keeps out of its further latents: the rotation (the default), a translation too, or "
        "nothing (published only).",
    )
    directions: int | None = Field(
        None,
        ge=4,
        le=96,
        description="Directions that rvae weighs, a multiple of 4. Not given: 4, for patches of one lattice; 48 suits "
        "patches that are turned as a whole.",
    )
    shift_sigma_px: float | None = Field(
        None, gt=0, description="Standard deviation of the translation that rvae expects, in image px. Not given: 1."
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Passes of rvae through the patches. Not given: 4, more where these are fewer than "
        "40 steps; published: 30. More than 8 lower the loss, and may make more variants wrong in walls.",
    )
    batch: int | None = Field(
        None, ge=1, le=65_536, description="Patches in a step of rvae. Not given: 128; of few patches an eighth."
    )
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="Learning rate of rvae at its peak. Not given: 0.002; published: 0.001."
    )
    starts: int | None = Field(
        None, ge=1, le=1000, description="Patches from which rvae starts its search. Not given: 4."
    )
    hidden: int | None = Field(None, ge=1, le=4096, description="Width of the encoder of rvae. Not given: 64.")
    windows: bool = Field(
        False, description="With pca: how the variance depends on the size of patches, from 0.5 to 1.5 times theirs."
    )
    cluster_angle: bool = Field(
        True, description="Whether the angle counts where latents of rvae are clustered; the others always do."
    )
    seed: int = Field(0, ge=0, description="Seed of all that is random; the same seed gives the same result.")
    pixel_size_pm: LengthPm | None = as_measured("pixel_size_pm")
    lattice_pm: LengthPm | None = as_measured("lattice_pm")
    reference: Region | None = as_measured("reference")
    bright: Literal["A", "B"] = as_measured("bright")
    contrast: Literal["auto", "bright", "dark", "signed"] = as_measured("contrast")
    finder: str | None = Field(
        None,
        description="Network that tells the probabilities: NAME.safetensors. Not given: the one that dipolar brings.",
    )
    select: str | None = as_measured("select")
    trust_pickle: bool = as_measured("trust_pickle")
    figures: Formats = as_measured("figures")

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, one by one."""
        return parse_methods(self.method)

    @property
    def window(self) -> tuple[float, str]:
        """Size of the patches and its unit: px, pm or cells."""
        return parse_window(self.window_px)

    @property
    def figure_formats(self) -> tuple[str, ...]:
        """The figure formats, one by one."""
        return tuple(self.figures.split(","))

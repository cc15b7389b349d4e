"""The nouns of unmixing: patches as descriptors, and what they turn out to be made of, without a label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from dipolar.core.nouns import Image, Record

Method = Literal["pca", "nmf", "ica", "gmm", "kmeans", "tsne", "mds", "isomap", "umap", "rvae"]
"""Ways to unmix, as they are typed."""
Fact = float | int | str | bool
UNTOLD_DEG = 104.0
"""Standard deviation of an angle that may be any, all being as likely."""
LOCKED_DEG = 12.0
"""Dipoles that spread by more about their angle fill the gaps between its values: it has locked to the lattice."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Patches of one image, all centred alike and normalised: the descriptors of its lattice sites."""

    images: Float32[np.ndarray, "patch channel y x"]
    """What each site looks like, normalised as `normalization` says."""
    channels: tuple[str, ...]
    """What the channels are: "image", or the probabilities of "A", "B" and "background", or all of them."""
    positions_px: Float[np.ndarray, "patch 2"]
    """Middle (y, x) of each patch in the image, sub-pixel where patches were interpolated."""
    site: Int32[np.ndarray, " patch"]
    """Row of the cell (or column) that each stands on, in the table it was cut by."""
    displacement_px: Float[np.ndarray, "patch 2"]
    """Displacement (dy, dx) measured at that site, in image px; nan where none is."""
    displacement_sigma_px: Float[np.ndarray, "patch 2"]
    """One standard error of each; nan where unknown."""
    step_px: float
    """Image px per patch px."""
    lattice_px: Float[np.ndarray, "2 2"]
    """Mean lattice vectors a and b as rows of (y, x), in image px."""
    pixel_size_pm: float | None
    """Of the image; None where unknown."""
    centred_on: Literal["cells", "A", "B"]
    """What patches are centred on: unit cells, whose middle is that of their four corners, or columns of a species."""
    normalization: str
    """``patch`` (each patch mean 0, variance 1), ``stack`` (the same over all of them), ``range`` (0 to 1 over all of
    them) or ``none``."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Sites without a patch, counted by reason: ``outside``, ``invalid`` (nan), ``constant``, ``flagged``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """One quantity against another that shows how a choice was made: scree, BIC, residual against components."""

    title: str
    """What is drawn."""
    x_label: str
    """What was varied."""
    y_label: str
    """What came out."""
    x: Float[np.ndarray, " point"]
    """Values that were tried."""
    y: Float[np.ndarray, "line point"]
    """One line for each name in `lines`."""
    lines: tuple[str, ...]
    """Names of the lines."""
    chosen: float | None = None
    """The value of x that was taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Angles:
    """What a rotation-invariant variational autoencoder says of each patch, angle first.

    Angles are counter-clockwise as seen on the screen, ``arctan2(-dy, dx)``.
    """

    angle_deg: Float[np.ndarray, " patch"]
    """Mean direction of the posterior, in (-180, 180]; from any zero unless `registered`."""
    sigma_deg: Float[np.ndarray, " patch"]
    """One standard error: that of the posterior together with the spread of measured dipoles about the angle (of those
    seen in the patches, which is more, where none were measured), and no less than how far off the measured one is
    where that is another; 104 where the dipole is not told from zero."""
    variant: Int32[np.ndarray, " patch"]
    """Number of the peak of the histogram that it belongs to; -1 where there are no peaks, none has a probability of
    0.9, the dipole that is drawn is not told from zero, or is not the one that was measured (see `between`)."""
    posterior: Float[np.ndarray, "patch variant"]
    """Probability of each variant; nan where the dipole is not told from zero."""
    variant_deg: Float[np.ndarray, " variant"]
    """Direction of each variant, in (-180, 180]."""
    dipole_px: Float[np.ndarray, "patch 2"]
    """(dy, dx) of the central column against the corners in what the decoder draws, in image px; nan if unreadable."""
    offset_px: Float[np.ndarray, "patch 2"] | None
    """Translation (dy, dx) latent in image px; None where the network has none."""
    offset_sigma_px: Float[np.ndarray, "patch 2"] | None
    """One standard error of it."""
    latent: Float[np.ndarray, "patch latent"]
    """Means of the further latent dimensions."""
    latent_sigma: Float[np.ndarray, "patch latent"]
    """One standard error of each."""
    registered: bool
    """Whether sense and zero of the angle were set by measured displacements."""
    sense: Literal[1, -1]
    """Sense of rotation of the network's own angle against that on the screen; 1 where it was not registered."""
    zero_deg: float
    """Added to the network's own angle, after its sense."""
    wheel: Float32[np.ndarray, "step channel y x"]
    """What the decoder draws for angles once around, all else at its mean."""
    manifold: Float32[np.ndarray, "row column channel y x"]
    """What it draws over -2 to 2 sigma of the first two further latents (one: a single row), at angle zero."""
    diagnosis: Mapping[str, float]
    """Figures by which collapse and leakage are judged."""
    verdict: Literal["good", "doubtful", "collapsed", "leaked", "noise"]
    """Whether the angle means something; if not, why. ``doubtful``: it is mapped, but something speaks against it."""
    remedy: str
    """What speaks against it and what to do; empty where all is well."""
    history: tuple[Mapping[str, float], ...]
    """One row for each epoch: epoch, loss, reconstruction, divergence, seconds."""
    dipole_sigma_px: Float[np.ndarray, "patch 2"] | None = None
    """One standard error of the dipole that is drawn, from its differences to measured ones; where none were measured,
    to what is seen in the patches, which is too much. None where unknown."""

    @property
    def mapped(self) -> bool:
        """Whether the angle means something, if only with a doubt."""
        return self.verdict in ("good", "doubtful")

    @property
    def polar(self) -> Bool[np.ndarray, " patch"]:
        """Whether the dipole of each patch is told from zero, so that it has a direction."""
        return self.sigma_deg < UNTOLD_DEG

    @property
    def between(self) -> Bool[np.ndarray, " patch"]:
        """Whether each patch is polar and yet of none of the variants, as in a wall between two of them."""
        return self.polar & (self.variant < 0) & bool(len(self.variant_deg))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Components:
    """What a method makes of a stack: numbers for each patch, and pictures that tell what they mean."""

    method: Method
    """The way."""
    names: tuple[str, ...]
    """Of the components, as the columns of tables have them: ``pca_1``, ``nmf_2``, ``tsne_1``, ``latent_1``."""
    scores: Float[np.ndarray, "patch component"]
    """Loadings, or coordinates on a manifold; nan for patches that a subsampled method could not place."""
    modes: Float32[np.ndarray, "mode channel y x"] | None = None
    """Pictures of the components; None for methods that have none."""
    mean: Float32[np.ndarray, "channel y x"] | None = None
    """Mean of the stack, which modes are added to."""
    strength: Float[np.ndarray, " component"] | None = None
    """Share of the variance that each component explains."""
    cluster: Int32[np.ndarray, " patch"] | None = None
    """Number of the cluster of each patch, from 0, the largest first; -1 where it has none."""
    posterior: Float[np.ndarray, "patch cluster"] | None = None
    """Probability of each cluster."""
    cluster_means: Float32[np.ndarray, "cluster channel y x"] | None = None
    """Mean patch of each cluster."""
    curves: tuple[Curve, ...] = ()
    """How choices were made."""
    angles: Angles | None = None
    """For the rVAE."""
    settings: Mapping[str, Fact] = field(default_factory=dict)
    """What the method was told, seed included."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What it says of itself: converged, iterations, BIC, stress, explained variance, CPU seconds."""
    notes: tuple[str, ...] = ()
    """What a reader must know: not converged and what to do, subsampled, modes mixed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unmixed:
    """What one run of ``dipolar image unmix`` found, with all that maps and tables need; not the patches themselves."""

    image: Image
    """The image that patches were cut from."""
    positions_px: Float[np.ndarray, "patch 2"]
    """Middle (y, x) of each patch in the image."""
    site: Int32[np.ndarray, " patch"]
    """Row of the cell (or column) that each stands on, in the table of the measurement."""
    displacement_px: Float[np.ndarray, "patch 2"]
    """Displacement (dy, dx) measured there, in image px; nan where none is."""
    displacement_sigma_px: Float[np.ndarray, "patch 2"]
    """One standard error of each; nan where unknown."""
    window_px: int
    """Edge of the patches, in patch px."""
    step_px: float
    """Image px per patch px."""
    lattice_px: Float[np.ndarray, "2 2"]
    """Mean lattice vectors a and b as rows of (y, x), in image px."""
    pixel_size_pm: float | None
    """Of the image; None where unknown."""
    centred_on: Literal["cells", "A", "B"]
    """What patches are centred on."""
    channels: tuple[str, ...]
    """What their channels are."""
    normalization: str
    """How they were normalised."""
    dropped: Mapping[str, int]
    """Sites without a patch, counted by reason."""
    components: Components
    """What they are made of."""
    record: Record
    """What made it."""

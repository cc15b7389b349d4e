"""What unmixing found → one figure sheet for each method, with its caption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.figure import Figure

from dipolar.core.errors import SettingsError
from dipolar.core.unmixing import Method, Unmixed

from . import style
from .unmix_angles import angle_sheet
from .unmix_clusters import cluster_sheet
from .unmix_linear import linear_sheet
from .unmix_manifolds import manifold_sheet

SHEETS: Mapping[Method, Callable[[Unmixed], Figure]] = {
    "pca": linear_sheet,
    "nmf": linear_sheet,
    "ica": linear_sheet,
    "gmm": cluster_sheet,
    "kmeans": cluster_sheet,
    "tsne": manifold_sheet,
    "mds": manifold_sheet,
    "isomap": manifold_sheet,
    "umap": manifold_sheet,
    "rvae": angle_sheet,
}
"""Method → the function that draws its sheet."""
CLUSTERS = (
    "Clusters follow whatever differs most: composition, thickness and tilt as well as the variant. Compare them "
    "with the measured displacement."
)
ABOUT: Mapping[Method, str] = {
    "pca": "Modes that explain the most variance, each at right angles to the others, and their loadings, blue below "
    "zero and ochre above. A mode is a direction in the space of patches, not an object: one domain may need two, and "
    "its sign is free.",
    "nmf": "Patches as sums of modes that are nowhere negative. Modes overlap, and depend on how patches were scaled. "
    "Percentages are shares of the squared signal of all modes, not of the variance.",
    "ica": "Modes whose loadings are as independent of each other as can be. Where loadings are Gaussian there is "
    "nothing to find.",
    "gmm": f"Patches sorted into clusters by a Gaussian mixture, with a probability each. {CLUSTERS}",
    "kmeans": f"Patches sorted into clusters of equal width. {CLUSTERS}",
    "tsne": "Patches laid out so that neighbours stay neighbours. Distances between groups, their sizes and their "
    "densities mean nothing.",
    "mds": "Patches laid out so that distances are kept as well as a plane can.",
    "isomap": "Patches laid out by their distances along the manifold that they lie on.",
    "umap": "Patches laid out so that neighbours stay neighbours. Distances between groups mean little.",
    "rvae": "An autoencoder that tells how far a patch is turned apart from all else. On a square lattice the angle "
    "snaps to the lattice: four equal peaks can be the lattice's own. The decoded dipole, the shift of the central "
    "column in what the network draws, follows directions in between; it is what to read.",
}
"""What a sheet says, and what it cannot say."""


def unmixing_sheet(unmixed: Unmixed) -> Figure:
    """Return the figure sheet of the method that was used."""
    return SHEETS[unmixed.components.method](unmixed)


def render_sheet(unmixed: Unmixed, *, formats: Sequence[str] = ("png",)) -> dict[str, bytes]:
    """Return the sheet in every format, drawn once.

    Raises
    ------
    SettingsError
        A format is not one of png, svg, pdf.
    """
    unknown = [name for name in formats if name not in style.FORMATS]
    if unknown or not formats:
        raise SettingsError(
            "Figures are written as " + ", ".join(style.FORMATS) + ".",
            got=", ".join(map(repr, unknown)) or "no format",
            do='formats=("png", "pdf")',
        )
    drawn = unmixing_sheet(unmixed)
    return {file_format: style.encode(drawn, file_format) for file_format in formats}


def sheet_caption(unmixed: Unmixed) -> str:
    """Return what the sheet shows, what its colours mean, and what it cannot say."""
    colours = "Colours of displacements: hue is the direction on the screen, distance from white the length. "
    channels = f"Channels of a patch, left to right and down: {', '.join(unmixed.channels)}. "
    several = channels if len(unmixed.channels) > 1 else ""
    return f"{ABOUT[unmixed.components.method]} {colours}{several}Grey sites have no value."

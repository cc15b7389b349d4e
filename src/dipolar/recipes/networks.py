"""Two networks at work on an image: what they see of it, the columns that one finds, the cells that the other knows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import uniform_filter

from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import ImageError
from dipolar.core.flags import Flag
from dipolar.core.nouns import Cells, Columns, Image
from dipolar.learn.networks import Regressor
from dipolar.learn.predictor import Model, Said, at_points, find_columns, nearest_to, predict
from dipolar.learn.scale import Seen, scale_of, see
from dipolar.locate import Contrast, columns_of, find_steps, locate_with_sites
from dipolar.locate.contrast import Polarity, find_polarity
from dipolar.locate.peaks import column_scales
from dipolar.measure import build_cells
from dipolar.recipes.models import by_name

INVALID = 0.25
"""Share of a network's window that was not measured, beyond which a cell is flagged and a map tells nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """An image as networks see it, and what is known of its lattice."""

    image: Image
    """The image as it is."""
    bright: Image
    """The image with bright columns: turned upside down where they are dark."""
    polarity: Polarity
    """Whether it was."""
    steps_px: Float[np.ndarray, "2 2"]
    """The two A-B steps."""
    seen: Seen
    """At the scale of networks, normalised."""


def look(image: Image, *, contrast: Contrast = "auto") -> View:
    """Return an image as networks see it.

    Parameters
    ----------
    image
        As it was opened.
    contrast
        How its columns stand out; "auto" finds out.

    Raises
    ------
    ImageError
        If its columns are neither all bright nor all dark, or its cells have a size that networks cannot see.
    NoLatticeError
        If it shows no lattice.
    """
    data, valid = image.data, np.isfinite(image.data)
    filled = data if valid.all() else np.where(valid, data, np.float32(np.median(data[valid])))
    steps, _ = find_steps(filled, valid)
    _, filtered = column_scales(filled, step_px=float(np.sqrt(np.mean(np.sum(steps**2, axis=1)))))
    polarity = find_polarity(data, filtered, valid, contrast=contrast)
    if polarity.kind == "signed":
        raise ImageError(
            "networks see images in which all columns are bright, or all dark.",
            got="a signed image (iDPC, DPC), with values on both sides of zero",
            do="measure it by fitting: dipolar image measure; or give --contrast bright if it is not signed",
        )
    bright = replace(image, data=polarity.turned(data))
    seen = see(bright.data, cell_px=cell_edge_px(steps))
    return View(image=image, bright=bright, polarity=polarity, steps_px=steps, seen=seen)


def cell_edge_px(steps_px: Float[np.ndarray, "2 2"]) -> float:
    """Return the square root of the area of the unit cell: a and b are sum and difference of the two A-B steps."""
    p1, p2 = steps_px
    return float(np.sqrt(2.0 * abs(p1[0] * p2[1] - p1[1] * p2[0])))


def focus(view: View, columns: Columns) -> View:
    """Return an image at the scale at which networks that tell displacement learn: that of its columns.

    The lattice of a whole image, before any column is found, is off by up to 1.5 %, and lengths would be with it.

    Parameters
    ----------
    view
        What the finder saw.
    columns
        What it found.
    """
    cell_px = cell_edge_px(columns.steps_px)
    if scale_of(cell_px) == view.seen.scale:
        return view
    return replace(view, steps_px=columns.steps_px, seen=see(view.bright.data, cell_px=cell_px))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Networks:
    """The two that work together."""

    finder: Model
    """Finds columns."""
    regressor: Model
    """Tells displacement."""

    @property
    def sums(self) -> dict[str, str]:
        """File name → sha256, for models that came from files."""
        both = (self.regressor, self.finder)
        return by_name((f"{one.name}.safetensors", one.card.sha256) for one in both if one.card.sha256)

    def again(self, image: Image, *, contrast: Contrast) -> tuple[Columns, Cells]:
        """Return what they say of another image."""
        view = look(image, contrast=contrast)
        columns, _ = find(self.finder, view)
        return columns, tell(self.regressor, focus(view, columns), build_cells(columns))[0]


def find(
    finder: Model, view: View, *, refine: bool = False, progress: Progress = silent
) -> tuple[Columns, Float32[np.ndarray, "class h w"]]:
    """Return the columns that a network finds, and the probability of A, of B and of background at every second pixel.

    Parameters
    ----------
    finder
        The network.
    view
        What it sees.
    refine
        Fit the columns, starting where it found them; otherwise they stay there, and their shape is not known.
    progress
        Told how far it has come.

    Raises
    ------
    NoLatticeError
        If what it found forms no crystal.
    """
    found, probability = find_columns(finder, view.seen, progress=progress)
    there = _on_measured_pixels(found.positions, view.image.data)
    points, sigma, share_of_a = found.positions[there], found.sigma[there], found.share_of_a[there]
    if refine:
        columns, _ = locate_with_sites(view.image, contrast=view.polarity.kind, guesses_px=points, progress=progress)
        return columns, probability
    columns = columns_of(view.bright, points, sigma_px=sigma, share_of_a=share_of_a, steps_px=view.steps_px)
    sign = view.polarity.sign
    return replace(columns, amplitude=sign * columns.amplitude, background=sign * columns.background), probability


def _on_measured_pixels(
    points_px: Float[np.ndarray, "point 2"], data: Float32[np.ndarray, "y x"]
) -> Bool[np.ndarray, " point"]:
    """Return which points lie on a pixel that was measured: networks see columns beyond the rim, too."""
    at = np.rint(points_px).astype(int)
    inside = np.all((at >= 0) & (at < data.shape), axis=1)
    at = np.where(inside[:, None], at, 0)
    return inside & np.isfinite(data[at[:, 0], at[:, 1]])


def tell(regressor: Model, view: View, cells: Cells, *, progress: Progress = silent) -> tuple[Cells, Said]:
    """Return cells with the displacement, sigma and flags that a network gives them; and all that it says.

    Parameters
    ----------
    regressor
        The network.
    view
        What it sees.
    cells
        Where to ask; their edges stay as they are.
    progress
        Told how far it has come.
    """
    said = predict(regressor, view.seen, progress=progress)
    points, scale = view.seen.to_network(cells.positions_px), view.seen.scale
    variance = (at_points(said.sigma, points) / scale) ** 2
    flags = cells.flags.copy()
    flags[nearest_to(said.unfamiliar, points) > 1.0] |= np.uint32(Flag.UNFAMILIAR)
    share = unmeasured_share(view, window_px=regressor.card.window_px)
    flags[at_points(share, cells.positions_px, stride=1) > INVALID] |= np.uint32(Flag.NEAR_INVALID)
    told = replace(
        cells,
        displacement_px=at_points(said.values[..., :2], points) / scale,
        covariance_px2=variance[:, :, None] * np.eye(2),
        flags=flags,
    )
    return told, said


def unmeasured_share(view: View, *, window_px: int) -> Float32[np.ndarray, "y x"]:
    """Return, at every pixel of the image, which share of the window around it was not measured.

    Parameters
    ----------
    view
        The image.
    window_px
        Edge of the window, in network px.
    """
    unmeasured = (~np.isfinite(view.image.data)).astype(np.float32)
    return uniform_filter(unmeasured, size=max(round(window_px / view.seen.scale), 1))


def blind(view: View, *, window_px: int) -> Bool[np.ndarray, "h w"]:
    """Return the points of the regressor's grid within the image where too little was measured to tell anything.

    That is, where the pixel itself was not, or more than a quarter of the window around it.

    Parameters
    ----------
    view
        The image.
    window_px
        Edge of the window, in network px.
    """
    stride, data = Regressor.stride, view.image.data
    on_grid = [np.arange(-(-size // stride)) * stride + (stride - 1) / 2.0 for size in view.seen.shape]
    y, x = (
        np.clip(np.rint((points + 0.5) / view.seen.scale - 0.5).astype(int), 0, size - 1)
        for points, size in zip(on_grid, data.shape, strict=True)
    )
    at = np.ix_(y, x)
    return ~np.isfinite(data[at]) | (unmeasured_share(view, window_px=window_px)[at] > INVALID)

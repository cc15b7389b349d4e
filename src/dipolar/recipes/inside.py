"""Looking inside a network: what its layers make of an image, what they look for, and where its outputs look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from dipolar.core.atomic import atomic_file
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import NoLatticeError, OutputError, SettingsError
from dipolar.core.nouns import Image
from dipolar.learn.inside import saliency
from dipolar.learn.networks import Finder, Regressor
from dipolar.learn.predictor import Model, at_points
from dipolar.learn.store import read_model
from dipolar.locate import locate_with_sites
from dipolar.measure import build_cells
from dipolar.recipes.inside_layers import (
    AROUND_PX,
    Layer,
    Network,
    layers_of,
    plain_network,
    preferred_by,
    surroundings,
)
from dipolar.recipes.inside_settings import InsideSettings
from dipolar.recipes.measure import open_or_take
from dipolar.recipes.models import DOES, open_model
from dipolar.recipes.networks import View, look
from dipolar.recipes.settings import MeasureSettings, change
from dipolar.report.inside_sheet import Inside, inside_figure
from dipolar.report.style import FORMATS, encode

OUTPUTS = {"regressor": ("dy", "dx"), "finder": ("a", "b", "dy", "dx")}
"""Outputs whose slopes are shown, by kind of network."""
NEIGHBOURHOOD_CELLS = 6.0
"""Half the edge of the region in which the cell at a place is sought."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What was found inside a network, at one cell of an image."""

    model: Model
    """The network; of an ensemble, the first member was looked into."""
    image: str
    """Name of the image."""
    at_px: tuple[float, float]
    """Middle (y, x) of the cell, or the place itself where windows slide."""
    values: Mapping[str, float]
    """What the network says there, by output; displacement in px of the image."""
    inside: Inside
    """Maps, preferred inputs and slopes."""


def look_inside(
    image: str | Path | Image,
    *,
    model: str | Path | Model | None = None,
    settings: InsideSettings | None = None,
    progress: Progress = silent,
    **changes: Any,
) -> Look:
    """Return what every layer of a network makes of the surroundings of a cell, looks for, and which pixels count.

    Feature maps of every layer; inputs that excite the liveliest channels of each layer most, by gradient ascent; and
    the slope of the outputs at that cell with respect to every pixel.

    Parameters
    ----------
    image
        A file, or an image already open.
    model
        A network that tells displacement or finds columns: a file, or a model already open; None: the one that dipolar
        brings along to tell displacement.
    settings
        Where to look; None takes the defaults.
    progress
        Told how far it has come.
    **changes
        Settings to change by name, for example ``at="512,300"``.

    Raises
    ------
    FormatError, SelectionError, ChecksumError
        If the file cannot be read as one image, or a model not as a whole one.
    ImageError, NoLatticeError
        If networks cannot see such an image.
    SettingsError
        If the place is outside of the image, or the model of a kind that is applied window by window.
    """
    settings = change(settings or InsideSettings(), changes)
    opened = _open(model)
    picture, _ = open_or_take(image, MeasureSettings(select=settings.select, trust_pickle=settings.trust_pickle))
    progress("looking inside", 0.0)
    view = look(picture, contrast=settings.contrast)
    at = _place(view, settings, opened)
    crop, place = surroundings(view.seen, at, reach_px=opened.card.window_px + AROUND_PX)
    network = plain_network(opened)
    layers = layers_of(opened, view.seen, at)
    preferred = {}
    rng = np.random.default_rng(settings.seed)
    for number, layer in enumerate(layers):
        preferred[layer.title] = preferred_by(network, layer, settings.ascent, rng)
        progress("looking inside", (number + 1) / len(layers))
    return Look(
        model=opened,
        image=picture.name,
        at_px=at,
        values=_values(opened, layers, place, view.seen.scale),
        inside=Inside(
            image=crop,
            maps={layer.title: layer.maps for layer in layers},
            preferred=preferred,
            saliency=_slopes(network, opened, crop, place),
        ),
    )


def _open(model: str | Path | Model | None) -> Model:
    if model is None:
        return open_model(None, "regressor")
    opened = model if isinstance(model, Model) else read_model(model)
    if opened.card.kind not in OUTPUTS:
        raise SettingsError(
            "networks that work on whole images can be looked into.",
            got=f"{opened.name}, a {opened.card.kind} network: it {DOES[opened.card.kind]}",
            do="give a model of dipolar image train with --model, or leave it out",
        )
    return opened


def _place(view: View, settings: InsideSettings, model: Model) -> tuple[float, float]:
    """Return where to look: the middle of the nearest cell, or the place itself for networks that see any place."""
    tall, wide = view.image.data.shape
    y, x = settings.at_px or ((tall - 1) / 2.0, (wide - 1) / 2.0)
    if y > tall - 1 or x > wide - 1:
        raise SettingsError(
            "the place must lie in the image.",
            got=f"at = {y:g},{x:g}; the image has {tall} × {wide} px",
            do=f"a place up to {tall - 1},{wide - 1}: --at y,x",
        )
    if model.card.kind == "finder" or model.card.windows == "sliding":
        return float(y), float(x)
    return _nearest_cell(view, (float(y), float(x)))


def _nearest_cell(view: View, at_px: tuple[float, float]) -> tuple[float, float]:
    """Return the middle of the cell at a place, of the columns around it; the place itself where there is no cell."""
    reach = round(NEIGHBOURHOOD_CELLS * view.seen.cell_px)
    (y0, y1), (x0, x1) = (
        (max(round(middle) - reach, 0), min(round(middle) + reach + 1, size))
        for middle, size in zip(at_px, view.bright.data.shape, strict=True)
    )
    part = replace(view.bright, data=np.ascontiguousarray(view.bright.data[y0:y1, x0:x1]))
    try:
        columns, _ = locate_with_sites(part, contrast="bright")
    except NoLatticeError:
        return at_px
    middles = build_cells(columns).positions_px + np.array([y0, x0], dtype=np.float64)
    if not len(middles):
        return at_px
    y, x = middles[np.argmin(np.sum((middles - np.array(at_px)) ** 2, axis=1))]
    return float(y), float(x)


def _grid(network: Network, place: tuple[float, float], shape: tuple[int, int]) -> tuple[int, int]:
    """Return the point of a network's grid that is nearest to a place in network px."""
    stride = Finder.stride if isinstance(network, Finder) else Regressor.stride
    y, x = (
        min(max(round((middle - (stride - 1) / 2.0) / stride), 0), size // stride - 1)
        for middle, size in zip(place, shape, strict=True)
    )
    return y, x


def _slopes(
    network: Network, model: Model, crop: Float32[np.ndarray, "y x"], place: tuple[float, float]
) -> dict[str, Float32[np.ndarray, "y x"]]:
    names = list(Finder.outputs) if model.card.kind == "finder" else ["dy", "dx"]
    at = _grid(network, place, (crop.shape[0], crop.shape[1]))
    return {name: saliency(network, crop, output=names.index(name), at=at) for name in OUTPUTS[model.card.kind]}


def _values(model: Model, layers: Sequence[Layer], place: tuple[float, float], scale: float) -> dict[str, float]:
    """Return what a network says at a place, in image px; a finder, nothing that one number tells."""
    if model.card.kind == "finder":
        return {}
    head = next(layer.maps for layer in layers if layer.name == "head")
    dy, dx = at_points(np.ascontiguousarray(np.moveaxis(head[:2], 0, -1)), np.array([place]))[0] / scale
    return {"dy_px": float(dy), "dx_px": float(dx)}


def check_figure(out: str | Path, *, read: Path | None = None) -> Path:
    """Return the file that the figure shall go to, if it can.

    Parameters
    ----------
    out
        A name that ends in .png, .svg or .pdf.
    read
        The image, which is not written over.

    Raises
    ------
    OutputError
        If it has another ending, or there is a file that dipolar did not draw.
    """
    out = Path(out)
    if out.suffix.lower().removeprefix(".") not in FORMATS:
        raise OutputError(
            "the figure is a png, svg or pdf file.", got=str(out), do=f"--out {out.with_suffix('.png').name}"
        )
    mine = out.is_file() and (read is None or out.resolve() != read.resolve()) and b"dipolar" in out.read_bytes()
    if out.exists() and not mine:
        raise OutputError(
            "only a figure that dipolar drew is replaced.",
            got=f"{out}: there already, and not made by dipolar",
            do="choose another name with --out, or move it away",
        )
    return out


def write_look(look: Look, out: str | Path) -> Path:
    """Write the figure of a look inside a network, and return its path.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    out = check_figure(out)
    y, x = look.at_px
    title = f"{look.model.name} at y {y:.0f}, x {x:.0f} px of {look.image}".strip()
    content = encode(inside_figure(look.inside, name=title), out.suffix.lower().removeprefix("."))
    with atomic_file(out) as part:
        part.write_bytes(content)
    return out

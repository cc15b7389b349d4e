"""``dipolar image inside``: what a network makes of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dipolar.cli import show
from dipolar.recipes.inside_settings import InsideSettings


def inside(
    image: Path,
    /,
    *,
    model: Path | None = None,
    out: Path = Path("inside.png"),
    options: Annotated[InsideSettings | None, Parameter(name="*")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show what each layer of a network makes of an image, what it looks for, and which pixels count for a cell.

    Parameters
    ----------
    image
        A file, as for `dipolar image measure`.
    model
        Network that tells displacement or finds columns: NAME.safetensors. Default: the one that dipolar brings along
        to tell displacement.
    out
        The figure: a png, svg or pdf file.
    json
        Print one JSON object on standard output, and everything else on standard error.
    """
    from dipolar.recipes.inside import check_figure, look_inside, write_look

    figure = check_figure(out, read=image)
    with show.progress_bars() as progress:
        found = look_inside(image, model=model, settings=options, progress=progress)
        write_look(found, figure)
    y, x = found.at_px
    layers = {name: len(maps) for name, maps in found.inside.maps.items()}
    if json:
        told = {"model": found.model.name, "at_px": [y, x], **found.values, "layers": layers}
        show.as_json({"status": "done", **told, "figure": str(figure.resolve())})
        return
    said = "".join(f", {name.removesuffix('_px')} {value:.2f} px" for name, value in found.values.items())
    show.line(f"{found.model.name} at y {y:.1f}, x {x:.1f} px{said}; {len(layers)} layers")
    show.line(str(figure))

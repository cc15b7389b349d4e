"""The sheet of a rotation-invariant autoencoder: where angles point and which variants they are, or why not to ask."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dipolar.core.unmixing import LOCKED_DEG, Angles, Unmixed

from . import colour, style
from .unmix_angle_parts import circle_of, decoded_wheel, draw_diagnosis, draw_history, draw_manifold, notice_lines
from .unmix_clusters import cluster_maps, direction_colours, map_places, mean_sections, measured, vector_colours, wheel
from .unmix_parts import (
    MARGIN_MM,
    Section,
    Tiles,
    curve_section,
    draw_map,
    draw_values,
    sheet,
    text_mm,
    tiles_of,
)
from .wording import number

TITLE = "Rotation-invariant autoencoder"
RED, PALE = "#B00020", "#FDECEE"
MOST_LATENTS = 4
LEAST_DEG = 0.1
"""Sigma of an angle below which it does not matter how little it is."""


@style.styled
def angle_sheet(unmixed: Unmixed) -> Figure:
    """Return maps of the decoded dipole and of the angle, its histogram, what is decoded, latents, and the diagnosis.

    Where the diagnosis finds that the angle means nothing, a notice with the remedy stands in the place of its maps;
    where it is doubtful, above them.
    """
    found = unmixed.components.angles
    tiles = tiles_of(unmixed)
    if found is None:
        return sheet(_without_angle(unmixed, tiles), title="Autoencoder", name=unmixed.image.name)
    sections = [] if found.verdict == "good" else [_notice(found)]
    sections += [_dipole_maps(unmixed, found, tiles)] if found.mapped or found.verdict == "leaked" else []
    sections.append(_decoded(unmixed, found))
    if found.latent.shape[1] or found.offset_px is not None:
        sections.append(_latents(unmixed, found, tiles))
    if unmixed.components.cluster is not None:
        sections += [cluster_maps(unmixed, tiles), *mean_sections(unmixed)]
    sections.append(_training(unmixed, found))
    return sheet(sections, title=TITLE, name=unmixed.image.name)


def _without_angle(unmixed: Unmixed, tiles: Tiles) -> list[Section]:
    """Return maps of the latents of a network that was left no angle, and the course of its training."""
    found = unmixed.components
    count = min(len(found.names), MOST_LATENTS)
    width, height, places = map_places(tiles, max(count, 3), room=style.TWO_COLUMNS_MM)
    width, height = width - 7.0, height * (width - 7.0) / width

    def draw(drawn: Figure, top: float) -> None:
        for place in range(count):
            where = (places[place][0], top + places[place][1], width, height)
            title = found.names[place].replace("_", " ")
            draw_values(drawn, where, tiles, found.scores[:, place], title=title)

    sections = [Section(title="the latents", tall_mm=places[count - 1][1] + height + 4, draw=draw)]
    if found.cluster is not None:
        sections += [cluster_maps(unmixed, tiles), *mean_sections(unmixed)]
    return [*sections, curve_section(found.curves[:3], title="how it learned")] if found.curves else sections


def _notice(found: Angles) -> Section:
    """Return a red box that says what is wrong and what to do."""
    lines = notice_lines(found)
    tall = 10.0 + 4.2 * len(lines)

    def draw(drawn: Figure, top: float) -> None:
        width, height = (float(inches) / style.MM for inches in drawn.get_size_inches())
        box = Rectangle(
            (MARGIN_MM / width, 1 - (top + tall - 3) / height), 1 - 2 * MARGIN_MM / width, (tall - 4) / height,
            transform=drawn.transFigure, facecolor=PALE, edgecolor=RED, linewidth=1.2,
        )  # fmt: skip
        drawn.add_artist(box)
        text_mm(drawn, (MARGIN_MM + 4, top + 3), lines[0], size=9.0, weight="bold", ink=RED)
        text_mm(drawn, (MARGIN_MM + 4, top + 8.5), "\n".join(lines[1:]), size=7.5)

    return Section(title="", tall_mm=tall, draw=draw)


def _dipole_maps(unmixed: Unmixed, found: Angles, tiles: Tiles) -> Section:
    """Return the maps of the dipole, of the angle alone, and of what was measured, with their wheels.

    The angle is left out where it is of no variant: in a wall the network tells that of one side.
    """
    dipoles, radius, unit = vector_colours(unmixed, found.dipole_px)
    angle = np.radians(np.where(found.polar & ~found.between, found.angle_deg, np.nan))
    turns = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    maps = [("decoded dipole", dipoles)]
    if found.mapped:
        maps.append(("angle", colour.displacement_colours(turns, full_radius=1.0)))
    if measured(unmixed):
        shades, full, _ = direction_colours(unmixed)
        maps.append((f"measured, full colour at {number(full, 2)} {unit}", shades))
    room = style.TWO_COLUMNS_MM - 30.0
    width, height, places = map_places(tiles, len(maps), room=room)
    tall = max(places[-1][1] + height, 40.0)

    def draw(drawn: Figure, top: float) -> None:
        for (title, shades), (left, down) in zip(maps, places, strict=True):
            axes = style.axes_mm(drawn, left, top + down, width, height)
            draw_map(axes, tiles, shades, title=title)
            if (left, down) == places[0]:
                style.scale_bar(axes, unmixed.pixel_size_pm)
        wheel(drawn, (style.TWO_COLUMNS_MM - 24, top + 8), unmixed, radius=radius)
        text_mm(drawn, (style.TWO_COLUMNS_MM - 28, top + 33), _told(unmixed, found, unit), ink=style.QUIET)

    title = "which way, at every site"
    if not found.mapped:
        title = "the dipole that is drawn, which the other latents tell together with the angle"
    return Section(title=title, tall_mm=tall + 4, draw=draw)


def _told(unmixed: Unmixed, found: Angles, unit: str) -> str:
    scale = 1.0 if unmixed.pixel_size_pm is None else unmixed.pixel_size_pm
    lengths = np.hypot(*found.dipole_px.T)
    known = lengths[np.isfinite(lengths)]
    length = f"{number(scale * float(np.median(known)), 3)} {unit}" if len(known) else "unreadable"
    if not found.mapped:
        return f"median dipole\n{length}"
    if not found.polar.any():
        return f"median dipole\n{length}\nnone told from zero"
    spread = float(np.nanmedian(found.sigma_deg[found.polar]))
    sigma = number(spread, 2) if spread > LEAST_DEG else f"< {LEAST_DEG:g}"
    if not found.polar.all():
        sigma = f"{sigma}°; {number(100 * float(found.polar.mean()), 2)} % are polar"
    else:
        sigma += "°"
    drawn = "zero is that of\nthe dipole drawn" if np.isfinite(found.dipole_px).any() else "from any zero"
    zero = "sense and zero\nas measured" if found.registered else drawn
    between = f"\n{number(100 * float(found.between.mean()), 2)} % between variants" if found.between.any() else ""
    return f"median dipole\n{length}\nmedian σ of the angle\n{sigma}{between}\nangle: {zero}"


def _decoded(unmixed: Unmixed, found: Angles) -> Section:
    """Return the histogram around the circle, the pictures around it, and the grid over two latents."""
    tall = 58.0

    def draw(drawn: Figure, top: float) -> None:
        left = MARGIN_MM
        if found.mapped:
            circle_of(drawn, (left, top + 1), found)
            left += 60.0
        decoded_wheel(drawn, (left, top + 1), found)
        left += 60.0
        draw_manifold(drawn, (left, top + 5), found, edge_mm=47.0)

    title = "angles and their variants; what is decoded around the circle; and over ±2σ of the other latents"
    about = found.diagnosis.get("dipole_about_angle_deg", 0.0)
    if not found.mapped:
        title = "what is decoded around the circle, and over ±2σ of the other latents"
    elif about > LOCKED_DEG:
        title = f"the angle is locked to the lattice, dipoles spread by {number(about, 2)}° about it; what is decoded"
    return Section(title=title, tall_mm=tall, draw=draw)


def _latents(unmixed: Unmixed, found: Angles, tiles: Tiles) -> Section:
    """Return maps of the further latents and of the offset."""
    count = min(found.latent.shape[1], MOST_LATENTS)
    total = count + (found.offset_px is not None)
    width, height, places = map_places(tiles, max(total, 3), room=style.TWO_COLUMNS_MM - 26.0)
    width, height = width - 7.0, height * (width - 7.0) / width
    tall = max(places[total - 1][1] + height, 32.0 if found.offset_px is not None else 0.0)

    def draw(drawn: Figure, top: float) -> None:
        for place in range(count):
            left, down = places[place]
            where = (left, top + down, width, height)
            draw_values(drawn, where, tiles, found.latent[:, place], title=f"latent {place + 1}")
        if found.offset_px is not None:
            left, down = places[count]
            shades, radius, _ = vector_colours(unmixed, _from_middle(found.offset_px))
            draw_map(style.axes_mm(drawn, left, top + down, width, height), tiles, shades, title="offset")
            wheel(drawn, (style.TWO_COLUMNS_MM - 23, top + 6), unmixed, radius=radius)

    return Section(title="the other latents" if count else "the offset", tall_mm=tall + 4, draw=draw)


def _from_middle(offset_px: Float[np.ndarray, "patch 2"]) -> Float[np.ndarray, "patch 2"]:
    return offset_px - np.nanmedian(offset_px, axis=0)


def _training(unmixed: Unmixed, found: Angles) -> Section:
    def draw(drawn: Figure, top: float) -> None:
        above = style.axes_mm(drawn, MARGIN_MM + 13, top + 4, 62, 24)
        draw_history(above, style.axes_mm(drawn, MARGIN_MM + 13, top + 31, 62, 10), found)
        draw_diagnosis(drawn, (MARGIN_MM + 88, top + 4), unmixed.components, found)

    return Section(title="how it learned, and what tells whether the angle can be trusted", tall_mm=53.0, draw=draw)

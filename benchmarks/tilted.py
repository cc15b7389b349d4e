"""Images under a tilted beam: how fast they are drawn from the library of tilt, CPU seconds.

Every library has one thread: small products of matrices are otherwise handed to and fro between threads that wait.

render   images of 512², 25 px a cell, some 420 cells, per second and core. Every one has a tilt, a bend, a thickness, a
         wedge, a focus and a source of its own, and counting noise; B is displaced by two domains
           drawn     columns set down, new tables of stamps included
           counted   counting noise alone
           kept      columns set down once more with the same tables: other places, the same tilts and thicknesses
           whole     drawn and counted
         and beside them `random_tilted_film` and `random_film` of the same size, whole
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from dipolar.core.tilt_library import TiltLibrary
from dipolar.recipes.tilt_library_shipped import library_for
from dipolar.simulate import FilmRanges, FilmSettings, Layer, count, material_named, random_film, wall
from dipolar.simulate.specimen import Specimen, specimen
from dipolar.simulate.tilted.random_films import random_tilted_film
from dipolar.simulate.tilted.render import Stamped, render_stamps
from dipolar.simulate.tilted.settings import TiltedSettings
from dipolar.simulate.tilted.shares import expected_shares, stamped_columns, unshaped
from harness.machine import announce
from harness.table import Score, Table, Target

EDGE_PX, CELL_PX = 512, 25.0
WHOLE = Target(low=30.0, form="{:.0f}")
"""Images per second and core."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
Found = TypeVar("Found")


def timed(work: Callable[[], Found]) -> tuple[Found, float]:
    """Return what comes of it, and the CPU seconds that it took."""
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def film_of(library: TiltLibrary, rng: np.random.Generator) -> tuple[FilmSettings, Specimen]:
    """Return two domains with a wall somewhere, in a crystal that is turned anyhow."""
    film = unshaped(
        FilmSettings(
            shape_px=(EDGE_PX, EDGE_PX),
            pixel_size_pm=library.cell_pm / CELL_PX,
            layers=(Layer(material=material_named("BiFeO3")),),
            in_plane_pm=library.cell_pm,
            domains=wall("180", position=float(rng.uniform(-0.3, 0.3))),
            rotation_deg=float(rng.uniform(-180.0, 180.0)),
        )
    )
    return film, specimen(film, rng=rng)


def beam_of(rng: np.random.Generator) -> TiltedSettings:
    """Return a beam and a bend, drawn at random."""
    angle, length = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.0, 27.0)
    thickness = float(np.exp(rng.uniform(np.log(5.0), np.log(90.0))))
    return TiltedSettings(
        tilt_mrad=(float(length * np.sin(angle)), float(length * np.cos(angle))),
        tilt_right_mrad=(float(rng.uniform(-2.0, 2.0)), float(rng.uniform(-2.0, 2.0))),
        thickness_nm=thickness,
        thickness_change_nm=(0.0, 0.1 * thickness),
        focus_nm=float(rng.uniform(-5.0, 5.0)),
        source_fwhm_pm=float(rng.uniform(50.0, 130.0)),
    )


def moved(columns: tuple[Stamped, ...], rng: np.random.Generator) -> tuple[Stamped, ...]:
    """Return the columns elsewhere, with the same tables."""
    shift = rng.uniform(-5.0, 5.0, 2)
    return tuple(
        Stamped(
            positions_px=one.positions_px + shift,
            sites_px=one.sites_px + shift,
            factor=one.factor,
            stamps=one.stamps,
            cell_px=one.cell_px,
        )
        for one in columns
    )


def part_render(options: argparse.Namespace, score: Score) -> None:
    """Print images per second and core."""
    library, still = library_for("bfo"), np.zeros((EDGE_PX, 2))
    ranges, shape = FilmRanges(cell_px=(CELL_PX, CELL_PX)), (EDGE_PX, EDGE_PX)
    seconds: dict[str, list[float]] = {name: [] for name in ("drawn", "counted", "kept", "whole", "tilted", "plain")}
    for seed in range(-1, options.images):  # the first one compiles
        rng = np.random.default_rng([seed + 1, 5])
        film, columns = film_of(library, rng)
        beam = beam_of(rng)
        shares, drawn = timed(lambda: expected_shares(film, beam, columns, [library], row_shift_px=still))  # noqa: B023
        _, counted = timed(lambda: count(shares * np.float32(1500.0), rng=rng))  # noqa: B023
        again = moved(stamped_columns(film, beam, columns, [library]), rng)
        _, kept = timed(lambda: render_stamps(shape, again))  # noqa: B023
        _, tilted = timed(lambda: random_tilted_film(rng, library, shape_px=shape, ranges=ranges))  # noqa: B023
        _, plain = timed(lambda: random_film(rng, shape_px=shape, ranges=ranges))  # noqa: B023
        if seed >= 0:
            for name, value in zip(seconds, (drawn, counted, kept, drawn + counted, tilted, plain), strict=True):
                seconds[name].append(value)
    print(f"### render: {EDGE_PX}², median of {options.images}")
    table = Table("what   ", "ms a image", f"images a second and core (whole: target {WHOLE})")
    for name, values in seconds.items():
        median = float(np.median(values))
        target = WHOLE if name == "whole" else None
        table.row(name, f"{1e3 * median:.1f}", score.judge(f"render, {name}", [1.0 / median], target, form="{:.0f}"))


PARTS = {"render": part_render}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which parts; all if none is named")
    parser.add_argument("--images", type=int, default=40, help="images of each kind")
    options = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):  # they are read when libraries are imported
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    announce()
    score = Score()
    for name in options.parts or PARTS:
        PARTS[name](options, score)
    score.close()


if __name__ == "__main__":
    main()

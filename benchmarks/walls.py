"""Walls: is the posterior of their width honest, how near the truth is their place, and how long do maps take.

Films are simulated at the level of cells (displacement with noise on a lattice) and, fewer of them, as images that are
fitted like any other. Every wall has its own width (evenly spread in its logarithm), kind, place, direction against the
lattice and noise. What is found:

  inside     share of walls whose 68 % posterior interval of the width covers the true width, in per cent
  z          standard deviation of log(width / true width) over half the width of that interval in the logarithm
  bias       median of width / true width
  place      RMS distance of the wall found from the true one, in unit cells
  place z    inside the 68 % interval of the place, in per cent, for walls that were resolved
  found      share of films in which the wall was found as one wall of the right kind

Then domains, walls, charge, vortices and anomalies are timed on a table of 50,000 cells, as a 4096² image has.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np

from dipolar.core.domains import Wall
from dipolar.core.nouns import Cells, Columns
from dipolar.locate import locate_columns
from dipolar.maps import bound_charge, find_anomalies, find_defects, find_domains, find_walls
from dipolar.measure import build_cells
from dipolar.simulate import FilmSettings, benchmark_film, simulate_film, wall
from harness.machine import announce
from harness.table import Score, Table, Target
from harness.wall_cells import CELL_PM, EDGE_PX, LENGTH_PM, PIXEL_SIZE_PM, lattice_of, linked, noisy, stripes

JITTER_PX = 0.15
INSIDE = Target(low=60.0, high=76.0, form="{:.0f}")
PLACE = Target(high=0.15, form="{:.2f}")
TIME = Target(high=5.0)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One true wall."""

    width_cells: float
    """2ξ."""
    angle_deg: float
    """Direction of the wall against the a axis, counter-clockwise."""
    place_px: np.ndarray
    """A point of it."""
    turn_deg: float
    """90 or 180."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of it."""

    truth: Truth
    wall: Wall | None
    """The longest wall of the right kind; None where there is none or the boundary is in pieces."""


def across(points_px: np.ndarray, truth: Truth) -> np.ndarray:
    """Return the distance of points from the true wall."""
    angle = np.radians(truth.angle_deg)
    return (points_px - truth.place_px) @ np.array([np.cos(angle), np.sin(angle)])


def from_cells(seed: int) -> Found:
    """Return one wall in a table of cells."""
    rng = np.random.default_rng([11, seed])
    count = (int(rng.integers(14, 40)), int(rng.integers(28, 40)))
    cells = lattice_of(count, sigma_pm=float(rng.uniform(1.5, 6.0)), rng=rng)
    turn = float(rng.choice([90.0, 180.0]))
    middle = cells.positions_px.mean(axis=0)
    truth = Truth(
        width_cells=float(np.exp(rng.uniform(np.log(0.4), np.log(6.0)))),
        angle_deg=90.0 + float(rng.choice([0.0, rng.uniform(-15.0, 15.0)])),
        place_px=middle + rng.uniform(-0.5, 0.5, 2) * EDGE_PX,
        turn_deg=turn,
    )
    start = np.radians(rng.uniform(0.0, 360.0))
    one, two = (np.array([-np.sin(angle), np.cos(angle)]) for angle in (start, start + np.radians(turn)))
    share = np.tanh(across(cells.positions_px, truth) / (0.5 * truth.width_cells * EDGE_PX))[:, None]
    field = LENGTH_PM / PIXEL_SIZE_PM * (0.5 * (one + two) + 0.5 * (two - one) * share)
    return look(noisy(cells, field, rng), truth, rng)


def from_image(seed: int, *, size_px: int = 700, row_jitter_px: float = 0.0) -> Found:
    """Return one wall in a simulated image, fitted as any other."""
    rng = np.random.default_rng([12, seed])
    width = float(np.exp(rng.uniform(np.log(0.4), np.log(6.0))))
    kind = rng.choice(["180", "109", "90"])
    film = wall(kind, width_pm=width * CELL_PM, position=float(rng.uniform(-0.03, 0.03)))
    settings: FilmSettings = replace(
        benchmark_film(
            size_px=size_px, rotation_deg=float(rng.uniform(-3.0, 3.0)), shear=0.0, row_jitter_px=row_jitter_px
        ),
        domains=film,
    )
    simulated = simulate_film(settings, rng=rng)
    columns = locate_columns(simulated.image)
    cells = replace(build_cells(columns), pixel_size_pm=PIXEL_SIZE_PM)
    angle = film.wall_angle_deg + settings.rotation_deg
    normal = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    middle = np.full(2, (size_px - 1) / 2.0)
    truth = Truth(
        width_cells=width,
        angle_deg=angle,
        place_px=middle + film.walls[0] * size_px * normal,
        turn_deg=180.0 if kind == "180" else 90.0,
    )
    return look(cells, truth, rng, columns)


def look(cells: Cells, truth: Truth, rng: np.random.Generator, columns: Columns | None = None) -> Found:
    """Return what is found in these cells."""
    walls = find_walls(cells, find_domains(cells), rng=rng, columns=columns)
    right = [found for found in walls if abs(found.turn_deg - truth.turn_deg) < 20.0]
    length = 0.8 * EDGE_PX * min(np.ptp(cells.row), np.ptp(cells.col))
    good = right and right[0].length_px > length and np.isfinite(right[0].profile.width_px).all()
    return Found(truth=truth, wall=right[0] if good else None)


def row_of(name: str, found: list[Found], score: Score) -> list[str]:
    """Return one row of the table of coverage."""
    good = [(one.truth, one.wall) for one in found if one.wall is not None]
    if not good:
        return [name, f"0 of {len(found)}", *["–"] * 6]
    true = np.array([truth.width_cells for truth, _ in good])
    low, middle, high = np.array([wall.profile.width_px for _, wall in good]).T / EDGE_PX
    covered = 100.0 * np.mean((low <= true) & (true <= high))
    z = np.log(middle / true) / (0.5 * np.log(high / low))
    off = [across(wall.points_px, truth) / EDGE_PX for truth, wall in good]
    place = float(np.sqrt(np.mean([np.mean(o**2) for o in off])))
    sure = [(np.mean(o), wall.profile) for o, (_, wall) in zip(off, good, strict=True) if wall.profile.resolved]
    hits = [p.position_px[0] <= -o * EDGE_PX <= p.position_px[2] for o, p in sure]
    return [
        name,
        f"{len(good)} of {len(found)}",
        score.judge(f"{name}, inside", [covered], INSIDE, form="{:.1f}"),
        f"{np.std(z):.2f}",
        f"{np.median(middle / true):.3f}",
        score.judge(f"{name}, place", [place], PLACE),
        f"{100.0 * np.mean(hits):.0f}" if hits else "–",
        f"{100.0 * np.mean([not wall.profile.resolved for _, wall in good]):.0f} %",
    ]


def coverage(options: argparse.Namespace, score: Score) -> None:
    """Print the table of coverage, in all and by width."""
    print(f"### walls of 0.4 to 6 unit cells, displacement {LENGTH_PM:g} pm")
    table = Table(
        *("walls".ljust(26), "found".ljust(10), "inside %".ljust(9), "z", "bias", "place cells", "place inside %"),
        "unresolved",
    )
    table.row("target", "–", INSIDE, "–", "–", PLACE, "–", "–")
    cells = [from_cells(options.first_seed + seed) for seed in range(options.walls)]
    table.row(*row_of("tables of cells", cells, score))
    for low, high in ((0.4, 1.0), (1.0, 2.5), (2.5, 6.0)):
        some = [one for one in cells if low <= one.truth.width_cells < high]
        table.row(*row_of(f"… {low} to {high} cells wide", some, Score()))
    for name, jitter in (("images, fitted", 0.0), (f"images, rows jitter {JITTER_PX} px", JITTER_PX)):
        images = [from_image(options.first_seed + seed, row_jitter_px=jitter) for seed in range(options.images)]
        if images:  # fewer than a hundred say too little to be held against the target
            table.row(*row_of(name, images, Score() if len(images) < 100 else score))
    chance = 100.0 * (0.68 * 0.32 / max(options.walls, 1)) ** 0.5
    print(f"by chance (one sigma): inside ±{chance:.1f} % in {options.walls} walls")


def timing(options: argparse.Namespace, score: Score) -> None:
    """Print how long each map of a large table takes."""
    rng = np.random.default_rng(5)
    cells, columns = linked(stripes(options.edge, rng), rng)
    seconds = {}

    def timed(name: str, start: float) -> None:
        seconds[name] = time.perf_counter() - start

    start = time.perf_counter()
    domains = find_domains(cells)
    timed("domains", start)
    start = time.perf_counter()
    walls = find_walls(cells, domains, rng=rng)
    timed("walls", start)
    start = time.perf_counter()
    find_anomalies(cells, columns, shape_px=(4096, 4096), domains=domains)
    timed("anomalies", start)
    start = time.perf_counter()
    bound_charge(cells)
    timed("charge", start)
    start = time.perf_counter()
    find_defects(cells)
    timed("vortices", start)
    length = sum(wall.length_px for wall in walls) / EDGE_PX
    print(
        f"\n### {len(cells.flags)} cells: {len(domains.state)} domains, {len(walls)} walls of {length:.0f} cells in all"
    )
    table = Table("map".ljust(28), "seconds".ljust(8))
    table.row("target", TIME)
    for name, value in seconds.items():
        table.row(name, f"{value:.2f}")
    asked = seconds["domains"] + seconds["walls"] + seconds["anomalies"]
    table.row("domains, walls, anomalies", score.judge("domains, walls, anomalies", [asked], TIME, form="{:.2f}"))
    table.row("all", f"{sum(seconds.values()):.2f}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--walls", type=int, default=200, help="walls in tables of cells (default 200)")
    parser.add_argument("--images", type=int, default=24, help="walls in simulated images (default 24)")
    parser.add_argument("--edge", type=int, default=224, help="cells along the edge of the timed table (default 224)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first wall (default 0)")
    options = parser.parse_args()
    announce()
    score = Score()
    coverage(options, score)
    timing(options, score)
    score.close()


if __name__ == "__main__":
    main()

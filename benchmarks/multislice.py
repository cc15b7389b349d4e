"""Multislice: against abTEM slice by slice and against its frozen phonons, what it costs, what a tilted beam does.

  slices    exit waves after every slice for the same phases, largest difference from abTEM's over the largest value
  phonons   annular dark field of SrTiO3 by absorption, against frozen phonons of abTEM at the same places of the probe
  cost      CPU seconds for an image of BiFeO3 along [100], 30 nm, a thickness in each nm, by fineness; and what of the
            image that fineness is responsible for
  tilt      Fe against Bi along the tilt, against frozen-phonon values known beforehand (in the same sense of the tilt)

abTEM runs in .venvs/abtem (benchmarks/peers/setup.sh abtem makes it), or in the Python that --peer names.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dipolar.core.elements import symbols_of
from dipolar.core.structure import cartesian_pm, square_edges_pm
from dipolar.learn.device import threads
from dipolar.recipes.study_tilt import rows_of, study_tilt
from dipolar.recipes.study_tilt_settings import TiltSettings
from dipolar.simulate.multislice import Fineness, Microscope, annular_images, formula_cell_parts, mean_cell
from dipolar.simulate.multislice.plane import grid_of, period_of
from dipolar.simulate.multislice.slices import Slices, cut
from dipolar.simulate.structures import seen_along
from harness.machine import announce
from harness.process import ROOT, cost, run_fresh
from harness.rows import write
from harness.table import Score, Table, Target

PEER = ROOT / ".venvs" / "abtem" / "bin" / "python"
SAME, COST = Target(high=1e-4, form="{:.0e}"), Target(high=6.0)
KNOWN = {(30, 10): (4.5, 0.7), (30, 20): (8.5, 1.3), (30, 30): (11.4, 2.7), (100, 10): (4.0, None),
         (100, 20): (7.8, None), (100, 30): (9.1, None)}  # fmt: skip
"""Fe against Bi in pm, and its error where it is known, by nm and mrad: 200 kV, 30 mrad, 65 to 250 mrad."""
KNOWN_COLUMNS = {"a_shift_pm": (-15.6, 3.5), "b_shift_pm": (-6.5, 2.5)}
"""Bi and Fe at 30 mrad and 100 nm."""
FINE = Fineness(pixel_pm=4.0, slice_pm=100.0, field_pm=3200.0)
"""What cost is weighed against."""


def peer(what: str, given: dict[str, Any], python: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what abTEM cost, and what it found."""
    with TemporaryDirectory() as folder:
        there, back = Path(folder) / "given.npz", Path(folder) / "found.npz"
        np.savez(there, **given)
        told = run_fresh("peers.abtem_workflow", [what, str(there), str(back)], python=python)
        return told, dict(np.load(back))


def exit_waves(slices: Slices, wavelength_pm: float, count: int) -> np.ndarray:
    """Return what leaves every slice of a plane wave, in reciprocal space.

    It enters the first slice half a slice on, which a plane wave does not notice, and leaves each a whole slice on, as
    abTEM's does.
    """
    import torch

    from dipolar.simulate.multislice.waves import Bundle, entering, plane_waves, through, way_of

    beam = Bundle(
        offset_per_pm=np.zeros(2), index=np.zeros((1, 2), dtype=np.int64), amplitude=np.ones(1, np.complex128)
    )
    way = way_of(
        slices, torch.from_numpy(slices.transmission), wavelength_pm=wavelength_pm, offset_per_pm=np.zeros(2),
        tilt_mrad=(0.0, 0.0),
    )  # fmt: skip
    waves = entering(plane_waves(beam, slices.grid, torch.device("cpu")), way)
    found = []
    for number in range(count):
        for _ in through(waves, way, range(number, number + 1)):
            pass
        found.append(waves[0].numpy().copy())
    return np.array(found)


def part_slices(options: argparse.Namespace, score: Score) -> None:
    """Compare exit waves."""
    print("Exit waves against abTEM, the same phases\n")
    table = Table("crystal", "slices", "pixels", "largest difference", "abTEM")
    rows = []
    for name in ("SrTiO3", "BiFeO3"):
        period = period_of(seen_along(name))
        grid = grid_of(period, 4.0)
        slices = cut(period, grid, voltage_kv=200.0, slice_pm=200.0, detector_per_pm=(0.0, 1e-6), absorption=False)
        many = 100
        times = many // len(slices.phase)
        phase = np.tile(slices.phase, (times, 1, 1))
        told, found = peer("waves", {
            "phase": phase, "voltage_kv": 200.0, "slice_pm": slices.thickness_pm,
            "pixel_pm": np.linalg.norm(period.vectors_pm, axis=1) / np.array(grid.shape),
        }, options.peer)  # fmt: skip
        ours = exit_waves(slices, Microscope().wavelength_pm, len(phase))
        theirs = np.fft.fft2(found["waves"][-len(phase) :], norm="forward")
        ours, theirs = (np.fft.ifft2(waves, norm="forward") for waves in (ours, theirs))
        theirs = theirs * np.exp(-1j * np.angle(np.vdot(ours[0], theirs[0])))
        worst = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        table.row(name, len(phase), "×".join(map(str, grid.shape)), score.judge(name, [worst], SAME, form="{:.1e}"),
                  told["version"])  # fmt: skip
        rows.append({"crystal": name, "slices": len(phase), "difference": worst})
    write(options.out, "multislice_slices.csv", rows)


def part_phonons(options: argparse.Namespace, score: Score) -> None:
    """Compare images by absorption with frozen phonons."""
    structure = seen_along("SrTiO3")
    edges = square_edges_pm(structure)
    scope = Microscope(convergence_mrad=25.0, inner_mrad=65.0, outer_mrad=190.0)
    symbols = symbols_of(structure.numbers)
    elements = sorted(set(symbols))
    rms = [float(structure.rms_pm[symbols.index(element)]) for element in elements]
    # irreducible part of the cell, each place with the number of its likes
    fractions = [(i / 8, j / 8) for i in range(5) for j in range(i + 1)]
    likes = np.array([_likes(i, j) for i in range(5) for j in range(i + 1)], dtype=np.float64)
    places = np.array(fractions) * edges[:2]
    per_exit = 13  # slices of half a cell: 2.54 nm
    periods = 4 * per_exit // 2
    given = {
        "symbols": np.array(symbols), "positions_pm": cartesian_pm(structure) + 0.25 * edges * [0, 0, 1],
        "edges_pm": edges,
        "cells": options.cells, "periods": periods, "elements": np.array(elements), "rms_pm": rms,
        "configurations": options.configurations, "seed": 0, "slices_per_exit": per_exit,
        "pixel_pm": options.peer_pixel_pm,
        "slice_pm": edges[2] / 2, "voltage_kv": scope.voltage_kv, "convergence_mrad": scope.convergence_mrad,
        "inner_mrad": scope.inner_mrad, "outer_mrad": scope.outer_mrad, "places_pm": places,
    }  # fmt: skip
    told, found = peer("phonons", given, options.peer)
    theirs = found["signal"].reshape(len(places), -1) if found["signal"].shape[0] == len(places) else found["signal"].T
    theirs = theirs[:, -4:]
    depths = np.arange(1, 5) * per_exit * edges[2] / 2e3
    fine = Fineness(pixel_pm=4.3, slice_pm=edges[2] / 2, field_pm=options.cells * edges[0], shift=(0.0, 0.0))
    with cost() as spent:
        ours = annular_images(structure, scope, thicknesses_nm=depths, fineness=fine).at(places)
    print(
        f"SrTiO3 along [100], {options.configurations} configurations, {options.cells} × {options.cells} cells; "
        f"CPU {told['cpu_s']:.0f} s (abTEM, {len(places)} places) and {spent.cpu_s:.1f} s (here, all places)\n"
    )
    table = Table("nm", "mean here", "mean abTEM", "ratio", "Sr column", "Ti column", "between")
    rows = []
    for deep, depth in enumerate(depths):
        mean = [float(np.average(values[..., deep], weights=likes)) for values in (ours.T, theirs)]
        at = [float(ours[deep, place] / theirs[place, deep]) for place in (0, len(places) - 1, places.shape[0] - 5)]
        table.row(f"{depth:.2f}", f"{mean[0]:.4f}", f"{mean[1]:.4f}", f"{mean[0] / mean[1]:.3f}",
                  *(f"{value:.3f}" for value in at))  # fmt: skip
        rows.append({"nm": depth, "here": mean[0], "abtem": mean[1], "ratio": mean[0] / mean[1]})
    write(options.out, "multislice_phonons.csv", rows)
    del score


def _likes(i: int, j: int) -> int:
    """Return how many points of an 8 × 8 grid a square cell makes of one."""
    return len({(a % 8, b % 8) for s in (1, -1) for t in (1, -1) for a, b in ((s * i, t * j), (t * j, s * i))})


def part_cost(options: argparse.Namespace, score: Score) -> None:
    """Time images of BiFeO3."""
    whole = seen_along("BiFeO3")
    one = mean_cell(whole, formula_cell_parts(whole, 83))
    scope, deep = Microscope(), np.arange(1.0, 31.0)
    cases = [
        ("mean cell", one, Fineness()), ("mean cell", one, Fineness(pixel_pm=5.0)),
        ("mean cell", one, Fineness(slice_pm=100.0)), ("mean cell", one, Fineness(field_pm=1500.0)),
        ("whole cell", whole, Fineness()),
    ]  # fmt: skip
    with threads(1):
        best = None
        if options.reference:
            best = annular_images(one, scope, thicknesses_nm=deep, fineness=FINE).data[-1]
        print("BiFeO3 along [100], 30 nm in 30 thicknesses, one thread\n")
        table = Table("cell", "pixel pm", "slice pm", "field pm", "CPU s", "RMS error, % of the contrast")
        rows = []
        for name, structure, fine in cases:
            with cost() as spent:
                found = annular_images(structure, scope, thicknesses_nm=deep, fineness=fine).data[-1]
            off = np.nan
            if best is not None and found.shape == best.shape:
                off = 100 * float(np.sqrt(np.mean((found - best) ** 2)) / np.ptp(best))
            target = COST if (name, fine) == ("mean cell", Fineness()) else None
            told = score.judge("CPU s", [spent.cpu_s], target, form="{:.1f}")
            table.row(name, fine.pixel_pm, fine.slice_pm, fine.field_pm or "default", told,
                      f"{off:.2f}" if np.isfinite(off) else "not asked for (--reference)")  # fmt: skip
            rows.append({"cell": name, "pixel_pm": fine.pixel_pm, "slice_pm": fine.slice_pm,
                         "field_pm": fine.field_pm or 0.0, "cpu_s": spent.cpu_s, "error_percent": off})  # fmt: skip
    write(options.out, "multislice_cost.csv", rows)


def part_tilt(options: argparse.Namespace, score: Score) -> None:
    """Tilt BiFeO3."""
    settings = TiltSettings(
        thickness_nm=options.thickness_nm, polar=not options.parent, repeats=options.repeats, field_pm=options.field_pm,
        source_fwhm_pm=0.0,
    )  # fmt: skip
    with TemporaryDirectory() as folder, cost() as spent:
        rows = rows_of(study_tilt(settings, work=Path(folder)), settings)
    print(f"BiFeO3 along [100]{', its parent' if options.parent else ''}; CPU {spent.cpu_s:.0f} s\n")
    table = Table("nm", "mrad", "Bi pm", "Fe pm", "Fe − Bi pm", "Bi plane first", "Fe plane first", "known")
    for row in rows:
        known = KNOWN.get((round(row["thickness_nm"]), round(row["tilt_mrad"])))
        words = "" if known is None else f"{known[0]:+.1f}" + ("" if known[1] is None else f" ± {known[1]:.1f}")
        table.row(f"{row['thickness_nm']:.1f}", f"{row['tilt_mrad']:g}", f"{row['a_shift_pm']:+.1f}",
                  f"{row['b_shift_pm']:+.1f}", f"{row['difference_pm']:+.1f} ± {row['difference_sigma_pm']:.1f}",
                  f"{row['a_first_difference_pm']:+.1f}", f"{row['b_first_difference_pm']:+.1f}", words)  # fmt: skip
    write(options.out, "multislice_tilt.csv", rows)
    del score


PARTS = {"slices": part_slices, "phonons": part_phonons, "cost": part_cost, "tilt": part_tilt}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them unless named")
    parser.add_argument("--peer", type=Path, default=PEER, help="Python with abTEM")
    parser.add_argument("--configurations", type=int, default=6, help="frozen phonons")
    parser.add_argument(
        "--peer-pixel-pm", type=float, default=2.6, help="of frozen phonons: coarse ones weaken atoms there"
    )
    parser.add_argument("--cells", type=int, default=4, help="cells across the field of a probe, in phonons")
    parser.add_argument("--thickness-nm", default="3,30,100", help="of tilt")
    parser.add_argument("--repeats", type=int, default=2, help="of tilt")
    parser.add_argument("--field-pm", type=float, default=None, help="of tilt")
    parser.add_argument("--parent", action="store_true", help="tilt the crystal in which nothing is displaced")
    parser.add_argument("--reference", action="store_true", help="weigh cost against a very fine image: minutes")
    parser.add_argument("--out", type=Path, default=None, help="folder for tables")
    options = parser.parse_args()
    announce()
    score = Score()
    for name in options.parts or PARTS:
        print(f"## {name}\n")
        PARTS[name](options, score)
        print()
    score.close()


if __name__ == "__main__":
    main()

"""Corrections of mistilt on images that no library holds: what is left of the false displacement.

  frozen      frozen phonons of abTEM, BiFeO3 and SrTiO3, 0 to 30 mrad, 5 to 31 nm; A first under the surface
  absorptive  dipolar's own multislice, finer than the library's and at tilts between its nodes, to 100 nm; BiFeO3 of
              both signs of the polarization, and SrTiO3
  domains     films with a 180° wall under a tilt that changes by 5 mrad, measured from the image on

Ways: nothing (raw); one constant for all (the mean of the raw ones); the opposite domain under the same tilt (±P);
the tilt estimated from the image by the library, and by the network; the true tilt and thickness (oracle).
abTEM runs in .venvs/abtem (benchmarks/peers/setup.sh abtem makes it), or in the Python that --peer names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dipolar.core.tilt_library import TiltLibrary
from dipolar.learn.device import threads
from dipolar.learn.tilt_network import TiltModel, told_by_network
from dipolar.learn.tilt_network_file import read_tilt_model
from dipolar.measure.tilt_nodes import Prior, nodes_of
from dipolar.measure.tilt_posterior import MeanCell, fit_nodes, posterior
from dipolar.recipes.tilt_library import shipped_library
from dipolar.recipes.tilt_networks import FOLDER
from harness.leaning import Seen, by_absorption, by_frozen_phonons, measured
from harness.machine import announce
from harness.process import ROOT
from harness.rows import write
from harness.table import Score, Table, Target

PEER = ROOT / ".venvs" / "abtem" / "bin" / "python"
KEY = {"BiFeO3": "bfo", "SrTiO3": "sto"}
WAYS = ("raw", "constant", "±P", "library", "network", "oracle")
FROZEN = [
    ("BiFeO3", 0, 0, 0.0), ("BiFeO3", 10, 0, 0.0), ("SrTiO3", 10, 30, 1.0), ("BiFeO3", 15, 45, 2.0),
    ("BiFeO3", 5, 200, 1.0), ("SrTiO3", 15, 120, -2.0), ("BiFeO3", 20, 112.5, -2.0), ("BiFeO3", 15, 270, -4.0),
    ("BiFeO3", 8, 150, 4.0), ("BiFeO3", 12, 330, -1.0), ("SrTiO3", 0, 0, 0.0), ("BiFeO3", 30, 300, 0.0),
    ("SrTiO3", 6, 250, 3.0), ("BiFeO3", 25, 60, 3.0), ("SrTiO3", 25, 10, 0.0), ("BiFeO3", 3, 80, 0.0),
    ("BiFeO3", 15, 190, 0.0), ("BiFeO3", 2, 20, -3.0), ("BiFeO3", 15, 0, 5.0), ("BiFeO3", 28, 225, 1.0),
    ("BiFeO3", 12, 100, 2.0),
]  # fmt: skip
"""Crystal, tilt in mrad, its azimuth in degrees from x towards y, focus in nm."""
ABSORPTIVE = [
    ("BiFeO3", 0, 0), ("BiFeO3", 11, 202.5), ("SrTiO3", 14, 180), ("BiFeO3", 4, 157.5), ("BiFeO3", 21, 247.5),
    ("SrTiO3", 7, 67.5), ("BiFeO3", 13, 90), ("BiFeO3", 8, 22.5), ("BiFeO3", 30, 112.5), ("BiFeO3", 2, 45),
    ("SrTiO3", 23, 292.5), ("BiFeO3", 6, 270), ("BiFeO3", 15, 315), ("BiFeO3", 17, 135), ("BiFeO3", 26, 0),
    ("SrTiO3", 0, 0),
]  # fmt: skip
THICK_NM, FOCI_NM = [5.0, 9.0, 14.0, 20.0, 31.0, 58.0, 100.0], [-3.0, 0.5, 2.0]
FWHM_PM, CELLS = 80.0, 64
DOSES = (0.5, 5.0, 50.0)
"""Electrons per pm²; in turns."""


@dataclass
class Tally:
    """What was left, by way."""

    left: dict[str, list[np.ndarray]] = field(default_factory=lambda: {way: [] for way in WAYS})
    sigma: dict[str, list[np.ndarray]] = field(default_factory=lambda: {way: [] for way in WAYS})
    seen: list[Seen] = field(default_factory=list)
    failed: int = 0


def prior(seen: Seen, rng: np.random.Generator) -> Prior:
    """Return what a user may know: the thickness to 20 %, wrong by as much as that."""
    return Prior(thickness_nm=float(np.clip(seen.nm * np.exp(0.2 * rng.normal()), 4.0, 100.0)))


def surface(library: TiltLibrary, tilt_mrad: np.ndarray) -> np.ndarray:
    """Return by how much the mean over both surfaces is off, where A comes first, as it does in all of these."""
    return 0.25e-3 * library.depth_pm * tilt_mrad


def tell(mean: MeanCell, seen: Seen, library: TiltLibrary, tally: Tally, rng: np.random.Generator) -> None:
    """Add one cell to the tally; surfaces are taken to be unknown, but for the oracle."""
    raw = mean.displacement * library.cell_pm
    tally.seen.append(seen)
    tally.left["raw"].append(raw - seen.true_pm)
    given = prior(seen, rng)
    nodes = nodes_of(library, given)
    found = posterior(fit_nodes(mean, nodes), nodes)
    tally.left["library"].append(found.displacement_pm - seen.true_pm)
    tally.sigma["library"].append(np.sqrt(np.diag(found.covariance_pm2)))
    model = network_of(library.material)
    if model is not None:
        told = told_by_network(model, [mean], given.thickness_nm)
        tally.left["network"].append(raw - told.false_pm[0] - seen.true_pm)
        tally.sigma["network"].append(np.sqrt(np.diag(told.covariance_pm2[0])))
    known = nodes_of(
        library, Prior(thickness_nm=seen.nm, thickness_share=0.0), thicknesses=1,
        tilts_y_mrad=seen.tilt_mrad[:1], tilts_x_mrad=seen.tilt_mrad[1:],
    )  # fmt: skip
    best = posterior(fit_nodes(mean, known), known)
    tally.left["oracle"].append(best.displacement_pm + surface(library, seen.tilt_mrad) - seen.true_pm)
    tally.sigma["oracle"].append(np.sqrt(np.diag(best.covariance_pm2 - np.diag(surface(library, seen.tilt_mrad) ** 2))))


@lru_cache
def network_of(material: str) -> TiltModel | None:
    """Return the network of a material, None where none comes along."""
    path = FOLDER / f"tilt_{material}.safetensors"
    return read_tilt_model(path) if path.is_file() else None


def rms(vectors: list[np.ndarray] | np.ndarray) -> float:
    """Return the root mean square of components."""
    return float(np.sqrt(np.mean(np.square(vectors)))) if len(vectors) else float("nan")


def report(tally: Tally, score: Score, *, name: str, out: Path | None) -> None:
    """Print what was left by crystal and tilt, and hold it against the targets."""
    tilts = np.array([np.hypot(*seen.tilt_mrad) for seen in tally.seen])
    polar = np.array([seen.crystal == "BiFeO3" for seen in tally.seen])
    left = {way: np.array(values) for way, values in tally.left.items() if len(values) == len(tally.seen)}
    left["constant"] = left["raw"] - np.where(
        polar[:, None], left["raw"][polar].mean(axis=0), left["raw"][~polar].mean(axis=0)
    )
    left |= opposite(tally, left["raw"])
    table = Table("crystal", "tilt, mrad", "cells", *WAYS, "±: sigma of library")
    bands = [(True, 0, 1), (True, 1, 15.1), (True, 15.1, 31), (False, 0, 1), (False, 1, 15.1), (False, 15.1, 31)]
    targets = {(True, 1): {"oracle": 1.0, "library": 3.0}, (True, 15.1): {"oracle": 3.0},
               (False, 0): {"library": 2.0}, (False, 1): {"library": 2.0}, (False, 15.1): {"library": 2.0}}  # fmt: skip
    rows = []
    for is_polar, low, high in bands:
        here = (polar == is_polar) & (tilts >= low) & (tilts < high)
        if not here.any():
            continue
        crystal = "BiFeO3" if is_polar else "SrTiO3"
        cells: list[object] = [crystal, f"{low:g} to {high:g}", int(here.sum())]
        row: dict[str, object] = {"crystal": crystal, "low": low, "high": high, "cells": int(here.sum())}
        for way in WAYS:
            if way not in left or (way == "±P" and not np.isfinite(left[way][here]).any()):
                cells.append("")
                continue
            off = left[way][here]
            value = rms(off[np.isfinite(off).all(axis=1)])
            limit = targets.get((is_polar, low), {}).get(way)
            target = None if limit is None else Target(high=limit)
            cells.append(score.judge(f"{name} {crystal} {low:g}–{high:g} {way}", [value], target, form="{:.2f}"))
            row[way] = value
        sigma = np.array(tally.sigma["library"])[here]
        cells.append(f"{rms(sigma):.2f}")
        table.row(*cells)
        rows.append(row)
    focus = np.array([seen.focus_nm for seen in tally.seen])
    for words, some in (("above the surface", focus < 0), ("in the specimen", focus >= 0)):
        here = polar & some & (tilts > 1) & (tilts < 15.1)
        told = ", ".join(f"{way} {rms(left[way][here]):.2f}" for way in ("raw", "library", "network", "oracle")
                         if way in left)  # fmt: skip
        print(f"\nBiFeO3, 1 to 15 mrad, focus {words} ({np.count_nonzero(here)} cells): {told} pm")
    for way in ("library", "network", "oracle"):
        if way in left and len(tally.sigma[way]) == len(tally.seen):
            inside = np.mean(np.abs(left[way]) < np.array(tally.sigma[way]))
            target = Target(low=62, high=74) if way == "library" else None
            told = score.judge(f"{name} {way} covers", [100 * inside], target, form="{:.0f}")
            print(f"\n68 % intervals of the {way} cover {told} %")
    size = {way: np.linalg.norm(values, axis=1) for way, values in left.items()}
    tilted = tilts > 1
    gain = float(np.median(size["raw"][tilted]) / np.median(size["library"][tilted]))
    print(f"\nmedian |false displacement| of tilted crystals: raw {np.median(size['raw'][tilted]):.2f} pm, library "
          f"{np.median(size['library'][tilted]):.2f} pm, "
          f"{score.judge(f'{name} raw over library', [gain], Target(low=5.0), form='{:.1f}')} times less; "
          f"{tally.failed} fits failed")  # fmt: skip
    write(out, f"mistilt_{name}.csv", rows)


def opposite(tally: Tally, raw: np.ndarray) -> dict[str, np.ndarray]:
    """Return what is left where the mean of this and of the opposite domain under the same tilt is taken off."""
    key = [(seen.crystal, seen.nm, seen.focus_nm, *seen.tilt_mrad, *np.abs(seen.true_pm)) for seen in tally.seen]
    found = np.full(raw.shape, np.nan)
    for one, seen in enumerate(tally.seen):
        for other in range(len(key)):
            if key[other] == key[one] and (tally.seen[other].true_pm == -seen.true_pm).all() and other != one:
                found[one] = raw[one] - 0.5 * (raw[one] + raw[other])
    return {"±P": found}


def run(cells: Iterator[Seen], score: Score, *, name: str, out: Path | None) -> None:
    """Put every way to every cell."""
    rng, tally = np.random.default_rng(7), Tally()
    libraries = {crystal: shipped_library(key) for crystal, key in KEY.items()}
    with threads(1):
        for number, seen in enumerate(cells):
            library = libraries[seen.crystal]
            mean = measured(
                seen, library, fwhm_pm=FWHM_PM, cells=CELLS, dose_e_per_pm2=DOSES[number % len(DOSES)], rng=rng
            )
            if mean is None:
                tally.failed += 1
                continue
            tell(mean, seen, library, tally, rng)
    report(tally, score, name=name, out=out)


def vector(mrad: float, azimuth_deg: float) -> np.ndarray:
    """Return a tilt (y, x)."""
    return mrad * np.array([np.sin(np.radians(azimuth_deg)), np.cos(np.radians(azimuth_deg))])


def part_frozen(options: argparse.Namespace, score: Score) -> None:
    """Correct what abTEM makes."""
    libraries = {crystal: shipped_library(key) for crystal, key in KEY.items()}
    chosen = FROZEN[: options.most]
    cells = (
        seen
        for number, (crystal, mrad, azimuth, focus) in enumerate(chosen)
        for seen in by_frozen_phonons(
            crystal, libraries[crystal], vector(mrad, azimuth), focus_nm=focus, python=options.peer, seed=100 + number,
            kept=options.kept / f"{number:02d}.npz",
        )
    )  # fmt: skip
    run(cells, score, name="frozen", out=options.out)


def part_absorptive(options: argparse.Namespace, score: Score) -> None:
    """Correct what dipolar's own multislice makes."""
    libraries = {crystal: shipped_library(key) for crystal, key in KEY.items()}
    cells = (
        seen
        for crystal, mrad, azimuth in ABSORPTIVE[: options.most]
        for sign in ((1, -1) if crystal == "BiFeO3" else (1,))
        for seen in by_absorption(
            crystal, libraries[crystal], vector(mrad, azimuth), nm=THICK_NM, foci_nm=FOCI_NM, sign=sign
        )
    )  # fmt: skip
    run(cells, score, name="absorptive", out=options.out)


def part_domains(options: argparse.Namespace, score: Score) -> None:
    """Measure films with two opposite domains."""
    from dipolar.recipes.measure import measure_image
    from dipolar.recipes.settings import SimulateSettings
    from dipolar.recipes.simulate import write_simulated

    table = Table("tilt, mrad", "nm", "raw |d|, pm", "corrected |d|, pm", "true", "difference over its sigma")
    rows = []
    for seed, (mrad, nm) in enumerate(((3.0, 12.0), (8.0, 20.0), (-6.0, 25.0))):
        with TemporaryDirectory() as folder:
            settings = SimulateSettings(
                layers="BiFeO3:1", height_px=640, width_px=640, tilt_mrad=f"0,{mrad:g}", tilt_change_mrad="0,5",
                thickness_nm=nm, focus_nm=1.0, seed=seed,
            )  # fmt: skip
            made, path = write_simulated(Path(folder) / "film", settings=settings)
            found = measure_image(
                path, lattice_pm=396.0, material="BiFeO3", mistilt="correct", thickness_nm=nm, gain_check=False
            )
        px = found.calibration.pixel_size_pm
        tilt, maps = found.findings.tilt, found.findings.maps
        assert px is not None and tilt is not None and maps is not None
        label = maps.domains.label
        size, seen, sigma = [], [], []
        for domain in np.flatnonzero(maps.domains.polar)[:2]:
            mine = label == domain
            size.append(px * float(np.linalg.norm(found.cells.displacement_px[mine].mean(axis=0))))
            before = found.cells.displacement_px + tilt.cell_false_px
            seen.append(px * float(np.linalg.norm(before[mine].mean(axis=0))))
            shared = tilt.cell_covariance_px2[mine].mean(axis=0)
            sigma.append(px * float(np.sqrt(0.5 * np.trace(shared))))
        true = float(np.median(np.linalg.norm(made.truth_cells.displacement_px, axis=1)))
        apart = abs(size[0] - size[1]) / np.hypot(*sigma)
        table.row(f"{mrad:g} to {mrad + 5:g}", f"{nm:g}", " and ".join(f"{v:.1f}" for v in seen),
                  " and ".join(f"{v:.1f}" for v in size), f"{true * px:.1f}",
                  score.judge(f"domains at {mrad:g} mrad", [apart], Target(high=2.0), form="{:.1f}"))  # fmt: skip
        rows.append({"tilt_mrad": mrad, "nm": nm, "apart_sigma": apart})
    write(options.out, "mistilt_domains.csv", rows)


PARTS = {"frozen": part_frozen, "absorptive": part_absorptive, "domains": part_domains}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them unless named")
    parser.add_argument("--peer", type=Path, default=PEER, help="Python with abTEM")
    parser.add_argument("--kept", type=Path, default=Path("mistilt-frozen"), help="folder of images by abTEM")
    parser.add_argument("--most", type=int, default=None, help="crystals and tilts at most")
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

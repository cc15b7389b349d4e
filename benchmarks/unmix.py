"""Unmixing: what each way tells of variants and of composition in films where both are known, and what it costs.

Films are simulated, measured like any other, and cut into patches centred on cells. Parts:

  methods    on a BiFeO3/LSMO-like superlattice and on a film of four ⟨110⟩ variants (40, 30, 20, 10 %): adjusted Rand
             index (1: the same, 0: chance) of 4 and of 8 clusters against the true variants, of 2 clusters against the
             true layers; the component that follows composition best, its rank correlation, and what it tells of the
             variant in bit. Ways without clusters of their own are clustered by a Gaussian mixture of their scores.
             Cells without a variant do not count for variants
  classes    how many clusters of raw patches it takes: the same indices against the number of clusters, and against
             variants × layers; the number that BIC takes
  windows    the same for patches of different sizes
  directions  the angle and the dipole that the autoencoder draws, in a film of four variants and in a vortex, measured
             like any other: share nearest to the direction of their variant, median error where |P| > 20 pm. Its
             benchmark on patches drawn one by one is rvae.py
  size       CPU seconds of every way on as many patches as were published
  figures    draws what methods, classes and windows wrote to --out, and maps of the first superlattice

With --out, tables as CSV and figures are written to a folder.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from dipolar.core.unmixing import Components
from dipolar.simulate import Polydomain, Superlattice, VariantSettings, Vortices, variant_set
from dipolar.unmix import (
    PCA,
    GaussianMixture,
    KMeans,
    adjusted_rand,
    separation,
)
from harness import rvae_truth
from harness.labelled import Known, Patched, known_film, patched
from harness.machine import announce
from harness.rows import read, write
from harness.table import Score, Table, Target
from harness.unmix_figures import indices_figure, maps_figure
from harness.unmix_ways import WAYS, Way, clustered

PUBLISHED_PATCHES, PUBLISHED_PX = 23_340, 48
ALL_CPU_S = Target(high=600.0, form="{:.0f}")
RVAE_CPU_S = Target(high=180.0, form="{:.0f}")
RHO = Target(low=0.9, form="{:.2f}")
DIPOLE = Target(high=6.0, form="{:.1f}")
BIT = Target(high=0.05, form="{:.2f}")
FILMS = {"superlattice": Superlattice(), "polydomain": Polydomain()}
WINDOWS_PX = (20, 26, 36, 48, 54, 64)
CLUSTERS = (2, 4, 8)


def methods(options: argparse.Namespace, score: Score) -> None:
    """Print, for each film, what every way tells of variants and of composition."""
    rows = []
    for film in options.films:
        known = [known_film(FILMS[film], seed=seed, size_px=options.size) for seed in range(options.seeds)]
        print(f"### {film}: {options.seeds} films of {options.size}², patches of {options.window} px")
        table = Table(
            *("way".ljust(8), "4 on variants".ljust(13), "8 on variants".ljust(13), "2 on layers".ljust(11)),
            *("follows composition".ljust(20), "bit of variant".ljust(14), "CPU s"),
        )
        for name in options.ways:
            figures = [figures_of(name, one, options.window, seed) for seed, one in enumerate(known)]
            rows += [{"film": film, "seed": seed, "way": name, **one} for seed, one in enumerate(figures)]
            table.row(name, *told(name, figures, film, score))
    write(options.out, "methods.csv", rows)


def figures_of(name: str, film: Known, window_px: int, seed: int) -> dict[str, object]:
    """Return what one way tells of one film."""
    way, normalization = WAYS[name]
    known = patched(film, window_px=window_px, normalization=normalization)
    start = time.process_time()
    found = way.unmix(known.stack, rng=np.random.default_rng(seed))
    cpu_s = time.process_time() - start
    cluster = {k: clustered(way, found, known.stack, k, seed) for k in CLUSTERS}
    component, rho, bit = separation(found, variant=known.variant, composition=known.composition).best()
    return {
        "variants_4": adjusted_rand(cluster[4], known.variant),
        "variants_8": adjusted_rand(cluster[8], known.variant),
        "layers_2": adjusted_rand(cluster[2], known.layer),
        "product_8": adjusted_rand(cluster[8], known.product),
        "component": component,
        "rho": rho,
        "bit": bit,
        "cpu_s": cpu_s,
    }


def told(name: str, figures: list[dict[str, object]], film: str, score: Score) -> list[str]:
    """Return the cells of a row: means over films."""
    mean = {key: float(np.mean([one[key] for one in figures])) for key in figures[0] if key != "component"}
    layered = film == "superlattice"
    if layered and name == "rVAE":
        score.judge("rVAE, follows composition", [mean["rho"]], RHO, form="{:.2f}")
        score.judge("rVAE, bit of variant", [mean["bit"]], BIT, form="{:.2f}")
    composition = f"{mean['rho']:.2f} ({figures[0]['component']})" if layered else "–"
    return [
        f"{mean['variants_4']:.3f}",
        f"{mean['variants_8']:.3f}",
        f"{mean['layers_2']:.3f}" if layered else "–",
        composition,
        f"{mean['bit']:.3f}" if layered else "–",
        f"{mean['cpu_s']:.1f}",
    ]


def indices(known: Patched, cluster: np.ndarray) -> dict[str, float]:
    """Return the adjusted Rand indices of clusters against variants, layers and their product."""
    return {
        "variants": adjusted_rand(cluster, known.variant),
        "layers": adjusted_rand(cluster, known.layer),
        "product": adjusted_rand(cluster, known.product),
    }


def classes(options: argparse.Namespace, score: Score) -> None:
    """Print the indices against the number of clusters, on the superlattice."""
    rows = []
    for seed in range(options.seeds):
        known = patched(known_film(FILMS["superlattice"], seed=seed, size_px=options.size), window_px=options.window)
        for name, way in (("k-means", KMeans(clusters=2)), ("GMM", GaussianMixture(clusters=2))):
            for clusters in range(2, options.most + 1):
                found = replace(way, clusters=clusters).unmix(known.stack, rng=np.random.default_rng(seed))
                assert found.cluster is not None
                bic = float(found.facts.get("bic", np.nan))
                rows.append(
                    {"seed": seed, "way": name, "clusters": clusters, "bic": bic, **indices(known, found.cluster)}
                )
    print(f"### clusters of raw patches of the superlattice, {options.seeds} films of {options.size}²")
    table = Table(
        "clusters",
        *(f"{way}, {what}" for way in ("k-means", "GMM") for what in ("variants", "layers", "product")),
        "BIC",
    )
    for clusters in range(2, options.most + 1):
        some = {way: [r for r in rows if r["way"] == way and r["clusters"] == clusters] for way in ("k-means", "GMM")}
        means = [np.mean([r[what] for r in some[way]]) for way in some for what in ("variants", "layers", "product")]
        table.row(clusters, *(f"{value:.3f}" for value in means), f"{np.mean([r['bic'] for r in some['GMM']]):.0f}")
    write(options.out, "classes.csv", rows)


def windows(options: argparse.Namespace, score: Score) -> None:
    """Print the indices against the size of the patches, on the superlattice."""
    rows = []
    films = [known_film(FILMS["superlattice"], seed=seed, size_px=options.size) for seed in range(options.seeds)]
    print(f"### size of patches, superlattice, {options.seeds} films of {options.size}²; a cell has 26 px")
    table = Table(
        *("px", "patches", "k-means 8 on variants", "PCA on composition", "bit", "BIC takes"),
        *("rVAE 4 on variants", "rVAE on composition", "bit"),
    )
    for window_px in options.windows:
        figures = [
            window_figures(patched(film, window_px=window_px), window_px, seed) for seed, film in enumerate(films)
        ]
        rows += figures
        mean = {key: float(np.mean([one[key] for one in figures])) for key in figures[0]}
        table.row(
            window_px,
            f"{mean['patches']:.0f}",
            *(f"{mean[key]:.3f}" for key in ("kmeans_8", "rho", "bit")),
            " ".join(str(one["bic_takes"]) for one in figures),
            *(f"{mean[key]:.3f}" for key in ("rvae_4", "rvae_rho", "rvae_bit")),
        )
    write(options.out, "windows.csv", rows)


def window_figures(known: Patched, window_px: int, seed: int) -> dict[str, float]:
    """Return what clusters, principal components and the autoencoder tell of patches of one size."""

    def made_by(way: Way) -> Components:
        return way.unmix(known.stack, rng=np.random.default_rng(seed))

    autoencoder = rvae_truth.Rvae()
    turned = made_by(autoencoder)
    _, rho, bit = separation(made_by(PCA()), variant=known.variant, composition=known.composition).best()
    _, rvae_rho, rvae_bit = separation(turned, variant=known.variant, composition=known.composition).best()
    return {
        "window_px": window_px,
        "seed": seed,
        "patches": len(known.stack.site),
        "kmeans_8": adjusted_rand(made_by(KMeans(clusters=8)).cluster, known.variant),
        "rho": rho,
        "bit": bit,
        "bic_takes": int(made_by(GaussianMixture(most=16)).facts["clusters"]),
        "rvae_4": adjusted_rand(clustered(autoencoder, turned, known.stack, 4, seed), known.variant),
        "rvae_rho": rvae_rho,
        "rvae_bit": rvae_bit,
    }


def directions(options: argparse.Namespace, score: Score) -> None:
    """Print what the autoencoder tells of directions, in films of which one turns continuously."""
    print(
        f"### directions by the autoencoder, {options.seeds} films of {options.size}², patches of {options.window} px"
    )
    table = Table("film".ljust(12), "variants right", "angle off °", "dipole off °", "CPU s", "verdicts")
    rows = []
    for name, pattern in {"polydomain": FILMS["polydomain"], "vortex": Vortices()}.items():
        found = []
        for seed in range(options.seeds):
            film = known_film(pattern, seed=seed, size_px=options.size)
            found.append(rvae_truth.figures_of(patched(film, window_px=options.window), seed=seed))
        mean = {
            key: float(np.mean([float(one[key]) for one in found])) for key in ("right", "angle", "dipole", "cpu_s")
        }
        table.row(
            name,
            "–" if np.isnan(mean["right"]) else f"{mean['right']:.4f}",
            f"{mean['angle']:.1f}",
            score.judge(f"{name}, dipole", [mean["dipole"]], DIPOLE if name == "vortex" else None, form="{:.1f}"),
            f"{mean['cpu_s']:.1f}",
            " ".join(sorted({str(one["verdict"]) for one in found})),
        )
        rows += [{"film": name, "seed": seed, **one} for seed, one in enumerate(found)]
    write(options.out, "directions.csv", rows)


def size(options: argparse.Namespace, score: Score) -> None:
    """Print CPU seconds of every way on the published number of patches."""
    made = variant_set(VariantSettings(patches=options.patches, window_px=PUBLISHED_PX), rng=np.random.default_rng(0))
    stack = made.stack
    low, high = float(stack.images.min()), float(stack.images.max())
    positive = replace(stack, images=(stack.images - low) / (high - low), normalization="range")
    print(f"### {options.patches} patches of {PUBLISHED_PX}², all settings at their defaults")
    table = Table("way".ljust(8), "CPU s".ljust(8), "wall s".ljust(8), "4 on variants")
    rows, notes = [], []
    for name in options.ways:
        given, normalization = WAYS[name]
        way = type(given)() if name != "GMM" else GaussianMixture()
        cpu, wall = time.process_time(), time.perf_counter()
        found = way.unmix(positive if normalization == "range" else stack, rng=np.random.default_rng(0))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        index = adjusted_rand(clustered(way, found, stack, 4, 0), made.variant)
        table.row(name, f"{cpu:.1f}", f"{wall:.1f}", f"{index:.3f}")
        notes += [f"{name}: {note}" for note in found.notes]
        rows.append({"way": name, "patches": options.patches, "cpu_s": cpu, "wall_s": wall, "variants_4": index})
    total = sum(row["cpu_s"] for row in rows if row["way"] != "rVAE")
    score.judge("CPU s of the autoencoder", [row["cpu_s"] for row in rows if row["way"] == "rVAE"], RVAE_CPU_S)
    table.row("others", score.judge("CPU s of all", [total], ALL_CPU_S, form="{:.0f}"), "", "")
    print("\n".join(notes))
    write(options.out, "size.csv", rows)


def figures(options: argparse.Namespace, score: Score) -> None:
    """Draw the figures from the tables in the folder, and maps of one film."""
    if options.out is None:
        print("figures: no --out")
        return
    tables = (read(options.out, f"{name}.csv") for name in ("methods", "classes", "windows"))
    indices_figure(*tables).savefig(options.out / "figure.png")
    for film in options.films:
        known = known_film(FILMS[film], seed=0, size_px=options.size)
        stack = patched(known, window_px=options.window).stack
        maps_figure(stack, maps_of(known, options.window)).savefig(options.out / f"{film}.png")


def maps_of(film: Known, window_px: int) -> dict[str, np.ndarray]:
    """Return what is true of a film and what every way makes of it."""
    known = patched(film, window_px=window_px)
    maps = {"true variants": known.variant}
    if len(np.unique(known.layer)) > 1:
        maps["true composition"] = known.composition
    for name, (way, normalization) in WAYS.items():
        stack = patched(film, window_px=window_px, normalization=normalization).stack
        found = way.unmix(stack, rng=np.random.default_rng(0))
        if name in ("k-means", "GMM", "rVAE"):
            for clusters in (4, 8):
                maps[f"{name}, {clusters} clusters"] = clustered(way, found, stack, clusters, 0)
        else:
            maps[f"{name}, 8 clusters"] = clustered(way, found, stack, 8, 0)
    return maps


PARTS = {
    "methods": methods,
    "classes": classes,
    "windows": windows,
    "directions": directions,
    "size": size,
    "figures": figures,
}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which parts (default all)")
    parser.add_argument("--films", nargs="+", choices=FILMS, default=list(FILMS), help="films of methods")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="ways of methods and size")
    parser.add_argument("--size", type=int, default=1024, help="edge of films in px (default 1024)")
    parser.add_argument("--seeds", type=int, default=3, help="films of each kind (default 3)")
    parser.add_argument("--window", type=int, default=48, help="edge of patches in px (default 48)")
    parser.add_argument("--windows", type=int, nargs="+", default=WINDOWS_PX, help="edges tried in windows")
    parser.add_argument("--most", type=int, default=12, help="clusters tried in classes (default 12)")
    parser.add_argument("--patches", type=int, default=PUBLISHED_PATCHES, help="patches in size (default 23340)")
    parser.add_argument("--out", type=Path, default=None, help="folder for tables and figures (default none)")
    options = parser.parse_args()
    announce()
    score = Score()
    for part in options.parts or PARTS:
        PARTS[part](options, score)
        print()
    score.close()


if __name__ == "__main__":
    main()

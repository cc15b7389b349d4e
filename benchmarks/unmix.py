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
  size       CPU seconds of every way on as many patches as were published

With --out, tables as CSV and figures are written to a folder.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dipolar.core.unmixing import Components, Stack
from dipolar.simulate import Polydomain, Superlattice, VariantSettings, variant_set
from dipolar.unmix import (
    ICA,
    MDS,
    NMF,
    PCA,
    TSNE,
    AbstractUnmixing,
    GaussianMixture,
    Isomap,
    KMeans,
    adjusted_rand,
    cluster_latent,
    separation,
)
from harness.labelled import Known, Patched, known_film, patched
from harness.machine import announce
from harness.table import Score, Table, Target

PUBLISHED_PATCHES, PUBLISHED_PX = 23_340, 48
ALL_CPU_S = Target(high=600.0, form="{:.0f}")
RHO = Target(low=0.9, form="{:.2f}")
BIT = Target(high=0.05, form="{:.2f}")
FILMS = {"superlattice": Superlattice(), "polydomain": Polydomain()}
WINDOWS_PX = (20, 26, 36, 48, 54, 64)
CLUSTERS = (2, 4, 8)

WAYS: dict[str, tuple[AbstractUnmixing, str]] = {
    "PCA": (PCA(components=8), "patch"),
    "NMF": (NMF(components=8), "range"),
    "ICA": (ICA(components=8), "patch"),
    "k-means": (KMeans(clusters=4), "patch"),
    "GMM": (GaussianMixture(clusters=4), "patch"),
    "t-SNE": (TSNE(), "patch"),
    "MDS": (MDS(), "patch"),
    "Isomap": (Isomap(), "patch"),
}
"""Each way and the normalisation of its patches."""


def clustered(way: AbstractUnmixing, found: Components, stack: Stack, clusters: int, seed: int) -> np.ndarray:
    """Return the cluster of each patch: by the method itself where it clusters, else by a mixture of its scores."""
    rng = np.random.default_rng(seed)
    if isinstance(way, (KMeans, GaussianMixture)):
        cluster = replace(way, clusters=clusters).unmix(stack, rng=rng).cluster
        assert cluster is not None
        return cluster
    return cluster_latent(found.scores, clusters=clusters, rng=rng).cluster


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
        for name in WAYS:
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
    print(f"### size of patches, {options.seeds} films of {options.size}²")
    table = Table(
        "window px",
        "patches",
        "k-means 8 on variants",
        "GMM 8 on variants",
        "PCA: follows composition",
        "bit of variant",
        "BIC takes",
    )
    for window_px in options.windows:
        figures = []
        for seed, film in enumerate(films):
            known = patched(film, window_px=window_px)

            def way(method: AbstractUnmixing, known: Patched = known, seed: int = seed) -> Components:
                return method.unmix(known.stack, rng=np.random.default_rng(seed))

            principal = separation(way(PCA(components=8)), variant=known.variant, composition=known.composition)
            _, rho, bit = principal.best()
            figures.append(
                {
                    "window_px": window_px,
                    "seed": seed,
                    "patches": len(known.stack.site),
                    "kmeans_8": adjusted_rand(way(KMeans(clusters=8)).cluster, known.variant),
                    "gmm_8": adjusted_rand(way(GaussianMixture(clusters=8)).cluster, known.variant),
                    "rho": rho,
                    "bit": bit,
                    "bic_takes": int(way(GaussianMixture(most=16)).facts["clusters"]),
                }
            )
        rows += figures
        mean = {key: np.mean([one[key] for one in figures]) for key in figures[0]}
        table.row(
            window_px,
            f"{mean['patches']:.0f}",
            *(f"{mean[key]:.3f}" for key in ("kmeans_8", "gmm_8", "rho", "bit")),
            " ".join(str(one["bic_takes"]) for one in figures),
        )
    write(options.out, "windows.csv", rows)


def size(options: argparse.Namespace, score: Score) -> None:
    """Print CPU seconds of every way on the published number of patches."""
    made = variant_set(VariantSettings(patches=options.patches, window_px=PUBLISHED_PX), rng=np.random.default_rng(0))
    stack = made.stack
    low, high = float(stack.images.min()), float(stack.images.max())
    positive = replace(stack, images=(stack.images - low) / (high - low), normalization="range")
    print(f"### {options.patches} patches of {PUBLISHED_PX}², all settings at their defaults")
    table = Table("way".ljust(8), "CPU s".ljust(8), "wall s".ljust(8), "4 on variants", "notes")
    rows = []
    for name, (given, normalization) in WAYS.items():
        way = type(given)() if name != "GMM" else GaussianMixture()
        cpu, wall = time.process_time(), time.perf_counter()
        found = way.unmix(positive if normalization == "range" else stack, rng=np.random.default_rng(0))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        index = adjusted_rand(clustered(way, found, stack, 4, 0), made.variant)
        table.row(name, f"{cpu:.1f}", f"{wall:.1f}", f"{index:.3f}", " ".join(found.notes) or "–")
        rows.append({"way": name, "patches": options.patches, "cpu_s": cpu, "wall_s": wall, "variants_4": index})
    total = sum(row["cpu_s"] for row in rows)
    table.row("all", score.judge("CPU s of all", [total], ALL_CPU_S, form="{:.0f}"), "", "", "")
    write(options.out, "size.csv", rows)


def write(out: Path | None, name: str, rows: Iterable[dict[str, object]]) -> None:
    """Write rows as CSV where a folder was asked for."""
    rows = list(rows)
    if out is None or not rows:
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


PARTS = {"methods": methods, "classes": classes, "windows": windows, "size": size}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which parts (default all)")
    parser.add_argument("--films", nargs="+", choices=FILMS, default=list(FILMS), help="films of methods")
    parser.add_argument("--size", type=int, default=1024, help="edge of films in px (default 1024)")
    parser.add_argument("--seeds", type=int, default=3, help="films of each kind (default 3)")
    parser.add_argument("--window", type=int, default=36, help="edge of patches in px (default 36)")
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

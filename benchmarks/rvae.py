"""The rotation-invariant autoencoder: how often it finds the angle, what it follows, what it costs; AtomAI's beside.

  variants     share of variants right and median error of the angle over seeds: noise, mixes, latents, translation
  continuous   patches turned as a whole, any way; dipoles of all directions on one lattice (a vortex)
  composition  a superlattice-like stack: a latent follows composition, and says nothing of the variant
  published    23,340 patches of 48 × 48 px, trained to convergence
  ours         the published architecture in our own hands (slow: minutes of CPU)
  atomai       AtomAI's rVAE on the same stack in its own environment (benchmarks/peers/setup.sh makes it), seed by seed

Single-threaded. CPU is the whole of `train_rvae`: preparing, searching, training, reading, pictures. A constant angle
has 0.40 of the variants right in shares of 40/30/20/10 %.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dipolar.core.circular import register, unit_vectors, wrap_deg
from dipolar.core.information import information_bit
from dipolar.core.units import angle_deg
from dipolar.core.unmixing import Angles, Components
from dipolar.learn.rvae import train_rvae
from dipolar.learn.rvae_settings import RvaeSettings
from dipolar.simulate.variants import FOUR_VARIANTS, VariantSet, VariantSettings, variant_set
from dipolar.unmix.separation import slices
from harness.machine import announce
from harness.process import ROOT, run_fresh
from harness.table import Score, Table, Target

RIGHT, ERROR, CPU = Target(low=0.999), Target(high=3.0), Target(high=10.0)
VORTEX, PUBLISHED_CPU = Target(high=6.0), Target(high=180.0)
RHO, BIT = Target(low=0.9), Target(high=0.05)
LESS_THAN_ATOMAI = Target(low=30.0)
NOISE = (0.05, 0.15, 0.25)
"""Standard deviation over the height of A."""
MIXES = ((0.4, 0.3, 0.2, 0.1), (0.25, 0.25, 0.25, 0.25), (0.7, 0.1, 0.1, 0.1), (0.5, 0.0, 0.5, 0.0))
FREE = "rotation+translation"
LONG_PM = 20.0
"""Dipoles longer than this have a direction worth following."""
ATOMAI = ROOT / ".venvs" / "atomai" / "bin" / "python"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One run against the truth."""

    right: float
    error_deg: float
    dipole_deg: float
    cpu_s: float
    verdict: str


def judge(found: Components, truth: VariantSet) -> Judged:
    """Return how near angles, variants and dipoles are to the truth; the zero is that of the measured displacements."""
    angles = found.angles
    assert angles is not None
    long = np.linalg.norm(truth.dipole_px, axis=1) * (truth.stack.pixel_size_pm or 1.0) > LONG_PM
    off = np.abs(wrap_deg(angle_deg(angles.dipole_px) - truth.angle_deg))[long]
    return Judged(
        right=variants_right(angles, truth.variant),
        error_deg=float(np.median(np.abs(wrap_deg(angles.angle_deg - truth.angle_deg)))),
        dipole_deg=float(np.median(np.where(np.isfinite(off), off, 180.0))),
        cpu_s=float(found.facts["cpu_seconds"]),
        verdict=angles.verdict,
    )


def variants_right(angles: Angles, variant: np.ndarray) -> float:
    """Return the share of patches whose variant is right; one that is not told is wrong."""
    if not len(angles.variant_deg):
        return 0.0
    nearest = np.abs(wrap_deg(angles.variant_deg[:, None] - np.array(FOUR_VARIANTS))).argmin(axis=1)
    return float(np.mean(np.where(angles.variant >= 0, nearest[angles.variant], -2) == variant))


def drawn(seed: int, **options: Any) -> VariantSet:
    """Return one set of patches."""
    return variant_set(VariantSettings(**options), rng=np.random.default_rng([seed, 1]))


def part_variants(options: argparse.Namespace, score: Score) -> None:
    """Print how many variants are right, worst and best of the seeds."""
    print(f"### variants: {options.patches} patches of 48 px, worst of {options.seeds} seeds (of data and network)")
    table = Table(
        *("noise", "shares          ", "latents", "freedom             ", f"right ({RIGHT})"),
        *(f"error ° ({ERROR})", "dipole °", f"CPU s ({CPU})", "verdicts"),
    )
    plain = RvaeSettings()
    cases: list[tuple[dict[str, Any], RvaeSettings]] = [({"noise": noise}, plain) for noise in NOISE]
    cases += [({"noise": NOISE[1], "shares": shares}, plain) for shares in MIXES[1:]]
    cases += [({"noise": NOISE[1]}, RvaeSettings(latents=n, freedom=f)) for f in ("rotation", FREE) for n in (0, 1, 3)]
    cases += [({"noise": NOISE[1], "shift_px": 1.0}, RvaeSettings(latents=n, freedom=FREE)) for n in (1, 3)]
    for chosen, settings in cases:
        latents = settings.filled().latents
        runs = []
        for seed in range(options.seeds):
            truth = drawn(seed, patches=options.patches, **chosen)
            runs.append(judge(train_rvae(truth.stack, settings, seed=seed), truth))
        shares = "/".join(f"{100 * s:.0f}" for s in chosen.get("shares", MIXES[0]))
        shifted = f", shifted {chosen['shift_px']:g} px" if "shift_px" in chosen else ""
        name = f"variants, noise {chosen['noise']}, {shares}, {latents} latents, {settings.freedom}{shifted}"
        table.row(
            *(chosen["noise"], shares, latents, settings.freedom + shifted),
            score.judge(f"{name}, right", [min(run.right for run in runs)], RIGHT, form="{:.4f}"),
            score.judge(f"{name}, error", [max(run.error_deg for run in runs)], ERROR, form="{:.2f}"),
            f"{max(run.dipole_deg for run in runs):.2f}",
            score.judge(f"{name}, CPU", [max(run.cpu_s for run in runs)], CPU, form="{:.1f}"),
            ", ".join(sorted({run.verdict for run in runs})),
        )


def part_continuous(options: argparse.Namespace, score: Score) -> None:
    """Print what turns evenly."""
    print("### continuous: median error over patches, worst of the seeds")
    table = Table("what                    ", "noise", "angle °", "dipole drawn °", "CPU s", "verdicts")
    for what, chosen, settings in (
        ("patches turned as a whole", {"turn_deg": 180.0, "scatter_deg": 0.0}, RvaeSettings(directions=48)),
        ("one lattice, all dipoles", {"directions_deg": None}, RvaeSettings()),
    ):
        for noise in NOISE[:2]:
            runs = []
            for seed in range(min(options.seeds, 3)):
                truth = drawn(seed, patches=options.patches, noise=noise, **chosen)
                runs.append(judge(train_rvae(truth.stack, settings, seed=seed), truth))
            turned = settings.directions > 4
            table.row(
                what,
                noise,
                score.judge(f"{what}, noise {noise}, angle", [max(run.error_deg for run in runs)],
                            ERROR if turned else None, form="{:.2f}"),
                score.judge(f"{what}, noise {noise}, dipole", [max(run.dipole_deg for run in runs)],
                            None if turned else VORTEX, form="{:.2f}"),
                f"{max(run.cpu_s for run in runs):.1f}",
                ", ".join(sorted({run.verdict for run in runs})),
            )  # fmt: skip


def part_composition(options: argparse.Namespace, score: Score) -> None:
    """Print what the latents of patches of scattered composition follow."""
    print("### composition: B over A scatters by 20 % from patch to patch; best latent of each run, worst of the seeds")
    table = Table("latents", f"|rho| ({RHO})", f"bit of the variant ({BIT})", f"right ({RIGHT})")
    for latents in (1, 2, 3):
        rows = []
        for seed in range(min(options.seeds, 3)):
            truth = drawn(seed, patches=options.patches, noise=NOISE[0], ratio_scatter=0.2)
            found = train_rvae(truth.stack, RvaeSettings(latents=latents), seed=seed)
            assert found.angles is not None
            follows = [abs(np.corrcoef(latent, truth.ratio)[0, 1]) for latent in found.angles.latent.T]
            best = int(np.argmax(follows))
            bit = information_bit(slices(found.angles.latent[:, best], 10), truth.variant)
            rows.append((follows[best], bit, variants_right(found.angles, truth.variant)))
        rho, bit, right = (np.array(column) for column in zip(*rows, strict=True))
        name = f"composition, {latents} latents"
        table.row(
            latents,
            score.judge(f"{name}, rho", [rho.min()], RHO),
            score.judge(f"{name}, bit", [bit.max()], BIT),
            score.judge(f"{name}, right", [right.min()], RIGHT, form="{:.4f}"),
        )


def part_published(options: argparse.Namespace, score: Score) -> None:
    """Print what the published number of patches takes."""
    count = 23340 if options.patches >= 4000 else options.patches
    print(f"### published size: {count} patches of 48 px")
    truth = drawn(0, patches=count, noise=NOISE[1])
    found = train_rvae(truth.stack, seed=0)
    run = judge(found, truth)
    right = score.judge("published size, right", [run.right], RIGHT, form="{:.4f}")
    cpu = score.judge("published size, CPU s", [run.cpu_s], PUBLISHED_CPU, form="{:.1f}")
    print(f"right {right}, CPU {cpu} s (target {PUBLISHED_CPU}), converged: {found.facts['converged']}")


def part_ours(options: argparse.Namespace, score: Score) -> None:
    """Print the published architecture as we have it: settings and how it is judged."""
    print("### the published architecture, ours: 1,000 patches, 5 epochs; what the verdict says of it")
    table = Table("window px", "freedom             ", "right", "verdict  ", "CPU s")
    for window in (36, 48, 54):
        for freedom in ("rotation", FREE):
            truth = drawn(0, patches=min(options.patches, 1000), noise=NOISE[0], window_px=window)
            settings = RvaeSettings(architecture="published", freedom=freedom, epochs=5)
            run = judge(train_rvae(truth.stack, settings, seed=0), truth)
            table.row(window, freedom, f"{run.right:.4f}", run.verdict, f"{run.cpu_s:.1f}")


def part_atomai(options: argparse.Namespace, score: Score) -> None:
    """Print AtomAI's best epoch of each seed, what it cost until then, and ours on the same stack."""
    edge = options.window_px
    print(
        f"### AtomAI: rVAE with its default (dense) encoder, Adam at 1e-3, batches of {options.batch}, prior of the "
        f"angle π/2, no translation; {options.patches} patches of {edge} px"
    )
    if not ATOMAI.exists():
        print("SKIPPED: sh benchmarks/peers/setup.sh atomai")
        return
    table = Table("seed", "AtomAI: best", "in epoch", "last", "last loss", "CPU s per epoch", "CPU s to best",
                  "all epochs", "ours: right", "ours: CPU s", f"AtomAI / ours ({LESS_THAN_ATOMAI})")  # fmt: skip
    for seed in range(min(options.seeds, 5)):
        sampled = {"window_px": edge, "cell_px": 26.0 * edge / 48, "pixel_size_pm": 15.2 * 48 / edge}
        truth = drawn(seed, patches=options.patches, noise=NOISE[0], **sampled)
        own = judge(train_rvae(truth.stack, seed=seed), truth)
        with TemporaryDirectory() as folder:
            stack, out = Path(folder) / "stack.npy", Path(folder) / "angles.npy"
            np.save(stack, truth.stack.images[:, 0])
            choices = ["--rate", "1e-3", "--batch", str(options.batch), "--prior", f"{np.pi / 2:.4f}"]
            told = run_fresh(
                "peers.atomai_workflow",
                [str(stack), str(out), "--epochs", str(options.epochs), "--seed", str(seed), *choices],
                python=ATOMAI,
            )
            right = [nearest_right(np.degrees(angles), truth) for angles in np.load(out).astype(float)]
        best = int(np.argmax(right))
        spent = float(np.sum(told["epoch_cpu_s"][: best + 1]))
        ratio = score.judge(f"AtomAI, seed {seed}, CPU over ours", [spent / own.cpu_s], LESS_THAN_ATOMAI, form="{:.0f}")
        table.row(
            *(seed, f"{right[best]:.4f}", best + 1, f"{right[-1]:.4f}", f"{told['loss'][-1]:.1f}"),
            *(
                f"{np.mean(told['epoch_cpu_s']):.1f}",
                f"{spent:.0f}",
                f"{np.sum(told['epoch_cpu_s']):.0f}",
                f"{own.right:.4f}",
                f"{own.cpu_s:.1f}",
                ratio,
            ),
        )


def nearest_right(angle_deg: np.ndarray, truth: VariantSet) -> float:
    """Return the share of variants right when sense and zero are the best for the true directions."""
    found = register(wrap_deg(angle_deg), unit_vectors(truth.angle_deg))
    assert found is not None
    turned = wrap_deg(found.sense * angle_deg + found.zero_deg)
    nearest = np.abs(wrap_deg(turned[:, None] - np.array(FOUR_VARIANTS))).argmin(axis=1)
    return float(np.mean(nearest == truth.variant))


PARTS = {
    "variants": part_variants,
    "continuous": part_continuous,
    "composition": part_composition,
    "published": part_published,
    "ours": part_ours,
    "atomai": part_atomai,
}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them unless named")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--patches", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=32, help="of AtomAI")
    parser.add_argument("--batch", type=int, default=32, help="of AtomAI: patches in a batch")
    parser.add_argument("--window-px", type=int, default=48, help="beside AtomAI: edge of a patch, two cells or so")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    announce()
    score = Score()
    for name, part in PARTS.items():
        if not options.parts or name in options.parts:
            part(options, score)
            print(flush=True)
    score.close()


if __name__ == "__main__":
    main()

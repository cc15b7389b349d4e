"""The angle and the dipole that a rotation-invariant autoencoder finds, held against true directions.

Each case is trained with several seeds, and the worst of them is shown:

  right    share of patches whose angle is nearest to the direction of their variant
  angle    median error of the angle against the true direction of the displacement, in degrees
  dipole   the same for the displacement of B in what the decoder draws; both where the true one is longer than 20 pm

Variants: 4,000 patches of 48², four ⟨110⟩ variants in shares of 40, 30, 20 and 10 %, 35 pm, 4° scatter. Films are
measured first; their patches are centred on the cells that were found.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dipolar.core.units import angle_deg, magnitude
from dipolar.learn.rvae_settings import RvaeSettings
from dipolar.simulate import FOUR_VARIANTS, Polydomain, VariantSettings, Vortices, variant_set
from harness.labelled import Patched, known_film, patched
from harness.machine import announce
from harness.rows import write
from harness.rvae_truth import direction_error, off, right, trained
from harness.table import Score, Table, Target

LEAST_PM = 20.0
VARIANTS = {"right": Target(low=0.999), "angle": Target(high=3.0), "cpu_s": Target(high=10.0)}
FORMS = {"right": "{:.4f}", "angle": "{:.2f}", "dipole": "{:.2f}", "cpu_s": "{:.1f}"}
PATTERNS = {"polydomain film": Polydomain(), "vortex film": Vortices()}
NOISES = (0.02, 0.05, 0.1)
MIXES = {"equal shares": (0.25, 0.25, 0.25, 0.25), "70, 10, 10, 10 %": (0.7, 0.1, 0.1, 0.1)}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Patches with true directions, and what should be found in them."""

    name: str
    known: Patched
    settings: RvaeSettings = RvaeSettings()  # noqa: RUF009 (frozen)
    targets: Mapping[str, Target] = field(default_factory=dict)


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Yield every case that was asked for."""
    for noise in NOISES:
        yield Case(name=f"variants, noise {noise:g}", known=of_set(VariantSettings(noise=noise)), targets=VARIANTS)
    for name, shares in MIXES.items():
        yield Case(name=f"variants, {name}", known=of_set(VariantSettings(shares=shares)), targets=VARIANTS)
    for latents in (1, 3):
        settings = RvaeSettings(latents=latents)
        yield Case(name=f"variants, latents {latents}", known=of_set(), settings=settings, targets=VARIANTS)
    moved, free = of_set(VariantSettings(shift_px=0.5)), RvaeSettings(freedom="rotation+translation")
    yield Case(name="variants, moved by 0.5 px", known=moved, settings=free, targets=VARIANTS)
    turned, fine = of_set(VariantSettings(turn_deg=180.0)), RvaeSettings(directions=48)
    yield Case(name="variants, turned any way", known=turned, settings=fine, targets={"angle": Target(high=3.0)})
    for name, pattern in PATTERNS.items():
        film = patched(known_film(pattern, seed=0, size_px=options.size), window_px=options.window)
        yield Case(name=name, known=film, targets={"dipole": Target(high=6.0)} if "vortex" in name else {})


def of_set(settings: VariantSettings | None = None) -> Patched:
    """Return a set of variants as patches with truth."""
    made = variant_set(settings, rng=np.random.default_rng(0))
    count = len(made.variant)
    turned = settings is not None and settings.turn_deg > 0
    return Patched(
        stack=made.stack,
        variant=np.full(count, -1) if turned else made.variant,  # a turned patch has no variant on the screen
        layer=np.zeros(count, dtype=int),
        composition=np.ones(count),
        displacement_px=made.dipole_px,
    )


def figures_of(case: Case, seed: int) -> dict[str, float | str]:
    """Return what one training finds."""
    known = case.known
    angles, cpu_s = trained(known.stack, case.settings, seed=seed)
    least = LEAST_PM / (known.stack.pixel_size_pm or 1.0)
    long = magnitude(known.displacement_px) > least
    true = angle_deg(known.displacement_px)
    return {
        "right": right(angles, known.variant, np.array(FOUR_VARIANTS)),
        "angle": float(np.median(off(angles.angle_deg, true)[long])),
        "dipole": direction_error(angles.dipole_px, known.displacement_px, least=least),
        "cpu_s": cpu_s,
        "verdict": angles.verdict,
    }


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each case (default 5)")
    parser.add_argument("--size", type=int, default=1024, help="edge of films in px (default 1024)")
    parser.add_argument("--window", type=int, default=48, help="edge of patches of films in px (default 48)")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--out", type=Path, default=None, help="folder for the table as CSV (default none)")
    options = parser.parse_args()
    announce()
    score, rows = Score(), []
    print(f"### directions, {options.seeds} seeds each: the worst of them")
    table = Table("patches".ljust(26), "right".ljust(8), "angle °", "dipole °", "CPU s".ljust(6), "verdicts")
    for case in cases(options):
        if options.only not in case.name:
            continue
        found = [figures_of(case, seed) for seed in range(options.seeds)]
        worst = {key: (min if key == "right" else max)(float(one[key]) for one in found) for key in FORMS}
        cells = [
            score.judge(f"{case.name}, {key}", [worst[key]], case.targets.get(key), form=form)
            for key, form in FORMS.items()
        ]
        table.row(case.name, *cells, " ".join(sorted({str(one["verdict"]) for one in found})))
        rows += [{"patches": case.name, "seed": seed, **one} for seed, one in enumerate(found)]
    write(options.out, "angle.csv", rows)
    score.close()


if __name__ == "__main__":
    main()

"""Whether antipolar films are told from polar ones: simulated, located, measured; and how long the waves come out.

Each film has A and B columns as in the benchmark film, without polar displacement, and one sublattice displaced in a
wave. Per case, over all seeds:

  verdict     as often as it is the right one
  polar z     mean displacement over its sigma, (y, x), seeds pooled: null within 2
  amplitude   error of the amplitude of the wave, largest of all seeds, in pm
  z           standard deviation of (amplitude found - true) / sigma of the displacement pattern, pooled over seeds,
              components and the three patterns of period 2 (those that are not there are 0)

"null" has no wave, "polar" the two domains of the benchmark film, "jitter" shifted scan rows and no wave.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

import numpy as np

from dipolar.core.findings import Order
from dipolar.locate import locate_columns
from dipolar.measure import antipolar_order, build_cells
from dipolar.simulate import Simulated, benchmark_film, simulate_film, simulate_wave
from harness.machine import announce
from harness.table import Score, Table, Target


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of film."""

    verdict: str
    wave: dict[str, object] = field(default_factory=dict)
    film: dict[str, float] = field(default_factory=dict)
    amplitude_pm: float = 0.0


PATTERNS = {"rows": (0.5, 0.0), "columns": (0.0, 0.5), "checkerboard": (0.5, 0.5)}
CASES = {
    "null": Case(verdict="null"),
    "jitter": Case(verdict="null", film={"row_jitter_px": 0.3}),
    "polar": Case(verdict="polar", film={"displacement_pm": 25.0}),
    **{
        f"B, {name}": Case(verdict="antipolar", amplitude_pm=15.0, wave={"wavevector": q, "direction_deg": 30.0})
        for name, q in PATTERNS.items()
    },
    "B, rows, low dose": Case(
        verdict="antipolar", amplitude_pm=10.0, film={"dose": 22.0 / 150.0}, wave={"wavevector": (0.5, 0.0)}
    ),
    "B, columns, jitter": Case(
        verdict="antipolar", amplitude_pm=10.0, film={"row_jitter_px": 0.15}, wave={"wavevector": (0.0, 0.5)}
    ),
    "A, columns": Case(verdict="antipolar", amplitude_pm=10.0, wave={"wavevector": (0.0, 0.5), "sublattice": "A"}),
    "A, zigzag of 4": Case(
        verdict="modulated",
        amplitude_pm=8.0,
        wave={"wavevector": (0.25, 0.25), "sublattice": "A", "direction_deg": 45.0},
    ),
}


def simulate(case: Case, size: int, seed: int) -> Simulated:
    """Return the film of one case and seed."""
    settings = benchmark_film(size_px=size, **({"displacement_pm": 0.0} | case.film))
    rng = np.random.default_rng(seed)
    if not case.amplitude_pm:
        return simulate_film(settings, rng=rng)
    return simulate_wave(settings, amplitude_pm=case.amplitude_pm, rng=rng, **case.wave)


def found_pm(order: Order, case: Case, scale: float) -> float:
    """Return the amplitude found, 0 where no wave was."""
    return 0.0 if order.modulation is None else scale * order.modulation.amplitude_px


def expected_patterns(case: Case, order: Order) -> list[np.ndarray]:
    """Return the true amplitude (dy, dx) in pm of each pattern, for waves of B."""
    angle = np.radians(float(case.wave.get("direction_deg", 0.0)))
    whole = case.amplitude_pm * np.array([-np.sin(angle), np.cos(angle)])
    return [whole if case.wave.get("wavevector") == PATTERNS[s.pattern] else 0.0 * whole for s in order.staggered]


def run(name: str, options: argparse.Namespace, score: Score, table: Table) -> None:
    """Measure the films of one case and print its row."""
    case = CASES[name]
    right, errors, z, polar, weight = 0, [], [], np.zeros(2), np.zeros(2)
    for seed in range(options.seeds):
        film = simulate(case, options.size, options.first_seed + seed)
        scale = film.image.pixel_size_pm
        columns = locate_columns(film.image)
        order = antipolar_order(build_cells(columns), columns)
        right += order.verdict == case.verdict
        if case.amplitude_pm:
            errors.append(abs(found_pm(order, case, scale) - case.amplitude_pm))
        if case.wave.get("sublattice", "B") == "B" and case.verdict != "polar":
            for s, true in zip(order.staggered, expected_patterns(case, order), strict=True):
                value, sigma = scale * np.array(s.amplitude_px), scale * np.array(s.sigma_px)
                # the first cell of the crystal found may be another one: the sign of the pattern is free
                sign = np.sign(value @ true) if true.any() else 1.0
                z += list((sign * value - true) / sigma)
        inverse = np.array(order.polar_sigma_px) ** -2.0
        polar += inverse * np.array(order.polar_px)
        weight += inverse
    pooled = np.abs(polar) / np.sqrt(weight)
    null = case.verdict != "polar"
    table.row(
        name,
        score.judge(f"{name}, verdict", [100.0 * right / options.seeds], Target(low=100.0), form="{:.0f} %"),
        score.judge(f"{name}, polar z", list(pooled), Target(high=2.0) if null else None, form="{:.2f}"),
        score.judge(f"{name}, amplitude", [max(errors)], Target(high=1.0), form="{:.2f} pm") if errors else "–",
        score.judge(f"{name}, z of patterns", [float(np.std(z))], None, form="{:.2f}") if z else "–",
    )


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=768, help="edge of the film in px (default 768)")
    parser.add_argument("--seeds", type=int, default=4, help="films per case (default 4)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first film (default 0)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="which films (default all)")
    options = parser.parse_args()
    announce()
    score = Score()
    table = Table("case".ljust(18), "verdict right", "polar z (y x)".ljust(14), "amplitude error", "z")
    table.row("target", "100 %", "≤ 2 (not polar)", "≤ 1 pm", "1")
    for name in options.cases:
        run(name, options, score, table)
    score.close()


if __name__ == "__main__":
    main()

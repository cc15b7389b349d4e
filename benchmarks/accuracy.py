"""How near the truth, how near the limit that counting sets, and how honest sigma is, on the benchmark film.

Each case is simulated with several seeds and measured with both ways of fitting. Errors of all films of a case are
pooled. For A and B columns, for the displacement and for the cell's edges a and b, where each is known:

  rmse     root of the mean squared error per component, in pm
  limit    the Cramér–Rao limit of the same rows in the same films, from counting alone (root mean square)
  ratio    rmse / limit
  bias     mean error along y and along x, in pm, sign left out
  gain     slope of what is found against what is true, through the origin, for dy and dx
  z        standard deviation of error / sigma, for each component (y and x; the length alone for a and b)
  inside   share of errors within one sigma, in per cent

Columns whose window of three widths crosses the rim of the image are left out, and cells with such a column; every
other row counts, flagged or not. Those that were missed and those without sigma are counted below each table. Row
jitter is no counting noise, so there the ratio has no target.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from dipolar.core.nouns import A, B, Columns
from dipolar.locate import AbstractFit, GaussianFit, SharedProfileFit, locate_columns
from dipolar.measure import build_cells
from dipolar.simulate import LOW_DOSE, Simulated, benchmark_film, cramer_rao, displacement_limit, simulate_film
from harness.machine import announce
from harness.table import Score, Table, Target
from harness.truth import complete, inside, pair_cells, pair_columns

BIAS = Target(high=0.2, form="{:.2f}")
WIDTH = Target(low=0.95, high=1.05, form="{:.2f}")
INSIDE = Target(low=66.0, high=70.0, form="{:.0f}")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of film and what is asked of it."""

    film: dict[str, float | bool]
    """Options of `benchmark_film`."""
    ratio: Target | None
    """rmse / limit of the displacement."""
    gain: Target


MIDDLE_GAIN = Target(low=0.97, high=1.03, form="{:.2f}")
CASES = {
    "middle": Case(film={}, ratio=Target(high=1.03), gain=MIDDLE_GAIN),
    "high": Case(film={"dose": 10.0}, ratio=Target(high=1.03), gain=MIDDLE_GAIN),
    "low": Case(film={"dose": LOW_DOSE}, ratio=Target(high=1.06), gain=MIDDLE_GAIN),
    "tails": Case(
        film={"tails": True}, ratio=Target(high=1.10, form="{:.2f}"), gain=Target(low=0.95, high=1.06, form="{:.2f}")
    ),
    "jitter": Case(film={"row_jitter_px": 0.15}, ratio=None, gain=MIDDLE_GAIN),
}
FITS: dict[str, AbstractFit] = {"profile": SharedProfileFit(), "gaussian": GaussianFit()}


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of one quantity in pm, (row, component); the truth where it has a gain, the limit where it has one."""

    error: np.ndarray
    sigma: np.ndarray
    limit: np.ndarray | None = None
    truth: np.ndarray | None = None


@dataclass
class Missed:
    """What the tables do not show."""

    columns: int = 0
    cells: int = 0
    without_sigma: int = 0
    of_columns: int = 0
    of_cells: int = 0


def diagonal(covariance: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each component, shape (row, 2)."""
    return np.sqrt(np.einsum("nii->ni", covariance))


def compare(film: Simulated, found: Columns, missed: Missed) -> dict[str, Errors]:
    """Return the errors of every quantity in one film, and count what was missed."""
    truth, scale = film.truth_columns, film.image.pixel_size_pm
    limit = cramer_rao(truth, film.expected)
    row = pair_columns(truth, found)
    fair = inside(truth, film.image.data.shape)
    errors = {}
    for name, kind in (("A", A), ("B", B)):
        true = np.flatnonzero(fair & (row >= 0) & (truth.sublattice == kind))
        errors[name] = Errors(
            error=scale * (found.positions_px[row[true]] - truth.positions_px[true]),
            sigma=scale * diagonal(found.covariance_px2[row[true]]),
            limit=scale * diagonal(limit[true]),
        )
    missed.columns += int(np.count_nonzero(fair & (row < 0)))
    missed.of_columns += int(np.count_nonzero(fair))
    missed.without_sigma += sum(int(np.count_nonzero(~np.isfinite(e.sigma).all(axis=1))) for e in errors.values())
    return errors | compare_cells(film, found, row, fair, limit, missed)


def compare_cells(
    film: Simulated, found: Columns, row: np.ndarray, fair: np.ndarray, limit: np.ndarray, missed: Missed
) -> dict[str, Errors]:
    """Return the errors of displacement, a and b in one film."""
    scale, truth = film.image.pixel_size_pm, film.truth_cells
    cells = build_cells(found)
    true, mine = pair_cells(truth, cells, row)
    good = complete(truth, fair)
    missed.cells += int(np.count_nonzero(good)) - int(np.count_nonzero(good[true]))
    missed.of_cells += int(np.count_nonzero(good))
    true, mine = true[good[true]], mine[good[true]]
    errors = {
        "displacement": Errors(
            error=scale * (cells.displacement_px[mine] - truth.displacement_px[true]),
            sigma=scale * diagonal(cells.covariance_px2[mine]),
            limit=scale * diagonal(displacement_limit(truth, limit)[0][true]),
            truth=scale * truth.displacement_px[true],
        )
    }
    for name, edge, true_edge, sigma in (
        ("a", cells.a_px, truth.a_px, cells.a_sigma_px),
        ("b", cells.b_px, truth.b_px, cells.b_sigma_px),
    ):
        length = np.linalg.norm(edge[mine], axis=1) - np.linalg.norm(true_edge[true], axis=1)
        errors[name] = Errors(error=scale * length[:, None], sigma=scale * sigma[mine][:, None])
    return errors


def pool(films: list[dict[str, Errors]]) -> dict[str, Errors]:
    """Return the errors of several films as one table per quantity."""

    def joined(name: str, part: str) -> np.ndarray | None:
        parts = [getattr(film[name], part) for film in films]
        return None if parts[0] is None else np.concatenate(parts)

    return {name: Errors(**{part: joined(name, part) for part in Errors.__annotations__}) for name in films[0]}


def row_of(name: str, errors: Errors, case: Case, score: Score, where: str, *, biased: bool) -> list[str]:
    """Return one row of the table; `biased`: a model that is known not to fit these columns has no targets."""
    error = errors.error
    rmse = float(np.sqrt(np.mean(error**2)))
    z = error / errors.sigma
    z = z[np.isfinite(z).all(axis=1)]
    limit = float("nan") if errors.limit is None else float(np.sqrt(np.nanmean(errors.limit**2)))

    def judged(what: str, values: np.ndarray, target: Target | None, form: str) -> str:
        return score.judge(f"{where}, {name}, {what}", list(values), None if biased else target, form=form)

    ratio = gain = "–"
    if errors.limit is not None:
        ratio = judged("ratio", np.array([rmse / limit]), case.ratio if name == "displacement" else None, "{:.3f}")
    if errors.truth is not None:
        slope = np.sum(error * errors.truth, axis=0) / np.sum(errors.truth**2, axis=0)
        gain = judged("gain", 1.0 + slope, case.gain, "{:.3f}")
    bias = judged("bias, absolute", np.abs(error.mean(axis=0)), BIAS, "{:.2f}")
    width = judged("z", z.std(axis=0), WIDTH, "{:.3f}")
    share = judged("inside", 100.0 * np.mean(np.abs(z) < 1.0, axis=0), INSIDE, "{:.1f}")
    limit_text = "–" if errors.limit is None else f"{limit:.3f}"
    return [name, f"{rmse:.3f}", limit_text, ratio, bias, gain, width, share]


def chance(error: np.ndarray) -> str:
    """Say by how much the figures of the displacement scatter by chance alone, were all cells independent."""
    count = max(len(error), 1)
    bias, width, share = np.std(error) / count**0.5, (2.0 * count) ** -0.5, 100.0 * (0.683 * 0.317 / count) ** 0.5
    return f"by chance (displacement, one sigma): bias ±{bias:.2f} pm, z ±{width:.3f}, inside ±{share:.1f} %"


def run(name: str, fit: str, options: argparse.Namespace, score: Score) -> None:
    """Measure the films of one case with one way of fitting, and print the table."""
    case = CASES[name]
    films, missed = [], Missed()
    for seed in range(options.seeds):
        film = simulate_film(
            benchmark_film(size_px=options.size, **case.film),
            rng=np.random.default_rng(options.first_seed + seed),
        )
        found = locate_columns(film.image, fit=FITS[fit])
        films.append(compare(film, found, missed))
    print(f"\n### {name}, {fit}: {options.seeds} films of {options.size}²")
    table = Table(
        *("quantity".ljust(12), "rmse pm", "limit pm", "ratio".ljust(19), "abs bias pm (y x)"),
        *("gain (y x)".ljust(13), "z (y x)".ljust(13), "inside %".ljust(11)),
    )
    ratio = "–" if case.ratio is None else f"displacement {case.ratio}"
    biased = name == "tails" and fit == "gaussian"
    targets = ["–"] * 5 if biased else [ratio, BIAS, case.gain, WIDTH, INSIDE]
    table.row("target", "–", "–", *targets)
    pooled = pool(films)
    for quantity, errors in pooled.items():
        table.row(*row_of(quantity, errors, case, score, f"{name}, {fit}", biased=biased))
    print(chance(pooled["displacement"].error))
    print(
        f"not found: {missed.columns} of {missed.of_columns} columns, {missed.cells} of {missed.of_cells} cells;"
        f" without sigma: {missed.without_sigma} columns",
        flush=True,
    )


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="edge of the film in px (default 2048)")
    parser.add_argument("--seeds", type=int, default=3, help="films per case (default 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first film (default 0)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="which films (default all)")
    parser.add_argument("--fits", nargs="+", choices=FITS, default=list(FITS), help="which fits (default both)")
    options = parser.parse_args()
    announce()
    score = Score()
    for name in options.cases:
        for fit in options.fits:
            run(name, fit, options, score)
    score.close()


if __name__ == "__main__":
    main()

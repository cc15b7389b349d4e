"""Honesty of the shipped ensemble: coverage on films of its own kind, and what is flagged where it fails on others."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from dipolar.learn.calibration import LEVELS, coverage
from dipolar.learn.exam import Answers, examine, together
from dipolar.learn.familiarity import auroc, flag_rates
from dipolar.learn.predictor import Model
from dipolar.learn.scale import see
from dipolar.recipes.models import open_model
from dipolar.recipes.shipped import EXAM_SEED, films
from dipolar.simulate.noise import with_gaussian_noise
from harness.table import Score, Table, Target


def sigma(score: Score, *, count: int) -> None:
    """Honesty in distribution, flags out of it."""
    model = open_model(None, "regressor")
    quantiles = dict(model.calibration.quantiles) if model.calibration else None
    table = Table(
        "images", "RMS, px of 24 a cell", "inside 50 68 90 %", "z width", "flagged, %", "bad flagged, %", "AUROC"
    )
    usual = together([_film_answers(model, film, seen) for film, seen in films(count, seed=EXAM_SEED + 5)])
    covered = coverage(usual.error, usual.sigma, LEVELS, quantiles)
    inside = [
        score.judge(f"coverage {n}", [100 * covered[n]], Target(low=100 * n - 3, high=100 * n + 3), form="{:.1f}")
        for n in LEVELS
    ]
    table.row(
        "of the training's kind",
        f"{np.sqrt(np.mean(usual.error**2)):.3f}",
        " ".join(inside),
        f"{np.sqrt(np.mean((usual.error / usual.sigma) ** 2)):.2f}",
        f"{100 * np.mean(usual.unfamiliar > 1):.1f}",
        "",
        "",
    )
    everything = [usual]
    for name, change in STRANGE.items():
        parts = []
        for number, (film, _) in enumerate(films(max(count // 4, 4), seed=EXAM_SEED + 6)):
            data = change(film.image, np.random.default_rng(number))
            parts.append(_film_answers(model, film, see(data, cell_px=film.cell_px)))
        strange = together(parts)
        everything.append(strange)
        rates = flag_rates(strange.unfamiliar, strange.error, strange.sigma)
        covered = coverage(strange.error, strange.sigma, LEVELS, quantiles)
        table.row(
            name,
            f"{np.sqrt(np.mean(strange.error**2)):.3f}",
            " ".join(f"{100 * share:.1f}" for share in covered.values()),
            f"{np.sqrt(np.mean((strange.error / strange.sigma) ** 2)):.2f}",
            f"{100 * np.mean(strange.unfamiliar > 1):.1f}",
            f"{100 * rates.bad_flagged:.1f} of {rates.bad}",
            "",
        )
    both = together(everything)
    rates = flag_rates(both.unfamiliar, both.error, both.sigma)
    bad = np.any(np.abs(both.error) > 3 * both.sigma, axis=1)
    good = score.judge("good flagged", [100 * rates.good_flagged], Target(high=5.0), form="{:.1f}")
    bad_ones = score.judge("bad flagged", [100 * rates.bad_flagged], Target(low=95.0), form="{:.1f}")
    area = score.judge("AUROC", [auroc(both.unfamiliar, bad)], Target(low=0.95))
    table.row("all of these", "", "", "", f"good: {good}", bad_ones, area)


def _stripes(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shifts = np.cumsum(rng.normal(0, 0.6, len(data)))
    shifts -= np.linspace(shifts[0], shifts[-1], len(data))
    return np.stack([np.roll(row, round(shift)) for row, shift in zip(data, shifts, strict=True)])


STRANGE = {
    "Gaussian noise, variance 0.05": lambda data, rng: with_gaussian_noise(data, variance=0.05, rng=rng),
    "Gaussian noise, variance 0.2": lambda data, rng: with_gaussian_noise(data, variance=0.2, rng=rng),
    "blur of 3 px": lambda data, rng: gaussian_filter(data, 3.0),
    "blur of 5 px": lambda data, rng: gaussian_filter(data, 5.0),
    "contrast inverted": lambda data, rng: (data.max() - data).astype(np.float32),
    "scan rows walking by 0.6 px": _stripes,
    "clipped at the median": lambda data, rng: np.maximum(data, np.median(data)).astype(np.float32),
}


def _film_answers(model: Model, film, seen) -> Answers:  # type: ignore[no-untyped-def]
    inside = np.all((film.cells.positions_px > 0) & (film.cells.positions_px < np.array(film.image.shape)), axis=1)
    return examine(model, seen, film.cells, inside)

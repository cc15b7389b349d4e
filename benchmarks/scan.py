"""4D-STEM on simulated scans of the published size with exact truth: what a few labels give, and when it is flagged.

  labels       the bank at 20 and 50 labels: right in all, near walls, none; how honest the probabilities are
  conditions   a tenth of the dose and a third of the ghosts; descan, jitter, ellipticity; a beam stop
  transfer     learned on one scan, put to another of the same crystal, and to a tenth of the dose
  unknown      a class that was never labelled: share flagged, beside patterns of known classes that are
  shares       share of each class where two overlap in walls; place of the walls
  unlabelled   order parameters without any label

A third of each scan, in blocks, is never labelled and is what is counted. Near walls: within two probe steps.
"""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from sklearn.metrics import roc_auc_score

from dipolar.core.flags import Flag
from dipolar.core.scanning import Labels, ScanMap
from dipolar.label import sampling
from dipolar.label.positions import no_labels
from dipolar.learn.pattern_scores import NEAR_WALL_STEPS, validate
from dipolar.learn.patterns import AbstractPatternClassifier, Answers
from dipolar.locate.beam import centres
from dipolar.maps.scan_domains import domains_of
from dipolar.measure.bank import counted
from dipolar.measure.order import classes_without_labels, order_parameters
from dipolar.recipes.scan_lattice import view_for
from dipolar.recipes.scan_look import look_over
from dipolar.recipes.scan_map import look_of
from dipolar.recipes.scan_train import look_for, taught
from dipolar.recipes.study_labels import LabelsJob, Question, asked, held_out, judged, question_of, training
from dipolar.recipes.study_settings import LabelsSettings
from dipolar.simulate.scan import simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings
from harness.machine import announce
from harness.process import cost
from harness.table import Score, Table, Target

ALL_50, NONE_50, NEAR_50, ALL_20 = Target(low=98.8), Target(low=96), Target(low=96), Target(low=98)
FAINT, LOST = Target(low=97.5), Target(high=0.5)
OTHER_SCAN, OTHER_DOSE = Target(low=98.5), Target(low=97)
HONEST, SHARE, PLACE = Target(high=0.02), Target(high=0.1), Target(high=0.5)
FLAGGED, FALSE, RANKED = Target(low=90), Target(high=5), Target(low=0.97)
SHAPE = (34, 206)


def settings_of(pattern_px: int, **more: Any) -> SimulatedScanSettings:
    """Return a scan of the published shape."""
    return SimulatedScanSettings(shape=SHAPE, pattern_px=(pattern_px, pattern_px), **more)


@cache
def question(seed: int, pattern_px: int) -> Question:
    """Return the plain scan of one seed, looked at once."""
    chosen = LabelsSettings(pattern_px=pattern_px, classifiers="bank")
    return question_of(LabelsJob(seed=seed, settings=chosen, work=Path()))


def varied(seed: int, pattern_px: int, **more: Any) -> Question:
    """Return a scan of other conditions, looked at once."""
    simulated = simulate_scan(settings_of(pattern_px, **more), seed=seed)
    look = look_for(simulated.scan, training("bank", seed))
    seen = look_over(simulated.scan, look, np.arange(simulated.scan.count))
    return Question(simulated=simulated, seen={"bank": (look, seen)}, test=held_out(SHAPE))


def learned(asked_of: Question, labels: Labels, seed: int) -> AbstractPatternClassifier:
    """Return a bank classifier that learned from labels."""
    look, seen = asked_of.seen["bank"]
    numbers = np.ravel_multi_index(tuple(labels.positions.T), labels.shape)
    return taught(asked_of.simulated.scan, labels, look, seen, numbers, training("bank", seed))


def some_labels(asked_of: Question, count: int, strategy: str, seed: int) -> Labels:
    """Return labels of a strategy."""
    none = no_labels(asked_of.simulated.scan.key, asked_of.simulated.scan.shape)
    return asked(asked_of, none, count, strategy, np.random.default_rng([seed, 7]), seed)


def says(classifier: AbstractPatternClassifier, of: Question) -> Answers:
    """Return what a classifier says of all patterns of a scan, which it sees through the scan's own view."""
    look = look_of(classifier, view_for(classifier, of.seen["bank"][0].view), images=False)
    seen = look_over(of.simulated.scan, look, np.arange(of.simulated.scan.count))
    return classifier.answers(seen.seen, seen.counts)


def right(answers: Answers, of: Question) -> dict[str, float]:
    """Return the figures of the part held out, in percent but for the calibration error."""
    truth, test = of.simulated.truth, of.test
    near = truth.wall_distance.ravel()[test] <= NEAR_WALL_STEPS
    told = validate(answers.probability[test], truth.label.ravel()[test], truth.names, near_wall=near).figures
    return {name: value if "error" in name else 100 * value for name, value in told.items()}


def part_labels(options: argparse.Namespace, score: Score) -> None:
    """Print how right the bank is at 20 and 50 labels of each strategy."""
    print(f"### labels: {SHAPE[0]} × {SHAPE[1]} patterns of {options.pattern_px} px, {options.seeds} seeds")
    table = Table("labels", "strategy", f"right % ({ALL_50}; of 20 {ALL_20})", f"near walls % ({NEAR_50})",
                  f"none % ({NONE_50})", f"calibration error ({HONEST})", "position only %")  # fmt: skip
    for count in (20, 50):
        for strategy in ("random", "adaptive", "margin", "kmeans"):
            rows, alone = [], []
            for seed in range(options.seeds):
                one = question(seed, options.pattern_px)
                labels = some_labels(one, count, strategy, seed)
                rows.append(judged(one, labels, strategy, count, "bank", seed))
                alone.append(judged(one, labels, strategy, count, "position only", seed)["accuracy"])
            words = f"{strategy}, {count} labels"
            goal = ALL_50 if count == 50 else ALL_20
            table.row(
                count, strategy, spread(score, words, [100 * row["accuracy"] for row in rows], goal),
                spread(score, f"{words}, walls", [100 * row["near_walls"] for row in rows], NEAR_50),
                spread(score, f"{words}, none", [100 * row["recall_none"] for row in rows], NONE_50),
                spread(score, f"{words}, ECE", [row["calibration_error"] for row in rows], HONEST, form="{:.4f}"),
                f"{100 * np.mean(alone):.1f}",
            )  # fmt: skip


def spread(score: Score, what: str, values: list[float], goal: Target, form: str = "{:.2f}") -> str:
    """Return mean ± standard deviation, the mean held against the target."""
    return score.judge(what, [float(np.mean(values))], goal, form=form) + f" ± {form.format(np.std(values))}"


def part_conditions(options: argparse.Namespace, score: Score) -> None:
    """Print how right the bank is at 50 labels of margin under conditions that are worse."""
    print("### conditions: 50 labels of margin")
    plain_ghost = SimulatedScanSettings().ghost_strength
    scale = options.pattern_px / 512
    cases: list[tuple[str, dict[str, Any]]] = [
        ("dose 1/10, ghosts 1/3", {"electrons": 6e3, "ghost_strength": plain_ghost / 3}),
        ("dose 1/10", {"electrons": 6e3}),
        ("descan 4 px, jitter 0.3 px, ellipticity 2 %, beam stop",
         {"descan_px": 4.0 * scale, "jitter_px": 0.3 * scale, "ellipticity": 0.02, "beam_stop": True}),
        ("descan 4 px of this detector", {"descan_px": 4.0}),
    ]  # fmt: skip
    table = Table("condition", f"right % (faint {FAINT})", f"points lost ({LOST})", "near walls %", "none %")
    for words, more in cases:
        now, lost, walls, none = [], [], [], []
        for seed in range(options.seeds):
            plain = question(seed, options.pattern_px)
            base = right(says(learned(plain, labels := some_labels(plain, 50, "margin", seed), seed), plain), plain)
            one = varied(seed, options.pattern_px, **more)
            labels = some_labels(one, 50, "margin", seed)
            told = right(says(learned(one, labels, seed), one), one)
            now.append(told["accuracy"])
            lost.append(base["accuracy"] - told["accuracy"])
            walls.append(told["near walls"])
            none.append(told["recall of none"])
        faint = words == cases[0][0]
        table.row(
            words,
            spread(score, words, now, FAINT) if faint else f"{np.mean(now):.2f} ± {np.std(now):.2f}",
            f"{np.mean(lost):.2f}" if "dose" in words else spread(score, f"{words}, lost", lost, LOST),
            f"{np.mean(walls):.2f}", f"{np.mean(none):.2f}",
        )  # fmt: skip


def part_transfer(options: argparse.Namespace, score: Score) -> None:
    """Print how right a classifier is on a scan that it never saw."""
    print("### transfer: 50 labels of margin on one scan")
    table = Table("put to", "right %", "flagged: unknown %", "flagged: dose %", "right of the unflagged %")
    cases: list[tuple[str, int, dict[str, Any], Target]] = [
        ("another scan", 100, {}, OTHER_SCAN),
        ("another scan, a tenth of the dose", 100, {"electrons": 6e3}, OTHER_DOSE),
        ("another scan, turned by 3°, lattice 5 % longer", 100,
         {"rotation_deg": 3.0, "lattice_px": 1.05 * settings_of(options.pattern_px).lattice_length_px}, OTHER_SCAN),
    ]  # fmt: skip
    for words, shift, more, goal in cases:
        told = []
        for seed in range(options.seeds):
            plain = question(seed, options.pattern_px)
            classifier = learned(plain, some_labels(plain, 50, "margin", seed), seed)
            other = varied(seed + shift, options.pattern_px, **more)
            answers = says(classifier, other)
            truth = other.simulated.truth.label.ravel()
            names = [other.simulated.truth.names.index(name) for name in classifier.names]
            good = np.array(names)[np.argmax(np.nan_to_num(answers.probability), axis=1)] == truth
            unknown, dose = (answers.flags & np.uint32(flag) != 0 for flag in (Flag.UNKNOWN_CLASS, Flag.OTHER_DOSE))
            fine = ~(unknown | dose)
            told.append([good.mean(), unknown.mean(), dose.mean(), good[fine].mean() if fine.any() else np.nan])
        values = 100 * np.array(told)
        table.row(words, spread(score, words, values[:, 0].tolist(), goal), *(f"{v:.2f}" for v in values.mean(0)[1:]))


def part_unknown(options: argparse.Namespace, score: Score) -> None:
    """Print the share of flagged patterns of a class that was never labelled."""
    print("### unknown: 50 labels at random of two classes; the third is never labelled")
    table = Table("never labelled", f"flagged % ({FLAGGED})", f"known classes flagged % ({FALSE})")
    for name in ("horizontal", "vertical", "none"):
        hit, false = [], []
        for seed in range(options.seeds):
            one = question(seed, options.pattern_px)
            truth = one.simulated.truth
            missing = truth.names.index(name)
            free = (truth.label != missing) & ~one.test.reshape(SHAPE)
            rng = np.random.default_rng([seed, 9])
            none = no_labels(one.simulated.scan.key, SHAPE)
            positions = sampling.random(none, 50, rng=rng, free=free)
            said = truth.label[positions[:, 0], positions[:, 1]]
            kept = [place for place in range(3) if place != missing]
            labels = Labels(
                key=none.key,
                shape=SHAPE,
                names=tuple(truth.names[place] for place in kept),
                positions=positions,
                label=np.searchsorted(kept, said).astype(np.int32),
            )
            flagged = says(learned(one, labels, seed), one).flags & np.uint32(Flag.UNKNOWN_CLASS) != 0
            pure = truth.mixture.reshape(-1, 3)
            hit.append(100 * flagged[pure[:, missing] > 0.9].mean())
            false.append(100 * flagged[pure[:, missing] < 0.02].mean())
        table.row(name, spread(score, f"{name} unknown", hit, FLAGGED), spread(score, f"{name}, false", false, FALSE))


def part_shares(options: argparse.Namespace, score: Score) -> None:
    """Print how well shares in walls and places of walls are told."""
    print("### shares: 50 labels of margin")
    table = Table("seed", f"share, RMS where two overlap ({SHARE})", f"walls: RMS distance, steps ({PLACE})",
                  "wall found %", "width told / true (median)")  # fmt: skip
    for seed in range(options.seeds):
        one = question(seed, options.pattern_px)
        truth = one.simulated.truth
        classifier = learned(one, some_labels(one, 50, "margin", seed), seed)
        answers = says(classifier, one)
        order = [classifier.names.index(name) for name in truth.names]
        told, true = answers.mixture[:, order], truth.mixture.reshape(-1, 3)
        both = np.sort(true, axis=1)[:, -2] > 0.05
        share = float(np.sqrt(np.nanmean((told - true)[both] ** 2)))
        shape = (*SHAPE, 3)
        found = domains_of(
            ScanMap(
                key="", name="", names=truth.names, probability=answers.probability[:, order].reshape(shape),
                flags=answers.flags.reshape(SHAPE), centre_px=truth.centre_px.astype(np.float32),
                counts=truth.counts.astype(np.float32), mixture=told.reshape(shape),
            )
        )  # fmt: skip
        curve = np.concatenate([wall.points for wall in found.walls])
        real = np.concatenate([wall.points for wall in truth.walls])
        away = cKDTree(dense(real)).query(curve)[0]
        near = cKDTree(dense(curve)).query(real)[0]
        widths = [wall.width / SimulatedScanSettings().wall_width for wall in found.walls if wall.width_sigma > 0]
        table.row(
            seed, score.judge(f"shares {seed}", [share], SHARE),
            score.judge(f"walls {seed}", [float(np.sqrt(np.mean(away[away < 3] ** 2)))], PLACE),
            f"{100 * np.mean(near < 1.5):.1f}", f"{np.median(widths):.2f}",
        )  # fmt: skip


def dense(points: np.ndarray) -> np.ndarray:
    """Return points between neighbours too, so that distances are to the line."""
    pairs = [points[:-1] + share * (points[1:] - points[:-1]) for share in np.linspace(0, 1, 8, endpoint=False)]
    every = np.concatenate(pairs)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return every[np.tile(steps < 2.0, 8)]


def part_unlabelled(options: argparse.Namespace, score: Score) -> None:
    """Print what order parameters say without a label."""
    print("### unlabelled: order parameters")
    table = Table("seed", f"none ranked, AUROC ({RANKED})", "three classes right %", "horizontal against vertical %",
                  "CPU s")  # fmt: skip
    for seed in range(options.seeds):
        one = question(seed, options.pattern_px)
        scan, truth, look = one.simulated.scan, one.simulated.truth, one.seen["bank"][0]
        assert look.bank is not None
        nets, sigmas = [], []
        for start in range(0, scan.count, 256):
            patterns = scan.frames.read(start, min(start + 256, scan.count))
            net, sigma = counted(patterns, centres(patterns, look.view)[0], look.view, look.bank)
            nets.append(net)
            sigmas.append(sigma)
        with cost() as spent:
            order = order_parameters(np.concatenate(nets), np.concatenate(sigmas), look.bank)
            said = classes_without_labels(order)
        label = truth.label.ravel()
        none = label == truth.names.index("none")
        rank = roc_auc_score(none, -(order.strength + np.abs(order.difference)))
        correct = said == label
        polar = ~none & (said != 2)
        table.row(
            seed, score.judge(f"none ranked {seed}", [float(rank)], RANKED), f"{100 * correct.mean():.1f}",
            f"{100 * correct[polar].mean():.2f}", f"{spent.cpu_s:.2f}",
        )  # fmt: skip


PARTS = {
    "labels": part_labels,
    "conditions": part_conditions,
    "transfer": part_transfer,
    "unknown": part_unknown,
    "shares": part_shares,
    "unlabelled": part_unlabelled,
}


def main() -> None:
    """Run the parts named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them unless named")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pattern-px", type=int, default=512)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    announce()
    score = Score()
    for name in options.parts or PARTS:
        print()
        PARTS[name](options, score)
    score.close()


if __name__ == "__main__":
    main()

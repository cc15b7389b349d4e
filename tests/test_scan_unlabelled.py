"""Scans mapped without any label: right, sure only where it is, the same whoever maps, and loud where nothing tells."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

import dipolar
from dipolar.core.errors import ScanError, SettingsError
from dipolar.core.flags import Flag
from dipolar.core.nouns import same
from dipolar.core.scanning import Labels
from dipolar.learn.pattern_bank import BankClassifier
from dipolar.learn.pattern_scores import validate
from dipolar.locate.beam import look_at
from dipolar.measure.bank import bank_for, kinds_of
from dipolar.measure.order import CLASSES, OrderParameters, threshold
from dipolar.recipes.scan_ghosts import rule_for
from dipolar.recipes.scan_map import judge_for, map_scan
from dipolar.recipes.scan_settings import ScanMapSettings, ScanTrainSettings
from dipolar.recipes.scan_train import look_for, train_on_scan
from dipolar.report.scan_confidence import confidence_figure
from dipolar.report.scan_map import scan_figure
from dipolar.run.scanning import Here, Threads
from dipolar.simulate.scan import simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings
from scan_patterns import held

ORDER = ("ghost strength", "ghost strength sigma", "horizontal − vertical", "horizontal − vertical sigma")


def made(seed: int = 2, **changes: object):
    """Return a small simulated scan, its patterns in memory, and its truth."""
    plain = SimulatedScanSettings(shape=(18, 28), pattern_px=(96, 96))
    simulated = simulate_scan(replace(plain, **changes), seed)
    patterns = simulated.scan.frames.read(0, simulated.scan.count)
    return replace(held(patterns, simulated.scan.shape), key=simulated.scan.key), simulated.truth


@pytest.fixture(scope="module")
def example():
    return made()


@pytest.fixture(scope="module")
def mapped(example):
    return map_scan(example[0], executor=Here())


def test_no_label_is_needed(example, mapped):
    truth, found = example[1], mapped.map
    assert found.names == CLASSES == truth.names
    far = truth.wall_distance > 1.0
    assert (found.label == truth.label)[far].mean() > 0.98
    figures = validate(found.probability.reshape(-1, 3), truth.label.ravel(), found.names).figures
    assert figures["accuracy"] > 0.95 and figures["recall of none"] > 0.9
    assert figures["expected calibration error"] < 0.03
    assert found.mixture is not None and np.sqrt(np.mean((found.mixture - truth.mixture) ** 2)) < 0.1
    assert (
        mapped.validation is None and mapped.bank is not None and not any(".safet" in x for x in mapped.record.inputs)
    )
    assert "No label was used" in mapped.record.notes[0] and "none says only" in mapped.record.notes[0]


def test_order_parameters_rank_and_have_a_sigma(example, mapped):
    label, virtual = example[1].label, mapped.map.virtual
    assert all(name in virtual for name in ORDER)
    strength, difference = virtual["ghost strength"], virtual["horizontal − vertical"]
    none, polar = strength[label == 2], strength[label != 2]
    assert np.mean(none[:, None] < polar[None]) > 0.97  # the area under the curve
    assert np.mean(difference[label == 0] > 0) > 0.97 and np.mean(difference[label == 1] < 0) > 0.97
    assert all((virtual[name] > 0).all() for name in ORDER if name.endswith("sigma"))
    titles = [axes.get_title(loc="left") for axes in scan_figure(mapped).axes]
    assert "ghost strength" in titles and not any("sigma" in title for title in titles)


def test_turning_the_detector_exchanges_horizontal_and_vertical(example, mapped):
    scan, _ = example
    turned = held(np.ascontiguousarray(scan.frames.read(0, scan.count).swapaxes(1, 2)), scan.shape)
    found = map_scan(turned, executor=Here(), virtual=False).map
    other = np.array([1, 0, 2])[mapped.map.label]
    assert np.mean(found.label == other) > 0.98
    was, now = (one.virtual["horizontal − vertical"].ravel() for one in (mapped.map, found))
    assert np.corrcoef(was, -now)[0, 1] > 0.99
    assert set(found.virtual) == set(ORDER)


def test_sigma_is_that_of_the_dose(example):
    scan, _ = example
    work = judge_for(scan, None, look_at(scan), ScanMapSettings(virtual=False), None, "0" * 16)
    some = scan.frames.read(100, 160)
    quarter = np.random.default_rng(0).binomial(some, 0.25).astype(some.dtype)
    ratio = work(quarter, 0)["ghost strength sigma"] / work(some, 0)["ghost strength sigma"]
    assert np.median(ratio) == pytest.approx(2.0, abs=0.1)


def test_whoever_does_it(example, mapped, tmp_path):
    scan, _ = example
    settings = ScanMapSettings()
    view = look_at(scan)
    work = judge_for(scan, None, view, settings, None, "0" * 16)
    sent = pickle.loads(pickle.dumps(work))
    patterns = scan.frames.read(0, 60)
    whole, parts = work(patterns, 0), [sent(patterns[:7], 0), sent(patterns[7:], 7)]
    for name, values in whole.items():
        joined = np.concatenate([part[name] for part in parts])
        assert np.allclose(joined, values, rtol=1e-4, atol=1e-5, equal_nan=True), name
    for executor in (Threads(workers=2), Here()):  # the second goes on where the first has finished
        again = map_scan(scan, executor=executor, work=tmp_path)
        assert same(again.map, mapped.map)
    assert len(list(tmp_path.glob("learnedorder-*.h5"))) == 1


def test_patterns_that_hold_nothing_are_flagged(example):
    scan, _ = example
    patterns = scan.frames.read(0, scan.count).copy()
    patterns[5], patterns[9] = 0, patterns[9] // 8
    found = map_scan(held(patterns, scan.shape), executor=Here(), virtual=False).map
    flags, label = found.flags.ravel(), found.label.ravel()
    assert label[5] == -1 and flags[5] == Flag.BLANK and flags[9] & Flag.OTHER_DOSE
    assert np.count_nonzero(flags & (Flag.BLANK | Flag.OTHER_DOSE)) == 2
    mixed = (flags & Flag.MIXED) != 0
    assert mixed[scan_walls(example)].mean() > 0.5 > mixed[~scan_walls(example)].mean()


def scan_walls(example) -> np.ndarray:
    return example[1].mixture.max(axis=2).ravel() < 0.6


def test_a_scan_without_the_class_none_has_none():
    scan, truth = made(none_fraction=0.0)
    found = map_scan(scan, executor=Here(), virtual=False).map
    assert np.mean(found.label == 2) < 0.05 and np.mean(found.label == truth.label) > 0.95


def test_ghosts_that_are_in_no_pattern_tell_nothing():
    scan, _ = made(ghost_strength=1e-6)
    with pytest.raises(ScanError, match="standard deviations apart") as told:
        map_scan(scan, executor=Here())
    assert "scan suggest" in told.value.do


def test_too_few_patterns_are_refused(example):
    scan, _ = example
    few = held(scan.frames.read(0, 40), (5, 8))
    with pytest.raises(ScanError, match="64 are the fewest"):
        map_scan(few, executor=Here())


def test_the_threshold_needs_no_pattern_without_ghosts():
    rng = np.random.default_rng(0)
    first = rng.random(500) < 0.5
    amplitude = np.stack([0.4 * first, 0.4 * ~first], axis=1) + rng.normal(0.0, 0.05, (500, 2))
    found = OrderParameters(amplitude=amplitude, amplitude_sigma=np.full((500, 2), 0.05))
    assert 0.1 < threshold(found) < 0.3


def test_clicks_say_where_ghosts_are(example, mapped):
    scan, _ = example
    view = look_at(scan)
    every = bank_for(view)
    assert every.weight is not None
    brightest = [
        every.sites[mine][np.argsort(-every.weight[mine])[:3]] for mine in (kinds_of(every) == k for k in (0, 1))
    ]
    sites = np.concatenate(brightest).astype(np.int64)
    places = np.array(view.centre_px) + 0.5 * sites @ view.lattice_px
    clicks = ";".join(f"{y:.1f},{x:.1f}" for y, x in places)
    bank = bank_for(view, rule_for(ScanMapSettings(ghosts="clicks", clicks=clicks)))
    clicked = {tuple(site) for site in np.concatenate([sites, -sites]).tolist()}
    assert {tuple(site) for site in bank.sites[~bank.main].tolist()} == clicked and len(clicked) >= 6
    found = map_scan(scan, executor=Here(), virtual=False, ghosts="clicks", clicks=clicks)
    assert found.bank is not None and np.array_equal(found.bank.sites, bank.sites)
    assert np.mean(found.map.label == mapped.map.label) > 0.9
    trained = look_for(scan, ScanTrainSettings(ghosts="clicks", clicks=clicks))
    assert trained.bank is not None and np.array_equal(trained.bank.sites, bank.sites)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"ghosts": "clicks"}, "needs clicks"),
        ({"ghosts": "cif", "parent": "a.cif"}, "needs parent and child"),
        ({"clicks": "1,2"}, "--ghosts clicks"),
        ({"child_axis": "1,0,0"}, "--ghosts cif"),
    ],
)
def test_half_a_choice_of_ghosts_is_refused(choice, words):
    with pytest.raises(SettingsError, match=words):
        rule_for(ScanMapSettings(**choice))


def test_a_choice_without_effect_is_refused(example):
    clicks = {"ghosts": "clicks", "clicks": "1,2"}
    with pytest.raises(SettingsError, match="published sees whole patterns"):
        look_for(example[0], ScanTrainSettings(classifier="published", **clicks))


def test_reliability_goes_from_training_to_the_figure(example, tmp_path):
    scan, truth = example
    rows = np.random.default_rng(0).choice(scan.count, 60, replace=False)
    at = np.stack(np.unravel_index(rows, scan.shape), axis=1).astype(np.int32)
    labels = Labels(key=scan.key, shape=scan.shape, names=truth.names, positions=at,
                    label=truth.label.ravel()[rows].astype(np.int32))  # fmt: skip
    dipolar.save(train_on_scan(scan, labels).classifier, tmp_path / "m")
    model = dipolar.load(tmp_path / "m")
    assert isinstance(model, BankClassifier)
    result = map_scan(scan, model, executor=Here())
    assert result.validation is not None and result.validation.count.sum() == 60
    assert np.all(result.validation.confidence <= 1.0) and len(result.validation.correct) > 0
    assert all(name in result.map.virtual for name in ORDER)  # they need no labels
    assert len(confidence_figure(result).axes) == 2
    empty = np.zeros(0)
    bare = replace(result.validation, confidence=empty, correct=empty, count=empty.astype(np.int64))
    assert len(confidence_figure(replace(result, validation=bare)).axes) == 1
    with pytest.raises(SettingsError, match="trained model knows"):
        map_scan(scan, model, ghosts="clicks", clicks="1,2")

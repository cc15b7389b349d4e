"""Few labels: the bank classifier is right, calibrated, loud about what it does not know, and the same from disk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipolar.core.errors import ChecksumError, FormatError, LabelError
from dipolar.core.flags import Flag, has
from dipolar.core.scanning import Bank
from dipolar.learn.model_file import verify_model
from dipolar.learn.pattern_bank_training import held_out, survey, train_bank
from dipolar.learn.pattern_basis import learn_basis
from dipolar.learn.pattern_kernels import shares_on_simplex
from dipolar.learn.pattern_logistic import chances, fit_logistic
from dipolar.learn.pattern_scores import folds_of, validate
from dipolar.learn.pattern_store import load_classifier, save_classifier
from dipolar.learn.store import read_model
from scan_features import NAMES, chosen, ghosts, made


@pytest.fixture(scope="module")
def scan():
    return made(np.random.default_rng(0))


@pytest.fixture(scope="module")
def surveyed(scan):
    return survey(scan.features, scan.counts)


@pytest.fixture(scope="module")
def rows(scan):
    return chosen(scan.label, 7, np.random.default_rng(1))


@pytest.fixture(scope="module")
def classifier(scan, surveyed, rows):
    return train_bank(surveyed, scan.features[rows], scan.label[rows], NAMES, members=4)


def test_twenty_labels_are_enough(scan, classifier):
    found = validate(classifier.probabilities(scan.features, scan.counts), scan.label, NAMES).figures
    assert found["accuracy"] > 0.98
    assert found["expected calibration error"] < 0.02
    assert found["recall of none"] > 0.96


def test_probabilities_and_shares_add_up(scan, classifier):
    said = classifier.answers(scan.features, scan.counts)
    assert np.allclose(said.probability.sum(axis=1), 1.0, atol=1e-5)
    assert np.allclose(said.mixture.sum(axis=1), 1.0, atol=1e-5)
    assert said.mixture.min() > -1e-6
    members = classifier.members(scan.features, scan.counts)
    assert members.shape == (4, len(scan.features), 3)
    assert np.allclose(members.mean(axis=0), said.probability, atol=1e-5)


def test_shares_at_walls(scan, classifier):
    wrong = classifier.mixture(scan.features, scan.counts) - scan.mixture
    assert np.sqrt(np.mean(wrong**2)) < 0.1
    mixed = has(classifier.flags(scan.features, scan.counts), Flag.MIXED)
    assert mixed[scan.mixture.max(axis=1) < 0.6].mean() > 0.9
    assert mixed[scan.mixture.max(axis=1) > 0.95].mean() < 0.05


def test_what_is_said_of_a_pattern_does_not_depend_on_the_others(scan, classifier):
    whole = classifier.answers(scan.features, scan.counts)
    part = classifier.answers(scan.features[300:310], scan.counts[300:310])
    assert np.allclose(part.probability, whole.probability[300:310], atol=1e-5)
    assert np.array_equal(part.flags, whole.flags[300:310])


def test_names_in_another_order_change_nothing_else(scan, surveyed, rows, classifier):
    order = np.array([2, 0, 1])
    names = tuple(NAMES[number] for number in order)
    label = np.argsort(order)[scan.label[rows]]
    fold = np.arange(len(rows), dtype=np.int32) % 4
    one = train_bank(surveyed, scan.features[rows], scan.label[rows], NAMES, fold=fold)
    other = train_bank(surveyed, scan.features[rows], label, names, fold=fold)
    expected = one.probabilities(scan.features, scan.counts)[:, order]
    assert np.allclose(other.probabilities(scan.features, scan.counts), expected, atol=1e-3)


def test_labels_given_twice_change_little(scan, surveyed, rows):
    twice = np.concatenate([rows, rows])
    found = train_bank(surveyed, scan.features[twice], scan.label[twice], NAMES)
    assert validate(found.probabilities(scan.features, scan.counts), scan.label, NAMES).figures["accuracy"] > 0.98


def test_slips_do_not_turn_the_map():
    scan = made(np.random.default_rng(5), walls=0.0)
    rows = chosen(scan.label, 20, np.random.default_rng(6))
    label = scan.label[rows].copy()
    label[::15] = (label[::15] + 1) % 3
    found = train_bank(survey(scan.features, scan.counts), scan.features[rows], label, NAMES)
    assert 0.02 < found.metrics["slips"] < 0.15
    figures = validate(found.probabilities(scan.features, scan.counts), scan.label, NAMES).figures
    assert figures["accuracy"] > 0.99
    assert figures["expected calibration error"] < 0.02


def test_labels_that_are_held_out_are_not_seen(scan, surveyed, rows):
    label, scores = scan.label[rows], surveyed.basis.scores(scan.features[rows])[0]
    fold = np.arange(len(rows), dtype=np.int32) % 4
    logits, away = held_out(surveyed, scores, label, 3, fold)
    for part in range(4):
        others = np.where(fold == part, (label + 1) % 3, label)  # what nobody may have looked at
        again, its_away = held_out(surveyed, scores, others, 3, fold)
        np.testing.assert_array_equal(again[fold == part], logits[fold == part])
        np.testing.assert_array_equal(its_away[fold == part], away[fold == part])
        assert not np.allclose(again[fold != part], logits[fold != part])


def test_a_class_that_nobody_labelled_is_flagged(scan, surveyed):
    rows = chosen(scan.label, 9, np.random.default_rng(2))
    rows = rows[scan.label[rows] != 0]
    found = train_bank(surveyed, scan.features[rows], scan.label[rows] - 1, NAMES[1:])
    unknown = has(found.flags(scan.features, scan.counts), Flag.UNKNOWN_CLASS)
    assert unknown[scan.label == 0].mean() > 0.9
    assert unknown[scan.mixture[:, 0] < 0.02].mean() < 0.05


def test_another_dose_is_right_and_said(scan, classifier):
    other = made(np.random.default_rng(7), dose=0.2)
    found = validate(classifier.probabilities(other.features, other.counts), other.label, NAMES).figures
    assert found["accuracy"] > 0.95
    assert found["expected calibration error"] < 0.05
    assert has(classifier.flags(other.features, other.counts), Flag.OTHER_DOSE).all()
    assert not has(classifier.flags(scan.features, scan.counts), Flag.OTHER_DOSE).any()


def test_dead_detectors_and_blank_patterns(scan, classifier):
    holed = scan.features.copy()
    holed[:, :20] = np.nan
    found = validate(classifier.probabilities(holed, scan.counts), scan.label, NAMES).figures
    assert found["accuracy"] > 0.95
    holed[5] = np.nan
    said = classifier.answers(holed, scan.counts)
    assert np.isnan(said.probability[5]).all() and np.isfinite(said.probability[6]).all()


def test_rare_classes_are_told_and_noted():
    rng = np.random.default_rng(4)
    scan = made(rng, patterns=3000, classes=2, walls=0.0)
    keep = np.concatenate([np.flatnonzero(scan.label == 0), np.flatnonzero(scan.label == 1)[:15]])
    features, counts, label = scan.features[keep], scan.counts[keep], scan.label[keep]
    rows = np.concatenate([np.flatnonzero(label == 0)[:198], np.flatnonzero(label == 1)[:2]])
    found = train_bank(survey(features, counts), features[rows], label[rows], ("many", "few"))
    said = np.argmax(found.probabilities(features, counts), axis=1)
    assert (said[label == 1] == 1).mean() > 0.9
    assert (said[label == 0] == 0).mean() > 0.99
    assert any("few has 2 of 200 labels" in note for note in found.notes)


def test_more_classes_than_three():
    rng = np.random.default_rng(8)
    scan = made(rng, classes=6, corners=ghosts(120, 6, 0.12), features=120, patterns=1500)
    rows = chosen(scan.label, 6, rng)
    names = tuple("abcdef")
    found = train_bank(survey(scan.features, scan.counts), scan.features[rows], scan.label[rows], names)
    assert validate(found.probabilities(scan.features, scan.counts), scan.label, names).figures["accuracy"] > 0.97


@pytest.mark.parametrize(
    ("label", "says"),
    [([0, 0, 0, 0], "at least two classes"), ([0, 0, 1, 1], "at least 2 labels"), ([], "at least two classes")],
)
def test_too_few_labels_are_refused(scan, surveyed, label, says):
    with pytest.raises(LabelError, match=says):
        train_bank(surveyed, scan.features[: len(label)], np.array(label, dtype=np.int64), NAMES)


def test_a_blank_label_is_refused(scan, surveyed, rows):
    features = scan.features[rows].copy()
    features[0] = np.nan
    with pytest.raises(LabelError, match="something to see"):
        train_bank(surveyed, features, scan.label[rows], NAMES)


def test_features_of_another_bank_are_refused(scan, classifier):
    with pytest.raises(LabelError, match="79 features"):
        classifier.probabilities(scan.features[:, 1:], scan.counts)


def test_patterns_that_are_all_the_same_are_refused():
    with pytest.raises(LabelError, match="0 features that differ"):
        learn_basis(np.ones((50, 10)), np.ones(50))


def test_saving_and_loading_is_identity(scan, classifier, tmp_path):
    bank = Bank(
        sites=np.array([[1, 0], [2, 0]], dtype=np.int8),
        main=np.array([False, True]),
        radius=0.9,
        weight=np.array([0.7, 0.0], dtype=np.float32),
        lattice=np.array([[0.1, 4.0], [4.1, 0.2]]),
    )
    kept = replace(classifier, bank=bank, key="0123456789abcdef", notes=("odd",))
    save_classifier(kept, tmp_path / "model")
    verify_model(tmp_path / "model")
    back = load_classifier(tmp_path / "model.json")
    one, other = kept.answers(scan.features, scan.counts), back.answers(scan.features, scan.counts)
    for name in ("probability", "mixture", "unfamiliar", "flags"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert (back.names, back.key, back.notes, back.dose) == (kept.names, kept.key, kept.notes, kept.dose)
    assert all(np.array_equal(getattr(back.bank, name), getattr(bank, name)) for name in bank.__slots__)
    assert np.array_equal(back.members(scan.features, scan.counts), kept.members(scan.features, scan.counts))


def test_a_damaged_or_foreign_model_is_refused(classifier, tmp_path):
    save_classifier(classifier, tmp_path / "model")
    with pytest.raises(FormatError, match="classifier of diffraction patterns"):
        read_model(tmp_path / "model")
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ChecksumError, match="does not match its card"):
        load_classifier(tmp_path / "model")


def test_shares_on_a_simplex_are_those_of_least_squares():
    rng = np.random.default_rng(3)
    means, points = rng.normal(size=(3, 5)), rng.normal(size=(40, 5)) * 2
    held = shares_on_simplex(means @ means.T, points @ means.T)
    assert np.allclose(held.sum(axis=1), 1.0) and held.min() >= 0
    away = np.sum((points - held @ means) ** 2, axis=1)
    tried = rng.dirichlet(np.ones(3), 4000)
    least = np.sum((points[:, None] - (tried @ means)[None]) ** 2, axis=2).min(axis=1)
    assert np.all(away <= least + 1e-9)


def test_regression_is_that_of_greatest_posterior():
    rng = np.random.default_rng(6)
    x, label = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    found = fit_logistic(x, label, 3, ridge=1.0)
    design = np.concatenate([x, np.ones((60, 1))], axis=1)
    slope = design.T @ (chances(found.logits(x)) - np.eye(3)[label]) + found.weights
    assert np.abs(slope).max() < 1e-4
    assert fit_logistic(x, label, 3).ridge > 10  # labels by chance ask for no regression


def test_blocks_of_the_scan_are_held_out():
    positions = np.stack(np.meshgrid(np.arange(34), np.arange(206), indexing="ij"), axis=-1).reshape(-1, 2)
    fold = folds_of(positions.astype(np.int32), (34, 206))
    assert set(np.unique(fold)) == {0, 1, 2, 3}
    image = fold.reshape(34, 206)
    assert (image[:, 1:] != image[:, :-1]).mean() < 0.05  # neighbours are held out together

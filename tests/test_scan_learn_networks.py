"""Networks for patterns: their sizes, what may be done to a pattern, and a classifier that is the same from disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from dipolar.core.errors import LabelError, SettingsError
from dipolar.core.flags import Flag, has
from dipolar.learn.model_file import verify_model
from dipolar.learn.pattern_augment import Variations, shifted, thinned, varied
from dipolar.learn.pattern_baseline import position_only
from dipolar.learn.pattern_network import look
from dipolar.learn.pattern_network_training import Examples, train_published, train_small
from dipolar.learn.pattern_networks import PublishedNetwork, SmallNetwork, build_pattern_network, parameters
from dipolar.learn.pattern_scores import validate
from dipolar.learn.pattern_store import load_classifier, save_classifier
from dipolar.learn.pattern_training import PublishedTraining, SmallTraining, train_published_network
from scan_features import NAMES, chosen

SIZE = 32


def patches(rng, *, patterns=240, electrons=4000.0, size=SIZE):
    """Small patterns: a lattice of disks, ghosts between them along x or y or nowhere, Poisson counts."""
    label = rng.integers(0, 3, patterns)
    y, x = np.indices((size, size)) - size // 2
    lattice = 0.05 + ((y % 8 < 2) & (x % 8 < 2)) * 1.0
    ghosts = np.stack([(y % 8 < 2) & ((x + 4) % 8 < 2), ((y + 4) % 8 < 2) & (x % 8 < 2), np.zeros_like(y, dtype=bool)])
    mean = (lattice + 0.6 * ghosts[label]) * np.exp(-np.hypot(y, x) / size)
    counts = electrons * rng.uniform(0.9, 1.1, patterns)
    mean = mean / mean.sum(axis=(1, 2), keepdims=True) * counts[:, None, None]
    drawn = rng.poisson(mean).astype(np.float32)
    return drawn, drawn.sum(axis=(1, 2)), label


@pytest.fixture(scope="module")
def scan():
    return patches(np.random.default_rng(0))


@pytest.fixture(scope="module")
def examples(scan):
    drawn, counts, label = scan
    rows = chosen(label, 8, np.random.default_rng(1))
    return Examples(patches=drawn[rows], counts=counts[rows], label=label[rows], names=NAMES, others=drawn)


@pytest.fixture(scope="module")
def small(examples):
    return train_small(examples, choices=SmallTraining(steps=120, batch=24), members=2)


@pytest.mark.parametrize(("reading", "size"), [("released", 8_412_419), ("drawn", 33_578_243), ("stated", 2_120_963)])
def test_published_network_has_the_parameters_of_each_reading(reading, size):
    with torch.device("meta"):
        assert parameters(PublishedNetwork(reading=reading)) == size


def test_small_network_is_small():
    network = SmallNetwork()
    assert 20_000 < parameters(network) <= 100_000
    assert parameters(SmallNetwork(size_px=128)) <= 100_000
    with pytest.raises(SettingsError, match="at most 100000 parameters"):
        SmallNetwork(channels=(64, 128, 256))
    with pytest.raises(SettingsError, match="multiple of 16"):
        SmallNetwork(size_px=60)


def test_fresh_weights_come_from_the_seed_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same = (build_pattern_network("small", {"size_px": 32}, seed=3) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.stem.weight, same.stem.weight)


def test_small_networks_tell_the_classes(scan, small):
    found = validate(small.probabilities(*scan[:2]), scan[2], NAMES).figures
    assert found["accuracy"] > 0.97
    assert np.allclose(small.probabilities(*scan[:2]).sum(axis=1), 1.0, atol=1e-5)


def test_fewer_electrons_half_a_turn_and_a_shift_keep_the_class(scan, small):
    rng = np.random.default_rng(3)
    drawn, _, label = scan
    moves = np.full((len(drawn), 2), 1)
    for other in (
        thinned(drawn, np.full(len(drawn), 0.3), rng),
        drawn[:, ::-1, ::-1],
        shifted(drawn, moves, np.zeros(len(drawn), dtype=bool)),
    ):
        said = np.argmax(small.probabilities(other, other.sum(axis=(1, 2))), axis=1)
        assert (said == label).mean() > 0.9


def test_what_is_said_of_a_pattern_does_not_depend_on_the_others(scan, small):
    whole, part = small.answers(*scan[:2]), small.answers(scan[0][70:77], scan[1][70:77])
    assert np.allclose(part.probability, whole.probability[70:77], atol=1e-5)


def test_other_doses_and_blank_patterns_are_said(scan, small):
    assert has(small.flags(scan[0], scan[1] * 100), Flag.OTHER_DOSE).all()
    assert not has(small.flags(*scan[:2]), Flag.OTHER_DOSE).any()
    empty = np.zeros((2, SIZE, SIZE), dtype=np.float32)
    assert np.isnan(small.probabilities(empty, np.zeros(2))).all()


def test_members_are_networks_of_their_own(scan, small):
    members = small.members(*scan[:2])
    assert members.shape == (2, len(scan[0]), 3)
    assert not np.array_equal(members[0], members[1])


def test_training_on_goes_from_where_it_was(scan, examples, small):
    more = train_small(examples, choices=SmallTraining(steps_more=5, batch=24), start=small)
    assert more.temperature == small.temperature
    assert validate(more.probabilities(*scan[:2]), scan[2], NAMES).figures["accuracy"] > 0.95
    other = Examples(patches=examples.patches, counts=examples.counts, label=examples.label, names=("a", "b", "c"))
    with pytest.raises(LabelError, match="classes and patches that it knows"):
        train_small(other, start=small)


def test_a_class_that_nobody_labelled_is_flagged(scan):
    drawn, counts, label = scan
    rows = chosen(label, 8, np.random.default_rng(1))
    rows = rows[label[rows] != 0]
    known = Examples(patches=drawn[rows], counts=counts[rows], label=label[rows] - 1, names=NAMES[1:], others=drawn)
    found = train_small(known, choices=SmallTraining(steps=10, batch=16))
    unknown = has(found.flags(drawn, counts), Flag.UNKNOWN_CLASS)
    assert unknown[label == 0].mean() > 0.9
    assert unknown[label != 0].mean() < 0.05


def test_shares_are_those_of_two_patterns_in_one(scan, small):
    drawn, _, label = scan
    one, two = drawn[label == 0][:40], drawn[label == 1][:40]
    both = thinned(one, np.full(40, 0.5), np.random.default_rng(0)) + thinned(
        two, np.full(40, 0.5), np.random.default_rng(1)
    )
    said = small.answers(both, both.sum(axis=(1, 2)))
    wrong = said.mixture - np.array([0.5, 0.5, 0.0])
    assert np.sqrt(np.mean(wrong**2)) < 0.1
    assert has(said.flags, Flag.MIXED).mean() > 0.9
    assert has(small.flags(*scan[:2]), Flag.MIXED).mean() < 0.05


def test_saving_and_loading_is_identity(scan, small, tmp_path):
    save_classifier(small, tmp_path / "model")
    verify_model(tmp_path / "model")
    back = load_classifier(tmp_path / "model")
    one, other = small.answers(*scan[:2]), back.answers(*scan[:2])
    for name in ("probability", "mixture", "unfamiliar", "flags"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert back.size_px == SIZE and back.metrics == small.metrics


def test_weights_of_the_lowest_validation_loss_are_kept(scan):
    drawn, _, label = scan
    rows, held_out = np.arange(60), np.arange(60) % 4 == 0
    label = np.where(held_out & (rows % 8 == 0), (label[rows] + 1) % 3, label[rows])  # the surer, the more wrong
    network = build_pattern_network("small", {"size_px": SIZE}, seed=1)
    losses = []

    def loss_of(trained):
        logits = look(trained.eval(), drawn[rows][held_out])
        return float(functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(label[held_out])))

    found = train_published_network(
        network,
        drawn[rows],
        label,
        held_out,
        PublishedTraining(epochs=8, rate=0.01),
        rng=np.random.default_rng(0),
        progress=lambda step, share: losses.append(loss_of(network)),
    )
    assert len(losses) == 8
    assert losses[-1] > min(losses)
    assert loss_of(found) == pytest.approx(min(losses), rel=1e-3)


def test_published_network_is_the_same_from_disk(tmp_path):
    drawn, counts, _ = patches(np.random.default_rng(2), patterns=12, size=128)
    label = np.arange(12) % 3
    examples = Examples(patches=drawn, counts=counts, label=label, names=NAMES)
    found = train_published(examples, reading="stated", choices=PublishedTraining(epochs=1, batch=8, validation=0.5))
    save_classifier(found, tmp_path / "model")
    back = load_classifier(tmp_path / "model")
    assert np.array_equal(back.probabilities(drawn, counts), found.probabilities(drawn, counts))
    assert back.networks[0].reading == "stated" and back.kind == "published"


def test_patches_of_another_size_are_refused(small):
    with pytest.raises(LabelError, match="24 x 24 px, and a network of 32 px"):
        small.probabilities(np.ones((1, 24, 24), dtype=np.float32), np.ones(1))


def test_one_class_alone_is_refused(scan):
    examples = Examples(patches=scan[0][:4], counts=scan[1][:4], label=np.zeros(4, dtype=np.int64), names=NAMES)
    for train in (train_small, train_published):
        with pytest.raises(LabelError, match="at least two classes"):
            train(examples)


def test_thinning_is_binomial():
    rng = np.random.default_rng(0)
    pattern = np.full((2000, 4, 4), 50.0, dtype=np.float32)
    drawn = thinned(pattern, np.full(2000, 0.3), rng)
    assert abs(drawn.mean() - 15.0) < 0.1
    assert abs(drawn.var() - 50 * 0.3 * 0.7) < 0.3
    assert np.array_equal(thinned(pattern, np.ones(2000), rng), pattern)


def test_mixed_patterns_have_mixed_targets(scan):
    drawn, _, label = scan
    target = np.eye(3, dtype=np.float32)[label]
    _, told = varied(drawn, target, Variations(mixed=1.0), np.random.default_rng(0))
    assert np.allclose(told.sum(axis=1), 1.0, atol=1e-5)
    assert 0.1 < (told.max(axis=1) < 0.9).mean() < 0.9
    _, same = varied(drawn, target, Variations(mixed=0.0), np.random.default_rng(0))
    assert np.array_equal(same, target)


def test_position_alone():
    positions = np.array([[0, 0], [0, 9], [5, 0]], dtype=np.int32)
    asked = np.array([[0, 1], [1, 8], [5, 9]], dtype=np.int32)
    label = np.array([0, 1, 2])
    assert np.array_equal(position_only(positions, label, asked, 3).argmax(axis=1), [0, 1, 1])
    by_row = position_only(positions, label, asked, 3, by="row")
    assert np.allclose(by_row[0], [0.5, 0.5, 0.0]) and by_row[2].argmax() == 2

"""What mapping and training refuse, keep and flag, without looking at a pattern."""

from __future__ import annotations

import resource
import warnings
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

import scan_maps_handmade as handmade
from dipolar.core.errors import LabelError, OutputError, SettingsError
from dipolar.core.flags import Flag
from dipolar.core.scan_key import key_of
from dipolar.core.scanning import AbstractFrames, Labels, Scan
from dipolar.io import save
from dipolar.label.consensus import consensus
from dipolar.learn.pattern_bank_training import survey, train_bank
from dipolar.learn.patterns import answers_of
from dipolar.recipes.scan_label import journal_of
from dipolar.recipes.scan_label_settings import SuggestSettings
from dipolar.recipes.scan_look import told
from dipolar.recipes.scan_map import map_scan
from dipolar.recipes.scan_map_record import key_of_work
from dipolar.recipes.scan_map_result import overview_of
from dipolar.recipes.scan_settings import ScanMapSettings, ScanTrainSettings
from dipolar.recipes.scan_suggest import suggest
from dipolar.recipes.scan_train import TrainedScan, headline_of, look_for


class Held(AbstractFrames):
    """Patterns in memory."""

    def __init__(self, patterns: np.ndarray) -> None:
        self.patterns, self.count, self.dtype, self.chunk = patterns, len(patterns), patterns.dtype, 1
        self.shape_px = patterns.shape[1:]

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.patterns[start:stop]


@pytest.fixture
def scan() -> Scan:
    frames = Held(np.random.default_rng(0).poisson(3.0, (20, 8, 8)).astype(np.uint16))
    return Scan(frames=frames, shape=(4, 5), name="a.npy", key=key_of(frames, (4, 5)))


def test_a_pattern_that_no_class_can_be_told_of_is_flagged():
    probability = np.array([[0.9, 0.1], [np.nan, np.nan], [np.nan, np.nan]])
    said = answers_of(probability, probability, np.ones(3), np.zeros(3), np.ones(3), (0.5, 2.0))
    made = {"blank": np.array([False, False, True]), "found": np.array([True, True, False])}
    flags = told(made, said)["flags"]
    assert flags.tolist() == [0, Flag.UNKNOWN_CLASS, Flag.BLANK]


def test_positions_that_were_not_read_are_left_out_of_the_overview():
    found = handmade.result((12, 15))
    probability = found.map.probability.copy()
    probability[0, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confidence = overview_of(replace(found, map=replace(found.map, probability=probability)))["confidence"]
        nothing = overview_of(replace(found, map=replace(found.map, probability=probability * np.nan)))["confidence"]
    assert confidence == pytest.approx(found.map.probability.max(axis=2).ravel()[1:].mean()) and nothing is None


def test_labels_of_another_scan_are_not_shown(scan):
    at = np.zeros((1, 2), dtype=np.int32)
    labels = Labels(key="0" * 16, shape=(4, 5), names=("a",), positions=at, label=np.zeros(1, dtype=np.int32))
    with pytest.raises(LabelError, match="labels of scan 0000000000000000"):
        map_scan(scan, labels=labels)


def test_settings_of_ghosts_are_refused_before_any_pattern_is_looked_at(scan):
    steps: list[str] = []
    with pytest.raises(SettingsError, match="needs clicks"):
        map_scan(scan, ghosts="clicks", progress=lambda step, part: steps.append(step))
    assert steps == []


@pytest.mark.parametrize("other", [{"skip": 3}, {"select": "b"}, {"patterns": 64}, {"virtual": False}])
def test_finished_blocks_are_of_one_scan_and_one_way_to_look(scan, other):
    assert key_of_work(scan, None, None, ScanMapSettings()) != key_of_work(scan, None, None, ScanMapSettings(**other))
    same = ScanMapSettings(threads=3, figures="pdf")  # who does it, and what is drawn of it, changes no value
    assert key_of_work(scan, None, None, ScanMapSettings()) == key_of_work(scan, None, None, same)


@pytest.mark.parametrize(
    ("idle", "needs"),
    [({"size_px": 32}, "small"), ({"reading": "drawn"}, "published")],
)
def test_settings_without_effect_are_refused(scan, idle, needs):
    with pytest.raises(SettingsError, match=f"{next(iter(idle))} says something only with --classifier {needs}"):
        look_for(scan, ScanTrainSettings(**idle))
    with pytest.raises(SettingsError, match="patience_s says something only with --follow"):
        map_scan(scan, patience_s=5.0)


@pytest.mark.parametrize("room", [5_000, 50_000, 100_000])
def test_a_full_disk_under_a_result_is_an_error_and_leaves_nothing(tmp_path, room):
    found = handmade.result((48, 64))
    save(found, tmp_path / "whole.h5")
    assert (tmp_path / "whole.h5").stat().st_size > room
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OutputError, match="must be writable"):
            save(found, tmp_path / "result.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in tmp_path.iterdir()] == ["whole.h5"]


@pytest.mark.parametrize(
    ("fold", "words"), [([0, 1] * 4, "8 of 8 right, 100.0 ± 9.0 % (a 100 %, b 100 %)"), ([0] * 8, "too few labels")]
)
def test_what_could_not_be_held_out_is_said_in_words(fold, words):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 100)
    seen = (label[:, None] + rng.normal(0.0, 0.1, (200, 6))).astype(np.float32)
    rows = np.concatenate([np.arange(4), np.arange(100, 104)])
    known = survey(seen, np.full(200, 1000.0, dtype=np.float32))
    learned = train_bank(known, seen[rows], label[rows], ("a", "b"), fold=np.array(fold, dtype=np.int32))
    at = np.stack(np.divmod(rows, 20), axis=1).astype(np.int32)
    labels = Labels(key="", shape=(10, 20), names=("a", "b"), positions=at, label=label[rows].astype(np.int32))
    told = headline_of(TrainedScan(classifier=learned, agreed=consensus(labels), position_only=0.5, notes=()))[1]
    assert words in told and "nan" not in told


@pytest.mark.parametrize("idle", [{"strategy": "random", "step": 5}, {"strategy": "grid", "model": "m.safetensors"}])
def test_options_that_a_strategy_does_not_look_at_are_refused(scan, tmp_path, idle):
    journal = journal_of(scan, tmp_path / "a.labels")
    with pytest.raises(SettingsError, match="says something only with --strategy"):
        suggest(scan, journal, 3, SuggestSettings(**idle))
    assert not journal.entries()


@pytest.mark.parametrize("size_px", [20, 512])
def test_a_size_that_the_small_network_does_not_take_is_refused_before_anything_is_read(size_px):
    with pytest.raises(ValidationError, match="size_px"):
        ScanTrainSettings(classifier="small", size_px=size_px)

"""The training loop: it learns, goes on bit by bit where it was cut off, and says what goes wrong."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dipolar.core.errors import DipolarError, FormatError, SettingsError, TrainingError
from dipolar.learn import training
from dipolar.learn.checkpoint import METRICS, NAME, gather, put_back, read_checkpoint
from dipolar.learn.device import pick_device, threads
from dipolar.learn.training import AbstractTask, Training, TrainingWarning, fit

CHOICES = Training(steps=24, learning_rate=0.02, validate_every=8, seed=5, device="cpu")


@dataclass(frozen=True)
class Blur:
    """Learn a filter from noise images; what is wrong is told to order."""

    size: int = 8
    gain: float = 1.0
    broken: tuple[int, ...] = ()
    fits: int = 1000

    def batch(self, rng):
        x = rng.normal(size=(self.size, 1, 8, 8))
        return x, self.gain * (x + np.roll(x, 1, axis=-1))

    def loss(self, network, batch):
        x, y = batch
        if len(x) > self.fits:
            raise torch.OutOfMemoryError("a fake one")
        said = network(x)
        network.calls = getattr(network, "calls", -1) + 1
        return (said - y).square().mean() * (math.nan if network.calls in self.broken else 1.0)

    def validate(self, network):
        assert not network.training and not torch.is_grad_enabled()
        x, y = (torch.from_numpy(part).float() for part in self.batch(np.random.default_rng(99)))
        return {"loss": float((network(x) - y).square().mean()), "largest": float(network[0].weight.abs().max())}

    def halved(self):
        return replace(self, size=self.size // 2)


@dataclass(frozen=True)
class Told(Blur):
    """The same with a validation to order."""

    losses: tuple[float, ...] = ()

    def validate(self, network):
        network.validations = getattr(network, "validations", -1) + 1
        return {"loss": self.losses[network.validations]}


class StopHere(Exception):
    pass


def stop_at(step, steps=CHOICES.steps, error=StopHere):
    def progress(_, fraction):
        if round(fraction * steps) == step:
            raise error

    return progress


def small_network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(4, 1, 1)
        )
    return network.to(memory_format=torch.channels_last)


def assert_same(a, b):
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def judged(task, network):
    with torch.no_grad():
        return task.validate(network)["loss"]


def without_time(history):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def kill_at(step, out):
    """Train and kill this process, as the system would; called in a process of its own."""

    def progress(_, fraction):
        if round(fraction * CHOICES.steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    fit(small_network(), Blur(), CHOICES, out=Path(out), progress=progress)


@pytest.fixture(scope="module")
def unbroken():
    with threads(1):
        return fit(small_network(), Blur(), CHOICES)


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def test_it_learns_and_keeps_the_best():
    trained = fit(small_network(), Blur(), replace(CHOICES, steps=80))
    losses = [row["loss"] for row in trained.history]
    best = next(row for row in trained.history if row["step"] == trained.best_step)
    assert min(losses) < 0.5 * losses[0]
    assert best["loss"] == min(losses)
    assert judged(Blur(), trained.network) == pytest.approx(min(losses))
    assert trained.stopped == "done" and not trained.network.training
    assert [row["step"] for row in trained.history] == list(range(8, 81, 8))
    assert trained.seconds > 0 and trained.cpu_seconds > 0


def test_the_learning_rate_rises_and_falls():
    choices = Training(steps=1000, learning_rate=0.5, warm_up=0.1)
    rates = np.array([choices.rate(step) for step in range(1000)])
    assert (np.diff(rates[:100]) > 0).all() and (np.diff(rates[100:]) < 0).all()
    assert rates.max() == pytest.approx(0.5)
    assert 0 < rates[0] < 0.01 and rates[-1] == pytest.approx(0.005, rel=0.01)


def test_the_seed_decides_and_nothing_else(unbroken):
    before = torch.get_rng_state()
    torch.manual_seed(1234)
    again = fit(small_network(), Blur(), replace(CHOICES, threads=1))
    torch.set_rng_state(before)
    fit(small_network(), Blur(), CHOICES)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(again.network, unbroken.network)
    other = fit(small_network(), Blur(), replace(CHOICES, seed=6))
    assert not torch.equal(other.network[0].weight, unbroken.network[0].weight)


def test_a_killed_training_goes_on_bit_by_bit(tmp_path, unbroken):
    code = f"import test_learn_training as t; t.kill_at(13, {str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert read_checkpoint(tmp_path).standing.step == 8
    resumed = fit(small_network(), Blur(), CHOICES, out=tmp_path)
    assert_same(resumed.network, unbroken.network)
    assert without_time(resumed.history) == without_time(unbroken.history)
    assert (resumed.best_step, resumed.stopped) == (unbroken.best_step, "done")


@pytest.mark.parametrize("step", [1, 9, 16, 23, 24])
def test_wherever_it_is_cut_off_between_validations_too(tmp_path, unbroken, monkeypatch, step):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    for _ in range(2):
        with pytest.raises(StopHere):
            fit(small_network(), Blur(), CHOICES, out=tmp_path, progress=stop_at(step))
        step = min(step + 1, 24)
    resumed = fit(small_network(), Blur(), CHOICES, out=tmp_path)
    assert_same(resumed.network, unbroken.network)
    assert without_time(resumed.history) == without_time(unbroken.history)
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert lines == resumed.history
    assert set(lines[0]) == {"step", "loss", "training_loss", "learning_rate", "seconds", "largest"}


def test_an_interrupt_keeps_the_work(tmp_path, unbroken):
    cut = fit(small_network(), Blur(), CHOICES, out=tmp_path, progress=stop_at(19, error=KeyboardInterrupt))
    assert cut.stopped == "interrupted" and cut.best_step == 16 and not cut.network.training
    assert without_time(cut.history) == without_time(unbroken.history[:2])
    assert judged(Blur(), cut.network) == cut.history[-1]["loss"]
    assert_same(fit(small_network(), Blur(), CHOICES, out=tmp_path).network, unbroken.network)


def test_an_interrupt_before_the_first_validation_gives_the_first_weights():
    cut = fit(small_network(), Blur(), CHOICES, progress=stop_at(3, error=KeyboardInterrupt))
    assert (cut.best_step, cut.history) == (0, [])
    assert_same(cut.network, small_network())


def test_what_is_done_is_not_done_again(tmp_path, unbroken):
    first = fit(small_network(), Blur(), CHOICES, out=tmp_path)
    again = fit(network := small_network(), Blur(), CHOICES, out=tmp_path)
    assert not hasattr(network, "calls")
    assert_same(again.network, unbroken.network)
    assert (again.history, again.seconds) == (first.history, first.seconds)


@pytest.mark.parametrize(
    ("changes", "task", "seed", "words"),
    [
        ({"learning_rate": 0.03}, Blur(), 0, "learning_rate: 0.02 there, 0.03 here"),
        ({}, Blur(gain=2.0), 0, "first batch"),
        ({}, Told(losses=(1.0,)), 0, "task: 'Blur' there, 'Told' here"),
        ({}, Blur(), 1, "first weights"),
    ],
)
def test_another_training_is_not_gone_on_with(tmp_path, changes, task, seed, words):
    fit(small_network(), Blur(), replace(CHOICES, patience=None), out=tmp_path)
    with pytest.raises(SettingsError, match=words) as caught:
        fit(small_network(seed), task, replace(CHOICES, **changes), out=tmp_path)
    assert "delete" in caught.value.do
    fit(small_network(), Blur(), replace(CHOICES, threads=1, device="auto"), out=tmp_path)  # where it runs is free


def test_a_step_that_fails_is_skipped():
    with pytest.warns(TrainingWarning, match="loss nan.* in step 12: step skipped, learning rate halved"):
        trained = fit(small_network(), Blur(broken=(11,)), CHOICES)
    assert all(bool(value.isfinite().all()) for value in trained.network.state_dict().values())
    rates = [row["learning_rate"] for row in trained.history]
    assert rates[:2] == pytest.approx([CHOICES.rate(7), CHOICES.rate(15) / 2])
    assert rates[2] == pytest.approx(CHOICES.rate(23))


def test_means_that_layers_keep_are_taken_back_with_the_step():
    class Poisoned(Blur):
        def batch(self, rng):
            x, y = super().batch(rng)
            return x * np.nan, y

    network = small_network()
    with pytest.warns(TrainingWarning), pytest.raises(TrainingError):
        fit(network, Poisoned(), CHOICES)
    assert torch.equal(network[1].running_mean, torch.zeros(4))


def test_three_failures_in_a_row_are_too_many_and_the_best_is_kept(tmp_path):
    task = Blur(broken=(17, 18, 19))
    with pytest.warns(TrainingWarning), pytest.raises(TrainingError, match="3 times in a row") as caught:
        fit(small_network(), task, CHOICES, out=tmp_path)
    assert "lower learning rate, for example 0.002" in caught.value.do
    assert "step 16, is in" in caught.value.got
    kept = read_checkpoint(tmp_path).tensors
    best = small_network()
    best.load_state_dict({name[5:]: value for name, value in kept.items() if name.startswith("best.")})
    assert judged(task, best.eval()) == read_checkpoint(tmp_path).standing.best_loss


def test_a_factor_on_the_loss_that_is_too_large_is_no_failure(tmp_path, monkeypatch):
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler("cpu", init_scale=2.0**127))
    task, choices = Blur(gain=30.0), replace(CHOICES, steps=40)
    with pytest.raises(StopHere):
        fit(small_network(), task, choices, out=tmp_path, progress=stop_at(30, 40))
    assert read_checkpoint(tmp_path).standing.scaler["scale"] < 2.0**127
    trained = fit(small_network(), task, choices, out=tmp_path)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert trained.history[-1]["learning_rate"] == choices.rate(39)


def test_a_validation_that_is_never_finite_is_no_training():
    with pytest.raises(TrainingError, match="none in 3 validations"):
        fit(small_network(), Told(losses=(math.nan, math.inf, math.nan)), CHOICES)


def test_it_stops_early_for_want_of_gain(tmp_path):
    choices = replace(CHOICES, steps=800, patience=3)
    task = Told(losses=(3.0, 2.0, 2.5, math.nan, 2.1, 1.0))
    trained = fit(small_network(), task, choices, out=tmp_path)
    assert (trained.stopped, trained.best_step, len(trained.history)) == ("early", 16, 5)
    again = fit(small_network(), task, choices, out=tmp_path)
    assert (again.stopped, again.best_step) == ("early", 16)
    assert math.isnan(again.history[3]["loss"])


def test_short_memory_halves_the_batch_once(tmp_path):
    with (
        pytest.warns(TrainingWarning, match="batches half as large"),
        pytest.raises(StopHere),
    ):
        fit(small_network(), Blur(fits=4), CHOICES, out=tmp_path, progress=stop_at(10))
    resumed = fit(small_network(), Blur(fits=4), CHOICES, out=tmp_path)  # with no second warning
    assert_same(resumed.network, fit_quietly(Blur(fits=4)).network)
    with pytest.warns(TrainingWarning), pytest.raises(TrainingError, match="a fake one"):
        fit(small_network(), Blur(fits=3), CHOICES)


def fit_quietly(task):
    with pytest.warns(TrainingWarning):
        return fit(small_network(), task, CHOICES)


def test_short_memory_of_a_gpu_leads_to_the_cpu(monkeypatch, unbroken):
    class OnlyAtFirst(Blur):
        def loss(self, network, batch):
            calls = getattr(network, "calls", -1)
            if calls == 12 and not hasattr(network, "was_short"):
                network.was_short = True
                raise torch.OutOfMemoryError("a fake one")
            return super().loss(network, batch)

        halved = None  # cannot be done

    monkeypatch.setattr(OnlyAtFirst, "halved", lambda self: None)
    monkeypatch.setattr(training, "pick_device", lambda wanted: torch.device("cpu", 0))  # stands for a GPU
    with pytest.warns(TrainingWarning, match="goes on on the CPU"):
        trained = fit(small_network(), OnlyAtFirst(), CHOICES)
    assert_same(trained.network, unbroken.network)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    fit(small_network(), Blur(), CHOICES, out=tmp_path)
    path = tmp_path / NAME
    whole = path.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        b"",
        b"nonsense",
        whole.replace(b"dipolar training", b"dipolar cleaning"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="delete"):
            fit(small_network(), Blur(), CHOICES, out=tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DipolarError, match="must be writable"):
        fit(small_network(), Blur(), CHOICES, out=tmp_path / "file" / "out")


def test_what_is_gathered_goes_back():
    first, second = small_network(), small_network(1)
    one, two = (torch.optim.AdamW(network.parameters()) for network in (first, second))
    first(torch.randn(2, 1, 8, 8)).square().sum().backward()
    one.step()
    put_back(second, two, gather(first, one))
    assert_same(first, second)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        for moment, value in one.state[a].items():
            assert torch.equal(value, two.state[b][moment]) and value.stride() == two.state[b][moment].stride()


def test_settings_without_sense_are_all_named():
    with pytest.raises(SettingsError, match=r"steps=0 \(at least 1\), learning_rate=-1.0 .*, warm_up=1.0"):
        Training(steps=0, learning_rate=-1.0, warm_up=1.0)


def test_anything_with_the_three_methods_is_a_task():
    assert isinstance(Blur(), AbstractTask)


def test_devices_and_threads():
    assert pick_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert pick_device("auto") == torch.device("cpu")
        with pytest.raises(SettingsError, match="a GPU was asked for"):
            pick_device("cuda")
    before = torch.get_num_threads()
    with pytest.raises(StopHere), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise StopHere
    assert torch.get_num_threads() == before
    with pytest.raises(SettingsError, match="at least 1"), threads(0):
        pass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mixed", [False, True])
def test_a_gpu_learns_alike(tmp_path, unbroken, mixed):
    class OnGpu(Blur):
        def validate(self, network):
            x, y = (torch.from_numpy(p).float().cuda() for p in self.batch(np.random.default_rng(99)))
            return {"loss": float((network(x) - y).square().mean())}

    choices = replace(CHOICES, device="cuda", mixed_precision=mixed)
    with pytest.raises(StopHere):
        fit(small_network(), OnGpu(), choices, out=tmp_path, progress=stop_at(13))
    trained = fit(small_network(), OnGpu(), choices, out=tmp_path)
    assert trained.history[-1]["loss"] == pytest.approx(unbroken.history[-1]["loss"], rel=0.3)

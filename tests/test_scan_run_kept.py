"""Finished blocks on disk: nothing is done twice, nothing finished is lost, whatever ends the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipolar.core.errors import FormatError, OutputError, SettingsError
from dipolar.run.scanning import Follow, Here, Kept, LiberTem, Threads, run_blocks
from scan_frames import FileFrames, Looking, made, same, values_of


@dataclass(frozen=True)
class Counted:
    """Work that remembers which patterns it was given."""

    work: Looking = field(default_factory=Looking)
    begun: list[int] = field(default_factory=list)

    def __call__(self, patterns: np.ndarray, start: int) -> dict[str, np.ndarray]:
        values = dict(self.work(patterns, start))
        self.begun.extend(range(start, start + len(patterns)))
        return values


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> FileFrames:
    return made(tmp_path_factory.mktemp("scan") / "patterns.raw")


@pytest.fixture(scope="module")
def expected(frames) -> dict[str, np.ndarray]:
    return values_of(frames)


@pytest.mark.parametrize("executor", [Here(), Threads(workers=2), LiberTem()], ids=lambda e: type(e).__name__)
def test_work_goes_on_where_an_error_stopped_it(executor, frames, expected, tmp_path):
    kept = Kept(tmp_path / "out" / "blocks", "this work", 1003)
    with pytest.raises(FormatError):
        run_blocks(executor, frames, Looking(fail_at=600), 1003, kept=kept)
    finished = {number for start, stop, _ in kept.blocks() for number in range(start, stop)}
    assert not finished & set(range(512, 768))
    again = Counted()
    same(run_blocks(executor, frames, again, 1003, kept=kept), expected)
    # LiberTEM asks once more, for one pattern, what the values look like
    assert finished.isdisjoint(again.begun)
    assert finished | set(again.begun) == set(range(1003))
    third = Counted()
    same(run_blocks(executor, frames, third, 1003, kept=kept), expected)
    assert not third.begun
    kept.remove()
    assert kept.blocks() == []


def test_who_presses_ctrl_c_keeps_what_was_finished(frames, expected, tmp_path):
    kept = Kept(tmp_path / "blocks", "this work", 1003)

    def stop(step: str, fraction: float) -> None:
        if fraction > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_blocks(Threads(workers=2), frames, Looking(), 1003, kept=kept, progress=stop)
    assert sum(stop - start for start, stop, _ in kept.blocks()) >= 0.4 * 1003
    same(run_blocks(Here(), frames, Looking(), 1003, kept=kept), expected)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from scan_frames import FileFrames, Looking
from dipolar.run.scanning import Kept, Threads, run_blocks
frames = FileFrames(Path({path!r}), chunk=50)
run_blocks(Threads(workers=2), frames, Looking(pause_s=0.2), 1003, kept=Kept(Path({kept!r}), "this work", 1003))
"""


def test_a_killed_process_loses_only_what_it_was_at(frames, expected, tmp_path):
    kept = Kept(tmp_path / "blocks", "this work", 1003)
    script = SCRIPT.format(tests=str(Path(__file__).parent), path=str(frames.path), kept=str(kept.path))
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        end = time.monotonic() + 60
        while len(kept.blocks()) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        with pytest.raises(OutputError, match=r"(?s)only one process at a time.*is being written"):
            run_blocks(Here(), frames, Looking(), 1003, kept=kept)
        process.send_signal(signal.SIGKILL)
    finished = {number for start, stop, _ in kept.blocks() for number in range(start, stop)}
    assert 400 <= len(finished) < 1003
    again = Counted()
    same(run_blocks(Here(), replace(frames, chunk=50), again, 1003, kept=kept), expected)
    assert finished.isdisjoint(again.begun)


@pytest.fixture(scope="module")
def complete(frames, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("kept") / "blocks"
    run_blocks(Here(), frames, Looking(), 1003, kept=Kept(path, "this work", 1003))
    return path.read_bytes()


def test_a_damaged_number_of_patterns_is_no_size_to_read(complete, tmp_path):
    record = 6 * 4 + 8 + 4 + 1
    first = len(complete) - 1003 * record - 4 * 20
    for at in range(16):  # either number, any of its bytes
        data = bytearray(complete)
        data[first + at] ^= 0x41
        (tmp_path / "blocks").write_bytes(data)
        assert Kept(tmp_path / "blocks", "this work", 1003).blocks() == []


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, 1), damage=st.booleans())
def test_a_file_cut_or_damaged_anywhere_costs_only_what_comes_after(complete, frames, tmp_path_factory, share, damage):
    path = tmp_path_factory.mktemp("cut") / "blocks"
    at = int(share * (len(complete) - 1))
    data = bytearray(complete if damage else complete[:at])
    if damage:
        data[at] ^= 0x41
    path.write_bytes(data)
    kept = Kept(path, "this work", 1003)
    try:
        before = kept.blocks()
    except FormatError:  # no file of ours, by its first line
        assert damage and at < 17
        return
    row = 6 * 4 + 8 + 4 + 1
    whole = (at - (len(complete) - 1003 * row - 4 * 20)) / (256 * row + 20)
    assert len(before) == max(0, int(np.floor(whole)))
    same(run_blocks(Here(), frames, Looking(), 1003, kept=kept), values_of(frames))
    assert path.read_bytes() == complete


def test_blocks_of_other_work_are_refused_and_left_alone(complete, frames, tmp_path):
    path = tmp_path / "blocks"
    path.write_bytes(complete)
    for other in (Kept(path, "other work", 1003), Kept(path, "this work", 1000)):
        with pytest.raises(SettingsError, match=r"(?s)another scan, model or settings.*delete .*blocks"):
            run_blocks(Here(), frames, Looking(), 1000, kept=other)
    assert path.read_bytes() == complete
    path.write_bytes(b"something that is not ours")
    with pytest.raises(FormatError, match="left alone"):
        run_blocks(Here(), frames, Looking(), 1003, kept=Kept(path, "this work", 1003))
    assert path.read_bytes() == b"something that is not ours"


def test_a_scan_that_ended_early_goes_on_when_there_is_more(frames, expected, tmp_path):
    path, kept = tmp_path / "growing.raw", Kept(tmp_path / "blocks", "this work", 1003)
    growing = FileFrames(path)
    for patterns in (300, 1003):
        path.write_bytes(frames.path.read_bytes()[: patterns * 96])
        got = run_blocks(Here(), growing, Looking(), 1003, kept=kept, follow=Follow(patience_s=0.05, poll_s=0.01))
        assert got["read"].sum() == patterns
    same(got, expected)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_and_nothing_finished_is_lost(frames, tmp_path, monkeypatch):
    kept = Kept(tmp_path / "blocks", "this work", 1003)
    written = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"(?s)must be writable.*No space left.*make room"):
        run_blocks(Here(), frames, Looking(), 1003, kept=kept)
    monkeypatch.setattr(os, "fsync", written)
    assert sum(stop - start for start, stop, _ in kept.blocks()) == 1003


def test_a_place_that_cannot_be_written_is_told(frames, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="must be writable"):
        run_blocks(Here(), frames, Looking(), 1003, kept=Kept(tmp_path / "file" / "blocks", "this work", 1003))

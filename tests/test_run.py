"""Runners: results in order, errors as they were, and processes that end when they should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dipolar.core.errors import DataError, SettingsError, TrainingError
from dipolar.run import AbstractRunner, Processes, Serial

RUNNERS = [Serial(), Processes(workers=2)]


def uneven(number: int) -> tuple[int, str | None]:
    time.sleep(0.05 * (3 - number % 3))
    return number**2, os.environ.get("OMP_NUM_THREADS")


def failing(number: int) -> int:
    if number == 1:
        raise DataError("a number other than 1 was expected.", got="1", do="2")
    return number


def dying(number: int) -> int:
    if number == 1:
        os._exit(9)
    return number


def slow(path: str) -> str:
    """Leave a note of the process, and take very long, except for the first."""
    Path(path).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(0.0 if path.endswith("0") else 600.0)
    return path


def alive(process: int) -> bool:
    """Return whether a process is there and not just waiting to be counted."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: type(runner).__name__)
def test_results_come_in_order(runner: AbstractRunner):
    assert [result for result, _ in runner.each(uneven, range(5))] == [0, 1, 4, 9, 16]
    assert list(runner.each(uneven, [])) == []


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: type(runner).__name__)
def test_results_as_they_come_have_their_numbers(runner: AbstractRunner):
    assert sorted((number, result) for number, (result, _) in runner.as_done(uneven, [5, 3, 4])) == [
        (0, 25), (1, 9), (2, 16)
    ]  # fmt: skip


def test_a_process_of_its_own_has_one_thread():
    assert {threads for _, threads in Processes(workers=2).each(uneven, range(2))} == {"1"}


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: type(runner).__name__)
def test_an_error_comes_through_with_its_words(runner: AbstractRunner):
    with pytest.raises(DataError, match=r"(?s)other than 1 was expected.*got:  1") as caught:
        list(runner.each(failing, range(4)))
    assert caught.value.got == "1"


def test_a_process_that_is_killed_is_named():
    with pytest.raises(TrainingError, match="fewer workers"):
        list(Processes(workers=2).each(dying, range(4)))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
def test_who_stops_waits_for_nobody(tmp_path):
    paths = [str(tmp_path / f"{number}") for number in range(4)]
    results = Processes(workers=2).each(slow, paths)
    assert next(results) == paths[0]
    assert within(20.0, lambda: Path(paths[1]).is_file() and Path(paths[1]).read_text(encoding="utf-8") != "")
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 10.0
    assert not alive(int(Path(paths[1]).read_text(encoding="utf-8")))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
def test_nobody_outlives_a_killed_parent(tmp_path):
    lines = [
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})",
        "from test_run import slow",
        "from dipolar.run import Processes",
        f"list(Processes(workers=1).each(slow, [{str(tmp_path / '1')!r}]))",
    ]
    script, note = tmp_path / "parent.py", tmp_path / "1"
    script.write_text("\n".join([*lines[:3], "if __name__ == '__main__':", f"    {lines[3]}"]), encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL) as parent:
        assert within(60.0, lambda: note.is_file() and note.read_text(encoding="utf-8") != "")
        parent.send_signal(signal.SIGKILL)
    assert within(10.0, lambda: not alive(int(note.read_text(encoding="utf-8"))))


def test_no_processes_are_refused():
    with pytest.raises(SettingsError, match="at least one process"):
        Processes(workers=0)

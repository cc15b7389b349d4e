"""The result folder: written beside its place, put there in one step, and never over something that is not a result."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.atomic import atomic_file, beside, cannot_write, sha256_of, sync
from dipolar.core.errors import ChecksumError, OutputError
from dipolar.core.nouns import Record
from dipolar.io.result_file import read_run_json, sum_of_record

FORMAT = "dipolar result"
KINDS = (
    ("a demonstration", {"result.h5", "truth_cells.csv"}),
    ("a map of a scan", {"result.h5", "areas.csv"}),
    ("a series of scans", {"result.h5", "tracks.csv"}),
    ("a measurement", {"result.h5"}),
    ("a result of unmixing", {"components.h5"}),
    ("a library of tilt", {"library.npz"}),
    ("a simulation", {"truth_cells.csv"}),
    ("a simulated series of scans", {"truth_series.csv"}),
    ("a simulated scan", {"truth_domains.csv"}),
)
"""What a result folder holds, and the files by which that is known; the first that fits counts."""


@contextmanager
def result_folder(out: str | Path) -> Iterator[Path]:
    """Yield a folder to write into; it becomes `out` on success, and is removed on any exception.

    A result of the same kind that was there before is replaced in the same moment.

    Parameters
    ----------
    out
        The result folder; its parents are made where they are missing.

    Raises
    ------
    OutputError
        Where `out` is something else than a result, or a result of another kind, holds files that dipolar did not
        write, or cannot be written.
    """
    out = Path(out).resolve()
    check_target(out)
    made = _make_parents(out.parent)
    part = beside(out)
    try:
        try:
            part.mkdir()
        except OSError as error:
            raise cannot_write(out, error) from error
        yield part
        _put_in_place(part, out)
        made = []
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for parent in made:
            if not any(parent.iterdir()):
                parent.rmdir()


def check_target(out: Path, *, kind: str | None = None) -> None:
    """Check that `out` is free, empty, or a result of dipolar that may be replaced.

    Parameters
    ----------
    out
        The folder.
    kind
        What shall be written there, in the words of `kind_of`; None: not known yet.

    Raises
    ------
    OutputError
        Where it is something else. Files of yours in a result folder are never removed.
    """
    another = "choose another folder with --out, or move it away"
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError("the result is a folder", got=f"{out} is a file", do=another)
    names = {item.relative_to(out).as_posix() for item in out.rglob("*") if not item.is_dir()}
    if not names:
        return
    try:
        record = read_run_json(out) if "run.json" in names else {}
    except ChecksumError:
        record = {}
    if record.get("format") != FORMAT:
        raise OutputError(
            "only a result of dipolar is replaced", got=f"{out} exists and is no result (no run.json)", do=another
        )
    foreign = sorted(names - set(record.get("checksums", {})) - {"run.json"})
    if foreign:
        raise OutputError(
            "only what dipolar wrote is replaced", got=f"{out} also holds {', '.join(foreign[:10])}", do=another
        )
    there = kind_of(record)
    if kind is not None and there != kind:
        raise OutputError(
            f"only {kind} is replaced by {kind}.",
            got=f"{out}, which holds {there}",
            do=f"choose another folder: --out {out.with_name(f'{out.stem}-2{out.suffix}')}",
        )


def kind_of(record: Mapping[str, Any]) -> str:
    """Return what the folder of a `run.json` holds, as "a measurement"; by its files, as older ones do not say it."""
    if "study" in record:
        return f"a {record['study']} study"
    files = set(record.get("checksums", {}))
    return next((kind for kind, marks in KINDS if marks <= files), "a result of another kind")


def _make_parents(parent: Path) -> list[Path]:
    """Make the missing parents; return them, deepest first."""
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(parent, error) from error
    return missing


def _put_in_place(part: Path, out: Path) -> None:
    # Once more: the work took a while, and someone may have put something there.
    check_target(out, kind=kind_of(read_run_json(part)) if (part / "run.json").exists() else None)
    old = beside(out)
    try:
        for file in part.rglob("*"):
            sync(file)
        if out.exists():
            out.rename(old)
        try:
            part.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
        sync(out.parent)
    except OSError as error:
        raise cannot_write(out, error) from error
    shutil.rmtree(old, ignore_errors=True)


def write_run_json(folder: Path, record: Record, *, extra: Mapping[str, Any] | None = None) -> Path:
    """Write `run.json`: what made the result, and the SHA-256 of every other file in the folder. Call it last.

    Parameters
    ----------
    folder
        The folder that `result_folder` yields.
    record
        Settings, versions, seeds, input hashes, timings.
    extra
        More entries, such as the summary and the works to cite.

    Returns
    -------
    The path of the file. Numbers that are not finite are null in it.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    files = sorted(item for item in folder.rglob("*") if item.is_file() and item != folder / "run.json")
    content = {
        "format": FORMAT,
        **_json(asdict(record)),
        **_json(dict(extra or {})),
        "checksums": {item.relative_to(folder).as_posix(): sha256_of(item) for item in files},
    }
    content["sha256"] = sum_of_record(content)
    with atomic_file(folder / "run.json") as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return folder / "run.json"


def _json(value: Any) -> Any:
    """Return `value` as JSON knows it: null for nan, lists for arrays and tuples, text for paths."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


__all__ = ["check_target", "kind_of", "result_folder", "sha256_of", "write_run_json"]

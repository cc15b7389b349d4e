"""Rows of figures as CSV files, there and back."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(out: Path | None, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV where a folder was asked for."""
    if out is None or not rows:
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


def read(out: Path, name: str) -> list[dict[str, str | float]]:
    """Return the rows of a table, numbers as numbers."""
    with (out / name).open(newline="", encoding="utf-8") as file:
        return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def number(text: str) -> str | float:
    """Return the number that a text is, or the text."""
    try:
        return float(text)
    except ValueError:
        return text

"""What is written as JSON beside tensors: numbers of every kind, nan as null, nothing else in disguise."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return the JSON of plain values, NumPy numbers and arrays; nan and infinity, which JSON lacks, become null.

    Raises
    ------
    TypeError
        If something has no plain form: a text of it would be read back as another thing.
    """
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, PurePath) else value

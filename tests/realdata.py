"""Finds the folder of real microscope images, which the project does not ship; skips the test where it is absent.

The folder is named by the environment variable ``DIPOLAR_REAL_DATA``, or is ``../shared/data`` beside the checkout.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


def folder() -> Path:
    """Return the folder of real images, whether it exists or not."""
    named = os.environ.get("DIPOLAR_REAL_DATA")
    return Path(named) if named else CHECKOUT.parent / "shared" / "data"


def path(name: str) -> Path:
    """Return the real file (or folder) `name`, relative to the folder of real images; skip the test without it."""
    if not folder().is_dir():
        pytest.skip(f"no real images here: set DIPOLAR_REAL_DATA to a folder that holds {name}")
    found = folder() / name
    if not found.exists():
        pytest.skip(f"the folder of real images has no {name}")
    return found

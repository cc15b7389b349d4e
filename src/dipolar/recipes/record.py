"""What a recipe writes down about itself: versions, time, and how long each step took."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from dipolar import __version__
from dipolar.core.contracts import Progress

LIBRARIES = ("numpy", "scipy", "numba", "rosettasciio", "tifffile", "h5py", "pillow")
NETWORKS = ("torch", "safetensors")


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(*, networks: bool = False, more: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the versions of dipolar, Python and the libraries that do the work, those of networks where they do.

    Parameters
    ----------
    networks
        Whether networks did.
    more
        Names of further libraries.
    """
    found = {"dipolar": __version__, "python": platform.python_version()}
    for name in LIBRARIES + (NETWORKS if networks else ()) + more:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass
class Clock:
    """Times the steps of a recipe, and announces each."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, step: str, *, announce: bool = True) -> Iterator[None]:
        """Time one step; `announce` is off for steps that tell their own progress."""
        if announce:
            self.progress(step, 0.0)
        start = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - start, 4)
        if announce:
            self.progress(step, 1.0)

"""Films on disk, so that fresh processes and other programs measure the very same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dipolar.simulate import Simulated, benchmark_film, simulate_film


def film_of(size_px: int, *, seed: int = 0, **options: Any) -> Simulated:
    """Return one benchmark film."""
    return simulate_film(benchmark_film(size_px=size_px, **options), rng=np.random.default_rng(seed))


@contextmanager
def on_disk(image: np.ndarray) -> Iterator[Path]:
    """Hold the image in a .npy file, in a folder of its own that goes away."""
    with TemporaryDirectory(prefix="dipolar-bench-") as folder:
        path = Path(folder) / "film.npy"
        np.save(path, image)
        yield path

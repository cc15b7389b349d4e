"""Files of 4D-STEM scans and models to be timed: simulated, tiled to any size, and forgotten by the system's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipolar.core.scanning import Labels
from dipolar.io.scan_writer import write_scan
from dipolar.io.scans import open_scan
from dipolar.label import sampling
from dipolar.label.positions import no_labels
from dipolar.learn.pattern_network_training import Examples, train_published, train_small
from dipolar.learn.pattern_store import save_classifier
from dipolar.learn.pattern_training import PublishedTraining, SmallTraining
from dipolar.recipes.scan_look import look_over
from dipolar.recipes.scan_settings import ScanTrainSettings
from dipolar.recipes.scan_train import look_for, numbers_of, taught
from dipolar.recipes.simulate_scan import blocks
from dipolar.simulate.scan import SimulatedScan, simulate_scan
from dipolar.simulate.scan_settings import SimulatedScanSettings

LABELS, SURVEYED, SEED = 50, 2048, 0
"""Labels at random, patterns looked at beside them, and seed of everything."""
TILE = 256
"""Patterns of which a file of any size is made."""
WIDTH = 200
"""Positions in a row of such a scan."""
KINDS = ("bank", "small", "published")
ENDS = {"npy": ("scan.npy", None), "h5": ("scan.h5", None), "bitshuffle": ("scan_bitshuffle.h5", "bitshuffle")}
"""How scans are written: name, and compression."""


def simulated(shape: tuple[int, int], pattern_px: int) -> SimulatedScan:
    """Return the scan that everything is timed on; its patterns are made when they are read."""
    return simulate_scan(SimulatedScanSettings(shape=shape, pattern_px=(pattern_px, pattern_px)), seed=SEED)


def written(made: SimulatedScan, folder: Path, kind: str) -> Path:
    """Return the file of a scan, which is written where it is not there yet."""
    name, compression = ENDS[kind]
    path = folder / name
    if not path.exists():
        scan = made.scan
        write_scan(
            path,
            shape=scan.shape,
            pattern_px=scan.frames.shape_px,
            dtype=scan.frames.dtype,
            blocks=blocks(scan.frames, progress=lambda _: None),
            compression=compression,
        )
    return path


@dataclass(frozen=True, kw_only=True)
class Tiled:
    """A scan that repeats a few patterns until it is as large as is wanted."""

    gigabytes: float
    """Size before compression."""
    kind: str
    """One of `ENDS`."""

    def write(self, made: SimulatedScan, folder: Path) -> Path:
        """Write it and return its path."""
        frames = made.scan.frames
        tile = np.array(frames.read(0, min(TILE, frames.count)))
        rows = max(1, round(self.gigabytes * 1e9 / tile[0].nbytes / WIDTH))
        path = folder / f"tiled_{self.gigabytes:g}_{ENDS[self.kind][0]}"
        return write_scan(
            path,
            shape=(rows, WIDTH),
            pattern_px=frames.shape_px,
            dtype=frames.dtype,
            blocks=_repeated(tile, rows * WIDTH),
            compression=ENDS[self.kind][1],
        )


def _repeated(tile: np.ndarray, count: int) -> Iterator[np.ndarray]:
    for start in range(0, count, len(tile)):
        yield tile[: min(len(tile), count - start)]


def some_labels(made: SimulatedScan) -> Labels:
    """Return the true labels of positions at random, at least three of each class."""
    truth, scan = made.truth, made.scan
    none = no_labels(scan.key, scan.shape)
    positions = sampling.random(none, LABELS, rng=np.random.default_rng(SEED))
    own = [np.argwhere(truth.label == number)[:3] for number in range(len(truth.names))]
    positions = np.unique(np.concatenate([positions, *own]), axis=0).astype(np.int32)
    label = truth.label[positions[:, 0], positions[:, 1]].astype(np.int32)
    return Labels(key=scan.key, shape=scan.shape, names=truth.names, positions=positions, label=label)


def examples_of(made: SimulatedScan, path: Path, kind: str) -> Examples:
    """Return what a network learns from."""
    scan, labels = open_scan(path), some_labels(made)
    look = look_for(scan, ScanTrainSettings(classifier=kind))
    numbers = np.ravel_multi_index(tuple(labels.positions.T), labels.shape).astype(np.int64)
    seen = look_over(scan, look, numbers_of(scan, numbers, SURVEYED if kind == "small" else TILE))
    rows = seen.rows(numbers)
    return Examples(
        patches=seen.seen[rows], counts=seen.counts[rows], label=labels.label, names=labels.names, others=seen.seen
    )


def model(made: SimulatedScan, path: Path, kind: str) -> Path:
    """Return the file of a model of one kind, trained where it is not there yet.

    Networks are trained for a few steps only: how right they are is no matter here, and takes no time off.
    """
    file = path.parent / f"{kind}.safetensors"
    if file.exists():
        return file
    if kind == "bank":
        scan, labels, settings = open_scan(path), some_labels(made), ScanTrainSettings()
        look = look_for(scan, settings)
        numbers = np.ravel_multi_index(tuple(labels.positions.T), labels.shape).astype(np.int64)
        seen = look_over(scan, look, numbers_of(scan, numbers, SURVEYED))
        save_classifier(taught(scan, labels, look, seen, numbers, settings), file)
    elif kind == "small":
        save_classifier(train_small(examples_of(made, path, kind), choices=SmallTraining(steps=10)), file)
    else:
        save_classifier(train_published(examples_of(made, path, kind), choices=PublishedTraining(epochs=1)), file)
    return file


def forget(path: Path) -> bool:
    """Take a file out of the system's cache, so that the next read is from the disk; return whether that is possible.

    Of this file alone, so that no right is needed and nobody else is slowed down.
    """
    if not hasattr(os, "posix_fadvise"):
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
    return True


def remember(path: Path) -> None:
    """Read a file once, so that the system's cache has it, as far as it fits."""
    with path.open("rb", buffering=0) as file:
        piece = bytearray(16 << 20)
        while file.readinto(piece):
            pass

"""Mapped scans made from known geometry: shares of classes, probabilities with noise, everything a report shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from dipolar.core.flags import Flag
from dipolar.core.nouns import Record
from dipolar.core.scanning import Bank, Labels, ScanMap, ScanResult, ScanValidation, View
from dipolar.maps.scan_domains import domains_of

NAMES = ("horizontal", "vertical", "none")


def positions(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    return y, x


def two_classes(distance: np.ndarray, width: float) -> Float[np.ndarray, "y x 2"]:
    """Return shares of two classes on either side of a wall: the second where the distance is above zero."""
    after = 0.5 * (1.0 + np.tanh(distance / max(0.5 * width, 1e-3)))
    return np.stack([1.0 - after, after], axis=2)


def line(shape: tuple[int, int], angle_deg: float, width: float, through: tuple[float, float]) -> tuple:
    """Return shares on either side of a straight wall, and its normal; at 0° it runs along the columns."""
    y, x = positions(shape)
    normal = np.array([np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))])
    distance = (y - through[0]) * normal[0] + (x - through[1]) * normal[1]
    return two_classes(distance, width), normal


def scan_map(
    share: Float[np.ndarray, "y x class"],
    names: tuple[str, ...] = NAMES,
    *,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
    mixture: bool = False,
    step_nm: float | None = None,
    **more: object,
) -> ScanMap:
    """Return a map whose probabilities are the shares, with Gaussian noise on their logarithms."""
    height, width, count = share.shape
    logit = np.log(np.clip(share, 1e-6, 1.0))
    if noise:
        logit = logit + noise * (rng or np.random.default_rng(0)).normal(size=logit.shape)
    probability = np.exp(logit) / np.exp(logit).sum(axis=2, keepdims=True)
    values: dict = {
        "key": "0123456789abcdef",
        "name": "scan.mib",
        "names": names[:count],
        "probability": probability.astype(np.float32),
        "flags": np.zeros((height, width), dtype=np.uint32),
        "centre_px": np.full((height, width, 2), 127.5, dtype=np.float32),
        "counts": np.full((height, width), 6e4, dtype=np.float32),
        "mixture": share.astype(np.float32) if mixture else None,
        "step_nm": step_nm,
    }
    return ScanMap(**{**values, **more})


def ferroelectric(shape: tuple[int, int]) -> Float[np.ndarray, "y x 3"]:
    """Return shares of three classes: two domains with a wavy wall, a lamella and a round domain of none."""
    y, x = positions(shape)
    tall, wide = shape
    long, s = (y, x) if tall > wide else (x, y)
    short, size = min(shape), max(shape)
    vertical = 0.5 * (1.0 + np.tanh((long - 0.55 * size - 2.0 * np.sin(s / 6.0)) / 1.0))
    round_one = 0.5 * (1.0 - np.tanh(np.hypot(long - 0.78 * size, s - 0.45 * short) - 0.22 * short))
    lamella = 0.5 * (1.0 - np.tanh((np.abs(long + 0.6 * s - 0.35 * size) - 1.8) / 0.4))
    none = np.clip(round_one + lamella * (long < 0.5 * size), 0.0, 1.0)
    return np.stack([(1.0 - vertical) * (1.0 - none), vertical * (1.0 - none), none], axis=2)


def patterns(edge: int, classes: int) -> np.ndarray:
    """Return a mean pattern for each class: disks, and ghosts along another axis in each."""
    ky, kx = np.mgrid[:edge, :edge].astype(np.float64) - 0.5 * (edge - 1)
    step = edge / 8.0
    found = []
    for place in range(classes):
        whole = np.full((edge, edge), 0.3)
        for i in range(-6, 7):
            for j in range(-6, 7):
                main = i % 2 == 0 and j % 2 == 0
                ghost = (place == 0 and i % 2 == 1 and j % 2 == 0) or (place == 1 and j % 2 == 1 and i % 2 == 0)
                size = (40.0 if main else 4.0 if ghost else 0.0) * np.exp(-0.12 * (i * i + j * j))
                whole += size / (1.0 + np.exp((np.hypot(ky - i * step / 2, kx - j * step / 2) - 0.2 * step) / 0.4))
        found.append(whole)
    return np.stack(found).astype(np.float32)


def result(
    shape: tuple[int, int] = (48, 64),
    names: tuple[str, ...] = NAMES,
    *,
    share: Callable[[tuple[int, int]], np.ndarray] = ferroelectric,
    step_nm: float | None = 5.0,
    noise: float = 1.0,
    flagged: bool = True,
    labels: int = 50,
    mixture: bool = True,
    seed: int = 3,
) -> ScanResult:
    """Return everything that one run of mapping finds."""
    rng = np.random.default_rng(seed)
    true = share(shape)
    flags = np.zeros(shape, dtype=np.uint32)
    if flagged:
        flags[2:7, 3:9] |= np.uint32(Flag.UNKNOWN_CLASS)
        flags[-4:, -12:] |= np.uint32(Flag.OTHER_DOSE)
        flags[shape[0] // 2, : shape[1] // 3] |= np.uint32(Flag.NO_BEAM)
    y, x = positions(shape)
    ghost = true[..., 0] - true[..., 1]
    virtual = {
        "bright field": 2e4 * (1 + 0.05 * np.sin(x / 9)) + 100 * rng.normal(size=shape),
        "annular dark field": 6e3 * (1 + 0.1 * np.cos(y / 11)) + 80 * rng.normal(size=shape),
        "centre of mass y": 0.2 * ghost + 0.05 * rng.normal(size=shape) + 1.0,
        "centre of mass x": 0.2 * true[..., 2] + 0.05 * rng.normal(size=shape) - 2.0,
        "Friedel difference": 0.1 * ghost + 0.03 * rng.normal(size=shape),
    }
    mapped = scan_map(
        true, names, noise=noise, rng=rng, mixture=mixture, step_nm=step_nm, flags=flags,
        virtual={name: values.astype(np.float32) for name, values in virtual.items()},
    )  # fmt: skip
    at = np.stack([rng.integers(0, size, labels) for size in shape], axis=1).astype(np.int32)
    answers = np.argmax(true[at[:, 0], at[:, 1]], axis=1).astype(np.int32)
    edge = 64
    zero = np.zeros((edge, edge), dtype=np.float32)
    means = patterns(edge, len(names))
    sites = np.array([(i, j) for i in range(-4, 5) for j in range(-4, 5)], dtype=np.int8)
    return ScanResult(
        map=mapped,
        domains=domains_of(mapped),
        record=Record(
            settings={"model": "model", "seed": seed},
            versions={"dipolar": "0.4.0", "numpy": "2.0", "python": "3.11"},
            inputs={"scan.mib": "0" * 64, "model": "1" * 64},
            timings_s={"map": 1.25},
            created="2026-11-27T00:00:00+00:00",
            notes=("Ghost disks mark the antipolar axis, not the sign or size of the polarization.",),
        ),
        labels=Labels(key=mapped.key, shape=shape, names=names, positions=at, label=answers),
        validation=ScanValidation(
            figures={"accuracy": 0.987, "balanced accuracy": 0.981, "near walls": 0.964,
                     "expected calibration error": 0.012, "recall of none": 0.97},
            confidence=np.array([0.45, 0.62, 0.75, 0.9, 0.985]),
            correct=np.array([0.5, 0.58, 0.77, 0.88, 0.99]),
            count=np.array([6, 19, 30, 64, 1900]),
            source="truth of the simulation",
        ),
        means=means,
        view=View(
            centre_px=(31.5, 31.5), reach_px=4.0, radius_px=1.6, lattice_px=np.array([[0.0, 8.0], [8.0, 0.0]]),
            lattice_sigma_px=np.full((2, 2), 0.01), defective=zero.astype(bool), stopped=False, mean=means.mean(axis=0),
            variance=zero, counts_per_pattern=6e4,
        ),
        bank=Bank(sites=sites, main=(sites % 2 == 0).all(axis=1), radius=0.9),
    )  # fmt: skip

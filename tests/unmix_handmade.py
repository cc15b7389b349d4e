"""Handmade results of unmixing: a small lattice with two domains, and plausible components for every method."""

from __future__ import annotations

import numpy as np

from dipolar.core.nouns import Image, Record
from dipolar.core.unmixing import Angles, Components, Curve, Method, Unmixed

WINDOW = 24
SPACING = 12.0
SIDE = 14
METHODS: tuple[Method, ...] = ("pca", "nmf", "ica", "gmm", "kmeans", "tsne", "mds", "isomap", "umap", "rvae")


def _patch(angle: float, *, length: float = 1.2) -> np.ndarray:
    """Return a cell with a brighter column at each corner and one in the middle, moved in that direction."""
    y, x = np.mgrid[:WINDOW, :WINDOW] - (WINDOW - 1) / 2.0
    drawn = np.zeros((WINDOW, WINDOW))
    half = SPACING / 2
    for cy, cx in ((-half, -half), (-half, half), (half, -half), (half, half)):
        drawn += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 8.0)
    dy, dx = -length * np.sin(angle), length * np.cos(angle)
    return (drawn + 0.6 * np.exp(-((y - dy) ** 2 + (x - dx) ** 2) / 8.0)).astype(np.float32)


def unmixed(
    method: Method = "pca",
    *,
    channels: tuple[str, ...] = ("image",),
    verdict: str = "good",
    pixel_size_pm: float | None = 32.0,
    offset: bool = True,
    latents: int = 2,
    seed: int = 0,
) -> Unmixed:
    """Return what a method might have found on a film with a wall down its middle and a layer at its bottom."""
    rng = np.random.default_rng(seed)
    rows, cols = np.divmod(np.arange(SIDE * SIDE), SIDE)
    positions = np.stack([SPACING * (rows + 1.0), SPACING * (cols + 1.0)], axis=1) + rng.normal(0, 0.1, (SIDE**2, 2))
    angle = np.where(cols < SIDE // 2, np.pi / 4, -3 * np.pi / 4) + rng.normal(0, 0.1, SIDE**2)
    displacement = 1.1 * np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    displacement[:3] = np.nan
    size = round(SPACING * (SIDE + 1))
    image = Image(
        data=rng.normal(10.0, 1.0, (size, size)).astype(np.float32), pixel_size_pm=pixel_size_pm, name="film.tif"
    )
    return Unmixed(
        image=image,
        positions_px=positions,
        site=np.arange(SIDE**2, dtype=np.int32),
        displacement_px=displacement,
        displacement_sigma_px=np.full_like(displacement, 0.05),
        window_px=WINDOW,
        step_px=1.0,
        lattice_px=np.array([[0.0, SPACING], [SPACING, 0.0]]),
        pixel_size_pm=pixel_size_pm,
        centred_on="cells",
        channels=channels,
        normalization="patch",
        dropped={"outside": 12, "flagged": 3},
        components=components(method, angle, rows, channels, verdict, offset, latents, rng),
        record=Record(
            settings={"method": method}, versions={"dipolar": "0"}, inputs={"film.tif": "0" * 64}, seeds={"unmix": 0},
            created="2025-01-01T00:00:00+00:00",
        ),
    )  # fmt: skip


def components(method, angle, rows, channels, verdict, offset, latents, rng) -> Components:
    """Return the components of that method for patches of these angles, in these rows."""
    count, repeat = len(angle), (len(channels), 1, 1)
    pictures = np.stack([np.tile(_patch(a), repeat) for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)])
    mean = pictures.mean(axis=0)
    cluster = (2 * (angle > 0) + (rows > SIDE - 4)).astype(np.int32)
    posterior = np.clip(np.eye(4)[cluster], 0.01, 0.97)
    means = np.stack([mean + 0.1 * k for k in range(4)]).astype(np.float32)
    noise = rng.normal(0, 0.1, (count, 4))
    scores = np.stack([np.cos(angle), np.sin(angle), rows / SIDE, 0 * angle], axis=1) + noise
    curve = Curve(
        title="explained variance", x_label="components", y_label="share", x=np.arange(1.0, 5.0),
        y=np.array([[0.5, 0.2, 0.1, 0.05]]), lines=("share",), chosen=3.0,
    )  # fmt: skip
    shared = {"settings": {"seed": 0}, "facts": {"cpu_seconds": 0.1, "converged": True}, "notes": ("A note.",)}
    if method in ("pca", "nmf", "ica"):
        names = tuple(f"{method}_{k + 1}" for k in range(4))
        return Components(
            method=method, names=names, scores=np.abs(scores) if method == "nmf" else scores,
            modes=(pictures[:4] - (0 if method == "nmf" else mean)).astype(np.float32), mean=mean.astype(np.float32),
            strength=None if method == "ica" else np.array([0.5, 0.2, 0.1, 0.05]), curves=(curve,), **shared,
        )  # fmt: skip
    if method in ("gmm", "kmeans"):
        return Components(
            method=method, names=("pca_1", "pca_2"), scores=scores[:, :2], mean=mean.astype(np.float32),
            cluster=cluster, posterior=posterior if method == "gmm" else None, cluster_means=means, curves=(curve,),
            **shared,
        )  # fmt: skip
    if method == "rvae":
        return Components(
            method=method, names=tuple(f"latent_{k + 1}" for k in range(latents)), scores=scores[:, 2 : 2 + latents],
            mean=mean.astype(np.float32),
            angles=angles(angle, scores[:, 2 : 2 + latents], pictures, verdict, offset, rng), **shared,
        )  # fmt: skip
    placed = scores[:, :2].copy()
    placed[5:9] = np.nan
    return Components(
        method=method, names=(f"{method}_1", f"{method}_2"), scores=placed, mean=mean.astype(np.float32),
        cluster=cluster, cluster_means=means, **shared,
    )  # fmt: skip


def angles(angle, latent, pictures, verdict, offset, rng) -> Angles:
    """Return what an autoencoder might say of patches of these angles."""
    count = len(angle)
    variant = (angle > 0).astype(np.int32)
    moved = rng.normal(0, 0.2, (count, 2))
    rows = 5 if latent.shape[1] > 1 else min(latent.shape[1], 1)
    manifold = np.stack([pictures[:5] * (1 + 0.1 * k) for k in range(rows)]) if rows else pictures[None, :1]
    good = verdict == "good"
    return Angles(
        angle_deg=np.degrees(angle),
        sigma_deg=np.full(count, 5.0),
        variant=variant,
        posterior=np.clip(np.eye(2)[variant], 0.02, 0.98),
        variant_deg=np.array([-135.0, 45.0]),
        dipole_px=1.1 * np.stack([-np.sin(angle), np.cos(angle)], axis=1),
        dipole_sigma_px=np.full((count, 2), 0.08),
        offset_px=moved if offset else None,
        offset_sigma_px=np.full((count, 2), 0.05) if offset else None,
        latent=latent,
        latent_sigma=np.full_like(latent, 0.1),
        registered=True,
        sense=1,
        zero_deg=12.0,
        wheel=pictures.astype(np.float32),
        manifold=manifold.astype(np.float32),
        diagnosis={"spread_deg": 90.0, "leak_r2": 0.05},
        verdict=verdict,
        remedy="" if good else "use a smaller window, or give more patches",
        history=tuple(
            {"epoch": float(k), "loss": 10.0 / (k + 1), "reconstruction": 9.0 / (k + 1), "divergence": 1.0}
            for k in range(6)
        ),
    )

"""An aligned image on disk and in words: the image with its record, sigma and picture, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.alignment import AlignedFrame, Alignment
from dipolar.core.atomic import beside, cannot_write, sync
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import OutputError
from dipolar.core.nouns import Image, Record
from dipolar.io import sha256_of
from dipolar.recipes.simulate import write_image
from dipolar.report.alignment import write_alignment_figure

FORMAT = "dipolar alignment"


def check_target(out: str | Path | None, frames: Sequence[str | Path]) -> Path:
    """Return the file that the image shall go to, if it can.

    Parameters
    ----------
    out
        A name that ends in .tif; None: NAME-aligned.tif in the current folder, NAME that of the first file.
    frames
        Files that are read: none of them is written over.

    Raises
    ------
    OutputError
        If the name does not end in .tif, or if there is a file of that name, or of one beside it, that dipolar did
        not write.
    """
    path = Path(out) if out is not None else Path(f"{Path(frames[0]).stem if frames else 'frames'}-aligned.tif")
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise OutputError(
            "the aligned image is a 32-bit TIFF file.",
            got=str(path),
            do=f"--out {path.with_suffix('.tif') if path.suffix else path.name + '.tif'}",
        )
    read = {Path(frame).resolve() for frame in frames if isinstance(frame, (str, Path))}
    if read & {part.resolve() for part in files_beside(path).values()}:
        raise OutputError(
            "a frame that is read is not written over.", got=str(path), do="choose another name with --out"
        )
    there = [part for part in files_beside(path).values() if part.exists()]
    if there and (foreign := _foreign(path)):
        raise OutputError(
            "only an image that dipolar aligned is replaced.",
            got=f"{', '.join(str(part) for part in foreign)}: there already, and not made by dipolar, or changed since",
            do="choose another name with --out, or move it away",
        )
    return path


def files_beside(path: Path) -> dict[str, Path]:
    """Return what is written for an image of that name: the image, its sigma and coverage, the picture, the record."""
    endings = {"image": path.suffix, "sigma": ".sigma.tif", "coverage": ".coverage.tif", "figure": ".png"}
    return {name: path.with_name(path.stem + ending) for name, ending in (endings | {"record": ".json"}).items()}


def _foreign(path: Path) -> list[Path]:
    """Return what is there and is not as the record beside it says that dipolar wrote it."""
    files = files_beside(path)
    try:
        content = json.loads(files["record"].read_text(encoding="utf-8"))
        sums = content["sha256"] if content["format"] == FORMAT else {}
        return [
            part
            for name, part in files.items()
            if part.exists() and (name != "record" or not sums) and sums.get(name) != sha256_of(part)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [part for part in files.values() if part.exists()]


def write_alignment(result: Alignment, out: str | Path, *, record: Record, progress: Progress = silent) -> Path:
    """Write the aligned image and what belongs to it, all or nothing, and return the path of the image.

    Beside ``NAME.tif`` (32-bit, pixel size as ImageJ writes it, nan where too few frames looked) these are written:
    ``NAME.sigma.tif`` and ``NAME.coverage.tif`` of the same shape, ``NAME.png`` and ``NAME.json``.

    Parameters
    ----------
    result
        What `align_images` returned.
    out
        The image; what dipolar wrote there before is replaced.
    record
        What `align_images` returned with it.
    progress
        Told how far the writing has come.

    Raises
    ------
    OutputError
        If it cannot be written; nothing is left behind then.
    """
    path = check_target(out, [])
    progress("writing", 0.0)
    targets = files_beside(path)
    parts = {name: beside(target) for name, target in targets.items()}
    parts = {name: part.with_name(part.name + targets[name].suffix) for name, part in parts.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, data in (("image", result.image.data), ("sigma", result.sigma), ("coverage", result.coverage)):
            write_image(Image(data=data, pixel_size_pm=result.image.pixel_size_pm), parts[name])
        write_alignment_figure(result, parts["figure"])
        sums = {name: sha256_of(part) for name, part in parts.items() if name != "record"}
        content = {"format": FORMAT, **_record(record), **overview_of(result, rows=True), "sha256": sums}
        text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
        parts["record"].write_text(text + "\n", encoding="utf-8")
        for part in parts.values():
            sync(part)
        for name in sorted(parts, key=lambda name: name == "image"):  # the image last: with it, all is there
            parts[name].replace(targets[name])
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    progress("writing", 1.0)
    return path


def _record(record: Record) -> dict[str, Any]:
    names = ("settings", "versions", "inputs", "timings_s", "created", "notes")
    return {name: getattr(record, name) for name in names}


def overview_of(result: Alignment, *, rows: bool = False) -> dict[str, Any]:
    """Return what became of the frames as plain values; `rows`: with the offset of every row."""
    seen = np.isfinite(result.image.data)
    return {
        "frames": [_frame(frame, rows=rows) for frame in result.frames],
        "kept": len(result.kept),
        "dropped": dict(result.dropped),
        "shape_px": list(result.image.data.shape),
        "pixel_size_pm": result.image.pixel_size_pm,
        "origin_px": result.origin_px.tolist(),
        "row_jitter_px": list(result.row_jitter_px),
        "drift_step_px": list(result.drift_step_px),
        "frame_drift_px": list(result.frame_drift_px),
        "lattice_px": result.lattice_px.tolist(),
        "residual_rms_px": result.residual_rms,
        "place_margin": result.place_margin,
        "covered_share": float(np.mean(seen)),
        "median_sigma": float(np.nanmedian(result.sigma)) if seen.any() else float("nan"),
    }


def _frame(frame: AlignedFrame, *, rows: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": frame.name,
        "scan_angle_deg": frame.scan_angle_deg,
        "shift_px": frame.shift_px.tolist(),
        "shift_sigma_px": frame.shift_sigma_px.tolist(),
        "correlation": frame.correlation,
        "contrast": frame.contrast,
        "lattice_margin": frame.lattice_margin,
        "dropped": frame.dropped,
    }
    if rows and not frame.dropped:
        found["row_offset_px"] = np.round(frame.row_offset_px, 4).tolist()
        found["row_sigma_px"] = np.round(frame.row_sigma_px, 4).tolist()
    return found


def _plain(value: Any) -> Any:
    """Return values as JSON knows them: null where a number is not finite."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def headline_of(result: Alignment) -> list[str]:
    """Return what was found, in a few lines."""
    shifts = np.array([frame.shift_px for frame in result.kept])
    reach = float(np.linalg.norm(shifts[:, None] - shifts[None], axis=-1).max())
    tall, wide = result.image.data.shape
    lines = [
        f"{len(result.kept)} of {len(result.frames)} frames averaged, {tall} × {wide} px",
        f"largest shift between two frames: {reach:.1f} px",
    ]
    moved = max(float(np.nanmax(np.abs(frame.row_offset_px))) for frame in result.kept)
    lines.append(f"rows moved within their frames by up to {moved:.1f} px")
    jitter = result.row_jitter_px
    if np.isfinite(jitter).all():
        lines[-1] += f", by drift and by a jitter of {jitter[0]:.2f} px in y, {jitter[1]:.2f} px in x"
    return lines

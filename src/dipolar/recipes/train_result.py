"""A trained model on disk and in words: tensors and card, the picture of its training, every validation, ONNX if asked.

Beside ``NAME.safetensors`` stand ``NAME.json`` (the card), ``NAME.png``, ``NAME.metrics.jsonl`` and, where asked for,
``NAME.onnx``, or ``NAME-0.onnx``, ``NAME-1.onnx``, ... of an ensemble. Checkpoints are in ``NAME.training`` while it
learns.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dipolar.core.atomic import beside, cannot_write, sha256_of, sync
from dipolar.core.contracts import Progress, silent
from dipolar.core.errors import MissingExtraError, OutputError
from dipolar.learn.calibration import coverage, reliability
from dipolar.learn.checkpoint import METRICS, NAME
from dipolar.learn.exam import possible_errors
from dipolar.learn.json_text import to_json
from dipolar.learn.model_file import FORMAT, model_paths
from dipolar.learn.networks import plain
from dipolar.learn.onnx_export import export_onnx
from dipolar.learn.predictor import Model
from dipolar.learn.store import write_model
from dipolar.recipes.train import TrainedModel
from dipolar.report.training_sheet import training_sheet

OTHER_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib", ".h5", ".hdf5", ".keras", ".onnx")
"""Endings of models of other programs, which ours is not."""
ANOTHER = "choose another name with --out, or move it away"


def check_target(out: str | Path, *, images: Sequence[object] = (), onnx: bool = False, members: int = 1) -> Path:
    """Return the file that the tensors shall go to, if they can: a long training should not fail on its last line.

    Parameters
    ----------
    out
        ``NAME`` or ``NAME.safetensors``.
    images
        What is read: no file of these is written over.
    onnx
        Whether ONNX files are wanted.
    members
        Number of networks.

    Raises
    ------
    OutputError
        If the name is that of another kind of file or of a folder, something there was not written by dipolar, or the
        folder cannot be written to.
    MissingExtraError
        If ONNX is wanted and not installed.
    """
    out = Path(out)
    if out.suffix.lower() in OTHER_SUFFIXES or not out.name:
        raise OutputError(
            "a model of dipolar is two files, NAME.safetensors and NAME.json; it writes no other kind.",
            got=str(out),
            do=f"--out {out.with_suffix('.safetensors') if out.name else out / 'model.safetensors'}",
        )
    path, card = model_paths(out)
    wanted = [path, card, *files_beside(path).values(), *(onnx_paths(path, members) if onnx else [])]
    for folder in (part for part in {out, *wanted} if part.is_dir()):
        raise OutputError("a model is written as files.", got=f"{folder} is a folder", do=ANOTHER)
    work = work_folder(path)
    if work.exists() and not work.is_dir():
        raise OutputError("checkpoints go into a folder while a network learns.", got=f"{work} is a file", do=ANOTHER)
    read = {Path(one).resolve() for one in images if isinstance(one, (str, Path))}
    if read & {part.resolve() for part in wanted}:
        raise OutputError("what is read is not written over.", got=str(path), do="choose another name with --out")
    _check_ours(card, wanted)
    _check_writable(path)
    for module in ("onnx", "onnxscript") if onnx else ():
        if find_spec(module) is None:
            raise MissingExtraError(
                "ONNX files are written through a package that is not installed.",
                got=f"no {module}",
                do="pip install dipolar[onnx]",
            )
    return path


def _check_ours(card: Path, wanted: Sequence[Path]) -> None:
    """Check that what is there may be replaced: a model of dipolar, and the ONNX files that its card names."""
    known = _card_on_disk(card)
    exported = dict(known.get("training", {}).get("onnx", {})) if known else {}
    foreign = [
        part
        for part in wanted
        if part.exists() and (not known or (part.suffix == ".onnx" and part.name not in exported))
    ]
    if foreign:
        raise OutputError(
            "only a model that dipolar trained is replaced.",
            got=f"{', '.join(str(part) for part in foreign)}: there already, and no part of a model of dipolar",
            do=ANOTHER,
        )


def _card_on_disk(path: Path) -> dict[str, Any]:
    """Return what a card says, nothing where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("format") == FORMAT else {}


def _check_writable(path: Path) -> None:
    above = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error


def files_beside(path: Path) -> dict[str, Path]:
    """Return the picture and the metrics that belong to the tensors at a path."""
    return {"figure": path.with_suffix(".png"), "metrics": path.with_suffix(".metrics.jsonl")}


def onnx_paths(path: Path, members: int) -> list[Path]:
    """Return the ONNX file of each member, numbered as its tensors are."""
    names = [f"{path.stem}-{n}.onnx" for n in range(members)] if members > 1 else [f"{path.stem}.onnx"]
    return [path.with_name(name) for name in names]


def work_folder(path: Path) -> Path:
    """Return the folder of checkpoints beside the tensors at a path."""
    return path.with_suffix(".training")


def remove_checkpoints(work: Path) -> None:
    """Remove the checkpoints of a training that is done, and their folders where nothing else is in them."""
    for folder in sorted(work.glob("member-*")):
        for name in (NAME, METRICS):
            (folder / name).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()


def write_trained(result: TrainedModel, out: str | Path, *, onnx: bool = False, progress: Progress = silent) -> Path:
    """Write a model and what belongs to it, and return the path of its tensors.

    All that can fail is made first under hidden names; then tensors and card are put in place, then the rest.

    Parameters
    ----------
    result
        What `dipolar.train_on_image` returned.
    out
        ``NAME`` or ``NAME.safetensors``; a model of dipolar that was there before is replaced.
    onnx
        Whether each network is written as ONNX too, proved equal; the card keeps the largest difference.
    progress
        Told how far the writing has come.

    Raises
    ------
    OutputError
        If something cannot be written, or is there and not dipolar's.
    MissingExtraError
        If ONNX is wanted and not installed.
    """
    model = result.model
    path = check_target(out, onnx=onnx, members=len(model.networks))
    before = dict(_card_on_disk(model_paths(path)[1]).get("training", {}).get("onnx", {}))
    progress("writing the model", 0.0)
    parts: dict[Path, Path] = {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if onnx:
            model = _export(model, path, parts, progress)
        for name, target in files_beside(path).items():
            parts[target] = beside(target)
            made = _figure(result, path.stem) if name == "figure" else _metrics(result).encode()
            parts[target].write_bytes(made)
        progress("writing the model", 0.9)
        write_model(model, path)
        for target, part in parts.items():
            sync(part)
            part.replace(target)
        for target in (path.with_name(name) for name in before if path.with_name(name) not in parts):
            if target.is_file() and sha256_of(target) == before[target.name]["sha256"]:
                target.unlink()  # of the model that was replaced: it would say something else than the tensors
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    progress("writing the model", 1.0)
    return path


def _export(model: Model, path: Path, parts: dict[Path, Path], progress: Progress) -> Model:
    """Write every network as ONNX under a hidden name; return the model with sums and differences on its card."""
    exported = {}
    targets = onnx_paths(path, len(model.networks))
    for number, (network, target) in enumerate(zip(model.networks, targets, strict=True)):
        parts[target] = beside(target)
        difference = export_onnx(plain(network), parts[target])
        exported[target.name] = {"sha256": sha256_of(parts[target]), "largest_difference": difference}
        progress("writing the model", 0.8 * (number + 1) / len(targets))
    return replace(model, card=replace(model.card, training={**model.card.training, "onnx": exported}))


def _records(result: TrainedModel) -> list[dict[str, Any]]:
    return [{"member": number, **row} for number, one in enumerate(result.trained) for row in one.history]


def _metrics(result: TrainedModel) -> str:
    return "".join(f"{to_json(row)}\n" for row in _records(result))


def _figure(result: TrainedModel, name: str) -> bytes:
    """Return the picture of the training, and of the test where displacement was tested."""
    answers = result.answers
    if answers is None:
        return training_sheet(_records(result), name=name)
    unit = "px" if result.pixel_size_pm is None else "pm"
    scale = (1.0 if result.pixel_size_pm is None else result.pixel_size_pm) / answers.scale
    calibration, sigmas = result.model.calibration, {"recalibrated": scale * answers.sigma}
    quantiles = None if calibration is None else dict(calibration.quantiles)
    if calibration is not None:
        own = np.sqrt(np.maximum((answers.sigma / calibration.scale) ** 2 - calibration.floor**2, 0.0))
        sigmas = {"as trained": scale * own, **sigmas}
    size = scale * np.hypot(answers.error, answers.truth_sigma)
    possible = scale * possible_errors(answers.error, answers.truth_sigma)
    return training_sheet(
        _records(result),
        predicted=scale * answers.values[:, :2],
        measured=scale * answers.truth[:, :2],
        reliability={words: reliability(size, sigma) for words, sigma in sigmas.items()},
        coverage={
            words: coverage(
                possible,
                np.broadcast_to(sigma[..., None], possible.shape),
                quantiles=quantiles if words == "recalibrated" else None,
            )
            for words, sigma in sigmas.items()
        },
        unit=unit,
        name=name,
    )

"""Networks for other programs: ONNX, proved equal to what PyTorch says."""

from __future__ import annotations

import importlib
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dipolar.core.atomic import atomic_file
from dipolar.core.errors import MissingExtraError, OutputError

TOLERANCE = 1e-4
"""Largest difference from PyTorch that is let pass, as a share of the largest output, or of 1 if that is more."""


def export_onnx(
    network: nn.Module, path: str | Path, *, example: Float[Tensor, "batch channel y x"] | None = None
) -> float:
    """Return the largest difference between what ONNX and PyTorch say, after writing the network as ONNX.

    Batch, height and width stay free: the comparison is made on the example, and on one that is twice as high and wide.

    Parameters
    ----------
    network
        Fully convolutional; one tensor in, one or a tuple of tensors out. It is left as it is.
    path
        File to write, whole or not at all.
    example
        An input such as the network is for; None: noise of 96 × 96 px, one channel.

    Returns
    -------
    float
        In the units of the outputs; nan where onnxruntime is not installed, and nothing was compared.

    Raises
    ------
    MissingExtraError
        If onnx or onnxscript are not installed.
    OutputError
        If the file cannot be written, or says something else than the network.
    """
    for module in ("onnx", "onnxscript"):
        _extra(module)
    network = deepcopy(network).cpu().eval()
    if example is None:
        example = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 96, 96)).astype(np.float32))
    example = example.detach().cpu()
    with atomic_file(Path(path)) as part:
        _write(network, part, example)
        return _difference(network, part, example)


def _write(network: nn.Module, path: Path, example: Tensor) -> None:
    pieces = example if example.shape[0] > 1 else torch.cat([example, example])  # a batch of 1 would be taken as fixed
    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim("y"), 3: torch.export.Dim("x")}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (pieces,),
            dynamo=True,
            dynamic_shapes=(free,),
            input_names=["image"],
            external_data=False,
            verbose=False,
        )
        assert program is not None
        program.save(path)


def _difference(network: nn.Module, path: Path, example: Tensor) -> float:
    try:
        runtime = _extra("onnxruntime")
    except MissingExtraError:
        return math.nan
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    largest = 0.0
    for pixels in (example, example[:1].tile(1, 1, 2, 2)):
        with torch.no_grad():
            wanted = network(pixels)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        found = session.run(None, {"image": pixels.numpy()})
        for there, here in zip(found, wanted, strict=True):
            difference = float(np.abs(there - here.numpy()).max())
            if not difference <= TOLERANCE * max(float(here.abs().max()), 1.0):
                raise OutputError(
                    "the ONNX file must say what the network says",
                    got=f"a difference of {difference:g} in outputs of up to {float(here.abs().max()):g}",
                    do="pip install --upgrade onnx onnxscript onnxruntime",
                )
            largest = max(largest, difference)
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter mutters about its own future and about packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _extra(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"networks are written as ONNX through {module}, which is not installed",
            got=str(error),
            do="pip install dipolar[onnx]",
        ) from error

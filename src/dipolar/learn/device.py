"""Where networks run: GPU or CPU, and on how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dipolar.core.errors import SettingsError

Device = Literal["auto", "cpu", "cuda"]
"""Where to run; ``auto`` takes a GPU where there is one."""


def pick_device(wanted: Device = "auto") -> torch.device:
    """Return the device to run on.

    Raises
    ------
    SettingsError
        If a GPU was asked for and PyTorch finds none.
    """
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise SettingsError(
            "a GPU was asked for, and PyTorch must find it.",
            got=f"PyTorch {torch.__version__} finds none",
            do='device="auto", or a PyTorch built for the GPU (pytorch.org, Get Started)',
        )
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


def on_device(device: torch.device, part: np.ndarray | Tensor) -> Tensor:
    """Return a tensor on the device; 64-bit floats become 32-bit ones."""
    tensor = part if isinstance(part, Tensor) else torch.from_numpy(np.require(part, requirements=["C", "W"]))
    return tensor.to(device, torch.float32 if tensor.dtype == torch.float64 else tensor.dtype)


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Let PyTorch use so many threads of the CPU while the block runs; None leaves it alone.

    Raises
    ------
    SettingsError
        If the number is not positive.
    """
    if number is None:
        yield
        return
    if number < 1:
        raise SettingsError("the number of threads must be at least 1.", got=str(number), do="threads=1")
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

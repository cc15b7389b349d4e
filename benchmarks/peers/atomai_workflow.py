"""AtomAI's rVAE on one stack of patches, epoch by epoch; runs in AtomAI's own environment.

As in its documentation ("Variational autoencoders"), with the choices a user has on the command line. Training is
called one cycle at a time, which goes on with the same optimiser, so that the angle can be read after each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.process import cost, peak_memory_mb


def main() -> None:
    """Read the stack, train, write the angle of every patch after every epoch, print costs as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stack", type=Path, help=".npy file, (patch, y, x)")
    parser.add_argument("out", type=Path, help=".npy file for angles in rad, (epoch, patch)")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate of Adam; AtomAI's default is 1e-4")
    parser.add_argument("--batch", type=int, default=32, help="AtomAI's default is 32")
    parser.add_argument("--prior", type=float, default=0.1, help="of the angle, in rad; AtomAI's default is 0.1")
    parser.add_argument("--latents", type=int, default=2, help="AtomAI's default is 2")
    parser.add_argument("--translation", action="store_true")
    parser.add_argument("--convolutions", action="store_true", help="the published encoder")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    real_out, sys.stdout = sys.stdout, sys.stderr  # it prints every epoch
    with cost() as imports:
        torch = import_torch()
        import atomai as aoi
        import numpy as np
    torch.set_num_threads(1)
    stack = np.load(options.stack)
    model = aoi.models.rVAE(
        stack.shape[1:],
        latent_dim=options.latents,
        translation=options.translation,
        seed=options.seed,
        conv_encoder=options.convolutions,
    )
    angles, seconds, losses = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.epochs):
            with cost() as epoch:
                model.fit(
                    stack,
                    optimizer=lambda weights: torch.optim.Adam(weights, lr=options.rate),
                    training_cycles=1,
                    batch_size=options.batch,
                    rotation_prior=options.prior,
                    filename=str(Path(folder) / "model"),
                )
            seconds.append(epoch.cpu_s)
            losses.append(float(model.loss_history["train_loss"][-1]))
            angles.append(model.encode(stack)[0][:, 0])
            np.save(options.out, np.array(angles))
    sys.stdout = real_out
    print(
        json.dumps(
            {
                "import_cpu_s": imports.cpu_s,
                "epoch_cpu_s": seconds,
                "loss": losses,
                "peak_mb": peak_memory_mb(),
                "versions": {name: version(name) for name in ("atomai", "torch", "numpy")},
            }
        )
    )


def import_torch() -> Any:
    """Import torch, and a stand-in for torchvision where its build does not fit torch's: the rVAE uses none of it."""
    import torch

    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        for name, uses in {"": (), "models": ("mobilenet_v2", "resnet50", "vgg16"), "utils": ("make_grid",)}.items():
            stand_in = ModuleType(f"torchvision.{name}".rstrip("."))
            for use in uses:
                setattr(stand_in, use, None)
            sys.modules[stand_in.__name__] = stand_in
    return torch


if __name__ == "__main__":
    main()

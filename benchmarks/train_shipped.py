"""Train the models that come with dipolar; a training that was interrupted goes on where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import dipolar
from dipolar.cli.show import progress_bars
from dipolar.learn.store import read_model, write_model
from dipolar.recipes.shipped import Course, train_finder, train_regressor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("finder", "regressor"))
    parser.add_argument("--films", type=int, default=2500, help="training images")
    parser.add_argument("--finder-steps", type=int, default=5000, help="batches for the finder")
    parser.add_argument("--steps", type=int, default=5000, help="batches for each regressor")
    parser.add_argument("--batch", type=int, default=16, help="crops in a batch")
    parser.add_argument("--crop-px", type=int, default=256, help="edge of the crops")
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate the training images")
    parser.add_argument("--members", type=int, default=2, help="regressors in the ensemble")
    parser.add_argument("--work", type=Path, default=Path("models"), help="folder of checkpoints and metrics")
    parser.add_argument("--out", type=Path, default=Path(dipolar.__file__).parent / "learn" / "shipped")
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # so that the same command gives the same weights on every machine
    chosen.out.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        for kind in ("finder", "regressor") if chosen.only is None else (chosen.only,):
            work = chosen.work / kind
            steps = chosen.finder_steps if kind == "finder" else chosen.steps
            course = Course(
                films=chosen.films, steps=steps, batch=chosen.batch, crop_px=chosen.crop_px, workers=chosen.workers
            )
            if kind == "finder":
                model = train_finder(work, course, progress=progress)
            else:
                finder = read_model(chosen.out / "finder.safetensors")
                model = train_regressor(finder, work, course, members=chosen.members, progress=progress)
            model = write_model(model, chosen.out / f"{kind}.safetensors")
            print(kind, dict(model.card.metrics))


if __name__ == "__main__":
    main()

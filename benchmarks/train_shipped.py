"""Train the models that come with dipolar; a training that was interrupted goes on where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import dipolar
from dipolar.cli.show import progress_bars
from dipolar.learn.store import read_model, write_model
from dipolar.recipes.shipped import train_finder, train_regressor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("finder", "regressor"))
    parser.add_argument("--films", type=int, default=400, help="training images")
    parser.add_argument("--finder-steps", type=int, default=9000, help="batches for the finder")
    parser.add_argument("--steps", type=int, default=4000, help="batches for each regressor")
    parser.add_argument("--members", type=int, default=2, help="regressors in the ensemble")
    parser.add_argument("--work", type=Path, default=Path("models"), help="folder of checkpoints and metrics")
    parser.add_argument("--out", type=Path, default=Path(dipolar.__file__).parent / "learn" / "shipped")
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # so that the same command gives the same weights on every machine
    chosen.out.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        for kind in ("finder", "regressor") if chosen.only is None else (chosen.only,):
            work = chosen.work / kind
            if kind == "finder":
                model = train_finder(work, count=chosen.films, steps=chosen.finder_steps, progress=progress)
            else:
                finder = read_model(chosen.out / "finder.safetensors")
                model = train_regressor(
                    finder, work, count=chosen.films, steps=chosen.steps, members=chosen.members, progress=progress
                )
            model = write_model(model, chosen.out / f"{kind}.safetensors")
            print(kind, dict(model.card.metrics))


if __name__ == "__main__":
    main()

"""Train the networks that tell what a tilted beam fakes, one ensemble for each material; interrupted, it goes on."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import dipolar
from dipolar.cli.show import progress_bars
from dipolar.learn.tilt_network_data import draws_of
from dipolar.learn.tilt_network_file import write_tilt_model
from dipolar.learn.tilt_network_training import TiltCourse, examined, train_tilt
from dipolar.recipes.record import now, versions
from dipolar.recipes.tilt_library_shipped import library_for

EXAM = 99
"""Part of the seed of regions that no network was trained or calibrated on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("materials", nargs="*", default=["bfo", "sto"], help="of a library that comes along, or a path")
    parser.add_argument("--draws", type=int, default=TiltCourse().draws, help="regions to learn from")
    parser.add_argument("--exam", type=int, default=6000, help="regions to examine it on")
    parser.add_argument("--steps", type=int, default=TiltCourse().steps, help="batches for each network")
    parser.add_argument("--members", type=int, default=TiltCourse().members, help="networks in an ensemble")
    parser.add_argument("--work", type=Path, default=Path("models"), help="folder of checkpoints and metrics")
    parser.add_argument("--out", type=Path, default=Path(dipolar.__file__).parent / "learn" / "shipped")
    chosen = parser.parse_args()
    torch.set_num_threads(1)  # so that the same command gives the same weights on every machine
    chosen.out.mkdir(parents=True, exist_ok=True)
    course = TiltCourse(draws=chosen.draws, steps=chosen.steps, members=chosen.members)
    with progress_bars() as progress:
        for material in chosen.materials:
            library = library_for(material)
            name = f"tilt_{library.material}"
            model = train_tilt(library, course, work=chosen.work / name, progress=progress)
            others = draws_of(library, chosen.exam, np.random.default_rng([course.seed, EXAM]))
            figures = examined(model, others)
            card = replace(model.card, metrics=figures, created=now(), versions=versions(networks=True))
            write_tilt_model(replace(model, card=card), chosen.out / name)
            for band, told in figures.items():
                print(name, band, {key: round(value, 2) for key, value in told.items()})


if __name__ == "__main__":
    main()

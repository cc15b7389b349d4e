"""py4DSTEM's documented disk detection and virtual images; runs in py4DSTEM's own environment.

As in its tutorials ("Disk detection", "Basics"): a probe, its cross-correlation kernel with a sigmoid trench, Bragg
disks in every pattern with the default options, and virtual images of a bright-field disk and an annulus. Centre and
radius of the direct beam, which a user finds with its tools on one pattern, are given.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from harness.process import Cost, cost, peak_memory_mb


def main() -> None:
    """Read the patterns, do the steps, print costs as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", type=Path, help=".npy file, (pattern, k_y, k_x)")
    parser.add_argument("--centre", type=float, nargs=2, required=True, help="(k_y, k_x) of the direct beam in px")
    parser.add_argument("--radius", type=float, required=True, help="of its disk in px")
    parser.add_argument("--disks", type=int, required=True, help="patterns in which disks are looked for")
    parser.add_argument("--images", type=int, required=True, help="patterns of which virtual images are made")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    real_out, sys.stdout = sys.stdout, sys.stderr  # it prints on its way
    with cost() as imports:
        import numpy as np
        import py4DSTEM
    patterns = np.load(options.patterns)
    edge = patterns.shape[1:]
    some = py4DSTEM.DataCube(data=patterns[: options.disks].reshape(-1, 1, *edge).copy())
    many = py4DSTEM.DataCube(data=patterns[: options.images].reshape(-1, 1, *edge).copy())
    first = py4DSTEM.DataCube(data=patterns[:1].reshape(1, 1, *edge).copy())
    centre, radius = tuple(options.centre), options.radius
    rows, columns = np.indices(edge)
    # a vacuum probe: the direct beam's disk by itself, as it is without a specimen
    disk = np.clip(radius + 0.5 - np.hypot(rows - centre[0], columns - centre[1]), 0.0, 1.0)
    bright_field = {"mode": "circle", "geometry": (centre, 1.1 * radius), "name": "bright field"}
    dark_field = {
        "mode": "annulus",
        "geometry": (centre, (1.1 * radius, min(edge) / 2 - 1)),
        "name": "dark field",
    }
    with quiet():
        with cost() as kernel:
            probe = py4DSTEM.Probe(disk)
            probe.get_kernel(mode="sigmoid", origin=centre, radii=(radius, 4 * radius))
        first.find_Bragg_disks(template=probe.kernel)  # what it does only once is not charged
        first.get_virtual_image(**bright_field)
        with cost() as found:
            disks = some.find_Bragg_disks(template=probe.kernel)
        with cost() as bright:
            many.get_virtual_image(**bright_field)
        with cost() as dark:
            many.get_virtual_image(**dark_field)
    steps = {
        "disk detection": told(found, options.disks),
        "one virtual image, bright field": told(bright, options.images),
        "one virtual image, annular dark field": told(dark, options.images),
    }
    sys.stdout = real_out
    print(
        json.dumps(
            {
                "import_cpu_s": imports.cpu_s,
                "kernel_cpu_s": kernel.cpu_s,
                "steps": steps,
                "disks": float(np.mean([len(disks.raw[row, 0].data) for row in range(options.disks)])),
                "peak_mb": peak_memory_mb(),
                "versions": {name: version(name) for name in ("py4DSTEM", "numpy", "scipy")},
            }
        )
    )


def told(spent: Cost, patterns: int) -> dict[str, float]:
    """Return a cost as plain values."""
    return {"wall_s": spent.wall_s, "cpu_s": spent.cpu_s, "patterns": patterns}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Take its progress bars away."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


if __name__ == "__main__":
    main()

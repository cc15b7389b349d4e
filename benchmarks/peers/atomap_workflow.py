"""Atomap's documented workflow on one image, from pixels to polarization vectors; runs in Atomap's own environment.

Finds A columns, refines them by centre of mass and 2-D Gaussian, builds the zone axes, takes A out of the image, places
B half way along the diagonal, refines it likewise, and asks for the polarization of B in the cage of A. These are the
steps of the tutorials "Finding the atom lattice, images with more than one sublattice" and "Polarization" with their
default options; the one number a user has to find, the separation of the A columns, is given.
"""

from __future__ import annotations

import argparse
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.process import Cost, cost, peak_memory_mb


def main() -> None:
    """Read the image, run the workflow, write the vectors, print costs as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path, help=".npy file")
    parser.add_argument("out", type=Path, help=".npy file for rows (x, y, dx, dy) in px")
    parser.add_argument("--separation", type=float, required=True, help="least distance of A columns in px")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with cost() as imports:
        import atomap.api  # noqa: F401  so that its import is not charged to the workflow
        import numpy as np
    image = np.load(options.image).astype(np.float64)
    stages: dict[str, Cost] = {}
    vectors = workflow(image, options.separation, stages)
    np.save(options.out, np.array(vectors, dtype=float).reshape(-1, 4))
    print(
        json.dumps(
            {
                "import_cpu_s": imports.cpu_s,
                "cpu_s": sum(stage.cpu_s for stage in stages.values()),
                "wall_s": sum(stage.wall_s for stage in stages.values()),
                "stages_cpu_s": {name: stage.cpu_s for name, stage in stages.items()},
                "peak_mb": peak_memory_mb(),
                "versions": {name: version(name) for name in ("atomap", "hyperspy", "numpy", "scipy")},
            }
        )
    )


def workflow(image: Any, separation: float, stages: dict[str, Cost]) -> list[tuple[float, ...]]:
    """Return polarization vectors (x, y, dx, dy): cage centre, and cage centre minus B; note each stage's cost."""
    import atomap.api as am
    import hyperspy.api as hs
    from atomap.tools import remove_atoms_from_image_using_2d_gaussian

    signal = hs.signals.Signal2D(image)
    with cost() as stages["find A"]:
        sublattice_a = am.Sublattice(am.get_atom_positions(signal, separation=separation), image=signal.data)
        sublattice_a.find_nearest_neighbors()
    with cost() as stages["refine A"]:
        sublattice_a.refine_atom_positions_using_center_of_mass(show_progressbar=False)
        sublattice_a.refine_atom_positions_using_2d_gaussian(show_progressbar=False)
    with cost() as stages["zone axes A"]:
        sublattice_a.construct_zone_axes()
    with cost() as stages["find B"]:
        edge_0, edge_1 = sublattice_a.zones_axis_average_distances[:2]
        sites = sublattice_a.find_missing_atoms_from_zone_vector(diagonal(sublattice_a, edge_0, edge_1))
        without_a = remove_atoms_from_image_using_2d_gaussian(sublattice_a.image, sublattice_a, show_progressbar=False)
        sublattice_b = am.Sublattice(sites, image=without_a)
    with cost() as stages["zone axes B"]:
        sublattice_b.construct_zone_axes()
    with cost() as stages["refine B"]:
        sublattice_b.refine_atom_positions_using_center_of_mass(show_progressbar=False)
        sublattice_b.refine_atom_positions_using_2d_gaussian(show_progressbar=False)
    with cost() as stages["polarization"]:
        found = sublattice_a.get_polarization_from_second_sublattice(edge_0, edge_1, sublattice_b)
    return found.metadata.vector_list


def diagonal(sublattice: Any, edge_0: tuple[float, float], edge_1: tuple[float, float]) -> Any:
    """Return the zone axis nearest to a diagonal of the cell: what a user picks from the plot of planes."""
    wanted = [(edge_0[0] + sign * edge_1[0], edge_0[1] + sign * edge_1[1]) for sign in (1, -1)]
    wanted += [(-x, -y) for x, y in wanted]
    axes = sublattice.zones_axis_average_distances
    return min(axes, key=lambda axis: min((axis[0] - x) ** 2 + (axis[1] - y) ** 2 for x, y in wanted))


if __name__ == "__main__":
    main()

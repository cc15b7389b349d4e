"""abTEM on our own slices, and with its frozen phonons; runs in abTEM's own environment.

waves     exit waves of a plane wave after every slice, for the phases of our slices
phonons   annular dark field at given places of the probe, mean over frozen phonons
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

from harness.process import cost, peak_memory_mb


def waves(given: dict, out: Path) -> None:
    """Send a plane wave through our slices and keep what leaves each."""
    import abtem
    import numpy as np
    from abtem.core.energy import energy2sigma

    energy = float(given["voltage_kv"]) * 1e3
    abtem.config.set({"precision": "float32", "antialias.taper": 1e-6})
    potential = abtem.PotentialArray(
        (given["phase"] / energy2sigma(energy)).astype(np.float32),
        slice_thickness=float(given["slice_pm"]) / 100.0,
        sampling=tuple(given["pixel_pm"] / 100.0),
        exit_planes=1,
    )
    found = abtem.PlaneWave(energy=energy).multislice(potential, lazy=False)
    np.savez(out, waves=found.array)


def phonons(given: dict, out: Path) -> None:
    """Scan a few places of a crystal with frozen phonons, all thicknesses at once."""
    import abtem
    import numpy as np
    from ase import Atoms

    abtem.config.set({"precision": "float32"})
    cells = int(given["cells"])
    cell = Atoms(
        given["symbols"].tolist(), positions=given["positions_pm"] / 100.0, cell=given["edges_pm"] / 100.0, pbc=True
    )
    crystal = cell * (cells, cells, int(given["periods"]))
    sigmas = {symbol: float(value) / 100.0 for symbol, value in zip(given["elements"], given["rms_pm"], strict=True)}
    frozen = abtem.FrozenPhonons(crystal, int(given["configurations"]), sigmas=sigmas, seed=int(given["seed"]))
    per_exit = int(given["slices_per_exit"])
    potential = abtem.Potential(
        frozen, sampling=float(given["pixel_pm"]) / 100.0, slice_thickness=float(given["slice_pm"]) / 100.0,
        parametrization="lobato", exit_planes=per_exit,
    )  # fmt: skip
    probe = abtem.Probe(energy=float(given["voltage_kv"]) * 1e3, semiangle_cutoff=float(given["convergence_mrad"]))
    detector = abtem.AnnularDetector(inner=float(given["inner_mrad"]), outer=float(given["outer_mrad"]))
    scan = abtem.CustomScan(given["places_pm"] / 100.0)
    probe.grid.match(potential)
    with cost() as spent:
        measured = probe.scan(potential, scan=scan, detectors=detector, lazy=False)
    np.savez(out, signal=np.asarray(measured.array), cpu_s=spent.cpu_s)


def main() -> None:
    """Read what is given, do it, print costs as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("waves", "phonons"))
    parser.add_argument("given", type=Path, help=".npz file of what is needed")
    parser.add_argument("out", type=Path, help=".npz file for what is found")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    real_out, sys.stdout = sys.stdout, sys.stderr  # it prints on its way
    import numpy as np

    given = dict(np.load(options.given))
    with cost() as spent:
        {"waves": waves, "phonons": phonons}[options.what](given, options.out)
    sys.stdout = real_out
    print(json.dumps({"version": version("abtem"), "cpu_s": spent.cpu_s, "peak_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main()

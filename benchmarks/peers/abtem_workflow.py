"""abTEM on our own slices, and with its frozen phonons; runs in abTEM's own environment.

waves     exit waves of a plane wave after every slice, for the phases of our slices
phonons   annular dark field at given places of the probe, mean over frozen phonons
tilted    the same of a crystal that leans against the beam, in a focus; another arrangement of frozen phonons for each
          few places of the probe, as in a microscope every electron meets its own
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


def tilted(given: dict, out: Path) -> None:
    """Scan places of a leaning crystal, all thicknesses at once.

    A crystal leans by moving each of its slices sideways, so that no convention for the sign of a tilt is needed.
    Arrangements of frozen phonons are drawn slice by slice from a stock of them.
    """
    import abtem
    import numpy as np
    from ase import Atoms

    abtem.config.set({"precision": "float32"})
    rng = np.random.default_rng(int(given["seed"]))
    stock, kinds, per_exit = int(given["stock"]), int(given["slices"]), int(given["slices_per_exit"])
    edges, symbols = given["edges_pm"] / 100.0, given["symbols"].tolist()
    crystal = Atoms(symbols, positions=given["positions_pm"] / 100.0, cell=edges, pbc=True) * (1, 1, stock)
    rms = dict(zip(given["elements"].tolist(), (given["rms_pm"] / 100.0).tolist(), strict=True))
    sigma = np.array([rms[symbol] for symbol in crystal.get_chemical_symbols()])
    crystal.positions += rng.normal(size=crystal.positions.shape) * sigma[:, None]
    crystal.wrap()
    built = abtem.Potential(
        crystal, sampling=float(given["pixel_pm"]) / 100.0, slice_thickness=edges[2] / kinds, parametrization="lobato"
    ).build(lazy=False)  # fmt: skip
    slices = np.fft.fft2(built.array.reshape(stock, kinds, *built.array.shape[-2:]))
    many = per_exit * int(given["exits"])
    k = [np.fft.fftfreq(number, edge / number) for number, edge in zip(slices.shape[-2:], edges[:2], strict=True)]
    # the beam walks by tilt * depth over the crystal: the crystal by as much the other way
    walk = 1e-3 * given["tilt_mrad"][:, None] * (np.arange(many) + 0.5) * edges[2] / kinds
    lean = [np.exp(2j * np.pi * np.outer(way, one)) for way, one in zip(walk, k, strict=True)]
    probe = abtem.Probe(
        energy=float(given["voltage_kv"]) * 1e3, semiangle_cutoff=float(given["convergence_mrad"]),
        defocus=float(given["focus_pm"]) / 100.0,
    )  # fmt: skip
    detector = abtem.AnnularDetector(inner=float(given["inner_mrad"]), outer=float(given["outer_mrad"]))
    places = given["places_pm"] / 100.0
    signal = np.zeros((len(places), int(given["exits"])), dtype=np.float32)
    order, together = rng.permutation(len(places)), int(given["together"])
    with cost() as spent:
        for start in range(0, len(order), together):
            some = order[start : start + together]
            drawn = slices[rng.integers(stock, size=many), np.arange(many) % kinds]
            array = np.fft.ifft2(drawn * lean[0][:, :, None] * lean[1][:, None, :]).real.astype(np.float32)
            potential = abtem.PotentialArray(
                array, slice_thickness=edges[2] / kinds, sampling=built.sampling, exit_planes=per_exit
            )
            probe.grid.match(potential)
            found = probe.scan(potential, scan=abtem.CustomScan(places[some]), detectors=detector, lazy=False)
            values = np.asarray(found.array)
            values = values if values.shape[0] == len(some) else values.T
            signal[some] = values[:, -int(given["exits"]) :]
    np.savez(out, signal=signal, cpu_s=spent.cpu_s)


def main() -> None:
    """Read what is given, do it, print costs as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("waves", "phonons", "tilted"))
    parser.add_argument("given", type=Path, help=".npz file of what is needed")
    parser.add_argument("out", type=Path, help=".npz file for what is found")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    real_out, sys.stdout = sys.stdout, sys.stderr  # it prints on its way
    import numpy as np

    given = dict(np.load(options.given))
    with cost() as spent:
        {"waves": waves, "phonons": phonons, "tilted": tilted}[options.what](given, options.out)
    sys.stdout = real_out
    print(json.dumps({"version": version("abtem"), "cpu_s": spent.cpu_s, "peak_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main()

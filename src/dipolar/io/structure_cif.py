"""The atoms of a structure file (CIF), all of the cell, with the thermal displacements it gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64

from dipolar.core.elements import SYMBOLS
from dipolar.core.errors import FormatError

if TYPE_CHECKING:
    import gemmi

SAME_ATOM_PM = 10.0
"""Like atoms closer than this are one."""
PM_PER_ANGSTROM = 100.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Atoms:
    """Atoms of one unit cell, as a file has them."""

    lattice_pm: Float[np.ndarray, "3 3"]
    """Cell vectors as rows."""
    fractional: Float[np.ndarray, "atom 3"]
    """Positions in shares of the cell vectors."""
    numbers: Int64[np.ndarray, " atom"]
    """Atomic numbers."""
    occupancy: Float[np.ndarray, " atom"]
    """Share of cells that have the atom."""
    rms_pm: Float[np.ndarray, " atom"]
    """Root mean square thermal displacement along one axis; nan where the file has none."""


def read_cif_atoms(path: Path) -> Atoms:
    """Return all atoms of the unit cell, symmetry applied.

    Raises
    ------
    FormatError
        If the file cannot be read, holds no structure, or names a symmetry that is none.
    """
    structure = _structure(path)
    sites, cell = structure.get_all_unit_cell_sites(), structure.cell
    if not sites or not cell.is_crystal():
        raise FormatError(
            "a unit cell with atoms was expected.",
            got=f"{path.name}: {len(sites)} atoms, cell {cell.a:g} × {cell.b:g} × {cell.c:g} Å",
            do="give a CIF of one crystal structure",
        )
    strange = sorted({site.label for site in sites if not 1 <= site.element.atomic_number <= len(SYMBOLS)})
    if strange:
        raise FormatError(
            "every atom must be of an element.",
            got=f"{path.name}: {', '.join(strange)}",
            do="name the elements in _atom_site_type_symbol, and take out what is no atom",
        )
    lattice = PM_PER_ANGSTROM * np.array(cell.orth.mat.tolist()).T
    fractional: list[Float[np.ndarray, "3"]] = []
    numbers: list[int] = []
    occupancy: list[float] = []
    rms: list[float] = []
    for site in sites:
        place = np.array(site.fract.tolist()) % 1.0
        for n, (known, number) in enumerate(zip(fractional, numbers, strict=True)):
            apart = np.linalg.norm(((place - known + 0.5) % 1.0 - 0.5) @ lattice)
            # some files list the atoms of the whole cell and the symmetry that makes them once more
            if number == site.element.atomic_number and apart < SAME_ATOM_PM:
                occupancy[n] = max(occupancy[n], site.occ)
                break
        else:
            fractional.append(place)
            numbers.append(site.element.atomic_number)
            occupancy.append(site.occ)
            rms.append(_rms_pm(site, lattice))
    return Atoms(
        lattice_pm=lattice,
        fractional=np.array(fractional),
        numbers=np.array(numbers, dtype=np.int64),
        occupancy=np.array(occupancy),
        rms_pm=np.array(rms),
    )


def _structure(path: Path) -> gemmi.SmallStructure:
    import gemmi

    try:
        structure = gemmi.read_small_structure(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise FormatError(
            "a structure file (CIF) was expected.", got=f"{path}: {error}", do="check the file and its name"
        ) from error
    named = structure.spacegroup_hm.strip(" ?.'\"")
    broken = "error while processing" in structure.check_spacegroup()
    if broken or (structure.spacegroup is None and named and not structure.symops):
        # gemmi would take the atoms that are listed for all of them
        raise FormatError(
            "a space group, or the operations of one, were expected.",
            got=f"{path.name}: {structure.check_spacegroup().strip()}",
            do="write the file again with a standard space group, or in P 1 with all atoms",
        )
    return structure


def _rms_pm(site: gemmi.SmallStructure.Site, lattice_pm: Float[np.ndarray, "3 3"]) -> float:
    """Return √U along one axis, of anisotropic U the mean over directions; nan where there is none.

    U_eq = 1/3 Σ U_ij a*_i a*_j (a_i · a_j): R. X. Fischer and E. Tillmanns, Acta Cryst. C 44, 775 (1988).
    """
    u = site.u_iso
    u11, u22, u33, u12, u13, u23 = site.aniso.elements_pdb()
    if u11 or u22 or u33:
        tensor = np.array([[u11, u12, u13], [u12, u22, u23], [u13, u23, u33]])
        reciprocal = np.linalg.norm(np.linalg.inv(lattice_pm), axis=0)
        u = float((tensor * np.outer(reciprocal, reciprocal) * (lattice_pm @ lattice_pm.T)).sum() / 3.0)
    return PM_PER_ANGSTROM * float(np.sqrt(u)) if u > 0 else float("nan")

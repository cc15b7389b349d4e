"""Structure files → `Structure`: CIF always, the files of VASP where ASE is installed."""

from __future__ import annotations

import importlib
import re
import tomllib
import warnings
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dipolar.core.elements import SYMBOLS, symbols_of
from dipolar.core.errors import FormatError, MissingExtraError, SettingsError
from dipolar.core.structure import Structure, check_overlap
from dipolar.io.structure_cif import PM_PER_ANGSTROM, Atoms, read_cif_atoms

ASE_FORMATS = (
    (r".*\.vasp|.*\.poscar|(POSCAR|CONTCAR)([-_.].*)?", "vasp"),
    (r".*vasprun.*\.xml", "vasp-xml"),
    (r".*OUTCAR([-_.].*)?", "vasp-out"),
)
"""Names of files, whatever their case, and what ASE calls their format. Of several steps the last one counts."""
USUAL = "usual values of the element"
KNOWN = "a CIF, POSCAR, CONTCAR, vasprun.xml or OUTCAR"


def read_structure(path: str | Path, *, rms_pm: Mapping[str, float] | None = None) -> Structure:
    """Return the crystal structure in a file, in its own cell and axes.

    Thermal displacements are those that you give, else those of the file (CIF: U or B), else usual ones of the element;
    `source` says which.

    Parameters
    ----------
    path
        A CIF; or POSCAR, CONTCAR, vasprun.xml, OUTCAR, told by their names, of which the last ionic step is taken.
    rms_pm
        Root mean square thermal displacements along one axis, √(B / 8π²), by element: ``{"Bi": 7.3}``.

    Raises
    ------
    FormatError
        If the file is none of these, or cannot be read.
    MissingExtraError
        If it needs ASE and that is not installed.
    SettingsError
        If thermal displacements are known from nowhere; the message has the line to type.
    StructureError
        If it holds no crystal, or atoms on top of each other.
    """
    path = Path(path)
    form = format_of(path)
    atoms = read_cif_atoms(path) if form == "cif" else _read_ase(path, form)
    rms, origin = _thermal(atoms, rms_pm or {}, path.name)
    structure = Structure(
        name=path.name,
        lattice_pm=atoms.lattice_pm,
        fractional=atoms.fractional,
        numbers=atoms.numbers,
        occupancy=atoms.occupancy,
        rms_pm=rms,
        source=f"{path.name}; thermal displacements: {origin}",
    )
    check_overlap(structure)
    return structure


def format_of(path: Path) -> str:
    """Return "cif", or what ASE calls the format, by the name of the file."""
    if path.suffix.lower() == ".cif":
        return "cif"
    for pattern, form in ASE_FORMATS:
        if re.fullmatch(pattern, path.name, flags=re.IGNORECASE):
            return form
    raise FormatError(
        f"a structure file was expected: {KNOWN}.", got=str(path), do="name the file so that it tells which"
    )


def _read_ase(path: Path, form: str) -> Atoms:
    """Return the atoms of the last step in a file of VASP."""
    if not path.is_file():
        raise FormatError("a structure file was expected.", got=f"{path}: no such file", do="check the name")
    try:
        read = importlib.import_module("ase.io").read
    except ImportError as error:
        raise MissingExtraError(
            f"{path.name} is read through ASE, which is not installed; CIF files need nothing more.",
            got=str(error),
            do='pip install "dipolar[simulation]"',
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what ASE warns of (missing forces, k-points) is not the structure
            found: Any = read(path, index=-1, format=form)
    # ASE's readers raise whatever their parsing runs into
    except Exception as error:
        raise FormatError(
            f"a file of VASP was expected ({form}).",
            got=f"{path}: {type(error).__name__}: {error}",
            do="check that it is whole; in a POSCAR the line above the counts must have the chemical symbols",
        ) from error
    numbers = np.asarray(found.numbers, dtype=np.int64)
    return Atoms(
        lattice_pm=PM_PER_ANGSTROM * np.asarray(found.cell.array, dtype=np.float64),
        fractional=np.asarray(found.get_scaled_positions(wrap=True), dtype=np.float64),
        numbers=numbers,
        occupancy=np.ones(len(numbers)),
        rms_pm=np.full(len(numbers), np.nan),
    )


def usual_rms_pm() -> dict[str, float]:
    """Return usual thermal displacements by element; those in oxides before those of elemental crystals."""
    values = _table()
    return {**values["elements"], **values["oxides"]}


def _table() -> dict[str, Any]:
    return tomllib.loads((resources.files("dipolar.io") / "thermal.toml").read_text(encoding="utf-8"))


def _thermal(atoms: Atoms, given: Mapping[str, float], name: str) -> tuple[Float[np.ndarray, " atom"], str]:
    """Return the thermal displacement of every atom, and in words where they come from."""
    wrong = [f"{symbol}: {value}" for symbol, value in given.items() if symbol not in SYMBOLS or not value >= 0]
    if wrong:
        raise SettingsError(
            "thermal displacements are given by element, in pm.", got=", ".join(wrong), do='rms_pm={"Bi": 7.3}'
        )
    usual, symbols = usual_rms_pm(), symbols_of(atoms.numbers)
    rms = atoms.rms_pm.copy()
    origins: dict[str, dict[str, None]] = {}
    unknown: dict[str, None] = {}
    for n, symbol in enumerate(symbols):
        if symbol in given:
            rms[n] = given[symbol]
            origins.setdefault("as given", {})[symbol] = None
        elif np.isfinite(rms[n]):
            origins.setdefault("from the file", {})[symbol] = None
        elif symbol in usual:
            rms[n] = usual[symbol]
            origins.setdefault(USUAL, {})[symbol] = None
        else:
            unknown[symbol] = None
    if unknown:
        line = ", ".join(f'"{symbol}": 10.0' for symbol in unknown)
        raise SettingsError(
            f"{name} has no thermal displacements, and for {', '.join(unknown)} none are usual.",
            got="no U and no B",
            do=f"read_structure(..., rms_pm={{{line}}}) with √(B / 8π²) in pm; 10 pm is B = 0.8 Å²",
        )
    return rms, "; ".join(f"{origin} ({', '.join(names)})" for origin, names in origins.items())

"""Libraries of tilt that come with dipolar, and yours by path."""

from __future__ import annotations

from pathlib import Path

from dipolar.core.errors import SettingsError
from dipolar.core.tilt_library import TiltLibrary
from dipolar.io.tilt_library import read_tilt_library

SHIPPED = Path(__file__).parents[1] / "simulate" / "tilted" / "shipped"
"""Folder of the libraries that dipolar brings along: 200 kV, 30 mrad, detector 65 to 250 mrad."""
KEYS = {"bifeo3": "bfo", "pbtio3": "pto", "batio3": "bto", "srtio3": "sto"}
"""Materials that libraries are made of, by formula in lower case, and what people call them: the name of their file."""
LIBRARY = "library.npz"
"""Name of the library in a result folder."""


def shipped_library(material: str) -> TiltLibrary:
    """Return the library of a material that dipolar brings along.

    Parameters
    ----------
    material
        "BiFeO3" or "bfo", whatever its case, and so on.

    Raises
    ------
    SettingsError
        If none of such a material comes along.
    ChecksumError
        If its file is damaged.
    """
    return read_tilt_library(_shipped_path(material))


def library_for(material_or_path: str | Path) -> TiltLibrary:
    """Return a library of tilt: that of a material which dipolar brings along, or that of a file.

    Parameters
    ----------
    material_or_path
        As in `shipped_library`; or the path of a library, or of the folder that ``dipolar simulate tilt`` wrote.

    Raises
    ------
    SettingsError, FormatError, ChecksumError
        If there is none, or it is damaged.
    """
    return read_tilt_library(library_path(material_or_path))


def library_path(material_or_path: str | Path) -> Path:
    """Return the file that `library_for` reads.

    Raises
    ------
    SettingsError
        If it is the name of a material, and none of it comes along.
    """
    path = Path(material_or_path)
    if path.is_dir() and (path / LIBRARY).is_file():
        return path / LIBRARY
    if isinstance(material_or_path, Path) or path.suffix == ".npz" or path.is_file():
        return path
    return _shipped_path(material_or_path)


def _shipped_path(material: str) -> Path:
    key = KEYS.get(material.lower(), material.lower())
    path = SHIPPED / f"{key}.npz"
    there = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.npz")))
    if key not in KEYS.values():
        raise SettingsError(
            "a library of tilt is one that dipolar brings along, or a file.",
            got=material,
            do=f"one of {there}, or the path of a {LIBRARY} that dipolar simulate tilt wrote",
        )
    if not path.is_file():
        raise SettingsError(
            f"a library of tilt comes along for {there}; others are made once.",
            got=material,
            do=f"dipolar simulate tilt --material {key} --out {key}-tilt, then --tilt-library {key}-tilt",
        )
    return path

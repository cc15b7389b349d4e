"""Libraries of tilt that come with dipolar, and yours by path."""

from __future__ import annotations

from pathlib import Path

from dipolar.core.errors import FormatError, SettingsError
from dipolar.core.tilt_library import TiltLibrary
from dipolar.io.tilt_library import read_tilt_library

SHIPPED = Path(__file__).parents[1] / "simulate" / "tilted" / "shipped"
"""Folder of the libraries that dipolar brings along: 200 kV, 30 mrad, detector 65 to 250 mrad."""
KEYS = {"bifeo3": "bfo", "pbtio3": "pto", "batio3": "bto", "srtio3": "sto"}
"""Materials by formula, in lower case, and what people call them, which is what their file is called."""
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
        If there is no library of such a material.
    FormatError, ChecksumError
        If its file is missing or damaged.
    """
    key = KEYS.get(material.lower(), material.lower())
    if key not in KEYS.values():
        raise SettingsError(
            "a library of tilt is one that dipolar brings along, or a file.",
            got=material,
            do=f"one of {', '.join(KEYS.values())}, or the path of a {LIBRARY} that dipolar simulate tilt wrote",
        )
    path = SHIPPED / f"{key}.npz"
    if not path.is_file():
        raise FormatError(
            f"dipolar brings along a library of tilt of {key}.",
            got=f"none at {path}",
            do=f"install dipolar again, or make one: dipolar simulate tilt --material {key} --out tilt",
        )
    return read_tilt_library(path)


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
    path = Path(material_or_path)
    if path.is_dir() and (path / LIBRARY).is_file():
        return read_tilt_library(path / LIBRARY)
    if isinstance(material_or_path, Path) or path.suffix == ".npz" or path.is_file():
        return read_tilt_library(path)
    return shipped_library(material_or_path)

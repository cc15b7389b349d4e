"""Networks of tilt that come with dipolar."""

from __future__ import annotations

from pathlib import Path

from dipolar.core.errors import SettingsError

FOLDER = Path(__file__).parents[1] / "learn" / "shipped"
"""Where they are."""


def network_path(material: str) -> Path:
    """Return where the network of a material is that dipolar brings along.

    Parameters
    ----------
    material
        "bfo" and so on.

    Raises
    ------
    SettingsError
        If none comes along.
    """
    path = FOLDER / f"tilt_{material}.safetensors"
    if path.is_file():
        return path
    there = sorted(file.stem.removeprefix("tilt_") for file in FOLDER.glob("tilt_*.safetensors"))
    raise SettingsError(
        "a network of tilt comes along for some materials only.",
        got=f"{material}; there is one of {', '.join(there)}",
        do="--tilt-by library, which needs none",
    )

"""Polarization from displacement: a signed factor of the material, from a preset or from the user's own file."""

from __future__ import annotations

import math
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from dipolar.core.errors import CalibrationError, SettingsError
from dipolar.core.material import BornCharges, Polarization, PolarMaterial, Symmetry
from dipolar.core.nouns import Cells

PRESETS = ("BaTiO3", "BiFeO3", "PbTiO3")
SHORT = {"bto": "BaTiO3", "bfo": "BiFeO3", "pto": "PbTiO3"}
"""What people type instead of the formula."""
BORN = ("b", "oxygen_parallel", "oxygen_perpendicular", "oxygen_parallel_ratio", "oxygen_perpendicular_ratio")
HOW = (
    'write a file mine.toml: name = "…", source = "…", factor_uc_per_cm2_per_pm = -2.3 (per displacement of B in its '
    "A cage; negative where the polarization points against it) and, where known, factor_relative_sigma = 0.1 and "
    f'symmetry = "…" ({" or ".join(get_args(Symmetry))}); or '
    f"instead of the factor a table [born] with {', '.join(BORN)} and volume_pm3; then name the file"
)


def load_material(name_or_path: str | Path) -> PolarMaterial:
    """Return the material of that name, whatever its case, or the one that a TOML file describes.

    Parameters
    ----------
    name_or_path
        "BaTiO3", "BiFeO3", "PbTiO3" (or "bto", "bfo", "pto"), or a file that ends in ``.toml``.

    Raises
    ------
    SettingsError
        If there is no such preset or file, or the file does not say what it should.
    """
    text = str(name_or_path)
    if text.lower().endswith(".toml"):
        return _from_file(Path(name_or_path))
    wanted = SHORT.get(text.lower(), text).lower()
    for preset in PRESETS:
        if preset.lower() == wanted:
            file = resources.files("dipolar.measure") / "materials" / f"{preset}.toml"
            return _material(tomllib.loads(file.read_text(encoding="utf-8")), where=f"preset {preset}")
    raise SettingsError(
        f"the material must be one of {', '.join(PRESETS)}, or a TOML file that describes it.", got=text, do=HOW
    )


def polarization(cells: Cells, material: PolarMaterial) -> Polarization:
    """Return the polarization of every cell: the displacement of B in its A cage times the material's factor.

    The basis of the cells does not matter: with B at the corners the displacement is that of A against B, and the
    factor changes its sign with it. An offset of mistilt or scan becomes polarization like any other displacement, so
    take off a reference first. That P = Σ Z* u / V to first
    order defines the charges: R. D. King-Smith and D. Vanderbilt, Phys. Rev. B 47, 1651 (1993).

    Parameters
    ----------
    cells
        Measured cells with a pixel size.
    material
        From `load_material`.

    Raises
    ------
    CalibrationError
        If the cells have no pixel size.
    """
    if cells.pixel_size_pm is None:
        raise CalibrationError(
            "polarization needs displacements in pm.",
            got="cells without a pixel size",
            do="give pixel_size_pm, or lattice_pm of a known crystal in the image",
        )
    sign = 1.0 if cells.basis == "A" else -1.0
    factor = sign * material.factor_uc_per_cm2_per_pm * cells.pixel_size_pm
    return Polarization(
        material=material,
        vectors_uc_per_cm2=factor * cells.displacement_px,
        covariance_uc2_per_cm4=factor**2 * cells.covariance_px2,
        systematic_fraction=abs(material.factor_sigma_uc_per_cm2_per_pm / material.factor_uc_per_cm2_per_pm),
    )


def _from_file(path: Path) -> PolarMaterial:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"the material must be one of {', '.join(PRESETS)}, or a TOML file that can be read.",
            got=f"{path}: {error.strerror}",
            do=HOW,
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError("the file of a material is not TOML.", got=f"{path}: {error}", do=HOW) from error
    return _material(values, where=path.name)


def _material(values: dict[str, Any], *, where: str) -> PolarMaterial:
    """Return the material that a file describes, every key of which must be known and of its kind."""
    known = {"name", "source", "symmetry", "factor_uc_per_cm2_per_pm", "factor_relative_sigma", "assumption", "born"}
    wrong = [f'"{key}" is not a key' for key in values if key not in known]
    wrong += [f"{key} is missing" for key in ("name", "source") if not values.get(key)]
    wrong += [
        f"{key} = {values[key]!r} is no text" for key in ("name", "source", "assumption") if _not_text(values, key)
    ]
    if ("factor_uc_per_cm2_per_pm" in values) == ("born" in values):
        wrong.append("either factor_uc_per_cm2_per_pm or [born] is needed, and not both")
    relative = values.get("factor_relative_sigma", math.nan)
    wrong += [] if _number(relative, nan=True) and not relative < 0 else [f"factor_relative_sigma = {relative!r}"]
    if values.get("symmetry") not in (None, *get_args(Symmetry)):
        wrong.append(f"symmetry = {values['symmetry']!r} is not one of {', '.join(get_args(Symmetry))}")
    born = values.get("born", {})
    if not isinstance(born, dict):
        wrong, born = [*wrong, "[born] is no table"], {}
    names = (*BORN, "volume_pm3")
    wrong += [f'"{key}" is not a key of [born]' for key in born if key not in names]
    if "born" in values:
        wrong += [f"born.{key} = {born.get(key)!r} is no number" for key in names if not _number(born.get(key))]
        wrong += (
            ["born.volume_pm3 must be more than 0"]
            if _number(born.get("volume_pm3")) and born["volume_pm3"] <= 0
            else []
        )
    elif not _number(values.get("factor_uc_per_cm2_per_pm", 0.0)) or values.get("factor_uc_per_cm2_per_pm") == 0:
        wrong.append(f"factor_uc_per_cm2_per_pm = {values.get('factor_uc_per_cm2_per_pm')!r} is no number other than 0")
    if wrong:
        raise SettingsError(
            "the file of a material does not say what it should.", got=f"{where}: {'; '.join(wrong)}", do=HOW
        )
    return _built(values, born, float(relative))


def _built(values: dict[str, Any], born: dict[str, float], relative: float) -> PolarMaterial:
    if born:
        charges = BornCharges(**{key: float(value) for key, value in born.items()})
        factor = charges.factor_uc_per_cm2_per_pm
        formula = (
            f"Σ Z* u / V with Z*(B) = {charges.b:g}, Z*(O∥) = {charges.oxygen_parallel:g}, "
            f"Z*(O⊥) = {charges.oxygen_perpendicular:g}, V = {charges.volume_pm3 * 1e-9:.4g} nm³"
        )
        assumption = (
            "oxygen, which the image does not show, is taken to move with B in fixed proportion: against A, "
            f"{charges.oxygen_parallel_ratio:g} (O∥) and {charges.oxygen_perpendicular_ratio:g} (O⊥) times as far"
        )
    else:
        factor, formula = float(values["factor_uc_per_cm2_per_pm"]), "given"
        assumption = "polarization is proportional to the displacement of B in its A cage"
    return PolarMaterial(
        name=values["name"],
        factor_uc_per_cm2_per_pm=factor,
        factor_sigma_uc_per_cm2_per_pm=abs(factor) * relative,
        formula=formula,
        assumption=values.get("assumption", assumption),
        source=values["source"],
        symmetry=values.get("symmetry"),
    )


def _number(value: object, *, nan: bool = False) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (math.isfinite(value) or nan)


def _not_text(values: dict[str, Any], key: str) -> bool:
    return key in values and not isinstance(values[key], str)

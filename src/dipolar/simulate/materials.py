"""Perovskites as they look from [100]: lattice, polar displacement and typical brightness, with sources."""

from __future__ import annotations

from dataclasses import dataclass

from dipolar.core.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One perovskite, projected along a pseudocubic ⟨100⟩; change it with `dataclasses.replace`."""

    name: str
    """Chemical formula."""
    in_plane_pm: float
    """Edge of the free pseudocubic cell along the film."""
    out_of_plane_pm: float
    """Edge along the growth direction, upwards where the crystal is not rotated."""
    displacement_pm: float
    """Length of the displacement of B against the mean of its A corners, in projection."""
    direction_deg: float
    """Its direction against the a axis, counter-clockwise, where no domains say otherwise."""
    ratio_b_to_a: float
    """Brightness of B over that of A, typical of HAADF images (background taken off)."""
    brightness_a: float
    """Brightness of A over that of the brightest preset, typical of HAADF images."""


BIFEO3 = Material(
    name="BiFeO3",
    in_plane_pm=396.0,
    out_of_plane_pm=396.0,
    displacement_pm=32.6,
    direction_deg=45.0,
    ratio_b_to_a=0.35,
    brightness_a=1.0,
)
"""a_hex = 557.9 pm and c_hex = 1386.9 pm give a pseudocubic edge of 396 pm; Fe is 40 pm along [111] from the centre of
its Bi cage, 32.6 pm in projection along ⟨100⟩, where it points along ⟨110⟩. Source: F. Kubel and H. Schmid, Acta
Cryst. B 46, 698 (1990)."""

PBTIO3 = Material(
    name="PbTiO3",
    in_plane_pm=390.4,
    out_of_plane_pm=415.0,
    displacement_pm=17.0,
    direction_deg=90.0,
    ratio_b_to_a=0.22,
    brightness_a=0.98,
)
"""a = 390.4 pm, c = 415.0 pm (c/a 1.06); Ti is 17 pm along c from the centre of its Pb cage. Source: G. Shirane,
R. Pepinsky and B. C. Frazer, Acta Cryst. 9, 131 (1956)."""

BATIO3 = Material(
    name="BaTiO3",
    in_plane_pm=399.1,
    out_of_plane_pm=403.5,
    displacement_pm=5.4,
    direction_deg=90.0,
    ratio_b_to_a=0.5,
    brightness_a=0.6,
)
"""a = 399.1 pm, c = 403.5 pm; Ti is 5.4 pm (z = 0.5135) along c from the centre of its Ba cage. Source: J. Harada,
T. Pedersen and Z. Barnea, Acta Cryst. A 26, 336 (1970)."""

SRTIO3 = Material(
    name="SrTiO3",
    in_plane_pm=390.5,
    out_of_plane_pm=390.5,
    displacement_pm=0.0,
    direction_deg=90.0,
    ratio_b_to_a=0.6,
    brightness_a=0.45,
)
"""Cubic and centrosymmetric at room temperature, a = 390.5 pm. Source: Yu. A. Abramov et al., Acta Cryst. B 51, 942
(1995)."""

MATERIALS: dict[str, Material] = {material.name: material for material in (BIFEO3, PBTIO3, BATIO3, SRTIO3)}
"""The presets by name."""


def material_named(name: str) -> Material:
    """Return the preset of that name, whatever its case.

    Raises
    ------
    SettingsError
        Where there is no such preset; the message lists those there are.
    """
    for material in MATERIALS.values():
        if material.name.lower() == name.lower():
            return material
    raise SettingsError("The material must be one of the presets.", got=name, do=", ".join(MATERIALS))

"""Settings of ``dipolar study tilt``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from dipolar.recipes.parse import Formats, parse_numbers, parse_thicknesses
from dipolar.recipes.settings import Settings

TiltMaterial = Literal["bfo", "pto", "bto", "sto"]
LARGEST_TILT_MRAD = 60.0
"""Beyond it slices that are cut across the zone axis are no longer thin along the beam."""


class TiltSettings(Settings):
    """Settings of ``dipolar study tilt``."""

    material: TiltMaterial = Field("bfo", description="Crystal, seen along [100]: bfo, pto, bto or sto.")
    polar: bool = Field(True, description="Take the polar crystal; not: its parent, in which nothing is displaced.")
    octahedra: bool = Field(
        False,
        description="Keep turned octahedra apart, in the whole cell; not: the mean over them, in a cell of one formula "
        "unit, which takes a quarter of the time and moves differences by about 0.1 pm.",
    )
    thickness_nm: str = Field("100", description="Thicknesses of the specimen in nm, with commas between.")
    tilts: str = Field("0,10,20,30", description="Tilts of the beam in mrad, with commas between; 0 is always there.")
    direction: Literal["x", "y"] = Field("x", description="Direction of the image into which the beam leans.")
    voltage_kv: float = Field(200.0, ge=20, le=1000, description="High tension in kV.")
    convergence_mrad: float = Field(30.0, gt=0, le=100, description="Semi-angle of the probe.")
    inner_mrad: float = Field(65.0, ge=0, le=1000, description="Where the detector begins.")
    outer_mrad: float = Field(250.0, gt=0, le=1000, description="Where it ends.")
    defocus_nm: float = Field(0.0, ge=-1e4, le=1e4, description="Depth of the focus below the entrance surface.")
    cs_mm: float = Field(0.0, ge=-10, le=10, description="Spherical aberration.")
    source_fwhm_pm: float = Field(0.0, ge=0, le=1000, description="Width of the source's image.")
    pixel_pm: float = Field(8.3, gt=0, le=50, description="Largest pixel of the waves.")
    slice_pm: float = Field(200.0, gt=0, le=1000, description="Largest thickness of slices.")
    field_pm: float | None = Field(
        None, gt=0, description="Field that each probe has for itself; not given: it grows with the thickness."
    )
    repeats: int = Field(
        2, ge=1, le=4, description="Independent simulations for each tilt and each entrance surface, whose scatter is "
        "the numerical part of sigma."
    )  # fmt: skip
    workers: int = Field(1, ge=1, le=256, description="Simulations at once, each in its own process on one core.")
    figures: Formats = Field("png", description="Formats of the figures: any of png, svg, pdf, with commas between.")

    @field_validator("thickness_nm")
    @classmethod
    def _thicknesses(cls, text: str) -> str:
        return ",".join(f"{number:g}" for number in parse_thicknesses(text))

    @field_validator("tilts")
    @classmethod
    def _tilts(cls, text: str) -> str:
        numbers = parse_numbers(text)
        if max(numbers) > LARGEST_TILT_MRAD:
            raise ValueError(f"tilts are in mrad, {LARGEST_TILT_MRAD:g} at most")
        return ",".join(f"{number:g}" for number in sorted({0.0, *numbers}))

    @property
    def thicknesses(self) -> tuple[float, ...]:
        """The thicknesses, from the least on."""
        return parse_numbers(self.thickness_nm)

    @property
    def tilts_mrad(self) -> tuple[float, ...]:
        """The tilts, 0 first."""
        return parse_numbers(self.tilts)

    @property
    def figure_formats(self) -> tuple[str, ...]:
        """The figure formats, one by one, png always among them."""
        return tuple(dict.fromkeys(("png", *self.figures.split(","))))

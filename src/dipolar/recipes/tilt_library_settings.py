"""Settings of ``dipolar simulate tilt``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from dipolar.recipes.parse import parse_numbers, parse_thicknesses
from dipolar.recipes.settings import Settings

LARGEST_FOCUS_NM = 1000.0
"""Nobody focuses further away from a specimen."""


class TiltLibrarySettings(Settings):
    """Settings of ``dipolar simulate tilt``."""

    material: Literal["bfo", "pto", "bto", "sto"] = Field("bfo", description="Crystal, seen along ⟨100⟩.")
    thickness_nm: str = Field(
        "2,3,4,5,6.5,8,10,12,15,18,22,26,30,36,43,52,65,80,100",
        description="Thicknesses in nm, with commas between; the nearest whole numbers of half cells are taken.",
    )
    focus_nm: str = Field(
        "-6,-4,-2,0,2,4,6",
        description="Depths of the focus below the entrance surface in nm, with commas between, and = before them "
        "where the first is negative: --focus-nm=-4,0,4.",
    )
    tilt_step_mrad: float = Field(5.0, gt=0, le=30, description="Distance of the tilts along y and x.")
    tilt_steps: int = Field(6, ge=1, le=20, description="How many of them there are on each side of no tilt.")
    displaced_every: int = Field(
        2,
        ge=1,
        le=20,
        description="At every how manieth tilt along each axis displaced crystals are simulated too; in between, what "
        "a displacement changes is interpolated.",
    )
    displacement_pm: float = Field(
        25.0, gt=0, le=60, description="Displacement of B that is simulated beside none, along each axis and both ways."
    )
    voltage_kv: float = Field(200.0, ge=20, le=1000, description="High tension in kV.")
    convergence_mrad: float = Field(30.0, gt=0, le=100, description="Semi-angle of the probe.")
    inner_mrad: float = Field(65.0, ge=0, le=1000, description="Where the detector begins.")
    outer_mrad: float = Field(250.0, gt=0, le=1000, description="Where it ends.")
    workers: int = Field(1, ge=1, le=256, description="Processes at once.")
    cluster: str | None = Field(None, description="Address of a Dask cluster that does the work: tcp://HOST:8786.")

    # What is written below is in the names of files that are kept: the defaults above must stay as they are written.

    @field_validator("thickness_nm")
    @classmethod
    def _thicknesses(cls, text: str) -> str:
        return ",".join(f"{number:g}" for number in parse_thicknesses(text))

    @field_validator("focus_nm")
    @classmethod
    def _foci(cls, text: str) -> str:
        numbers = parse_numbers(text, least=-LARGEST_FOCUS_NM)
        if max(numbers) > LARGEST_FOCUS_NM:
            raise ValueError(f"foci are in nm, {LARGEST_FOCUS_NM:g} at most")
        return ",".join(f"{number:g}" for number in sorted(numbers))

    @model_validator(mode="after")
    def _displaced(self) -> TiltLibrarySettings:
        if self.tilt_steps % self.displaced_every:
            raise ValueError(f"tilt_steps is a multiple of displaced_every: {self.displaced_every * 3}, for example")
        return self

    @property
    def thicknesses(self) -> tuple[float, ...]:
        """The thicknesses that are wanted, from the least on."""
        return tuple(sorted(parse_numbers(self.thickness_nm)))

    @property
    def foci(self) -> tuple[float, ...]:
        """The foci, from the highest in the microscope on."""
        return tuple(sorted(parse_numbers(self.focus_nm, least=-LARGEST_FOCUS_NM)))

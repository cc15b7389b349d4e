"""Settings of ``dipolar simulate tilt``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dipolar.recipes.settings import Settings


class TiltLibrarySettings(Settings):
    """Settings of ``dipolar simulate tilt``."""

    material: Literal["bfo", "pto", "bto", "sto"] = Field("bfo", description="Crystal, seen along ⟨100⟩.")
    thickness_nm: str = Field(
        "2,3,4,5,6.5,8,10,12,15,18,22,26,30,36,43,52,65,80,100",
        description="Thicknesses in nm, with commas between; the nearest whole numbers of half cells are taken.",
    )
    focus_nm: str = Field(
        "-6,-4,-2,0,2,4,6", description="Depths of the focus below the entrance surface in nm, with commas between."
    )
    tilt_step_mrad: float = Field(10.0, gt=0, le=30, description="Distance of the tilts along y and x.")
    tilt_steps: int = Field(3, ge=1, le=10, description="How many of them there are on each side of no tilt.")
    displacement_pm: float = Field(
        25.0, gt=0, le=60, description="Displacement of B that is simulated beside none, along each axis and both ways."
    )
    voltage_kv: float = Field(200.0, ge=20, le=1000, description="High tension in kV.")
    convergence_mrad: float = Field(30.0, gt=0, le=100, description="Semi-angle of the probe.")
    inner_mrad: float = Field(65.0, ge=0, le=1000, description="Where the detector begins.")
    outer_mrad: float = Field(250.0, gt=0, le=1000, description="Where it ends.")
    workers: int = Field(1, ge=1, le=256, description="Processes at once.")
    cluster: str | None = Field(None, description="Address of a Dask cluster that does the work: tcp://HOST:8786.")

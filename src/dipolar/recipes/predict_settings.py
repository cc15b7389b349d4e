"""Settings of ``dipolar image predict``; those that it shares with ``measure`` are described there."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

from pydantic import Field

from dipolar.recipes.parse import Angles, Formats, LengthPm, Region
from dipolar.recipes.settings import MeasureSettings, Settings


def as_measured(name: str) -> Any:
    """Return the field of that name of `MeasureSettings`: default, limits, description."""
    return deepcopy(MeasureSettings.model_fields[name])


class PredictSettings(Settings):
    """Settings of ``dipolar image predict``."""

    model: str | None = Field(
        None,
        description="Network that tells displacement: NAME.safetensors. Not given: the one that dipolar brings along.",
    )
    finder: str | None = Field(
        None, description="Network that finds columns: NAME.safetensors. Not given: the one that dipolar brings along."
    )
    refine: bool = Field(
        False,
        description="Fit the columns that the network found: for their widths, the noise, tilt and order. The "
        "displacement stays that of the network.",
    )
    compare: bool = Field(
        False, description="Measure the image by fitting columns as well, and report how far both agree."
    )
    pixel_size_pm: LengthPm | None = as_measured("pixel_size_pm")
    lattice_pm: LengthPm | None = as_measured("lattice_pm")
    basis: Literal["A", "B"] = Field(
        "A",
        description="Sublattice at the corners of the cells. Networks know A only: the displacement of B in its cage.",
    )
    reference: Region | None = as_measured("reference")
    material: str | None = as_measured("material")
    directions: Angles | None = as_measured("directions")
    contrast: Literal["auto", "bright", "dark"] = Field(
        "auto", description="How columns stand out: bright (HAADF, ADF) or dark (ABF), which is turned upside down."
    )
    maps: bool = as_measured("maps")
    select: str | None = as_measured("select")
    trust_pickle: bool = as_measured("trust_pickle")
    gain_check: bool = Field(
        True,
        description="With refine: simulate the image anew from the fit of its columns, predict that, report the gain.",
    )
    figures: Formats = as_measured("figures")

    @property
    def measuring(self) -> MeasureSettings:
        """The same for all that follows from columns and cells, whoever found them.

        Only fitted columns have a shape, which tells a tilt, and can be drawn again to check the gain.
        """
        shared = {name: value for name, value in self if name in MeasureSettings.model_fields}
        checks = {"mistilt": "report" if self.refine else "off", "gain_check": self.refine and self.gain_check}
        return MeasureSettings(**{**shared, **checks})

    @property
    def figure_formats(self) -> tuple[str, ...]:
        """The figure formats, one by one."""
        return self.measuring.figure_formats

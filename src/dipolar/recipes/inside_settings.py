"""Settings of ``dipolar image inside``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from dipolar.recipes.predict_settings import as_measured
from dipolar.recipes.settings import Settings


class InsideSettings(Settings):
    """Settings of ``dipolar image inside``."""

    at: str | None = Field(
        None,
        description="Place y,x in px whose cell is looked at: 512,300. Not given: the middle of the image.",
    )
    ascent: int = Field(
        30, ge=1, le=10_000, description="Steps uphill from noise to the input that excites a channel most."
    )
    seed: int = Field(0, ge=0, description="Seed of the noise that the ascent begins with.")
    contrast: Literal["auto", "bright", "dark"] = Field(
        "auto", description="How columns stand out: bright (HAADF, ADF) or dark (ABF), which is turned upside down."
    )
    select: str | None = as_measured("select")
    trust_pickle: bool = as_measured("trust_pickle")

    @field_validator("at")
    @classmethod
    def _place(cls, text: str | None) -> str | None:
        return None if text is None else "{:g},{:g}".format(*_numbers(text))

    @property
    def at_px(self) -> tuple[float, float] | None:
        """The place as (y, x), or None."""
        return None if self.at is None else _numbers(self.at)


def _numbers(text: str) -> tuple[float, float]:
    try:
        y, x = (float(part) for part in text.split(","))
    except ValueError:
        y = x = -1.0
    if not (0.0 <= y < 1e6 and 0.0 <= x < 1e6):
        raise ValueError("a place is written y,x in px, for example 512,300")
    return y, x

"""Settings of ``dipolar study``: the published studies, repeated on films whose truth is known."""

from __future__ import annotations

from pydantic import Field, field_validator

from dipolar.recipes.parse import parse_numbers
from dipolar.recipes.settings import Settings


class StudySettings(Settings):
    """What both studies share."""

    size_px: int = Field(1024, ge=256, le=8192, description="Edge of each film, at 23 px per cell.")
    steps: int = Field(1000, ge=1, le=1_000_000, description="Batches that each network learns from.")
    seed: int = Field(0, ge=0, description="Seed of films, noise, weights and batches.")
    workers: int = Field(1, ge=1, le=256, description="Networks that are trained at once, each in its own process.")


class NoiseSettings(StudySettings):
    """Settings of ``dipolar study noise``."""

    size_px: int = Field(1536, ge=256, le=8192, description="Edge of the film, at 23 px per cell.")
    composition: float = Field(0.0, ge=0.0, le=0.25, description="Share of Sm on the A sites of the BiFeO3 film.")
    dose: float = Field(10.0, gt=0, le=1e6, description="Factor on the counts of the film, before noise is added.")
    variances: str = Field(
        "0.001,0.01,0.02,0.05,0.2",
        description="Variances of the noise added to images scaled to [0, 1], with commas between.",
    )
    windows_px: str = Field("10,20,40,80,160", description="Edges of the windows in px, with commas between.")

    @field_validator("variances", "windows_px")
    @classmethod
    def _numbers(cls, text: str) -> str:
        return ",".join(f"{number:g}" for number in parse_numbers(text))


class CrossSettings(StudySettings):
    """Settings of ``dipolar study cross``."""

    compositions: str = Field(
        "0,0.02,0.04,0.06,0.07,0.08,0.1,0.12,0.13,0.14,0.16,0.18,0.2",
        description="Shares of Sm on the A sites of each film, with commas between.",
    )
    window_px: int = Field(80, ge=10, le=160, description="Edge of the windows in px.")
    dose: float = Field(1.0, gt=0, le=1e6, description="Factor on the counts of the films.")

    @field_validator("compositions")
    @classmethod
    def _numbers(cls, text: str) -> str:
        return ",".join(f"{number:g}" for number in parse_numbers(text))

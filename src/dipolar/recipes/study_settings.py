"""Settings of ``dipolar study``: the published studies, repeated on films whose truth is known."""

from __future__ import annotations

from pydantic import Field, field_validator

from dipolar.recipes.parse import Formats, parse_numbers
from dipolar.recipes.scan_settings import ScanShape
from dipolar.recipes.settings import Settings

SMALLEST_PX, LARGEST_PX = 10, 160
"""Edges of windows that networks can have."""
MOST_SM = 0.25
"""Largest share of Sm that the model of the films knows of."""


class StudySettings(Settings):
    """What both studies share."""

    size_px: int = Field(1024, ge=256, le=8192, description="Edge of each film, at 23 px per cell.")
    steps: int = Field(1000, ge=1, le=1_000_000, description="Batches that each network learns from.")
    seed: int = Field(0, ge=0, description="Seed of films, noise, weights and batches.")
    workers: int = Field(
        1, ge=1, le=256, description="Networks that are trained at once, each in its own process on one core."
    )
    figures: Formats = Field("png", description="Formats of the figures: any of png, svg, pdf, with commas between.")

    @property
    def figure_formats(self) -> tuple[str, ...]:
        """The figure formats, one by one, png always among them."""
        return tuple(dict.fromkeys(("png", *self.figures.split(","))))


class NoiseSettings(StudySettings):
    """Settings of ``dipolar study noise``."""

    size_px: int = Field(1536, ge=256, le=8192, description="Edge of the film, at 23 px per cell.")
    steps: int = Field(500, ge=1, le=1_000_000, description="Batches that each network learns from.")
    composition: float = Field(0.0, ge=0.0, le=MOST_SM, description="Share of Sm on the A sites of the BiFeO3 film.")
    dose: float = Field(10.0, gt=0, le=1e6, description="Factor on the counts of the film, before noise is added.")
    variances: str = Field(
        "0.001,0.01,0.02,0.05,0.2",
        description="Variances of the noise added to images scaled to [0, 1], with commas between.",
    )
    windows_px: str = Field("10,20,40,80,160", description="Edges of the windows in px, with commas between.")

    @field_validator("variances")
    @classmethod
    def _variances(cls, text: str) -> str:
        return _written(parse_numbers(text))

    @field_validator("windows_px")
    @classmethod
    def _windows(cls, text: str) -> str:
        edges = parse_numbers(text)
        if not all(edge.is_integer() and SMALLEST_PX <= edge <= LARGEST_PX for edge in edges):
            raise ValueError(f"windows have whole numbers of px, from {SMALLEST_PX} to {LARGEST_PX}")
        return _written(edges)

    @property
    def levels(self) -> tuple[float, ...]:
        """The variances of the noise, from the least on."""
        return tuple(sorted(parse_numbers(self.variances)))

    @property
    def edges_px(self) -> tuple[int, ...]:
        """The edges of the windows, from the smallest on."""
        return tuple(sorted(int(edge) for edge in parse_numbers(self.windows_px)))


class CrossSettings(StudySettings):
    """Settings of ``dipolar study cross``."""

    compositions: str = Field(
        "0,0.02,0.04,0.06,0.07,0.08,0.1,0.12,0.13,0.14,0.16,0.18,0.2",
        description="Shares of Sm on the A sites of each film, with commas between.",
    )
    window_px: int = Field(80, ge=SMALLEST_PX, le=LARGEST_PX, description="Edge of the windows in px.")
    dose: float = Field(1.0, gt=0, le=1e6, description="Factor on the counts of the films.")

    @field_validator("compositions")
    @classmethod
    def _compositions(cls, text: str) -> str:
        shares = parse_numbers(text)
        if len(shares) < 2:
            raise ValueError("networks of one film are put to another, so that there must be two compositions at least")
        if max(shares) > MOST_SM:
            raise ValueError(f"compositions are shares of Sm, from 0 to {MOST_SM}: 7 % is 0.07")
        return _written(shares)

    @property
    def shares(self) -> tuple[float, ...]:
        """The compositions, from the least Sm on."""
        return tuple(sorted(parse_numbers(self.compositions)))


def _written(numbers: tuple[float, ...]) -> str:
    return ",".join(f"{number:g}" for number in numbers)


class LabelsSettings(Settings):
    """Settings of ``dipolar study labels``."""

    scan_shape: ScanShape = Field("34,206", description="Rows and columns of the simulated scan, Y,X.")
    pattern_px: int = Field(512, ge=32, le=2048, description="Edge of its patterns in px.")
    electrons: float = Field(6e4, gt=0, le=1e8, description="Electrons per pattern.")
    ghost_strength: float | None = Field(
        None,
        gt=0,
        le=2,
        description="Intensity of ghost disks over that of main disks; not given: as in simulate scan.",
    )
    labels: str = Field("20,50,100,250", description="Numbers of labels to learn from, with commas between.")
    strategies: str = Field(
        "random,adaptive,margin",
        description="How positions to label are chosen, with commas between: random; adaptive, the published search; "
        "kmeans; margin, which begins with 20 of kmeans.",
    )
    classifiers: str = Field(
        "bank,small,published", description="What learns, with commas between: bank, small, published."
    )
    seeds: int = Field(5, ge=1, le=100, description="Scans that are simulated, each with its own labels and networks.")
    seed: int = Field(0, ge=0, description="Seed of the first.")
    workers: int = Field(1, ge=1, le=256, description="Scans that are worked on at once, each in its own process.")
    figures: Formats = Field("png", description="Formats of the figures: any of png, svg, pdf, with commas between.")

    @field_validator("labels")
    @classmethod
    def _labels(cls, text: str) -> str:
        numbers = parse_numbers(text)
        if not all(number.is_integer() and number >= 4 for number in numbers):
            raise ValueError("numbers of labels are whole, and 4 at least")
        return _written(tuple(sorted(numbers)))

    @field_validator("strategies")
    @classmethod
    def _strategies(cls, text: str) -> str:
        return _words(text, ("random", "adaptive", "kmeans", "margin"))

    @field_validator("classifiers")
    @classmethod
    def _classifiers(cls, text: str) -> str:
        return _words(text, ("bank", "small", "published"))

    @property
    def budgets(self) -> tuple[int, ...]:
        """The numbers of labels, from the least on."""
        return tuple(int(number) for number in parse_numbers(self.labels))

    @property
    def figure_formats(self) -> tuple[str, ...]:
        """The figure formats, one by one, png always among them."""
        return tuple(dict.fromkeys(("png", *self.figures.split(","))))


def _words(text: str, known: tuple[str, ...]) -> str:
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if wrong := [word for word in words if word not in known]:
        raise ValueError(f"{', '.join(wrong)}: must be any of {', '.join(known)}, with commas between")
    if not words:
        raise ValueError(f"at least one of {', '.join(known)}")
    return ",".join(words)

"""Settings of ``dipolar scan suggest`` and ``label``: named, given their defaults and described once, here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dipolar.recipes.scan_settings import LookSettings, ReadSettings

Strategy = Literal["grid", "adaptive", "kmeans", "margin", "disagreement", "random"]


class SuggestSettings(LookSettings):
    """Settings of ``dipolar scan suggest``."""

    strategy: Strategy | None = Field(
        None,
        description="How positions are chosen: grid, far from each other; adaptive, the published search for walls; "
        "kmeans, patterns unlike each other; margin and disagreement, those that a classifier is least sure of; or "
        "random. Not given: kmeans for the first 20 labels and until every class has two, margin after that.",
    )
    step: int | None = Field(
        None, ge=1, description="Step of the coarse grid in probe positions. Not given: about 25 positions on the scan."
    )
    model: str | None = Field(
        None,
        description="Model whose probabilities margin and disagreement go by: NAME.safetensors. Not given: a "
        "regression on the bank that learns from the labels so far.",
    )
    pool: int = Field(
        20_000,
        ge=100,
        le=10_000_000,
        description="Patterns that are looked at, drawn from the scan where it has more: for kmeans, margin and "
        "disagreement.",
    )
    repeats: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Of the positions, how many are labelled already and are asked again without saying so: they tell "
        "how far labels can be trusted.",
    )
    who: str = Field("", description="Who is asked. Questions to one person are not handed to another.")
    seed: int = Field(0, ge=0, description="Seed of all that is random; the same seed gives the same positions.")


class LabelSettings(ReadSettings):
    """Settings of ``dipolar scan label``."""

    who: str = Field("", description="Who gave the labels of a table that does not say; with --undo, whose to undo.")

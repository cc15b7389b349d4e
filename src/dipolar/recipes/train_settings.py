"""Settings of ``dipolar image train``: named, given their defaults and described once, here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dipolar.recipes.parse import LengthPm
from dipolar.recipes.settings import Settings


class TrainSettings(Settings):
    """Settings of ``dipolar image train``."""

    target: Literal["displacement", "cell", "columns"] = Field(
        "displacement",
        description="What the network learns to tell: the displacement; with it the cell's edges, angle and area; or "
        "where the columns of either sublattice are.",
    )
    windows: Literal["centered", "sliding"] = Field(
        "centered",
        description="Whether it learns the values of single cells at their centres, or at any place the mean of the "
        "four nearest cells.",
    )
    window_px: int = Field(
        80, ge=10, le=160, description="Edge of the window that it sees, in px of an image with 24 px per cell."
    )
    window_pm: LengthPm | None = Field(
        None, description="The same as a length, which needs lattice_pm or a pixel size. A unit may follow: 1.3nm."
    )
    ensemble: int = Field(
        3, ge=1, le=20, description="Number of networks: where they disagree, sigma grows. One for finding columns."
    )
    split: Literal["x", "y"] = Field(
        "x", description="Direction in which an image is divided into a part to learn from and a part to be tested on."
    )
    share: float = Field(2 / 3, gt=0.2, lt=0.95, description="Share of each image to learn from.")
    steps: int = Field(1500, ge=1, le=1_000_000, description="Batches that each network learns from, at most.")
    batch: int = Field(8, ge=1, le=1024, description="Crops in a batch.")
    crop_px: int = Field(128, ge=32, le=512, description="Edge of a crop, in px of an image with 24 px per cell.")
    learning_rate: float = Field(4e-3, gt=0, le=1, description="Learning rate at its peak.")
    patience: int | None = Field(
        None, ge=1, description="Validations without gain after which training stops; not given: it goes to the end."
    )
    seed: int = Field(
        0, ge=0, description="Seed of weights and batches; the same seed and number of threads give the same model."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to train: a GPU if there is one, or not.")
    pixel_size_pm: LengthPm | None = Field(
        None, ge=0.1, le=1000, description="Edge of a pixel in pm, instead of what the files say."
    )
    lattice_pm: LengthPm | None = Field(
        None, ge=100, le=5000, description="Known lattice parameter in pm, from which the pixel size is calibrated."
    )
    select: str | None = Field(None, description="Name of the image, in a file that holds several.")
    trust_pickle: bool = Field(
        False, description="Read files that hold Python pickles. Reading one runs the code in it."
    )
    onnx: bool = Field(False, description="Write each network as an ONNX file too, and check that it says the same.")

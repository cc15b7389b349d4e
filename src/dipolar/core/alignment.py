"""The nouns of alignment: a scan's place on the specimen, what became of every frame, and the image they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from dipolar.core.nouns import Image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedFrame:
    """What alignment found out about one frame, kept or dropped."""

    name: str
    """Name of the frame, for messages and records."""
    scan_angle_deg: float
    """Direction of its fast scan axis, counter-clockwise on the screen from that of a scan at 0."""
    shift_px: Float[np.ndarray, "2"]
    """Where its middle lies on the specimen, (dy, dx) from the middle of the first frame that was kept; nan where
    it was dropped."""
    shift_sigma_px: Float[np.ndarray, "2"]
    """One standard error of `shift_px`; nan likewise."""
    row_offset_px: Float[np.ndarray, "row 2"]
    """How far each of its rows lies from its place in an undistorted scan about that middle, (dy, dx) on the specimen:
    the drift within the frame and the jitter of the row."""
    row_sigma_px: Float[np.ndarray, "row 2"]
    """One standard error of `row_offset_px`; nan where the row met nothing to compare it with."""
    correlation: float
    """Pearson correlation with the average of the other frames, after alignment; nan where it could not be told."""
    contrast: float
    """Its contrast over that of the average of the other frames."""
    lattice_margin: float
    """Natural logarithm of how much likelier this place is than the next best one, a lattice vector away, from
    what is not periodic in the image; nan where no lattice vector competes."""
    dropped: str = ""
    """Why it is not part of the image; empty where it is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """One image from many frames, with its uncertainty and the record of what was moved."""

    image: Image
    """Average of the frames that were kept; nan where fewer than half of them, or fewer than two, were."""
    sigma: Float32[np.ndarray, "y x"]
    """One standard error of every pixel, from the spread between the frames; nan where the image is."""
    coverage: Float32[np.ndarray, "y x"]
    """Number of frames that saw the pixel, weighted by how densely they did."""
    origin_px: Float[np.ndarray, "2"]
    """Where pixel (0, 0) of the image lies, (dy, dx) from pixel (0, 0) of the first frame that was kept."""
    frames: tuple[AlignedFrame, ...]
    """Every frame, in the order given."""
    row_jitter_px: tuple[float, float]
    """Standard deviation of the shift of single rows in (y, x), learned from the frames."""
    drift_step_px: tuple[float, float]
    """Standard deviation of the change of drift from row to row in (y, x), learned from the frames."""
    frame_drift_px: tuple[float, float]
    """Mean drift from one frame to the next in (y, x)."""
    lattice_px: Float[np.ndarray, "vector 2"]
    """The shortest shifts (y, x) under which the image nearly repeats: those a frame could have jumped by. Empty where
    nothing repeats."""
    residual_rms: float
    """Root mean square of what the rows moved by in the last round, in px: how well the rounds have settled."""
    place_margin: float = float("nan")
    """Natural logarithm of how much likelier the places of all frames are than those a lattice vector away. The scans
    along each direction are held, as one, against all others, and the worst counts; with one direction only, the
    median of the frames' `lattice_margin`."""

    @property
    def kept(self) -> tuple[AlignedFrame, ...]:
        """The frames that are part of the image."""
        return tuple(frame for frame in self.frames if not frame.dropped)

    @property
    def dropped(self) -> Mapping[str, str]:
        """Name → reason of the frames that are not."""
        return {frame.name: frame.dropped for frame in self.frames if frame.dropped}

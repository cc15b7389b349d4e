"""Settings of ``dipolar image align``."""

from __future__ import annotations

from pydantic import Field

from dipolar.recipes.parse import Angles, LengthPm, parse_angles
from dipolar.recipes.settings import Settings


class AlignSettings(Settings):
    """Settings of ``dipolar image align``."""

    scan_angles: Angles | None = Field(
        None,
        description="Direction of the fast scan axis of each frame in degrees, counter-clockwise on the screen, with "
        "commas between: 0,90. Not given: all frames are scanned alike.",
    )
    pixel_size_pm: LengthPm | None = Field(
        None, ge=0.1, le=1000, description="Edge of a pixel in pm, instead of what the files say."
    )
    rows: bool = Field(True, description="Align single rows too, after places and slow distortion.")
    trust_pickle: bool = Field(
        False, description="Read files that hold Python pickles. Reading one runs the code in it."
    )

    @property
    def angles_deg(self) -> tuple[float, ...] | None:
        """The scan angles, one by one, or None."""
        return None if self.scan_angles is None else parse_angles(self.scan_angles)

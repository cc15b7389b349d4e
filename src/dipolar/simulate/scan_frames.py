"""Patterns of a simulated scan, made when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Shaped

from dipolar.core.errors import ScanError
from dipolar.core.scanning import AbstractFrames
from dipolar.simulate.scan_computed import ComputedCrystal, lights
from dipolar.simulate.scan_crystal import Crystal, diffuse_pattern
from dipolar.simulate.scan_kernels import TURNS, digitise, draw, draw_lights, glow, spread, weights
from dipolar.simulate.scan_settings import SimulatedScanSettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Defects:
    """What the detector does wrong in every pattern."""

    dead: Bool[np.ndarray, "k_y k_x"]
    """Pixels that are always 0."""
    hot: Int64[np.ndarray, "pixel 2"]
    """(k_y, k_x) of pixels that count without electrons."""
    hot_counts: Float64[np.ndarray, " pixel"]
    """What they count on the average."""
    stop: Bool[np.ndarray, "k_y k_x"]
    """Pixels behind the beam stop."""

    @property
    def all(self) -> Bool[np.ndarray, "k_y k_x"]:
        """Every pixel that must not be counted."""
        bad = self.dead | self.stop
        bad[self.hot[:, 0], self.hot[:, 1]] = True
        return bad


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedFrames(AbstractFrames):
    """Patterns of a simulated scan, made when they are read."""

    count: int
    shape_px: tuple[int, int]
    dtype: np.dtype
    chunk: int
    settings: SimulatedScanSettings
    """What is simulated."""
    crystal: Crystal | ComputedCrystal
    """Disks and what lies between them."""
    defects: Defects
    """Of the detector."""
    key: int
    """Names the random numbers of this scan."""
    mixture: Float64[np.ndarray, "pattern 4"]
    """Shares of horizontal, vertical, polar along the beam and cubic."""
    thickness: Float64[np.ndarray, " pattern"]
    """Relative to 1, at which reflections have their mean intensities."""
    tilt: Float64[np.ndarray, "pattern 2"]
    """How far the crystal is bent there along (y, x): relative, or in mrad where it is computed."""
    electrons: Float64[np.ndarray, " pattern"]
    """Mean counts."""
    centre_px: Float64[np.ndarray, "pattern 2"]
    """(k_y, k_x) of the direct beam."""

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "pattern k_y k_x"]:
        """Return patterns `start` to `stop` (excluded).

        Raises
        ------
        ScanError
            If there are not so many.
        """
        if not 0 <= start <= stop <= self.count:
            raise ScanError(f"this scan has {self.count} patterns.", got=f"patterns {start} to {stop}")
        made, settings = np.zeros((stop - start, *self.shape_px), dtype=self.dtype), self.settings
        top, key = int(np.iinfo(self.dtype).max), np.uint64(self.key)
        counting = settings.gain == 1.0 and settings.detector_offset == 0.0 and settings.readout == 0.0
        counts = made if counting else np.zeros(made.shape, dtype=np.uint32)
        most = top if counting else int(np.iinfo(np.uint32).max)
        c = self.crystal
        if isinstance(c, ComputedCrystal):
            here = slice(start, stop)
            light = lights(c, self.mixture[here], self.thickness[here], self.tilt[here])
            draw_lights(
                counts, start, key, self.electrons, light, c.place_px, c.disk_px, c.diffuse_px, circle(), c.stretch,
                self.centre_px, most,
            )  # fmt: skip
        else:
            draw(
                counts, start, key, self.electrons, c.share, c.kind, c.rate, c.phase, c.polar, c.slope,
                settings.contrast, c.diffuse_share, c.place_px, c.disk_px, c.diffuse_px, circle(), c.stretch,
                self.mixture, self.thickness, self.tilt, self.centre_px, most,
            )  # fmt: skip
        if self.defects.stop.any():
            counts[:, self.defects.stop] = 0
        hot = self.defects.hot
        glow(counts, start, key, hot[:, 0], hot[:, 1], self.defects.hot_counts, most)
        if not counting:
            digitise(made, counts, start, key, settings.gain, settings.detector_offset, settings.readout, top)
        made[:, self.defects.dead] = 0
        return made

    def expected(
        self, number: int, *, mixture: Float64[np.ndarray, " 4"] | None = None, detector: bool = True
    ) -> Float64[np.ndarray, "k_y k_x"]:
        """Return the mean counts of one pattern, without noise.

        Parameters
        ----------
        number
            Of the pattern.
        mixture
            Shares of horizontal, vertical, polar along the beam and cubic instead of the true ones.
        detector
            Whether dead and hot pixels and the beam stop are in it.
        """
        c, settings = self.crystal, self.settings
        shares = self.mixture[number] if mixture is None else mixture
        if isinstance(c, ComputedCrystal):
            light = lights(c, shares[None], self.thickness[number : number + 1], self.tilt[number : number + 1])[0]
        else:
            light = np.empty(len(c.share) + 1)
            weights(
                c.share, c.kind, c.rate, c.phase, c.polar, c.slope, settings.contrast, c.diffuse_share, shares,
                self.thickness[number], self.tilt[number], light,
            )  # fmt: skip
        light *= self.electrons[number]
        y, x = self.centre_px[number]
        made = light[-1] * diffuse_pattern(settings, (float(y), float(x)))
        spread(made, light, y, x, c.place_px, c.disk_px)
        if not detector:
            return made
        made[self.defects.stop] = 0.0
        made[self.defects.hot[:, 0], self.defects.hot[:, 1]] = self.defects.hot_counts
        made = settings.gain * made + settings.detector_offset
        made[self.defects.dead] = 0.0
        return made


@cache
def circle() -> Float32[np.ndarray, "turn 2"]:
    """Return (y, x) of directions all around."""
    turn = (np.arange(TURNS) + 0.5) * (2.0 * np.pi / TURNS)
    return np.stack([np.sin(turn), np.cos(turn)], axis=1).astype(np.float32)

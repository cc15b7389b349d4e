"""Frames → one image: rigid shifts, slow distortion and the jitter of rows removed, with sigma from their spread."""

from dipolar.align.lattice import repeats
from dipolar.align.rigid import place_frames
from dipolar.align.scan import Scan, axes, resample
from dipolar.align.series import align_frames

__all__ = ["Scan", "align_frames", "axes", "place_frames", "repeats", "resample"]

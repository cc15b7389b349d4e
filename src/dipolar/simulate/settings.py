"""Every choice behind a simulated film."""

from __future__ import annotations

from dataclasses import dataclass

from dipolar.core.errors import SettingsError
from dipolar.simulate.crystal import Dislocation, Layer
from dipolar.simulate.domains import Domains
from dipolar.simulate.materials import BIFEO3, SRTIO3


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmSettings:
    """Everything that makes a simulated image. Counts are electrons per pixel at dose 1."""

    shape_px: tuple[int, int] = (1024, 1024)
    """Rows and columns of the image."""
    pixel_size_pm: float = 17.25
    """Edge of the square pixel."""
    layers: tuple[Layer, ...] = (
        Layer(material=SRTIO3, share=0.25),
        Layer(material=BIFEO3, share=0.75),
    )
    """The stack from bottom to top; the lowest is the substrate."""
    in_plane_pm: float | None = None
    """Edge of the cell along the film, the same in all layers; None: that of the substrate."""
    displacement_pm: float | None = None
    """Length of the displacement of B in every polar layer; None: that of its material."""
    ratio_b_to_a: float | None = None
    """Brightness of B over A in every layer; None: that of its material."""
    domains: Domains | None = None
    """Domains in all polar layers; None: one domain along the direction of the material."""
    vacuum: float = 0.0
    """Share of the image above the free surface; 0 for none."""
    rotation_deg: float = 0.0
    """Turns the crystal counter-clockwise on the screen."""
    strain: tuple[float, float] = (0.0, 0.0)
    """Relative stretch along (y, x) of the crystal."""
    shear: float = 0.0
    """x moves by this share of y in the crystal's axes (y down)."""
    offset_px: tuple[float, float] = (0.0, 0.0)
    """Moves the crystal by (y, x)."""
    dislocation: Dislocation | None = None
    """One edge dislocation."""
    amorphous: tuple[float, float, float, float] | None = None
    """Region (y0, y1, x0, x1), in shares of the image, where columns stand at random; they are not in the truth."""
    amplitude: float = 150.0
    """Peak height above the background of the brightest preset's A columns, in counts."""
    background: float = 57.4
    """Counts between the columns in the middle of the image."""
    background_gradient: tuple[float, float] = (0.0, 0.0)
    """Relative change of the background from the middle to the lower and to the right edge."""
    amplitude_gradient: tuple[float, float] = (0.0, 0.0)
    """The same for the amplitudes."""
    vacuum_level: float = 0.1
    """Share of the background that remains in vacuum."""
    intensity_scatter: float = 0.0
    """Relative standard deviation of the amplitudes, column by column."""
    width_a_pm: float = 48.0
    """Standard deviation of the core of A columns (geometric mean of both axes)."""
    width_b_pm: float = 46.0
    """The same for B columns."""
    ellipticity: float = 1.0
    """Major over minor width."""
    ellipse_angle_deg: float = 0.0
    """Direction of the major axis on the screen."""
    tail_fraction: float = 0.0
    """Share of the peak height that belongs to a second, wider component."""
    tail_width: float = 2.0
    """Its width over that of the core."""
    row_jitter_px: tuple[float, float] = (0.0, 0.0)
    """Standard deviation of the random shift of each scan row in (y, x)."""
    drift_px: tuple[float, float] = (0.0, 0.0)
    """How far the specimen has moved in (y, x) by the last row, evenly from the first one."""
    dose: float = 1.0
    """Factor on all counts."""
    gain: float = 1.0
    """Units of the image per electron."""
    detector_offset: float = 0.0
    """Value of the image without electrons."""
    readout: float = 0.0
    """Standard deviation of the readout noise, in units of the image."""
    nan_border_px: int = 0
    """Width of a border of nan around the image; columns in it are not in the truth."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing, all of them in one message."""
        positive = ("pixel_size_pm", "width_a_pm", "width_b_pm", "ellipticity", "tail_width", "dose", "gain")
        wrong = [f"{name} = {getattr(self, name)} (more than 0)" for name in positive if not getattr(self, name) > 0]
        shares = ("vacuum", "tail_fraction", "vacuum_level", "intensity_scatter")
        wrong += [f"{name} = {getattr(self, name)} (0 to 1)" for name in shares if not 0 <= getattr(self, name) <= 1]
        not_negative = ("amplitude", "background", "readout", "nan_border_px")
        wrong += [
            f"{name} = {getattr(self, name)} (0 or more)" for name in not_negative if not getattr(self, name) >= 0
        ]
        wrong += [f"shape_px = {self.shape_px} (1 or more)"] if min(self.shape_px) < 1 else []
        wrong += ["layers are empty"] if not self.layers else []
        for name in ("background_gradient", "amplitude_gradient"):
            if sum(map(abs, getattr(self, name))) >= 1:
                wrong.append(f"{name} = {getattr(self, name)} (sum of both below 1)")
        if wrong:
            raise SettingsError("Settings of the film are out of range.", got="; ".join(wrong))

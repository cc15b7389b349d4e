"""Every choice behind the beam that a film is seen with."""

from __future__ import annotations

from dataclasses import dataclass

from dipolar.core.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltedSettings:
    """How the specimen lies in the beam, and the beam. Directions are those of the screen, (y, x)."""

    tilt_mrad: tuple[float, float] = (0.0, 0.0)
    """Direction into which the beam leans, in the middle of the image."""
    tilt_down_mrad: tuple[float, float] = (0.0, 0.0)
    """How much it changes from the upper to the lower edge: a bent specimen."""
    tilt_right_mrad: tuple[float, float] = (0.0, 0.0)
    """How much it changes from the left to the right edge."""
    thickness_nm: float = 30.0
    """Thickness in the middle of the image."""
    thickness_change_nm: tuple[float, float] = (0.0, 0.0)
    """How much it changes from the upper to the lower, and from the left to the right edge."""
    focus_nm: float = 0.0
    """Depth of the focus below the entrance surface."""
    source_fwhm_pm: float = 80.0
    """Full width at half maximum of the source's image; geometric mean of both axes."""
    source_ellipticity: float = 1.0
    """Its major over its minor width."""
    source_angle_deg: float = 0.0
    """Direction of its major axis on the screen."""
    dose_e_per_pm2: float = 5.0
    """Electrons that hit the specimen; `FilmSettings.dose` is a factor on them."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing, all of them in one message."""
        positive = ("thickness_nm", "source_ellipticity", "dose_e_per_pm2")
        wrong = [f"{name} = {getattr(self, name)} (more than 0)" for name in positive if not getattr(self, name) > 0]
        wrong += [] if self.source_fwhm_pm >= 0 else [f"source_fwhm_pm = {self.source_fwhm_pm} (0 or more)"]
        if sum(map(abs, self.thickness_change_nm)) >= 2.0 * self.thickness_nm:
            wrong.append(
                f"thickness_change_nm = {self.thickness_change_nm} (nothing is left of {self.thickness_nm} nm)"
            )
        if wrong:
            raise SettingsError("Settings of the tilted film are out of range.", got="; ".join(wrong))

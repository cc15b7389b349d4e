"""The microscope: its electrons, the probe that it makes, its detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from dipolar.core.errors import SettingsError

PLANCK_J_S, MASS_KG, CHARGE_C, LIGHT_M_PER_S = 6.62607015e-34, 9.1093837015e-31, 1.602176634e-19, 299792458.0
REST_KEV = MASS_KG * LIGHT_M_PER_S**2 / CHARGE_C / 1e3
"""Energy of an electron at rest."""
FWHM_PER_SIGMA = 2.3548200450309493


def wavelength_pm(voltage_kv: float) -> float:
    """Return the wavelength of electrons, relativistic."""
    energy_j = 1e3 * voltage_kv * CHARGE_C
    momentum = np.sqrt(2.0 * MASS_KG * energy_j * (1.0 + voltage_kv / (2.0 * REST_KEV)))
    return float(1e12 * PLANCK_J_S / momentum)


def mass_ratio(voltage_kv: float) -> float:
    """Return the mass of electrons over their mass at rest."""
    return 1.0 + voltage_kv / REST_KEV


@dataclass(frozen=True, slots=True, kw_only=True)
class Microscope:
    """A scanning transmission electron microscope with an annular detector."""

    voltage_kv: float = 200.0
    """High tension."""
    convergence_mrad: float = 30.0
    """Semi-angle of the probe."""
    inner_mrad: float = 65.0
    """Where the detector begins; its centre is on the beam, also when the specimen is tilted."""
    outer_mrad: float = 250.0
    """Where it ends."""
    defocus_pm: float = 0.0
    """Depth of the focus in the specimen below its entrance surface; negative: above it."""
    cs_mm: float = 0.0
    """Spherical aberration of third order."""
    source_fwhm_pm: float = 0.0
    """Full width at half maximum of the source's image, a Gaussian that blurs the picture."""

    def __post_init__(self) -> None:
        """Refuse what no microscope can be.

        Raises
        ------
        SettingsError
            If a value is out of its range.
        """
        if not (0 < self.voltage_kv < 1e4 and self.convergence_mrad > 0 and self.source_fwhm_pm >= 0):
            raise SettingsError(
                "voltage and convergence must be positive, the source's width not negative.",
                got=f"{self.voltage_kv:g} kV, {self.convergence_mrad:g} mrad, {self.source_fwhm_pm:g} pm",
                do="Microscope(voltage_kv=200, convergence_mrad=30)",
            )
        if not 0 <= self.inner_mrad < self.outer_mrad:
            raise SettingsError(
                "a detector reaches from its inner angle to a larger one.",
                got=f"{self.inner_mrad:g} to {self.outer_mrad:g} mrad",
                do="inner_mrad=65, outer_mrad=250",
            )

    @property
    def wavelength_pm(self) -> float:
        """Wavelength of the electrons."""
        return wavelength_pm(self.voltage_kv)

    @property
    def aperture_per_pm(self) -> float:
        """Largest spatial frequency of the probe."""
        return self.convergence_mrad * 1e-3 / self.wavelength_pm

    def frequency_per_pm(self, angle_mrad: float) -> float:
        """Return the spatial frequency that is scattered into an angle."""
        return angle_mrad * 1e-3 / self.wavelength_pm

    def pupil(self, k_per_pm: Float[np.ndarray, "... 2"], soft_per_pm: float) -> Complex[np.ndarray, "..."]:
        """Return amplitude and phase of the probe's plane waves at the entrance surface.

        Parameters
        ----------
        k_per_pm
            Their spatial frequencies.
        soft_per_pm
            Width over which the intensity falls at the rim of the aperture: the distance of the waves, so that a wave
            counts by how much of its surroundings lies inside.
        """
        k2 = np.sum(np.square(k_per_pm), axis=-1)
        inside = np.clip((self.aperture_per_pm - np.sqrt(k2)) / soft_per_pm + 0.5, 0.0, 1.0)
        wave = self.wavelength_pm
        phase = np.pi * wave * self.defocus_pm * k2 - 0.5 * np.pi * (1e9 * self.cs_mm) * wave**3 * np.square(k2)
        return np.sqrt(inside) * np.exp(1j * phase)

    def blur(self, frequency_per_pm: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "..."]:
        """Return what the source's size leaves of each spatial frequency of a picture."""
        sigma_pm = self.source_fwhm_pm / FWHM_PER_SIGMA
        return np.exp(-2.0 * np.square(np.pi * sigma_pm) * np.sum(np.square(frequency_per_pm), axis=-1))

"""How columns can be fitted: small objects with their own options."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractFit:
    """How columns are fitted. Subclass to fit another profile; see `SharedProfileFit`."""

    radius_widths: float = 3.0
    """Radius of the fitting window in column widths: at 3, less than half a per cent of the information is outside."""
    passes: int = 2
    """Passes over all columns after the first rough ones; more follow by themselves until the columns settle."""

    @property
    def mixture(self) -> tuple[float, ...]:
        """Widths of the Gaussians whose weights are learned from the image; none: the profile is a plain Gaussian."""
        raise TypeError(f"{type(self).__name__} does not say of what its profile is made")


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianFit(AbstractFit):
    """Elliptical Gaussians, as in the published work; biased where columns have tails."""

    passes: int = 1
    """Nothing is learned between passes, so that one is enough where columns stand apart."""

    @property
    def mixture(self) -> tuple[float, ...]:
        """Nothing is learned."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedProfileFit(AbstractFit):
    """Elliptical columns whose radial profile is shared by the sublattice and learned from the image (default)."""

    component_widths: tuple[float, ...] = tuple(0.66 * 1.15**n for n in range(11))
    """Widths of the Gaussians in the mixture, relative to the first fit. With steps of 1.3 instead of 1.15, two per
    cent of the light of columns with tails went into the background."""

    @property
    def mixture(self) -> tuple[float, ...]:
        """The component widths."""
        return self.component_widths

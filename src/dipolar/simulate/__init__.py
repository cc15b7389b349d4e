"""Specimens from nothing, with their truth; and the limit that noise sets."""

from dipolar.simulate.antipolar import simulate_wave, waved
from dipolar.simulate.benchmark import LOW_DOSE, benchmark_film
from dipolar.simulate.composition import COMPOSITIONS, composition_film
from dipolar.simulate.crystal import Dislocation, Layer
from dipolar.simulate.detector import count
from dipolar.simulate.domains import Domains, wall
from dipolar.simulate.film import Simulated, record_specimen, simulate_film
from dipolar.simulate.limits import cramer_rao, displacement_limit, rms_per_component
from dipolar.simulate.materials import MATERIALS, Material, material_named
from dipolar.simulate.noise import PUBLISHED_VARIANCES, with_gaussian_noise
from dipolar.simulate.patterned import PATTERNED_FILM, LabelledFilm, patterned_film
from dipolar.simulate.polydomain import Polydomain, Regions
from dipolar.simulate.random_films import TrainingFilm, random_film
from dipolar.simulate.ranges import FilmRanges
from dipolar.simulate.render import render_columns
from dipolar.simulate.scan import ScanTruth, SimulatedScan, simulate_scan
from dipolar.simulate.scan_series import ScanSeriesSettings, SimulatedScanSeries, simulate_scan_series
from dipolar.simulate.scan_settings import SimulatedScanSettings
from dipolar.simulate.series import SeriesSettings, SimulatedSeries, simulate_series
from dipolar.simulate.settings import FilmSettings
from dipolar.simulate.superlattice import Superlattice
from dipolar.simulate.truth import truth_cells
from dipolar.simulate.variants import FOUR_VARIANTS, VariantSet, VariantSettings, variant_set
from dipolar.simulate.vortex import Vortices

__all__ = [
    "COMPOSITIONS",
    "FOUR_VARIANTS",
    "LOW_DOSE",
    "MATERIALS",
    "PATTERNED_FILM",
    "PUBLISHED_VARIANCES",
    "Dislocation",
    "Domains",
    "FilmRanges",
    "FilmSettings",
    "LabelledFilm",
    "Layer",
    "Material",
    "Polydomain",
    "Regions",
    "ScanSeriesSettings",
    "ScanTruth",
    "SeriesSettings",
    "Simulated",
    "SimulatedScan",
    "SimulatedScanSeries",
    "SimulatedScanSettings",
    "SimulatedSeries",
    "Superlattice",
    "TrainingFilm",
    "VariantSet",
    "VariantSettings",
    "Vortices",
    "benchmark_film",
    "composition_film",
    "count",
    "cramer_rao",
    "displacement_limit",
    "material_named",
    "patterned_film",
    "random_film",
    "record_specimen",
    "render_columns",
    "rms_per_component",
    "simulate_film",
    "simulate_scan",
    "simulate_scan_series",
    "simulate_series",
    "simulate_wave",
    "truth_cells",
    "variant_set",
    "wall",
    "waved",
    "with_gaussian_noise",
]

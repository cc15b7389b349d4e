"""What one run of ``dipolar image measure`` or ``predict`` found: the noun that everything else goes into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dipolar.core.comparison import Comparison, Places
from dipolar.core.domains import Maps
from dipolar.core.edits import EditsRecord
from dipolar.core.findings import (
    MistiltFinding,
    Order,
    Profile,
    ReferenceProposal,
    ScanCalibration,
    ScanCorrection,
    Tetragonality,
    TiltCorrection,
)
from dipolar.core.learning import Card, Prediction
from dipolar.core.material import Polarization
from dipolar.core.motif import Octahedra, Offsets, SiteColumns, TiltPattern
from dipolar.core.nouns import Calibration, Cells, Columns, Field, GainCheck, Image, Record, Reference


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sites:
    """Columns on every site of a unit cell given or recognised, oxygen included, and what follows from them."""

    columns: SiteColumns
    """All columns, A and B among them."""
    offsets: tuple[Offsets, ...]
    """How far columns of one site stand from where their neighbours say."""
    octahedra: Octahedra | None
    """Tilts of the octahedra, where oxygen is seen."""
    tilts: tuple[TiltPattern, ...]
    """Mean tilt for every way in which its sign may alternate."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """Columns that were fitted without any network, beside those of a prediction, and their cells."""

    columns: Columns
    """All columns."""
    cells: Cells
    """Cells built from them, the offset of the same reference region taken off."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What follows from columns and cells; None where it was not asked for or cannot be said."""

    proposal: ReferenceProposal | None = None
    """Where a reference region might be, where none was given."""
    mistilt: MistiltFinding | None = None
    """Whether a tilt of the crystal is to be suspected."""
    tilt: TiltCorrection | None = None
    """The tilt by comparison with tilted crystals, and the false displacement that it makes."""
    tilt_removed: bool = False
    """Whether that was taken off the cells."""
    order: Order | None = None
    """Polar, antipolar, modulated or null."""
    wave: Field | None = None
    """Local amplitude of the strongest wave, in px, where one is significant."""
    tetragonality: Tetragonality | None = None
    """c/a of every cell."""
    layers: Profile | None = None
    """c/a averaged over every layer."""
    planes: tuple[Field, ...] = ()
    """Direction, rotation and curvature of the rows of A columns along a and along b."""
    polarization: Polarization | None = None
    """Where a material was named."""
    maps: Maps | None = None
    """Domains, walls, bound charge, vortices, places to look next."""
    scan: ScanCorrection | None = None
    """What was taken off as jitter of scan rows."""
    shape: ScanCalibration | None = None
    """Pixel sizes along y and x and the shear that were corrected for."""
    edits: EditsRecord | None = None
    """What became of corrections by hand."""
    sites: Sites | None = None
    """Columns on other sites."""
    prediction: Prediction | None = None
    """What a network says of the image, where the displacement of the cells is its."""
    cards: tuple[Card, ...] = ()
    """What is written on the networks: on the one that told displacement, then on the one that found the columns."""
    places: Places | None = None
    """Where to look next: what is unlike the training images of the network, or unlike the rest of this image."""
    fitted: Fitted | None = None
    """The same image measured by fitting, where the prediction was to be compared with that."""
    comparison: Comparison | None = None
    """Cells of `fitted` beside those of the prediction."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurement:
    """Everything one run of ``dipolar image measure`` or ``predict`` found."""

    image: Image
    """The image as it was measured."""
    columns: Columns
    """All columns."""
    cells: Cells
    """All cells."""
    fields: tuple[Field, ...]
    """Strain and rotation against the reference, one value per cell, in the order of `cells`."""
    calibration: Calibration
    """Pixel size and its origin."""
    reference: Reference | None
    """Reference region, where one was given."""
    gain_check: GainCheck | None
    """The check on the user's own image, where it was run."""
    summary: Mapping[str, float | int | str | None]
    """Counts, medians and spreads, by name."""
    record: Record
    """What made it."""
    findings: Findings = field(default_factory=Findings)
    """What follows from columns and cells."""

"""Settings of the recipes: each is named, given its default and described once, here.

The command line takes its options from these models, ``docs/settings.md`` its table, and a TOML file its keys. Nothing
heavy is imported, so that ``dipolar --help`` stays instant.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dipolar.core.errors import SettingsError
from dipolar.recipes.parse import (
    Angles,
    Finite,
    Formats,
    Layers,
    LengthPm,
    Pair,
    Region,
    ZoneAxis,
    parse_angles,
    parse_layers,
    parse_region,
    parse_zone_axis,
)


class Settings(BaseModel):
    """What all settings share: frozen, no unknown names, to and from TOML; the repr shows what differs."""

    # What checks values is built when it is first needed: dipolar --help needs none, and there are many settings.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def changed(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults."""
        return {name: value for name, value in self if value != type(self).model_fields[name].default}

    def __repr_args__(self) -> Any:
        """Show only what differs from the default."""
        return list(self.changed().items())


class MeasureSettings(Settings):
    """Settings of ``dipolar image measure``."""

    pixel_size_pm: LengthPm | None = Field(
        None,
        ge=0.1,
        le=1000,
        description="Edge of a pixel in pm, instead of what the file says. A unit may follow: 0.0156nm.",
    )
    lattice_pm: LengthPm | None = Field(
        None,
        ge=100,
        le=5000,
        description="Known lattice parameter in pm, of the reference region where one is given: the pixel size is "
        "then calibrated on the measured lattice, whatever the file says.",
    )
    basis: Literal["A", "B"] = Field(
        "A", description="Sublattice at the corners of the cells; displacement is that of the other one."
    )
    reference: Region | None = Field(
        None,
        description="Region y0:y1,x0:x1 in px, usually substrate, whose mean displacement is removed everywhere and "
        "against which strain is measured.",
    )
    material: str | None = Field(
        None,
        description="Material whose polarization is told from the displacement: BiFeO3, PbTiO3, BaTiO3, or a TOML file "
        "with its factor or Born charges. Without one, nothing is called polarization.",
    )
    directions: Angles | None = Field(
        None,
        description="Directions in which domains may point, in degrees counter-clockwise from the a axis, with commas "
        "between: 45,135,225,315. Not given: as many as the displacements show.",
    )
    scan: Literal["keep", "rows", "shape", "both"] = Field(
        "keep",
        description="What of the scan's distortion to correct: shifts of single rows, told from the crystal; the shape "
        "of the scan, told from lattice_pm in the reference region as a square cell; or both.",
    )
    mistilt: Literal["off", "report", "correct"] = Field(
        "report",
        description="Whether to look for a tilt of the crystal, which fakes a displacement: report tells the "
        "suspicion, and its size where thickness_nm is given, and changes nothing; correct takes the false "
        "displacement off, and adds its uncertainty to sigma.",
    )
    thickness_nm: float | None = Field(
        None, gt=0, le=1000, description="Estimated thickness of the specimen in nm, by which a tilt is told."
    )
    thickness_share: float = Field(
        0.2, ge=0, le=1, description="Standard deviation of that estimate, relative: 0.2 is 20 %."
    )
    tilt_library: str | None = Field(
        None,
        description="What columns look like under a tilted beam: bfo, sto, or what dipolar simulate tilt wrote, a "
        "folder or its library. Not given: that of the material.",
    )
    tilt_by: Literal["library", "network"] = Field(
        "library", description="What tells the tilt: every entry of the library compared, or a network trained on it."
    )
    opposite: Region | None = Field(
        None,
        description="Region whose polarization is opposite to that of the reference region: half of the sum of both "
        "means, which a crystal free of tilt and scan distortion has as zero, is removed in place of the reference's.",
    )
    edits: str | None = Field(
        None, description="TOML file of corrections by hand: columns to remove, add or re-assign."
    )
    contrast: Literal["auto", "bright", "dark", "signed"] = Field(
        "auto", description="How columns stand out: bright (HAADF, ADF), dark (ABF), signed (iDPC, DPC)."
    )
    structure: str | None = Field(
        None, description="CIF file of the crystal: its columns along zone_axis are located, and measured against it."
    )
    zone_axis: ZoneAxis = Field("1,0,0", description="Direction along which the crystal of the CIF file is seen.")
    maps: bool = Field(True, description="Find domains, walls, vortices and places to look next.")
    fit: Literal["profile", "gaussian"] = Field(
        "profile", description="Column model: a profile learned from the sublattice itself, or a plain Gaussian."
    )
    bright: Literal["A", "B"] = Field(
        "A", description="Which sublattice is the brighter one; it decides which of the two is called A."
    )
    select: str | None = Field(None, description="Name of the image, in a file that holds several.")
    trust_pickle: bool = Field(
        False, description="Read files that hold Python pickles. Reading one runs the code in it."
    )
    gain_check: bool = Field(
        True, description="Simulate the image anew from its own fit, measure that, and report the gain."
    )
    figures: Formats = Field("png", description="Formats of the figures: any of png, svg, pdf, with commas between.")

    @property
    def region_px(self) -> tuple[int, int, int, int] | None:
        """The reference region as (y0, y1, x0, x1), or None."""
        return None if self.reference is None else parse_region(self.reference)

    @property
    def opposite_px(self) -> tuple[int, int, int, int] | None:
        """The region of opposite polarization as (y0, y1, x0, x1), or None."""
        return None if self.opposite is None else parse_region(self.opposite)

    @property
    def directions_deg(self) -> tuple[float, ...] | None:
        """The directions of domains, one by one, or None."""
        return None if self.directions is None else parse_angles(self.directions)

    @property
    def zone_axis_uvw(self) -> tuple[int, int, int]:
        """The zone axis as three whole numbers."""
        return parse_zone_axis(self.zone_axis)

    @property
    def figure_formats(self) -> tuple[str, ...]:
        """The figure formats, one by one."""
        return tuple(self.figures.split(","))


class SimulateSettings(Settings):
    """Settings of ``dipolar simulate image``: a perovskite film, seen along a pseudocubic [100]."""

    layers: Layers = Field(
        "SrTiO3:0.25,BiFeO3:0.75",
        description="The stack from bottom to top, each layer with its share of the height; only ratios of "
        "shares count, so that they need not add up to 1. Materials: SrTiO3, BiFeO3, PbTiO3, BaTiO3.",
    )
    height_px: int = Field(1024, ge=32, le=16384, description="Rows of the image.")
    width_px: int = Field(1024, ge=32, le=16384, description="Columns of the image.")
    pixel_size_pm: LengthPm = Field(17.25, description="Edge of a pixel in pm. A unit may follow: 0.01725nm.")
    rotation_deg: Finite = Field(0.0, description="Rotation of the crystal, counter-clockwise on the screen.")
    pattern: Literal["none", "superlattice", "regions", "vortex"] = Field(
        "none",
        description="Instead of layers and a wall, one BiFeO3 crystal with a pattern of cells that are labelled in "
        "truth_cells.csv: layers of a polar and of another crystal with domains through them, regions of four variants "
        "in shares of 40, 30, 20 and 10 %, or a vortex.",
    )
    displacement_pm: float | None = Field(
        None,
        ge=0,
        le=100,
        description="Displacement of B in every polar layer, instead of that of its material; in a pattern instead of "
        "35 pm.",
    )
    ratio_b_to_a: float | None = Field(
        None, ge=0, le=10, description="Brightness of B over that of A, instead of that of the material."
    )
    wall: Literal["none", "180", "109", "71"] = Field("180", description="Kind of the domain wall in polar layers.")
    wall_width_pm: float = Field(800.0, ge=0, allow_inf_nan=False, description="Width of the wall's tanh profile.")
    vacuum: float = Field(0.0, ge=0, lt=0.9, description="Share of the image above a free surface.")
    strain_y: float = Field(0.0, ge=-0.2, le=0.2, description="Relative stretch of the crystal along its growth.")
    strain_x: float = Field(0.0, ge=-0.2, le=0.2, description="Relative stretch of the crystal along the film.")
    shear: float = Field(0.0, ge=-0.2, le=0.2, description="x moves by this share of y.")
    dislocation: bool = Field(False, description="Put one edge dislocation into the middle.")
    amplitude_counts: float = Field(
        150.0, gt=0, le=1e9, description="Electrons per pixel at the peak of the brightest columns."
    )
    background_counts: float = Field(57.4, ge=0, le=1e9, description="Electrons per pixel between the columns.")
    background_slope: float = Field(
        0.15, gt=-1, lt=1, description="Relative change of the background from the middle to the right edge."
    )
    intensity_scatter: float = Field(0.05, ge=0, le=0.5, description="Relative scatter of the columns' brightness.")
    tail_fraction: float = Field(0.0, ge=0, lt=1, description="Share of a column's height in broad tails.")
    tilt_mrad: Pair | None = Field(
        None,
        description="Draw columns as a beam sees them that leans into the direction Y,X on the screen by so many mrad, "
        "from the library of tilt of each layer. The crystal stays where it is. Not given: columns are Gaussian.",
    )
    tilt_change_mrad: Pair | None = Field(
        None, description="With a tilt: how much it changes, Y,X, from the left to the right edge. Not given: 0,0."
    )
    thickness_nm: float | None = Field(
        None, gt=0, le=1000, description="With a tilt: thickness of the specimen in the middle. Not given: 30."
    )
    thickness_change_nm: Finite | None = Field(
        None, description="With a tilt: how much it changes from the left to the right edge. Not given: 0."
    )
    focus_nm: Finite | None = Field(
        None, description="With a tilt: depth of the focus below the entrance surface. Not given: 0."
    )
    source_fwhm_pm: LengthPm | None = Field(
        None, le=1000, description="With a tilt: width of the source's image at half its height. Not given: 80."
    )
    dose_e_per_pm2: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="With a tilt: electrons that hit a pm², in place of the counts of columns and background. Not "
        "given: 5.",
    )
    tilt_library: str | None = Field(
        None,
        description="With a tilt: a library that dipolar simulate tilt wrote, for layers of its material in place of "
        "the one that comes with dipolar.",
    )
    row_jitter_px: float = Field(0.0, ge=0, le=5, description="Standard deviation of the shift of each scan row.")
    drift_y_px: Finite = Field(0.0, description="How far the specimen has moved in y by the last row.")
    drift_x_px: Finite = Field(0.0, description="How far the specimen has moved in x by the last row.")
    dose: float = Field(1.0, gt=0, le=1e6, description="Factor on all counts.")
    gain: float = Field(1.0, gt=0, le=1e6, description="Units of the image per electron.")
    detector_offset: Finite = Field(0.0, description="Value of the image without electrons.")
    readout: float = Field(0.0, ge=0, allow_inf_nan=False, description="Readout noise, in units of the image.")
    format: Literal["tif", "tif16", "npy"] = Field(
        "tif", description="tif holds 32-bit floats, tif16 16-bit integers; npy has no pixel size in it."
    )
    seed: int = Field(0, ge=0, description="Seed of all that is random; the same seed gives the same image.")

    @property
    def stack(self) -> tuple[tuple[str, float], ...]:
        """The layers as (material, share)."""
        return parse_layers(self.layers)


Model = TypeVar("Model", bound=Settings)


def build(model: type[Model], values: dict[str, Any], *, source: str = "") -> Model:
    """Return settings from values by name.

    Raises
    ------
    SettingsError
        If a name is unknown or a value is not allowed; every offender is listed.
    """
    where = f" in {source}" if source else ""
    unknown = [name for name in values if name not in model.model_fields]
    if unknown:
        close = difflib.get_close_matches(unknown[0], model.model_fields, n=1)
        hint = f'did you mean "{close[0]}"?' if close else "one of: " + ", ".join(model.model_fields)
        named = ", ".join(f'"{name}"' for name in unknown)
        raise SettingsError(f"there is no such setting{where}.", got=named, do=hint)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"a setting has a value that is not allowed{where}.", got=offenders(error)) from error


def change(settings: Model, changes: dict[str, Any]) -> Model:
    """Return settings with some changed by name, checked again.

    Raises
    ------
    SettingsError
        If a name is unknown or a value is not allowed; the message names it.
    """
    return build(type(settings), {**settings.model_dump(exclude_unset=True), **changes})


def offenders(error: ValidationError, *, prefix: str = "") -> str:
    """Return one phrase for each wrong setting: its name, its value and what it should be."""
    phrases = []
    for problem in error.errors(include_url=False):
        name = prefix + str(problem["loc"][0] if problem["loc"] else "settings")
        if prefix:
            name = name.replace("_", "-")
        reason = problem["msg"].removeprefix("Value error, ")
        limit = next((value for key, value in problem.get("ctx", {}).items() if key in ("le", "ge")), None)
        if prefix and limit is not None:
            reason += f": {name} {limit}"
        phrases.append(f"{name} = {problem['input']!r} ({reason[:1].lower()}{reason[1:]})")
    return "; ".join(phrases)


def read_toml(path: str | Path, model: type[Model]) -> Model:
    """Return settings from a TOML file; what it leaves out keeps its default.

    Raises
    ------
    SettingsError
        If the file cannot be read, is not TOML, or holds an unknown name or a value that is not allowed.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError("the settings file cannot be read.", got=f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            "the settings file is not TOML.", got=f"{path}: {error}", do="write lines such as: lattice_pm = 390.5"
        ) from error
    return build(model, values, source=path.name)


def to_toml(settings: Settings) -> str:
    """Return all settings as TOML, a line each; a comment marks those that were changed and those not given."""
    return "".join(f"{_toml_line(name, value, type(settings))}\n" for name, value in settings)


def _toml_line(name: str, value: Any, model: type[Settings]) -> str:
    import tomli_w

    if value is None:
        return f"# {name} is not given"
    default = model.model_fields[name].default
    line = tomli_w.dumps({name: value}).strip()
    if value == default:
        return line
    before = "not given" if default is None else tomli_w.dumps({name: default}).strip().partition(" = ")[2]
    return f"{line}  # changed; default: {before}"

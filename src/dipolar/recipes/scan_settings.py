"""Settings of ``dipolar scan train`` and ``map``: named, given their defaults and described once, here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from dipolar.core.errors import SettingsError
from dipolar.recipes.parse import Formats, Numbers, ZoneAxis, parse_numbers
from dipolar.recipes.settings import Settings


def parse_scan_shape(text: str) -> tuple[int, int]:
    """Return (scan_y, scan_x) from ``"34,206"`` or ``"34x206"``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    match = re.fullmatch(r"\s*(\d+)\s*[,x×]\s*(\d+)\s*", text)
    if match is None or not int(match[1]) * int(match[2]):
        raise ValueError("the shape of a scan is written rows,columns: 34,206")
    return int(match[1]), int(match[2])


def _shape(value: Any) -> Any:
    """Take a pair too, as a TOML file holds it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _checked(text: str) -> str:
    return "{},{}".format(*parse_scan_shape(text))


ScanShape = Annotated[str, BeforeValidator(_shape), AfterValidator(_checked)]
"""Rows and columns of a scan, as they are typed."""


def parse_clicks(text: str) -> tuple[tuple[float, float], ...]:
    """Return (k_y, k_x) of each click from ``"100,120;156,120"``.

    Raises
    ------
    ValueError
        If the text is not of that form.
    """
    found = []
    for part in filter(str.strip, text.split(";")):
        try:
            y, x = (float(number) for number in part.split(","))
        except ValueError:
            raise ValueError("clicks are written k_y,k_x with semicolons between: 100,120;156,120") from None
        found.append((y, x))
    if not found or not all(abs(number) < float("inf") for click in found for number in click):
        raise ValueError("clicks are written k_y,k_x with semicolons between: 100,120;156,120")
    return tuple(found)


def _pairs(value: Any) -> Any:
    """Take pairs too, as a TOML file holds them."""
    if not isinstance(value, list | tuple):
        return value
    return ";".join(",".join(map(str, pair)) if isinstance(pair, list | tuple) else str(pair) for pair in value)


def _clicks(text: str) -> str:
    return ";".join(f"{y:g},{x:g}" for y, x in parse_clicks(text))


Clicks = Annotated[str, BeforeValidator(_pairs), AfterValidator(_clicks)]
"""Positions on the detector, as they are typed."""


def check_idle(settings: Settings, *names: str, needs: str) -> None:
    """Refuse settings that were changed and would have no effect.

    Parameters
    ----------
    settings
        Of which these are some.
    names
        Which say something only with what `needs` says.
    needs
        That, as it is typed.

    Raises
    ------
    SettingsError
        If one was changed.
    """
    idle = {name: value for name, value in settings.changed().items() if name in names}
    if idle:
        name, value = next(iter(idle.items()))
        raise SettingsError(
            f"{name} says something only with {needs}.", got=f"{name} = {value}", do=f"leave it out, or give {needs}"
        )


class ReadSettings(Settings):
    """How a scan is read: what all commands on scans share."""

    scan_shape: ScanShape | None = Field(
        None, description="Rows and columns of the scan, Y,X, where the file does not say, or says it wrongly."
    )
    skip: int | None = Field(
        None,
        ge=0,
        description="Patterns at the beginning of the file that belong to no probe position; any number, 0 too, also "
        "leaves out those that are over at the end.",
    )
    select: str | None = Field(None, description="Name of the scan, in a file that holds several.")

    @property
    def opening(self) -> dict[str, Any]:
        """The arguments of `dipolar.open_scan`."""
        shape = None if self.scan_shape is None else parse_scan_shape(self.scan_shape)
        return {"scan_shape": shape, "skip": self.skip, "select": self.select}


class LookSettings(ReadSettings):
    """How patterns are looked at: what training and mapping share."""

    patterns: int = Field(
        256, ge=16, le=65_536, description="Patterns, spread over the scan, in which beam, disks and lattice are found."
    )
    ghosts: Literal["parity", "clicks", "cif"] = Field(
        "parity",
        description="Where ghosts can be: half way between disks; where clicks are, and opposite; or where the CIF "
        "file of the child has reflections and that of the parent has none. A trained bank knows.",
    )
    clicks: Clicks | None = Field(
        None, description="With ghosts = clicks: k_y,k_x of ghosts in the mean pattern, in px: 100,120;156,120."
    )
    parent: str | None = Field(
        None, description="With ghosts = cif: CIF file of the crystal whose disks are brightest."
    )
    child: str | None = Field(None, description="With ghosts = cif: CIF file of the crystal that has the ghosts.")
    parent_axis: ZoneAxis = Field("0,0,1", description="Direction along which the parent is seen, in its own axes.")
    child_axis: ZoneAxis = Field("0,0,1", description="The same direction in the axes of the child.")


class ScanTrainSettings(LookSettings):
    """Settings of ``dipolar scan train``."""

    classifier: Literal["bank", "small", "published"] = Field(
        "bank",
        description="What learns: a regression on a bank of virtual detectors, which needs the fewest labels; a small "
        "network; or the published network, to compare with.",
    )
    ensemble: int = Field(1, ge=1, le=20, description="Number of members, each of which learns by itself.")
    familiar: int = Field(
        8192,
        ge=0,
        le=1_000_000,
        description="Patterns without a label, spread over the scan, that tell how patterns vary; 0 uses labels only.",
    )
    size_px: int | None = Field(
        None,
        ge=16,
        le=256,
        multiple_of=16,
        description="Edge of the small copies of patterns that small sees. Not given: 64.",
    )
    reading: Literal["released", "drawn", "stated"] = Field(
        "released",
        description="Which of the three sizes of the published network: of the code, the figure, or the text.",
    )
    seed: int = Field(0, ge=0, description="Seed of all that is random; the same seed gives the same model.")


class ScanMapSettings(LookSettings):
    """Settings of ``dipolar scan map``."""

    workers: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Processes that share the work, as a Dask cluster on this machine. Not given: threads of one.",
    )
    cluster: str | None = Field(
        None, description="Address of the scheduler of a Dask cluster that does the work: tcp://HOST:8786."
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="Threads that share the work. Not given: one for each core."
    )
    libertem: bool = Field(
        False,
        description="Let LiberTEM spread the work: over --workers processes of this machine, 2 where not given, or "
        "over its own cluster at --cluster.",
    )
    follow: bool = Field(False, description="The file still grows: map patterns as they are written.")
    patience_s: float = Field(60.0, gt=0, description="With follow: seconds without a new pattern that end the scan.")
    virtual: bool = Field(True, description="Make conventional images too: bright and dark field, centre of mass.")
    figures: Formats = Field("png", description="Formats of the figures: any of png, svg, pdf, with commas between.")

    @property
    def figure_formats(self) -> tuple[str, ...]:
        """The figure formats, one by one."""
        return tuple(self.figures.split(","))


class ScanSeriesSettings(Settings):
    """Settings of ``dipolar scan series``."""

    times: Numbers | None = Field(
        None, description="When each scan was taken, in s, with commas between: 0,30,60. Not given: scans are counted."
    )
    figures: Formats = Field("png", description="Formats of the figure: any of png, svg, pdf, with commas between.")

    @property
    def times_s(self) -> tuple[float, ...] | None:
        """The times, one by one, or None."""
        return None if self.times is None else parse_numbers(self.times)

    @property
    def figure_formats(self) -> tuple[str, ...]:
        """The figure formats, one by one."""
        return tuple(self.figures.split(","))

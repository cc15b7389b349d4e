"""The file of corrections by hand, ``edits.toml``: read, checked, and written in the same form by the page."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dipolar.core.edits import Addition, Assignment, Edits, Mask, Removal
from dipolar.core.errors import OutputError, SettingsError

Coordinate = Annotated[float, Field(allow_inf_nan=False, strict=False)]
Place = tuple[Coordinate, Coordinate]
EXAMPLE = """
        [[remove]]
        at = [120.5, 88.0]    # y, x in px
        why = "dirt"
"""
"""A whole file, as messages show it."""
DO = f"write tables such as these lines (all keys are in docs/how-to-choose.md):{EXAMPLE.rstrip()}"


class _Entry(BaseModel):
    """What all entries share: no unknown keys, and a reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    why: str = ""


class _At(_Entry):
    at: Place


class _Assign(_At):
    sublattice: Literal["A", "B"]
    whole_crystal: bool = False


class _Ignore(_Entry):
    rectangle: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = None
    polygon: tuple[Place, ...] | None = None

    @model_validator(mode="after")
    def _one_shape(self) -> _Ignore:
        if (self.rectangle is None) == (self.polygon is None):
            raise ValueError("either rectangle = [y0, y1, x0, x1] or polygon = [[y, x], …] is needed")
        if self.rectangle is not None:
            y0, y1, x0, x1 = self.rectangle
            if y0 >= y1 or x0 >= x1:
                raise ValueError("the rectangle is empty: y0 must be less than y1, and x0 less than x1")
        if self.polygon is not None and len(self.polygon) < 3:
            raise ValueError("a polygon has three corners or more")
        return self

    def mask(self) -> Mask:
        """Return the noun, a rectangle as the polygon of its corners."""
        if self.polygon is not None:
            return Mask(polygon_px=self.polygon, why=self.why)
        y0, y1, x0, x1 = self.rectangle or (0.0, 0.0, 0.0, 0.0)
        return Mask(polygon_px=((y0, x0), (y0, x1), (y1, x1), (y1, x0)), why=self.why)


class _File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    tolerance_px: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    ignore: tuple[_Ignore, ...] = ()
    remove: tuple[_At, ...] = ()
    add: tuple[_At, ...] = ()
    assign: tuple[_Assign, ...] = ()


_TABLES: dict[str, type[_Entry]] = {"ignore": _Ignore, "remove": _At, "add": _At, "assign": _Assign}


def parse_edits(text: str, *, source: str = "edits") -> Edits:
    """Return the edits that a TOML text holds.

    Parameters
    ----------
    text
        Tables ``[[ignore]]``, ``[[remove]]``, ``[[add]]``, ``[[assign]]``, and ``tolerance_px``; places are y, x in px.
    source
        What the text is called in messages.

    Raises
    ------
    SettingsError
        If it is not TOML, or holds an unknown key or a value that is not allowed; every offender is named.
    """
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError("the file of edits is not TOML.", got=f"{source}: {error}", do=DO) from error
    try:
        file = _File.model_validate(values)
    except ValidationError as error:
        raise SettingsError("an edit is not what it should be.", got=f"{source}: {_offenders(error)}", do=DO) from error
    return Edits(
        ignore=tuple(item.mask() for item in file.ignore),
        remove=tuple(Removal(at_px=item.at, why=item.why) for item in file.remove),
        add=tuple(Addition(at_px=item.at, why=item.why) for item in file.add),
        assign=tuple(
            Assignment(at_px=i.at, sublattice=i.sublattice, whole_crystal=i.whole_crystal, why=i.why)
            for i in file.assign
        ),
        tolerance_px=file.tolerance_px,
    )


def _offenders(error: ValidationError) -> str:
    """Return one phrase for each wrong entry: where it is, and what is wrong with it."""
    phrases = []
    for problem in error.errors(include_url=False):
        parts = [str(p + 1) if isinstance(p, int) else p for p in problem["loc"]]
        reason = problem["msg"].removeprefix("Value error, ")
        reason = reason[:1].lower() + reason[1:]
        if problem["type"] == "extra_forbidden":
            table = _TABLES[str(parts[0])] if len(parts) > 1 else _File
            reason = f"there is no such key; known are {', '.join(sorted(table.model_fields, key='why'.__eq__))}"
        phrases.append(f"{' '.join(parts)}: {reason}")
    return "; ".join(phrases)


def read_edits(path: str | Path) -> Edits:
    """Return the edits of a file; see `parse_edits`.

    Raises
    ------
    SettingsError
        If the file cannot be read or is not what it should be.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise SettingsError("the file of edits cannot be read.", got=f"{path}: {reason}", do=DO) from error
    return parse_edits(text, source=path.name)


def edits_to_toml(edits: Edits) -> str:
    """Return the edits as the text of a file that `parse_edits` reads back as the same edits."""
    import tomli_w

    def entry(item: Removal | Addition | Assignment | Mask) -> dict[str, Any]:
        if isinstance(item, Mask):
            values: dict[str, Any] = {"polygon": [list(corner) for corner in item.polygon_px]}
        else:
            values = {"at": list(item.at_px)}
        if isinstance(item, Assignment):
            values |= {"sublattice": item.sublattice} | ({"whole_crystal": True} if item.whole_crystal else {})
        return values | ({"why": item.why} if item.why else {})

    values: dict[str, Any] = {} if edits.tolerance_px is None else {"tolerance_px": edits.tolerance_px}
    for name in ("ignore", "remove", "add", "assign"):
        if items := getattr(edits, name):
            values[name] = [entry(item) for item in items]
    return tomli_w.dumps(values)


def write_edits(path: str | Path, edits: Edits) -> None:
    """Write the file of edits, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(edits_to_toml(edits), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError("the file of edits cannot be written.", got=f"{path}: {error.strerror}") from error

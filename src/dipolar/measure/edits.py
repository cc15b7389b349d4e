"""Corrections by hand, applied to a table of columns before cells are built."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int32
from scipy.spatial import cKDTree

from dipolar.core.edits import Addition, Assignment, Edits, EditsRecord, Mask
from dipolar.core.errors import SettingsError
from dipolar.core.flags import Flag
from dipolar.core.nouns import LINK_STEPS, A, B, Columns, take

TOLERANCE = 0.3
"""How far a named place may be from its column, in distances from A to B."""
OPPOSITE = np.array([1, 0, 3, 2, 5, 4, 7, 6])
"""Where in `LINK_STEPS` the way back of each step stands."""
CODES = {"A": A, "B": B}


def apply_edits(columns: Columns, edits: Edits) -> tuple[Columns, EditsRecord]:
    """Return the columns as a person corrected them, and what was done.

    Masks come first, then removals, additions and changes of sublattice, each in the order given; so the same file
    gives the same table. Places refer to the columns as they were found, those of assignments also to added ones.
    Links to columns left out are cut. An added column takes its lattice index and sublattice from its neighbours, and
    joins the links of all neighbours that expect a column there; its position is the hand's, so its sigma is nan and
    it is flagged `BY_HAND`, as are the cells that use it (`FLAGGED_COLUMN`).

    Parameters
    ----------
    columns
        As they were located.
    edits
        What to change.

    Raises
    ------
    SettingsError
        If a place has no column within the tolerance, or an added one no neighbours or no room, every offender named;
        or if no column is left.
    """
    tolerance = TOLERANCE * _step_px(columns) if edits.tolerance_px is None else edits.tolerance_px
    gone = np.zeros(len(columns.flags), dtype=bool)
    for mask in edits.ignore:
        gone |= in_polygon(columns.positions_px, mask)
    ignored = int(np.count_nonzero(gone))
    rows, wrong = _rows_at(columns, [item.at_px for item in edits.remove], tolerance, "remove")
    removed = int(np.count_nonzero(~gone[np.unique(rows)]))
    gone[rows] = True
    result = take(columns, ~gone)
    for item in edits.add:
        result, problem = _with(result, item, tolerance)
        wrong += problem
    rows, problems = _rows_at(result, [item.at_px for item in edits.assign], tolerance, "assign")
    wrong += problems
    if wrong:
        raise SettingsError(
            "every edit must name a column that is there, or a free place on the lattice for a new one.",
            got="; ".join(wrong),
            do="take positions from columns.csv of the unedited result, or give tolerance_px in the edits",
        )
    if len(columns.flags) and not len(result.flags):
        raise SettingsError(
            "edits must leave some columns.",
            got=f"all {len(columns.flags)} are taken out: {ignored} lie in masks, {removed} are removed",
            do="make the masks smaller; a rectangle is [y0, y1, x0, x1] in px",
        )
    result, changed = _assigned(result, edits.assign, rows)
    return result, EditsRecord(edits=edits, removed=removed, ignored=ignored, added=len(edits.add), reassigned=changed)


def in_polygon(points_px: Float[np.ndarray, "point 2"], mask: Mask) -> Bool[np.ndarray, " point"]:
    """Return which points lie inside a polygon: a ray to the right crosses its edges an odd number of times."""
    corners = np.array(mask.polygon_px, dtype=float)
    inside = np.zeros(len(points_px), dtype=bool)
    y, x = points_px.T
    for (y0, x0), (y1, x1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside


def _step_px(columns: Columns) -> float:
    return float(np.sqrt(np.mean(np.sum(columns.steps_px**2, axis=1))))


def _rows_at(
    columns: Columns, places: list[tuple[float, float]], tolerance: float, what: str
) -> tuple[Int32[np.ndarray, " place"], list[str]]:
    """Return the row of the column at each place, and a phrase for each place that has none."""
    if not places:
        return np.zeros(0, dtype=np.int32), []
    if not len(columns.flags):
        return np.zeros(0, dtype=np.int32), [f"{what} at {place}: there are no columns" for place in places]
    distance, row = cKDTree(columns.positions_px).query(np.array(places))
    wrong = [
        f"{what} at ({y:g}, {x:g}): the nearest column is {far:.1f} px away, more than {tolerance:.1f}"
        for (y, x), far in zip(places, distance, strict=True)
        if far > tolerance
    ]
    return row[distance <= tolerance].astype(np.int32), wrong


def _with(columns: Columns, item: Addition, tolerance: float) -> tuple[Columns, list[str]]:
    """Return the table with one more column, or as it was and why."""
    y, x = item.at_px
    where, place = f"add at ({y:g}, {x:g})", np.array(item.at_px, dtype=float)
    if not len(columns.flags):
        return columns, [f"{where}: there are no columns for it to join"]
    far = np.linalg.norm(columns.positions_px - place, axis=1)
    if far.min() <= tolerance:
        return columns, [f"{where}: a column is {far.min():.1f} px away already"]
    row, step, miss = _expecting(columns, place)
    near = miss <= TOLERANCE * _step_px(columns)
    row, step, miss = row[near], step[near], miss[near]
    if not len(row):
        return columns, [f"{where}: no neighbour expects a column there"]
    best = int(np.argmin(miss))
    grain, index = columns.grain[row[best]], columns.index[row[best]] + LINK_STEPS[step[best]]
    if np.any((columns.grain == grain) & np.all(columns.index == index, axis=1)):
        return columns, [f"{where}: the lattice has a column for that place already"]
    agree = (columns.grain[row] == grain) & np.all(columns.index[row] + LINK_STEPS[step] == index, axis=1)
    return _joined(columns, place, index.astype(np.int32), row[agree], step[agree]), []


def _expecting(
    columns: Columns, place: Float[np.ndarray, "2"]
) -> tuple[Int32[np.ndarray, " found"], Int32[np.ndarray, " found"], Float[np.ndarray, " found"]]:
    """Return near columns with a loose link, which link, and how far from the place it would lead.

    Where the opposite link is there, the loose one leads as far to the other side, so that a curved lattice is
    followed; else the mean step of the image serves.
    """
    reach = 1.5 * float(np.max(np.linalg.norm(LINK_STEPS[4:] @ columns.steps_px, axis=1)))
    near = np.flatnonzero(np.linalg.norm(columns.positions_px - place, axis=1) < reach)
    start, step = np.nonzero(columns.links[near] < 0)
    row = near[start]
    leads = LINK_STEPS[step] @ columns.steps_px
    back = columns.links[row, OPPOSITE[step]]
    known = (back >= 0) & (step >= 4)  # a step between like columns does not carry the displacement
    leads[known] = columns.positions_px[row[known]] - columns.positions_px[back[known]]
    miss = np.linalg.norm(columns.positions_px[row] + leads - place, axis=1)
    return row.astype(np.int32), step.astype(np.int32), miss


def _joined(
    columns: Columns,
    place: Float[np.ndarray, "2"],
    index: Int32[np.ndarray, "2"],
    row: Int32[np.ndarray, " neighbour"],
    step: Int32[np.ndarray, " neighbour"],
) -> Columns:
    """Return the table with a last row at the place, linked with its neighbours both ways."""
    new, like = len(columns.flags), row[0]
    links = np.vstack([columns.links, np.full((1, 8), -1, dtype=np.int32)])
    links[row, step] = new
    links[new, OPPOSITE[step]] = row
    parity = (columns.index[like].sum() - index.sum()) % 2
    kind = columns.sublattice[like] if parity == 0 else 1 - columns.sublattice[like]
    last = {
        "positions_px": place,
        "index": index,
        "grain": columns.grain[like],
        "sublattice": kind,
        "row_reach_px": columns.row_reach_px[like],
        "flags": np.uint32(Flag.BY_HAND),
    }
    changes = {"links": links}
    for field in fields(columns):
        value = getattr(columns, field.name)
        if isinstance(value, np.ndarray) and field.name not in ("links", "steps_px", "profile"):
            entry = np.asarray(last.get(field.name, np.nan), dtype=value.dtype)
            changes[field.name] = np.concatenate([value, np.broadcast_to(entry, (1, *value.shape[1:]))])
    return replace(columns, **changes)  # type: ignore[arg-type]


def _assigned(
    columns: Columns, assign: tuple[Assignment, ...], rows: Int32[np.ndarray, " assignment"]
) -> tuple[Columns, int]:
    """Return the table with sublattices changed, and how many were."""
    sublattice = columns.sublattice.copy()
    for item, row in zip(assign, rows, strict=True):
        code = CODES[item.sublattice]
        if sublattice[row] == code:
            continue
        mine = columns.grain == columns.grain[row] if item.whole_crystal else np.arange(len(sublattice)) == row
        known = mine & (sublattice >= 0)
        sublattice[known] = 1 - sublattice[known]
        sublattice[row] = code
    changed = int(np.count_nonzero(sublattice != columns.sublattice))
    return replace(columns, sublattice=sublattice), changed

"""Tables of labels that other programs write and read: CSV, and the published YAML layout."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dipolar.core.atomic import atomic_file
from dipolar.core.errors import FormatError
from dipolar.core.scanning import Labels

COLUMNS = ("scan_y", "scan_x", "label")
"""Columns of our tables; `who` may follow, and others, which are not read."""
PUBLISHED = ("x", "y", "label")
"""Columns of the published tables: x along a row of the scan, y from row to row. In a wider table these names could
mean anything, so that nothing but `who` may stand beside them."""
SAID_BY_A_MODEL = "probability"
"""Column of a table of classes that nobody looked at: those of a map."""
YAML = (".yaml", ".yml")
FILE_NAME = re.compile(r"(\d{1,9})_(\d{1,9})(?:[_.].*)?")
"""Published file names begin with x_y_, the position of the pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One labelled position, as it stands in a file."""

    position: tuple[int, int]
    """(scan_y, scan_x)."""
    label: str
    """Name of the class, as written."""
    who: str
    """Who says so; "" where the file does not say."""
    where: str
    """Where it stands: "answers.csv, line 3"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """What was read from a file."""

    rows: tuple[LabelRow, ...]
    """Labelled positions, in the order of the file."""
    unanswered: int
    """Rows whose label is empty: positions that were asked and are not labelled yet."""
    ignored: tuple[str, ...] = ()
    """Columns that were not read."""


def read_labels(path: str | Path) -> LabelTable:
    """Return the labels in a CSV file, or in a YAML file of the published layout.

    CSV has the columns scan_y, scan_x, label, perhaps who, and others that are not read; or those of the published
    files, x, y, label and perhaps who; in any order. The YAML layout is ``labels:`` with ``- file: x_y_….png`` and
    ``label: …`` for each.

    Parameters
    ----------
    path
        The file; its ending says which layout it has, and anything but .yaml and .yml is CSV.

    Raises
    ------
    FormatError
        Empty, no text, other columns, or a row that cannot be read; the message names its line. The classes of a map
        are no labels either.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FormatError("the labels must be in a file that can be read.", got=f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise wrong(path, "it is no text in UTF-8") from error
    if "\0" in text:
        raise wrong(path, "it is no text")
    if not text.strip():
        raise wrong(path, "it is empty")
    rows, ignored = (list(yaml_rows(text, path)), ()) if path.suffix.lower() in YAML else csv_rows(text, path)
    return LabelTable(
        rows=tuple(row for row in rows if row.label),
        unanswered=sum(not row.label for row in rows),
        ignored=ignored,
    )


def write_labels(labels: Labels, path: str | Path) -> None:
    """Write all answers, one row each, as CSV (scan_y, scan_x, label, who) or in the published YAML layout.

    That layout has no place for who answered.

    Parameters
    ----------
    labels
        Answers.
    path
        Ends in .yaml or .yml for that layout; anything else is CSV.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    said = [labels.names[number] for number in labels.label.tolist()]
    places = labels.positions.tolist()
    with atomic_file(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        if path.suffix.lower() in YAML:
            import yaml

            entries = [
                {"file": f"{x}_{y}_pattern.png", "label": name} for (y, x), name in zip(places, said, strict=True)
            ]
            yaml.safe_dump({"labels": entries}, stream, allow_unicode=True, sort_keys=True)
        else:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([*COLUMNS, "who"])
            writer.writerows([y, x, name, who] for (y, x), name, who in zip(places, said, labels.who, strict=True))


def csv_rows(text: str, path: Path) -> tuple[list[LabelRow], tuple[str, ...]]:
    """Return the rows of a CSV table, and its columns that were not read; blank lines are none.

    Raises
    ------
    FormatError
        Other columns, or a row that cannot be read.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    place: list[int] = []  # of y, x, label, and who where there is one
    rows = []
    try:
        for fields in reader:
            line = reader.line_num
            if not any(field.strip() for field in fields):
                continue
            if not columns:
                columns = check_columns([field.strip() for field in fields], path)
                place = [columns.index(name) for name in (*used_of(columns), "who") if name in columns]
                continue
            if len(fields) != len(columns):
                raise wrong(path, f"line {line} has {len(fields)} fields, its head {len(columns)}")
            y, x, label, *who = (fields[number].strip() for number in place)
            rows.append(
                LabelRow(
                    position=(whole(y, "y", path, line), whole(x, "x", path, line)),
                    label=label,
                    who=who[0] if who else "",
                    where=f"{path.name}, line {line}",
                )
            )
    except csv.Error as error:
        raise wrong(path, f"line {reader.line_num}: {error}") from error
    return rows, tuple(name for number, name in enumerate(columns) if number not in place)


def used_of(columns: Sequence[str]) -> tuple[str, str, str]:
    """Return the columns that y, x and the label are read from: the published names where ours are not there.

    >>> used_of(["scan_x", "scan_y", "label", "x"]), used_of(["x", "y", "label"])
    (('scan_y', 'scan_x', 'label'), ('y', 'x', 'label'))
    """
    return COLUMNS if set(COLUMNS) <= set(columns) else ("y", "x", "label")


def check_columns(columns: Sequence[str], path: Path) -> list[str]:
    """Return the names of the columns.

    Raises
    ------
    FormatError
        One is missing or named twice; a published table has others; or they are those of a map.
    """
    once = len(set(columns)) == len(columns)
    if once and set(COLUMNS) <= set(columns):
        if SAID_BY_A_MODEL in columns:
            raise FormatError(
                "labels are what somebody says of patterns, and a map is what a model says of them.",
                got=f"{path}: with a column {SAID_BY_A_MODEL}, as domains.csv has it",
                do="give a table of labels; where these were looked at one by one, leave that column out",
            )
        return list(columns)
    if once and set(PUBLISHED) <= set(columns) <= {*PUBLISHED, "who"}:
        return list(columns)
    unknown = [name for name in columns if name not in {*COLUMNS, *PUBLISHED, "who"}]
    more = f"; unknown: {', '.join(unknown)}" if unknown else ""
    raise FormatError(
        "a table of labels has the columns scan_y,scan_x,label and perhaps who; or x,y,label, as the published ones.",
        got=f"{path}: {','.join(columns)[:200]}{more[:200]}",
        do="name the columns in its first line; beside x,y,label leave out all others but who",
    )


def yaml_rows(text: str, path: Path) -> Iterator[LabelRow]:
    """Yield the rows of the published YAML layout.

    Raises
    ------
    FormatError
        No YAML, another layout, or a file name without a position.
    """
    import yaml

    try:
        top = yaml.compose(text, Loader=yaml.SafeLoader)  # nodes, which know their line; no object is made
    except (yaml.YAMLError, RecursionError) as error:
        raise wrong(path, " ".join(str(error).split())) from error
    entries = fields_of(top).get("labels")
    if not isinstance(entries, yaml.SequenceNode):
        raise wrong(path, "it has no list of labels")
    for entry in entries.value:
        line = entry.start_mark.line + 1
        fields = fields_of(entry)
        file, label = fields.get("file"), fields.get("label")
        if len(fields) != 2 or not (isinstance(file, yaml.ScalarNode) and isinstance(label, yaml.ScalarNode)):
            raise wrong(path, f"line {line}: an entry has one file and one label")
        name = FILE_NAME.fullmatch(file.value.replace("\\", "/").rpartition("/")[2])
        if name is None:
            raise wrong(path, f'line {line}: "{file.value[:80]}" does not begin with a position, x_y_')
        yield LabelRow(
            position=(int(name[2]), int(name[1])), label=label.value.strip(), who="", where=f"{path.name}, line {line}"
        )


def fields_of(node: object) -> dict[str, object]:
    """Return the fields of a YAML mapping by name; none of anything else."""
    import yaml

    return {str(key.value): value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}


def whole(text: str, axis: str, path: Path, line: int) -> int:
    """Return a coordinate as a number.

    Raises
    ------
    FormatError
        It is no whole number.
    """
    if not re.fullmatch(r"[+-]?\d{1,9}", text):
        raise wrong(path, f'line {line}: "{text[:40]}" is no whole number for {axis}')
    return int(text)


def wrong(path: Path, why: str) -> FormatError:
    """Return the error to raise for a file that is no table of labels."""
    return FormatError(
        "labels are read from CSV with the columns scan_y,scan_x,label[,who] or x,y,label, or from the published YAML.",
        got=f"{path}: {why}",
        do="correct that line; dipolar scan label SCAN --labels FILE --export out.csv shows the layout",
    )

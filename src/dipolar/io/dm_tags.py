"""Tags of a DigitalMicrograph file (dm3, dm4), with the place of large arrays in the file instead of the arrays."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dipolar.core.errors import FormatError

SMALL = 4096
"""Arrays of more elements are data; they are left in the file."""
GROUP, VALUE = 20, 21
STRUCTURE, TEXT, ARRAY = 15, 18, 20
SIMPLE = {2: "h", 3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "B", 9: "b", 10: "B", 11: "q", 12: "Q"}
"""Code of a number → how it is packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an array lies in the file."""

    offset: int
    """Byte of its first element."""
    count: int
    """Number of elements."""
    itemsize: int
    """Bytes of one."""


def read_tags(path: Path) -> dict[str, Any]:
    """Return every tag by its dotted name, "ImageList.1.ImageData.Dimensions.0"; tags without a name have a number.

    Raises
    ------
    FormatError
        Where the file is no DigitalMicrograph file or ends among its tags.
    """
    with path.open("rb") as stream:
        head = stream.read(16)
        version = int.from_bytes(head[:4], "big")
        if version not in (3, 4) or len(head) < 16:
            raise FormatError(
                "a file of DigitalMicrograph begins with its version, 3 or 4",
                got=f"{path.name}: {head[:4].hex()}",
                do="copy it again; it is damaged, or of another format",
            )
        walk = _Walk(stream, wide=version == 4)
        stream.seek(16 if version == 4 else 12)
        walk.little = int.from_bytes(head[12:16] if version == 4 else head[8:12], "big") == 1
        try:
            return dict(walk.group(""))
        except (struct.error, EOFError, RecursionError, MemoryError) as error:
            raise FormatError(
                "the tags of a DigitalMicrograph file must be whole",
                got=f"{path.name}: they break off at byte {stream.tell():,} ({str(error)[:100]})",
                do="copy or export the file again; it is truncated or damaged",
            ) from error


class _Walk:
    """One pass through the tags; numbers of the structure are big-endian, those of values as the file says."""

    def __init__(self, stream: BinaryIO, *, wide: bool) -> None:
        self.stream = stream
        self.length = struct.Struct(">Q" if wide else ">I")
        self.wide = wide
        self.little = True
        self.end = os.fstat(stream.fileno()).st_size

    def group(self, name: str) -> Iterator[tuple[str, Any]]:
        self._take(2)
        for number in range(self._number()):
            kind, size = struct.unpack(">BH", self._take(3))
            title = self._take(size).decode("latin-1") or str(number)
            if self.wide:
                self._take(8)
            full = f"{name}.{title}" if name else title
            if kind == GROUP:
                yield from self.group(full)
            elif kind == VALUE:
                yield full, self._value(left=full.endswith("ImageData.Data"))
            else:
                raise struct.error(f"tag {full} is of unknown kind {kind}")

    def _value(self, *, left: bool) -> Any:
        """Return a value, or only its place where it is `left` in the file."""
        if self._take(4) != b"%%%%":
            raise struct.error("a value does not begin with %%%%")
        kinds = [self._number() for _ in range(self._number())]
        return self._read(kinds, most=0 if left else SMALL)

    def _read(self, kinds: list[int], most: int) -> Any:
        code = kinds[0]
        if code in SIMPLE:
            return self._unpack(SIMPLE[code])
        if code == TEXT:
            return self._take(kinds[1]).decode("utf-16-le" if self.little else "utf-16-be", "replace")
        if code == STRUCTURE:
            return tuple(self._unpack(form) for form in self._forms(kinds))
        if code == ARRAY:
            forms = self._forms(kinds[1:]) if kinds[1] == STRUCTURE else [SIMPLE[kinds[1]]]
            return self._array("".join(forms), kinds[-1], most)
        raise struct.error(f"a value is of unknown kind {code}")

    def _array(self, form: str, count: int, most: int) -> Any:
        size = struct.calcsize("=" + form)
        if count > most:
            place = Place(offset=self.stream.tell(), count=count, itemsize=size)
            self.stream.seek(count * size, os.SEEK_CUR)
            return place
        raw = self._take(count * size)
        if form == "H":
            return raw.decode("utf-16-le" if self.little else "utf-16-be", "replace")
        return struct.unpack(("<" if self.little else ">") + form * count, raw)

    @staticmethod
    def _forms(kinds: list[int]) -> list[str]:
        """Return how the fields of a structure are packed: its kind, a length, their number, (length, kind) of each."""
        return [SIMPLE[code] for code in kinds[4 : 3 + 2 * kinds[2] : 2]]

    def _unpack(self, form: str) -> Any:
        return struct.unpack(("<" if self.little else ">") + form, self._take(struct.calcsize("=" + form)))[0]

    def _number(self) -> int:
        return int(self.length.unpack(self._take(self.length.size))[0])

    def _take(self, size: int) -> bytes:
        if size > self.end:
            raise EOFError(f"{size:,} bytes were promised")
        raw = self.stream.read(size)
        if len(raw) < size:
            raise EOFError("end of the file")
        return raw

"""Finished blocks of a scan in one file, so that work goes on where it was stopped, killed or ran out of disk.

The file begins with a line that names it and a head in JSON: what the blocks belong to, and names, types and shapes
of their arrays. Then comes one record per block, only ever appended: first pattern, pattern after the last, a checksum,
the bytes of the arrays. A record that was cut short by a kill fails its checksum; the file ends there, and the next
one replaces it.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dipolar.core.errors import FormatError, OutputError, SettingsError
from dipolar.run.scan_blocks import Block

FIRST_LINE = b"dipolar blocks 1\n"
HEAD = struct.Struct("<II")
"""Length of the head in bytes, and its CRC-32."""
RECORD = struct.Struct("<QQI")
"""First pattern, pattern after the last, and CRC-32 of both and of the arrays."""
SAFE_S = 2.0
"""At most this much work is lost when the whole machine stops; a killed process loses only blocks in work."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the finished blocks of one piece of work are."""

    path: Path
    """The file; it is made when the first block is finished."""
    key: str
    """Names everything that the values depend on: scan, classifier, settings. Others are refused."""
    count: int
    """Number of patterns in all."""

    @contextmanager
    def opened(self) -> Iterator[KeptFile]:
        """Give the blocks finished before, and take new ones, which are safe on the disk when this ends.

        Raises
        ------
        SettingsError
            If the file belongs to other work.
        FormatError
            If it is no file of finished blocks.
        OutputError
            If it cannot be written, or another process writes it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("r+b" if self.path.exists() else "x+b")
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        with file:
            _lock(file, self.path)
            kept = KeptFile(self, file)
            try:
                yield kept
            finally:
                kept.make_safe()

    def blocks(self) -> list[Block]:
        """Return what is finished until now; nothing where no block is yet. Safe while another process works.

        Raises
        ------
        SettingsError, FormatError
            As `opened`.
        """
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            return list(_Layout.read(file, self).blocks(file)) if _begun(file) else []

    def remove(self) -> None:
        """Delete the file, once what it was for is written."""
        self.path.unlink(missing_ok=True)


class KeptFile:
    """Blocks finished before, and room for more; from `Kept.opened`."""

    def __init__(self, kept: Kept, file: BinaryIO) -> None:
        """Take a file that is open for reading and writing."""
        self._kept, self._file = kept, file
        self._layout = _Layout.read(file, kept) if _begun(file) else None
        self._end = 0 if self._layout is None else self._layout.end(file)
        self._safe_at = time.monotonic()

    def blocks(self) -> Iterator[Block]:
        """Yield what was finished before."""
        if self._layout is not None:
            yield from self._layout.blocks(self._file)

    def add(self, start: int, stop: int, values: Mapping[str, np.ndarray]) -> None:
        """Append one block.

        Raises
        ------
        OutputError
            If the disk is full or refuses; the blocks before stay.
        """
        head = b""
        if self._layout is None:
            self._layout = _Layout.of(values)
            head = self._layout.head(self._kept)
        record = head + self._layout.record(start, stop, values)
        try:
            self._file.seek(self._end)
            self._file.write(record)
            self._file.flush()
        except OSError as error:
            raise _cannot_write(self._kept.path, error) from error
        self._end += len(record)
        if time.monotonic() - self._safe_at > SAFE_S:
            self.make_safe()

    def make_safe(self) -> None:
        """Cut off what is no whole record, and wait until the rest is on the disk itself."""
        try:
            self._file.truncate(self._end)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _cannot_write(self._kept.path, error) from error
        self._safe_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the arrays of a block lie in its record."""

    arrays: tuple[tuple[str, np.dtype, tuple[int, ...]], ...]
    """Name, type and shape of one row, in the order of the bytes."""
    begin: int = 0
    """Where the first record begins."""

    @staticmethod
    def of(values: Mapping[str, np.ndarray]) -> _Layout:
        """Return the layout for arrays like these."""
        return _Layout(tuple((name, array.dtype, array.shape[1:]) for name, array in values.items()))

    def head(self, kept: Kept) -> bytes:
        """Return the beginning of the file."""
        arrays = [[name, dtype.str, list(shape)] for name, dtype, shape in self.arrays]
        text = json.dumps({"key": kept.key, "count": kept.count, "arrays": arrays}).encode()
        return FIRST_LINE + HEAD.pack(len(text), zlib.crc32(text)) + text

    @staticmethod
    def read(file: BinaryIO, kept: Kept) -> _Layout:
        """Return the layout of a file, which must belong to this work."""
        file.seek(len(FIRST_LINE))
        length, _ = HEAD.unpack(file.read(HEAD.size))
        told = json.loads(file.read(length))
        if told["key"] != kept.key or told["count"] != kept.count:
            raise SettingsError(
                f"{kept.path.name} keeps the finished part of work with another scan, model or settings.",
                got=f"{told['count']} patterns, key {told['key']}; expected {kept.count}, key {kept.key}",
                do=f"the command that began it goes on with it; to begin anew, delete {kept.path}",
            )
        arrays = tuple((name, np.dtype(kind), tuple(shape)) for name, kind, shape in told["arrays"])
        return _Layout(arrays, len(FIRST_LINE) + HEAD.size + length)

    def record(self, start: int, stop: int, values: Mapping[str, np.ndarray]) -> bytes:
        """Return one block as bytes."""
        data = b"".join(np.ascontiguousarray(values[name], dtype).tobytes() for name, dtype, _ in self.arrays)
        return RECORD.pack(start, stop, _sum(start, stop, data)) + data

    def records(self, file: BinaryIO) -> Iterator[tuple[int, int, bytes, int]]:
        """Yield first pattern, pattern after the last, bytes, and where it ends, for each whole record."""
        row = sum(dtype.itemsize * int(np.prod(shape)) for _, dtype, shape in self.arrays)
        end = self.begin
        while True:
            file.seek(end)
            front = file.read(RECORD.size)
            if len(front) < RECORD.size:
                return
            start, stop, told = RECORD.unpack(front)
            # numbers out of a damaged record must not become the size of what is read
            if not start < stop or row * (stop - start) > os.fstat(file.fileno()).st_size - file.tell():
                return
            data = file.read(row * (stop - start))
            if len(data) != row * (stop - start) or _sum(start, stop, data) != told:
                return
            end += RECORD.size + len(data)
            yield start, stop, data, end

    def blocks(self, file: BinaryIO) -> Iterator[Block]:
        """Yield every whole block."""
        for start, stop, data, _ in self.records(file):
            values, at = {}, 0
            for name, dtype, shape in self.arrays:
                size = dtype.itemsize * int(np.prod(shape)) * (stop - start)
                values[name] = np.frombuffer(data[at : at + size], dtype).reshape(stop - start, *shape)
                at += size
            yield start, stop, values

    def end(self, file: BinaryIO) -> int:
        """Return where the next record belongs."""
        end = self.begin
        for _, _, _, end in self.records(file):  # noqa: B007 - the last one counts
            pass
        return end


def _sum(start: int, stop: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(struct.pack("<QQ", start, stop)))


def _begun(file: BinaryIO) -> bool:
    """Return whether the head is whole; it is not where the process was killed while it wrote the first block."""
    file.seek(0)
    first = file.read(len(FIRST_LINE))
    if not FIRST_LINE.startswith(first):
        raise FormatError(
            "a file of finished blocks begins with the words 'dipolar blocks 1'.",
            got=f"{file.name} begins with {first[:20]!r}",
            do="choose another place with --out; the file was left alone",
        )
    front = file.read(HEAD.size)
    if len(front) < HEAD.size:
        return False
    length, told = HEAD.unpack(front)
    return zlib.crc32(file.read(min(length, 1 << 24))) == told


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep other processes out until the file is closed, by us or by the system; nobody is locked out after a kill."""
    try:
        import fcntl
    except ImportError:  # Windows; two runs into one folder are the user's to avoid there
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):  # file systems that know no locks
            return
        raise OutputError(
            "only one process at a time may work on a scan into the same place.",
            got=f"{path} is being written by another",
            do="wait for it, or choose another --out",
        ) from error


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"finished blocks are kept in {path}, which must be writable.",
        got=str(error),
        do="make room, then the same command: it goes on where it was stopped",
    )

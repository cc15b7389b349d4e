"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dipolar.core.errors import OutputError


def beside(path: Path) -> Path:
    """Return an unused hidden name in the same folder, so that a rename stays on one file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a name to write to; it becomes `path` on success, and is removed on any exception.

    Raises
    ------
    OutputError
        Where the file system refuses.
    """
    part = beside(path)
    try:
        yield part
        sync(part)
        part.replace(path)
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make the system write a file or a folder to disk now."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # Windows opens no folders
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the error to raise where the file system refused."""
    return OutputError(
        "the result must be writable",
        got=f"{path}: {error.strerror or error}",
        do="choose another place with --out, or check permissions and free space",
    )


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; of a folder, that of its files' names and contents in order."""
    path = Path(path)
    if path.is_dir():
        total = hashlib.sha256()
        for part in sorted(item for item in path.rglob("*") if item.is_file()):
            total.update(f"{part.relative_to(path).as_posix()}\0{sha256_of(part)}\n".encode())
        return total.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

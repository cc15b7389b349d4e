"""The border between files and dipolar: what libraries raise or mutter becomes one clear error."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dipolar.core.errors import DipolarError, FormatError

# Without a handler of their own, Python prints these libraries' log lines on standard error.
for _library in ("rsciio", "tifffile", "hyperspy"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


@contextmanager
def border(path: Path) -> Iterator[None]:
    """Turn whatever a library raises inside the block into a `FormatError` that names the file and the cause.

    Warnings of libraries about other people's files are of no use to the reader of the result, and are dropped.

    Raises
    ------
    FormatError
        For every exception but those of dipolar; the library's own is its ``__cause__``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except DipolarError:
            raise
        except PermissionError as error:
            raise FormatError(
                "the file must be readable", got=f"{path}: permission denied", do="check the file's permissions"
            ) from error
        except Exception as error:
            raise FormatError(
                f"the content must be that of a {path.suffix.lower()} file",
                got=f"{path.name}: {_cause(error)}",
                do="check that the file opens elsewhere, and copy or export it again; it is damaged, truncated or "
                "of another format than its name says",
            ) from error


def _cause(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0][:200] if lines else "no further explanation"
    return f"{type(error).__name__}: {text}"


def check_file(path: Path, *, suffixes: tuple[str, ...], folders: tuple[str, ...] = ()) -> None:
    """Check that there is a readable file of a known kind, before any library looks at it.

    Parameters
    ----------
    suffixes
        Lower-case suffixes that can be read.
    folders
        Those of them that are folders on disk.

    Raises
    ------
    FormatError
        With what is wrong: missing, a folder, empty, not readable, or of an unsupported kind.
    """
    suffix = path.suffix.lower()
    readable = f"files that can be read end in {', '.join(suffixes)}"
    if not path.exists():
        raise FormatError("the image file must exist", got=f"{path}: no such file", do="check the path")
    if path.is_dir() and suffix not in folders:
        raise FormatError("an image is one file", got=f"{path} is a folder", do=f"name a file in it; {readable}")
    if not path.is_dir() and not path.is_file():
        raise FormatError("an image is a regular file", got=f"{path} is a device or a pipe", do=readable)
    if suffix not in suffixes:
        raise FormatError(
            "the format is recognised by the end of the file's name",
            got=f"{path.name} ends in {suffix!r}" if suffix else f"{path.name} has no suffix",
            do=f"export it as .tif or .hspy; {readable}",
        )
    if path.is_file():
        if path.stat().st_size == 0:
            raise FormatError("the file must hold an image", got=f"{path.name} is empty (0 bytes)", do="copy it again")
        with border(path), path.open("rb") as stream:
            stream.read(1)

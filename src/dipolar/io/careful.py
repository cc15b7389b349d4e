"""HDF5 files on disks that may be full: an error, where HDF5 by itself would end the process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def new_hdf5(path: Path, **options: Any) -> Iterator[Any]:
    """Yield a new HDF5 file that is open for writing.

    Parameters
    ----------
    path
        The file.
    **options
        For `h5py.File`.

    Raises
    ------
    OSError
        Where the file system refuses; whatever HDF5 makes of that comes later, and is dropped.
    """
    import h5py

    with CarefulFile(path, "w+b") as stream:
        try:
            with h5py.File(stream, "w", **options) as file:
                yield file
        except Exception:
            stream.check()
            raise
        stream.check()


class CarefulFile(io.FileIO):
    """A file that never tells HDF5 of a full disk: after that HDF5 would crash. It keeps the error for whoever asks."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all, or keep the error."""
        raw = memoryview(data).cast("B")
        done = 0
        while self.error is None and done < len(raw):
            try:
                done += super().write(raw[done:]) or 0
            except OSError as error:
                self.error = error
        return len(raw)

    def truncate(self, size: int | None = None) -> int:
        """Change the length, or keep the error."""
        try:
            return super().truncate(size) if self.error is None else size or 0
        except OSError as error:
            self.error = error
            return size or 0

    def check(self) -> None:
        """Raise the error that was kept."""
        if self.error is not None:
            raise self.error

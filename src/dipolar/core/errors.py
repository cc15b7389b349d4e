"""Every error that a user of dipolar can meet.

::

    DipolarError                     one clear message: what was expected, what was got, what to do
    ├── DataError                    the input cannot be used as it is
    │   ├── FormatError              not a file that dipolar reads, or a damaged one
    │   ├── SelectionError           the file holds several images; one must be named
    │   ├── ImageError               readable, but not an image in which columns can be found
    │   │   └── NoLatticeError       no crystal lattice in it
    │   ├── CalibrationError         a length in pm was asked for and none can be given
    │   ├── ScanError                readable, but not a scan of diffraction patterns that can be mapped
    │   ├── StructureError           not a crystal: no cell, atoms on top of each other, no pair with its parent
    │   └── LabelError               labels that contradict, belong to another scan or are too few
    ├── SettingsError                an option or a settings file is wrong
    ├── ChecksumError                a result file is damaged
    ├── OutputError                  the result cannot be written
    ├── TrainingError                a network did not learn
    └── MissingExtraError            an optional package is not installed
"""

from __future__ import annotations

from typing import Any


class DipolarError(Exception):
    """What was expected, what was got, what to do; printed by the command line without a traceback.

    Parameters
    ----------
    expected
        One sentence that says what was needed and why.
    got
        What was there instead: value, shape, file.
    do
        The line to type, or the step to take.
    """

    def __init__(self, expected: str, *, got: str = "", do: str = "") -> None:
        """Put the three together into one message."""
        self.expected, self.got, self.do = expected, got, do
        self.results: list[dict[str, Any]] = []
        """What was finished before it, in plain values; ``--json`` tells it beside the message."""
        lines = [expected, *([f"  got:  {got}"] if got else []), *([f"  do:   {do}"] if do else [])]
        super().__init__("\n".join(lines))


class DataError(DipolarError):
    """The input cannot be used as it is."""


class FormatError(DataError):
    """Not a file that dipolar reads, or a damaged one."""


class SelectionError(DataError):
    """The file holds several images; one must be named."""


class ImageError(DataError):
    """Readable, but not an image in which columns can be found."""


class NoLatticeError(ImageError):
    """No crystal lattice was found in the image."""


class CalibrationError(DataError):
    """A length in pm was asked for and none can be given."""


class ScanError(DataError):
    """Readable, but not a scan of diffraction patterns that can be mapped."""


class StructureError(DataError):
    """Not a crystal: it has no cell, atoms lie on top of each other, or it is no pair with the parent beside it."""


class LabelError(DataError):
    """Labels that contradict each other, belong to another scan, or are too few."""


class SettingsError(DipolarError):
    """An option or a settings file is wrong."""


class ChecksumError(DipolarError):
    """A result file is damaged."""


class OutputError(DipolarError):
    """The result cannot be written."""


class TrainingError(DipolarError):
    """A network did not learn: its loss is no finite number, or it does not fit into memory."""


class MissingExtraError(DipolarError):
    """An optional package is not installed."""

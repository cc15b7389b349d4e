"""File ↔ nouns: images in, results out. Formats are names until such a file is met."""

from __future__ import annotations

from dipolar.core.atomic import sha256_of
from dipolar.io.cif import read_motif
from dipolar.io.folder import result_folder, write_run_json
from dipolar.io.frames import open_frames
from dipolar.io.images import check_image, open_image
from dipolar.io.result_file import load, load_measurement, save, verify
from dipolar.io.scan_writer import write_scan
from dipolar.io.scans import open_scan
from dipolar.io.tables import read_cells_csv, read_columns_csv, write_cells_csv, write_columns_csv
from dipolar.io.units import length_pm

__all__ = [
    "check_image",
    "length_pm",
    "load",
    "load_measurement",
    "open_frames",
    "open_image",
    "open_scan",
    "read_cells_csv",
    "read_columns_csv",
    "read_motif",
    "result_folder",
    "save",
    "sha256_of",
    "verify",
    "write_cells_csv",
    "write_columns_csv",
    "write_run_json",
    "write_scan",
]

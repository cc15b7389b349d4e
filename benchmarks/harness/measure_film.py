"""One film from image to displacement with sigma, in a fresh process: what it took, as one JSON object."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness.process import cost, peak_memory_mb


def main() -> None:
    """Read the image, locate columns, build cells, print costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, help=".npy file")
    parser.add_argument("--fit", choices=("profile", "gaussian"), default="profile")
    options = parser.parse_args()
    with cost() as imports:
        import numpy as np

        from dipolar.core.nouns import Image
        from dipolar.locate import GaussianFit, SharedProfileFit, locate_columns
        from dipolar.measure import build_cells
    image = Image(data=np.load(options.image))
    before_mb = peak_memory_mb()
    with cost() as work:
        columns = locate_columns(image, fit=SharedProfileFit() if options.fit == "profile" else GaussianFit())
        cells = build_cells(columns)
    known = np.isfinite(np.einsum("nii->ni", cells.covariance_px2)).all(axis=1)
    print(
        json.dumps(
            {
                "columns": len(columns.flags),
                "cells": len(cells.flags),
                "cells_with_sigma": int(np.count_nonzero(known)),
                "wall_s": work.wall_s,
                "cpu_s": work.cpu_s,
                "import_wall_s": imports.wall_s,
                "before_mb": before_mb,
                "peak_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main()

"""What every test shares."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jaxtyping._import_hook as import_hook
import matplotlib

# Two test processes share two cores; numba's own threads would only get in each other's way.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
matplotlib.use("Agg")
sys.path.insert(0, str(Path(__file__).parent))  # lets tests `import realdata`

COMPILED = {"njit", "jit", "vectorize", "guvectorize", "kernel"}
is_exempt = import_hook._is_no_type_check


def _is_exempt_or_compiled(node: object) -> bool:
    """Leave numba's functions as they are: numba compiles a function, not the checking wrapper around it."""
    target = getattr(node, "func", node)
    name = getattr(target, "id", None) or getattr(target, "attr", None)
    return name in COMPILED or is_exempt(node)


# jaxtyping's own exemption, `typing.no_type_check`, would have to stand on every kernel of the package.
import_hook._is_no_type_check = _is_exempt_or_compiled

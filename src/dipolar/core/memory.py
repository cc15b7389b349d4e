"""How much memory is left."""

from __future__ import annotations

from pathlib import Path


def free_bytes() -> int | None:
    """Return the memory of this machine that is free; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)

"""What a reader must know before believing the map."""

from __future__ import annotations

from dipolar.core.limits import limits
from dipolar.core.measurement import Measurement


def notices(measurement: Measurement) -> list[str]:
    """Return the notes of the record, then what limits the result and was not on record."""
    return list(dict.fromkeys([*measurement.record.notes, *limits(measurement)]))

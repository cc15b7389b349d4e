"""Frozen nouns, units, flags, errors and the record of a run: what every stage shares. NumPy only."""

"""Patches → Model → predictions: windows, splits, networks, training, ensembles, calibration, looking inside."""

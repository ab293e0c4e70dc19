"""Fits the constants of the embedded cost model; see ``python -m costmodels.calibration --help``."""

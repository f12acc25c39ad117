"""Supervise processes: keep the configured components the way the operator wants them."""

__version__ = "0.1.0"

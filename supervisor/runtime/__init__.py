"""Carry out the engine's effects under trio and report what happened as new events."""

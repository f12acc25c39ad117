"""The decisions: one component, all of them together, why a start waits, what a reload changes.

Pure: no clock, no files, no randomness, no event loop. What it needs arrives as arguments, what
it wants done leaves as effects.
"""

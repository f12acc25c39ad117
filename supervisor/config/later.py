"""What is known and not supported yet: refused with these words instead of as a misspelling.

Sources: pies.md 1.2 to 1.8, config.md, jobs.md.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODES: Final = _words("job")
COMPONENT: Final = _words(
    """
    commands schedule timezone interval jitter catch-up overlap time-limit webhook log-retention
    notify-on
    """
)
DAEMON: Final = _words("max-running-jobs")
TABLES: Final = _words("notifier group")
SYNTAXES: Final = _words("meta1")

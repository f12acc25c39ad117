"""What is known and not supported yet: refused with these words instead of as a misspelling.

Sources: pies.md 1.2 to 1.8, config.md, jobs.md.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODES: Final = _words(
    """
    job pass pass-fd accept sysinit boot bootwait wait ctrlaltdel kbrequest ondemand powerfail
    powerwait powerfailnow powerokwait off
    """
)
FLAGS: Final = _words("wait internal sockenv resolve tcpmux tcpmuxplus")
SOCKET_TYPES: Final = _words("dgram raw rdm seqpacket")
COMPONENT: Final = FLAGS | _words(
    """
    runlevels service tcpmux-master max-rate max-ip-connections
    max-instances-message max-ip-connections-message access-denied-message acl
    pass-fd-timeout pass-fd-socket cgroup

    commands schedule timezone interval jitter catch-up overlap time-limit webhook log-retention
    notify-on
    """
)
DAEMON: Final = _words("max-running-jobs runlevel")
TABLES: Final = _words("notifier group")
SYNTAXES: Final = _words("inittab meta1")

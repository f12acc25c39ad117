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
FLAGS: Final = _words("wait internal sockenv resolve tcpmux tcpmuxplus expandenv siggroup")
SOCKET_TYPES: Final = _words("dgram raw rdm seqpacket")
OUTPUT: Final = _words("compress timestamps")
COMPONENT: Final = FLAGS | _words(
    """
    runlevels limits remove-file rmfile service tcpmux-master max-rate max-ip-connections
    max-instances-message max-ip-connections-message access-denied-message acl list-acl admin-acl
    return-code pass-fd-timeout pass-fd-socket

    ready health on-exit cgroup nice oom-score-adj cpu-affinity no-new-privileges start-condition

    commands schedule timezone interval jitter catch-up overlap time-limit webhook log-retention
    notify-on
    """
)
DAEMON: Final = _words("user group allgroups limits log max-running-jobs runlevel")
CONTROL: Final = _words("tls realm acl admin-acl user-acl identity-provider")
TABLES: Final = _words("acl defacl identity-provider notifier on-exit group limits syslog")
SYNTAXES: Final = _words("pies inetd inittab meta1")

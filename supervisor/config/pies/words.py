"""The keywords of pies' configuration. Source: pies.md sections 1.2 to 1.9 and 3."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COMPONENT: Final = _words(
    """
    mode program command prerequisites dependents flags runlevels user group allgroups limits umask
    max-instances env chdir remove-file rmfile pass-fd-timeout pass-fd-socket socket socket-type
    service tcpmux-master max-rate max-instances-message max-ip-connections
    max-ip-connections-message acl access-denied-message stdout stderr return-code list-acl
    admin-acl disable precious
    """
)
ENV: Final = _words("clear keep set eval unset")
RETURN_CODE: Final = _words("exec action notify message")
ACL: Final = _words("allow deny")
SYSLOG: Final = _words("dev facility tag")
CONTROL: Final = _words("socket acl admin-acl user-acl realm idle-timeout")
PROVIDER: Final = _words("type service path")
"""`path` is ours, for the type `file`."""

WITHOUT_EFFECT: Final = _words(
    "control-file stat-file meta1-queue-dir include-meta1 debug source-info"
)
"""Global statements that are read and not obeyed, with a warning."""

GLOBAL: Final = (
    _words(
        """
        component env syslog umask limits return-code shutdown-timeout control defacl
        identity-provider state-directory pidfile qotd-file user group allgroups mailer-program
        mailer-command-line include-inetd initdefault
        """
    )
    | WITHOUT_EFFECT
)

BLOCKS: Final = _words("component control syslog return-code defacl identity-provider")
"""Statements that are always blocks."""

KEYWORDS: Final = (
    COMPONENT | RETURN_CODE | SYSLOG | CONTROL | GLOBAL | _words("eval unset allow deny type")
) - _words("tag set")
"""What begins a statement where it is the first word on its line. Two are too likely as values."""

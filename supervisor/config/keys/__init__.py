"""Every key there is: its name, kind, default and meaning. Reader, reference and schema use it.

They are spread over modules by the table they belong to, and used from here: `keys.COMMAND`.
"""

from __future__ import annotations

from supervisor.config.checks import HEALTH_KEYS as HEALTH_KEYS
from supervisor.config.checks import READY_KEYS as READY_KEYS

# Every key by its name: to list a hundred of them here once more would only be forgotten.
from supervisor.config.keys.component import *  # noqa: F403 - the reason above
from supervisor.config.keys.control import *  # noqa: F403
from supervisor.config.keys.daemon import *  # noqa: F403
from supervisor.config.keys.sockets import *  # noqa: F403
from supervisor.config.keys.tables import *  # noqa: F403

TABLES = (
    "daemon",
    "control",
    "defaults",
    "component",
    "on-exit",
    "syslog",
    "mail",
    "acl",
    "identity-provider",
)
"""The tables of a file."""

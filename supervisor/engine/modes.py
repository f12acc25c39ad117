"""What the modes of components have in common, for the rules."""

from __future__ import annotations

from supervisor.model.component import Component, Mode

BOOTING = frozenset({Mode.SYSINIT, Mode.BOOT, Mode.BOOTWAIT})
"""The modes that run while the machine boots, whatever the runlevel."""

ALARMS: dict[str, frozenset[Mode]] = {
    "ctrlaltdel": frozenset({Mode.CTRLALTDEL}),
    "kbrequest": frozenset({Mode.KBREQUEST}),
    "powerfail": frozenset({Mode.POWERFAIL, Mode.POWERWAIT}),
    "powerfailnow": frozenset({Mode.POWERFAILNOW}),
    "powerok": frozenset({Mode.POWEROKWAIT}),
}
"""For each kind of alarm, the modes of what it runs."""

ALARMED = frozenset(mode for modes in ALARMS.values() for mode in modes)
"""The modes that run at an alarm."""

CALLED = ALARMED | {Mode.ONDEMAND}
"""The modes that run when they are called for, and not by themselves."""

ONE_RUN = BOOTING | ALARMED | {Mode.ONCE, Mode.WAIT, Mode.STARTUP, Mode.SHUTDOWN}
"""The modes whose components run to an end and are then finished."""

WAITED = frozenset({Mode.SYSINIT, Mode.BOOTWAIT, Mode.WAIT, Mode.POWERWAIT, Mode.POWEROKWAIT})
"""The modes whose end is waited for by what stands after them in the configuration."""

APART = frozenset({Mode.STARTUP, Mode.SHUTDOWN})
"""The modes that belong to the life of piesd, and not to that of the machine."""

LEVELS = "0123456789S"
"""The runlevels."""

ON_DEMAND = "abc"
"""What can be asked for like a runlevel, and starts components instead."""


def belongs(spec: Component, level: str) -> bool:
    """Return whether *spec* may run in runlevel *level*.

    What was started on demand lives in all of them but S, as with sysvinit.
    """
    if spec.mode in BOOTING or spec.mode in APART:
        return True
    if spec.mode is Mode.ONDEMAND:
        return level != "S"
    return spec.runlevels is None or level in spec.runlevels

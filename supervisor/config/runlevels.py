"""Runlevels in the configuration: how they are written, and whether they mean anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from supervisor.config import keys
from supervisor.config.build import Draft, written
from supervisor.config.host import Host
from supervisor.config.settings import Settings
from supervisor.model.component import Component, Mode, Where
from supervisor.model.errors import Problem

SULOGIN = "/sbin/sulogin"
SHELL = "/bin/sh"

EVERY_LEVEL = "0123456789"
"""What inittab means where it names no runlevel. Source: inittab(5)."""
CALLED_LEVELS = "abc"
"""What starts components that are on demand."""

_NO_LEVELS = frozenset({Mode.STARTUP, Mode.SHUTDOWN, Mode.SYSINIT, Mode.BOOT, Mode.BOOTWAIT})
_MACHINE = frozenset(
    {
        *(Mode.SYSINIT, Mode.BOOT, Mode.BOOTWAIT, Mode.CTRLALTDEL, Mode.KBREQUEST, Mode.ONDEMAND),
        *(Mode.POWERFAIL, Mode.POWERWAIT, Mode.POWERFAILNOW, Mode.POWEROKWAIT),
    }
)
"""The modes that never run where there are no runlevels."""


class Levels(Struct, frozen=True):
    """Settings and drafts, to be looked at for what they say about runlevels."""

    drafts: Sequence[Draft]
    settings: Settings
    init: bool

    def check(self) -> Iterable[Problem]:
        """Return what cannot be, and what has no effect."""
        used = self.init or bool(self.settings.daemon.runlevel)
        for draft in self.drafts:
            yield from self._levels(draft, used=used)
            if draft.mode in _MACHINE and not used:
                what = (
                    f"a component of mode {draft.mode} never runs: piesd is no init process here, "
                    "and [daemon] has no 'runlevel'"
                )
                yield written(draft, keys.MODE).warning(what)

    def _levels(self, draft: Draft, *, used: bool) -> Iterable[Problem]:
        levels, node = draft.component.runlevels, written(draft, keys.RUNLEVELS)
        asked = set(levels or "") & set(CALLED_LEVELS)
        if draft.mode is Mode.ONDEMAND and not asked and not draft.fields.wrong(keys.RUNLEVELS):
            yield node.problem("mode ondemand needs 'runlevels' with a, b or c in it")
        if levels is None or keys.RUNLEVELS.name not in draft.own:
            return
        if draft.mode in _NO_LEVELS:
            yield node.warning(f"has no effect: mode {draft.mode} runs whatever the runlevel is")
        elif draft.mode is not Mode.ONDEMAND and asked:
            what = f"{', '.join(sorted(asked))} has no effect: that is for mode ondemand"
            yield node.warning(what)
        elif not used and draft.mode not in _MACHINE:
            yield node.warning("has no effect: [daemon] has no 'runlevel'")

    def shell(self, host: Host) -> tuple[Component, ...]:
        """Return the shell of a single user, for an init process with runlevels and without one.

        Where S is the first runlevel there is none to go on to, and the shell comes again.
        Source: pies.md section 6.
        """
        levels = [
            draft.component.runlevels
            for draft in self.drafts
            if draft.component.enabled and draft.mode not in _NO_LEVELS
        ]
        used = bool(self.settings.daemon.runlevel) or any(each is not None for each in levels)
        if not self.init or not used or any("S" in (each or "") for each in levels):
            return ()
        taken = {name for draft in self.drafts for name in (draft.tag, draft.declared)}
        tag = "single-user"
        while tag in taken:
            tag += "."
        again = self.settings.daemon.runlevel == "S"
        argv: tuple[str, ...] = (SULOGIN,)
        if host.executable(SULOGIN) != "fine":
            terminal = "${CONSOLE:-/dev/console}"
            argv = (SHELL, "-c", f'exec "${{SUSHELL:-{SHELL}}}" <"{terminal}" >"{terminal}" 2>&1')
        return (
            Component(
                tag=tag,
                mode=Mode.RESPAWN if again else Mode.WAIT,
                argv=argv,
                command=argv[0],
                runlevels="S",
                description="the shell of a single user, as none is configured",
                source=Where("piesd"),
                env=self.settings.base.env,
                env_base=self.settings.base.env_base,
            ),
        )

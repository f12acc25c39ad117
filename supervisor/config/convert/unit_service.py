"""A service unit on its way to a component: its settings, specifiers, and what is left of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from supervisor.config.convert.carry import ComponentDraft, Leftovers, free_tag, literal, words
from supervisor.config.convert.unit_file import FALSE, TRUE, Setting, Unit, expand_specifiers
from supervisor.config.convert.unit_file import seconds as seconds_of
from supervisor.config.nodes import Plain
from supervisor.config.tables import quoted

_INSTANCE = "\2"
"""Stands for `${instance}` until everything else is done with a value."""
_SPECIFIERS = {
    "h": "/root",
    "s": "/bin/sh",
    "u": "root",
    "U": "0",
    "g": "root",
    "G": "0",
    "t": "/run",
    "S": "/var/lib",
    "C": "/var/cache",
    "L": "/var/log",
    "E": "/etc",
    "T": "/tmp",
    "V": "/var/tmp",
}
"""Those of the system's systemd, as root. Source: systemd.unit(5), "Specifiers"."""

_NOT_NEEDED = words(
    """
    Unit.Documentation Unit.DefaultDependencies Unit.IgnoreOnIsolate Unit.CollectMode
    Unit.RefuseManualStart Unit.RefuseManualStop Unit.AllowIsolate Unit.SourcePath
    Service.RemainAfterExit Service.GuessMainPID Service.NotifyAccess Service.SendSIGKILL
    Service.Slice Service.Delegate Service.IgnoreSIGPIPE
    Install.WantedBy Install.RequiredBy Install.Also Install.DefaultInstance
    """
)
"""What means nothing to piesd, or says what it does anyway."""
_INSTEAD = {
    "Service.EnvironmentFile": "put its variables into env, or have a shell read it",
    "Service.PassEnvironment": "components inherit the environment of piesd; see env-keep",
    "Service.ExecStartPost": "have something need this component, or start it in the command",
    "Service.ExecStop": "it is stopped by stop-signal",
    "Service.ExecStopPost": "see exec in on-exit, for when it ends by itself",
    "Service.ExecReload": "piesctl signal sends a signal",
    "Service.RuntimeMaxSec": "",
    "Service.PIDFile": "piesd follows the process that it has started",
    "Service.BusName": "it counts as up as soon as it runs; see ready",
    "Service.RuntimeDirectory": "create it beforehand, or in start-condition",
    "Service.StateDirectory": "create it beforehand, or in start-condition",
    "Service.CacheDirectory": "create it beforehand, or in start-condition",
    "Service.LogsDirectory": "create it beforehand, or in start-condition",
    "Service.ConfigurationDirectory": "create it beforehand, or in start-condition",
    "Service.Sockets": "components do not share listening sockets yet",
    "Service.MemoryMax": "see memory-max in cgroup",
    "Service.MemoryHigh": "see memory-high in cgroup",
    "Service.CPUQuota": "see cpu-weight in cgroup",
    "Service.CPUWeight": "see cpu-weight in cgroup",
    "Service.IOWeight": "see io-weight in cgroup",
    "Service.TasksMax": "see pids-max in cgroup",
    "Unit.OnFailure": "see on-exit",
    "Unit.OnSuccess": "see on-exit",
    "Unit.Conflicts": "",
    "Install.Alias": "a component has one name",
}


class Service:
    """What the parts of the conversion share."""

    def __init__(self, file: str, unit: Unit, left: Leftovers) -> None:
        self.unit, self.left = unit, left
        self.name = os.path.basename(file) or "service"
        stem = re.sub(r"\.service(?:\.in)?$", "", self.name)
        self.prefix, at, self.instance = stem.partition("@")
        self.is_template = bool(at) and not self.instance
        if self.is_template:
            usual = unit.last("Install", "DefaultInstance")
            self.instance = usual.value if usual else _INSTANCE
        tag = free_tag(self.prefix if self.is_template else stem.strip("<>-"), ())
        self.draft = ComponentDraft(file, min(unit.sections.values()), tag)
        self._done: set[str] = set()
        if self.instance == _INSTANCE:
            self.draft.set("instances", 1)
            what = "it is a template: its instances are numbers now; set 'instances'"
            left.note(1, "", what)

    # --- asking

    def all(self, name: str, section: str = "Service") -> list[Setting]:
        """Return the assignments of a list, specifiers replaced, and count them as dealt with.

        One with a specifier that only the running system knows is left behind.
        """
        found = []
        for setting in self.unit.all(section, name):
            value, unknown = expand_specifiers(setting.value, self._specifier)
            if unknown:
                self.left.leave(setting.line, setting.key, f"{unknown[0]} is not known here")
            else:
                found.append(replace(setting, value=value))
        self._done.add(f"{section}.{name}")
        return found

    def last(self, name: str, section: str = "Service") -> Setting | None:
        """Return the assignment that counts where only one does."""
        found = self.all(name, section)
        return found[-1] if found else None

    def flag(self, name: str) -> bool | None:
        """Return a setting that is true or false, or None where there is none."""
        setting = self.last(name)
        if setting is None:
            return None
        word = setting.value.lower()
        if word not in TRUE | FALSE:
            self.wrong(setting, "must be yes or no")
            return None
        return word in TRUE

    def seconds(self, name: str, section: str = "Service") -> float | None:
        """Return a span of time, or None where there is none."""
        setting = self.last(name, section)
        if setting is None:
            return None
        found = seconds_of(setting.value)
        if found is None:
            self.wrong(setting, "must be a span of time as 1min 30s")
        return found

    def number(self, name: str, least: int, most: int) -> tuple[Setting, int] | None:
        """Return a whole number with its place, or None where there is none."""
        setting = self.last(name)
        if setting is None:
            return None
        if re.fullmatch(r"[+-]?[0-9]{1,9}", setting.value) and least <= int(setting.value) <= most:
            return setting, int(setting.value)
        self.wrong(setting, f"must be a whole number from {least} to {most}")
        return None

    def line_of(self, name: str, section: str = "Service") -> int:
        """Return the line of a setting, or that of the section."""
        setting = self.unit.last(section, name)
        return setting.line if setting else self.draft.line

    # --- telling

    def set(self, name: str, value: Plain, line: int = 0) -> None:
        """Set a key of the component."""
        self.draft.set(name, _finished(value), line)

    def wrong(self, setting: Setting, rule: str) -> None:
        """Refuse a value."""
        self.left.fault(setting.line, setting.key, f"{rule}, not {quoted(setting.value)}")

    def leave(self, setting: Setting, why: str = "") -> None:
        """List a setting as not carried over."""
        self.left.leave(setting.line, setting.key, why or _INSTEAD.get(setting.key, ""))

    def note(self, setting: Setting, message: str) -> None:
        """Say what is different now."""
        self.left.note(setting.line, setting.key, message)

    def leave_the_rest(self) -> None:
        """List every setting that nobody has asked for; what others must know is each in a line."""
        told = set()
        for setting in self.unit.settings:
            if setting.key in self._done or setting.key in _NOT_NEEDED or setting.key in told:
                continue
            if setting.section.startswith("X-") or setting.name.startswith("X-"):
                continue
            told.add(setting.key)
            if setting.value:
                self.leave(setting)

    def _specifier(self, sign: str) -> str | None:
        match sign:
            case "i" | "I" | "j" | "J":
                return self.instance
            case "p" | "P":
                return self.prefix
            case "n":
                return self.name
            case "N":
                return self.name.removesuffix(".service")
            case _:
                return _SPECIFIERS.get(sign)


def _finished(value: Plain) -> Plain:
    if isinstance(value, str):
        return literal(value).replace(_INSTANCE, "${instance}")
    if isinstance(value, Mapping):
        return {name: _finished(member) for name, member in value.items()}
    if isinstance(value, Sequence):
        return tuple(_finished(item) for item in value)
    return value

"""Read inittab: each line becomes a component, as sysvinit and pies understand it."""

from __future__ import annotations

import re
from collections.abc import Callable

from supervisor.config.nodes import Plain, make
from supervisor.config.runlevels import CALLED_LEVELS, EVERY_LEVEL
from supervisor.config.tables import Node, did_you_mean, dotted, quoted
from supervisor.model.component import Mode, Tag
from supervisor.model.errors import Problem

MODES = (
    *("respawn", "wait", "once", "boot", "bootwait", "off", "ondemand", "initdefault", "sysinit"),
    *("powerwait", "powerfail", "powerokwait", "powerfailnow", "ctrlaltdel", "kbrequest"),
)
"""What a line may say in its third field."""
_WITHOUT_LEVELS = frozenset({Mode.SYSINIT, Mode.BOOT, Mode.BOOTWAIT})
"""The modes whose runlevels mean nothing."""
_FIELDS = ("ID", "RUNLEVELS", "MODE", "COMMAND")
_LEVELS = frozenset("0123456789SsABCabc")
_NOT_IN_A_TAG = re.compile(r"[^A-Za-z0-9_.:@-]+")
_FOR_A_SHELL = re.compile("[~`!$^&*()=|\\\\{}\\[\\];\"'<>?]")
"""What makes sysvinit run a command by the shell; it knows no quotation marks itself."""
_PRAGMA = re.compile(r"#\s*pies\s+(?P<rest>.*)")
_SHORT = 20
"""Levels that are shown in a message; nobody writes more of them on purpose."""

Follow = Callable[[Node, str], None]
"""Takes the name of a file to read after this one, and its syntax."""


def read(
    text: str,
    file: str,
    problems: list[Problem],
    *,
    follow: Follow | None = None,
    stop: Callable[[], None] | None = None,
) -> Node | None:
    """Return the components of *text* as the table `component`; faults go to *problems*.

    A line is `id:runlevels:mode:command`. What it runs is run as sysvinit does it: by
    `/bin/sh -c "exec COMMAND"` where it has a character that means something to a shell, else split
    at its spaces. Of several `initdefault` lines the first counts.

    Args:
        follow: is told of a file that is to be read after this one.
        stop: is told that no further file is to be read.

    Sources: inittab(5) of sysvinit; pies.md section 6.
    """
    reading = _Reading(file, problems, follow, stop)
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        reading.line(number, line.removesuffix("\r"))
    return reading.root()


class _Reading:
    def __init__(
        self,
        file: str,
        problems: list[Problem],
        follow: Follow | None,
        stop: Callable[[], None] | None,
    ) -> None:
        self.file, self.problems = file, problems
        self.follow, self.stop = follow, stop
        self.components: dict[Tag, Node] = {}
        self.places: dict[Tag, int] = {}
        """The line of each tag, those that are off included."""
        self.default: Node | None = None

    def root(self) -> Node:
        members: dict[str, Node] = {}
        if self.default is not None:
            place = self.default
            members["daemon"] = Node(self.file, place.line, "daemon", {"runlevel": place})
        if self.components:
            members["component"] = Node(self.file, 1, "component", self.components)
        return Node(self.file, 1, "", members)

    def line(self, number: int, line: str) -> None:
        text = line.strip()
        if (pragma := _PRAGMA.fullmatch(text)) is not None:
            self._pragma(number, pragma["rest"].split())
        elif text and not text.startswith("#"):
            self._entry(number, text)

    def _problem(self, line: int, key: str, message: str) -> None:
        self.problems.append(Problem(self.file, line, key, message))

    # --- pragmas

    def _pragma(self, line: int, words: list[str]) -> None:
        match words:
            case ["pragma", "debug", level] if level.isascii() and level.isdigit():
                what = "has no effect here: see --debug and 'log-level'"
                self.problems.append(Problem(self.file, line, "debug", what, warning=True))
            case ["pragma", "next", syntax, file]:
                if self.follow is not None:
                    self.follow(Node(self.file, line, "next", file), syntax)
            case ["pragma", "stop"]:
                if self.stop is not None:
                    self.stop()
            case ["pragma", "debug", *_]:
                self._problem(line, "", "a pragma 'debug' has one number: #pies pragma debug N")
            case ["pragma", "next", *_]:
                form = "#pies pragma next SYNTAX FILE"
                self._problem(line, "", f"a pragma 'next' has a syntax and a file: {form}")
            case ["pragma", "stop", *_]:
                self._problem(line, "", "a pragma 'stop' stands alone: #pies pragma stop")
            case ["pragma", word, *_]:
                hint = did_you_mean(word, ("debug", "next", "stop"))
                self._problem(line, "", f"unknown pragma {quoted(word)}{hint}")
            case ["pragma"]:
                self._problem(line, "", "a pragma is missing: debug, next or stop")
            case _:
                pass  # An ordinary comment that begins with our name.

    # --- entries

    def _entry(self, line: int, text: str) -> None:
        fields = text.split(":", 3)
        if len(fields) < len(_FIELDS) - 1:
            missing = " and ".join(_FIELDS[len(fields) :])
            what = f"a line is ID:RUNLEVELS:MODE:COMMAND, and this one lacks {missing}"
            self._problem(line, "", what)
            return
        name, levels, mode = (field.strip() for field in fields[:3])
        command = fields[3].strip() if len(fields) == len(_FIELDS) else ""
        tag = _NOT_IN_A_TAG.sub("-", name).lstrip(".:@-")
        key = dotted("component", tag)
        before = len(self.problems)
        if not tag:
            self._problem(line, "", f"the id is missing in {quoted(text)}")
        if mode not in MODES:
            what = f"must be one of {', '.join(MODES)}, not {quoted(mode)}"
            self._problem(line, f"{key}.mode", f"{what}{did_you_mean(mode, MODES)}")
        wrong = "".join(dict.fromkeys(level for level in levels if level not in _LEVELS))
        if wrong:
            what = f"{quoted(wrong[:_SHORT])} is no runlevel: they are 0 to 9, S, and a, b and c"
            self._problem(line, f"{key}.runlevels", what)
        if len(self.problems) > before:
            return
        if mode == "initdefault":
            self._initdefault(line, levels)
        elif not self._taken(line, key, tag) and mode != "off":
            self._component(line, key, tag, levels, Mode(mode), command)

    def _initdefault(self, line: int, levels: str) -> None:
        if not levels:
            what = "an 'initdefault' without a runlevel would ask on the console; piesd cannot"
            self._problem(line, "daemon.runlevel", what)
        elif self.default is not None:
            what = f"the runlevel is already set at {self.file}:{self.default.line}"
            self._problem(line, "daemon.runlevel", what)
        else:
            # Of several, sysvinit takes the highest, and S before all.
            usual = [level for level in levels.upper() if level not in "ABC"]
            level = "S" if "S" in usual else max(usual, default="")
            if not level:
                what = f"{quoted(levels[:_SHORT])} starts what is on demand: it is no runlevel"
                self._problem(line, "daemon.runlevel", what)
                return
            self.default = Node(self.file, line, "daemon.runlevel", level)

    def _taken(self, line: int, key: str, tag: Tag) -> bool:
        first = self.places.setdefault(tag, line)
        if first != line:
            self._problem(line, key, f"is already defined at {self.file}:{first}")
        return first != line

    def _component(
        self, line: int, key: str, tag: Tag, levels: str, mode: Mode, command: str
    ) -> None:
        silent = command.startswith("+")
        command = command.removeprefix("+").strip()
        if not command:
            self._problem(line, f"{key}.command", f"the command is missing: mode {mode} needs one")
            return
        if "\0" in command:
            self._problem(line, f"{key}.command", "must not contain a null character")
            return
        table: dict[str, Plain] = {"mode": mode.value}
        if mode not in _WITHOUT_LEVELS:
            everything = CALLED_LEVELS if mode is Mode.ONDEMAND else EVERY_LEVEL
            table["runlevels"] = levels or everything
        if silent:
            table["utmp"] = False
        table |= _command(command)
        self.components[tag] = make(self.file, line, key, table)


def _command(command: str) -> dict[str, Plain]:
    """Return how *command* is run. A `@` before it means that no shell is to do it."""
    # What TOML would replace is not replaced here.
    literal = command.replace("${instance}", "$${instance}")
    if command.startswith("@") or not _FOR_A_SHELL.search(command):
        return {"command": tuple(literal.removeprefix("@").split())}
    return {"command": f"exec {literal}", "shell": True}

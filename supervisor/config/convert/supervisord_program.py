"""Make components of one program of supervisord: each of its keys, or why it is left behind."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable

from supervisor.config.convert.carry import (
    ComponentDraft,
    Leftovers,
    free_tag,
    literal,
    size,
    words,
)
from supervisor.config.convert.ini import Section
from supervisor.config.nodes import Plain
from supervisor.config.splitting import split_words
from supervisor.config.tables import quoted

_EXPRESSION = re.compile(r"%(?:%|\((?P<name>\w+)\)(?P<form>0?\d{0,3}[sd]))")
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_SIZE = re.compile(r"(?P<number>\d{1,12})\s*(?P<unit>[kmg]b)?", re.IGNORECASE)
_POWERS = {"": 0, "kb": 10, "mb": 20, "gb": 30}
_MOST_PROCESSES = 10_000
_USUAL_STOP = 10
_USUAL_SIZE = 50 << 20
_USUAL_BACKUPS = 10

_SILENT = words(
    """
    command process_name numprocs numprocs_start priority stdout_logfile_maxbytes
    stdout_logfile_backups stderr_logfile_maxbytes stderr_logfile_backups stderr_logfile
    exitcodes redirect_stderr stdout_syslog stderr_syslog killasgroup stopasgroup stopwaitsecs
    """
)
"""Keys that are read together with others, or need nothing."""
_INSTEAD = {
    "serverurl": "",
    "stdout_capture_maxbytes": "",
    "stderr_capture_maxbytes": "",
    "stdout_events_enabled": "follow the output: piesctl log -f",
    "stderr_events_enabled": "follow the output: piesctl log -f",
}


class Context:
    """One section, and what the expressions in its values stand for."""

    def __init__(self, section: Section, left: Leftovers, process: int | None = None) -> None:
        self.section, self.left, self.process = section, left, process
        self.group = section.label
        self.variables = False
        """Whether the value that was expanded last refers to a variable of the environment."""

    def expand(self, name: str, *, variable: Callable[[str], str] | None = None) -> str | None:
        """Return a setting with its expressions replaced, or None if it cannot be carried over.

        Args:
            variable: makes a reference to a variable of the environment; None where none can be.
        """
        text = self.section.get(name)
        self.variables = False
        if text is None:
            return None
        if "\0" in text:
            self.left.fault(
                self.section.line_of(name), self.key(name), "must not contain a null character"
            )
            return None
        pieces, at = [], 0
        for match in _EXPRESSION.finditer(text):
            pieces.append(literal(text[at : match.start()]))
            at = match.end()
            piece = "%" if match.group() == "%%" else self._value(match, variable)
            if piece is None:
                what = f"{match.group()} is not known here"
                self.left.leave(self.section.line_of(name), self.key(name), what)
                return None
            pieces.append(piece)
        return "".join([*pieces, literal(text[at:])])

    def key(self, name: str) -> str:
        """Return the name of a setting for messages."""
        return f"{self.section.name}.{name}"

    def _value(self, match: re.Match[str], variable: Callable[[str], str] | None) -> str | None:
        name, form = match["name"], match["form"]
        if name.startswith("ENV_"):
            self.variables = True
            return variable(name[4:]) if variable else None
        if name == "process_num":
            return "${instance}" if self.process is None else f"%{form}" % self.process
        if name == "here":
            return os.path.dirname(os.path.abspath(self.section.file))
        return {
            "program_name": self.section.label,
            "group_name": self.group,
            "numprocs": self.section.get("numprocs") or "1",
        }.get(name)


def process_table(
    section: Section, left: Leftovers, group: str | None, taken: dict[str, ComponentDraft]
) -> list[ComponentDraft]:
    """Return the components of a program: one, or one for each of its processes.

    Args:
        taken: the components that there are already, by tag; the new ones are added.
    """
    count = number_of(left, section, "numprocs")
    count = 1 if count is None else count
    if not 1 <= count <= _MOST_PROCESSES:
        what = f"must be 1 to {_MOST_PROCESSES}"
        left.fault(section.line_of("numprocs"), f"{section.name}.numprocs", what)
        return []
    if not section.get("command"):
        left.fault(section.line, section.name, "the key 'command' is missing")
        return []
    start = number_of(left, section, "numprocs_start") or 0
    numbered = any(
        "%(process_num)" in setting.value
        for name, setting in section.settings.items()
        if name != "process_name"
    )
    # Instances are numbered from 1. Where the number of a process goes into its command or its
    # files, it has to be the one that supervisord gives.
    if not numbered and count > 1:
        draft = _component(Context(section, left), group, section.label, taken)
        draft.set("instances", count, section.line_of("numprocs"))
        return [draft]
    drafts = []
    for number in range(start, start + count):
        # What is different about one process is so about all of them, and told once.
        told = left if number == start else Leftovers(section.file, [])
        context = Context(section, told, number)
        name = section.label if count == 1 else f"{section.label}_{number:02d}"
        if count > 1 and "process_name" in section.settings:
            name = context.expand("process_name") or name
        drafts.append(_component(context, group, name, taken))
    return drafts


def _component(
    context: Context, group: str | None, name: str, taken: dict[str, ComponentDraft]
) -> ComponentDraft:
    section, left = context.section, context.left
    context.group = group or section.label
    tag = free_tag(name, taken)
    if tag != name:
        left.note(section.line, section.name, f"is called '{tag}' now")
    draft = taken[tag] = ComponentDraft(section.file, section.line, tag)
    program = _Program(context, draft)
    program.command()
    program.restarts()
    if group:
        draft.set("labels", {"group": group})
    for key in section.settings:
        if key in _KEYS:
            _KEYS[key](program, key)
        elif key not in _SILENT:
            left.leave(section.line_of(key), context.key(key), _INSTEAD.get(key, ""))
    program.stopping()
    for stream in ("stdout", "stderr"):
        program.output(stream)
    return draft


class _Program:
    def __init__(self, context: Context, draft: ComponentDraft) -> None:
        self.context, self.draft = context, draft
        self.section, self.left = context.section, context.left

    def set(self, name: str, value: Plain, setting: str) -> None:
        self.draft.set(name, value, self.section.line_of(setting))

    def command(self) -> None:
        text = self.context.expand("command", variable=lambda name: f"${{{name}}}")
        line = self.section.line_of("command")
        if text is None:
            self.left.fault(line, self.context.key("command"), "cannot be carried over")
            return
        try:
            found = split_words(text)
        except ValueError:
            found = []
        if not found:
            self.left.fault(line, self.context.key("command"), "cannot be split into words")
            return
        if self.context.variables:
            self.set("expandenv", True, "command")
        self.set("command", text, "command")

    def restarts(self) -> None:
        """Carry over when it is restarted: supervisord's own default is `unexpected`."""
        word = (self.section.get("autorestart") or "unexpected").lower()
        if word in _FALSE:
            self.set("mode", "once", "autorestart")
        elif word == "unexpected":
            codes = self._codes()
            if codes:
                action: dict[str, Plain] = {"codes": codes, "action": "disable"}
                self.set("on-exit", (action,), "autorestart")
        elif word not in _TRUE:
            what = f"must be true, false or unexpected, not {quoted(word)}"
            self.left.fault(
                self.section.line_of("autorestart"), self.context.key("autorestart"), what
            )

    def _codes(self) -> tuple[int, ...]:
        text = self.section.get("exitcodes")
        codes = [word.strip() for word in ("0" if text is None else text).split(",")]
        if all(re.fullmatch("[0-9]{1,3}", code) and int(code) < 256 for code in codes):
            return tuple(int(code) for code in codes)
        if text:
            what = f"must be a list of exit codes, not {quoted(text)}"
            self.left.fault(self.section.line_of("exitcodes"), self.context.key("exitcodes"), what)
        return ()

    def tries(self, key: str) -> None:
        number = number_of(self.left, self.section, key)
        if number is not None:
            self.set("respawn", {"max": min(number, 999_999) + 1, "delay": 1}, key)
            what = "when they are used up it sleeps for a while, and is tried again"
            self.left.note(self.section.line_of(key), self.context.key(key), what)

    def seconds_to_start(self, key: str) -> None:
        number = number_of(self.left, self.section, key)
        if number is not None and number > 1:
            what = "it counts as up as soon as it runs; say with 'ready' when it is"
            self.left.leave(self.section.line_of(key), self.context.key(key), what)

    def autostart(self, key: str) -> None:
        if self.flag(key) is False:
            self.set("enabled", False, key)

    def text(self, key: str) -> None:
        name = {"stopsignal": "stop-signal", "directory": "chdir"}.get(key, key)
        value = self.context.expand(key)
        if value is None and key == "user":
            # Nothing may run as root because its user could not be carried over.
            value = literal(self.section.get(key) or "")
        if not value:
            return
        if name == "chdir" and not value.startswith("/"):
            base = os.path.dirname(os.path.abspath(self.section.file))
            value = os.path.normpath(os.path.join(base, value))
        if name == "user":
            # supervisord gives a user all groups of theirs.
            self.set("allgroups", True, key)
            if value.isdecimal():
                what = "write the user's name: a number is none"
                self.left.note(self.section.line_of(key), self.context.key(key), what)
        self.set(name, value, key)

    def environment(self, key: str) -> None:
        environment = environment_of(self.context)
        if environment:
            self.set("env", environment, key)

    def stopping(self) -> None:
        seconds = number_of(self.left, self.section, "stopwaitsecs")
        value = _USUAL_STOP if seconds is None else min(seconds, 10**9)
        self.set("stop-timeout", value, "stopwaitsecs")
        if not self.flag("stopasgroup"):
            self.set("siggroup", False, "stopasgroup")
        if self.flag("killasgroup") is False:
            line = self.section.line_of("killasgroup")
            what = "whatever is left after stop-timeout is killed"
            self.left.leave(line, self.context.key("killasgroup"), what)

    def flag(self, key: str) -> bool | None:
        """Return a setting that is true or false, or None where there is none."""
        text = self.section.get(key)
        if text is None or text.lower() in _TRUE | _FALSE:
            return None if text is None else text.lower() in _TRUE
        what = f"must be true or false, not {quoted(text)}"
        self.left.fault(self.section.line_of(key), self.context.key(key), what)
        return None

    def output(self, stream: str) -> None:
        key = f"{stream}_logfile"
        if stream == "stderr" and self.flag("redirect_stderr"):
            self.set(stream, "stdout", "redirect_stderr")
            return
        path = self.context.expand(key)
        if self.flag(f"{stream}_syslog") or path == "syslog":
            self.set(stream, "syslog", f"{stream}_syslog")
        elif path == "" or (path and path.upper() == "NONE"):
            self.set(stream, "null", key)
        elif path in ("/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2"):
            self.set(stream, "inherit", key)
        elif path and path.upper() != "AUTO":
            self._file(stream, key, path)

    def _file(self, stream: str, key: str, path: str) -> None:
        if path.endswith("/"):
            self.left.fault(self.section.line_of(key), self.context.key(key), "is a directory")
            return
        if not path.startswith("/") and "/" in path:
            path = os.path.basename(path)
            what = f"is relative: '{path}' lies in log-directory now"
            self.left.note(self.section.line_of(key), self.context.key(key), what)
        limit = self._size(f"{key}_maxbytes")
        keep = number_of(self.left, self.section, f"{key}_backups")
        table: dict[str, Plain] = {"file": path, "rotate-size": size(limit)}
        table["rotate-keep"] = _USUAL_BACKUPS if keep is None else min(keep, 10_000)
        self.set(stream, table if limit else f"file:{path}", key)

    def _size(self, key: str) -> int:
        text = self.section.get(key)
        if text is None:
            return _USUAL_SIZE
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            what = f"must be a size as 50MB, not {quoted(text)}"
            self.left.fault(self.section.line_of(key), self.context.key(key), what)
            return _USUAL_SIZE
        return int(match["number"]) << _POWERS[(match["unit"] or "").lower()]


_KEYS: dict[str, Callable[[_Program, str], None]] = {
    "autostart": _Program.autostart,
    "autorestart": lambda _program, _key: None,
    "startretries": _Program.tries,
    "startsecs": _Program.seconds_to_start,
    "directory": _Program.text,
    "user": _Program.text,
    "umask": _Program.text,
    "stopsignal": _Program.text,
    "environment": _Program.environment,
    "stdout_logfile": lambda _program, _key: None,
}


def environment_of(context: Context) -> Plain:
    """Return the setting `environment` as a value for `env`, empty if there is none.

    References to variables become steps, which are expanded at each start.
    """
    line = context.section.line_of("environment")
    text = context.section.get("environment")
    if text is None:
        return {}
    mark = "\1"  # Stands before what is a reference, until quotes and commas are dealt with.
    expanded = context.expand("environment", variable=lambda name: f"{mark}{{{name}}}")
    pairs = None if expanded is None else _pairs(expanded)
    if pairs is None:
        if expanded is not None:
            what = 'must be KEY="VALUE",KEY="VALUE"'
            context.left.fault(line, context.key("environment"), what)
        return {}
    if mark not in (expanded or ""):
        return pairs
    return tuple({"set": f"{name}={_for_a_step(value, mark)}"} for name, value in pairs.items())


def _for_a_step(value: str, mark: str) -> str:
    """Return *value* so that expansion changes the references in it, and nothing else."""
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value).replace(mark, "$") + '"'


def _pairs(text: str) -> dict[str, str] | None:
    """Return `KEY="VALUE",KEY2=VALUE2` as a dict, None if it is none. Quotes as in a shell."""
    lexer = shlex.shlex(text, posix=False, punctuation_chars=False)
    lexer.wordchars += "/.+-():*@!?;<>|&^~%$[]{}\\#`\1"
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:
        return None
    pairs: dict[str, str] = {}
    for at in range(0, len(tokens), 4):
        match tokens[at : at + 4]:
            case [name, "=", value] | [name, "=", value, ","] if name and value not in ("=", ","):
                pass
            case _:
                return None
        pairs[name] = value[1:-1] if value[0] in "\"'" and value[-1] == value[0] else value
    return pairs


def number_of(left: Leftovers, section: Section, key: str) -> int | None:
    """Return a setting that is a whole number, or None after telling that it is none."""
    text = section.get(key)
    if text is None:
        return None
    if re.fullmatch(r"\s*-?[0-9]{1,12}\s*", text, re.ASCII):
        number = int(text)
        if number >= 0 or key == "priority":
            return number
    what = f"must be a whole number, not {quoted(text)}"
    left.fault(section.line_of(key), f"{section.name}.{key}", what)
    return None

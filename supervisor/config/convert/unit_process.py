"""Carry over what the process of a service runs as: user, environment, limits, output."""

from __future__ import annotations

import re

from supervisor.config.convert.carry import size, words
from supervisor.config.convert.unit_file import Setting, seconds, split_words
from supervisor.config.convert.unit_service import Service
from supervisor.config.limits import NAMES
from supervisor.config.nodes import Plain
from supervisor.config.tables import quoted

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BYTES = words("as core data fsize memlock msgqueue rss stack")
_SIZE = re.compile(r"(?P<number>[0-9]{1,15})(?P<unit>[KMGTPE]?)")
_MOST_FILES = 1 << 20
"""What `infinity` means for open files: as many as Linux allows by default."""


def carry_process(service: Service) -> None:
    """Set `user`, `group`, `chdir`, `env`, `umask`, limits and output."""
    _identity(service)
    _directory(service)
    _environment(service)
    _limits(service)
    _scheduling(service)
    for stream, name in (("stdout", "StandardOutput"), ("stderr", "StandardError")):
        _output(service, stream, name)
    _input(service)


def _identity(service: Service) -> None:
    user = service.last("User")
    dynamic = service.last("DynamicUser")
    if user:
        if user.value.isdecimal() and user.value != "0":
            service.note(user, "write the user's name: a number is none")
        # Whatever cannot be a user stays: nothing may run as root because it was left out.
        service.set("user", "root" if user.value == "0" else user.value, user.line)
    elif dynamic and service.flag("DynamicUser"):
        service.set("user", service.draft.tag, dynamic.line)
        service.note(dynamic, "create the user that is named in user")
    if user:
        # systemd gives a user all groups of theirs.
        service.set("allgroups", True, user.line)
    names: list[str] = []
    group = service.last("Group")
    if group and (user is None or group.value != user.value):
        names.append(group.value)
        service.note(group, "is a supplementary group: the primary one is that of the user")
    more = service.all("SupplementaryGroups")
    names += [name for setting in more for name in setting.value.split()]
    if names:
        first = group or more[0]
        service.set("group", tuple(dict.fromkeys(names)), first.line)


def _directory(service: Service) -> None:
    setting = service.last("WorkingDirectory")
    if setting is None:
        return
    path = setting.value.removeprefix("-")
    if not path.startswith("/"):
        service.leave(setting, "write the full path in chdir")
        return
    if path != setting.value:
        service.note(setting, "'-' is not carried over: without the directory it does not start")
    service.set("chdir", path, setting.line)


def _environment(service: Service) -> None:
    variables: dict[str, Plain] = {}
    line = 0
    for setting in service.all("Environment"):
        line = line or setting.line
        for word in _words(service, setting):
            name, equals, value = word.partition("=")
            if equals and _NAME.fullmatch(name):
                variables[name] = value
            else:
                service.wrong(setting, f"must be NAME=VALUE: {quoted(word)}")
    for setting in service.all("UnsetEnvironment"):
        line = line or setting.line
        for word in _words(service, setting):
            if _NAME.fullmatch(word):
                variables[word] = {"unset": True}
            else:
                service.leave(setting, f"{quoted(word)} is no name of a variable")
    if variables:
        service.set("env", variables, line)


def _words(service: Service, setting: Setting) -> list[str]:
    try:
        return split_words(setting.value)
    except ValueError as error:
        service.wrong(setting, f"cannot be split into words: {error}")
        return []


def _limits(service: Service) -> None:
    limits: dict[str, Plain] = {}
    line = 0
    for name in NAMES:
        setting = service.last(f"Limit{name.upper()}")
        if setting is None:
            continue
        soft, colon, hard = setting.value.partition(":")
        value = _limit(name, soft)
        if value is None:
            service.wrong(setting, "must be a limit as 1024, 64M or infinity")
            continue
        if colon and hard != soft:
            service.note(setting, f"is {soft} as the hard limit too: there is one value for both")
        if value == "unlimited" and name == "nofile":
            value = _MOST_FILES
            service.note(setting, f"is {value}: Linux knows no infinity for open files")
        limits[name] = value
        line = line or setting.line
    if limits:
        service.set("limits", limits, line)


def _limit(name: str, text: str) -> int | str | None:
    if text == "infinity":
        return "unlimited"
    if name in ("cpu", "rttime") and not text.isdecimal():
        span = seconds(text)
        return None if span is None else round(span * (1_000_000 if name == "rttime" else 1))
    match = _SIZE.fullmatch(text)
    if match is None or (match["unit"] and name not in _BYTES):
        return None
    value = int(match["number"]) << 10 * " KMGTPE".index(match["unit"] or " ")
    if value >= 1 << 63:
        return None
    return size(value) if name in _BYTES else value


def _scheduling(service: Service) -> None:
    numbers: dict[str, tuple[str, int, int]] = {
        "Nice": ("nice", -20, 19),
        "OOMScoreAdjust": ("oom-score-adj", -1000, 1000),
    }
    for name, (key, least, most) in numbers.items():
        if found := service.number(name, least, most):
            service.set(key, found[1], found[0].line)
    umask = service.last("UMask")
    if umask and re.fullmatch("0*[0-7]{1,3}", umask.value):
        service.set("umask", umask.value, umask.line)
    elif umask:
        service.wrong(umask, "must be octal digits as 0022")
    if service.flag("NoNewPrivileges"):
        service.set("no-new-privileges", True, service.line_of("NoNewPrivileges"))
    processors = service.all("CPUAffinity")
    joined = ",".join(word for each in processors for word in re.split(r"[\s,]+", each.value))
    if processors and re.fullmatch(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*", joined):
        service.set("cpu-affinity", joined, processors[0].line)
    elif processors:
        service.leave(processors[0], "write the numbers of the processors in cpu-affinity")


def _output(service: Service, stream: str, name: str) -> None:
    setting = service.last(name)
    if setting is None:
        output = service.unit.last("Service", "StandardOutput")
        # Standard error follows standard output unless something else is said.
        if stream == "stderr" and output and output.value.startswith(("file:", "append:", "trunc")):
            service.set(stream, "stdout", output.line)
        return
    kind, _, path = setting.value.partition(":")
    match kind:
        case "inherit" if stream == "stderr":
            service.set(stream, "stdout", setting.line)
        case "null" | "journal" | "syslog":
            service.set(stream, kind, setting.line)
        case "journal+console" | "syslog+console":
            service.set(stream, kind.partition("+")[0], setting.line)
        case "file" | "append" | "truncate" if path.startswith("/") and not path.endswith("/"):
            if kind == "truncate":
                service.note(setting, "the file is appended to")
            output = service.unit.last("Service", "StandardOutput")
            same = stream == "stderr" and output and output.value == setting.value
            service.set(stream, "stdout" if same else f"file:{path}", setting.line)
        case _:
            service.leave(setting, "" if kind != "inherit" else "there is nothing to inherit")


def _input(service: Service) -> None:
    setting = service.last("StandardInput")
    if setting and setting.value == "null":
        service.set("nullinput", True, setting.line)
    elif setting:
        service.leave(setting)

"""Carry over what a service executes: its command, what is tested before, how it is stopped."""

from __future__ import annotations

import shlex

from supervisor.config.convert.unit_command import Line, read_lines, signal_of
from supervisor.config.convert.unit_file import Setting
from supervisor.config.convert.unit_service import Service

_TESTS = {
    "PathExists": "-e",
    "PathIsDirectory": "-d",
    "PathIsSymbolicLink": "-L",
    "PathIsReadWrite": "-w",
    "FileNotEmpty": "-s",
    "FileIsExecutable": "-x",
}
"""Conditions that test(1) knows."""


def carry_commands(service: Service) -> None:
    """Set `command`, `program`, `start-condition` and `stop-signal`."""
    _command(service)
    _before(service)
    _stop(service)
    for setting in service.all("ExecReload"):
        signal = signal_of(setting.value)
        instead = f"use piesctl signal {signal} {service.draft.tag}" if signal else ""
        service.leave(setting, instead)


def _lines(service: Service, setting: Setting) -> list[Line]:
    try:
        return read_lines(setting.value)
    except ValueError as error:
        service.wrong(setting, str(error))
        return []


def _command(service: Service) -> None:
    settings = service.all("ExecStart")
    if not settings:
        service.left.fault(
            service.line_of("ExecStart"), "Service.ExecStart", "is missing: there is nothing to run"
        )
        return
    lines = [(setting, line) for setting in settings for line in _lines(service, setting)]
    for setting, line in lines:
        _explain_prefixes(service, setting, line)
    at = settings[0].line
    match lines:
        case []:
            return
        case [(_, line)] if not line.has_variables:
            if line.program != line.words[0]:
                service.set("program", line.program, at)
            service.set("command", line.plain(), at)
        case [(_, line)]:
            if line.program != line.words[0]:
                service.set("program", line.program, at)
            service.set("expandenv", True, at)
            service.set("command", line.expanding(), at)
        case _:
            service.set("shell", True, at)
            service.set("command", " && ".join(line.for_shell() for _, line in lines), at)


def _explain_prefixes(service: Service, setting: Setting, line: Line) -> None:
    if not line.program.startswith("/") and "/" in line.program:
        service.wrong(setting, "must name a program by its full path or without a slash")
    if "+" in line.prefixes or "!" in line.prefixes:
        service.note(setting, "'+' and '!' are not carried over: it runs as the component's user")
    if "|" in line.prefixes:
        service.note(setting, "'|' is not carried over: it is run without a shell")
    if "-" in line.prefixes and setting.name == "ExecStart":
        service.note(setting, "'-' is not carried over: see on-exit for codes that are no failure")


def _before(service: Service) -> None:
    """Make one command of all that decides whether the service is started."""
    parts: list[str] = []
    first = 0
    for kind in ("Condition", "Assert"):
        for name, option in _TESTS.items():
            for setting in service.all(f"{kind}{name}", "Unit"):
                parts.append(_test(option, setting.value))
                first = first or setting.line
    for name in ("ExecCondition", "ExecStartPre"):
        for setting in service.all(name):
            for line in _lines(service, setting):
                _explain_prefixes(service, setting, line)
                parts.append(line.for_shell())
                first = first or setting.line
            if name == "ExecStartPre" and not setting.value.startswith("-"):
                service.note(
                    setting, "its failure leaves the component stopped until it is started"
                )
    if parts:
        service.set("start-condition", ("/bin/sh", "-c", " && ".join(parts)), first)


def _test(option: str, value: str) -> str:
    value = value.removeprefix("|")
    negated = value.startswith("!")
    path = value.removeprefix("!").strip()
    return f"test {'! ' if negated else ''}{option} {shlex.quote(path)}"


def _stop(service: Service) -> None:
    signal = service.last("KillSignal")
    if signal:
        service.set("stop-signal", _signal(signal.value), signal.line)
    for setting in service.all("ExecStop"):
        sent = signal_of(setting.value)
        if sent and not signal:
            service.set("stop-signal", _signal(sent), setting.line)
            service.set("siggroup", False, setting.line)
        else:
            service.leave(setting)


def _signal(word: str) -> str | int:
    return int(word) if word.isdecimal() and len(word) < 4 else word

"""Carry over how a service lives: its type, its restarts, its time limits, whom it needs."""

from __future__ import annotations

import re
import signal

from supervisor.config.convert.carry import tidy
from supervisor.config.convert.unit_file import LONGEST, Setting
from supervisor.config.convert.unit_service import Service
from supervisor.config.exit_codes import SYSEXITS
from supervisor.config.nodes import Plain
from supervisor.config.tables import did_you_mean

_USUAL_STOP = 90.0
_CLEAN: tuple[int | str, ...] = (0, "SIGHUP", "SIGINT", "SIGTERM", "SIGPIPE")
"""Ways to end that systemd takes for a success. Source: systemd.service(5), `Restart=`."""
_CRASHES = ("SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGSEGV", "SIGSYS")
_RESTARTS = ("no", "always", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog")
_TYPES = ("simple", "exec", "idle", "forking", "oneshot", "notify", "notify-reload", "dbus")
_NEEDS = ("Requires", "BindsTo", "Requisite")


def carry_life(service: Service) -> None:
    """Set `mode`, `ready`, `on-exit`, `respawn`, `stop-timeout` and what concerns others."""
    description = service.last("Description", "Unit")
    if description:
        service.set("description", description.value, description.line)
    kind = _type(service)
    _restarts(service, once=kind == "oneshot")
    _timeouts(service, notify=kind.startswith("notify"))
    _kill_mode(service)
    _neighbours(service)


def _type(service: Service) -> str:
    setting = service.last("Type")
    if setting is None:
        return "simple"
    match setting.value:
        case "forking":
            what = "have the program stay in the foreground: piesd follows what it has started"
            service.leave(setting, what)
        case "dbus":
            service.note(setting, "it counts as up as soon as it runs; see ready")
        case "notify-reload":
            service.note(setting, "reloads are not waited for")
        case word if word not in _TYPES:
            service.wrong(setting, f"must be one of {', '.join(_TYPES)}")
        case _:
            pass
    return setting.value


def _restarts(service: Service, *, once: bool) -> None:
    setting = service.last("Restart")
    word = setting.value if setting else "no"
    line = setting.line if setting else service.line_of("Type")
    if setting and word not in _RESTARTS:
        service.wrong(setting, f"must be one of {', '.join(_RESTARTS)}")
    respawn = _respawn(service)
    success = _codes(service, "SuccessExitStatus")
    prevent = _codes(service, "RestartPreventExitStatus")
    force = _codes(service, "RestartForceExitStatus")
    if word in ("no", "on-watchdog") or word not in _RESTARTS:
        service.set("mode", "once", line)
        if setting and word == "on-watchdog":
            service.leave(setting, "a once that hangs is ended, and not run again")
        return
    if once and setting:
        service.note(setting, "it is of type oneshot, and is run again whenever it has ended")
    clean = tuple(dict.fromkeys((*_CLEAN, *success)))
    final: tuple[int | str, ...] = {
        "always": (),
        "on-failure": clean,
        "on-abnormal": ("0-255", *clean[1:]),
        "on-abort": ("0-255", *clean[1:]),
        "on-success": ("1-255", *_CRASHES),
    }[word]
    # The first that fits is taken, so the exceptions come first.
    actions = [
        {"codes": codes, "action": action}
        for codes, action in ((prevent, "disable"), (force, "restart"), (final, "disable"))
        if codes
    ]
    if actions:
        service.set("on-exit", tuple(actions), line)
    if respawn:
        service.set("respawn", respawn, service.line_of("RestartSec"))


def _codes(service: Service, name: str) -> tuple[int | str, ...]:
    found: dict[int | str, None] = {}
    for setting in service.all(name):
        for word in setting.value.split():
            if re.fullmatch("[0-9]{1,3}", word) and int(word) < 256:
                found[int(word)] = None
            elif word in signal.Signals.__members__:
                found[word] = None
            elif f"EX_{word}" in SYSEXITS:
                found[f"EX_{word}"] = None
            else:
                hint = did_you_mean(word, (*signal.Signals.__members__, *SYSEXITS))
                service.leave(setting, f"'{word}' is no exit code known here{hint}")
    return tuple(found)


def _respawn(service: Service) -> dict[str, Plain]:
    """Return the failure policy where the unit says something about it."""
    delay = service.seconds("RestartSec")
    longest = service.seconds("RestartMaxDelaySec")
    window = _limit(service, "StartLimitIntervalSec", "StartLimitInterval")
    burst = service.last("StartLimitBurst", "Unit") or service.last("StartLimitBurst")
    if window is not None and window.seconds == 0:
        service.set("precious", True, window.setting.line)
        window = None
    if burst and not re.fullmatch("[1-9][0-9]{0,5}", burst.value):
        service.wrong(burst, "must be a whole number of starts")
        burst = None
    if delay is None and window is None and burst is None:
        return {}
    respawn: dict[str, Plain] = {
        "max": int(burst.value) if burst else 5,
        "window": tidy(window.seconds if window else 10),
    }
    if burst or window:
        limit = burst or (window and window.setting)
        if limit:
            service.note(limit, "then it sleeps for a while, and is tried again")
    if delay:
        # systemd's delay stays the same unless a longest one is given.
        respawn |= {"delay": tidy(delay), "delay-max": tidy(max(longest or 0, delay))}
    return respawn


class _Limit:
    def __init__(self, setting: Setting, seconds: float) -> None:
        self.setting, self.seconds = setting, seconds


def _limit(service: Service, *names: str) -> _Limit | None:
    for section in ("Unit", "Service"):
        for name in names:
            setting = service.last(name, section)
            found = service.seconds(name, section)
            if setting and found is not None:
                return _Limit(setting, min(found, LONGEST))
    return None


def _timeouts(service: Service, *, notify: bool) -> None:
    both = service.seconds("TimeoutSec")
    start = service.seconds("TimeoutStartSec")
    stop = service.seconds("TimeoutStopSec")
    start = both if start is None else start
    stop = both if stop is None else stop
    line = service.line_of("TimeoutStopSec")
    if watchdog := service.seconds("WatchdogSec"):
        service.set("watchdog", tidy(watchdog), service.line_of("WatchdogSec"))
    service.set("stop-timeout", tidy(_USUAL_STOP if stop is None else stop), line)
    if notify:
        seconds = start or (LONGEST if start == 0 else None)
        value = "notify" if seconds is None else {"notify": True, "timeout": tidy(seconds)}
        service.set("ready", value, service.line_of("Type"))


def _kill_mode(service: Service) -> None:
    setting = service.last("KillMode")
    match setting and setting.value:
        case None | "control-group":
            return
        case "mixed":
            service.set("siggroup", False, setting.line if setting else 0)
        case "process" | "none":
            service.set("siggroup", False, setting.line if setting else 0)
            if setting:
                service.note(setting, "what is left when it has ended is killed")
        case _:
            if setting:
                service.wrong(setting, "must be control-group, mixed, process or none")


def _neighbours(service: Service) -> None:
    """List whom it needs: those have to be components before they can be prerequisites."""
    needed: dict[str, Setting] = {}
    for name in _NEEDS:
        for setting in service.all(name, "Unit"):
            for other in setting.value.split():
                if other.endswith(".service"):
                    needed[other.removesuffix(".service")] = setting
                elif not other.endswith((".target", ".slice")):
                    service.leave(setting, f"{other} is no component")
    for other, setting in needed.items():
        service.leave(setting, f"once '{other}' is a component, add it to prerequisites")
    for name in ("Wants", "After", "Before", "PartOf"):
        for setting in service.all(name, "Unit"):
            rest = [
                other
                for other in setting.value.split()
                if not other.endswith((".target", ".slice", ".mount"))
                and other.removesuffix(".service") not in needed
            ]
            if rest:
                what = f"if it cannot do without {' '.join(rest)}, add prerequisites"
                service.leave(setting, what if name in ("Wants", "After") else "")

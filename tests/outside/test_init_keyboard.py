"""What is asked of the kernel about the keys of a machine: Ctrl-Alt-Del and KeyboardSignal.

Both are settings of the whole machine, so no test changes them unless it is told that it may. What
a PID namespace answers is real; for the rest the calls are looked at where they leave us.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_system import FakeSystem
from namespaces import inmate, why_not
from supervisor.engine.engine import Engine
from supervisor.runtime.initduties import InitDuties
from supervisor.system import machine

MAY = "PIESD_TESTS_MAY_CHANGE_THE_KEYS"

Answer = Callable[..., int]


class Kernel:
    """Stands where the C library and ioctl(2) are, and writes down what it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, consoles: dict[str, int]) -> None:
        """Have *consoles*, each with the error that KDSIGACCEPT gets there, or 0."""
        self.asked: list[tuple[object, ...]] = []
        self.error = 0
        self._consoles = consoles
        self._opened: dict[int, str] = {}
        monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: self)
        monkeypatch.setattr("ctypes.get_errno", lambda: self.error)
        monkeypatch.setattr("fcntl.ioctl", self._ioctl)
        monkeypatch.setattr(machine, "_CONSOLES", tuple(consoles))

    def reboot(self, command: int) -> int:
        self.asked.append(("reboot", command))
        return -1 if self.error else 0

    def _ioctl(self, fd: int, request: int, argument: int) -> int:
        console = os.readlink(f"/proc/self/fd/{fd}")
        self.asked.append(("ioctl", os.path.basename(console), request, argument))
        if self._consoles[console]:
            raise OSError(self._consoles[console], os.strerror(self._consoles[console]))
        return 0


def take_keyboard() -> None:
    InitDuties(FakeSystem(), Engine(init=True), lambda _: None, lambda: None).take_keyboard()


# LINUX_REBOOT_CMD_CAD_OFF of <linux/reboot.h>, KDSIGACCEPT of <linux/kd.h>.
CAD_OFF, KDSIGACCEPT = 0x00000000, 0x4B4E


def consoles(tmp_path: Path, **errors: int) -> dict[str, int]:
    for name in errors:
        (tmp_path / name).touch()
    return {str(tmp_path / name): error for name, error in errors.items()}


def test_both_keys_become_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, consoles(tmp_path, tty0=0, console=0))
    take_keyboard()
    assert kernel.asked == [
        ("reboot", CAD_OFF),
        ("ioctl", "tty0", KDSIGACCEPT, signal.SIGWINCH),
    ]


def test_a_console_without_a_keyboard_is_not_the_last_one_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kernel = Kernel(monkeypatch, consoles(tmp_path, tty0=errno.ENOTTY, console=0))
    take_keyboard()
    assert [each[1] for each in kernel.asked[1:]] == ["tty0", "console"]
    assert caplog.text == ""


def test_without_any_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Kernel(monkeypatch, consoles(tmp_path, tty0=errno.ENOTTY) | {"/no/such/console": 0})
    take_keyboard()
    assert "cannot have the keyboard's request told to us: Inappropriate ioctl" in caplog.text


@pytest.mark.parametrize(("error", "told"), [(errno.EINVAL, ""), (errno.EPERM, "Ctrl-Alt-Del")])
def test_who_may_not_have_the_one_does_not_ask_for_the_other(
    error: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    kernel = Kernel(monkeypatch, consoles(tmp_path, tty0=0))
    kernel.error = error
    take_keyboard()
    assert len(kernel.asked) == 1
    assert told in caplog.text
    assert bool(caplog.text) == bool(told)


ASK = """
from supervisor.system.machine import disable_ctrl_alt_del
try:
    disable_ctrl_alt_del()
except OSError as error:
    print(error.errno)
"""


@pytest.mark.real
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "none")
def test_a_pid_namespace_answers_as_we_take_it_to() -> None:
    with inmate([sys.executable, "-c", ASK]) as one:
        assert one.end() == 0
        assert one.said == str(errno.EINVAL)


@pytest.mark.real
@pytest.mark.skipif(
    os.environ.get(MAY) != "1", reason=f"it changes the keys of the whole machine: {MAY}=1 lets it"
)
def test_the_kernel_of_a_machine_gives_us_its_keys() -> None:
    machine.disable_ctrl_alt_del()
    assert Path("/proc/sys/kernel/ctrl-alt-del").read_text() == "0\n"
    machine.accept_keyboard_signal(signal.SIGWINCH)

"""Start a child from a thread that has what the child is to inherit.

On Linux the nice value, the set of processors and `no_new_privs` belong to a thread, and a child
gets those of the thread that forked it. So a thread of a moment puts them on: piesd itself never
has them, and in the child nothing has to be done.

Source: sched(7), setpriority(2) under "C library/kernel differences", PR_SET_NO_NEW_PRIVS(2const).
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from supervisor.system.users import Identity

T = TypeVar("T")

_PR_SET_NO_NEW_PRIVS = 38

_NUMBERS: dict[str, tuple[int, int, int]] = {
    "x86_64": (116, 119, 117),
    "aarch64": (159, 149, 147),
    "riscv64": (159, 149, 147),
}
"""setgroups, setresgid and setresuid by machine. The C library's own functions change all threads
at once. Source: the kernel's unistd.h of each."""


class Traits(Struct, frozen=True, kw_only=True):
    """What a child inherits from the thread that forks it. `become` is whom the thread turns into.

    `become` is for those who may not set limits of other people's processes: the child is then
    that user from its birth, and so is the thread that sets its limits.
    """

    nice: int | None = None
    affinity: tuple[int, ...] = ()
    no_new_privileges: bool = False
    become: Identity | None = None

    def __bool__(self) -> bool:
        return self != _NONE


_NONE = Traits()


class TraitRefused(Exception):
    """A trait could not be had.

    `stage` is `nice`, `affinity`, `no-new-privileges`, `user`, or `fork` for want of a thread.
    """

    def __init__(self, stage: str, number: int, message: str) -> None:
        super().__init__(message)
        self.stage, self.number, self.message = stage, number, message


def run_with(traits: Traits, job: Callable[[], T]) -> T:
    """Return what *job* returns; it runs in a thread with *traits*, and we wait for it.

    Raises:
        TraitRefused: one of them cannot be had; *job* was not run.
    """
    if not traits:
        return job()
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            _put_on(traits)
            result.append(job())
        except BaseException as error:  # noqa: BLE001 - it is raised again below.
            failure.append(error)

    # The thread ends as soon as the child is forked, or, of a vfork, executes.
    thread = threading.Thread(target=body, name="start")
    try:
        thread.start()
    except RuntimeError:
        number = errno.EAGAIN
        raise TraitRefused("fork", number, f"fork: thread: {os.strerror(number)}") from None
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _put_on(traits: Traits) -> None:
    if traits.affinity:
        shown = ",".join(map(str, traits.affinity))
        with_reason = _refusing("affinity", f"cpu-affinity {shown}")
        with_reason(lambda: os.sched_setaffinity(0, traits.affinity))
    if traits.nice is not None:
        nice = traits.nice
        with_reason = _refusing("nice", f"nice {nice}")
        with_reason(lambda: os.setpriority(os.PRIO_PROCESS, 0, nice))
    if traits.no_new_privileges:
        with_reason = _refusing("no-new-privileges", "no-new-privileges")
        with_reason(lambda: _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if (identity := traits.become) is not None:
        with_reason = _refusing("user", f"user '{identity.name or identity.uid}'")
        with_reason(lambda: _become(identity))


def _refusing(stage: str, what: str) -> Callable[[Callable[[], object]], None]:
    def attempt(act: Callable[[], object]) -> None:
        try:
            act()
        except (OSError, ValueError, OverflowError) as error:
            number = getattr(error, "errno", None) or errno.EINVAL
            raise TraitRefused(
                stage, number, f"{what}: {os.strerror(number)}{_hint(stage, number)}"
            ) from None

    return attempt


def _hint(stage: str, number: int) -> str:
    if stage == "affinity" and number == errno.EINVAL:
        allowed = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        return f" (piesd may use the processors {allowed})"
    if stage == "nice" and number in (errno.EPERM, errno.EACCES):
        return " (only root may give more than an ordinary share of the processor)"
    return ""


def _call(name: str, *numbers: int) -> None:
    """Call a function of the C library that says -1 for an error."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments: list[Any] = [ctypes.c_long(number) for number in numbers]
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def can_become() -> bool:
    """Tell whether this machine is one where a single thread can change its user."""
    return os.uname().machine in _NUMBERS


def _become(identity: Identity) -> None:
    """Make this thread, and no other, run as *identity*."""
    setgroups, setresgid, setresuid = _NUMBERS[os.uname().machine]
    libc = ctypes.CDLL(None, use_errno=True)
    groups = (ctypes.c_uint * len(identity.groups))(*identity.groups)
    calls: list[tuple[Any, ...]] = [
        (setgroups, ctypes.c_long(len(groups)), groups),
        (setresgid, *[ctypes.c_long(identity.gid)] * 3),
        (setresuid, *[ctypes.c_long(identity.uid)] * 3),
    ]
    for number, *arguments in calls:
        if libc.syscall(ctypes.c_long(number), *arguments) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

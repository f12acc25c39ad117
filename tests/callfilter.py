"""Have another process decide about some system calls of a program, and execute that program.

Run as a program: `callfilter.py SOCKET NUMBERS COMMAND…`. The kernel holds back each call that has
one of NUMBERS, and asks who holds the descriptor that is sent to the UNIX socket SOCKET. The
children of COMMAND inherit that. It needs no compiler: the filter is a few words of BPF.

Source: seccomp(2), seccomp_unotify(2); Linux 5.5.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import threading

_SECCOMP = {"x86_64": 317, "aarch64": 277}
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""How the kernel names them to a filter. Source: <linux/audit.h>."""

_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_SET_NO_NEW_PRIVS = 38


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("words", ctypes.c_void_p))


def filter_for(numbers: list[int], machine: str) -> bytes:
    """Return the BPF that lets everything pass but the calls with these numbers."""
    last = len(numbers)
    code = [(_LOAD, 0, 0, 4), (_JUMP_EQUAL, 0, last + 1, ARCHITECTURE[machine]), (_LOAD, 0, 0, 0)]
    code += [(_JUMP_EQUAL, last - at, 0, number) for at, number in enumerate(numbers)]
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _NOTIFY)]
    return b"".join(struct.pack("=HBBI", *word) for word in code)


def install(numbers: list[int]) -> int:
    """Install the filter for this thread; return the descriptor of who is asked.

    Raises:
        OSError: the kernel does not let us, or is too old.
    """
    machine = os.uname().machine
    libc = ctypes.CDLL(None, use_errno=True)
    code = filter_for(numbers, machine)
    words = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(words))
    if os.geteuid() != 0:
        libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # A call that is asked about is not to be broken off by a signal, as it would be made twice.
    fd = int(
        libc.syscall(
            _SECCOMP[machine],
            _SET_MODE_FILTER,
            _NEW_LISTENER | _WAIT_KILLABLE,
            ctypes.byref(program),
        )
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def main(path: str, numbers: str, *command: str) -> None:
    """Install the filter, hand over who is asked, and become *command*.

    A thread that is not filtered hands it over: what we do ourselves may wait for an answer.
    """
    begun, installed, over = threading.Event(), threading.Event(), threading.Event()
    found: list[int | str] = []
    with socket.socket(socket.AF_UNIX) as way:
        way.connect(path)

        def hand_over() -> None:
            begun.set()
            installed.wait()
            if isinstance(found[0], int):
                socket.send_fds(way, [b"!"], [found[0]])
            else:
                way.sendall(found[0].encode())
            way.recv(1)  # It is there.
            over.set()

        threading.Thread(target=hand_over, daemon=True).start()
        begun.wait()
        try:
            found.append(install([int(number) for number in numbers.split(",")]))
        except (OSError, KeyError) as error:
            found.append(f"seccomp: {error}")
        installed.set()
        over.wait()
        os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])

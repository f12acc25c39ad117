"""Say which step of a start failed, why, and about which file."""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import NamedTuple

from supervisor.system.program import Program
from supervisor.system.spawn import Failure

_BEFORE_IDENTITY = frozenset({errno.EPERM, errno.EINVAL, errno.EAGAIN, errno.ENOMEM})
"""What setgroups, setgid and setuid can say; chdir says none of these."""

_LONGEST = 32 * os.sysconf("SC_PAGE_SIZE") - 1
"""Bytes of one word, or of one variable with its name. Source: execve(2), MAX_ARG_STRLEN."""

_ELF_INTERPRETER = 3  # PT_INTERP, elf(5)


class Cause(NamedTuple):
    """A failed start: the stage, the system's reason and a sentence `STAGE OBJECT: reason`."""

    stage: str
    number: int
    message: str


def explain(program: Program, failure: Failure) -> Cause:
    """Return why *program* could not be started. Looks at files, so it may block."""
    if failure.executing:
        return _explain_exec(program, failure.number)
    number, reason = failure.number, os.strerror(failure.number)
    if program.switches and (program.cwd is None or number in _BEFORE_IDENTITY):
        assert program.identity is not None
        if program.identity.name is None:
            groups = " ".join(map(str, program.identity.groups))
            return Cause("groups", number, f"groups {groups}: {reason}")
        return Cause("user", number, f"user '{program.identity.name}': {reason}")
    if program.cwd is not None:
        return Cause("chdir", number, f"chdir to {program.cwd}: {reason}")
    return Cause("stdin", number, f"standard streams: {reason}")


def _explain_exec(program: Program, number: int) -> Cause:
    file = _culprit(program)
    if file is None:
        note = "" if program.path is None else f" (not found in PATH {program.path})"
        return Cause("exec", number, f"exec {program.named}: {os.strerror(number)}{note}")
    shown = os.fsdecode(file if program.path is not None else os.fsencode(program.named))
    full = _from_cwd(program, file)
    reason = os.strerror(number)
    if number in (errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ELOOP):
        interpreter = interpreter_of(full)
        if interpreter is not None and not _executable(_from_cwd(program, interpreter)):
            told = ascii(os.fsdecode(interpreter))[1:-1]  # Makes a stray carriage return visible.
            return Cause("interpreter", number, f"interpreter {told} of {shown}: {reason}")
    if number == errno.EACCES and os.path.isdir(full):
        return Cause("exec", errno.EISDIR, f"exec {shown}: {os.strerror(errno.EISDIR)}")
    hint = _too_long(program) if number == errno.E2BIG else _hint(full, number)
    return Cause("exec", number, f"exec {shown}: {reason}{hint}")


def _too_long(program: Program) -> str:
    """Return which word or variable the kernel does not take, in parentheses, or nothing."""
    for entry in program.env:
        if len(entry) > _LONGEST:
            name = os.fsdecode(entry.partition(b"=")[0])
            return f" (the variable {name} is longer than {_LONGEST} bytes)"
    for number, word in enumerate(program.argv):
        if len(word) > _LONGEST:
            return f" (word {number} of the command is longer than {_LONGEST} bytes)"
    return ""


def _hint(full: bytes, number: int) -> str:
    """Return what is probably the matter, in parentheses, or nothing."""
    try:
        if number == errno.EACCES:
            if not stat.S_IMODE(os.stat(full).st_mode) & 0o111:
                return " (it is not executable: no x bit)"
            if os.statvfs(full).f_flag & os.ST_NOEXEC:
                return " (its file system is mounted noexec)"
        if number == errno.ENOEXEC:
            with open(full, "rb") as file:
                begin = file.read(4)
            if not begin:
                return " (the file is empty)"
            if begin != b"\x7fELF":
                return " (no #! line)"
            return " (it is made for another kind of machine)"
    except OSError:
        pass  # No hint, then.
    return ""


def _culprit(program: Program) -> bytes | None:
    """Return the candidate that exists, the one execve complained about."""
    for candidate in program.candidates:
        if os.path.lexists(_from_cwd(program, candidate)):
            return candidate
    return None


def _from_cwd(program: Program, path: bytes) -> bytes:
    return os.path.join(os.fsencode(program.cwd or ""), path)


def _executable(path: bytes) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def interpreter_of(path: bytes) -> bytes | None:
    """Return the program that *path* needs to run: of its `#!` line, or its dynamic linker.

    Source: execve(2), elf(5).
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return None
    if head.startswith(b"#!"):
        words = head.split(b"\n", 1)[0][2:].strip(b" \t").replace(b"\t", b" ").split(b" ", 1)
        return words[0] or None
    return _linker_of(head)


def _linker_of(head: bytes) -> bytes | None:
    """Return the dynamic linker that the beginning of a little-endian ELF file names."""
    if len(head) < 64 or head[:4] != b"\x7fELF" or head[5] != 1:
        return None
    wide = head[4] == 2
    table = struct.unpack_from("<Q", head, 32)[0] if wide else struct.unpack_from("<I", head, 28)[0]
    size, count = struct.unpack_from("<HH", head, 54 if wide else 42)
    for index in range(count):
        at = table + index * size
        if at + (40 if wide else 20) > len(head):
            return None
        if struct.unpack_from("<I", head, at)[0] != _ELF_INTERPRETER:
            continue
        form, offset_at, length_at = ("<Q", 8, 32) if wide else ("<I", 4, 16)
        offset = struct.unpack_from(form, head, at + offset_at)[0]
        length = struct.unpack_from(form, head, at + length_at)[0]
        return head[offset : offset + length].rstrip(b"\0") or None
    return None

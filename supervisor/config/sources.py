"""From the files an operator names to the tables they hold, includes followed."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct

from supervisor.config import later, toml
from supervisor.config.host import home
from supervisor.config.tables import Node, as_items, did_you_mean, kind_of, quoted
from supervisor.model.errors import Problem
from supervisor.model.settings import SourceFile

Reader = Callable[[str, str, list[Problem]], Node | None]

READERS: Mapping[str, Reader] = {"toml": toml.read}
"""The syntaxes that can be read. A reader gets the text, the name of the file, and the problems."""

LARGEST = 16 * 1024 * 1024
"""Bytes of one file. A configuration is written by people; more than this is a mistake."""

DEEPEST = 32
"""Files that include one another in a chain."""


class Document(Struct, frozen=True):
    """One file that was read, and its tables: a node whose value is a table."""

    file: str
    syntax: str
    root: Node


class Sources(Struct, frozen=True):
    """Everything that was read, in reading order.

    `broken` are the tags seen in files that could not be read to the end: what refers to them is
    not at fault.
    """

    documents: tuple[Document, ...]
    broken: frozenset[str]


def syntax_of(path: str) -> str | None:
    """Return the syntax that the name of a file stands for, or None if for none."""
    name = os.path.basename(path)
    if name in ("inetd.conf", "inittab"):
        return name.removesuffix(".conf")
    return {".toml": "toml", ".conf": "pies"}.get(os.path.splitext(name)[1])


def default_files(environ: Mapping[str, str], euid: int) -> tuple[SourceFile, ...]:
    """Return what is read when nothing is named: `$PIESD_CONFIG`, or the files of config.md.

    `PIESD_CONFIG` may name several, separated by colons.
    """
    given = [path for path in environ.get("PIESD_CONFIG", "").split(os.pathsep) if path]
    return tuple(SourceFile(path, "") for path in given) or _usual_files(environ, euid)


def _usual_files(environ: Mapping[str, str], euid: int) -> tuple[SourceFile, ...]:
    base = "/etc" if euid == 0 else xdg_directory(environ, euid, "XDG_CONFIG_HOME", ".config")
    return tuple(
        SourceFile(os.path.join(base, "piesd", name), "") for name in ("piesd.toml", "conf.d")
    )


def xdg_directory(environ: Mapping[str, str], euid: int, variable: str, below_home: str) -> str:
    """Return the directory *variable* names, else *below_home* in the user's home directory.

    Source: XDG Base Directory Specification; a relative path is to be ignored.
    """
    given = environ.get(variable, "")
    if os.path.isabs(given):
        return given
    own = environ.get("HOME", "")
    if not os.path.isabs(own):
        own = home(euid) or f"/tmp/piesd-{euid}"
    return os.path.join(own, below_home)


def read_sources(
    paths: Sequence[SourceFile],
    problems: list[Problem],
    *,
    environ: Mapping[str, str],
    euid: int,
) -> Sources:
    """Read *paths* and what they include. Whatever cannot be read is a problem.

    Of the usual files one may be missing; all of them may not.
    """
    usual = {source.file for source in _usual_files(environ, euid)}
    given = [source for source in paths if source.file not in usual or os.path.lexists(source.file)]
    walk = _Walk(problems)
    for source in given or paths:
        walk.named(source.file, source.syntax)
    return Sources(tuple(walk.documents), frozenset(walk.broken))


class _Walk:
    """Goes through files, directories and includes; each file is read once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.documents: list[Document] = []
        self.broken: set[str] = set()
        self.seen: set[tuple[int, int]] = set()
        self.open: list[tuple[tuple[int, int], str]] = []
        """The files that are including each other just now, by identity and name."""

    def named(self, path: str, syntax: str, by: Node | None = None) -> None:
        """Read a file or directory that somebody (or the include *by*) named."""
        if syntax and syntax not in READERS:
            self._refuse_syntax(path, syntax, by)
            return
        try:
            is_directory = stat.S_ISDIR(os.stat(path).st_mode)
            names = sorted(os.listdir(path)) if is_directory else []
        except (OSError, ValueError) as error:
            self._problem(path, by, f"cannot read{_of(path, by)}: {_reason(error)}")
            return
        if not is_directory:
            self._file(path, syntax, by)
            return
        for name in names:
            self._listed(os.path.join(path, name), syntax, by)

    def _listed(self, path: str, syntax: str, by: Node | None) -> None:
        """Read a file found in a directory or by a pattern, unless its name or kind excludes it."""
        suffix = syntax_of(path)
        if os.path.basename(path).startswith(".") or suffix is None:
            return
        if syntax and suffix != syntax:
            return
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except OSError as error:
            why = f"skipped: {_reason(error)}"
            self.problems.append(Problem(shown(path), 0, "", why, warning=True))
            return
        if regular:
            self._file(path, syntax, by)

    def _file(self, path: str, syntax: str, by: Node | None) -> None:
        chosen = syntax or syntax_of(path)
        if chosen is None:
            what = "has a name that stands for no syntax; end it in .toml, or use --syntax"
            self._problem(path, by, f"{quoted(path)} {what}" if by else what)
            return
        if chosen not in READERS:
            self._refuse_syntax(path, chosen, by)
            return
        try:
            data, identity = _contents(path)
        except OSError as error:
            self._problem(path, by, f"cannot read{_of(path, by)}: {_reason(error)}")
            return
        names = [shown(name) for known, name in self.open if known == identity]
        if names:
            chain = [shown(name) for _, name in self.open]
            cycle = " → ".join([*chain[chain.index(names[0]) :], names[0]])
            self._problem(path, by, f"includes itself: {cycle}")
            return
        if identity in self.seen:
            return
        self.seen.add(identity)
        self._document(path, chosen, data, identity)

    def _document(self, path: str, syntax: str, data: bytes, identity: tuple[int, int]) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            what = f"is not UTF-8: byte 0x{data[error.start]:02x}"
            self.problems.append(Problem(shown(path), line, "", what))
            self.broken.update(toml.headers(data.decode(errors="replace")))
            return
        root = READERS[syntax](text, shown(path), self.problems)
        if root is None:
            self.broken.update(toml.headers(text))
            return
        self.documents.append(Document(shown(path), syntax, root))
        self.open.append((identity, path))
        for include in _includes(root):
            self._include(include, path)
        self.open.pop()

    def _include(self, include: Node, path: str) -> None:
        pattern = include.value
        if not isinstance(pattern, str) or not pattern or "\0" in pattern:
            what = kind_of(pattern) if not isinstance(pattern, str) else quoted(pattern)
            self.problems.append(include.problem(f"must be a path or a pattern, not {what}"))
            return
        if len(self.open) > DEEPEST:
            deep = f"files include one another more than {DEEPEST} deep"
            self.problems.append(include.problem(deep))
            return
        full = os.path.join(os.path.dirname(path), pattern)
        if not glob.has_magic(pattern):
            self.named(full, "", include)
            return
        # The directory of the including file is not part of the pattern, whatever is in its name.
        escaped = os.path.join(glob.escape(os.path.dirname(path)), pattern)
        own = self.open[-1][0]
        for found in sorted(glob.glob(escaped)):
            if _identity(found) == own:
                continue  # `*.toml` beside the file itself means all the others.
            if os.path.isdir(found):
                self.named(found, "", include)
            else:
                self._listed(found, "", include)

    def _refuse_syntax(self, path: str, syntax: str, by: Node | None) -> None:
        if syntax in later.SYNTAXES:
            self._problem(path, by, f"the {syntax} syntax is not supported yet{_of(path, by)}")
        else:
            known = did_you_mean(syntax, [*READERS, *later.SYNTAXES])
            self._problem(path, by, f"unknown syntax {quoted(syntax)}{known}")

    def _problem(self, path: str, by: Node | None, message: str) -> None:
        self.problems.append(by.problem(message) if by else Problem(shown(path), 0, "", message))


def _includes(root: Node) -> tuple[Node, ...]:
    daemon = root.table.get("daemon")
    include = daemon.table.get("include") if daemon else None
    return as_items(include) if include else ()


def _contents(path: str) -> tuple[bytes, tuple[int, int]]:
    """Return the bytes of a regular file and its identity (device and inode)."""
    # Without O_NONBLOCK, opening a FIFO would wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        if status.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"Larger than {LARGEST // 1024**2} MiB")
        return stream.read(LARGEST), (status.st_dev, status.st_ino)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _of(path: str, by: Node | None) -> str:
    """Name the file in a message that stands at the place of an include."""
    return f" {shown(path)}" if by else ""


def shown(path: str) -> str:
    """Return *path* so that it can be printed and sent: names need not be UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def known_syntaxes() -> Collection[str]:
    """Return the words that `--syntax` knows, those that are refused for now included."""
    return sorted({*READERS, *later.SYNTAXES})

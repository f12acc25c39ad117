"""From the files an operator names to the tables they hold, includes followed."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from supervisor.config import later, toml
from supervisor.config.files import DEEPEST, LARGEST, Identity, contents, reason, shown
from supervisor.config.host import home
from supervisor.config.pies.options import PreprocessOptions, Reading, Run
from supervisor.config.tables import Node, as_items, did_you_mean, kind_of, quoted, right_since
from supervisor.model.errors import Problem
from supervisor.model.settings import SourceFile

__all__ = [
    "DEEPEST",
    "LARGEST",
    "READERS",
    "Document",
    "Reader",
    "Sources",
    "default_files",
    "known_syntaxes",
    "preprocessed",
    "read_sources",
    "shown",
    "syntax_of",
    "xdg_directory",
]


class Reader(Protocol):
    """Makes tables of the text of a file, or returns None after adding to the problems why not."""

    def __call__(
        self, text: str, file: str, problems: list[Problem], reading: Reading | None = None
    ) -> Node | None: ...


# Most files are TOML: what reads the other syntaxes is loaded when there is such a file.


def _toml(
    text: str, file: str, problems: list[Problem], reading: Reading | None = None
) -> Node | None:
    del reading
    return toml.read(text, file, problems)


def _pies(
    text: str, file: str, problems: list[Problem], reading: Reading | None = None
) -> Node | None:
    from supervisor.config.pies import reader  # noqa: PLC0415

    return reader.read(text, file, problems, reading)


def _inetd(
    text: str, file: str, problems: list[Problem], reading: Reading | None = None
) -> Node | None:
    from supervisor.config import inetd  # noqa: PLC0415

    del reading
    return inetd.read(text, file, problems)


def _inittab(
    text: str, file: str, problems: list[Problem], reading: Reading | None = None
) -> Node | None:
    from supervisor.config import inittab  # noqa: PLC0415

    if reading is None:
        return inittab.read(text, file, problems)
    return inittab.read(text, file, problems, follow=reading.follow, stop=reading.stop)


READERS: Mapping[str, Reader] = {
    "toml": _toml,
    "pies": _pies,
    "inetd": _inetd,
    "inittab": _inittab,
}
"""The syntaxes that can be read."""


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


def default_files(
    environ: Mapping[str, str], euid: int, instance: str | None = None
) -> tuple[SourceFile, ...]:
    """Return what is read when nothing is named: `$PIESD_CONFIG`, or the files of config.md.

    `PIESD_CONFIG` may name several, separated by colons. Where none of our own files is there, it
    is the file that pies would read: `/etc/pies.conf`, or `/etc/INSTANCE.conf`.
    """
    given = [path for path in environ.get("PIESD_CONFIG", "").split(os.pathsep) if path]
    if given:
        return tuple(SourceFile(path, "") for path in given)
    usual = _usual_files(environ, euid)
    if not any(os.path.exists(each.file) for each in usual):
        theirs = os.path.join(PIES_DIRECTORY, f"{instance or 'pies'}.conf")
        if os.path.isfile(theirs):
            return (SourceFile(theirs, "pies"),)
    return usual


PIES_DIRECTORY = "/etc"
"""Where pies has its configuration. Source: pies.md section 1.0."""


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
    preprocessing: PreprocessOptions | None = None,
    run: Run | None = None,
) -> Sources:
    """Read *paths* and what they include. Whatever cannot be read is a problem.

    Of the usual files one may be missing; all of them may not. *preprocessing* and *run* are for
    pies' syntax: see `supervisor.config.load.load`.
    """
    reading = Reading(options=preprocessing or PreprocessOptions(), run=run)
    walk = _Walk(problems, READERS, reading)
    walk.all(paths, environ, euid)
    return Sources(tuple(walk.documents), frozenset(walk.broken | reading.broken))


def preprocessed(
    paths: Sequence[SourceFile],
    problems: list[Problem],
    *,
    environ: Mapping[str, str],
    euid: int,
    preprocessing: PreprocessOptions | None = None,
    run: Run | None = None,
) -> str:
    """Return what the preprocessor makes of the files of pies' syntax, for `piesd -E`.

    Files of other syntaxes come back as they are. A `#line` tells where each begins. What
    `#include` names is not part of the result: each such file is preprocessed on its own.
    """
    from supervisor.config.pies.preprocess import preprocessed as one  # noqa: PLC0415

    pieces: list[str] = []

    def collect(
        text: str, file: str, problems: list[Problem], reading: Reading | None = None
    ) -> Node | None:
        plain = one(text, file, problems, reading) if reading else text
        if plain is not None:
            end = "" if plain.endswith("\n") or not plain else "\n"
            pieces.append(f'#line 1 "{file}"\n{plain}{end}')
        return Node(file, 1, "", {})

    def as_it_is(
        text: str, file: str, problems: list[Problem], reading: Reading | None = None
    ) -> Node | None:
        del reading
        collect(text, file, problems)
        return READERS["toml"](text, file, [])  # It may include others.

    readers: Mapping[str, Reader] = {"pies": collect}
    readers = {**dict.fromkeys(READERS, as_it_is), **readers}
    reading = Reading(options=preprocessing or PreprocessOptions(), run=run)
    _Walk(problems, readers, reading).all(paths, environ, euid)
    return "".join(pieces)


class _Walk:
    """Goes through files, directories and includes; each file is read once."""

    def __init__(
        self, problems: list[Problem], readers: Mapping[str, Reader], reading: Reading
    ) -> None:
        self.problems, self.readers, self.reading = problems, readers, reading
        self.documents: list[Document] = []
        self.broken: set[str] = set()
        self.seen: set[Identity] = set()
        self.open: list[tuple[Identity, str]] = []
        """The files that are including each other just now, by identity and name."""

    def all(self, paths: Sequence[SourceFile], environ: Mapping[str, str], euid: int) -> None:
        """Read what the operator named, without those of the usual files that are not there."""
        usual = {source.file for source in _usual_files(environ, euid)}
        given = [each for each in paths if each.file not in usual or os.path.lexists(each.file)]
        for source in given or paths:
            if not self.reading.stopped:
                self.named(source.file, source.syntax)

    def named(self, path: str, syntax: str, by: Node | None = None) -> None:
        """Read a file or directory that somebody (or the include *by*) named."""
        if syntax and syntax not in READERS:
            self._refuse_syntax(path, syntax, by)
            return
        try:
            is_directory = stat.S_ISDIR(os.stat(path).st_mode)
            names = sorted(os.listdir(path)) if is_directory else []
        except (OSError, ValueError) as error:
            self._problem(path, by, f"cannot read{_of(path, by)}: {reason(error)}")
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
            why = f"skipped: {reason(error)}"
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
            data, identity = contents(path)
        except OSError as error:
            self._problem(path, by, f"cannot read{_of(path, by)}: {reason(error)}")
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

    def _document(self, path: str, syntax: str, data: bytes, identity: Identity) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            what = f"is not UTF-8: byte 0x{data[error.start]:02x}"
            self.problems.append(Problem(shown(path), line, "", what))
            self.broken.update(_tags(data.decode(errors="replace"), syntax))
            return
        before = len(self.problems)
        root = self.readers[syntax](text, shown(path), self.problems, self.reading)
        if root is None or not right_since(self.problems, before):
            self.broken.update(_tags(text, syntax))
        if root is None:
            return
        self.documents.append(Document(shown(path), syntax, root))
        self.open.append((identity, path))
        for include in _includes(root):
            self._include(include, path)
        self.open.pop()
        following, self.reading.following = self.reading.following, []
        for name, written_in in following:
            full = os.path.join(os.path.dirname(path), str(name.value))
            self.named(full, written_in, name)

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


def _tags(text: str, syntax: str) -> Collection[str]:
    """Return the tags that a file which cannot be read seems to define."""
    if syntax == "pies":
        from supervisor.config.pies.include import tags_in  # noqa: PLC0415

        return tags_in(text)
    return toml.headers(text) if syntax == "toml" else ()


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _of(path: str, by: Node | None) -> str:
    """Name the file in a message that stands at the place of an include."""
    return f" {shown(path)}" if by else ""


def known_syntaxes() -> Collection[str]:
    """Return the words that `--syntax` knows, those that are refused for now included."""
    return sorted({*READERS, *later.SYNTAXES})

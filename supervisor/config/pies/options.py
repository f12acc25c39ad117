"""What the command line says about reading pies' syntax, and what one reading remembers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from supervisor.config.files import Identity
from supervisor.config.tables import Node

DEFAULT_COMMAND = "m4 -s -P"
DEFAULT_INCLUDE = (
    "/usr/local/share/pies/1.8/include",
    "/usr/local/share/pies/include",
    "/usr/share/pies/1.8/include",
    "/usr/share/pies/include",
)
"""Directories for `#include`, behind those of `-I`. Source: pies.md section 1.1."""

Run = Callable[[Sequence[str], bytes], tuple[int, bytes, bytes]]
"""Runs a program with this input: its exit code, its output, and what it says on standard error.

Raises OSError where it cannot be started, and TimeoutError where it does not end.
"""


class PreprocessOptions(Struct, frozen=True, kw_only=True):
    """How files of pies' syntax are preprocessed, and where `#include` looks.

    `command` is that of `--preprocessor`, None for m4. `defines` are `NAME` or `NAME=VALUE` (`-D`),
    `undefines` are names (`-U`), `include` are directories (`-I`). `enabled` is False for
    `--no-preprocessor`, `default_include` for `--no-include`.
    """

    command: str | None = None
    defines: tuple[str, ...] = ()
    undefines: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    enabled: bool = True
    default_include: bool = True

    @property
    def search_path(self) -> tuple[str, ...]:
        """The directories that `#include` looks in, in order."""
        return (*self.include, *(DEFAULT_INCLUDE if self.default_include else ()))


class Reading(Struct, kw_only=True):
    """Everything that the files of one reading share. It is changed while they are read."""

    options: PreprocessOptions = PreprocessOptions()
    run: Run | None = None
    """None: nothing can be run. That is a problem only where a preprocessor is needed."""
    hangs: bool = False
    """Whether the preprocessor did not end: then it is not run again."""
    done: dict[str, str] = {}
    """What the preprocessor has made of texts: a file may be included thousands of times."""
    included: set[Identity] = set()
    """The files that were included, for `#include_once`."""
    broken: set[str] = set()
    """Tags that may be defined in what could not be read: who names them is not at fault."""
    following: list[tuple[Node, str]] = []
    """Files that are to be read next, by their names, and their syntaxes."""
    stopped: bool = False
    """Whether no file is to be read any more but those."""

    def follow(self, name: Node, syntax: str) -> None:
        """Have the file *name* be read next."""
        self.following.append((name, syntax))

    def stop(self) -> None:
        """Read no further file."""
        self.stopped = True

"""The nodes that selectors are made of: plain values, equal when they mean the same tree."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import force_setattr

MAX_LEVELS: Final = 64
"""How deep selectors may stand in each other; a selector without another in it is one level."""

MAX_BYTES: Final = 64 * 1024
"""How long the JSON or the text of a selector may be, in UTF-8."""


class All(Struct, frozen=True, cache_hash=True):
    """Everything."""


class Nothing(Struct, frozen=True, cache_hash=True):
    """Nothing."""


class HasTag(Struct, frozen=True, cache_hash=True):
    """The tag is `tag`, or it is an instance of the template `tag`; whatever the type."""

    tag: str


class HasType(Struct, frozen=True, cache_hash=True):
    """The entity is a `component`, or a `command`."""

    type: str


class HasMode(Struct, frozen=True, cache_hash=True):
    """A component of that mode, or of a mode that is another name for it."""

    mode: str


class IsActive(Struct, frozen=True, cache_hash=True):
    """A component that is active: neither disabled nor stopped by a person."""


class HasStatus(Struct, frozen=True, cache_hash=True):
    """The public status is `status`."""

    status: str


class TagGlob(Struct, frozen=True, cache_hash=True):
    """The tag matches a shell pattern: `*`, `?`, `[a-z]`, `[!a-z]`; case matters."""

    pattern: str


class HasLabels(Struct, frozen=True, cache_hash=True):
    """Every one of `labels`, pairs of a name and a value, is set so.

    The pairs are kept sorted, so that their order does not matter.
    """

    labels: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        force_setattr(self, "labels", tuple(sorted(self.labels)))


class PrerequisiteOf(Struct, frozen=True, cache_hash=True):
    """What `tag` needs, and what that needs, and so on; not `tag` itself."""

    tag: str


class DependentOf(Struct, frozen=True, cache_hash=True):
    """What needs `tag`, and what needs that, and so on; not `tag` itself."""

    tag: str


class Not(Struct, frozen=True, cache_hash=True):
    """What `selector` does not match."""

    selector: Selector


class And(Struct, frozen=True, cache_hash=True):
    """What all of `selectors` match: everything, if there are none."""

    selectors: tuple[Selector, ...]


class Or(Struct, frozen=True, cache_hash=True):
    """What at least one of `selectors` matches: nothing, if there are none."""

    selectors: tuple[Selector, ...]


Leaf = (
    All
    | Nothing
    | HasTag
    | HasType
    | HasMode
    | IsActive
    | HasStatus
    | TagGlob
    | HasLabels
    | PrerequisiteOf
    | DependentOf
)
"""A selector without another one in it."""

Selector = Leaf | Not | And | Or
"""A predicate over descriptions. Source: control-api.md section 1, pies.md section 4.3."""

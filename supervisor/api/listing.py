"""Lists as they are asked for: which attributes, in which order, which part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cmp_to_key
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Struct, structs

from supervisor.model.errors import BadRequest

if TYPE_CHECKING:
    from supervisor.api.params import Query

PARAMETERS = ("fields", "exclude-fields", "sort", "max", "offset", "pretty")
"""What every list takes."""

Tree = dict[str, "Tree"]
"""Dotted names as a tree: `last-exit.code` is {"last-exit": {"code": {}}}."""

Row = dict[str, Any]


class Shape(Struct, frozen=True, kw_only=True):
    """How a list is to look."""

    fields: Tree
    exclude: Tree
    sort: tuple[tuple[str, int], ...]
    offset: int
    most: int | None

    @property
    def plain(self) -> bool:
        """True where rows are shown as they are, in the order in which they come."""
        return not (self.fields or self.exclude or self.sort)


def shape_of(query: Query) -> Shape:
    """Return what *query* says about the look of a list.

    Raises:
        BadRequest
    """
    return Shape(
        fields=_tree(query.words("fields")),
        exclude=_tree(query.words("exclude-fields")),
        sort=_sort(query.text("sort")),
        offset=query.number("offset") or 0,
        most=query.number("max"),
    )


def arrange(rows: Sequence[Any], shape: Shape) -> list[Any]:
    """Return *rows* (anything that encodes to JSON objects) as *shape* says."""
    if shape.plain:
        return list(_page(rows, shape))
    objects: Sequence[Row] = _objects(rows, shape)
    for name, direction in reversed(shape.sort):
        # Sorting is stable, so the first key is sorted last.
        compared = _comparison(direction)
        objects = sorted(objects, key=lambda row: compared(_find(row, name)))
    objects = _page(objects, shape)
    return [project(row, shape) for row in objects]


def project(row: Row, shape: Shape) -> Row:
    """Return the attributes of *row* that are asked for."""
    if shape.fields:
        row = _pick(row, shape.fields)
    if shape.exclude:
        row = _drop(row, shape.exclude)
    return row


def _objects(rows: Sequence[Any], shape: Shape) -> list[Row]:
    """Return *rows* as plain objects; where few attributes are asked for, with those alone."""
    plain: Sequence[Any] = rows
    if shape.fields and rows and isinstance(rows[0], Struct):
        names = _attributes(type(rows[0]))
        wanted = {*shape.fields, *(name.partition(".")[0] for name, _ in shape.sort)}
        plain = [
            {
                name: value
                for name in wanted & names.keys()
                if (value := getattr(row, names[name])) is not UNSET
            }
            for row in rows
        ]
    objects: list[Row] = msgspec.to_builtins(plain)
    return objects


@cache
def _attributes(kind: type[Struct]) -> dict[str, str]:
    """Return the attribute for each name that *kind* has in JSON."""
    return {field.encode_name: field.name for field in structs.fields(kind)}


def _page(rows: Sequence[Any], shape: Shape) -> Sequence[Any]:
    end = None if shape.most is None else shape.offset + shape.most
    return rows[shape.offset : end]


def _tree(names: Sequence[str]) -> Tree:
    tree: Tree = {}
    for name in names:
        branch = tree
        for step in name.split("."):
            branch = branch.setdefault(step, {})
    return tree


def _pick(value: Any, tree: Tree) -> Any:
    if not tree:
        return value
    if isinstance(value, Mapping):
        return {name: _pick(value[name], branch) for name, branch in tree.items() if name in value}
    if isinstance(value, list | tuple):
        return [_pick(item, tree) for item in value]
    return value


def _drop(value: Any, tree: Tree) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _drop(item, tree[name]) if name in tree else item
            for name, item in value.items()
            if tree.get(name) != {}
        }
    if isinstance(value, list | tuple):
        return [_drop(item, tree) for item in value]
    return value


def _sort(text: str | None) -> tuple[tuple[str, int], ...]:
    """Read `{"tag":-1}`: the names to sort by, 1 for upwards and -1 for downwards."""
    if text is None:
        return ()
    try:
        order = msgspec.json.decode(text, type=dict[str, int])
    except (msgspec.DecodeError, UnicodeEncodeError):
        order = {}
    if not order or any(direction not in (1, -1) for direction in order.values()):
        raise BadRequest(f'cannot use sort={text[:40]!r}: expected an object such as {{"tag":-1}}')
    return tuple(order.items())


def _find(row: Any, name: str) -> Any:
    for step in name.split("."):
        row = row.get(step) if isinstance(row, Mapping) else None
    return row


def _comparison(direction: int) -> Any:
    """Return a sorting key: values of one kind together, and what is missing always last."""

    def compare(a: Any, b: Any) -> int:
        if a is None or b is None:
            return (a is None) - (b is None)
        left, right = _rank(a), _rank(b)
        return direction * ((left > right) - (left < right))

    return cmp_to_key(compare)


def _rank(value: Any) -> tuple[int, Any]:
    match value:
        case bool() | int() | float():
            return 0, value
        case str():
            return 1, value
        case _:
            return 2, msgspec.json.encode(value, order="sorted")

"""Commands as people write them: a list of words, or one string that is split into words."""

from __future__ import annotations

from msgspec import Struct

from supervisor.config.kinds import TEXT_SCHEMA, Schema, read_text, read_texts
from supervisor.config.splitting import split_words, written_words
from supervisor.config.tables import Node
from supervisor.model.errors import Problem

_FOR_A_SHELL = frozenset({"|", "||", "&", "&&", "<", ">", ">>", "2>", "2>&1", "|&", "&>", "<<"})


class Command(Struct, frozen=True):
    """A list of words, or one string for a shell or for the shell's rules of splitting."""

    words: str = "list of words, or one string"

    def schema(self) -> Schema:
        words: Schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        return {"anyOf": [TEXT_SCHEMA, words]}

    def read(self, node: Node, problems: list[Problem]) -> str | tuple[str, ...] | None:
        if isinstance(node.value, str):
            return read_text(node, problems)
        words = read_texts(node, problems, empty=True)
        if words is None:
            return None
        if not words or not words[0]:
            problems.append(node.problem("must name a program"))
            return None
        return words


class Words(Struct, frozen=True):
    """The same, split at once: what never goes to a shell."""

    words: str = "list of words, or one string"

    def schema(self) -> Schema:
        return Command().schema()

    def read(self, node: Node, problems: list[Problem]) -> tuple[str, ...] | None:
        given = Command().read(node, problems)
        if not isinstance(given, str):
            return given
        return split(given, node, problems, shell="write /bin/sh -c '…'") or None


def split(
    text: str, node: Node, problems: list[Problem], *, shell: str = "shell = true"
) -> tuple[str, ...]:
    """Return the words of *text* by the rules of a shell; none after adding to *problems* why.

    Args:
        shell: what to write where a shell is meant.
    """
    try:
        words = tuple(split_words(text))
    except ValueError as error:
        problems.append(node.problem(f"cannot be split into words: {_reason(error)}"))
        return ()
    if not words or not words[0]:
        problems.append(node.problem("must name a program"))
        return ()
    if not _FOR_A_SHELL.isdisjoint(text.split()):
        meant = next((word for word in written_words(text) if word in _FOR_A_SHELL), None)
        if meant is not None:
            what = f"'{meant}' goes to the program as a word; if a shell is meant: {shell}"
            problems.append(node.warning(what))
    return words


def _reason(error: ValueError) -> str:
    text = str(error)
    return {"No closing quotation": "a quotation mark is not closed"}.get(text, text.lower())

"""Shell patterns for tags, translated to regular expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_ANYTHING = "."
_NEVER = "(?!)"


def glob_matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return the test whether a string as a whole matches at least one of *patterns*.

    The rules are those of Python's `fnmatch.fnmatchcase`. That function is not used because its
    translation takes quadratic time for a pattern full of open brackets, and because one
    expression for all the patterns is much faster than one for each.
    """
    expression = "|".join(_expression(pattern) for pattern in dict.fromkeys(patterns))
    match = re.compile(rf"(?s:{expression})\Z").match
    return lambda text: match(text) is not None


def _expression(pattern: str) -> str:
    runs = _runs(pattern)
    if len(runs) == 1:
        return runs[0]
    # What stands between two stars matches as early as it can, and for good: a later place could
    # not help the rest, and looking for one would take exponential time.
    middle = "".join(f"(?>.*?{run})" for run in runs[1:-1] if run)
    return f"{runs[0]}{middle}.*{runs[-1]}"


def _runs(pattern: str) -> list[str]:
    """Return the expressions of what stands before, between and after the stars."""
    runs: list[list[str]] = [[]]
    position = 0
    while position < len(pattern):
        char = pattern[position]
        end = _class_end(pattern, position) if char == "[" else -1
        if end >= 0:
            runs[-1].append(_class(pattern[position + 1 : end]))
            position = end
        elif char == "*":
            runs.append([])
        else:
            runs[-1].append(_ANYTHING if char == "?" else re.escape(char))
        position += 1
    return ["".join(run) for run in runs]


def _class_end(pattern: str, start: int) -> int:
    """Return where the class that opens at *start* is closed; below 0 if it is not a class."""
    first = start + 2 if pattern.startswith("!", start + 1) else start + 1
    # A bracket that comes first belongs to the class.
    return pattern.find("]", first + 1)


def _class(content: str) -> str:
    """Return the expression for one character of a class; *content* is without the brackets."""
    negated = content.startswith("!")
    items: list[str] = []
    position = int(negated)
    while position < len(content):
        low = content[position]
        if content.startswith("-", position + 1) and position + 2 < len(content):
            high = content[position + 2]
            if low <= high:
                items.append(f"{re.escape(low)}-{re.escape(high)}")
            position += 3
        else:
            items.append(re.escape(low))
            position += 1
    if not items:  # Every range was empty, as in [z-a].
        return _ANYTHING if negated else _NEVER
    return f"[{'^' if negated else ''}{''.join(items)}]"

"""What a selector may cost: it is tested against every description, and nobody may wait."""

from __future__ import annotations

from typing import Final

from supervisor.model.errors import BadSelector
from supervisor.selectors.nodes import And, Not, Or, Selector, TagGlob

MAX_COMBINATIONS: Final = 512
"""How many `and`, `or` and `not` a selector may have. Leaves side by side cost next to nothing."""

MAX_GLOB: Final = 1024
"""How many characters a pattern may have."""


def affordable(selector: Selector, where: str) -> Selector:
    """Return *selector*.

    Raises:
        BadSelector: testing it would take long enough to be felt; *where* is what that names.
    """
    combinations = 0
    pending: list[Selector] = [selector]
    while pending:
        match pending.pop():
            case Not(inner):
                combinations += 1
                pending.append(inner)
            case And(parts) | Or(parts):
                combinations += 1
                pending.extend(parts)
            case TagGlob(pattern) if len(pattern) > MAX_GLOB:
                raise BadSelector(where, f"a pattern of more than {MAX_GLOB} characters")
            case _:
                pass
    if combinations > MAX_COMBINATIONS:
        raise BadSelector(where, f"more than {MAX_COMBINATIONS} times 'and', 'or' and 'not'")
    return selector

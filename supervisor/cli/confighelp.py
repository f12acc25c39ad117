"""A summary of all configuration directives: what `--config-help` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from supervisor.config import keys
from supervisor.config.pies import words

_WIDTH = 78

_BLOCKS: tuple[tuple[str, Iterable[str]], ...] = (
    ("Global statements", words.GLOBAL),
    ("component TAG { … }", words.COMPONENT),
    ("env { … }", words.ENV),
    ("return-code CODES { … }", words.RETURN_CODE),
    ("control { … }", words.CONTROL),
    ("syslog { … }", words.SYSLOG),
    ("identity-provider NAME { … }", words.PROVIDER),
    ("acl { … }, defacl NAME { … }", words.ACL),
    ("Of these without effect", words.WITHOUT_EFFECT | {"idle-timeout"}),
)


def lines() -> Iterator[str]:
    """Yield the statements of pies' syntax by block, then the keys of TOML with their meanings."""
    yield "In the syntax of pies (.conf):"
    for title, names in _BLOCKS:
        yield ""
        yield f"  {title}"
        yield from _wrapped(sorted(names))
    yield ""
    yield "In TOML (.toml); docs/configuration.md has all of it:"
    for title, known in (("[component.TAG]", keys.COMPONENT_KEYS), ("[daemon]", keys.DAEMON_KEYS)):
        yield ""
        yield f"  {title}"
        for key in known.keys:
            yield f"    {key.name}: {key.meaning.replace('`', '')}"


def _wrapped(names: Iterable[str]) -> Iterator[str]:
    line = "   "
    for name in names:
        if len(line) + 1 + len(name) > _WIDTH:
            yield line
            line = "   "
        line += f" {name}"
    yield line

"""What a shell may offer for an argument, and the scripts that make it ask."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from supervisor.cli.settings import Settings, Verb, pass_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE = 0.5
"""Seconds. A shell that waits longer for a list of tags feels broken."""

_OPERATORS = ("and", "or")
_LEAVES = (
    *("all", "none", "active", "not", "component", "type", "mode", "status", "glob", "label"),
    *("prerequisite-of", "dependent-of"),
)

COMPLETE_VARIABLE = "_PIESCTL_COMPLETE"

# What may be typed as it is, both in a shell and in a selector.
_TYPED = re.compile(r"[\w.:@/%+-]+")

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n'
    COMPREPLY=($(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" \\
        COMP_WORDBREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete "$1"))
}
complete -o default -o nosort -F %(complete_func)s %(prog_name)s
"""


@add_completion_class
class ColonBashComplete(BashComplete):
    """Completion for bash that can finish `web:1`.

    To bash a colon ends a word, so click's own script sees three words there. This one splits the
    line itself, and gives back what follows the last colon, which is all that bash replaces.
    """

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        words = split_arg_string(line)
        incomplete = words.pop() if line and not line[-1].isspace() and words else ""
        return words[1:], incomplete

    def complete(self) -> str:
        words, incomplete = self.get_completion_args()
        colon = ":" in os.environ.get("COMP_WORDBREAKS", "")
        typed = incomplete[: incomplete.rfind(":") + 1] if colon else ""
        items = self.get_completions(words, incomplete)
        return "\n".join(item.value.removeprefix(typed) for item in items if item.type == "plain")


def complete_tag(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the tags of the running daemon."""
    return _matching(_tags(ctx), incomplete)


def complete_selector(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer what may come next in a selector that is written as separate words."""
    before = ctx.params.get(param.name or "") or ()
    match before[-1] if before else "":
        case "status" | "mode" | "type" as kind:
            return _matching(_words(kind), incomplete)
        case "glob" | "label":
            return []
        case "component" | "tag" | "prerequisite-of" | "dependent-of":
            return _matching(_tags(ctx), incomplete)
        case "" | "and" | "or" | "not" | "(":
            return _matching((*_LEAVES, *_tags(ctx)), incomplete)
        case _:
            return _matching(_OPERATORS, incomplete)


def complete_signal(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of signals."""
    del ctx, param
    from signal import Signals

    names = (signal.name.removeprefix("SIG") for signal in Signals)
    return _matching(names, incomplete.upper())


def _words(kind: str) -> Iterable[str]:
    from supervisor.model.component import Mode
    from supervisor.model.state import Status

    if kind == "type":
        return ("component", "command")
    return [word.value for word in (Status if kind == "status" else Mode)]


def _tags(ctx: click.Context) -> list[str]:
    from supervisor.client import ClientError

    settings = ctx.find_root().ensure_object(Settings)
    settings.verbose = False
    try:
        rows = settings.client(_PATIENCE).programs(fields=("tag", "template"))
    except ClientError:
        return []
    names = [name for row in rows for name in (row.get("template"), row.get("tag"))]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _matching(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [
        CompletionItem(word)
        for word in words
        if word.startswith(incomplete) and _TYPED.fullmatch(word)
    ]


@click.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_settings
def completion(settings: Settings, shell: str) -> None:
    r"""Print what makes a shell complete piesctl, tags included.

    \b
    bash: piesctl completion bash > ~/.local/share/bash-completion/completions/piesctl
    zsh:  piesctl completion zsh > "${fpath[1]}/_piesctl"
    fish: piesctl completion fish > ~/.config/fish/completions/piesctl.fish
    """
    script = _script(shell, click.get_current_context().find_root().command)
    if settings.json:
        settings.screen().data({"shell": shell, "script": script})
    else:
        click.echo(script)


def _script(shell: str, command: click.Command) -> str:
    kind = get_completion_class(shell)
    assert kind is not None
    # Not kind.source(): for bash that runs a bash to ask for its version.
    return ShellComplete.source(kind(command, {}, "piesctl", COMPLETE_VARIABLE))

"""The command that takes a selector apart: explain."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.codes import Code
from supervisor.cli.completing import complete_selector
from supervisor.cli.settings import Settings, Verb, pass_settings

if TYPE_CHECKING:
    from supervisor.cli.terminal import Screen
    from supervisor.selectors import Explanation, Selector, Verdict


@click.command(cls=Verb)
@click.argument(
    "selector", nargs=-1, required=True, shell_complete=complete_selector, metavar="SELECTOR…"
)
@pass_settings
def explain(settings: Settings, selector: tuple[str, ...]) -> int:
    """Show SELECTOR as JSON and as a tree, and which part of it decides about each component.

    Without a running piesd the first half is shown, and the exit code is 3.
    """
    from supervisor.cli.selecting import read
    from supervisor.client import Unreachable
    from supervisor.selectors import explain as explain_selector

    wanted, screen = read(selector), settings.screen()
    explanation = explain_selector(wanted)
    if not screen.as_json:
        _show_forms(screen, explanation)
    try:
        verdicts = _verdicts(settings, wanted)
    except Unreachable:
        screen.flush()  # What is known without piesd stands before what is wrong.
        raise
    if screen.as_json:
        screen.data(_as_json(explanation, verdicts))
    else:
        _show_verdicts(screen, verdicts)
    return Code.DONE


def _verdicts(settings: Settings, selector: Selector) -> list[tuple[str, Verdict]]:
    """Return what the selector says about each entity that the daemon shows us."""
    import msgspec

    from supervisor.client import Unreachable
    from supervisor.model.description import Description
    from supervisor.selectors import explainer, prerequisites_among

    rows = settings.client().programs()
    try:
        descriptions = msgspec.convert(rows, list[Description])
    except msgspec.ValidationError as exc:
        raise Unreachable(
            Unreachable.NOT_PIESD,
            f"cannot understand the descriptions: {exc}",
            "piesd and piesctl may be of different versions: compare 'piesctl id version' and "
            "'piesctl --version'",
        ) from exc
    decide = explainer(selector, prerequisites_among(descriptions))
    return [(each.tag, decide(each)) for each in descriptions]


def _show_forms(screen: Screen, explanation: Explanation) -> None:
    import json

    screen.line(json.dumps(explanation.json))
    for line in explanation.tree.splitlines():
        screen.line(line)


def _show_verdicts(screen: Screen, verdicts: list[tuple[str, Verdict]]) -> None:
    from supervisor.cli.table import Cell, Column, show

    screen.line("")
    rows = [
        [
            Cell(tag, "bold"),
            Cell("yes", "green") if verdict.matches else Cell("no", "dim"),
            Cell("; ".join(each.leaf for each in verdict.decided_by)),
            Cell("; ".join(each.because for each in verdict.decided_by)),
        ]
        for tag, verdict in verdicts
    ]
    if rows:
        show(screen, [Column(title) for title in ("TAG", "MATCHES", "LEAF", "BECAUSE")], rows)
    else:
        screen.note("piesctl: there are no components")


def _as_json(explanation: Explanation, verdicts: list[tuple[str, Verdict]]) -> dict[str, Any]:
    import msgspec

    return {
        "selector": explanation.json,
        "text": explanation.text,
        "tree": explanation.tree.splitlines(),
        "components": [
            {
                "tag": tag,
                "matches": verdict.matches,
                "decided-by": [msgspec.to_builtins(each) for each in verdict.decided_by],
            }
            for tag, verdict in verdicts
        ],
    }

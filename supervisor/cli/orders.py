"""The commands that change components: start, stop, restart, signal, reset."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import click

from supervisor.cli.codes import Code
from supervisor.cli.completing import complete_selector, complete_signal
from supervisor.cli.settings import Settings, Verb, pass_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from supervisor.cli.terminal import Screen
    from supervisor.client import Client, Json, Order

F = TypeVar("F", bound="Callable[..., int]")

_FEW = 8
"""So many tags are named; of more, the number."""

_SELECTOR = click.argument(
    "selector", nargs=-1, required=True, shell_complete=complete_selector, metavar="SELECTOR…"
)
_OPTIONS = (
    click.option(
        "--wait",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        help="Wait so long for everything to settle; exit 4 if it does not.",
    ),
    click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
    click.option(
        "--if-match",
        "token",
        metavar="TOKEN",
        help="Only if nothing has changed since --dry-run showed this token.",
    ),
    click.option("--fail-empty", is_flag=True, help="Exit 1 if nothing matches."),
)


class Options(TypedDict):
    """What every order is given."""

    selector: tuple[str, ...]
    wait: float | None
    dry_run: bool
    token: str | None
    fail_empty: bool


def _order_options(command: F) -> F:
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


@click.command(cls=Verb)
@_SELECTOR
@_order_options
@pass_settings
def start(settings: Settings, **options: Unpack[Options]) -> int:
    """Start what SELECTOR matches, and what that needs."""
    return _give(settings, "start", options)


@click.command(cls=Verb)
@_SELECTOR
@_order_options
@pass_settings
def stop(settings: Settings, **options: Unpack[Options]) -> int:
    """Stop what SELECTOR matches, and keep it down."""
    return _give(settings, "stop", options)


@click.command(cls=Verb)
@_SELECTOR
@_order_options
@pass_settings
def restart(settings: Settings, **options: Unpack[Options]) -> int:
    """Stop what SELECTOR matches and start it again.

    It starts as piesd knows it: edited configuration files are read by 'piesctl config reload'. If
    they would change one of the components, you are told so and the exit code is 5.
    """
    return _give(settings, "restart", options)


@click.command(cls=Verb)
@_SELECTOR
@_order_options
@pass_settings
def reset(settings: Settings, **options: Unpack[Options]) -> int:
    """Forget the failures of what SELECTOR matches: what sleeps tries again now."""
    return _give(settings, "reset", options)


@click.command(cls=Verb)
@click.argument("signal", shell_complete=complete_signal)
@_SELECTOR
@_order_options
@pass_settings
def signal(settings: Settings, signal: str, **options: Unpack[Options]) -> int:
    """Send SIGNAL (HUP, SIGUSR1, 10 …) to the process groups of what SELECTOR matches."""
    return _give(settings, f"signal/{_signal_name(signal)}", options)


def _signal_name(text: str) -> str:
    """Return `HUP` for `HUP`, `sighup` and `1`.

    Raises:
        click.BadParameter: there is no such signal.
    """
    from signal import Signals

    name = text.upper()
    try:
        known = (
            Signals(int(name)) if name.isdecimal() else Signals[f"SIG{name.removeprefix('SIG')}"]
        )
    except (ValueError, KeyError):
        raise click.BadParameter(
            f"{text!r} is no signal; the signal stands before the selector", param_hint="SIGNAL"
        ) from None
    return known.name.removeprefix("SIG")


def _give(settings: Settings, action: str, options: Options) -> int:
    """Carry out an order, or rehearse it."""
    from supervisor.cli.selecting import read_json
    from supervisor.client import Order

    order = Order(
        action,
        read_json(options["selector"]),
        wait=options["wait"],
        rehearse=options["dry_run"],
        token=options["token"],
    )
    client, screen = settings.client(), settings.screen()
    if order.rehearse:
        return _rehearse(client, order, screen)
    matched = client.programs(order.selector, fields=("tag", "generation"))
    tags = list(dict.fromkeys(str(row.get("tag")) for row in matched))
    if order.wait is None:
        client.order(order)
    else:
        from supervisor.cli.progress import settle

        settle(client, order, matched, screen)
    outdated = _outdated(client, tags, screen) if action == "restart" else []
    _tell(screen, order, tags, outdated)
    if not tags:
        screen.note("piesctl: nothing matches")
        return Code.REFUSED if options["fail_empty"] else Code.DONE
    return Code.OUTDATED if outdated else Code.DONE


def _tell(screen: Screen, order: Order, tags: Sequence[str], outdated: Sequence[str]) -> None:
    if screen.as_json:
        done = {"status": "OK", "action": order.action, "matched": list(tags)}
        screen.data({**done, "outdated": list(outdated)} if order.action == "restart" else done)
    elif tags:
        screen.line(f"{order.action.replace('/', ' ')}: {_names(tags)}")
    if outdated:
        screen.note(
            f"piesctl: restarted with the configuration from before its files were edited: "
            f"{_names(outdated)}; see 'piesctl config plan'",
            "yellow",
        )


def _names(tags: Sequence[str]) -> str:
    if len(tags) <= _FEW:
        return " ".join(tags)
    return f"{len(tags)} components ({' '.join(tags[:_FEW])} …)"


def _outdated(client: Client, tags: Sequence[str], screen: Screen) -> list[str]:
    """Return which of *tags* the files on disk describe otherwise than piesd knows them."""
    from supervisor.client import ClientError, Refused

    if not tags:
        return []
    try:
        changes = client.plan()
    except Refused as refused:
        # The restart is done, and whom the edit concerns cannot be told.
        if refused.code == "config-rejected":
            screen.note("piesctl: the configuration files have problems: see 'piesctl config plan'")
        return []
    except ClientError:
        return []
    edited = {change.get("tag") for change in changes if change.get("action") != "none"}
    return [tag for tag in tags if tag in edited]


def _rehearse(client: Client, order: Order, screen: Screen) -> int:
    answer: dict[str, Json] = client.order(order)
    if screen.as_json:
        screen.data({**answer, "action": order.action})
        return Code.DONE
    steps = answer.get("plan") or []
    if steps:
        from supervisor.cli.table import Cell, Column, show

        show(
            screen,
            [Column("ACTION"), Column("TAG"), Column("BECAUSE")],
            [
                [
                    Cell(_text(step, "action")),
                    Cell(_text(step, "tag"), "bold"),
                    Cell(_text(step, "because")),
                ]
                for step in steps
            ],
        )
    else:
        screen.note("piesctl: nothing would be done")
    if token := answer.get("token"):
        screen.line(f"token: {token}")
    return Code.DONE


def _text(step: Any, name: str) -> str:
    return str(step.get(name, "")) if isinstance(step, dict) else ""


ORDERS: tuple[click.Command, ...] = (start, stop, restart, signal, reset)

"""The commands that ask: id, list, why, alive, explain."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.codes import Code
from supervisor.cli.completing import complete_selector, complete_tag
from supervisor.cli.figures import clock, word
from supervisor.cli.selecting import TAG
from supervisor.cli.settings import Settings, Verb, pass_settings

if TYPE_CHECKING:
    from supervisor.cli.terminal import Screen
    from supervisor.client import Json

# The order in which pies prints them. Source: pies.md, section 5.
_IDENTITY = ("package", "version", "instance", "binary", "argv", "PID")


@click.command("id", cls=Verb)
@click.argument("key", nargs=-1)
@pass_settings
def id_(settings: Settings, key: tuple[str, ...]) -> int:
    """Show what daemon this is: KEYs of package, version, instance, binary, argv, PID; or all."""
    identity = settings.client().identity()
    unknown = [name for name in key if name not in identity]
    if unknown:
        raise click.BadParameter(
            f"{unknown[0]!r} is unknown; known: {', '.join(identity)}", param_hint="KEY"
        )
    wanted = key or (*_IDENTITY, *sorted(set(identity) - set(_IDENTITY)))
    screen = settings.screen()
    if screen.as_json:
        screen.data({name: identity[name] for name in wanted if name in identity})
        return Code.DONE
    for name in wanted:
        if name in identity:
            screen.line(f"{name}: {word(identity[name])}")
    return Code.DONE


@click.command("list", cls=Verb)
@click.argument("selector", nargs=-1, shell_complete=complete_selector, metavar="[SELECTOR…]")
@click.option("--fields", metavar="NAME,…", help="Only these attributes, as columns.")
@click.option("--usage", is_flag=True, help="Add processor and memory use.")
@click.option("--pies", "as_pies", is_flag=True, help="In the columns of GNU pies.")
@pass_settings
def list_(
    settings: Settings,
    selector: tuple[str, ...],
    fields: str | None,
    usage: bool,
    as_pies: bool,
) -> int:
    """List the components, or those that SELECTOR matches."""
    chosen = [name for name in (fields or "").split(",") if name]
    client, screen = settings.client(), settings.screen()
    matched = client.programs(_selector(selector), fields=chosen, usage=usage)
    if screen.as_json:
        screen.data(matched)
    elif as_pies:
        _show_as_pies(screen, matched)
    else:
        _show(screen, matched, chosen, usage=usage)
    return Code.DONE


def _show_as_pies(screen: Screen, matched: list[dict[str, Json]]) -> None:
    import datetime as dt

    from supervisor.cli.pieslist import lines

    for line in lines(matched, dt.datetime.now().astimezone()):
        screen.line(line)


def _selector(words: tuple[str, ...]) -> Json:
    if not words:
        return True
    from supervisor.cli.selecting import read_json

    return read_json(words)


def _show(
    screen: Screen, matched: list[dict[str, Json]], fields: list[str], *, usage: bool
) -> None:
    from supervisor.cli import listing
    from supervisor.cli.table import Column, show

    if not matched:
        screen.note("piesctl: nothing matches")
    elif fields:
        show(screen, [Column(name) for name in fields], listing.chosen(matched, fields))
    else:
        levels = listing.has_levels(matched)
        rows = [listing.row(each, usage=usage, levels=levels) for each in matched]
        show(screen, listing.columns(usage=usage, levels=levels), rows)


@click.command(cls=Verb)
@click.argument("tag", type=TAG, shell_complete=complete_tag)
@pass_settings
def why(settings: Settings, tag: str) -> int:
    """Say why TAG is as it is: every gate between it and running, and how it ended last."""
    answer = settings.client().why(tag)
    screen = settings.screen()
    if screen.as_json:
        screen.data(answer)
    else:
        _show_why(screen, answer)
    return Code.DONE


def _show_why(screen: Screen, answer: dict[str, Json]) -> None:
    screen.line(word(answer.get("summary")), "bold")
    match answer.get("last-exit"):
        case {"message": str(message), **more}:
            at = clock(_text(more.get("at")))
            screen.line(f"  last exit: {message}" + (f", at {at}" if at else ""))
        case _:
            pass
    match answer.get("wish"):
        case {"action": str(action), **more}:
            by, at = _text(more.get("by")), clock(_text(more.get("at")))
            screen.line(f"  last order: {action}" + (f" by {by}" if by else "") + f", at {at}")
        case _:
            pass
    if lack := _text(answer.get("limits-lack")):
        screen.line(f"  limits of its group are not in force: {lack}", "yellow")
    if means := _text(answer.get("enclosure")):
        screen.line(f"  its processes are found by {means}", "dim")
    match answer.get("drift"):
        case [*files] if files:
            edited = " ".join(word(file) for file in files)
            screen.line(f"  edited since it was read (piesctl config plan): {edited}", "yellow")
        case _:
            pass
    if answer.get("blocked-by"):  # What is up has passed them: then they are only confusing.
        _show_gates(screen, answer.get("gates") or [])


def _show_gates(screen: Screen, gates: list[Any]) -> None:
    for gate in gates:
        match gate:
            case {"gate": str(name), "open": bool(is_open), **more}:
                message = _text(more.get("message"))
                sign, style = ("ok", "green") if is_open else ("no", "red")
                screen.line(f"  {sign}  {name}" + (f": {message}" if message else ""), style)
            case _:
                pass


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


@click.command(cls=Verb)
@click.argument("tag", type=TAG, shell_complete=complete_tag)
@pass_settings
def alive(settings: Settings, tag: str) -> int:
    """Tell whether TAG is up: exit code 0 if it is, 1 if it is down or unknown."""
    answer = settings.client().alive(tag)
    screen = settings.screen()
    if screen.as_json:
        screen.data(
            {
                "tag": tag,
                "alive": answer.verdict == "up",
                "verdict": answer.verdict,
                "retry-after": answer.retry_after,
            }
        )
    else:
        again = "" if answer.retry_after is None else f", next try in {answer.retry_after} s"
        screen.line(f"{tag}: {answer.verdict}{again}", "green" if answer.verdict == "up" else "red")
    return Code.DONE if answer.verdict == "up" else Code.REFUSED


QUESTIONS: tuple[click.Command, ...] = (id_, list_, why, alive)

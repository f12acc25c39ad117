"""The commands about the configuration: check, plan, reload, files."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.codes import Code
from supervisor.cli.converting import convert
from supervisor.cli.figures import word
from supervisor.cli.filing import file, show_files
from supervisor.cli.settings import Family, Settings, pass_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.cli.terminal import Screen
    from supervisor.model.errors import Problem

_STYLES = {"restart": "yellow", "start": "green", "stop": "red", "live": "cyan", "none": "dim"}


@click.group("config", cls=Family)
def config() -> None:
    """Check, preview and apply the configuration."""


@config.command()
@click.argument("paths", metavar="[FILE]…", nargs=-1, type=click.Path())
@pass_settings
def check(settings: Settings, paths: tuple[str, ...]) -> int:
    """Report every problem of the FILEs and directories, without a running piesd.

    Without FILE those are checked that piesd would read. Exit code 1 if there is a problem;
    warnings are none.
    """
    from supervisor.config.load import default_files, load
    from supervisor.model.errors import ConfigRejected
    from supervisor.model.settings import SourceFile
    from supervisor.system import preprocess

    environ, euid = os.environ, os.geteuid()
    files = [SourceFile(path, "") for path in paths] or default_files(environ, euid)
    try:
        found = load(
            files, environ=environ, euid=euid, instance=settings.instance, run=preprocess.run
        )
    except ConfigRejected as rejected:
        return _show_problems(settings.screen(), rejected.problems, None)
    return _show_problems(settings.screen(), found.warnings, len(found.components))


def _show_problems(screen: Screen, problems: Sequence[Problem], components: int | None) -> int:
    """Show the problems; *components* is how many there are if the configuration is good."""
    good = components is not None
    if screen.as_json:
        fields = ("file", "line", "key", "message", "warning")
        listed = [{name: getattr(problem, name) for name in fields} for problem in problems]
        screen.data({"status": "OK" if good else "ER", "problems": listed})
    else:
        for problem in problems:
            screen.line(str(problem), "yellow" if problem.warning else "red")
        if good:
            screen.line(f"no problems: {components} component{'s' * (components != 1)}")
    return Code.DONE if good else Code.REFUSED


@config.command()
@pass_settings
def plan(settings: Settings) -> int:
    """Show what a reload would do to which component, and why."""
    _show_changes(settings.screen(), settings.client().plan(), "")
    return Code.DONE


@config.command()
@click.option(
    "--max-restarts",
    metavar="N",
    type=click.IntRange(min=0),
    help="Refuse if more than N components would be restarted.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@pass_settings
def reload(settings: Settings, max_restarts: int | None, dry_run: bool) -> int:
    """Read the configuration again and go over to it; nothing changes if it has problems."""
    answer = settings.client().reload(max_restarts, rehearse=dry_run)
    _show_changes(settings.screen(), answer.get("changes") or [], word(answer.get("message")))
    return Code.DONE


def _show_changes(screen: Screen, changes: list[dict[str, Any]], message: str) -> None:
    if screen.as_json:
        screen.data({"status": "OK", "message": message, "changes": changes})
        return
    touched = [change for change in changes if change.get("action") != "none"]
    if message:
        screen.line(message)
    elif not touched:
        screen.line("nothing changes")
    if touched:
        from supervisor.cli.table import Cell, Column, show

        rows = [
            [
                Cell(word(change.get("action")), _STYLES.get(word(change.get("action")), "")),
                Cell(word(change.get("tag")), "bold"),
                Cell(word(change.get("keys"))),
                Cell(word(change.get("dependents"))),
                Cell(word(change.get("because"))),
            ]
            for change in touched
        ]
        titles = ("ACTION", "TAG", "KEYS", "DEPENDENTS", "BECAUSE")
        show(screen, [Column(title) for title in titles], rows)


@config.command()
@pass_settings
def files(settings: Settings) -> int:
    """List the files that a reload reads; the same as `config file list`."""
    return show_files(settings)


config.add_command(file)
config.add_command(convert)

"""The list of configuration files of a running piesd: `config file`, as pies has it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from supervisor.cli.codes import Code
from supervisor.cli.figures import word
from supervisor.cli.settings import Family, Settings, pass_settings

if TYPE_CHECKING:
    from supervisor.cli.terminal import Screen


@click.group("file", cls=Family)
def file() -> None:
    """List and change the files that the next reload reads."""


@file.command("list")
@pass_settings
def list_(settings: Settings) -> int:
    """List the files that a reload reads, each with its syntax."""
    return show_files(settings)


@file.command()
@click.argument("syntax")
@click.argument("file", type=click.Path())
@pass_settings
def add(settings: Settings, syntax: str, file: str) -> int:
    """Add FILE, written in SYNTAX (toml, pies, inetd, inittab); the next reload reads it."""
    # piesd may run in another directory than the one that a relative path is meant in.
    settings.client().add_file(os.path.abspath(file), syntax)
    return _done(settings.screen(), f"{file} is read at the next reload (config reload)")


@file.command()
@click.argument("name", nargs=-1, required=True)
@pass_settings
def delete(settings: Settings, name: tuple[str, ...]) -> int:
    """Remove NAME… from the list; what they define goes at the next reload."""
    settings.client().forget_files(name)
    return _done(settings.screen(), "the next reload reads them no more (config reload)")


@file.command()
@pass_settings
def clear(settings: Settings) -> int:
    """Empty the list."""
    settings.client().forget_files(True)
    return _done(settings.screen(), "file list cleared")


file.add_command(delete, "del")


def show_files(settings: Settings) -> int:
    """Print the list of files and return the exit code."""
    listed, screen = settings.client().files(), settings.screen()
    if screen.as_json:
        screen.data(listed)
        return Code.DONE
    for each in listed:
        screen.line(f"{word(each.get('file'))}  {word(each.get('syntax'))}".rstrip())
    return Code.DONE


def _done(screen: Screen, text: str) -> int:
    if screen.as_json:
        screen.data({"status": "OK", "message": text})
    else:
        screen.line(text)
    return Code.DONE

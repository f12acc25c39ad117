"""The command `passwd`: passwords and tokens in the file of an identity provider."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from supervisor.cli.codes import Code
from supervisor.cli.settings import Settings, Verb, pass_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supervisor.config.passwords import Entry


@click.command(cls=Verb)
@click.argument("file", type=click.Path(dir_okay=False))
@click.argument("user")
@click.option("--group", "-g", "groups", multiple=True, metavar="NAME", help="A group of USER.")
@click.option("--token", is_flag=True, help="Make a random token, and print it this once.")
@click.option("--delete", is_flag=True, help="Take USER out; with --token only its tokens.")
@click.option("--stdin", is_flag=True, help="Read the password from standard input, one line.")
@pass_settings
def passwd(
    settings: Settings,
    file: str,
    user: str,
    groups: Sequence[str],
    token: bool,
    delete: bool,
    stdin: bool,
) -> int:
    """Set the password of USER in FILE, which is made if it is missing.

    FILE is that of an identity provider of the type "file". Only its owner may read it. Without
    --group the groups stay as they are. A user may have one password and several tokens.
    """
    from supervisor.config import passwords

    for name in (user, *groups):
        if not passwords.is_name(name):
            raise click.UsageError(f"cannot use the name {name!r}: no space, comma or colon")
    if delete and (groups or stdin):
        raise click.UsageError("cannot combine --delete with --group or --stdin")
    before = _read(file, missing=not delete)
    secret = ""
    if delete:
        after = [each for each in before if not _goes(each, user, token)]
        if len(after) == len(before):
            raise click.ClickException(f"cannot delete {user!r}: it is not in {file}")
    else:
        secret = passwords.make_token() if token else _ask(user, from_input=stdin)
        hashed = passwords.hash_token(secret) if token else passwords.hash_password(secret)
        after = _with(before, user, hashed, tuple(groups))
    try:
        passwords.write(file, after)
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror or error}") from None
    _tell(settings, "deleted" if delete else "set", user, secret if token else "")
    return Code.DONE


def _read(file: str, *, missing: bool) -> tuple[Entry, ...]:
    from supervisor.config import passwords

    if missing and not os.path.exists(file):
        return ()
    try:
        return passwords.read(file)
    except passwords.PasswordFileError as error:
        raise click.ClickException(f"cannot read {file}: {error}") from None


def _goes(entry: Entry, user: str, tokens_only: bool) -> bool:
    return entry.user == user and (entry.kind == "token" or not tokens_only)


def _with(before: Sequence[Entry], user: str, hashed: str, groups: tuple[str, ...]) -> list[Entry]:
    """Return the lines with a new one for *user*; its old password goes, its tokens stay."""
    from supervisor.config.passwords import Entry

    mine = [each for each in before if each.user == user]
    groups = groups or (mine[-1].groups if mine else ())
    new = Entry(user, hashed, groups)
    kept = [
        Entry(user, each.hash, groups) if each.user == user else each
        for each in before
        if not (each.user == user and each.kind == new.kind == "password")
    ]
    return [*kept, new]


def _ask(user: str, *, from_input: bool) -> str:
    if from_input:
        secret = sys.stdin.readline().rstrip("\n")
    elif sys.stdin.isatty():
        secret = click.prompt(
            f"Password of {user}", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        raise click.UsageError("cannot ask for a password: there is no terminal; use --stdin")
    if not secret:
        raise click.UsageError("cannot set an empty password")
    return secret


def _tell(settings: Settings, done: str, user: str, token: str) -> None:
    screen = settings.screen()
    if screen.as_json:
        screen.data({"status": "OK", "user": user, **({"token": token} if token else {})})
    elif token:
        screen.line(token)
    else:
        screen.line(f"{user}: {done}")

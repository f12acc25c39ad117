"""The keys of the tables inside a component: its failure policy, its output, its exit actions."""

from __future__ import annotations

from typing import Literal, cast

from supervisor.config.commands import Words
from supervisor.config.exit_codes import ExitCodes
from supervisor.config.fields import Fields, Key, KeySet, Record, Records
from supervisor.config.kinds import (
    Boolean,
    Count,
    Seconds,
    Size,
    Text,
    choice,
)
from supervisor.config.mailing import Addresses
from supervisor.config.outputs import SyslogWords, is_log_file
from supervisor.config.tables import Node
from supervisor.model.component import ExitAction, Output, Respawn
from supervisor.model.errors import Problem

# --- respawn ----------------------------------------------------------------------------------

RESPAWN_MAX = Key(
    name="max",
    kind=Count(least=1, most=1_000_000),
    default=10,
    shown="10",
    meaning="more starts than that within `window` put it to sleep",
)
RESPAWN_WINDOW = Key(
    name="window", kind=Seconds(positive=True), default=120.0, shown="120", meaning="see `max`"
)
RESPAWN_SLEEP = Key(
    name="sleep",
    kind=Seconds(),
    default=300.0,
    shown="300",
    meaning="how long it sleeps; then it is tried again",
)
RESPAWN_DELAY = Key(
    name="delay",
    kind=Seconds(),
    default=0.0,
    shown="0",
    meaning="how long a restart waits; doubles with each quick failure in a row",
)
RESPAWN_DELAY_MAX = Key(
    name="delay-max", kind=Seconds(), default=30.0, shown="30", meaning="what `delay` doubles up to"
)


def _respawn(fields: Fields, node: Node, problems: list[Problem]) -> Respawn:
    delay, most = fields.need(RESPAWN_DELAY), fields.need(RESPAWN_DELAY_MAX)
    if delay > most and not fields.wrong(RESPAWN_DELAY_MAX):
        culprit = fields.node(RESPAWN_DELAY) or node
        what = f"must be at most delay-max, which is {most:g}, not {delay:g}"
        problems.append(culprit.problem(what))
    return Respawn(
        max=fields.need(RESPAWN_MAX),
        window=fields.need(RESPAWN_WINDOW),
        sleep=fields.need(RESPAWN_SLEEP),
        delay=delay,
        delay_max=most,
    )


RESPAWN_KEYS = KeySet(
    (RESPAWN_MAX, RESPAWN_WINDOW, RESPAWN_SLEEP, RESPAWN_DELAY, RESPAWN_DELAY_MAX)
)

RESPAWN_TABLE = Record(RESPAWN_KEYS, _respawn)

# --- stdout and stderr ------------------------------------------------------------------------

OUTPUT_FILE = Key(
    name="file",
    kind=Text(words="full path, or bare name"),
    meaning="the file that lines are appended to; a bare name lies in `log-directory`",
)
OUTPUT_SYSLOG = Key(
    name="syslog",
    kind=SyslogWords(),
    meaning=(
        "lines go to syslog instead of a file; without a facility, with that of `[syslog]`. "
        '`"syslog"` alone has the priority `info` for standard output and `err` for standard error'
    ),
)
OUTPUT_ROTATE_SIZE = Key(
    name="rotate-size",
    kind=Size(),
    default=0,
    shown="0",
    meaning="a file that has grown to this size is renamed to `FILE.1`; 0: never",
)
OUTPUT_ROTATE_KEEP = Key(
    name="rotate-keep",
    kind=Count(least=0, most=10_000),
    default=5,
    shown="5",
    meaning="so many renamed files are kept",
)
OUTPUT_COMPRESS = Key(
    name="compress",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning="renamed files are compressed: `FILE.1.gz`",
)
OUTPUT_TIMESTAMPS = Key(
    name="timestamps",
    kind=Boolean(),
    default=False,
    shown="`false`",
    meaning="each line of a file begins with its time",
)
_OF_FILES = (OUTPUT_ROTATE_SIZE, OUTPUT_ROTATE_KEEP, OUTPUT_COMPRESS, OUTPUT_TIMESTAMPS)


def _output(fields: Fields, node: Node, problems: list[Problem]) -> Output:
    syslog = fields.node(OUTPUT_SYSLOG)
    if syslog is not None:
        return _to_syslog(fields, syslog, problems)
    path = fields.given(OUTPUT_FILE)
    if fields.node(OUTPUT_FILE) is None:
        problems.append(node.problem("must have the key 'file' or 'syslog'"))
    if path is not None:
        is_log_file(path, fields.node(OUTPUT_FILE) or node, problems)
    compress = fields.node(OUTPUT_COMPRESS)
    if compress is not None and compress.value is True and not fields.need(OUTPUT_ROTATE_SIZE):
        problems.append(compress.warning("has no effect without rotate-size"))
    return Output(
        kind="file",
        path=path,
        rotate_size=fields.need(OUTPUT_ROTATE_SIZE),
        rotate_keep=fields.need(OUTPUT_ROTATE_KEEP),
        compress=fields.need(OUTPUT_COMPRESS),
        timestamps=fields.need(OUTPUT_TIMESTAMPS),
    )


def _to_syslog(fields: Fields, syslog: Node, problems: list[Problem]) -> Output:
    if fields.node(OUTPUT_FILE) is not None:
        problems.append(syslog.problem("'file' and 'syslog' exclude each other"))
    for key in _OF_FILES:
        other = fields.node(key)
        if other is not None:
            problems.append(other.problem("is only for a file"))
    facility, priority = fields.given(OUTPUT_SYSLOG) or (None, None)
    return Output(kind="syslog", facility=facility, priority=priority)


OUTPUT_KEYS = KeySet((OUTPUT_FILE, OUTPUT_SYSLOG, *_OF_FILES))
OUTPUT = Record(OUTPUT_KEYS, _output)

# --- on-exit ----------------------------------------------------------------------------------

EXIT_CODES = Key(
    name="codes",
    kind=ExitCodes(),
    required=True,
    meaning="the ways to end by itself that this is for; the first table that has it is taken",
)
EXIT_EXEC = Key(
    name="exec",
    kind=Words(),
    meaning=(
        "run this command: with piesd's user and environment, and `PIES_COMPONENT`, `PIES_PID`, "
        "`PIES_STATUS` or `PIES_SIGNAL`, `PIES_VERSION` and `PIES_MASTER_PID`"
    ),
)
EXIT_ACTION = Key(
    name="action",
    kind=choice("restart", "disable"),
    default="restart",
    shown="`restart`",
    meaning=(
        "`disable` stops it and what needs it, until somebody starts them again; `restart` leaves "
        "it to the mode"
    ),
)
EXIT_NOTIFY = Key(
    name="notify",
    kind=Addresses(),
    meaning="send a mail to these, see `[mail]`",
)
EXIT_MESSAGE = Key(
    name="message",
    kind=Text(),
    shown="a subject that says what ended and how",
    meaning=(
        "that mail: headers, a blank line, text; with `${component}`, `${termination}`, "
        "`${retcode}`, `${instance}` (of piesd), `${program_name}`, `${canonical_program_name}`, "
        "`${package}` and `${version}`"
    ),
)


def _exit_action(fields: Fields, node: Node, problems: list[Problem]) -> ExitAction:
    ends = fields.given(EXIT_CODES)
    message = fields.node(EXIT_MESSAGE)
    if message is not None and fields.node(EXIT_NOTIFY) is None:
        problems.append(message.warning("has no effect without 'notify'"))
    if len(node.table) == 1 and ends is not None:
        problems.append(node.warning("does nothing: it has no 'exec', 'action' or 'notify'"))
    return ExitAction(
        codes=ends.codes if ends else (),
        signals=ends.signals if ends else (),
        action=cast('Literal["restart", "disable"]', fields.need(EXIT_ACTION)),
        exec=fields.given(EXIT_EXEC) or (),
        notify=fields.given(EXIT_NOTIFY) or (),
        message=fields.given(EXIT_MESSAGE),
    )


ON_EXIT_KEYS = KeySet((EXIT_CODES, EXIT_EXEC, EXIT_ACTION, EXIT_NOTIFY, EXIT_MESSAGE))
ON_EXIT_TABLES = Records(Record(ON_EXIT_KEYS, _exit_action))

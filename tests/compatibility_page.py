"""The tables of docs/pies-compatibility.md, and what they are to have rows for.

`PIES` has what pies has, by the headings of the page: a row that goes away together with the code
that it was about is missed all the same. Source: pies.md sections 1 to 8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

PAGE = (Path(__file__).parent.parent / "docs" / "pies-compatibility.md").read_text()

OUTCOMES: Final = ("done", "different", "accepted without effect", "later")


# --- the page ---------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row of a table: what it is about, what becomes of it and why, and the tests it names."""

    table: str
    cell: str
    items: tuple[str, ...]
    outcome: str
    reason: str
    tests: tuple[str, ...]


_HEAD: Final = "| what becomes of it | shown by |"


def _row(table: str, line: str) -> Row:
    cell, said, shown = line.strip("| ").split(" | ")
    outcome = next((each for each in OUTCOMES if said.startswith(each)), said)
    reason = said.removeprefix(outcome)
    return Row(table, cell, _quoted(cell), outcome, reason, _quoted(shown))


def _quoted(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", text))


def _read() -> tuple[list[Row], dict[str, frozenset[str]]]:
    """Return the rows of all tables, and what a line under a table says to be only here."""
    rows: list[Row] = []
    ours: dict[str, frozenset[str]] = {}
    title, inside = "", False
    for line in PAGE.splitlines():
        if line.startswith("#"):
            title = line.lstrip("# ").replace("`", "")
        if line.startswith("| ") and inside and not line.startswith("| ---"):
            rows.append(_row(title, line))
        elif match := re.match(r"Only here:((?: `[^`]+`)+)", line):
            ours[title] = frozenset(_quoted(match[1]))
        inside = line.startswith("|") and (inside or line.endswith(_HEAD))
    return rows, ours


ROWS, OURS = _read()


def names(table: str, *outcomes: str) -> set[str]:
    """Return the names in a table; of a statement that is its keyword."""
    found = [row for row in ROWS if row.table == table and row.outcome in (outcomes or OUTCOMES)]
    items = {item for row in found for item in row.items}
    return {NAME.get(table, keyword)(item) for item in items}


def keyword(item: str) -> str:
    return re.split(r"[\s;{]", item)[0]


def _whole(item: str) -> str:
    return item


def _op(item: str) -> str:
    selector = json.loads(item)
    return str(selector["op"]) if isinstance(selector, dict) else item


NAME: Final[dict[str, Callable[[str], str]]] = {
    "Requests": _whole,
    "Commands": _whole,
    "Sockets": lambda item: item.partition(":")[0],
    "Selectors": _op,
    "Conditions": _whole,
    "Pragmas of inittab": lambda item: item.split()[2],
    "References to variables": lambda item: re.sub(r"\w+", "x", item),
}
"""How the name is found in an item, where it is not the first word."""


# --- what pies has ----------------------------------------------------------------------------

_SIGNALS = """HUP INT QUIT ILL TRAP ABRT IOT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD
CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH POLL IO PWR SYS"""

_REQUESTS = """GET /instance, GET /instance/KEY, DELETE /instance/KEY, PUT /instance/KEY,
POST /instance/KEY, GET /conf/files, POST /conf/files, DELETE /conf/files/LIST, PUT /conf/runtime,
PUT /conf/runtime/JSON, GET /programs, GET /programs/TAG, PUT /programs, PUT /programs/TAG,
DELETE /programs, DELETE /programs/TAG, POST /programs, POST /programs/TAG, GET /alive,
GET /alive/TAG, GET /runlevel, PUT /runlevel/JSON, GET /environ, GET /environ/VAR, PUT /environ/VAR,
DELETE /environ/VAR"""

_COMMANDS = """id, shutdown, reboot, config file list, config file clear, config file add,
config file del, config file delete, config reload, list, stop, start, restart, telinit runlevel,
telinit environ list, telinit environ set, telinit environ unset, help"""

PIES: Final[dict[str, str]] = {
    "Preprocessor and inclusion": "#include #include_once #warning #error #abend",
    "Syntaxes": "pies inetd inittab meta1",
    "Component statements": """mode program command prerequisites dependents flags runlevels user
        group allgroups limits umask max-instances env chdir remove-file pass-fd-timeout
        pass-fd-socket socket socket-type service tcpmux-master max-rate max-instances-message
        max-ip-connections max-ip-connections-message acl access-denied-message stdout stderr
        return-code list-acl admin-acl rmfile disable precious""",
    "Modes": """respawn exec inetd nostartaccept pass pass-fd accept startup shutdown sysinit boot
        bootwait once wait ctrlaltdel kbrequest ondemand powerfail powerwait powerfailnow
        powerokwait""",
    "Flags": """disable precious wait internal sockenv resolve tcpmux tcpmuxplus shell expandenv
        nullinput siggroup""",
    "Limits": "A C D F M N R S T U P L",
    "Sockets": "inet inet+tcp inet+udp inet+sctp unix unix+udp local file",
    "Built-in services": "echo discard time daytime chargen qotd tcpmux",
    "The env block": "clear keep set eval unset",
    "References to variables": """$x ${x} ${x:-x} ${x-x} ${x:=x} ${x=x} ${x:+x} ${x+x} ${x:?x}
        ${x?x}""",
    "Redirectors": "file syslog",
    "Global statements": """component env syslog umask limits return-code shutdown-timeout control
        defacl identity-provider state-directory pidfile qotd-file control-file stat-file user group
        allgroups debug source-info mailer-program mailer-command-line include-inetd include-meta1
        meta1-queue-dir initdefault""",
    "syslog": "dev facility tag",
    "control": "socket acl admin-acl user-acl realm idle-timeout",
    "Access control lists": "allow deny",
    "Identity providers": "type service",
    "return-code": "exec action notify message",
    "Codes": f"""0 64 255 EX_OK EX_USAGE EX_DATAERR EX_NOINPUT EX_NOUSER EX_NOHOST EX_UNAVAILABLE
        EX_SOFTWARE EX_OSERR EX_OSFILE EX_CANTCREAT EX_IOERR EX_TEMPFAIL EX_PROTOCOL EX_NOPERM
        EX_CONFIG SIG+11 {" ".join(f"SIG{name}" for name in _SIGNALS.split())}""",
    "The environment of exec": """PIES_VERSION PIES_MASTER_PID PIES_COMPONENT PIES_PID PIES_SIGNAL
        PIES_STATUS""",
    "The variables of message": """canonical_program_name program_name package instance version
        component termination retcode""",
    "Requests": _REQUESTS,
    "Selectors": "null false true component type mode active status not and or",
    "Attributes": """tag type mode status active PID URL service master runlevels wakeup-time argv
        command""",
    "Commands": _COMMANDS,
    "Conditions": """all, none, component web, type component, type command, mode inetd,
        status running, active, not active, active and active, active or active, ( active ), web""",
    "Letters of list --pies": "3 A B C c D E F f I i k n o P R W w - L S s T",
    "piesctl.conf": "socket source instance",
    "Options": "-u --url -i --instance -c --config-file -d --dump -v --verbose -N --no-netrc",
    "Options of piesd": """-c --config-file --syntax --config-help -D -I --include-directory -U
        --preprocessor --no-preprocessor --no-include -E --foreground --stderr --instance -s
        --status -T --telinit -h --help -x --debug --force --dump-depmap --dump-prereq -R --restart
        --restart-component
        -S --stop -r --reload --hup -t --lint --syslog -i --inetd --source-info
        --list-shutdown-sequence --trace-prereq --trace-depend --usage -V --version --rate""",
    "Signals": "SIGTERM SIGINT SIGQUIT SIGHUP SIGCHLD SIGWINCH SIGPWR",
    "Modes of inittab": """respawn off sysinit boot bootwait once wait ctrlaltdel kbrequest ondemand
        powerfail powerwait powerfailnow powerokwait initdefault""",
    "Pragmas of inittab": "debug next stop",
    "The environment of init": "PREVLEVEL RUNLEVEL CONSOLE INIT_VERSION PATH",
}
IN_WORDS: Final = {
    *("Lexical rules", "inetd.conf", "Life cycle", "States and runlevels", "Lines of inittab"),
    *("Of an init process", "The old protocol", "In a container"),
}
"""Tables whose rows are told in words."""


def pies(table: str) -> set[str]:
    """Return the names that pies has for a table."""
    text = PIES[table]
    return {" ".join(each.split()) for each in (text.split(",") if "," in text else text.split())}

"""What the keys about sockets mean together."""

from __future__ import annotations

import pytest

from config_text import plan_of, problems_of
from supervisor.config.serving import MOST_PASSED, WAIT_RATE
from supervisor.model.component import Component
from supervisor.model.errors import ConfigRejected, Problem

HEAD = '[component.x]\ncommand = "prog"\n'
INETD = 'mode = "inetd"\nsocket = "unix:///x"\n'
ACCEPT = 'mode = "accept"\nsocket = "unix:///x"\n'


def component(text: str) -> Component:
    (one,) = plan_of(HEAD + text).components
    return one


@pytest.mark.parametrize(
    ("text", "listens", "owned"),
    [
        (INETD, True, False),
        (INETD + "wait = true", True, True),
        (ACCEPT, False, False),
        (ACCEPT + "on-demand = true", True, True),
        (ACCEPT + "idle-stop = 5", True, True),
        ('mode = "pass-fd"\nsocket = "unix:///x"\npass-fd-socket = "/y"', False, False),
    ],
)
def test_who_accepts_follows_from_mode_and_flags(text: str, listens: bool, owned: bool) -> None:
    one = component(text)
    assert (one.listens, one.owned) == (listens, owned)


def test_servers_that_wait_are_not_started_without_end_unless_that_is_wanted() -> None:
    assert component(INETD).max_rate == 0
    assert component(INETD + "wait = true").max_rate == WAIT_RATE
    assert component(INETD + "wait = true\nmax-rate = 0").max_rate == 0
    assert component(INETD + "wait = true\nmax-rate = 3").max_rate == 3


@pytest.mark.parametrize("kind", ["stream", "seqpacket", "dgram"])
def test_the_type_of_the_socket_is_that_of_each_unix_address(kind: str) -> None:
    text = f'{INETD}wait = true\nsocket-type = "{kind}"'
    assert [each.kind for each in component(text).sockets] == [kind]


def test_as_many_sockets_as_there_are_seats_can_be_handed_over() -> None:
    urls = [f"unix:///{n}" for n in range(MOST_PASSED + 1)]
    most = f'mode = "accept"\nlisten-fds = true\nsocket = {urls[:-1]}'.replace("'", '"')
    assert len(component(most).sockets) == MOST_PASSED
    more = HEAD + f'mode = "accept"\nlisten-fds = true\nsocket = {urls}'.replace("'", '"')
    (problem,) = problems_of(more)
    assert problem.key == "component.x.socket"
    assert str(MOST_PASSED) in problem.message


def test_a_descriptor_for_readiness_is_none_of_those_that_are_handed_over() -> None:
    text = ACCEPT + "listen-fds = true\nready = { fd = 3 }"
    (problem,) = problems_of(HEAD + text)
    assert problem.key == "component.x.ready"
    assert component(text.replace("fd = 3", "fd = 4")).ready is not None


# --- what cannot be honoured is refused

WAIT = INETD.replace("unix:///x", "inet://:79") + "wait = true\n"
TCP = 'mode = "inetd"\nsocket = "inet://:79"\n'
OWN = 'mode = "inetd"\ninternal = true\nservice = "echo"\nsocket = "inet://:7"\n'
DATAGRAMS = OWN.replace("inet:", "inet+udp:")
MUX = '[component.mux]\nmode = "inetd"\ninternal = true\nservice = "tcpmux"\nsocket = "inet://:1"\n'
BELOW = 'mode = "inetd"\ntcpmux-master = "mux"\n'
DEMAND = ACCEPT + "on-demand = true\n"
PASS = 'mode = "pass-fd"\nsocket = "unix:///x"\npass-fd-socket = "/y"\n'
RESPAWN = 'mode = "respawn"\n'

WAYS = {
    "nowait": TCP,
    "unix": INETD,
    "wait": WAIT,
    "internal": OWN,
    "datagrams": DATAGRAMS,
    "tcpmux": BELOW + "tcpmux = true\n",
    "tcpmuxplus": BELOW + "tcpmuxplus = true\n",
    "accept": ACCEPT,
    "demand": DEMAND,
    "pass": PASS,
    "respawn": RESPAWN,
}
LINES = {
    "backlog": "backlog = 9",
    "socket-type": 'socket-type = "stream"',
    "wait": "wait = true",
    "on-demand": "on-demand = true",
    "idle-stop": "idle-stop = 9",
    "listen-fds": "listen-fds = true",
    "socket-names": 'socket-names = "a"',
    "pass-fd-timeout": "pass-fd-timeout = 9",
    "acl": 'acl = ["deny all"]',
    "max-instances": "max-instances = 9",
    "max-ip-connections": "max-ip-connections = 9",
    "max-rate": "max-rate = 9",
    "sockenv": "sockenv = true",
    "resolve": "sockenv = true\nresolve = true",
    "idle-timeout": "idle-timeout = 9",
    "proxy-protocol": "proxy-protocol = true",
    "access-denied-message": 'acl = ["deny all"]\naccess-denied-message = "a"',
    "max-instances-message": 'max-instances = 9\nmax-instances-message = "a"',
    "max-ip-connections-message": 'max-ip-connections = 9\nmax-ip-connections-message = "a"',
}
_CLIENTS = "acl max-ip-connections sockenv resolve proxy-protocol access-denied-message"
_ALL_CLIENTS = f"{_CLIENTS} max-ip-connections-message max-instances max-instances-message"
HONOURED = {
    "nowait": f"backlog socket-type wait max-rate idle-timeout {_ALL_CLIENTS}",
    "unix": "backlog socket-type wait max-rate acl access-denied-message sockenv"
    " max-instances max-instances-message",
    "wait": "backlog socket-type wait idle-stop listen-fds max-rate",
    "internal": "backlog socket-type max-rate acl max-ip-connections proxy-protocol idle-timeout"
    " access-denied-message max-ip-connections-message max-instances max-instances-message",
    "datagrams": "wait acl max-rate socket-type",  # What contradicts it is the URL.
    "tcpmux": "max-rate idle-timeout acl max-ip-connections sockenv resolve access-denied-message"
    " max-ip-connections-message max-instances max-instances-message",
    "tcpmuxplus": "max-rate idle-timeout acl max-ip-connections sockenv resolve"
    " access-denied-message max-ip-connections-message max-instances max-instances-message",
    "accept": "backlog socket-type on-demand idle-stop listen-fds",
    "demand": "backlog socket-type on-demand idle-stop listen-fds",
    "pass": "backlog socket-type pass-fd-timeout",
    "respawn": "",
}
"""Of these lines, what each way of serving goes by; of the rest, something has to be said."""


def everything_said(text: str) -> tuple[Problem, ...]:
    """Return the problems of a configuration, or its warnings if it is a right one."""
    try:
        return plan_of(text).warnings
    except ConfigRejected as rejected:
        return tuple(rejected.problems)


def said_about(way: str, key: str) -> list[str]:
    """Return what is said about *key* in a component that serves in this way."""
    head = HEAD if way not in ("internal", "datagrams") else "[component.x]\n"
    lines = [line for line in LINES[key].splitlines() if line not in WAYS[way]]
    text = MUX + head + WAYS[way] + "\n".join(lines)
    return [each.message for each in everything_said(text) if each.key == f"component.x.{key}"]


@pytest.mark.parametrize("key", LINES)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_said_about_sockets_is_honoured_or_refused(way: str, key: str) -> None:
    assert bool(said_about(way, key)) is (key not in HONOURED[way].split())


@pytest.mark.parametrize(
    ("way", "key", "words"),
    [
        ("internal", "listen-fds", "with 'internal' there is none"),
        ("tcpmux", "proxy-protocol", "no place beside 'tcpmux-master'"),
        ("wait", "acl", "piesd does not see its clients; leave out one of the two"),
        ("nowait", "listen-fds", "it needs 'wait = true'"),
        ("accept", "socket-names", "it needs 'listen-fds = true'"),
        ("unix", "proxy-protocol", "clients of a UNIX socket have none"),
        ("datagrams", "max-ip-connections", "datagrams have none"),
        ("accept", "acl", "only for mode inetd"),
        ("respawn", "listen-fds", "it is for accept and inetd"),
    ],
)
def test_why_something_cannot_be_honoured_is_said(way: str, key: str, words: str) -> None:
    (message,) = said_about(way, key)
    assert words in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RESPAWN + 'flags = ["sockenv"]', "'sockenv' is only for mode inetd"),
        (ACCEPT + 'flags = "nullinput"', "'nullinput' is not for mode accept"),
        (WAIT + 'flags = "sockenv"', "'sockenv' cannot be: with 'wait'"),
    ],
)
def test_a_flag_is_refused_as_its_key_is(text: str, words: str) -> None:
    (problem,) = problems_of(HEAD + text)
    assert problem.key == "component.x.flags"
    assert words in problem.message


@pytest.mark.parametrize("line", ["ready = { fd = 9 }", 'health = { tcp = "127.0.0.1:9" }'])
def test_what_its_first_client_starts_is_not_waited_for(line: str) -> None:
    (problem,) = problems_of(HEAD + DEMAND + line)
    assert "its first connection starts" in problem.message


def test_a_server_that_comes_and_goes_cannot_be_there_always() -> None:
    (problem,) = problems_of(HEAD + ACCEPT + "idle-stop = 5\non-demand = false")
    assert problem.message.startswith("contradicts 'idle-stop'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TCP + "resolve = true", "without 'sockenv'"),
        (TCP + 'access-denied-message = "a"', "without 'acl'"),
        (TCP + 'max-instances-message = "a"', "without 'max-instances'"),
        (WAIT + "max-instances = 3", "one server at a time"),
        (DEMAND + "max-instances = 3", "without 'instances'"),
        (
            DEMAND.replace("///x", "///${instance}") + "max-instances = 3\ninstances = 1",
            "one server at a time",
        ),
        ('mode = "inetd"\nsocket = "inet+udp://:9"\nwait = true\nbacklog = 3', "no connections"),
    ],
)
def test_what_changes_nothing_and_is_not_wrong_is_a_warning(text: str, words: str) -> None:
    (warning,) = plan_of(HEAD + text).warnings
    assert words in warning.message


def test_defaults_are_for_those_who_can_honour_them() -> None:
    text = '[defaults]\nacl = ["deny all"]\nsockenv = true\nlisten-fds = true\n' + HEAD + WAIT
    plan = plan_of(text)
    assert not plan.warnings

"""What the lines of inetd.conf become, and what is said about those that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config_text import InventedHost
from supervisor.config import inetd
from supervisor.config.load import make_plan
from supervisor.config.nodes import plain
from supervisor.config.sources import Document, Sources
from supervisor.engine.plan import Plan
from supervisor.model.component import InetAddress, Mode, UnixAddress
from supervisor.model.errors import ConfigRejected, Problem
from supervisor.model.settings import SourceFile

CORPUS = Path(__file__).parent.parent / "corpus" / "inetd"


def tables(text: str) -> dict[str, object]:
    """Return the components of a file without faults."""
    problems: list[Problem] = []
    root = inetd.read(text, "inetd.conf", problems)
    assert root is not None
    assert problems == []
    found = plain(root)
    assert isinstance(found, dict)
    components = found.get("component", {})
    assert isinstance(components, dict)
    return components


def faults(text: str) -> list[tuple[int, str]]:
    """Return line and message of everything that is wrong."""
    problems: list[Problem] = []
    inetd.read(text, "inetd.conf", problems)
    return [(problem.line, problem.message) for problem in problems]


def plan(text: str, host: InventedHost | None = None) -> Plan:
    """Build the plan of a file, on an invented machine."""
    problems: list[Problem] = []
    root = inetd.read(text, "inetd.conf", problems)
    assert root is not None
    return make_plan(
        Sources((Document("inetd.conf", "inetd", root),), frozenset()),
        [SourceFile("inetd.conf", "inetd")],
        problems,
        environ={"PATH": "/bin"},
        euid=0,
        instance=None,
        sockets=(),
        host=host or InventedHost(),
    )


def refused(text: str) -> list[tuple[int, str]]:
    """Return line and message of what stands in the way of a plan."""
    try:
        plan(text)
    except ConfigRejected as rejected:
        return [(problem.line, problem.message) for problem in rejected.problems]
    return []


def test_a_line_is_a_listener_that_runs_its_program() -> None:
    (component,) = plan("http stream tcp nowait me.adm /bin/prog httpd -l\n").components
    assert component.tag == "http"
    assert component.mode is Mode.INETD
    assert component.sockets[0] == InetAddress(host="0.0.0.0", port=80)
    assert (component.program, component.argv) == ("/bin/prog", ("httpd", "-l"))
    assert (component.user, component.group) == ("me", ("adm",))
    assert component.source.line == 1


def test_a_program_without_arguments_is_called_by_its_own_name() -> None:
    assert tables("7 stream tcp nowait root /bin/prog")["7"] == {
        "mode": "inetd",
        "socket": "inet+tcp://0.0.0.0:7",
        "user": "root",
        "command": ("/bin/prog",),
    }
    (component,) = plan("7 stream tcp nowait root /bin/prog /bin/prog").components
    assert (component.program, component.argv) == (None, ("/bin/prog",))


@pytest.mark.parametrize(
    ("written", "user", "group"),
    [("me", "me", ()), ("me.adm", "me", ("adm",)), ("me:adm", "me", ("adm",))],
)
def test_a_group_stands_behind_the_user(written: str, user: str, group: tuple[str, ...]) -> None:
    (component,) = plan(f"9 stream tcp nowait {written} /bin/prog prog\n").components
    assert (component.user, component.group) == (user, group)


def test_comments_and_empty_lines_say_nothing() -> None:
    assert tables("\n# ftp stream tcp nowait root /bin/ftpd\n   # x\n\t\n") == {}


def test_each_address_of_a_list_has_a_component() -> None:
    text = "127.0.0.1,[::1]:9 stream tcp nowait root /bin/prog"
    sockets = [component.sockets[0] for component in plan(text).components]
    assert list(tables(text)) == ["9@127.0.0.1", "9@::1"]
    assert sockets == [InetAddress(host="127.0.0.1", port=9), InetAddress(host="::1", port=9)]


def test_a_line_that_is_an_address_holds_for_those_behind_it_that_have_none() -> None:
    text = (
        "a stream tcp nowait root /bin/prog\n10.0.0.1:\nb stream tcp nowait root /bin/prog\n"
        "*:c stream tcp nowait root /bin/prog\n*:\nd stream tcp nowait root /bin/prog\n"
    )
    found = tables(text)
    hosts = {tag: table["socket"] for tag, table in found.items() if isinstance(table, dict)}
    assert hosts == {
        "a": "inet+tcp://0.0.0.0:a",
        "b": "inet+tcp://10.0.0.1:b",
        "c": "inet+tcp://0.0.0.0:c",
        "d": "inet+tcp://0.0.0.0:d",
    }


def test_a_service_on_several_lines_has_several_tags() -> None:
    text = (
        "echo stream tcp nowait root /bin/prog\n"
        "echo stream tcp6 nowait root /bin/prog\n"
        "10.0.0.1:echo stream tcp nowait root /bin/prog\n"
    )
    assert list(tables(text)) == ["echo", "echo-tcp6", "echo@10.0.0.1"]


def test_the_same_place_on_two_lines_is_a_fault_that_names_both() -> None:
    text = "echo stream tcp nowait root /a\necho stream tcp nowait root /b"
    assert faults(text) == [(2, "is already defined at inetd.conf:1")]


def test_a_unix_socket_is_called_after_its_path() -> None:
    (component,) = plan("/run/x.sock stream unix nowait root /bin/prog").components
    assert component.tag == "run-x.sock"
    assert component.sockets[0] == UnixAddress(path="/run/x.sock")


def test_words_in_quotes_are_one_argument() -> None:
    (component,) = plan("9 stream tcp nowait root /bin/prog p \"a b\" 'c d' #e\n").components
    assert component.argv == ("p", "a b", "c d", "#e")


def test_a_file_of_inetd_becomes_components() -> None:
    text = (
        "# wait and datagrams\n"
        "9 dgram udp wait root /bin/prog\n"
        "8 stream tcp nowait.40 root /bin/prog\n"
        "echo stream tcp nowait root internal\n"
        "echo dgram udp wait root internal\n"
        "tcpmux stream tcp nowait root internal\n"
        "tcpmux/+date stream tcp nowait root /bin/prog\n"
    )
    nine, eight, tcp, udp, mux, date = plan(text).components
    assert (nine.sockets[0].url, nine.wait) == ("inet+udp://0.0.0.0:9", True)
    assert nine.max_rate == 256
    assert (eight.wait, eight.max_rate) == (False, 40)
    assert [(each.internal, each.service, each.sockets[0].kind) for each in (tcp, udp)] == [
        (True, "echo", "stream"),
        (True, "echo", "dgram"),
    ]
    assert (udp.wait, udp.owned, udp.max_rate) == (False, False, 0)
    assert (mux.internal, mux.service) == (True, "tcpmux")
    assert (date.tcpmux_master, date.service, date.tcpmux_plus) == ("tcpmux", "date", True)
    assert date.sockets == ()
    assert date.prerequisites == ("tcpmux",)


@pytest.mark.parametrize(("name", "flag"), [("+date", "tcpmuxplus"), ("date", "tcpmux")])
def test_a_tcpmux_service_is_given_to_its_master(name: str, flag: str) -> None:
    assert tables(f"tcpmux/{name} stream tcp nowait root /bin/date")["date"] == {
        "mode": "inetd",
        "service": "date",
        "tcpmux-master": "tcpmux",
        flag: True,
        "user": "root",
        "command": ("/bin/date",),
    }


def test_every_type_of_socket_that_can_be_served_is_taken() -> None:
    text = (
        "9 stream tcp nowait root /bin/prog\n"
        "9 dgram udp wait root /bin/prog\n"
        "/run/x seqpacket unix nowait root /bin/prog\n"
    )
    assert [each.sockets[0].kind for each in plan(text).components] == [
        "stream",
        "dgram",
        "seqpacket",
    ]
    for kind in ("raw", "rdm"):
        ((line, what),) = refused(f"\n9 {kind} udp wait root /bin/prog")
        assert line == 2
        assert f"sockets of the type {kind} are not supported" in what


@pytest.mark.parametrize("protocol", ["sctp", "icmp"])
def test_every_protocol_but_tcp_and_udp_is_refused(protocol: str) -> None:
    ((line, what),) = refused(f"\n9 stream {protocol} nowait root /bin/prog")
    assert line == 2
    assert f"must be tcp or udp, not '{protocol}'" in what


def test_all_faults_of_a_file_are_told_in_one_run() -> None:
    text = (
        "x y\n"
        "a strem tpc maybe :x /p\n"
        'foo stream tcp nowait root "/x\n'
        "rusersd/1 dgram rpc/udp wait root /p\n"
        ",:\n"
        ":7 stream tcp nowait root /p\n"
        "a: stream tcp nowait root /p\n"
        "ok stream tcp nowait root /p\n"
    )
    assert faults(text) == [
        (1, "a line has at least 6 fields, this one 2: PROTOCOL WAIT USER PROGRAM missing"),
        (2, "unknown type of socket 'strem'; did you mean 'stream'?"),
        (2, "unknown protocol 'tpc'; did you mean 'tcp'?"),
        (2, "must be wait, nowait or nowait.MAX, not 'maybe'"),
        (2, "must be USER, USER.GROUP or USER:GROUP, not ':x'"),
        (3, "a quotation mark is not closed, or a backslash ends the line"),
        (4, "services of RPC are not supported"),
        (5, "an address is missing in ',:'"),
        (6, "an address is missing in ':7'"),
        (7, "the name of the service is missing in 'a:'"),
    ]


def test_an_unknown_service_is_a_fault_of_its_line() -> None:
    (fault,) = refused("\nhtpt stream tcp nowait root /bin/prog")
    assert fault[0] == 2
    assert "'htpt' is neither a port nor a service" in fault[1]


def test_a_tcpmux_service_cannot_wait() -> None:
    text = "tcpmux stream tcp nowait root internal\ntcpmux/date stream tcp wait root /bin/prog\n"
    (fault,) = refused(text)
    assert fault[0] == 2
    assert "hands connections over" in fault[1]


def test_the_file_of_debian_is_taken_and_so_are_its_services_once_they_are_switched_on() -> None:
    """Source: the file that Debian's openbsd-inetd 0.20221205 makes at its installation."""
    text = (CORPUS / "debian.conf").read_text()
    assert plan(text).components == ()
    host = InventedHost()
    host.services = {"echo": 7, "discard": 9, "daytime": 13, "chargen": 19, "time": 37}
    on = re.sub("^#(?=[a-z]+\t)", "", text, flags=re.MULTILINE)
    found = plan(on, host).components
    assert [(each.tag, each.service, each.sockets[0].url) for each in found] == [
        ("echo", "echo", "inet+tcp://0.0.0.0:7"),
        ("discard", "discard", "inet+tcp://0.0.0.0:9"),
        ("discard-udp", "discard", "inet+udp://0.0.0.0:9"),
        ("daytime", "daytime", "inet+tcp://0.0.0.0:13"),
        ("time", "time", "inet+tcp://0.0.0.0:37"),
        ("chargen", "chargen", "inet+tcp://0.0.0.0:19"),
    ]
    assert all(each.internal and not each.owned for each in found)

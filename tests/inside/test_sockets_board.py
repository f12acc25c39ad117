"""Listening sockets and the connections at them, on a simulated system under a virtual clock."""

from __future__ import annotations

import errno
import os

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from fake_system import Script
from running import House, house
from supervisor.model.access import Acl, Rule
from supervisor.model.component import Address, Check, Component, InetAddress, Mode, UnixAddress
from supervisor.model.events import Apply
from supervisor.model.state import Phase
from supervisor.runtime import farewells, reception, sockets
from supervisor.runtime.listeners import AT_ONCE, PAUSE
from supervisor.system.port import Launch, ListenError

PORT = InetAddress(host="127.0.0.1", port=7)
OTHER = InetAddress(host="127.0.0.1", port=8)
ECHO = Component(tag="echo", argv=("cat",), mode=Mode.INETD, sockets=(PORT,))
TALK = replace(ECHO, tag="talk", wait=True)
WEB = replace(ECHO, tag="web", mode=Mode.ACCEPT)
HEADER = b"PROXY TCP4 192.0.2.1 127.0.0.1 999 7\r\n"


async def apply(home: House, *components: Component) -> None:
    home.runner.post(Apply(components, 5.0))
    await home.rest()


def listening(home: House, address: Address) -> int:
    """Return the descriptor of the one socket that listens at *address*."""
    (fd,) = (fd for fd, bound in home.system.listeners.items() if bound == address)
    return fd


def launches(home: House, tag: str) -> list[Launch]:
    return [launch for launch in home.system.launches if launch.key.partition("#")[0] == tag]


# --- servers that have the listener


async def test_a_server_gets_the_listener_itself_and_nobody_else_looks_at_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([TALK]) as home:
            home.system.connect(PORT)
            home.system.connect(PORT)
            await home.rest()
            (launch,) = home.system.launches
            assert (launch.key, launch.stdin, launch.stdout) == (
                "talk#1",
                *[listening(home, PORT)] * 2,
            )
            home.system.exit("talk#1", 0)
            await home.rest()
            # Nobody has been taken: the next server is for them.
            assert [each.key for each in home.system.launches] == ["talk#1", "talk#2"]


async def test_a_server_that_outlives_its_minute_stays_the_only_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with house([replace(TALK, max_rate=1)]) as home:
            home.system.connect(PORT)
            await home.rest()
            assert home.state("talk").paused
            await trio.sleep(100)
            await home.rest()
            assert not home.state("talk").paused
            assert len(home.system.launches) == 1


async def test_no_server_is_offered_a_listener_that_pauses(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with house([replace(TALK, max_rate=1)]) as home:
            home.system.connect(PORT)
            await home.rest()
            home.system.exit("talk#1", 0)
            await home.rest()
            assert [key for key in home.runner.engine.world.states if "#" in key] == []
            await trio.sleep(61)
            await home.rest()
            assert [each.key for each in home.system.launches] == ["talk#1", "talk#2"]
            await trio.sleep(61)
            await home.rest()
            assert len(home.system.launches) == 2


async def test_a_server_that_takes_nothing_is_not_started_without_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(600):
        async with house([replace(TALK, max_rate=3)]) as home:
            home.system.connect(PORT)
            for _ in range(3):
                await home.rest()
                home.system.exit(home.system.launches[-1].key, 0)
            await home.rest()
            assert len(home.system.launches) == 3
            assert home.state("talk").paused


async def test_a_server_that_cannot_be_started_gives_the_listener_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def missing(home: House) -> None:

        home.system.scripts["talk"] = Script(fails=("exec", errno.ENOENT, "exec cat: no"))

    with trio.fail_after(600):
        async with house([replace(TALK, max_rate=2)], missing) as home:
            home.system.connect(PORT)
            await home.rest()
            assert len(home.system.launches) == 2
            home.system.scripts.clear()
            await trio.sleep(61)
            await home.rest()
            assert home.phase("talk#3") is Phase.RUNNING


async def test_what_wait_says_takes_effect_with_a_reload(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([replace(TALK, wait=False)]) as home:
            await apply(home, TALK)
            home.system.connect(PORT)
            await home.rest()
            (launch,) = home.system.launches
            assert launch.stdin == listening(home, PORT)
            assert home.system.opened[listening(home, PORT)] == (4096, True)


async def test_a_server_on_demand_is_started_by_its_first_client(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([replace(WEB, on_demand=True, listen_fds=True)]) as home:
            assert not home.system.launches
            home.system.connect(PORT)
            await home.rest()
            (launch,) = home.system.launches
            assert launch.extra == ((3, listening(home, PORT)),)
            assert launch.own_pid == ("LISTEN_PID",)
            assert launch.stdin is None


# --- sockets that are handed over


async def test_a_server_has_the_listener_as_its_input_from_child_to_child(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            fd = listening(home, PORT)
            assert home.system.opened[fd] == (4096, True)
            home.system.exit("web", 1)
            await home.rest()
            assert [launch.stdin for launch in home.system.launches] == [fd, fd]
            assert [launch.own_pid for launch in home.system.launches] == [None, None]


async def test_sockets_are_handed_over_with_their_names(
    autojump_clock: trio.testing.MockClock,
) -> None:
    named = replace(WEB, sockets=(PORT, OTHER), listen_fds=True, socket_names=("a", "b"), backlog=5)
    with trio.fail_after(60):
        async with house(
            [named, replace(WEB, tag="one", sockets=(UnixAddress(path="/s"),), listen_fds=True)]
        ) as home:
            first, second = home.system.launches
            fds = [listening(home, each) for each in named.sockets]
            assert first.extra == tuple(enumerate(fds, 3))
            assert dict(first.environ) == {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
            assert dict(second.environ) == {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "one"}
            assert home.system.opened[fds[0]] == (5, True)


async def test_a_program_that_takes_its_socket_by_its_own_is_up_when_it_has_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    check = Check(kind="pass-fd", target="/run/s", timeout=5, interval=0.1)
    with trio.fail_after(60):
        async with house([replace(WEB, mode=Mode.PASS_FD, ready=check)]) as home:
            (launch,) = home.system.launches
            assert (launch.stdin, launch.extra) == (None, ())
            assert not home.state("web").ready
            home.network.answers["/run/s"] = "nobody is there"
            await trio.sleep(2)
            home.network.answers["/run/s"] = None
            await trio.sleep(2)
            assert home.state("web").ready
            assert set(home.network.passed) == {(listening(home, PORT),)}


async def test_a_server_whose_address_is_taken_is_a_failed_start_and_holds_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def busy(home: House) -> None:
        error = OSError(errno.EADDRINUSE, "Address already in use")
        home.system.listen_failures[OTHER.url] = ListenError("bind", error, "bind here: in use")

    several = replace(WEB, sockets=(PORT, OTHER), listen_fds=True)
    with trio.fail_after(600):
        async with house([several], busy) as home:
            assert not home.system.launches
            assert not home.system.listeners
            last = home.state("web").last_exit
            assert last is not None
            assert (last.stage, last.message) == ("bind", "bind here: in use")
            home.system.listen_failures.clear()
            await trio.sleep(400)
            await home.rest()
            assert home.phase("web") is Phase.RUNNING
            await home.order("stop", "web")
            assert not home.system.listeners


async def test_a_server_that_was_renamed_gets_the_same_socket(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([WEB]) as home:
            fd = listening(home, PORT)
            await apply(home, replace(WEB, tag="new"))
            assert listening(home, PORT) == fd
            assert home.system.launches[-1].stdin == fd
            assert home.phase("new") is Phase.RUNNING


@pytest.mark.parametrize("first", [WEB, replace(ECHO, tag="web"), replace(TALK, tag="web")])
@pytest.mark.parametrize("then", [WEB, replace(ECHO, tag="web"), replace(TALK, tag="web")])
async def test_a_component_may_change_how_it_is_served(
    first: Component, then: Component, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.fail_after(60):
        async with house([first]) as home:
            await apply(home, then)
            assert home.phase("web") is (Phase.RUNNING if then is WEB else Phase.LISTENING)
            assert home.system.opened[listening(home, PORT)] == (4096, then.wait or then is WEB)


# --- sockets that stay open


async def test_an_address_that_is_given_up_is_free_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(30):
        async with house([ECHO]) as home:
            await apply(home, replace(ECHO, sockets=(OTHER,)))
            assert list(home.system.listeners.values()) == [OTHER]


async def test_a_new_mode_of_a_unix_socket_is_in_force_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    before, after = (UnixAddress(path="/s", mode=mode) for mode in (0o600, 0o660))
    with trio.fail_after(30):
        async with house([replace(ECHO, sockets=(before,))]) as home:
            await apply(home, replace(ECHO, sockets=(after,)))
            assert list(home.system.listeners.values()) == [after]


@pytest.mark.parametrize("tag", ["echo", "new"])
async def test_a_reload_keeps_the_socket_and_those_who_wait_at_it(
    tag: str, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.fail_after(30):
        async with house([replace(ECHO, sockets=(PORT, OTHER))]) as home:
            fd = listening(home, PORT)
            home.runner.listeners.pause("echo")
            home.system.connect(PORT)
            await apply(home, replace(ECHO, tag=tag))
            assert home.system.listeners == {fd: PORT}
            assert [launch.key for launch in home.system.launches] == [f"{tag}#1"]


async def test_a_socket_that_nobody_comes_for_is_closed_in_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    db = Component(tag="db", argv=("db",))
    with trio.fail_after(600):
        async with house([db, replace(ECHO, prerequisites=("db",))]) as home:
            home.system.scripts["db"] = home.system.default
            home.system.exit("db", 1)
            await home.rest()
            assert home.phase("echo") is Phase.LISTENING
            fd = listening(home, PORT)

            home.system.scripts["db"] = Script(fails=("exec", errno.ENOENT, "exec db: no"))
            home.system.exit("db", 1)
            await home.rest()
            assert home.system.listeners == {fd: PORT}
            await trio.sleep(sockets.KEPT + 1)
            assert not home.system.listeners


# --- clients


async def test_a_refused_client_is_told_why_and_waited_for_until_it_has_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one = replace(ECHO, max_instances=1, max_instances_message="too many\n")
    with trio.fail_after(60):
        async with house([one]) as home:
            home.system.connect(PORT)
            second, third = (home.system.connect(PORT, sends=b"hello") for _ in range(2))
            await home.rest()
            assert home.system.told == {second: b"too many\n", third: b"too many\n"}
            assert {second, third} <= home.system.descriptors
            home.system.leave(second)
            await home.rest()
            assert second not in home.system.descriptors
            assert third in home.system.descriptors
            await trio.sleep(farewells.PATIENCE + 0.1)
            assert third not in home.system.descriptors


async def test_only_so_many_refused_clients_are_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one = replace(ECHO, max_instances=0, max_instances_message="no")
    with trio.fail_after(60):
        async with house([one]) as home:
            before = len(home.system.descriptors)
            for _ in range(farewells.MOST + 20):
                home.system.connect(PORT)
            await home.rest()
            assert len(home.system.told) == farewells.MOST + 20
            assert len(home.system.descriptors) - before == farewells.MOST


async def test_over_the_rate_the_rest_waits_in_the_queue_of_the_system(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(3000):
        async with house([replace(ECHO, max_rate=2)]) as home:
            for _ in range(3 * AT_ONCE):
                home.system.connect(PORT)
            await home.rest()
            assert len(home.system.launches) == 2
            assert len(home.runner.engine.world.connections["echo"]) <= AT_ONCE
            await trio.sleep(61)
            await home.rest()
            assert len(home.system.launches) == 4
            await trio.sleep(60 * 3 * AT_ONCE / 2)
            await home.rest()
            assert len(home.system.launches) == 3 * AT_ONCE


async def test_without_a_descriptor_only_that_listener_pauses_and_stopping_it_is_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.fail_after(60):
        async with house([ECHO, replace(ECHO, tag="b", sockets=(OTHER,))]) as home:
            home.system.accept_failures.append(OSError(errno.ENFILE, os.strerror(errno.ENFILE)))
            home.system.connect(PORT)
            await home.rest()
            home.system.connect(OTHER)
            await home.rest()
            assert [launch.key for launch in home.system.launches] == ["b#1"]
            await home.order("stop", "echo")
            await home.order("start", "echo")
            home.system.connect(PORT)
            await home.rest()
            assert len(home.system.launches) == 2
            await trio.sleep(PAUSE * 2)


# --- who a client is


@pytest.mark.parametrize(
    "parts", [[HEADER + b"hello"], [HEADER[:3], HEADER[3:9], HEADER[9:], b"hello"]]
)
async def test_a_balancer_says_who_the_client_is(
    parts: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    proxied = replace(ECHO, proxy_protocol=("127.0.0.0/8",), sockenv=True)
    with trio.fail_after(60):
        async with house([proxied]) as home:
            fd = home.system.connect(PORT)
            for part in parts:
                await home.rest()
                home.system.say(fd, part)
            await home.rest()
            (launch,) = home.system.launches
            assert dict(launch.environ)["REMOTEIP"] == "192.0.2.1"
            assert dict(launch.environ)["REMOTEPORT"] == "999"
            assert bytes(home.system.sent.get(fd, b"")) == b"hello"
            link = home.runner.engine.world.links["echo#1"]
            assert "192.0.2.1:999" in str(link)


@pytest.mark.parametrize("sends", [b"GET / HTTP/1.0\r\n", b"", None])
async def test_who_should_send_a_header_and_does_not_is_not_served(
    sends: bytes | None, autojump_clock: trio.testing.MockClock
) -> None:
    proxied = replace(ECHO, proxy_protocol=("127.0.0.0/8",))
    with trio.fail_after(60):
        async with house([proxied]) as home:
            fd = home.system.connect(PORT, sends=sends or b"")
            if sends == b"":
                home.system.leave(fd)
            await home.rest()
            if sends is None:
                await trio.sleep(reception.PATIENCE + 0.1)
            assert not home.system.launches
            assert fd not in home.system.descriptors


async def test_who_is_no_balancer_is_not_asked_for_a_header(
    autojump_clock: trio.testing.MockClock,
) -> None:
    proxied = replace(ECHO, proxy_protocol=("10.0.0.0/8",))
    with trio.fail_after(60):
        async with house([proxied]) as home:
            home.system.connect(PORT)
            await home.rest()
            assert len(home.system.launches) == 1


async def test_the_acl_is_asked_about_the_client_and_not_about_its_balancer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    acl = Acl((Rule(allow=False, sources=("192.0.2.0/24",)),))
    proxied = replace(ECHO, proxy_protocol=("127.0.0.0/8",), acl=acl, access_denied_message="no")
    with trio.fail_after(60):
        async with house([proxied]) as home:
            fd = home.system.connect(PORT, sends=HEADER)
            await home.rest()
            assert not home.system.launches
            assert home.system.told[fd] == b"no"


async def test_only_so_many_balancers_are_waited_for_and_a_closed_listener_for_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    proxied = replace(ECHO, proxy_protocol=("127.0.0.0/8",))
    with trio.fail_after(60):
        async with house([proxied]) as home:
            before = len(home.system.descriptors)
            first, *_ = [home.system.connect(PORT) for _ in range(reception.MOST + 10)]
            await home.rest()
            assert len(home.system.descriptors) - before == reception.MOST
            await home.order("stop", "echo")
            home.system.say(first, HEADER)
            await home.rest()
            assert first not in home.system.descriptors
            await trio.sleep(reception.PATIENCE + 0.1)
            assert not home.system.launches


async def test_who_says_nothing_takes_no_place_from_a_balancer_that_talks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    proxied = replace(ECHO, proxy_protocol=("127.0.0.0/8",))
    with trio.fail_after(60):
        async with house([proxied]) as home:
            first, second, *_ = [home.system.connect(PORT) for _ in range(reception.MOST)]
            await home.rest()
            talks = home.system.connect(PORT)
            await home.rest()
            home.system.say(talks, HEADER)
            await home.rest()
            assert [launch.key for launch in home.system.launches] == ["echo#1"]
            assert {first, second} & home.system.descriptors == {second}


@pytest.mark.parametrize("tag", ["echo", "new"])
async def test_who_is_being_asked_while_the_listener_changes_is_served(
    tag: str, autojump_clock: trio.testing.MockClock
) -> None:
    proxied = replace(ECHO, proxy_protocol=("127.0.0.0/8",))
    with trio.fail_after(60):
        async with house([proxied]) as home:
            fd = home.system.connect(PORT)
            await home.rest()
            await apply(home, replace(proxied, tag=tag, backlog=5))
            home.system.say(fd, HEADER)
            await home.rest()
            assert [launch.key for launch in home.system.launches] == [f"{tag}#1"]

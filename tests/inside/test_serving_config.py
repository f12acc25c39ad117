"""What the keys about sockets mean together."""

from __future__ import annotations

import pytest

from config_text import plan_of, problems_of
from supervisor.config.serving import MOST_PASSED, WAIT_RATE
from supervisor.model.component import Component

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

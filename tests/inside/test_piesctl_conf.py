"""The text of piesctl.conf: whatever it is, it is understood or refused with places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.piesctl import Contact, Contacts, contacts_of
from supervisor.model.errors import ConfigRejected

WORDS = 'socket source instance web { } ; ( ) , "unix:///x" 127.0.0.1 /* */ # // " \\ <<EOT EOT é'
PIECES = st.sampled_from(["\n", " ", "\x00", *WORDS.split()])


def test_a_block_of_an_instance_says_only_what_differs() -> None:
    text = "socket a; source b; instance web { source c; } instance db { }"
    contacts = contacts_of(text, "x", None)
    assert contacts.of("web") == Contact("a", "c")
    assert contacts.of("db") == contacts.of("other") == Contact("a", "b")
    assert contacts_of("", "x", None) == Contacts()


@given(st.lists(PIECES, max_size=30).map("".join) | st.lists(PIECES, max_size=30).map(" ".join))
def test_any_text_is_understood_or_refused_with_a_place(text: str) -> None:
    try:
        contacts_of(text, "/nonexistent/piesctl.conf", None)
    except ConfigRejected as rejected:
        for problem in rejected.problems:
            assert problem.file == "/nonexistent/piesctl.conf"
            assert 1 <= problem.line <= text.count("\n") + 1


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ConfigRejected) as rejected:
        contacts_of("a 1;\nb 2;\nsocket {\n}\n", "x", None)
    assert [problem.line for problem in rejected.value.problems] == [1, 2, 3]

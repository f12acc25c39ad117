"""The file of names, hashes and groups that `piesctl passwd` writes and piesd reads."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded import CHEAP, line, token_line
from supervisor.config import passwords
from supervisor.config.passwords import Entry, PasswordFileError

names = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), min_size=1).filter(
    passwords.is_name
)
hashes = st.sampled_from(
    ["$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", passwords.hash_token("x")]
)
entries = st.lists(
    st.builds(Entry, names, hashes, st.lists(names, max_size=3, unique=True).map(tuple))
)


@given(entries)
def test_what_is_written_is_read(written: list[Entry]) -> None:
    assert passwords.parse(passwords.render(written)) == tuple(written)


@given(st.text())
def test_any_other_text_is_refused_with_the_number_of_a_line(text: str) -> None:
    with suppress(PasswordFileError):
        passwords.parse(text)
    with pytest.raises(PasswordFileError, match=r"^line \d+: "):
        passwords.parse(f"{text}\nann:plain")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("ann", 1),
        ("# a comment\n\nann:plain:", 3),
        (":$argon2id$x:", 1),
        ("a b:$argon2id$x:", 1),
        ("ann:$argon2id$x:a b", 1),
        ("ann:sha256=xyz:", 1),
        ("ann:sha256=:", 1),
    ],
)
def test_a_line_that_means_nothing_is_named(text: str, number: int) -> None:
    with pytest.raises(PasswordFileError, match=f"line {number}: "):
        passwords.parse(text)


def test_a_hash_fits_its_own_password_alone_and_no_two_are_alike() -> None:
    one, other = passwords.hash_password("é", CHEAP), passwords.hash_password("é", CHEAP)
    assert one != other
    assert passwords.is_password(one, "é")
    assert not passwords.is_password(one, "e")
    assert not passwords.is_password("$argon2id$broken", "é")


@pytest.mark.slow
def test_the_cost_is_that_of_the_recommendation_unless_it_is_given() -> None:
    """Source: RFC 9106 section 4, the second recommended option, less its lanes."""
    assert "m=65536,t=3" in passwords.hash_password("x")


def test_a_token_is_found_among_passwords() -> None:
    listed = [line("ann", "t"), token_line("a", "one"), token_line("b", "two", "g")]
    assert passwords.find_token(listed, "two") == listed[2]
    assert passwords.find_token(listed, "t") is None
    assert passwords.find_token([], "t") is None
    assert len({passwords.make_token() for _ in range(10)}) == 10


def test_the_file_is_for_its_owner_alone_and_replaced_at_one_blow(tmp_path: Path) -> None:
    path, link = tmp_path / "users", tmp_path / "link"
    link.symlink_to(path)
    old = os.umask(0)
    try:
        passwords.write(str(link), [token_line("a", "one")])
    finally:
        os.umask(old)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.stat().st_ino
    passwords.write(str(path), [token_line("b", "two")])
    assert path.stat().st_ino != before
    assert [entry.user for entry in passwords.read(str(path))] == ["b"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "users"]


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """To open a FIFO would keep a thread for ever."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(PasswordFileError, match="it is not a regular file"):
        passwords.read(str(tmp_path / "fifo"))
    with pytest.raises(PasswordFileError, match="Is a directory"):
        passwords.read(str(tmp_path))


def test_a_file_that_cannot_be_trusted_or_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with pytest.raises(PasswordFileError, match="No such file"):
        passwords.read(str(path))
    path.write_bytes(b"\xff")
    path.chmod(0o600)
    with pytest.raises(PasswordFileError, match="not UTF-8"):
        passwords.read(str(path))
    path.write_text("")
    path.chmod(0o660)
    with pytest.raises(PasswordFileError, match="others may write it: chmod 600"):
        passwords.read(str(path))
    if os.geteuid() == 0:
        path.chmod(0o600)
        os.chown(path, 65534, 65534)
        with pytest.raises(PasswordFileError, match="belongs to uid 65534"):
            passwords.read(str(path))

"""The ring: the last lines of a stream, whatever the blocks were that brought them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.runtime.ring import KEPT_BYTES, KEPT_LINES, Ring


def feed(ring: Ring, block: bytes, stamp: int = 0) -> None:
    ring.feed(block, block.count(b"\n"), stamp)


def test_lines_are_numbered_from_one_and_come_oldest_first() -> None:
    ring = Ring()
    feed(ring, b"a\nb\n")
    feed(ring, b"c\n")
    assert [(row.number, row.text) for row in ring.tail(9)] == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert [(row.number, row.text) for row in ring.tail(2)] == [(2, b"b"), (3, b"c")]
    assert ring.tail(0) == []


def test_an_empty_ring_has_no_tail() -> None:
    assert Ring().tail(10) == []


@pytest.mark.slow
def test_the_last_thousand_lines_are_kept_of_a_million() -> None:
    ring = Ring()
    for number in range(0, 1_000_000, 500):
        feed(ring, b"".join(b"%d\n" % line for line in range(number + 1, number + 501)))
    rows = ring.tail(5000)
    assert len(rows) == KEPT_LINES
    assert all(row.text == b"%d" % row.number for row in rows)
    assert rows[-1].number == 1_000_000


def test_long_lines_are_bounded_by_their_size() -> None:
    ring = Ring()
    for _ in range(100):
        feed(ring, b"x" * 65536 + b"\n")
    assert 1 <= len(ring.tail(1000)) <= KEPT_BYTES // 65536
    assert ring.tail(1)[0].number == 100


def test_a_single_line_that_is_too_long_is_kept_all_the_same() -> None:
    ring = Ring()
    feed(ring, b"x" * (KEPT_BYTES + 1) + b"\n")
    assert len(ring.tail(1)) == 1


@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=400), max_size=30))
def test_any_blocks_give_the_same_tail_as_a_plain_list(blocks: list[list[bytes]]) -> None:
    ring = Ring()
    plain: list[tuple[int, bytes]] = []
    for stamp, texts in enumerate(blocks):
        lines = [text.replace(b"\n", b"") for text in texts]
        feed(ring, b"".join(line + b"\n" for line in lines), stamp)
        plain += [(len(plain) + index, line) for index, line in enumerate(lines, 1)]
    for most in (1, 7, KEPT_LINES):
        assert [(row.number, row.text) for row in ring.tail(most)] == plain[-most:]
    stamps = [row.stamp for row in ring.tail(KEPT_LINES)]
    assert stamps == sorted(stamps)

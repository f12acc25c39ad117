"""Words are what shlex makes of a text, but soon."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import no_hang
from supervisor.config.splitting import split_words, written_words

TEXTS = st.one_of(
    st.text(st.sampled_from("ab'\"\\ \n\t\r\v#|é\0")), st.text(st.sampled_from("a'\" ")), st.text()
)


@given(TEXTS)
def test_the_words_are_those_of_shlex(text: str) -> None:
    try:
        expected = shlex.split(text)
    except ValueError:
        with pytest.raises(ValueError, match="No "):
            split_words(text)
        return
    assert split_words(text) == expected


@given(TEXTS)
def test_a_word_as_it_is_written_means_that_word(text: str) -> None:
    try:
        written = written_words(text)
    except ValueError:
        return
    assert [shlex.split(word) for word in written] == [[word] for word in split_words(text)]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["x", "'", '"', "\\", "a'b'", '""', 'a"\\', "x "], ids=repr)
def test_a_text_of_two_million_characters_is_split_soon(text: str) -> None:
    long = text * (2_000_000 // len(text))
    with no_hang():
        try:
            split_words(f"'{long[:2]}' {long}")
        except ValueError:
            split_words(long.replace("\\", "").replace("'", "").replace('"', "") + "x")

"""docs/sockets.md is right: its samples are read without a problem, and its keys are there."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

from config_text import plan_of
from supervisor.config import keys

PAGE = (Path(__file__).parents[2] / "docs" / "sockets.md").read_text()


def samples() -> list[str]:
    blocks = re.findall(r"(?:^(?:    .*)?\n)+", PAGE, re.MULTILINE)
    return [dedent(block) for block in blocks if "[component." in block]


def test_the_samples_are_read() -> None:
    texts = [text.replace("nobody", "me") for text in samples()]
    found = [component.tag for text in texts for component in plan_of(text).components]
    assert found == ["git", "tftp", "uuidd", "who"]


def test_every_key_about_sockets_is_on_the_page_or_on_that_of_the_built_in_services() -> None:
    built_in = {"service", "internal", "tcpmux", "tcpmuxplus", "tcpmux-master"}
    missing = {key.name for key in keys.SOCKET_KEYS if f"`{key.name}" not in PAGE}
    assert missing <= built_in

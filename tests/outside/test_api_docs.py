"""The page about the control API names every endpoint, every error and every parameter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from msgspec.structs import fields

from supervisor.api.app import create_app
from supervisor.api.asking import ORDER_PARAMETERS
from supervisor.api.errors import STATUS
from supervisor.api.listing import PARAMETERS
from supervisor.model.description import Description

PAGE = (Path(__file__).parents[2] / "docs" / "control-api.md").read_text()


def test_every_endpoint_is_on_the_page() -> None:
    app = create_app(cast("Any", None))
    for rule in app.url_map.iter_rules():
        fixed = str(rule).partition("<")[0].rstrip("/")
        assert fixed in PAGE, rule


def test_every_error_is_on_the_page_beside_its_status() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    for code, status in STATUS.items():
        assert any(f"`{code}`" in row and str(status) in row for row in rows), code


def test_every_parameter_is_on_the_page() -> None:
    for name in (*PARAMETERS, *ORDER_PARAMETERS, "usage", "selector", "since", "tail", "stream"):
        assert name in PAGE, name


def test_every_attribute_of_a_row_is_on_the_page() -> None:
    later = {"service", "master"}  # of modes that do not exist yet
    words = set(re.findall(r"[A-Za-z-]+", PAGE))
    for field in fields(Description):
        assert field.encode_name in words | later

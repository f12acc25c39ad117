"""What the configuration asks of the real machine."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from supervisor.config.host import Host


def test_the_addresses_of_a_host_are_looked_up() -> None:
    assert set(Host().addresses("localhost")) & {"127.0.0.1", "::1"}
    assert Host().addresses("127.0.0.1") == ("127.0.0.1",)


@pytest.mark.parametrize("name", ["a" * 300, "-", "\udcff"])
def test_what_is_no_host_has_no_address(name: str) -> None:
    assert Host().addresses(name) == ()


def test_the_hard_limit_is_that_of_this_process() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert Host().hard_limit("nofile") == (None if hard == resource.RLIM_INFINITY else hard)
    assert Host().hard_limit("locks") is None


def test_the_right_to_exceed_limits_is_that_of_this_process() -> None:
    hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("there is nothing to exceed")
    try:
        resource.prlimit(0, resource.RLIMIT_MSGQUEUE, (hard, hard + 1))
        may = True
        resource.prlimit(0, resource.RLIMIT_MSGQUEUE, (hard, hard))
    except (PermissionError, ValueError):
        may = False
    assert Host().may_exceed() == may


def test_there_is_a_last_processor() -> None:
    assert Host().last_cpu() == (os.cpu_count() or 1) - 1


def test_a_secret_is_kept_from_others_or_not(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert Host().secret(str(file)) == "missing"
    file.touch()
    file.chmod(0o640)
    assert Host().secret(str(file)) == "fine"
    file.chmod(0o644)
    assert Host().secret(str(file)) == "readable by everybody"
    assert Host().secret(str(tmp_path)) == "missing"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_what_cannot_be_looked_at_is_unknown(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "secret").touch()
    closed.chmod(0)
    try:
        assert Host().secret(str(closed / "secret")) == "unknown"
    finally:
        closed.chmod(0o700)

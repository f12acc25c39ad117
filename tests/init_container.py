"""What a container has whose PID 1 is piesd with a configuration, and how it is asked."""

from __future__ import annotations

import http.client
from pathlib import Path

from namespaces import PIESD, Inmate
from piesd_process import UnixConnection


def container(tmp_path: Path, config: str) -> list[str]:
    """Return the words that run piesd with *config*; its directories are those of *tmp_path*."""
    directories = "".join(
        f'{name}-directory = "{tmp_path / name}"\n' for name in ("runtime", "state", "log")
    )
    head, mark, rest = config.partition("[daemon]\n")
    config = f"{head}[daemon]\n{directories}{rest if mark else ''}" + ("" if mark else config)
    if not mark:
        config = f"[daemon]\n{directories}{head}"
    (tmp_path / "piesd.toml").write_text(config)
    return [*PIESD, "-c", str(tmp_path / "piesd.toml")]


def ask(tmp_path: Path, path: str) -> bytes:
    connection = UnixConnection(str(tmp_path / "runtime" / "piesd.ctl"))
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def answers(one: Inmate, tmp_path: Path) -> None:
    """Wait until there is control."""

    def asked() -> bool:
        try:
            return bool(ask(tmp_path, "/instance"))
        except (OSError, http.client.HTTPException):
            return False

    one.until(asked, "control")

"""nginx, redis and PostgreSQL as components: their files, their configuration, a real question.

Each lives in a directory of its own and listens on a port of the loopback interface that nobody
else is given. As root, PostgreSQL runs as another user, because it refuses to be root.
"""

from __future__ import annotations

import http.client
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from places import free_port

_SECONDS = 20.0
"""How long one question may take; they are asked again until there is an answer."""


class Program(NamedTuple):
    """One real program: how it is configured, and how to see that it serves.

    `lasts` says that what was written is still there after a kill. `ask` returns its answer, or
    None where there is none yet. `changed` is what to replace in `table` for a new child.
    """

    tag: str
    table: str
    changed: tuple[str, str]
    ask: Callable[[], str | None]
    write: Callable[[], str | None]
    clean: str
    """What its log says of a clean shutdown."""
    log: Path


def missing(name: str) -> str:
    """Return why *name* cannot be run here, or nothing."""
    try:
        executable(name)
    except FileNotFoundError as error:
        return str(error)
    if name == "postgres" and os.geteuid() == 0 and _other_user() is None:
        return "postgres refuses to be root, and there is no other user to be"
    return ""


def executable(name: str) -> str:
    """Return the full path of a program; Debian keeps those of PostgreSQL out of PATH."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", *map(str, homes)])
    found = shutil.which(name, path=path)
    if found is None:
        raise FileNotFoundError(f"there is no {name} on this machine (tests/real-programs.sh)")
    return found


def _other_user() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


# --- nginx


def nginx(home: Path) -> Program:
    """A web server with one page. SIGQUIT lets requests under way be finished."""
    port = free_port()
    (home / "page").mkdir()
    (home / "page" / "index.html").write_text("hello from nginx\n")
    places = "".join(
        f"  {name}_temp_path {home}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (home / "nginx.conf").write_text(
        f"daemon off;\n{user}worker_processes 2;\npid {home}/nginx.pid;\n"
        f"error_log {home}/nginx.log notice;\nevents {{}}\nhttp {{\n{places}"
        f"  access_log off;\n"
        f"  server {{ listen 127.0.0.1:{port}; root {home}/page; }}\n}}\n"
    )
    table = f"""
[component.nginx]
command = ["{executable("nginx")}", "-p", "{home}", "-e", "{home}/nginx.log", "-c", "nginx.conf"]
stop-signal = "SIGQUIT"
chdir = "/"
"""

    def ask() -> str | None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    changed = ('chdir = "/"', 'chdir = "/tmp"')
    return Program("nginx", table, changed, ask, ask, "exit", home / "nginx.log")


# --- redis


def redis(home: Path) -> Program:
    """A store that writes each command to its disk before it answers."""
    port = free_port()
    table = f"""
[component.redis-server]
command = ["{executable("redis-server")}", "--port", "{port}", "--bind", "127.0.0.1", \
"--dir", "{home}", "--daemonize", "no", "--appendonly", "yes", "--appendfsync", "always", \
"--save", "", "--databases", "4"]
stdout = "{home}/redis.log"
stderr = "stdout"
"""

    def say(line: str) -> str | None:
        try:
            with socket.create_connection(("127.0.0.1", port), _SECONDS) as wire:
                wire.sendall(f"{line}\r\n".encode())
                reply = wire.makefile("rb")
                head = reply.readline().decode().strip()
                # While it reads its disk it answers with an error (LOADING).
                return reply.readline().decode().strip() if head.startswith("$") else head or None
        except OSError:
            return None

    def ask() -> str | None:
        answer = say("GET key")
        return None if answer is None or answer.startswith("-") else answer

    def write() -> str | None:
        return "kept" if say("SET key kept") == "+OK" else None

    return Program(
        "redis-server",
        table,
        ('"--databases", "4"', '"--databases", "8"'),
        ask,
        write,
        "Redis is now ready to exit, bye bye",
        home / "redis.log",
    )


# --- PostgreSQL

_INITDB = ("-U", "tester", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8")
_PSQL = ("-XAqt", "-h", "127.0.0.1", "-U", "tester", "-d", "postgres", "-v", "ON_ERROR_STOP=1")


def postgres(home: Path) -> Program:
    """A database. SIGINT ends it without waiting for its clients."""
    port = free_port()
    data = home / "data"
    who: dict[str, int | str | list[int]] = {}
    user = _other_user() if os.geteuid() == 0 else None
    if user is not None:
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(home, user.pw_uid, user.pw_gid)
    subprocess.run(
        [executable("initdb"), "-D", data, *_INITDB],
        check=True,
        capture_output=True,
        timeout=120,
        cwd=home,
        **who,  # type: ignore[call-overload]  # who it is to be
    )
    table = f"""
[component.postgres]
command = ["{executable("postgres")}", "-D", "{data}", "-p", "{port}", "-h", "127.0.0.1", \
"-c", "unix_socket_directories=", "-c", "shared_buffers=8MB"]
stop-signal = "SIGINT"
stop-timeout = 30
chdir = "{home}"
stdout = "{home}/postgres.log"
stderr = "stdout"
{f'user = "{user.pw_name}"' if user else ""}
"""

    def say(statement: str) -> str | None:
        try:
            done = subprocess.run(
                [executable("psql"), "-p", str(port), *_PSQL, "-c", statement],
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    def ask() -> str | None:
        return say("select word from words") or None

    def write() -> str | None:
        return say(
            "begin; drop table if exists words; create table words as select 'kept' as word; "
            "commit; select word from words"
        )

    return Program(
        "postgres",
        table,
        ("shared_buffers=8MB", "shared_buffers=9MB"),
        ask,
        write,
        "database system is shut down",
        home / "postgres.log",
    )


MAKE: dict[str, Callable[[Path], Program]] = {
    "nginx": nginx,
    "redis-server": redis,
    "postgres": postgres,
}

"""What a child really gets, and what is said when there can be none."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import select
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from real_children import RealChildren, status_of, subreaping
from supervisor.model.component import Component, Environment
from supervisor.system import launcher, spawn
from supervisor.system.port import Launch, Launched, LaunchFailed
from supervisor.system.process_setup import ProcessSetup

pytestmark = pytest.mark.real

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


@pytest.fixture(autouse=True, scope="module")
def orphans_become_ours() -> Iterator[None]:
    with subreaping():
        yield


@pytest.fixture
async def children() -> AsyncIterator[RealChildren]:
    with trio.fail_after(30):
        async with RealChildren() as made:
            yield made


@pytest.fixture(params=["vfork", "fork"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[RealChildren]:
    """Both ways to start: everything local, and nothing known to be."""
    with trio.fail_after(30):
        async with RealChildren() as made:
            if request.param == "fork":
                nothing_is_local(made)
            yield made


def nothing_is_local(children: RealChildren) -> None:
    children.system._launcher._mounts.local = lambda *paths: not any(paths)  # type: ignore[method-assign]


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


NOFILE = {"nofile": 64}


# --- what a child gets


async def test_a_child_has_a_session_of_its_own_and_nothing_but_0_1_2(both: RealChildren) -> None:
    extra = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(extra, True)  # As a careless library would leave it.
    try:
        started = both.shell("echo ready; while :; do kill -STOP $$; done")
    finally:
        os.close(extra)
    pid = await started.pid()
    await started.line()  # Until then the dynamic linker may have a library open.
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert os.getsid(pid) == os.getpgid(pid) == pid


async def test_a_child_finds_its_number_under_all_names_that_it_is_told_it_by(
    both: RealChildren,
) -> None:
    command = ("/bin/sh", "-c", "echo $LISTEN_PID $A_LONGER_NAME $X $Y")
    names = ("LISTEN_PID", "A_LONGER_NAME", "X")
    environ = (("X", "old"), ("Y", "kept"))
    started = both.start(argv=command, own_pid=names, environ=environ)
    assert await started.line() == f"{await started.pid()} " * 3 + "kept"


async def test_a_child_blocks_nothing_and_ignores_nothing_of_what_python_ignores(
    both: RealChildren,
) -> None:
    pid = await both.start(argv=("/bin/sleep", "1000")).pid()
    ours, child = status_of(), status_of(pid)
    ignored = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert int(ours["SigIgn"], 16) & ignored == ignored
    assert int(child["SigIgn"], 16) & ignored == 0
    assert int(child["SigBlk"], 16) == 0


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ((), True),
        ((b"OSError:", b"2", b":", b""), spawn.Failure(executing=True, number=2)),
        ((b"OSError:", b"1c", b":", b"noexec"), spawn.Failure(executing=False, number=28)),
        ((b"OSError:", b"d", b":", b"noexec:chdir"), spawn.Failure(executing=False, number=13)),
        ((b"OSError:", b"1"), True),  # Killed while it was speaking: its end tells.
        ((b"SubprocessError:0:", b"Exception"), spawn.Failure(executing=False, number=22)),
    ],
)
def test_a_child_is_heard_to_its_end(said: tuple[bytes, ...], heard: spawn.Failure | bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    verdict = spawn.Verdict(reader, vfork=False)
    for part in said:
        os.write(writer, part)
        assert verdict.hear() is False
    os.close(writer)
    assert verdict.hear() == heard
    os.close(reader)


async def test_a_child_gets_the_limit_of_open_files_that_we_were_given() -> None:
    ours = resource.getrlimit(resource.RLIMIT_NOFILE)
    setup = ProcessSetup(environ={"PATH": os.environ["PATH"]}, nofile=(321, ours[1]))
    with trio.fail_after(30):
        async with RealChildren(setup=setup) as children:
            pid = await children.start(argv=("/bin/sleep", "1000")).pid()
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (321, ours[1])
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == ours


@pytest.mark.parametrize("more", [1, -1])
async def test_a_hard_limit_that_has_changed_since_we_came_is_no_obstacle(more: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    environ = {"PATH": os.environ["PATH"]}
    ours = ProcessSetup(environ=environ, nofile=(hard + 2, hard + more))
    with trio.fail_after(30):
        async with RealChildren(setup=ours) as children:
            command = "ulimit -Sn; ulimit -Hn"
            assert (await children.shell(command).output()).split() == [str(hard), str(hard)]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard


async def test_a_child_gets_its_umask_and_directory(both: RealChildren, tmp_path: Path) -> None:
    pid = await both.start(argv=("/bin/sleep", "1000"), umask=0o027, chdir=str(tmp_path)).pid()
    assert int(status_of(pid)["Umask"], 8) == 0o027
    assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)


async def test_without_a_umask_the_child_has_ours(both: RealChildren) -> None:
    pid = await both.start(argv=("/bin/sleep", "1000")).pid()
    assert status_of(pid)["Umask"] == status_of()["Umask"]


async def test_arguments_arrive_as_they_are(both: RealChildren) -> None:
    words = ("%", "%%s", "a b", "'\"", "two\nlines", "", "$HOME", "ä€\udcff")
    script = 'for word; do printf "%s|" "$word"; done'
    printed = both.start("d", argv=("/bin/sh", "-c", script, "sh", *words))
    data = b""
    while (more := await printed._more()) != b"":
        data += more
    assert data == "|".join((*words, "")).encode("utf-8", "surrogateescape")


async def test_program_is_the_file_and_argv_only_the_words(both: RealChildren) -> None:
    started = both.start(argv=("renamed", "-c", "echo $0"), program="/bin/sh")
    assert await started.line() == "renamed"


async def test_a_name_is_looked_for_in_the_path_of_the_child(
    both: RealChildren, tmp_path: Path
) -> None:
    executable(tmp_path / "mine", "#!/bin/sh\necho here\n")
    env = Environment(set={"PATH": f"/no/such:{tmp_path}"})
    assert await both.start(argv=("mine",), env=env).line() == "here"


async def test_a_relative_program_is_relative_to_the_childs_directory(
    both: RealChildren, tmp_path: Path
) -> None:
    executable(tmp_path / "mine", "#!/bin/sh\necho here\n")
    assert await both.start(argv=("./mine",), chdir=str(tmp_path)).line() == "here"


async def test_nullinput_is_dev_null(both: RealChildren) -> None:
    pid = await both.start(argv=("/bin/sleep", "1000"), nullinput=True).pid()
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


async def test_a_connection_is_input_and_output(both: RealChildren) -> None:
    ours, theirs = socket.socketpair()
    launch = Launch(
        key="cat",
        generation=1,
        spec=Component(tag="cat", argv=("cat",)),
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        stderr=2,
    )
    both.system.launch(launch, lambda _report: None)
    theirs.close()
    ours.sendall(b"hello")
    ours.shutdown(socket.SHUT_WR)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    assert await stream.receive_some() == b"hello"
    assert await stream.receive_some() == b""
    await stream.aclose()


async def test_a_local_failure_is_reported_before_launch_returns(children: RealChildren) -> None:
    assert len(children.start(argv=("/no/such",)).reports) == 1


@pytest.fixture
def dead_file_server(tmp_path: Path) -> Iterator[Path]:
    """A file system that answers nothing: FUSE, and nobody behind it."""
    place = tmp_path / "dead"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"dead", bytes(place), b"fuse", 0, options) != 0:
        os.close(fuse)
        pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    yield place
    os.close(fuse)  # Whoever waits for an answer gets an error now.
    libc.umount2(bytes(place), 2)


@pytest.mark.root
@pytest.mark.parametrize("where", ["program", "directory", "path"])
async def test_a_file_server_that_does_not_answer_holds_up_its_own_child_alone(
    children: RealChildren, dead_file_server: Path, where: str
) -> None:
    dead = str(dead_file_server)
    stuck: Any = {
        "program": {"argv": (f"{dead}/bin/x",)},
        "directory": {"argv": ("/bin/true",), "chdir": dead},
        "path": {"argv": ("x",), "env": Environment(set={"PATH": f"{dead}:/bin"})},
    }[where]
    waiting = children.start("stuck", **stuck)
    await children.start("other", argv=("/bin/sleep", "1000")).pid()
    assert waiting.reports == []
    assert len(children.system.processes("stuck", 1)) == 1
    # It can be killed while it hangs, and then both facts come in their order.
    children.system.signal("stuck", 1, signal.SIGKILL, "tree")
    ended = await children.reaped()
    assert (ended.key, ended.exit.signal) == ("stuck", signal.SIGKILL)
    assert [type(report) for report in waiting.reports] == [Launched]


async def test_an_end_is_never_told_before_the_launch(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_is_local(children)
    monkeypatch.setattr(children.system._readiness, "watch", lambda _fd, _ready: None)
    started = children.start(argv=("/bin/true",))
    ended = await children.reaped()
    assert ended.exit.code == 0
    assert [type(report) for report in started.reports] == [Launched]


class ShortOfMemory:
    """An epoll that cannot watch anything more, for so many times."""

    def __init__(self, real: select.epoll, times: int) -> None:
        self._real, self._left = real, times

    def register(self, fd: int, mask: int) -> None:
        if self._left:
            self._left -= 1
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self._real.register(fd, mask)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


async def test_a_start_that_cannot_be_watched_is_told_all_the_same(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nothing_is_local(children)

    readiness = children.system._readiness
    monkeypatch.setattr(readiness, "_epoll", ShortOfMemory(readiness._epoll, 3))
    await children.start("long", argv=("/bin/sleep", "1000")).pid()
    failure = await children.start("none", argv=("/no/such/program",)).failure()
    assert failure.exit.errno == errno.ENOENT
    assert "cannot watch what happens, trying again: Cannot allocate memory" in caplog.text
    assert not children.system._launcher._pending


# --- the environment


async def environment_of(children: RealChildren, key: str, **spec: Any) -> dict[str, str]:
    started = children.start(key, argv=("/usr/bin/env", "-0"), **spec)
    entries = (await started.output()).split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


async def test_the_environment_is_ours_by_the_rules_and_with_the_marker() -> None:
    base = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LC_TIME": "C", "A": "1", "B": "2", "T": "x"}
    setup = ProcessSetup(environ=base, nofile=resource.getrlimit(resource.RLIMIT_NOFILE))
    with trio.fail_after(30):
        async with RealChildren(setup=setup) as children:

            async def seen(key: str, **rules: Any) -> dict[str, str]:
                env = await environment_of(children, key, env=Environment(**rules))
                assert env.pop("PIESD_MARKER").split("/")[2:] == [key, "1"]
                return env

            assert await seen("plain") == base
            assert await seen("clear", clear=True, set={"X": "é"}) == {"X": "é"}
            assert await seen("keep", keep=("LC_*", "A=1", "B=1")) == {
                "LC_ALL": "C",
                "LC_TIME": "C",
                "A": "1",
            }
            without = await seen("unset", unset=("LC_*", "A=2", "B"), set={"T": "y"})
            assert without == {"PATH": base["PATH"], "A": "1", "T": "y"}


async def test_a_nested_piesd_adds_its_token_to_the_marker_it_inherited() -> None:
    setup = ProcessSetup(
        environ={"PIESD_MARKER": "outer/1/web/3"},
        nofile=resource.getrlimit(resource.RLIMIT_NOFILE),
    )
    with trio.fail_after(30):
        async with RealChildren(setup=setup) as children:
            env = await environment_of(children, "my web/1")
            outer, inner = env["PIESD_MARKER"].split(" ")
            assert outer == "outer/1/web/3"
            assert inner.endswith("/my%20web%2F1/1")


async def test_what_systemd_means_for_piesd_does_not_reach_a_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.setenv(name, "1")
    with trio.fail_after(30):
        async with RealChildren() as children:
            env = await environment_of(children, "x")
    assert not {n for n in env if n.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))}


# --- who


@needs_root
async def test_nobody_with_two_extra_groups(children: RealChildren) -> None:
    spec: Any = {"user": "nobody", "group": ("adm", "games")}
    started = children.start("id", argv=("/usr/bin/id", "-G", "-n"), **spec)
    assert (await started.line()).split() == ["nogroup", "adm", "games"]
    pid = await children.start("sleep", argv=("/bin/sleep", "1000"), **spec).pid()
    status = status_of(pid)
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    env = await environment_of(children, "env", env=Environment(set={"SHELL": "/mine"}), **spec)
    assert (env["USER"], env["LOGNAME"], env["HOME"]) == ("nobody", "nobody", "/nonexistent")
    assert env["SHELL"] == "/mine"  # The component has the last word.


@needs_root
async def test_without_groups_a_user_has_its_primary_group_only(children: RealChildren) -> None:
    started = children.start(argv=("/usr/bin/id", "-G"), user="nobody")
    assert await started.line() == "65534"


@needs_root
async def test_allgroups_are_all_that_the_user_is_in(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid, 4, 60])
    started = children.start(argv=("/usr/bin/id", "-G"), user="nobody", allgroups=True)
    assert await started.line() == "65534 4 60"


@needs_root
async def test_a_second_start_as_the_same_user_needs_no_look_up(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    await children.start("a", argv=("/bin/sleep", "1000"), user="nobody").pid()
    monkeypatch.delattr(launcher, "resolve")
    pid = await children.start("b", argv=("/bin/sleep", "1000"), user="nobody").pid()
    assert status_of(pid)["Uid"].split()[0] == "65534"


@needs_root
async def test_descriptors_may_be_closed_as_soon_as_launch_returns(children: RealChildren) -> None:
    # The look-up of the user is still to come when `start` closes the write end.
    started = children.start(argv=("/bin/echo", "hello"), user="nobody")
    assert await started.output() == "hello\n"


async def test_the_user_we_are_is_no_change(children: RealChildren) -> None:
    started = children.start(argv=("/usr/bin/id", "-u"), user=str(os.getuid()))
    assert await started.line() == str(os.getuid())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
async def test_an_ordinary_user_is_told_that_it_cannot_become_another(
    children: RealChildren,
) -> None:
    failed = (await children.start(argv=("/bin/true",), user="root").failure()).exit
    assert (failed.stage, failed.errno) == ("user", errno.EPERM)
    assert failed.message == "user 'root': Operation not permitted (piesd is not root)"
    failed = (await children.start(argv=("/bin/true",), group=("disk",)).failure()).exit
    assert (failed.stage, failed.errno) == ("groups", errno.EPERM)


# --- what is said when it fails


async def failure(children: RealChildren, **spec: Any) -> tuple[str | None, int | None, str]:
    report = await children.start(**spec).failure()
    assert isinstance(report, LaunchFailed)
    assert report.exit.at > 1e9
    return report.exit.stage, report.exit.errno, report.exit.message


async def test_each_cause_of_a_failed_start_can_be_told_from_the_others(
    both: RealChildren, tmp_path: Path
) -> None:
    script = executable(tmp_path / "x.py", "#!/usr/bin/pyton -u\n")
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    causes = {
        "program": await failure(both, argv=("/usr/bin/foo",)),
        "directory": await failure(both, argv=("/bin/true",), chdir="/srv/no/such"),
        "user": await failure(both, argv=("/bin/true",), user="nobodyy"),
        "group": await failure(both, argv=("/bin/true",), group=("admm",)),
        "interpreter": await failure(both, argv=(str(script),)),
        "bit": await failure(both, argv=(str(plain),)),
    }
    assert causes == {
        "program": ("exec", errno.ENOENT, "exec /usr/bin/foo: No such file or directory"),
        "directory": ("chdir", errno.ENOENT, "chdir to /srv/no/such: No such file or directory"),
        "user": ("user", errno.ENOENT, "user 'nobodyy': no such user"),
        "group": ("groups", errno.ENOENT, "group 'admm': no such group"),
        "interpreter": (
            "interpreter",
            errno.ENOENT,
            f"interpreter /usr/bin/pyton of {script}: No such file or directory",
        ),
        "bit": (
            "exec",
            errno.EACCES,
            f"exec {plain}: Permission denied (it is not executable: no x bit)",
        ),
    }
    assert len({cause[:2] for cause in causes.values()}) == len(causes)


async def test_a_name_that_is_in_no_directory_of_the_path(both: RealChildren) -> None:
    env = Environment(set={"PATH": "/bin:/no/such"})
    stage, number, message = await failure(both, argv=("nosuchprogram",), env=env)
    assert (stage, number) == ("exec", errno.ENOENT)
    assert message == (
        "exec nosuchprogram: No such file or directory (not found in PATH /bin:/no/such)"
    )


async def test_files_that_cannot_be_executed(both: RealChildren, tmp_path: Path) -> None:
    nonsense = executable(tmp_path / "nonsense", "hello\n")
    empty = executable(tmp_path / "empty", "")
    crlf = executable(tmp_path / "crlf", "#!/bin/sh\r\necho\r\n")
    dull = tmp_path / "dull"
    dull.write_text("")
    through = executable(tmp_path / "through", f"#!{dull}\n")
    told = [(await failure(both, argv=(str(p),))) for p in (nonsense, empty, crlf, through)]
    told.append(await failure(both, argv=(str(tmp_path),)))
    told.append(await failure(both, argv=(f"{dull}/x",)))
    assert told == [
        ("exec", errno.ENOEXEC, f"exec {nonsense}: Exec format error (no #! line)"),
        ("exec", errno.ENOEXEC, f"exec {empty}: Exec format error (the file is empty)"),
        (
            "interpreter",
            errno.ENOENT,
            f"interpreter /bin/sh\\r of {crlf}: No such file or directory",
        ),
        ("interpreter", errno.EACCES, f"interpreter {dull} of {through}: Permission denied"),
        ("exec", errno.EISDIR, f"exec {tmp_path}: Is a directory"),
        ("exec", errno.ENOTDIR, f"exec {dull}/x: Not a directory"),
    ]


async def test_a_program_for_a_dynamic_linker_that_is_not_there(
    both: RealChildren, tmp_path: Path
) -> None:
    binary = await trio.Path("/bin/true").read_bytes()
    start = binary.index(b"/lib64/ld-linux-x86-64.so.2")
    broken = tmp_path / "true"
    broken.write_bytes(binary[:start] + b"/lib64/ld-linux-x86-64.so.9" + binary[start + 27 :])
    broken.chmod(0o755)
    stage, _, message = await failure(both, argv=(str(broken),))
    assert stage == "interpreter"
    assert message.startswith(f"interpreter /lib64/ld-linux-x86-64.so.9 of {broken}: No such")


async def test_what_execve_cannot_take_is_a_failure_and_no_exception(both: RealChildren) -> None:
    impossible: list[Any] = [
        {"argv": ("/bin/true", "a\0b")},
        {"argv": ("/bin/true",), "chdir": "/a\0b"},
        {"argv": ("/bin/true", "\ud800")},
        {"argv": ("/bin/true",), "env": Environment(set={"A": "\0"})},
    ]
    for spec in impossible:
        stage, number, _ = await failure(both, **spec)
        assert (stage, number) in {("exec", errno.EINVAL), ("exec", errno.EILSEQ)}
    env = Environment(set={"A=B": "c"})
    stage, number, message = await failure(both, argv=("/bin/true",), env=env)
    assert (stage, number, message) == ("env", 22, "env 'A=B': not the name of a variable")


async def test_the_word_or_the_variable_that_is_too_long_is_named(both: RealChildren) -> None:
    long, why = "x" * 200_000, "exec /bin/true: Argument list too long"
    told = [
        await failure(both, argv=("/bin/true", long)),
        await failure(both, argv=("/bin/true",), env=Environment(set={"A": long})),
        await failure(both, argv=("/bin/true",), env=Environment(set={"A": long}), limits=NOFILE),
    ]
    word = f"{why} (word 1 of the command is longer than 131071 bytes)"
    variable = f"{why} (the variable A is longer than 131071 bytes)"
    assert told == [("exec", errno.E2BIG, each) for each in (word, variable, variable)]


async def test_without_a_descriptor_left_the_start_fails_at_the_fork(
    children: RealChildren,
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    started = children.start("first", argv=("/bin/true",))
    await started.report()
    reports: list[object] = []
    launch = Launch(
        key="x",
        generation=1,
        spec=Component(tag="x", argv=("/bin/true",)),
        stdin=None,
        stdout=1,
        stderr=2,
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        children.system.launch(launch, reports.append)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    [report] = reports
    assert isinstance(report, LaunchFailed)
    assert (report.exit.stage, report.exit.errno) == ("fork", errno.EMFILE)
    assert report.exit.message == "fork: Too many open files"


async def test_the_cpu_time_and_the_memory_of_a_child_are_told(children: RealChildren) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    children.shell(script)
    ended = await children.reaped()
    assert ended.exit.cpu > 0
    assert ended.exit.peak > 100_000


async def test_a_core_dump_is_told(children: RealChildren, tmp_path: Path) -> None:
    children.shell("ulimit -c unlimited; kill -SEGV $$", chdir=str(tmp_path))
    ended = await children.reaped()
    assert ended.exit.signal == signal.SIGSEGV
    dumped = " (core dumped)" if ended.exit.core else ""
    assert ended.exit.message == f"killed by SIGSEGV{dumped}"


# --- without CPython's own function


@pytest.fixture
async def without_fork_exec(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[RealChildren]:
    monkeypatch.setattr(spawn, "FORK_EXEC", None)
    with trio.fail_after(30):
        async with RealChildren() as made:
            assert "no fork_exec" in caplog.text
            yield made


async def test_without_fork_exec_everything_works_more_slowly(
    without_fork_exec: RealChildren,
) -> None:
    children = without_fork_exec
    pid = await children.start("a", argv=("/bin/sleep", "1000"), umask=0o027).pid()
    assert os.getsid(pid) == pid
    assert int(status_of(pid)["Umask"], 8) == 0o027
    children.shell("exit 7", "b")
    assert (await children.reaped()).exit.code == 7
    causes = [
        (await failure(children, argv=("/usr/bin/foo",)))[:2],
        (await failure(children, argv=("/bin/true",), chdir="/no/such"))[:2],
    ]
    assert causes == [("exec", errno.ENOENT), ("chdir", errno.ENOENT)]


async def test_without_fork_exec_a_program_is_told_its_own_pid(
    without_fork_exec: RealChildren,
) -> None:
    children = without_fork_exec
    command = ("/bin/sh", "-c", 'echo "$LISTEN_PID $WATCHDOG_PID $$ $0 $*"', "a  b", "c")
    started = children.start("a", argv=command, own_pid=("LISTEN_PID", "WATCHDOG_PID"))
    assert (await started.output()).split("\n")[0] == f"{await started.pid()} " * 3 + "a  b c"
    failed = children.start("b", argv=("/no/such",), own_pid=("LISTEN_PID",))
    await failed.pid()  # Only the shell finds out that there is no such program.
    codes = {(await children.reaped()).exit.code for _ in range(2)}
    assert codes == {0, 127}


async def test_without_fork_exec_no_exit_status_is_lost(without_fork_exec: RealChildren) -> None:
    children = without_fork_exec
    for n in range(30):
        children.shell(f"exit {n}", f"c{n}")
    ended = [await children.reaped() for _ in range(30)]
    assert {(e.key, e.exit.code) for e in ended} == {(f"c{n}", n) for n in range(30)}


async def test_without_fork_exec_an_end_before_the_number_is_known_is_kept(
    without_fork_exec: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = spawn.start_slowly

    def even_slower(*args: Any, **options: Any) -> int | spawn.Failure:
        pid = real(*args, **options)
        while os.path.exists(f"/proc/{pid}"):  # Until the trio thread has reaped it.
            os.sched_yield()
        return pid

    monkeypatch.setattr(spawn, "start_slowly", even_slower)
    started = without_fork_exec.shell("exit 7")
    assert (await without_fork_exec.reaped()).exit.code == 7
    assert [type(report) for report in started.reports] == [Launched]

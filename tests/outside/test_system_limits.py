"""Limits, shares and rights are those of a program from its first instruction on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import resource
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from real_children import RealChildren, status_of, subreaping
from supervisor.system import limits, spawn, traits
from supervisor.system.gate import Gate
from supervisor.system.limits import BoundRefused
from supervisor.system.process_setup import ProcessSetup, close_others_on_exec

pytestmark = pytest.mark.real

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


@pytest.fixture(autouse=True, scope="module")
def orphans_become_ours() -> Iterator[None]:
    with subreaping():
        yield


@pytest.fixture(params=["sealed", "unsealed"])
async def children(request: pytest.FixtureRequest) -> AsyncIterator[RealChildren]:
    with trio.fail_after(30):
        async with RealChildren() as made:
            if request.param == "sealed":
                # What started us may have left descriptors that children would inherit.
                made.system._launcher._sealed = close_others_on_exec()
            yield made


async def refusal(children: RealChildren, **spec: Any) -> tuple[str | None, int | None, str]:
    report = await children.start("refused", **{"argv": ("/bin/true",), **spec}).failure()
    return report.exit.stage, report.exit.errno, report.exit.message


def limits_in(table: str) -> dict[str, tuple[str, str]]:
    """Return soft and hard limits of a /proc/PID/limits."""
    rows = re.findall(r"^(Max [a-z ]+?)  +(\S+) +(\S+)", table, re.MULTILINE)
    return {name: (soft, hard) for name, soft, hard in rows}


# --- limits


async def test_a_program_sees_its_limits_in_its_first_act(children: RealChildren) -> None:
    wanted = {"nofile": 123, "core": 0, "fsize": 1 << 20, "stack": 4 << 20, "nproc": 50_000}
    wanted = {name: min(value, hard_limit(name)) for name, value in wanted.items()}
    started = children.start(argv=("/bin/cat", "/proc/self/limits"), limits=wanted)
    seen = limits_in(await started.output())
    assert seen["Max open files"] == ("123", "123")
    assert seen["Max core file size"] == ("0", "0")
    assert seen["Max file size"] == (str(wanted["fsize"]),) * 2
    assert seen["Max stack size"] == (str(wanted["stack"]),) * 2
    assert seen["Max processes"] == (str(wanted["nproc"]),) * 2
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] != 123


def hard_limit(name: str) -> int:
    number = limits.number_of(name)
    assert number is not None
    most = resource.getrlimit(number)[1]
    return 1 << 40 if most == resource.RLIM_INFINITY else most


async def test_a_limit_of_nothing_is_no_limit(children: RealChildren) -> None:
    if resource.getrlimit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY:
        pytest.skip("we have a limit ourselves")
    started = children.start(argv=("/bin/cat", "/proc/self/limits"), limits={"cpu": -1})
    assert limits_in(await started.output())["Max cpu time"] == ("unlimited", "unlimited")


def test_every_limit_of_the_model_has_its_number() -> None:
    names = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime"
    numbers = [limits.number_of(name) for name in [*names.split(), "sigpending", "stack"]]
    assert len(set(numbers)) == 16
    assert None not in numbers
    assert limits.number_of("nonsense") is None
    with pytest.raises(BoundRefused, match="limits nonsense: no such limit here"):
        limits.set_limits(os.getpid(), (("nonsense", 1),))


async def test_a_limit_that_cannot_be_set_fails_the_start_and_leaves_nothing(
    children: RealChildren,
) -> None:
    before = set(os.listdir("/proc/self/fd"))
    most = Path("/proc/sys/fs/nr_open").read_text(encoding="ascii").strip()
    stage, number, message = await refusal(children, limits={"nofile": int(most) + 1})
    assert (stage, number) == ("limits", errno.EPERM)
    assert message.startswith(f"limits nofile = {int(most) + 1}: Operation not permitted")
    assert children.system.processes("refused", 1) == ()
    children.start("next", argv=("/bin/true",))
    assert (await children.reaped()).key == "next"
    opened = set(os.listdir("/proc/self/fd")) - before
    assert len(opened) <= 2 * len(children._readers) + 1


async def test_the_program_of_a_refused_start_has_done_nothing(
    children: RealChildren, tmp_path: Path
) -> None:
    most = int(Path("/proc/sys/fs/nr_open").read_text(encoding="ascii"))
    trace = tmp_path / "trace"
    started = children.shell(f"echo x > {trace}", limits={"core": 0, "nofile": most + 1})
    await started.failure()
    assert await started.output() == ""  # Whoever had the pipe is gone.
    assert not trace.exists()


async def test_behind_the_gate_everything_fails_as_it_does_without(
    children: RealChildren, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    empty = tmp_path / "empty"
    empty.write_text("")
    empty.chmod(0o755)
    for spec in (
        {"argv": ("/no/such",)},
        {"argv": ("nosuchprogram",)},
        {"argv": (str(plain),)},
        {"argv": (str(empty),)},
        {"argv": (str(tmp_path),)},
        {"argv": ("/bin/true",), "chdir": "/no/such"},
    ):
        bounded = await refusal(children, limits={"core": 0}, **spec)
        assert bounded == await refusal(children, **spec)
        assert bounded[0] in ("exec", "chdir")


async def test_behind_the_gate_words_and_variables_arrive_as_they_are(
    children: RealChildren,
) -> None:
    words = ("-c", 'printf "%s|" "$0" "$@"', "zero", "a b", "", "$HOME", "'")
    started = children.start(
        argv=("zero", *words),
        program="/bin/sh",
        limits={"core": 0},
    )
    assert await started.output() == "zero|a b||$HOME|'|"
    odd = {"A.B": "1", "PWD": "/nowhere", "ODD-NAME": "x y"}
    started = children.start(
        "env", argv=("/usr/bin/env",), limits={"core": 0}, environ=tuple(odd.items())
    )
    lines = (await started.output()).splitlines()
    assert odd.items() <= dict(line.split("=", 1) for line in lines).items()


async def test_behind_the_gate_no_descriptor_is_left_to_the_program(
    children: RealChildren,
) -> None:
    started = children.start(argv=("/bin/ls", "/proc/self/fd"), limits={"core": 0})
    # The fourth is that of the listing itself.
    assert sorted(await started.output()) == sorted("0\n1\n2\n3\n")


def test_a_gate_holds_whoever_comes_until_it_is_opened() -> None:
    with Gate() as gate:
        with pytest.raises(BlockingIOError):  # As one is told who does not want to wait.
            os.open(gate.path, os.O_RDONLY | os.O_NONBLOCK)
        other = os.open(gate.path.replace(b"self", b"%d" % os.getpid()), os.O_PATH)
    os.close(os.open(f"/proc/self/fd/{other}", os.O_RDONLY | os.O_NONBLOCK))
    os.close(other)
    gate.open()  # Once more is no error.


async def test_without_a_gate_there_is_no_start(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    stage, number, message = await refusal(children, limits={"core": 0})
    assert (stage, number) == ("limits", errno.EINVAL)
    assert message == "limits: cannot hold a child back on this system: Invalid argument"


async def test_a_gate_that_does_not_hold_fails_the_start(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Gate, "path", property(lambda _self: b"/no/such/gate"))
    real = limits.set_limits
    running = tmp_path / "running"

    def late(pid: int, wanted: tuple[tuple[str, int], ...]) -> None:
        # Not /proc/PID/exe: that changes in the middle of execve, before the first instruction.
        while not running.exists():
            os.sched_yield()
        real(pid, wanted)

    monkeypatch.setattr(limits, "set_limits", late)
    program = ("/bin/sh", "-c", f"> '{running}'; exec sleep 1000")
    stage, _, message = await refusal(children, argv=program, limits={"core": 0})
    assert (stage, message) == ("limits", "limits: this system did not hold the child back")
    assert children.system.processes("refused", 1) == ()


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("capable", [True, False])
async def test_another_user_gets_its_limits_whether_we_may_limit_others_or_not(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch, capable: bool
) -> None:
    if not capable:
        # As root is in a container. The thread then is that user, so the limits need no right.
        monkeypatch.setattr(limits, "may_limit_others", lambda: False)
    started = children.shell(
        "cat /proc/self/limits /proc/self/oom_score_adj; id -u; id -G; umask",
        user="nobody",
        group=("adm",),
        limits={"nofile": 123},
        oom_score_adj=500,
        umask=0o027,
    )
    told = await started.output()
    assert limits_in(told)["Max open files"] == ("123", "123")
    assert told.endswith("500\n65534\n65534 4\n0027\n")
    # Nobody else in this process has become anybody.
    uids = set()
    for tid in os.listdir("/proc/self/task"):
        # An idle thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            uids.add(status_of(f"self/task/{tid}")["Uid"])
    assert uids == {"0\t0\t0\t0"}
    failed = await refusal(children, user="nobody", argv=("/no/such",), limits={"core": 0})
    assert failed[:2] == ("exec", errno.ENOENT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may raise its limits")
async def test_an_ordinary_user_is_told_what_the_most_is(children: RealChildren) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    stage, number, message = await refusal(children, limits={"nofile": most + 1})
    assert (stage, number) == ("limits", errno.EPERM)
    assert message.endswith(f"(the most that piesd may give is {most})")


async def test_the_limits_of_open_files_that_we_came_with_are_still_the_default() -> None:
    ours = resource.getrlimit(resource.RLIMIT_NOFILE)
    setup = ProcessSetup(environ={"PATH": os.environ["PATH"]}, nofile=(321, ours[1]))
    with trio.fail_after(30):
        async with RealChildren(setup=setup) as children:
            table = ("/bin/cat", "/proc/self/limits")
            started = children.start("a", argv=table, limits={"core": 0})
            assert limits_in(await started.output())["Max open files"] == ("321", str(ours[1]))
            started = children.start("b", argv=table, limits={"nofile": 100})
            assert limits_in(await started.output())["Max open files"] == ("100", "100")


async def test_a_deadly_small_limit_kills_the_child_and_not_us(children: RealChildren) -> None:
    children.start(argv=("/bin/true",), limits={"as": 4096})
    ended = await children.reaped()
    assert ended.exit.signal in (signal.SIGKILL, signal.SIGSEGV) or ended.exit.code == 127


async def test_the_oom_score_is_there_at_once(children: RealChildren) -> None:
    started = children.start(argv=("/bin/cat", "/proc/self/oom_score_adj"), oom_score_adj=321)
    assert await started.output() == "321\n"
    stage, number, message = await refusal(children, oom_score_adj=5000)
    assert (stage, number) == ("oom-score-adj", errno.EINVAL)
    assert message == "oom-score-adj = 5000: Invalid argument"


# --- traits


async def test_nice_processors_and_privileges_are_there_at_once_and_not_ours(
    children: RealChildren,
) -> None:
    processor = min(os.sched_getaffinity(0))
    before = (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0))
    started = children.start(
        argv=("/bin/cat", "/proc/self/stat", "/proc/self/status"),
        nice=7,
        cpu_affinity=(processor,),
        no_new_privileges=True,
    )
    stat, _, status = (await started.output()).partition("\n")
    assert stat.rpartition(")")[2].split()[16] == "7"
    table = {k: v.strip() for k, _, v in (line.partition(":") for line in status.splitlines())}
    assert table["Cpus_allowed_list"] == str(processor)
    assert table["NoNewPrivs"] == "1"
    assert before == (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0))
    assert status_of()["NoNewPrivs"] == "0"
    plain = children.start("plain", argv=("/bin/cat", "/proc/self/status"))
    assert "NoNewPrivs:\t0" in await plain.output()


async def test_traits_and_limits_go_together(children: RealChildren) -> None:
    started = children.shell(
        "grep NoNewPrivs /proc/self/status; ulimit -n; nice",
        no_new_privileges=True,
        nice=3,
        limits={"nofile": 99},
    )
    assert (await started.output()).split() == ["NoNewPrivs:", "1", "99", "3"]


@needs_root
@pytest.mark.root
async def test_a_user_gets_more_than_an_ordinary_share_if_root_says_so(
    children: RealChildren,
) -> None:
    started = children.shell("nice; id -u", nice=-5, user="nobody", no_new_privileges=True)
    assert (await started.output()).split() == ["-5", "65534"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
async def test_an_ordinary_user_cannot_give_more_than_its_share(children: RealChildren) -> None:
    stage, number, message = await refusal(children, nice=-5)
    assert (stage, number) == ("nice", errno.EACCES)
    assert message.startswith("nice -5: Permission denied (only root may")


async def test_a_processor_that_is_not_there_is_told(children: RealChildren) -> None:
    stage, number, message = await refusal(children, cpu_affinity=(1023,))
    assert (stage, number) == ("affinity", errno.EINVAL)
    ours = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    assert message == (f"cpu-affinity 1023: Invalid argument (piesd may use the processors {ours})")


async def test_a_right_that_cannot_be_given_up_is_told(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traits, "_PR_SET_NO_NEW_PRIVS", 9999)
    stage, number, message = await refusal(children, no_new_privileges=True)
    assert (stage, number) == ("no-new-privileges", errno.EINVAL)
    assert message == "no-new-privileges: Invalid argument"


async def test_where_there_is_no_thread_there_is_no_start(
    children: RealChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        refused = await refusal(children, nice=5)
    assert refused == ("fork", errno.EAGAIN, "fork: thread: Resource temporarily unavailable")


# --- without CPython's own function


async def test_without_fork_exec_limits_come_a_moment_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spawn, "FORK_EXEC", None)
    with trio.fail_after(30):
        async with RealChildren() as children:
            pid = await children.start(
                argv=("/bin/sleep", "1000"), limits={"nofile": 99}, oom_score_adj=5, nice=4
            ).pid()
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (99, 99)
            assert os.getpriority(os.PRIO_PROCESS, pid) == 4
            with contextlib.suppress(FileNotFoundError):
                assert Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii") == "5\n"
            most = int(Path("/proc/sys/fs/nr_open").read_text(encoding="ascii"))
            refused = await refusal(
                children, argv=("/bin/sleep", "1000"), limits={"nofile": most + 1}
            )
            assert refused[:2] == ("limits", errno.EPERM)

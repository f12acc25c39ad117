"""What happens before a child is forked: secrets, files in the way, variables in its command."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from real_children import RealChildren, subreaping
from supervisor.model.component import Environment, EnvStep
from supervisor.system import launcher, preparing

pytestmark = pytest.mark.real

needs_no_rights = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and remove anything")


@pytest.fixture(autouse=True, scope="module")
def orphans_become_ours() -> Iterator[None]:
    with subreaping():
        yield


@pytest.fixture(params=["local", "elsewhere"])
async def children(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RealChildren]:
    """Files that are known to be local, and files that a worker thread has to touch."""
    with trio.fail_after(30):
        async with RealChildren() as made:
            if request.param == "elsewhere":
                mounts = made.system._launcher._mounts
                real, prefix = mounts.local, os.fsencode(tmp_path)
                mounts.local = lambda *paths: (  # type: ignore[method-assign]
                    not any(path.startswith(prefix) for path in paths) and real(*paths)
                )
            yield made


async def refusal(children: RealChildren, **spec: Any) -> tuple[str | None, int | None, str]:
    report = await children.start("refused", **{"argv": ("/bin/true",), **spec}).failure()
    return report.exit.stage, report.exit.errno, report.exit.message


# --- secrets


async def test_the_contents_of_a_file_become_a_variable(
    children: RealChildren, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\nmore\n\n")
    env = Environment(files={"PW": str(secret)}, steps=(EnvStep("set", "URL=x:${PW}@y"),))
    argv = ("/bin/sh", "-c", 'printf "%s|%s" "$PW" "$URL"')
    assert await children.start("a", argv=argv, env=env).output() == (
        "hunter2\nmore\n|x:hunter2\nmore\n@y"
    )
    # It is read at each start.
    secret.write_text("other")
    assert await children.start("b", argv=argv, env=env).output() == "other|x:other@y"


async def test_a_file_for_all_components_is_read_too(
    children: RealChildren, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("abc")
    started = children.shell(
        "echo $T $U",
        env_base=Environment(files={"T": str(token)}, set={"U": "base"}),
        env=Environment(steps=(EnvStep("set", "U=$U-own"),)),
    )
    assert await started.line() == "abc base-own"


async def test_a_secret_that_cannot_be_had_fails_the_start_with_its_path_alone(
    children: RealChildren, tmp_path: Path
) -> None:
    fifo, zero, big = tmp_path / "fifo", tmp_path / "zero", tmp_path / "big"
    os.mkfifo(fifo)
    zero.write_bytes(b"hunter2\0")
    big.write_bytes(b"hunter2" * 200_000)
    told = {
        path.name: await refusal(children, env=Environment(files={"PW": str(path)}))
        for path in (tmp_path / "none", tmp_path, fifo, zero, big)
    }
    at = f"env PW: file {tmp_path}"
    assert told == {
        "none": ("env", errno.ENOENT, f"{at}/none: No such file or directory"),
        tmp_path.name: ("env", errno.EISDIR, f"{at}: Is a directory"),
        "fifo": ("env", errno.EINVAL, f"{at}/fifo: it is not a regular file"),
        "zero": ("env", errno.EINVAL, f"{at}/zero: a zero byte in it, which no variable can have"),
        "big": ("env", errno.EFBIG, f"{at}/big: it is longer than 1 MiB"),
    }


@needs_no_rights
async def test_a_secret_that_we_may_not_read_is_told(
    children: RealChildren, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0)
    stage, number, _ = await refusal(children, env=Environment(files={"PW": str(secret)}))
    assert (stage, number) == ("env", errno.EACCES)


async def test_a_step_that_cannot_be_taken_fails_the_start(children: RealChildren) -> None:
    env = Environment(set={"PW": "hunter2"}, steps=(EnvStep("set", "X=$PW${NONE:?no such}"),))
    assert await refusal(children, env=env) == (
        "env",
        errno.EINVAL,
        "env X: column 4: NONE: no such",
    )


async def test_what_the_launch_adds_has_the_last_word_but_for_the_marker(
    children: RealChildren,
) -> None:
    started = children.shell(
        "echo $A $NOTIFY_SOCKET ${PIESD_MARKER##*/}",
        generation=7,
        env=Environment(set={"A": "component", "NOTIFY_SOCKET": "wrong"}),
        environ=(("NOTIFY_SOCKET", "/right"), ("A", "launch"), ("PIESD_MARKER", "wrong")),
    )
    assert await started.line() == "launch /right 7"


# --- files in the way


async def test_files_in_the_way_are_removed_before_the_program_runs(
    children: RealChildren, tmp_path: Path
) -> None:
    (tmp_path / "stale.pid").write_text("42")
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "link").symlink_to(target)
    started = children.shell(
        "ls -A",
        chdir=str(tmp_path),
        remove_file=("stale.pid", str(tmp_path / "link"), str(tmp_path / "missing")),
    )
    assert await started.output() == "target\n"
    assert target.read_text() == "kept"


async def test_a_directory_in_the_way_fails_the_start(
    children: RealChildren, tmp_path: Path
) -> None:
    stage, number, message = await refusal(children, remove_file=(str(tmp_path),))
    assert stage == "remove-file"
    assert number in (errno.EISDIR, errno.EPERM)
    assert message == f"remove-file {tmp_path}: {os.strerror(number)}"
    assert tmp_path.is_dir()


@needs_no_rights
async def test_a_file_that_we_may_not_remove_fails_the_start(
    children: RealChildren, tmp_path: Path
) -> None:
    stale = tmp_path / "stale"
    stale.write_text("")
    tmp_path.chmod(0o500)
    try:
        stage, number, _ = await refusal(children, remove_file=(str(stale),))
    finally:
        tmp_path.chmod(0o700)
    assert (stage, number) == ("remove-file", errno.EACCES)


async def test_a_name_that_no_file_can_have_fails_the_start(children: RealChildren) -> None:
    for path in ("/a\0b", "/\ud800"):
        stage, number, _ = await refusal(children, remove_file=(path,))
        assert (stage, number) == ("remove-file", errno.EINVAL)
        env = Environment(files={"PW": path})
        assert (await refusal(children, env=env))[:2] == ("env", errno.EINVAL)


async def test_a_start_that_lacks_its_secret_removes_nothing(
    children: RealChildren, tmp_path: Path
) -> None:
    stale = tmp_path / "stale"
    stale.write_text("")
    env = Environment(files={"PW": str(tmp_path / "none")})
    await refusal(children, env=env, remove_file=(str(stale),))
    assert stale.exists()


async def test_what_may_hang_is_touched_by_a_worker_thread_alone(
    children: RealChildren, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = trio.lowlevel.current_trio_token()
    seen: list[bool] = []
    real = preparing.prepare

    def where(spec: Any) -> dict[str, str]:
        try:
            seen.append(trio.lowlevel.current_trio_token() is main)
        except RuntimeError:
            seen.append(False)
        return real(spec)

    monkeypatch.setattr(launcher, "prepare", where)
    await children.start(argv=("/bin/true",), remove_file=(str(tmp_path / "x"),)).pid()
    assert seen == [children.system._launcher._mounts.local(os.fsencode(tmp_path))]


# --- variables in the command


async def said(children: RealChildren, key: str, command: str, **spec: Any) -> list[str]:
    """Return the words that a program is given behind its name."""
    words = f"""/bin/sh -c 'printf "%s|" "$@"' sh {command}"""
    argv = tuple(shlex.split(words))
    started = children.start(key, argv=argv, command=words, expandenv=True, **spec)
    return (await started.output()).split("|")[:-1]


async def test_the_words_of_a_command_are_made_from_its_variables(children: RealChildren) -> None:
    env = Environment(set={"A": "x  y", "E": ""})
    command = "$A \"$A\" '$A' ${NONE:-d} $E ${V:=v}$V \\$A"
    assert await said(children, "a", command, env=env) == [
        *("x", "y", "x  y", "$A", "d", "vv", "$A")
    ]


async def test_without_the_flag_a_dollar_is_a_dollar(children: RealChildren) -> None:
    started = children.start(argv=("/bin/echo", "$HOME"), command="/bin/echo $HOME")
    assert await started.line() == "$HOME"


async def test_a_list_of_words_stays_one(children: RealChildren) -> None:
    argv = ("/bin/echo", "$A", "it's")
    env = Environment(set={"A": "x  y"})
    started = children.start(argv=argv, command=shlex.join(argv), expandenv=True, env=env)
    assert await started.line() == "x  y it's"


async def test_a_command_for_a_shell_is_left_to_it(children: RealChildren) -> None:
    text = "A=mine; echo $A"
    env = Environment(set={"A": "ours"})
    started = children.start(argv=("/bin/sh", "-c", text), command=text, expandenv=True, env=env)
    assert await started.line() == "mine"


async def test_a_command_that_cannot_be_expanded_fails_the_start(children: RealChildren) -> None:
    def spec(command: str) -> dict[str, Any]:
        return {"argv": tuple(command.split()), "command": command, "expandenv": True}

    assert await refusal(children, **spec("/bin/echo ${NONE:?which one} x")) == (
        "expandenv",
        errno.EINVAL,
        "expandenv: command: column 11: NONE: which one",
    )
    assert await refusal(children, **spec("$NONE")) == (
        "expandenv",
        errno.ENOENT,
        "expandenv: nothing is left of the command",
    )

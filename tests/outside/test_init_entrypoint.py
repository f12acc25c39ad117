"""`piesd --init -- COMMAND` beside tini and dumb-init: what their documentation promises."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from namespaces import PATIENCE, PIESD, ROOT, inmate, why_not

pytestmark = pytest.mark.real

OURS = (*PIESD, "--init")
ENTRYPOINTS = {"piesd": OURS, "tini": ("tini",), "dumb-init": ("dumb-init",)}

namespaced = pytest.mark.skipif(bool(why_not()), reason=why_not() or "none")

SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "CONT", "ALRM", "RTMIN")
TELLS = f"""
import os, signal
def tell(number, _):
    # In one piece: others write to the same pipe.
    os.write(1, b'got %s\\n' % signal.Signals(number).name.encode())
for name in {(*SIGNALS, "TSTP")!r}:
    signal.signal(getattr(signal, 'SIG' + name), tell)
print('ready', flush=True)
while True:
    signal.pause()
"""


def entrypoint(name: str, *options: str) -> tuple[str, ...]:
    if shutil.which(ENTRYPOINTS[name][0]) is None:
        pytest.skip(f"there is no {name} on this machine (tests/real-programs.sh)")
    return (*ENTRYPOINTS[name], *options, "--")


each = pytest.mark.parametrize("name", ENTRYPOINTS)


# --- exit codes


@namespaced
@each
@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -SEGV $$", 139), ("kill $$", 143)],
)
def test_the_code_of_the_program_is_that_of_the_container(
    name: str, script: str, code: int
) -> None:
    with inmate([*entrypoint(name), "sh", "-c", script]) as container:
        assert container.end() == code


@namespaced
@pytest.mark.parametrize("name", ["piesd", "tini"])
def test_what_cannot_be_executed_is_told_from_what_is_not_there(name: str, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo hello\n")
    for program, code in (("/no/such", 127), ("no-such-program", 127), (str(plain), 126)):
        with inmate([*entrypoint(name), program]) as container:
            assert container.end() == code
            assert program in container.said
    plain.chmod(0o755)  # Without "#!" a shell is to read it.
    with inmate([*entrypoint(name), str(plain)]) as container:
        assert container.end() == 0
        assert container.said == "hello"


# --- signals


@namespaced
@each
def test_signals_are_forwarded(name: str) -> None:
    with inmate([*entrypoint(name), sys.executable, "-c", TELLS]) as container:
        container.hear("ready")
        for word in (*SIGNALS, *(() if name == "dumb-init" else ("TSTP",))):
            container.signal(getattr(signal, f"SIG{word}"))
            container.hear(f"got SIG{word}")


@namespaced
@pytest.mark.parametrize(
    ("name", "options", "both"),
    [
        ("piesd", (), False),
        ("piesd", ("--group",), True),
        ("tini", (), False),
        ("tini", ("-g",), True),
        ("dumb-init", ("-c",), False),
        ("dumb-init", (), True),
    ],
)
def test_a_signal_is_for_the_program_or_for_its_group(
    name: str, options: tuple[str, ...], both: bool
) -> None:
    script = f'trap "echo outer" USR1; "{sys.executable}" -c "$TELLS" & while :; do wait; done'
    words = [*entrypoint(name, *options), "sh", "-c", script]
    with inmate(words, environ={"TELLS": TELLS}) as container:
        container.hear("ready")
        container.signal(signal.SIGUSR1)
        container.hear("outer")
        if both and "got SIGUSR1" not in container.lines:
            container.hear("got SIGUSR1")
        container.signal(signal.SIGKILL)
        container.end()
        assert ("got SIGUSR1" in container.lines) is both


@namespaced
@pytest.mark.parametrize("name", ["piesd", "dumb-init"])
def test_a_signal_can_be_forwarded_as_another_or_not_at_all(name: str) -> None:
    words = entrypoint(name, "--rewrite", "15:10", "--rewrite", "1:0")
    with inmate([*words, sys.executable, "-c", TELLS]) as container:
        container.hear("ready")
        container.signal(signal.SIGHUP)
        container.signal(signal.SIGTERM)
        container.hear("got SIGUSR1")
        assert not {"got SIGHUP", "got SIGTERM"} & set(container.lines)


@namespaced
@each
def test_a_program_that_heeds_no_signal_is_that_of_the_one_who_sent_it(name: str) -> None:
    # As a PID 1 of its own it would not even die of SIGTERM.
    with inmate([*entrypoint(name), "sleep", "1000000"]) as container:
        container.until(
            lambda: any(p.name() == "sleep" for p in psutil.Process(container.pid).children()),
            "its program",
        )
        container.signal(signal.SIGTERM)
        assert container.end() == 143


# --- orphans


@namespaced
@each
def test_orphans_are_reaped(name: str) -> None:
    # As many as there are, none may stay: nobody but the first process can wait for them.
    script = "for i in $(seq 200); do (true &) ; done; echo made; read line"
    with inmate([*entrypoint(name), "sh", "-c", script]) as container:
        container.hear("made")
        first = psutil.Process(container.pid)
        container.until(lambda: len(first.children(recursive=True)) == 1, "none but the program")
        assert container.end() in (0, 1)


@pytest.mark.parametrize("patience", ["0.1", "600"])
def test_what_the_program_leaves_behind_ends_with_it(patience: str) -> None:
    """With little patience it is killed; one that obeys SIGTERM is not waited for any longer."""
    deaf = "trap '' TERM; " if patience == "0.1" else ""
    script = (
        f'setsid sh -c "{deaf}echo left \\$\\$; while :; do sleep 1000; done" & read line; exit 7'
    )
    words = [*PIESD, "--subreaper", "--shutdown-timeout", patience, "--", "sh", "-c", script]
    with inmate(words, first=False) as one:
        left = int(one.hear("left").split()[1])
        one.process.stdin.write(b"\n")  # type: ignore[union-attr]  # It is a pipe.
        assert one.end() == 7
        assert not psutil.pid_exists(left)


def test_whoever_is_tired_of_waiting_for_what_is_left_sends_the_signal_again() -> None:
    deaf = "trap 'echo deaf' TERM; echo left; while :; do sleep 1000 & wait; done"
    script = f'sh -c "{deaf}" & read line'
    words = [*PIESD, "--subreaper", "--shutdown-timeout", "600", "--", "sh", "-c", script]
    with inmate(words, first=False) as one:
        one.hear("left")
        one.process.stdin.write(b"\n")  # type: ignore[union-attr]  # It is a pipe.
        one.process.stdin.flush()  # type: ignore[union-attr]
        one.hear("deaf")
        one.signal(signal.SIGTERM)
        assert one.end() == 0


@namespaced
def test_the_proc_of_another_namespace_misleads_nobody() -> None:
    """Numbers there mean other processes; what can be told without it is the process group."""
    script = f"""
"{PIESD[0]}" -m supervisor --subreaper -- sh -c 'sleep 1000000 & exit 7'
echo "code $?"; kill -0 -- -1 2>&1 || echo alone
"""
    with inmate(
        ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script], first=False
    ) as one:
        one.hear("code 7")
        one.hear("alone")
        assert one.end() == 0


# --- what the program gets


@namespaced
def test_the_program_gets_what_it_would_get_under_tini() -> None:
    """Environment, descriptors, directory, umask, signals, and a process group of its own."""
    script = (
        "env | sort; ls -l /proc/self/fd | wc -l; pwd; umask; ulimit -a; echo $$; "
        "grep -E '^Sig[BIC]|^Seccomp|^NoNew' /proc/self/status; cut -d' ' -f5 /proc/$$/stat"
    )
    said = []
    for name in ("piesd", "tini"):
        with inmate(
            ["env", "-i", "PATH=/usr/bin:/bin", "X=1", *entrypoint(name), "sh", "-c", script]
        ) as one:
            assert one.end() == 0
            said.append(one.said)
    assert said[0] == said[1]


def test_nothing_large_is_loaded_for_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "supervisor", "--subreaper", "--", "true"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
        cwd=ROOT,
    )
    loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "supervisor.system.firstprocess" in loaded
    assert not loaded & {"trio", "quart", "hypercorn", "msgspec", "supervisor.main", "logging"}


# --- the terminal


def _dialogue(words: list[str], *lines: str) -> tuple[str, int]:
    """Run *words* with a terminal of its own; type each line after the prompt has come."""
    terminal, slave = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env={**os.environ, "PS1": "prompt> ", "ENV": ""},
    )
    os.close(slave)
    said, due = "", time.monotonic() + PATIENCE
    try:
        for line in (*lines, None):
            begun = len(said)
            while line is None or "prompt> " not in said[begun:]:
                assert time.monotonic() < due, said
                if not select.select([terminal], [], [], 1)[0]:
                    continue
                try:
                    said += os.read(terminal, 4096).decode()
                except OSError:  # The other end is gone.
                    break
            if line is not None:
                os.write(terminal, f"{line}\n".encode())
        return said, process.wait(PATIENCE)
    finally:
        os.close(terminal)
        process.kill()
        process.wait()


@pytest.mark.parametrize("wrapper", ["piesd", "tini", "piesd in a script"])
def test_an_interactive_shell_has_the_terminal(wrapper: str) -> None:
    words = {"piesd": [*PIESD, "--subreaper", "--"], "tini": ["tini", "-s", "--"]}
    shell = [*words[wrapper.split(maxsplit=1)[0]], "sh", "-i"]
    if shutil.which(shell[0]) is None:
        pytest.skip("there is no tini on this machine (tests/real-programs.sh)")
    if wrapper.endswith("script"):
        # Afterwards the one who called us reads from the terminal, and is not in the background.
        shell = ["sh", "-c", '"$@"; echo "prompt> "; read line; echo "and $line"', "sh", *shell]
    typed = [
        "echo a$((6 * 7)); test -t 0 && test -t 1 && test -t 2 && echo b1",
        "sleep 1000 &",
        "jobs; kill -9 %1",  # What has not been executed yet may ignore another signal.
        "exit 5",
    ]
    if wrapper.endswith("script"):
        typed.append("after")
    said, code = _dialogue(shell, *typed)
    assert "a42" in said
    assert "b1" in said
    assert "Running" in said  # It has job control.
    assert "job control turned off" not in said
    if wrapper.endswith("script"):
        assert "and after" in said
    else:
        assert code == 5


def test_ctrl_c_is_for_the_program_alone() -> None:
    # Short naps: a signal that comes just before one is seen after it.
    script = "trap 'echo interrupted; exit 9' INT; printf 'prompt> '; while :; do sleep 0.1; done"
    said, code = _dialogue([*PIESD, "--subreaper", "--", "sh", "-c", script], "\x03")
    assert said.count("interrupted") == 1
    assert code == 9


# --- a bad command line


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--init", "--"], "no command"),
        (["--init", "--rewrite", "TERM", "--", "true"], "--rewrite"),
        (["--init", "--shutdown-timeout", "-1", "--", "true"], "--shutdown-timeout"),
        (["--init", "--no-such", "--", "true"], "--no-such"),
        (["--init", "--socket", "unix:///x", "--", "true"], "needs a configuration"),
    ],
)
def test_a_bad_command_line_is_refused(options: list[str], complaint: str) -> None:
    with inmate([*PIESD, *options], first=False) as one:
        assert one.end() == 2
        assert complaint in one.said

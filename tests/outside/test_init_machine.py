"""piesd as the init process of a machine: telinit, shutdown, signals and records, all real."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from init_machine import SYSVINIT, Machine
from namespaces import PIESD, ROOT, why_not

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "none"),
]

INITTAB = """
id:2:initdefault:
si::sysinit:/bin/sh -c 'touch /run/utmp /var/log/wtmp; echo sysinit'
bt::boot:/bin/echo boot
bw::bootwait:/bin/echo bootwait
l2:2:wait:/bin/sh -c 'echo level $RUNLEVEL after $PREVLEVEL with $COLOUR'
l3:3:wait:/bin/sh -c 'echo level $RUNLEVEL after $PREVLEVEL with $COLOUR'
l6:6:wait:/bin/sh -c 'echo level $RUNLEVEL after $PREVLEVEL, and $INIT_HALT'
r1:23:respawn:/bin/sleep 1000000
r3:3:respawn:/bin/sleep 2000000
ca::ctrlaltdel:/bin/echo ctrlaltdel
kb::kbrequest:/bin/echo kbrequest
pf::powerfail:/bin/echo powerfail
pn::powerfailnow:/bin/echo powerfailnow
po::powerokwait:/bin/echo powerok
"""


@contextmanager
def machine(
    home: Path, inittab: str = INITTAB, *options: str, toml: str | None = None
) -> Iterator[Machine]:
    one = Machine(home, inittab, *options, toml=toml)
    try:
        yield one
    finally:
        one.kill()


needs_sysvinit = pytest.mark.skipif(
    not SYSVINIT.is_dir(), reason="there is no sysvinit-core here (tests/real-programs.sh)"
)


# --- /dev/initctl


@needs_sysvinit
def test_an_unmodified_telinit_is_obeyed(tmp_path: Path) -> None:
    with machine(tmp_path) as one:
        one.booted()
        one.inside("/sbin/telinit", "3")
        one.hear("level 3 after 2")
        one.hear("'r3' started")
        one.inside("/sbin/telinit", "-t", "1", "2")
        one.hear("'r3' is down")
        one.hear("level 2 after 3")
        one.until(lambda: one.inside("/sbin/runlevel") == "3 2\n", "the record of the runlevel")


@needs_sysvinit
def test_an_unmodified_shutdown_is_obeyed(tmp_path: Path) -> None:
    """It executes `/sbin/init`, and with -h or -r says in a variable what is to come after."""
    with machine(tmp_path) as one:
        one.booted()
        one.shell("shutdown -r now </dev/null >/dev/null 2>&1 &")
        one.hear("level 6 after 2")


@needs_sysvinit
def test_telinit_q_reads_the_inittab_again(tmp_path: Path) -> None:
    with machine(tmp_path) as one:
        one.booted()
        path = tmp_path / "files" / "inittab"
        path.write_text(INITTAB + "nw:2:respawn:/bin/sleep 3000000\n")
        one.inside("/sbin/telinit", "q")
        one.hear("'nw' started")


@needs_sysvinit
def test_telinit_u_executes_it_anew_while_everything_goes_on(tmp_path: Path) -> None:
    with machine(tmp_path) as one:
        one.booted()
        one.hear("supervises")
        before = one.inside("pgrep", "-f", "sleep 1000000")
        one.inside("/sbin/telinit", "u")
        one.hear("going on with what another piesd has left")
        assert one.inside("pgrep", "-f", "sleep 1000000") == before
        one.inside("/sbin/telinit", "3")
        one.hear("level 3 after 2")


def test_piesd_speaks_the_old_protocol_too(tmp_path: Path) -> None:
    with machine(tmp_path) as one:
        one.booted()
        one.telinit("-e", "COLOUR=blue", "-t", "2", "3")
        one.hear("level 3 after 2 with blue")
        one.telinit("-e", "COLOUR", "2")
        one.hear("level 2 after 3 with")
        assert one.lines[-1].endswith("with")


DEAF = """
[component.deaf]
shell = true
command = "trap '' TERM; echo deaf; while :; do sleep 1000; done"
stop-timeout = 100000
runlevels = "3"
"""


@pytest.mark.parametrize(
    "telinit", [pytest.param("/sbin/telinit", marks=needs_sysvinit), "piesd -T"]
)
def test_telinit_says_how_long_what_leaves_may_take(tmp_path: Path, telinit: str) -> None:
    with machine(tmp_path, INITTAB + "#pies pragma next toml /world/more.toml\n", toml=DEAF) as one:
        one.booted()
        one.telinit("3")
        one.hear("| deaf")
        if telinit == "piesd -T":
            one.telinit("-t", "0", "2")
        else:
            one.inside(telinit, "-t", "0", "2")
        one.hear("'deaf' is down")


def test_garbage_and_a_fifo_that_is_removed_are_survived(tmp_path: Path) -> None:
    with machine(tmp_path) as one:
        one.booted()
        one.shell("head -c 1000 /dev/zero >/dev/initctl")
        one.hear("ignored 1000 bytes")
        one.shell("rm /run/initctl")
        one.hear("listening for telinit")
        one.telinit("3")
        one.hear("level 3 after 2")


def test_a_fifo_that_something_is_mounted_over_is_made_anew(tmp_path: Path) -> None:
    with machine(tmp_path) as one:
        one.booted()
        one.shell("mount -t tmpfs over /run")
        one.signal(signal.SIGUSR1)
        one.hear("listening for telinit")
        one.telinit("3")
        one.hear("level 3 after 2")


# --- signals


def test_the_signals_of_an_init_process_mean_what_they_mean_there(tmp_path: Path) -> None:
    with machine(tmp_path) as one:
        one.booted()
        one.signal(signal.SIGINT)
        one.hear("| ctrlaltdel")
        one.signal(signal.SIGWINCH)
        one.hear("| kbrequest")
        for letter, word in (("F", "powerfail"), ("L", "powerfailnow"), ("O", "powerok")):
            one.shell(f"echo {letter} >/etc/powerstatus")
            one.signal(signal.SIGPWR)
            one.hear(f"| {word}")
            one.shell("! test -e /etc/powerstatus")
        one.signal(signal.SIGPWR)
        one.hear("| powerfail")


def test_an_init_process_does_not_end_by_a_signal(tmp_path: Path) -> None:
    with machine(tmp_path) as one:
        one.booted()
        for number in (signal.SIGTERM, signal.SIGQUIT):
            one.signal(number)
            one.hear(f"{signal.Signals(number).name} is not heeded")
        one.telinit("3")
        one.hear("level 3 after 2")


def test_nobody_can_order_the_end_of_an_init_process(tmp_path: Path) -> None:
    with machine(tmp_path) as one:
        one.booted()
        one.hear("supervises")
        piesctl = "import sys; from supervisor.cli.piesctl import main; sys.exit(main())"
        for verb in ("shutdown", "reboot"):
            script = f"cd '{ROOT}'; ! '{PIESD[0]}' -c '{piesctl}' {verb} 2>&1"
            assert "it is the init process; change the runlevel instead" in one.shell(script)
        one.telinit("3")
        one.hear("level 3 after 2")


# --- records


def test_boots_levels_and_processes_are_on_record(tmp_path: Path) -> None:
    silent = "r0:3:respawn:+/bin/sleep 3000000\n"
    with machine(tmp_path, INITTAB.replace("r3:3", silent + "r3:3")) as one:
        one.booted()
        one.telinit("3")
        one.hear("'r3' started")
        assert "'r0' started" in one.said
        one.telinit("2")
        one.hear("'r3' is down")

        def records() -> list[list[str]]:
            lines = one.inside("utmpdump", "/var/log/wtmp").splitlines()
            return [[part.strip(" ]") for part in line.split("[")[1:5]] for line in lines]

        one.until(lambda: ["8", "r3"] in [[r[0], r[2]] for r in records()], "the end of r3")
        kinds = [(record[0], record[2], record[3]) for record in records()]
        assert kinds[0] == ("2", "~~", "reboot")
        assert [kind for kind in kinds if kind[0] == "1"] == [("1", "~~", "runlevel")] * 3
        assert {kind[1] for kind in kinds if kind[0] == "5"} == {"r1", "r3"}
        one.until(lambda: "run-level 2" in one.inside("who", "-r", "/run/utmp"), "the runlevel")
        assert "system boot" in one.inside("who", "-b", "/run/utmp")
        assert "reboot" in one.inside("last", "-f", "/var/log/wtmp", "reboot")


def test_without_the_files_nothing_is_recorded_and_nothing_is_lost(tmp_path: Path) -> None:
    with machine(tmp_path, INITTAB.replace("touch /run/utmp /var/log/wtmp", "true")) as one:
        one.booted()
        one.telinit("3")
        one.hear("level 3 after 2")
        one.shell("! test -e /run/utmp; ! test -e /var/log/wtmp")
        assert "Traceback" not in one.said

"""A world whose PID 1 is piesd as the init process of a machine, with an inittab."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psutil

from namespaces import PATIENCE, PIESD, ROOT, Inmate

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
SYSVINIT = CACHE / "piesd-tests" / "sysvinit" / "sbin"


class Machine(Inmate):
    """A world whose PID 1 is piesd. `tools` are sysvinit's programs, where they are there."""

    def __init__(
        self,
        home: Path,
        inittab: str | None,
        *options: str,
        toml: str | None = None,
        sulogin: str = "",
        piesd: tuple[str, ...] = PIESD,
    ) -> None:
        """Write what it needs below *home*, and start it.

        Args:
            home: where `files` become `/world`, and `usr` stands over `/usr`.
            inittab: the text; None for no file, and empty for a link that leads to itself.
            options: for piesd.
            toml: the text of `more.toml` beside it.
            sulogin: the text of sulogin; `-` for none, and empty for the machine's own.
            piesd: how to run it.
        """
        files = home / "files"
        files.mkdir(exist_ok=True)
        os.mkfifo(files / "gate")
        if inittab:
            (files / "inittab").write_text(inittab)
        elif inittab is not None:
            (files / "inittab").symlink_to("inittab")
        if toml is not None:
            (files / "more.toml").write_text(toml)
        paths = [str(ROOT), sys.base_prefix]
        if not Path(sys.prefix).is_relative_to(ROOT):
            paths.append(sys.prefix)
        environ = {"WORLD_FILES": str(home / "files"), "WORLD_PATHS": " ".join(paths)}
        over = home / "usr" / "sbin"
        if SYSVINIT.is_dir():
            shutil.copytree(SYSVINIT, over)
        if sulogin:
            over.mkdir(parents=True, exist_ok=True)
            _put(over / "sulogin", sulogin)
        if over.is_dir():
            environ["WORLD_USR"] = str(home / "usr")
        world = str(ROOT / "tests" / "world.sh")
        words = [world, "--", *piesd, "-c", "/world/inittab", *options]
        super().__init__(words, environ=environ, proc=False)

    def inside(self, *words: str) -> str:
        """Run a program in there; return what it printed."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-p", "-m", "-n", "-r", "-w", "--", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr, self.said)
        return done.stdout

    def shell(self, script: str) -> str:
        return self.inside("sh", "-c", script)

    def telinit(self, *words: str) -> str:
        return self.shell(f'cd "{ROOT}"; exec "{PIESD[0]}" -m supervisor -T {" ".join(words)}')

    def booted(self) -> Machine:
        for word in ("| sysinit", "| bootwait", "level 2 after N"):
            self.hear(word)
        return self

    def children(self) -> list[str]:
        """Return the names of its children."""
        return [child.name() for child in psutil.Process(self.pid).children()]


def _put(path: Path, text: str) -> None:
    if text == "-":
        # What an overlay takes for "there is no such file".
        os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))
    else:
        path.write_text(text)
        path.chmod(0o755)

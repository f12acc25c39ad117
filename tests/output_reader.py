"""As much of piesd as reads what a child prints: it is there to be killed.

output_reader.py RUNTIME-DIRECTORY LOG: says on its standard output that it is up, and writes what
comes until its standard input is closed.
"""

from __future__ import annotations

import logging
import sys

import trio

from supervisor.model.component import Component, Output
from supervisor.runtime.output import Outputs
from supervisor.system.keeper import Keeper
from supervisor.system.linux import LinuxSystem


def spec(log: str) -> Component:
    target = Output(kind="file", path=log, rotate_size=2_000_000, rotate_keep=500, compress=True)
    return Component(tag="web", argv=("web",), stdout=target, stderr=target)


async def main(runtime: str, path: str) -> None:
    system = LinuxSystem(instance="output-reader")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(system.serve)
        outputs = Outputs(system, nursery, print, keeper=Keeper(runtime, "reader"))
        outputs.descriptors("web", spec(path))
        print("up", flush=True)
        await trio.lowlevel.wait_readable(0)
        outputs.drain("web")
        await outputs.written()
        await outputs.aclose(30)
        nursery.cancel_scope.cancel()
    system.dispose()


if __name__ == "__main__":
    logging.basicConfig()
    trio.run(main, sys.argv[1], sys.argv[2])

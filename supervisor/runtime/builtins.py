"""The connections that piesd itself serves: each is a task that can be ended, and ends alone."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import trio

from supervisor.model.events import Exited, Idle, Spawned
from supervisor.model.state import Exit
from supervisor.runtime import services
from supervisor.runtime.services import Client, NotReadError
from supervisor.runtime.tcpmux import Mux
from supervisor.runtime.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.model.component import Key
    from supervisor.model.effects import Spawn
    from supervisor.model.events import ComponentEvent
    from supervisor.runtime.listeners import ListenerBoard
    from supervisor.runtime.quotes import Quotes
    from supervisor.runtime.tasks import Tasks
    from supervisor.system.port import System

log = logging.getLogger(__name__)


class _Served:
    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.scope = trio.CancelScope()
        self.signal = 0
        """What has ended it."""
        self.over = trio.Event()


class Builtins:
    """Serves connections of `internal` components, as a program would that was launched."""

    def __init__(
        self,
        system: System,
        tasks: Tasks,
        listeners: ListenerBoard,
        quotes: Quotes,
        happened: Callable[[Key, ComponentEvent], None],
    ) -> None:
        self._system = system
        self._tasks = tasks
        self._listeners = listeners
        self._quotes = quotes
        self._happened = happened
        self._mux = Mux(listeners)
        self._turns = Turns()
        self._served: dict[Key, _Served] = {}

    def serve(self, spawn: Spawn) -> None:
        """Begin to serve the connection of *spawn*, and report `Spawned`; at its end `Exited`.

        The connection stays the listener's, which closes it when the engine forgets it.
        """
        served = self._served[spawn.key] = _Served(spawn.generation)
        self._happened(spawn.key, Spawned(spawn.generation, None, self._system.wall()))
        self._tasks.start(f"serving {spawn.key}", partial(self._serve, spawn, served))

    def end(self, key: Key, generation: int, signum: int) -> bool:
        """End the service of *key*, whatever the signal; return False if there is none."""
        served = self._served.get(key)
        if served is None or served.generation != generation:
            return False
        served.signal = served.signal or signum
        served.scope.cancel()
        return True

    async def _serve(self, spawn: Spawn, served: _Served) -> None:
        assert spawn.connection is not None
        code, message = 0, "ended"
        try:
            with served.scope:
                fd = self._listeners.look_at(spawn.connection)
                client = Client(self._system, fd, self._turns)
                if spawn.spec.idle_timeout:
                    watch = partial(self._watch, spawn, served, client)
                    self._tasks.start(f"the idleness of {spawn.key}", watch)
                await self._talk(spawn, spawn.connection, client)
        except NotReadError:
            message = f"gave up a client that read nothing for {services.PATIENCE:g} s"
        except OSError:
            pass  # The client is gone, which is how these services end.
        except Exception:
            log.exception("cannot go on with serving %s: this is a bug in piesd", spawn.key)
            code, message = 1, "failed"
        finally:
            del self._served[spawn.key]
            served.over.set()
        how = Exit(code=code, message=message, at=self._system.wall())
        if served.signal:
            how = Exit(signal=served.signal, message="was ended", at=how.at)
        self._happened(spawn.key, Exited(spawn.generation, how, (), self._system.chance()))

    async def _watch(self, spawn: Spawn, served: _Served, client: Client) -> None:
        """Report a connection on which nothing goes either way."""
        seconds = spawn.spec.idle_timeout
        while (due := client.active_at + seconds) > trio.current_time():
            with trio.move_on_at(due):
                await served.over.wait()
                return
        self._happened(spawn.key, Idle(spawn.generation, f"idle for {seconds:g} s"))

    async def _talk(self, spawn: Spawn, connection: int, client: Client) -> None:
        match spawn.spec.service:
            case "echo":
                await services.echo(client)
            case "discard":
                await services.discard(client)
            case "chargen":
                await services.chargen(client)
            case "time":
                await client.send(services.time(self._system.wall()))
            case "daytime":
                await client.send(services.daytime(self._system.wall()))
            case "qotd":
                await client.send(await self._quotes.get())
            case "tcpmux":
                if await self._mux.serve(connection, client):
                    return
            case _:
                raise ValueError(f"there is no built-in service {spawn.spec.service!r}")
        await client.finish()

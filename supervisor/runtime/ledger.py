"""Keep what is known of everything, so that another piesd can go on where this one was killed.

A record is written after each event and before anything is done about it. So a start is written
down before there is a process, and a process that nobody has written down yet is found by its
marker: the record of its start says which marker that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from supervisor.engine.memory import General, Memo, Memory, shifted
from supervisor.engine.world import Link
from supervisor.model.component import Address, Component, Key
from supervisor.model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from supervisor.engine.engine import Engine
    from supervisor.model.effects import Level
    from supervisor.system.ledgerfile import LedgerFile

FORMAT: Final = 1
"""Of what is written. A piesd that knows another one does not go on with this."""

LEAST: Final = 1024 * 1024
"""Bytes below which the ledger is not written anew."""

GROWTH: Final = 4
"""It is written anew when it is so many times as long as it was then."""

RETRY: Final = 5.0
"""Seconds before it is tried again to write what could not be written."""

Born = tuple[float, float]
"""Between which times of CLOCK_BOOTTIME a process was started."""


class Head(Struct, frozen=True, kw_only=True, tag="head"):
    """Whose ledger it is.

    `life` is the part of the markers that is common to all children. `system` identifies the boot
    of the machine and the PID namespace: elsewhere the numbers in the ledger mean nothing. `shift`
    makes an engine's time into one of CLOCK_MONOTONIC.
    """

    format: int = FORMAT
    version: str
    life: str
    system: str
    shift: float


class _Spec(Struct, frozen=True, tag="spec"):
    number: int
    spec: Component


class _Entity(Struct, frozen=True, tag="entity", omit_defaults=True):
    key: Key
    spec: int
    state: State
    link: Link | None = None
    held: tuple[Address, ...] = ()
    born: Born | None = None


class _Gone(Struct, frozen=True, tag="gone"):
    key: Key


class _General(Struct, frozen=True, tag="general"):
    general: General


_Entry = Head | _Spec | _Entity | _Gone | _General

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[_Entry, ...])

_ODD: Final = b"\xc1"
"""Begins a record with strings that are no Unicode. No MessagePack begins with it."""


class Unusable(Exception):
    """There is a ledger, and it cannot be gone on with. The text says why."""


class Kept(Struct, frozen=True, kw_only=True):
    """What a ledger says: whose it is, what is known, and when each live child was started."""

    head: Head
    memory: Memory
    born: dict[Key, Born]


class _Contents:
    """What is in a ledger, so that it need not be written again."""

    def __init__(self) -> None:
        self.entities: dict[Key, tuple[State, Component, tuple[Address, ...]]] = {}
        self.general: General | None = None
        self._specs: dict[int, tuple[Component, int]] = {}
        """By identity: a spec, which is thereby kept alive, and its number."""

    def number(self, spec: Component) -> tuple[int, bool]:
        """Return the number of *spec*, and whether it is a new one."""
        known = self._specs.get(id(spec))
        if known is not None:
            return known[1], False
        self._specs[id(spec)] = (spec, len(self._specs) + 1)
        return len(self._specs), True


class Ledger:
    """Writes the ledger of one engine.

    Args:
        file: where to.
        head: whose it is.
        clock: returns seconds of CLOCK_BOOTTIME.
        tell: tells people: a kind, a level and a text.
    """

    def __init__(
        self,
        file: LedgerFile,
        engine: Engine,
        head: Head,
        clock: Callable[[], float],
        tell: Callable[[str, Level, str], None] = lambda _kind, _level, _text: None,
    ) -> None:
        self._file = file
        self._engine = engine
        self._head = head
        self._clock = clock
        self._tell = tell
        self.least = LEAST
        """Bytes below which it is not written anew."""
        self.failed = trio.Event()
        """Set while it cannot be written."""
        self._cramped = False
        """Whether it has been told that it cannot be written anew for its length."""
        self._contents = _Contents()
        self._born: dict[Key, tuple[int, float, float | None]] = {}
        """When the present child of each was started: its generation, and between which times."""
        self._fresh = 0

    def observe(self, changed: Collection[Key]) -> None:
        """Write down what an event has changed; see `Runner.keep`."""
        if self.failed.is_set():
            return  # All is written anew when that works again, see `keep_trying`.
        entries = [*self._news(self._contents, changed)]
        if not entries:
            return
        try:
            self._file.append(_encoded(entries))
        except OSError as error:
            self._fail(error)
            return
        if self._file.size > max(self.least, GROWTH * self._fresh):
            self._shorten()

    def adopt(self, born: Mapping[Key, Born]) -> None:
        """Note when the children that another piesd has started were started."""
        states = self._engine.world.states
        for key, (begun, known) in born.items():
            state = states.get(key)
            if state is not None:
                # Of one whose number was not known, the latest time is yet to come.
                end = None if state.pid is None else known
                self._born[key] = (state.generation, begun, end)

    def everything(self) -> list[bytes]:
        """Return the records of a ledger that is written anew; the present one stays as it is."""
        return self._records(_Contents())

    def _records(self, contents: _Contents) -> list[bytes]:
        return [_encoded([self._head, *self._news(contents, self._engine.world.states)])]

    def _write_anew(self) -> None:
        """Write everything anew.

        Raises:
            OSError: it stays as it was, and can be appended to as before.
        """
        contents = _Contents()
        self._file.begin(self._records(contents))
        self._contents = contents
        self._fresh, self._cramped = self._file.size, False

    def begin(self) -> bool:
        """Write everything anew; whether that could be done."""
        try:
            self._write_anew()
        except OSError as error:
            self._fail(error)
            return False
        if self.failed.is_set():
            self.failed = trio.Event()
            text = f"the ledger {self._file.path} is written again"
            self._tell("ledger-written", "info", text)
        return True

    def _shorten(self) -> None:
        """Write everything anew, as it has become long; where that fails, go on as before."""
        try:
            self._write_anew()
        except OSError as error:
            self._fresh = self._file.size  # It is tried again when it has grown as much again.
            if not self._cramped:
                text = f"cannot shorten the ledger {self._file.path}: {error.strerror}; it grows"
                self._tell("ledger-grows", "warning", text)
            self._cramped = True

    def _fail(self, error: OSError) -> None:
        if self.failed.is_set():
            return
        self.failed.set()
        text = (
            f"cannot write the ledger {self._file.path}: {error.strerror}; until that works "
            "again, a piesd that takes over would go by what was true before"
        )
        self._tell("ledger-failed", "error", text)

    def _news(self, contents: _Contents, keys: Collection[Key]) -> Iterator[_Entry]:
        """Yield what is not in *contents* yet about *keys*; it is taken to be there then."""
        world = self._engine.world
        general = self._engine.general()
        if general != contents.general:
            contents.general = general
            yield _General(general)
        for key in keys:
            state = world.states.get(key)
            if state is None:
                self._born.pop(key, None)
                if contents.entities.pop(key, None) is not None:
                    yield _Gone(key)
                continue
            spec, held = world.specs[key], world.holdings.get(key, ())
            if _same(contents.entities.get(key), (state, spec, held)):
                continue
            contents.entities[key] = state, spec, held
            number, fresh = contents.number(spec)
            if fresh:
                yield _Spec(number, spec)
            yield _Entity(key, number, state, world.links.get(key), held, self._birth(key, state))

    def _birth(self, key: Key, state: State) -> Born | None:
        """Return when the present child was started, as far as that is known."""
        if not state.live or state.listener:
            self._born.pop(key, None)
            return None
        generation, begun, known = self._born.get(key, (-1, 0.0, None))
        if generation != state.generation:
            begun, known = self._clock(), None
        if known is None and state.pid is not None:
            known = self._clock()
        self._born[key] = (state.generation, begun, known)
        return begun, begun if known is None else known


async def keep_trying(ledger: Ledger) -> None:
    """Write what could not be written as soon as that works again, whether anything happens or not.

    Ends never: whoever runs it cancels it.
    """
    while True:
        await ledger.failed.wait()
        await trio.sleep(RETRY)
        ledger.begin()


def read(records: Sequence[bytes], system: str) -> Kept | None:
    """Return what *records* say, or None if they say nothing about the present *system*.

    The times of the states are those that were written; `Head.shift` tells what they mean.

    Raises:
        Unusable: they are not to be understood.
    """
    head, specs, entities, general = None, dict[int, Component](), dict[Key, _Entity](), General()
    try:
        for record in records:
            for entry in _decoded(record):
                match entry:
                    case Head():
                        if entry.system != system:
                            return None
                        if entry.format != FORMAT:
                            text = f"it is in format {entry.format}, and this piesd knows {FORMAT}"
                            raise Unusable(text)
                        head = entry
                    case _Spec(number, spec):
                        specs[number] = spec
                    case _Entity(key):
                        entities[key] = entry
                    case _Gone(key):
                        entities.pop(key, None)
                    case _General(latest):
                        general = latest
        memos = tuple(
            Memo(key=key, spec=specs[each.spec], state=each.state, link=each.link, held=each.held)
            for key, each in entities.items()
        )
    except (msgspec.MsgspecError, ValueError, KeyError) as error:
        raise Unusable(f"it cannot be understood: {error}") from error
    if head is None:
        return None
    born = {key: each.born for key, each in entities.items() if each.born is not None}
    return Kept(head=head, memory=Memory(general=general, memos=memos), born=born)


def translated(memory: Memory, by: float) -> Memory:
    """Return *memory* with its times on a clock that shows *by* seconds more."""
    memos = tuple(replace(each, state=shifted(each.state, by)) for each in memory.memos)
    return replace(memory, memos=memos)


def _same(
    one: tuple[State, Component, tuple[Address, ...]] | None,
    other: tuple[State, Component, tuple[Address, ...]],
) -> bool:
    """Return whether nothing has changed; states and specs are never changed in their place."""
    return one is not None and one[0] is other[0] and one[1] is other[1] and one[2] == other[2]


# --- strings that are no Unicode, such as a file name from another world


def _encoded(entries: Sequence[_Entry]) -> bytes:
    try:
        return _ENCODER.encode(entries)
    except UnicodeEncodeError:
        return _ODD + _ENCODER.encode(_renamed(msgspec.to_builtins(entries), _escaped))


def _decoded(record: bytes) -> tuple[_Entry, ...]:
    if not record.startswith(_ODD):
        return _DECODER.decode(record)
    plain = _renamed(msgspec.msgpack.decode(record[len(_ODD) :]), _unescaped)
    return msgspec.convert(plain, tuple[_Entry, ...])


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    """Return *value*, of plain types, with every string in it renamed."""
    match value:
        case str():
            return rename(value)
        case dict():
            return {_renamed(key, rename): _renamed(each, rename) for key, each in value.items()}
        case list() | tuple():
            return [_renamed(each, rename) for each in value]
        case _:
            return value


def _escaped(text: str) -> str:
    return "\0" + text.encode("utf-8", "surrogatepass").decode("latin-1")


def _unescaped(text: str) -> str:
    return text[1:].encode("latin-1").decode("utf-8", "surrogatepass")

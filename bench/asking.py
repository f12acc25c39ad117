"""The least client of HTTP over a UNIX socket: it must not be what is measured.

It runs by its path too, as a client beside what is measured:

    asking.py SOCKET PATH   ask again and again until standard input ends, then print the longest
                            wait in seconds
"""

from __future__ import annotations

import select
import socket
import sys
import time


class Client:
    """One connection, kept alive."""

    def __init__(self, path: str, timeout: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(path)
        self._room = memoryview(bytearray(1 << 22))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, path: str, method: str = "GET") -> memoryview:
        """Return the answer, header and all; it is valid until the next request.

        Raises:
            OSError: the answer is neither a 200 nor "not now", a 503.
        """
        self._socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: piesd\r\n\r\n".encode())
        have, size = 0, 0
        while not size or have < size:
            some = self._socket.recv_into(self._room[have:])
            if not some:
                raise OSError("the connection was closed")
            have += some
            size = size or _size(bytes(self._room[: min(have, 4096)]))
        answer = self._room[:have]
        if bytes(answer[9:12]) not in (b"200", b"503"):
            raise OSError(f"{method} {path}: {bytes(answer[:400]).decode(errors='replace')}")
        return answer

    def times(self, path: str, count: int, seconds: float) -> list[float]:
        """Return how long each of *count* answers took; fewer if that takes over *seconds*."""
        times: list[float] = []
        begun = time.perf_counter()
        while len(times) < count and sum(times) < seconds:
            self.ask(path)
            now = time.perf_counter()
            times.append(now - begun)
            begun = now
        return times


def _size(beginning: bytes) -> int:
    """Return the size of the whole answer, or 0 if the header is not complete."""
    header, end, _ = beginning.partition(b"\r\n\r\n")
    if not end:
        return 0
    for line in header.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(header) + 4 + int(value)
    raise OSError("an answer without a length")


def ask_until_the_end(socket_path: str, path: str) -> None:
    """Ask until standard input ends, and tell how long the longest wait was."""
    longest = 0.0
    with Client(socket_path) as client:
        client.ask(path)
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            begun = time.perf_counter()
            client.ask(path)
            longest = max(longest, time.perf_counter() - begun)
    print(longest)


if __name__ == "__main__":
    ask_until_the_end(sys.argv[1], sys.argv[2])

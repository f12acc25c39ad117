"""Listening sockets: stale, living and alien paths, modes, owners, peers."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from supervisor.model.component import InetAddress, UnixAddress
from supervisor.model.errors import AlreadyRunning, CannotListen
from supervisor.system import sockets
from supervisor.system.port import ListenError
from supervisor.system.sockets import Listeners, open_control, peer_credentials

pytestmark = pytest.mark.real


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    made = Listeners()
    yield made
    made.dispose()


@pytest.fixture
def address(tmp_path: Path) -> UnixAddress:
    return UnixAddress(path=str(tmp_path / "s"))


def refused(listeners: Listeners, address: UnixAddress | InetAddress) -> ListenError:
    with pytest.raises(ListenError) as caught:
        listeners.listen(address)
    return caught.value


def test_a_stale_socket_is_replaced(listeners: Listeners, address: UnixAddress) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(address.path)
        dead.listen()
    fd = listeners.listen(address)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address.path)
        assert listeners.accept(fd) is not None


def test_a_living_socket_is_left_alone(listeners: Listeners, address: UnixAddress) -> None:
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(address.path)
        alive.listen()
        error = refused(listeners, address)
        assert (error.stage, error.error.errno) == ("bind", errno.EADDRINUSE)
        assert error.message == f"bind unix://{address.path}: is in use by another process"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address.path)


def test_a_living_socket_whose_backlog_is_full_is_alive(
    listeners: Listeners, address: UnixAddress
) -> None:
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(address.path)
        alive.listen(0)
        clients: list[socket.socket] = []
        with suppress(BlockingIOError):
            while len(clients) < 100:
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].setblocking(False)
                clients[-1].connect(address.path)
        assert refused(listeners, address).error.errno == errno.EADDRINUSE
        for client in clients:
            client.close()


def test_what_is_no_socket_is_never_removed(listeners: Listeners, address: UnixAddress) -> None:
    Path(address.path).write_text("precious")
    error = refused(listeners, address)
    assert (error.stage, error.error.errno) == ("bind", errno.EEXIST)
    assert error.message == f"bind unix://{address.path}: exists and is not a socket"
    assert Path(address.path).read_text() == "precious"


def test_a_link_is_not_followed_to_somebody_elses_socket(
    listeners: Listeners, address: UnixAddress, tmp_path: Path
) -> None:
    (tmp_path / "s").symlink_to(tmp_path / "t")
    assert refused(listeners, address).error.errno == errno.EEXIST


def test_unlisten_removes_the_path(listeners: Listeners, address: UnixAddress) -> None:
    listeners.unlisten(listeners.listen(address), address)
    assert not os.path.lexists(address.path)


def test_a_path_that_was_taken_away_leads_nowhere(
    listeners: Listeners, address: UnixAddress
) -> None:
    fd = listeners.listen(address)
    os.unlink(address.path)
    assert not listeners.leads_to(address, fd)
    Path(address.path).touch()
    assert not listeners.leads_to(address, fd)


def test_unlisten_leaves_a_path_that_is_somebody_elses_by_now(
    listeners: Listeners, address: UnixAddress
) -> None:
    fd = listeners.listen(address)
    os.unlink(address.path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(address.path)
        listeners.unlisten(fd, address)
        assert os.path.lexists(address.path)


def test_the_mode_is_what_was_asked_for_whatever_the_umask(
    listeners: Listeners, address: UnixAddress
) -> None:
    before = os.umask(0o077)
    try:
        fd = listeners.listen(UnixAddress(path=address.path, mode=0o666))
        assert stat.S_IMODE(os.stat(address.path).st_mode) == 0o666
        listeners.unlisten(fd, address)
        os.umask(0)
        listeners.listen(UnixAddress(path=address.path, mode=0o600))
        assert stat.S_IMODE(os.stat(address.path).st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_socket_is_never_wider_than_its_mode_not_even_for_a_moment(
    listeners: Listeners, address: UnixAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    chmod = os.chmod

    def watched(path: str, mode: int) -> None:
        modes.append(stat.S_IMODE(os.stat(path).st_mode))
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(path)
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", watched)
    before = os.umask(0)
    try:
        listeners.listen(UnixAddress(path=address.path, mode=0o640))
    finally:
        os.umask(before)
    assert modes == [0o640]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_the_owner_is_who_was_asked_for(listeners: Listeners, address: UnixAddress) -> None:
    listeners.listen(UnixAddress(path=address.path, user="nobody", group="adm", mode=0o660))
    status = os.stat(address.path)
    assert (status.st_uid, status.st_gid) == (65534, 4)


def test_an_unknown_owner_is_told_and_nothing_is_made(
    listeners: Listeners, address: UnixAddress
) -> None:
    error = refused(listeners, UnixAddress(path=address.path, user="nobodyy"))
    assert error.stage == "user"
    assert error.message == f"user unix://{address.path}: user 'nobodyy': no such user"
    assert not os.path.lexists(address.path)


def test_what_fails_after_the_bind_leaves_no_path(
    listeners: Listeners, address: UnixAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chmod(_path: str, _mode: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", chmod)
    error = refused(listeners, UnixAddress(path=address.path, mode=0o600))
    assert (error.stage, error.error.errno) == ("chmod", errno.EPERM)
    assert not os.path.lexists(address.path)


def test_bad_paths_have_clear_reasons(listeners: Listeners, tmp_path: Path) -> None:
    long = UnixAddress(path="/" + "x" * 200)
    assert "has 107 bytes at most" in refused(listeners, long).message
    missing = UnixAddress(path=str(tmp_path / "no" / "s"))
    assert refused(listeners, missing).error.errno == errno.ENOENT
    assert refused(listeners, UnixAddress(path="a\0b")).stage == "bind"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tcp_connections_come_with_their_peer(listeners: Listeners, host: str) -> None:
    try:
        fd = listeners.listen(InetAddress(host=host, port=0))
    except ListenError as error:
        pytest.skip(f"no such address family here: {error}")
    with socket.socket(fileno=os.dup(fd)) as bound:
        port = bound.getsockname()[1]
    assert listeners.accept(fd) is None
    with socket.create_connection((host, port)) as client:
        connection = listeners.accept(fd)
        assert connection is not None
        shown = f"[{host}]" if ":" in host else host
        assert connection.peer == f"{shown}:{client.getsockname()[1]}"
        assert os.get_blocking(connection.fd)
        assert not os.get_inheritable(connection.fd)
        os.close(connection.fd)


def test_a_port_that_is_taken_is_told(listeners: Listeners) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        error = refused(listeners, InetAddress(host="127.0.0.1", port=port))
    assert (error.stage, error.error.errno) == ("bind", errno.EADDRINUSE)
    assert error.message == f"bind inet+tcp://127.0.0.1:{port}: Address already in use"


def test_a_port_can_be_taken_again_at_once(listeners: Listeners) -> None:
    fd = listeners.listen(InetAddress(host="127.0.0.1", port=0))
    with socket.socket(fileno=os.dup(fd)) as bound:
        port = bound.getsockname()[1]
    address = InetAddress(host="127.0.0.1", port=port)
    client = socket.create_connection(("127.0.0.1", port))
    connection = listeners.accept(fd)
    assert connection is not None
    os.close(connection.fd)  # We close first, so our side of it lingers in TIME_WAIT.
    client.close()
    listeners.unlisten(fd, address)
    listeners.unlisten(listeners.listen(address), address)


def test_both_families_can_have_one_port(listeners: Listeners) -> None:
    try:
        six = listeners.listen(InetAddress(host="::", port=0))
    except ListenError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with socket.socket(fileno=os.dup(six)) as bound:
        port = bound.getsockname()[1]
    listeners.listen(InetAddress(host="0.0.0.0", port=port))


def test_a_unix_peer_is_known_by_its_credentials(
    listeners: Listeners, address: UnixAddress
) -> None:
    fd = listeners.listen(address)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address.path)
        connection = listeners.accept(fd)
        assert connection is not None
        assert connection.peer == f"uid={os.getuid()} pid={os.getpid()}"
        with socket.socket(fileno=connection.fd) as accepted:
            assert peer_credentials(accepted) == (os.getpid(), os.getuid(), os.getgid())


def test_a_client_that_is_gone_already_is_no_error(
    listeners: Listeners, address: UnixAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = listeners.listen(address)

    class Socket:
        def __init__(self, number: int) -> None:
            self.number = number

        def _accept(self) -> None:
            raise OSError(self.number, os.strerror(self.number))

    monkeypatch.setitem(listeners._sockets, fd, Socket(errno.ECONNABORTED))
    assert listeners.accept(fd) is None
    monkeypatch.setitem(listeners._sockets, fd, Socket(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        listeners.accept(fd)


def test_a_client_about_whom_nothing_can_be_learnt_is_not_left_waiting(
    listeners: Listeners, address: UnixAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = listeners.listen(address)

    def unlearnt(_fd: int) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(sockets, "_local_connection", unlearnt)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(address.path)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            listeners.accept(fd)
        assert client.recv(1) == b""


# --- control sockets


def test_a_control_socket_is_private_and_so_is_the_directory_made_for_it(tmp_path: Path) -> None:
    address = UnixAddress(path=str(tmp_path / "a" / "b" / "piesd.ctl"))
    with open_control(address) as control:
        assert not control.getblocking()
        assert not os.get_inheritable(control.fileno())
        assert stat.S_IMODE(os.stat(address.path).st_mode) == 0o600
        for directory in (tmp_path / "a", tmp_path / "a" / "b"):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    with open_control(UnixAddress(path=address.path, mode=0o660)):
        assert stat.S_IMODE(os.stat(address.path).st_mode) == 0o660


def test_a_control_socket_in_use_means_that_somebody_is_running(tmp_path: Path) -> None:
    address = UnixAddress(path=str(tmp_path / "piesd.ctl"))
    with open_control(address), pytest.raises(AlreadyRunning) as caught:
        open_control(address)
    assert str(caught.value) == (
        f"cannot open the control socket: bind unix://{address.path}: is in use by another process"
    )


def test_a_control_socket_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotListen, match="cannot open the control socket"):
        open_control(UnixAddress(path=str(tmp_path / "file" / "x" / "piesd.ctl")))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match="Address already in use"):
            open_control(InetAddress(host="127.0.0.1", port=port))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write in /run")
def test_a_directory_in_run_is_for_all_to_see() -> None:
    path = f"/run/piesd-test-{os.getpid()}"
    sockets.make_directory(path)
    try:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o755
    finally:
        os.rmdir(path)

"""Where piesctl looks for the control socket."""

from __future__ import annotations

import pytest

from supervisor.client.errors import BadAddress
from supervisor.client.place import InetPlace, Place, UnixPlace, find, parse_url

OWN = "/run/user/1000/piesd/piesd.ctl"
SYSTEM = "/run/piesd/piesd.ctl"
XDG = {"XDG_RUNTIME_DIR": "/run/user/1000"}


@pytest.mark.parametrize(
    ("url", "instance", "environ", "uid", "there", "path"),
    [
        (None, None, {}, 0, (), SYSTEM),
        (None, None, XDG, 0, (), SYSTEM),
        (None, "web", {}, 0, (), "/run/piesd/web.ctl"),
        (None, None, {"PIESD_INSTANCE": "web"}, 0, (), "/run/piesd/web.ctl"),
        (None, "db", {"PIESD_INSTANCE": "web"}, 0, (), "/run/piesd/db.ctl"),
        (None, None, {"PIESD_URL": "unix:///e.ctl"}, 0, (), "/e.ctl"),
        (None, None, {"PIESD_URL": "unix:///e.ctl", "PIESD_INSTANCE": "web"}, 0, (), "/e.ctl"),
        (None, "db", {"PIESD_URL": "unix:///e.ctl"}, 0, (), "/run/piesd/db.ctl"),
        ("unix:///u.ctl", "db", {"PIESD_URL": "unix:///e.ctl"}, 0, (), "/u.ctl"),
        (None, None, XDG, 1000, (OWN,), OWN),
        (None, None, XDG, 1000, (OWN, SYSTEM), OWN),
        (None, None, XDG, 1000, (SYSTEM,), SYSTEM),
        (None, None, XDG, 1000, (), OWN),
        (None, None, {}, 1000, (), "/tmp/piesd-1000/piesd.ctl"),
        (None, "web", {}, 1000, (SYSTEM,), "/tmp/piesd-1000/web.ctl"),
        (None, "web", XDG, 1000, ("/run/piesd/web.ctl",), "/run/piesd/web.ctl"),
        (None, "", {"PIESD_URL": "", "PIESD_INSTANCE": ""}, 0, (), SYSTEM),
    ],
)
def test_the_socket_is_that_of_url_instance_environment_or_user(
    url: str | None,
    instance: str | None,
    environ: dict[str, str],
    uid: int,
    there: tuple[str, ...],
    path: str,
) -> None:
    place = find(url, instance, environ=environ, uid=uid, exists=there.__contains__)
    assert place == UnixPlace(path)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("unix:///run/x.ctl", UnixPlace("/run/x.ctl")),
        ("unix:/run/x.ctl", UnixPlace("/run/x.ctl")),
        ("/run/x.ctl", UnixPlace("/run/x.ctl")),
        ("unix:///run/x.ctl;mode=0660;group=adm", UnixPlace("/run/x.ctl")),
        ("unix:///run/a%20b.ctl", UnixPlace("/run/a b.ctl")),
        ("http://127.0.0.1:8073", InetPlace("127.0.0.1", 8073)),
        ("http://localhost/", InetPlace("localhost", 80)),
        ("https://host:1", InetPlace("host", 1, tls=True)),
        ("https://host", InetPlace("host", 443, tls=True)),
        ("inet://[::1]:8073", InetPlace("::1", 8073)),
        ("inet+tcp://127.0.0.1:8073", InetPlace("127.0.0.1", 8073)),
    ],
)
def test_the_forms_in_which_piesd_writes_a_socket_are_understood(url: str, place: Place) -> None:
    assert parse_url(url) == place


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host", "scheme 'ftp' is unknown"),
        ("piesd", "no scheme"),
        ("unix://run/x.ctl", "full one"),
        ("http://:80", "no host"),
        ("http://host:port", "port"),
        ("http://host:99999", "ort"),
        ("http://me:secret@host", "do not belong into an address"),
        ("http://host/path", "after the port"),
    ],
)
def test_any_other_address_is_refused_with_a_reason(url: str, reason: str) -> None:
    with pytest.raises(BadAddress, match=reason):
        parse_url(url)


@pytest.mark.parametrize("name", ["../x", "a/b"])
def test_an_instance_is_a_name_and_no_path(name: str) -> None:
    with pytest.raises(BadAddress):
        find(None, name, environ={}, uid=0)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (UnixPlace("/x"), "unix:///x"),
        (InetPlace("::1", 1), "http://[::1]:1"),
        (InetPlace("host", 1), "http://host:1"),
        (InetPlace("host", 1, tls=True), "https://host:1"),
    ],
)
def test_a_place_is_written_so_that_it_can_be_given_again(place: Place, text: str) -> None:
    assert str(place) == text
    assert parse_url(text) == place

"""Who is who: uids, loopback, certificates, passwords and tokens; what a wrong one costs."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from guarded import (
    DENY,
    SOCKET,
    Users,
    basic,
    guarded,
    inline,
    let,
    line,
    only,
    settings,
    token_line,
    user,
)
from supervisor.config import passwords
from supervisor.control import logins
from supervisor.control.identity import (
    NOBODY,
    REMEMBERED,
    Caller,
    Identities,
    Origin,
    Unauthorized,
    is_loopback,
)
from supervisor.control.logins import Counts, TooManyLogins
from supervisor.control.providers import Providers
from supervisor.model.access import Acl, Rule, Subject
from supervisor.model.component import Component
from supervisor.model.errors import Forbidden
from supervisor.model.settings import Provider

Clock = trio.testing.MockClock

USERS = Users(
    {1001: ("ann", frozenset({"ann", "staff"})), 0: ("root", frozenset({"root"}))},
    {"ann": "sesame"},
)
LOCAL = Origin(address="127.0.0.1", port=4711)
FAR = Origin(address="192.0.2.1", port=4711, secure=True)
SYSTEM = Provider(name="here", type="system")
PAM = Provider(name="modules", type="pam", service="pies")


def identities(uid: int = 1000, **values: Any) -> Identities:
    return Identities(settings(**values), accounts=USERS, blocking=inline, uid=uid)


@pytest.fixture
def file(tmp_path: Path) -> Provider:
    """A file of two users, a cheap hash each, and a token."""
    path = str(tmp_path / "users")
    passwords.write(
        path,
        [
            line("bob", "one", "ops"),
            line("carol", "two"),
            token_line("robot", "t0ken", "machines"),
        ],
    )
    return Provider(name="ours", type="file", path=path)


# --- UNIX sockets


async def test_root_and_the_daemons_own_user_are_administrators_and_nobody_else_is() -> None:
    known = identities(uid=1001)
    root = await known.identify(Origin(address=SOCKET, uid=0))
    assert root == Caller(
        f"uid 0 (root) over {SOCKET}",
        "admin",
        Subject(user="root", groups=frozenset({"root"}), address=SOCKET),
    )
    assert (await known.identify(Origin(address=SOCKET, uid=1001))).rights == "admin"
    stranger = await known.identify(Origin(address=SOCKET, uid=1234567))
    assert stranger == Caller(
        f"uid 1234567 over {SOCKET}", "none", Subject(user="#1234567", address=SOCKET)
    )


async def test_other_users_have_the_name_and_the_groups_that_the_machine_knows() -> None:
    ann = await identities().identify(Origin(address=SOCKET, uid=1001))
    groups = frozenset({"ann", "staff"})
    assert ann.name == f"uid 1001 (ann) over {SOCKET}"
    assert ann.subject == Subject(user="ann", groups=groups, address=SOCKET)
    assert ann.rights == "none"
    assert ann.by_rules


async def test_a_uid_is_looked_up_once_in_a_while(autojump_clock: Clock) -> None:
    users = Users({7: ("g", frozenset())})
    known = Identities(settings(), accounts=users, blocking=inline, uid=0)
    users.asked.clear()
    for _ in range(3):
        await known.identify(Origin(address=SOCKET, uid=7))
    assert users.asked == [7]
    await trio.sleep(REMEMBERED)
    await known.identify(Origin(address=SOCKET, uid=7))
    for uid in range(100, 1100):
        await known.identify(Origin(address=SOCKET, uid=uid))
    assert len(known._users) <= 256
    await known.identify(Origin(address=SOCKET, uid=7))
    assert users.asked.count(7) == 3


# --- TCP without credentials


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("rights", ["list", "admin"])
async def test_strangers_on_loopback_may_do_what_was_configured(host: str, rights: Any) -> None:
    origin = Origin(address=host, port=1)
    caller = await identities(anonymous=rights).identify(origin)
    assert caller.rights == rights
    assert caller.subject == Subject(address=host)
    assert not caller.trusted
    assert (await identities().identify(origin)).rights == "none"


@pytest.mark.parametrize("host", ["192.0.2.1", "fe80::1%eth0", "::", "0.0.0.0"])
async def test_strangers_from_elsewhere_may_do_nothing(host: str) -> None:
    assert not is_loopback(host)
    secure = Origin(address=host, secure=True)
    caller = await identities(anonymous="admin").identify(secure)
    assert caller.rights == "none"
    assert not caller.by_rules


async def test_what_comes_over_a_network_without_tls_is_refused_unread(file: Provider) -> None:
    known = identities(providers=(file,))
    for shown in (None, basic("bob", "one")):
        with pytest.raises(Forbidden, match="without TLS"):
            await known.identify(Origin(address="192.0.2.1"), shown)
    assert known.counts == Counts()


async def test_who_shows_nothing_where_providers_are_has_to_log_in(file: Provider) -> None:
    with pytest.raises(Unauthorized) as missing:
        await identities(providers=(file,), realm="r").identify(LOCAL)
    assert (missing.value.realm, missing.value.schemes) == ("r", ("Basic", "Bearer"))
    with pytest.raises(Unauthorized) as missing:
        await identities(providers=(PAM,)).identify(LOCAL)
    assert missing.value.schemes == ("Basic",)


async def test_the_name_in_a_client_certificate_is_the_user(file: Provider) -> None:
    known = identities(providers=(file, SYSTEM))
    bob = await known.identify(Origin(address="192.0.2.1", certificate="bob", secure=True))
    assert bob.subject == Subject(user="bob", groups=frozenset({"ops"}), address="192.0.2.1")
    assert bob.rights == "none"
    ann = await known.identify(Origin(address="192.0.2.1", certificate="ann", secure=True))
    assert ann.subject is not None
    assert ann.subject.groups == {"ann", "staff"}


# --- credentials


async def test_a_name_and_a_password_of_the_file(file: Provider) -> None:
    bob = await identities(providers=(file,)).identify(FAR, basic("bob", "one"))
    assert bob.subject == Subject(user="bob", groups=frozenset({"ops"}), address="192.0.2.1")
    assert bob.name == "user bob at 192.0.2.1:4711"
    assert bob.rights == "none"


async def test_a_token_of_the_file(file: Provider) -> None:
    robot = await identities(providers=(SYSTEM, file)).identify(FAR, "Bearer t0ken")
    assert robot.subject is not None
    assert (robot.subject.user, robot.subject.groups) == ("robot", {"machines"})


@pytest.mark.parametrize(
    "shown",
    [
        basic("bob", "wrong"),
        basic("bob", ""),
        basic("nobody", "one"),
        basic("carol", "one"),
        basic("robot", "t0ken"),
        basic("robot", passwords.hash_token("t0ken")),
        basic("bob", "one\0"),
        "Basic " + b64encode(b"bob").decode(),
        "Basic " + b64encode(b":one").decode(),
        "Basic ***",
        "Basic " + b64encode(b"\xff:\xff").decode(),
        "Basic",
        "Bearer",
        "Bearer wrong",
        "Bearer " + passwords.hash_token("t0ken"),
        "Digest x",
        "",
        "x" * 10_000,
        basic("b" * 5_000, "x"),
    ],
)
async def test_anything_else_is_refused(shown: str, file: Provider, autojump_clock: Clock) -> None:
    with trio.fail_after(60), pytest.raises(Unauthorized):
        await identities(providers=(file,), anonymous="admin").identify(LOCAL, shown)


async def test_credentials_replace_the_uid_and_the_certificate_good_or_bad(
    file: Provider, autojump_clock: Clock
) -> None:
    known = identities(providers=(file,))
    with trio.fail_after(60):
        for origin in (
            Origin(address=SOCKET, uid=0),
            Origin(address="192.0.2.1", certificate="ann", secure=True),
        ):
            bob = await known.identify(origin, basic("bob", "one"))
            assert (bob.rights, bob.subject and bob.subject.user) == ("none", "bob")
            with pytest.raises(Unauthorized):
                await known.identify(origin, basic("bob", "wrong"))


async def test_credentials_that_nobody_can_judge_are_wrong(autojump_clock: Clock) -> None:
    with trio.fail_after(60), pytest.raises(Unauthorized):
        await identities().identify(Origin(address=SOCKET, uid=0), basic("root", ""))


async def test_providers_are_asked_in_their_order_until_one_says_yes(
    autojump_clock: Clock,
) -> None:
    users = Users(USERS.numbers, USERS.passwords)
    broken = Provider(name="broken", type="pam", service="broken")
    known = Identities(
        settings(providers=(broken, PAM, SYSTEM)), accounts=users, blocking=inline, uid=1000
    )
    users.asked.clear()
    with trio.fail_after(60):
        ann = await known.identify(FAR, basic("ann", "sesame"))
        assert users.asked == [("broken", "ann"), ("pies", "ann")]
        assert ann.subject is not None
        assert ann.subject.groups == {"ann", "staff"}
        users.asked.clear()
        with pytest.raises(Unauthorized):
            await known.identify(FAR, basic("ann", "wrong"))
        assert users.asked == [("broken", "ann"), ("pies", "ann"), ("system", "ann")]


async def test_from_where_nobody_is_let_in_no_password_is_tried(file: Provider) -> None:
    acl = Acl((Rule(allow=True, who="user", names=("bob",), sources=("10.0.0.0/8",)), DENY))
    known = identities(providers=(file,), acl=acl)
    with pytest.raises(Forbidden, match="nobody may connect from 192.0.2.1"):
        await known.identify(FAR, basic("bob", "one"))
    near = Origin(address="10.1.1.1", secure=True)
    assert (await known.identify(near, basic("bob", "one"))).by_rules


# --- cost


def test_an_unknown_name_costs_what_a_wrong_password_costs(
    file: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def is_password(hashed: str, password: str) -> bool:
        tried.append(hashed.rpartition("$")[0].rpartition("$")[0])
        return False

    monkeypatch.setattr(passwords, "is_password", is_password)
    providers = Providers((file,), USERS)
    for name in ("bob", "nobody", "robot"):
        assert [each.ask() for each in providers.password(name, "wrong")] == [None]
    assert len(tried) == 3
    assert len(set(tried)) == 1, "with the same parameters"


async def test_what_was_good_is_not_tried_again_for_a_moment(
    file: Provider, autojump_clock: Clock
) -> None:
    users = Users(passwords={"ann": "sesame"})
    known = Identities(settings(providers=(SYSTEM,)), accounts=users, blocking=inline, uid=1000)
    users.asked.clear()
    for _ in range(5):
        await known.identify(FAR, basic("ann", "sesame"))
    assert users.asked == [("system", "ann")]
    assert known.counts == Counts(5, 0)
    await trio.sleep(logins.REMEMBERED)
    await known.identify(FAR, basic("ann", "sesame"))
    known.use(settings(providers=(SYSTEM,)))
    await known.identify(FAR, basic("ann", "sesame"))
    assert len(users.asked) == 3
    stored = repr(known._logins._good)
    assert "sesame" not in stored


async def test_failures_are_delayed_more_and_more_and_a_success_ends_that(
    file: Provider, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    known, waited = identities(providers=(file,)), []
    for _ in range(7):
        begun = trio.current_time()
        with pytest.raises(Unauthorized):
            await known.identify(FAR, basic("bob", "my-secret-guess"))
        waited.append(trio.current_time() - begun)
    assert waited == [0.5, 1, 2, 4, 8, 10, 10]
    assert known.counts == Counts(0, 7)
    assert "the user 'bob' from 192.0.2.1, attempt 7" in caplog.text
    assert "my-secret-guess" not in caplog.text
    begun = trio.current_time()
    await known.identify(FAR, basic("bob", "one"))
    assert trio.current_time() == begun, "what is right is not delayed"
    with pytest.raises(Unauthorized):
        await known.identify(FAR, basic("bob", "wrong"))
    assert trio.current_time() - begun == 0.5


async def test_a_failure_of_one_delays_no_other_user_and_no_other_address(
    file: Provider, autojump_clock: Clock
) -> None:
    known = identities(providers=(file,))
    for _ in range(6):
        with pytest.raises(Unauthorized):
            await known.identify(FAR, basic("bob", "wrong"))
    for origin, name in ((FAR, "carol"), (Origin(address="192.0.2.2", secure=True), "bob")):
        begun = trio.current_time()
        with pytest.raises(Unauthorized):
            await known.identify(origin, basic(name, "wrong"))
        assert trio.current_time() - begun == 0.5


async def test_going_through_names_from_one_address_is_delayed_as_well(
    file: Provider, autojump_clock: Clock
) -> None:
    known = identities(providers=(file,))
    begun = trio.current_time()
    for number in range(logins.FREE_NAMES + 8):
        begun = trio.current_time()
        with pytest.raises(Unauthorized):
            await known.identify(FAR, basic(f"name{number}", "wrong"))
    assert trio.current_time() - begun == logins.LONGEST_DELAY


async def test_attempts_at_once_take_as_long_as_one_by_one_and_only_few_are_kept_waiting(
    file: Provider, autojump_clock: Clock
) -> None:
    known, refused, turned_away = identities(providers=(file,)), list[float](), list[float]()

    async def attempt() -> None:
        try:
            await known.identify(FAR, basic("bob", "wrong"))
        except Unauthorized:
            refused.append(trio.current_time())
        except TooManyLogins:
            turned_away.append(trio.current_time())

    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(attempt)
    assert len(refused) == logins.MOST_PENDING
    assert len(turned_away) == 100 - logins.MOST_PENDING
    assert all(at == begun for at in turned_away)
    assert refused[-1] - begun > 30
    assert known.counts.failed == logins.MOST_PENDING


async def test_whoever_goes_away_before_the_answer_has_gained_nothing(
    file: Provider, autojump_clock: Clock
) -> None:
    """What is right is answered at once, so no answer is one, too: the delay must not end."""
    known = identities(providers=(file,))
    for number in range(40):
        with trio.move_on_after(0.01):
            await known.identify(FAR, basic("bob", f"guess{number}"))
    assert known.counts.failed == 1
    begun = trio.current_time()
    for number in range(logins.FREE_NAMES + 20):
        with trio.move_on_after(0.01):
            await known.identify(FAR, basic(f"name{number}", "wrong"))
    assert known.counts.failed <= logins.FREE_NAMES + 1
    assert trio.current_time() - begun < 1


async def test_what_is_remembered_of_failures_is_bounded(
    file: Provider, autojump_clock: Clock
) -> None:
    known = identities(providers=(file,))
    for number in range(1500):
        known._logins._failures(f"10.0.{number // 256}.{number % 256}", "bob")
    assert len(known._logins._bad) == 1024


async def test_providers_that_give_no_answer_are_given_up(
    file: Provider, autojump_clock: Clock
) -> None:
    async def stuck(job: Any, *args: Any) -> Any:
        await trio.sleep_forever()

    known = Identities(settings(providers=(file,)), blocking=stuck, uid=1000)
    with trio.fail_after(60), pytest.raises(Unauthorized):
        await known.identify(FAR, basic("bob", "one"))
    assert trio.current_time() < 20


async def test_a_provider_that_is_silent_is_passed_over_in_time_for_the_others(
    file: Provider, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    users = Users()

    async def silent_pam(job: Any, *args: Any) -> Any:
        users.asked.clear()
        found = await inline(job, *args)
        if users.asked:
            await trio.sleep_forever()
        return found

    known = Identities(
        settings(providers=(PAM, file)), accounts=users, blocking=silent_pam, uid=1000
    )
    with trio.fail_after(60):
        bob = await known.identify(FAR, basic("bob", "one"))
    assert bob.subject is not None
    assert bob.subject.groups == {"ops"}
    assert trio.current_time() == logins.PATIENCE / 2
    assert "cannot ask the identity provider modules: it gave no answer in 5 s" in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (Origin(address=SOCKET, uid=5), Origin(address=SOCKET, uid=6), True),
        (Origin(address=SOCKET, uid=5), Origin(address=SOCKET, uid=5), False),
        (
            Origin(address="2001:db8::1", secure=True),
            Origin(address="2001:db8::2:1", secure=True),
            False,
        ),
        (
            Origin(address="2001:db8::1", secure=True),
            Origin(address="2001:db8:0:1::1", secure=True),
            True,
        ),
        (
            Origin(address="::ffff:192.0.2.1", secure=True),
            Origin(address="::ffff:192.0.2.2", secure=True),
            True,
        ),
        (
            Origin(address="fe80::1%eth0", secure=True),
            Origin(address="fe80::2", secure=True),
            False,
        ),
    ],
)
async def test_all_from_where_one_can_easily_come_is_delayed_as_one_and_no_more(
    one: Origin, other: Origin, apart: bool, file: Provider, autojump_clock: Clock
) -> None:
    known = identities(providers=(file,))
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await known.identify(one, basic("bob", "wrong"))
    begun = trio.current_time()
    with pytest.raises(Unauthorized):
        await known.identify(other, basic("bob", "wrong"))
    assert trio.current_time() - begun == (0.5 if apart else 4.0)


async def test_who_cannot_be_looked_up_is_not_let_in(autojump_clock: Clock) -> None:
    async def stuck(job: Any, *args: Any) -> Any:
        await trio.sleep_forever()

    known = Identities(settings(), accounts=USERS, blocking=stuck, uid=1000)
    for origin in (
        Origin(address=SOCKET, uid=1001),
        Origin(address="192.0.2.1", certificate="ann", secure=True),
    ):
        with trio.fail_after(60), pytest.raises(Forbidden, match="gives no answer"):
            await known.identify(origin)


async def test_a_file_that_others_may_write_lets_nobody_in(
    file: Provider, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    known = identities(providers=(file,))
    Path(file.path).chmod(0o622)
    for shown in (basic("bob", "one"), "Bearer t0ken"):
        with trio.fail_after(60), pytest.raises(Unauthorized):
            await known.identify(FAR, shown)
    assert "cannot ask the identity provider ours: others may write it" in caplog.text


# --- over HTTP

WEB = Component(tag="web", argv=("web",))


async def test_over_http_a_login_is_asked_for_and_its_rights_decide(
    file: Provider, autojump_clock: Clock
) -> None:
    from supervisor.api.peer import Peer

    with trio.fail_after(60):
        async with guarded([WEB], providers=(file,), user_acl=only("bob"), realm='a "b"') as asked:
            peer: Any = Peer(FAR, "192.0.2.9")
            answer = await asked.ask("GET", "/programs", peer=peer)
            assert answer.status == 401
            assert answer.json["message"] == "You are unauthorized to access this area"
            assert answer.headers["www-authenticate"].startswith(("Basic", "Bearer"))
            for shown, status in (
                (basic("bob", "one"), 200),
                (basic("bob", "two"), 401),
                (basic("carol", "two"), 403),
                ("Bearer t0ken", 403),
            ):
                answer = await asked.ask(
                    "GET", "/v1/components", peer=peer, headers={"Authorization": shown}
                )
                assert answer.status == status, shown
            about = await asked.ask("GET", "/v1/diag/about")
            assert about.json["logins"] == {"good": 3, "failed": 1}


async def test_rules_and_users_of_a_reload_hold_for_the_next_request(
    file: Provider, autojump_clock: Clock
) -> None:
    from msgspec.structs import replace

    from asked import ROOT
    from supervisor.api.peer import Peer

    with trio.fail_after(60):
        async with guarded([WEB], user_acl=only("ann")) as asked:
            peer: Any = Peer(FAR, "192.0.2.9")
            bob = {"Authorization": basic("bob", "one")}
            assert (await asked.ask("GET", "/programs", peer=peer, headers=bob)).status == 401
            changed = replace(
                asked.disk.plan.control, providers=(file,), user_acl=only("bob"), realm="new"
            )
            asked.disk.plan = replace(asked.disk.plan, control=changed)
            done = await asked.control.reload(ROOT)
            assert done.message == (
                "nothing changed; [control] realm, [control] identity-provider, "
                "[control] user-acl: for the next request"
            )
            assert (await asked.ask("GET", "/programs", peer=peer, headers=bob)).status == 200
            assert (await asked.ask("GET", "/programs", peer=user("ann"))).status == 403


async def test_who_may_not_connect_gets_the_same_answer_to_everything(
    autojump_clock: Clock,
) -> None:
    with trio.fail_after(60):
        async with guarded([WEB], acl=Acl((let("ann"), DENY)), user_acl=only("bob")) as asked:
            bodies = set()
            for target in ("/programs", "/alive/web", "/alive/nobody", "/instance", "/nowhere"):
                answer = await asked.ask("GET", target, peer=user("bob"))
                assert answer.status == 403
                bodies.add(answer.body)
            assert len(bodies) == 1
            assert (await asked.ask("GET", "/programs", peer=NOBODY)).status == 403

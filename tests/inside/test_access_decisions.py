"""The table of docs/access.md: who sees and does what, by the way they came and the rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from guarded import DENY, administrator, anonymous, let, only, settings, user
from supervisor.control.access import (
    controls,
    grants,
    hopeless,
    may_administer,
    may_connect,
    sees,
    standing,
)
from supervisor.control.identity import NOBODY, Caller
from supervisor.model.access import Acl, Rule, Subject, allows
from supervisor.model.component import Component

ANN, ROOT = user("ann", "staff"), administrator()
GUEST, OPEN = anonymous("list"), anonymous("admin")
STRANGER = anonymous("none", "192.0.2.1")
SELF = Caller("SIGHUP", "admin")
EVERYBODY = {"ann": ANN, "root": ROOT, "guest": GUEST, "open": OPEN, "stranger": STRANGER}

NONE = None
ANN_ONLY, ROOT_ONLY, NOBODY_AT_ALL = only("ann"), only("root"), Acl((DENY,))
SILENT = Acl((Rule(allow=False, who="user", names=("mallory",)),))
"""A list that says nothing about anybody here."""


def outcome(caller: Caller, component: dict[str, Any], **rules: Any) -> str:
    """What *caller* may do: `i`nstance, `s`ee, `c`ontrol; `-` is nothing."""
    control = settings(**rules)
    spec = Component(tag="web", argv=("web",), **component)
    how = standing(control, caller)
    letters = (
        "i" * may_administer(control, caller)
        + "s" * sees(how, caller, spec)
        + "c" * controls(how, caller, spec)
    )
    return letters or "-"


ROWS: list[tuple[dict[str, Any], dict[str, Any], tuple[str, str, str, str, str]]] = [
    # control, component: what ann (by rules), root, guest (list), open (admin), stranger may
    ({}, {}, ("-", "isc", "s", "isc", "-")),
    ({"user_acl": SILENT}, {}, ("-", "isc", "s", "isc", "-")),
    ({"admin_acl": SILENT}, {}, ("-", "isc", "s", "isc", "-")),
    ({"user_acl": ANN_ONLY}, {}, ("sc", "i", "-", "i", "-")),
    ({"admin_acl": ANN_ONLY}, {}, ("isc", "sc", "s", "sc", "-")),
    ({"user_acl": NOBODY_AT_ALL}, {}, ("-", "i", "-", "i", "-")),
    ({"admin_acl": NOBODY_AT_ALL}, {}, ("-", "sc", "s", "sc", "-")),
    ({"admin_acl": ANN_ONLY, "user_acl": ROOT_ONLY}, {}, ("i", "sc", "-", "-", "-")),
    ({"user_acl": Acl((Rule(allow=True),))}, {}, ("sc", "isc", "s", "isc", "-")),
    ({}, {"list_acl": ANN_ONLY}, ("s", "i", "-", "i", "-")),
    ({}, {"admin_acl": ANN_ONLY}, ("sc", "is", "s", "is", "-")),
    ({}, {"list_acl": ROOT_ONLY}, ("-", "isc", "-", "i", "-")),
    ({}, {"admin_acl": ROOT_ONLY}, ("-", "isc", "s", "is", "-")),
    ({}, {"list_acl": SILENT, "admin_acl": ANN_ONLY}, ("sc", "is", "s", "is", "-")),
    ({}, {"list_acl": ROOT_ONLY, "admin_acl": ANN_ONLY}, ("-", "is", "-", "i", "-")),
    ({}, {"list_acl": NOBODY_AT_ALL}, ("-", "i", "-", "i", "-")),
    ({"user_acl": ANN_ONLY}, {"list_acl": ROOT_ONLY}, ("-", "i", "-", "i", "-")),
    ({"user_acl": ANN_ONLY}, {"admin_acl": ROOT_ONLY}, ("s", "i", "-", "i", "-")),
    ({"user_acl": ROOT_ONLY}, {"list_acl": ANN_ONLY}, ("-", "i", "-", "i", "-")),
]


@pytest.mark.parametrize(("control", "component", "expected"), ROWS)
def test_the_table_of_decisions(
    control: dict[str, Any], component: dict[str, Any], expected: tuple[str, ...]
) -> None:
    found = tuple(outcome(caller, component, **control) for caller in EVERYBODY.values())
    assert dict(zip(EVERYBODY, found, strict=True)) == dict(zip(EVERYBODY, expected, strict=True))


@pytest.mark.parametrize(("control", "component", "expected"), ROWS)
def test_no_rule_binds_piesd_itself_and_none_helps_whoever_is_nobody(
    control: dict[str, Any], component: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert outcome(SELF, component, **control) == "isc"
    assert outcome(NOBODY, component, **control) == "-"


def test_who_may_connect_is_said_by_acl_alone_and_to_everybody() -> None:
    nobody, nothing = settings(acl=NOBODY_AT_ALL), settings()
    for caller in EVERYBODY.values():
        assert may_connect(nothing, caller)
        assert not may_connect(nobody, caller)
    assert may_connect(nobody, SELF)
    assert outcome(ANN, {}, acl=only("ann")) == "-", "to connect is not yet to do anything"


def test_to_be_let_in_by_silence_is_not_to_be_granted_anything() -> None:
    ann = Subject(user="ann")
    assert allows(SILENT, ann)
    assert not grants(SILENT, ann)
    assert not grants(None, ann)
    assert grants(Acl((let("ann"),)), ann)
    assert not grants(Acl((DENY, let("ann"))), ann)


@pytest.mark.parametrize(
    ("rules", "address", "expected"),
    [
        ((), "192.0.2.1", False),
        ((DENY,), "192.0.2.1", True),
        ((let("ann"), DENY), "192.0.2.1", False),
        ((replace(let("ann"), sources=("10.0.0.0/8",)), DENY), "192.0.2.1", True),
        ((replace(let("ann"), sources=("10.0.0.0/8",)), DENY), "10.1.2.3", False),
        ((Rule(allow=True, sources=("10.0.0.0/8",)), DENY), "10.1.2.3", False),
        ((Rule(allow=True, sources=("10.0.0.0/8",)), DENY), "::ffff:10.1.2.3", False),
        ((Rule(allow=False, who="user", names=("ann",)),), "192.0.2.1", False),
        ((Rule(allow=False, also=(ANN_ONLY,)), let("bob")), "192.0.2.1", False),
        ((Rule(allow=True, also=(ANN_ONLY,)), DENY), "192.0.2.1", False),
        ((Rule(allow=False, sources=("192.0.2.0/24",)),), "192.0.2.1", True),
        ((Rule(allow=False, sources=("/run/x.ctl",)),), "/run/x.ctl", True),
        ((Rule(allow=False, sources=("/run/x.ctl",)),), "/run/y.ctl", False),
    ],
)
def test_passwords_are_not_tried_for_addresses_from_which_nobody_is_let_in(
    rules: tuple[Rule, ...], address: str, expected: bool
) -> None:
    assert hopeless(Acl(rules), address) is expected


# --- what holds for all rules

names = st.sampled_from(["ann", "bob", "root", "staff"])
addresses = st.sampled_from(["10.1.2.3", "192.0.2.1", "/run/x.ctl"])
networks = st.sampled_from(["10.0.0.0/8", "192.0.2.1", "/run/x.ctl"])
plain_rules = st.builds(
    Rule,
    allow=st.booleans(),
    who=st.sampled_from(["all", "authenticated", "user", "group"]),
    names=st.lists(names, max_size=2).map(tuple),
    sources=st.lists(networks, max_size=2).map(tuple),
)
acls = st.builds(Acl, st.lists(plain_rules, max_size=3).map(tuple))
rules = st.one_of(
    plain_rules,
    st.builds(lambda rule, acl: replace(rule, also=(acl,)), plain_rules, acls),
)
lists = st.one_of(st.none(), st.builds(Acl, st.lists(rules, max_size=4).map(tuple)))
subjects = st.builds(
    Subject,
    user=st.one_of(st.none(), names),
    groups=st.frozensets(names, max_size=2),
    address=addresses,
)
callers = st.builds(
    lambda rights, subject: Caller("x", rights, subject),
    st.sampled_from(["none", "list", "admin"]),
    subjects,
)


@given(callers, lists, lists, lists, lists)
def test_whoever_is_denied_does_nothing_whatever_it_is(
    caller: Caller, user_acl: Acl, admin_acl: Acl, list_acl: Acl, own: Acl
) -> None:
    spec = Component(tag="web", argv=("web",), list_acl=list_acl, admin_acl=own)
    assert caller.subject is not None
    control = settings(user_acl=user_acl, admin_acl=admin_acl)
    how = standing(control, caller)
    seen, obeyed = sees(how, caller, spec), controls(how, caller, spec)
    assert seen or not obeyed, "what obeys can be seen"
    if not allows(user_acl, caller.subject):
        assert not seen
    if not allows(list_acl, caller.subject):
        assert not seen
    if not allows(own, caller.subject):
        assert not obeyed
    if not allows(admin_acl, caller.subject):
        assert not may_administer(control, caller)
    if caller.rights == "list":
        assert not obeyed
        assert not may_administer(control, caller)
    if caller.rights == "none" and caller.subject.user is None:
        assert not seen


@given(lists, subjects)
def test_what_is_granted_is_allowed_too(acl: Acl | None, subject: Subject) -> None:
    assert not grants(acl, subject) or allows(acl, subject)


@given(lists, subjects)
def test_where_there_is_no_hope_nobody_is_let_in(acl: Acl | None, subject: Subject) -> None:
    if hopeless(acl, subject.address):
        assert not allows(acl, subject)

"""Who may do what: access control lists, identity providers, sockets for orders."""

from __future__ import annotations

import pytest

from config_text import component_of, plan_of, problems_of
from supervisor.model.access import Acl, Rule, Subject, allows
from supervisor.model.settings import Provider, Tls

HEAD = '[component.x]\ncommand = "prog"\n'
PROVIDER = "[identity-provider.us]\ntype = 'system'\n"
TLS = "tls = { cert = '/etc/cert.pem', key = '/etc/key.pem' }\n"


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("allow", Rule(allow=True)),
        ("deny all", Rule(allow=False)),
        ("ALLOW Authenticated", Rule(allow=True, who="authenticated")),
        ("allow user anna,ben", Rule(allow=True, who="user", names=("anna", "ben"))),
        ("deny  group a , b", Rule(allow=False, who="group", names=("a", "b"))),
        ("allow from 10.0.0.1", Rule(allow=True, sources=("10.0.0.1",))),
        ("allow from 10.1.2.3/8,::1", Rule(allow=True, sources=("10.0.0.0/8", "::1"))),
        ("allow all from /run/x.ctl", Rule(allow=True, sources=("/run/x.ctl",))),
        (
            "deny from office.example.org",
            Rule(allow=False, sources=("192.0.2.1", "2001:db8::1")),
        ),
    ],
)
def test_a_rule_becomes_what_it_says(written: str, rule: Rule) -> None:
    assert component_of(f"{HEAD}list-acl = ['{written}']").list_acl == Acl((rule,))


def test_named_lists_are_used_by_name_and_in_rules() -> None:
    text = """
        [acl]
        staff = ["allow group staff acl office", "deny all"]
        office = ["allow from 10.0.0.0/8", "deny all"]
        """
    component = component_of(f"{text}{HEAD}list-acl = 'staff'\nadmin-acl = ['deny acl office']")
    office = Acl((Rule(allow=True, sources=("10.0.0.0/8",)), Rule(allow=False)))
    staff = Acl(
        (
            Rule(allow=True, who="group", names=("staff",), also=(office,)),
            Rule(allow=False),
        )
    )
    assert component.list_acl == staff
    assert component.admin_acl == Acl((Rule(allow=False, also=(office,)),))
    inside = Subject(user="anna", groups=frozenset({"staff"}), address="10.1.1.1")
    outside = Subject(user="anna", groups=frozenset({"staff"}), address="192.0.2.1")
    assert [allows(staff, each) for each in (inside, outside)] == [True, False]


def test_an_empty_list_lets_everybody_pass_and_no_list_is_none() -> None:
    component = component_of(HEAD + "list-acl = []")
    assert (component.list_acl, component.admin_acl) == (Acl(), None)


def test_the_lists_of_control() -> None:
    control = plan_of(
        "[acl]\na = ['deny all']\n[control]\nrealm = 'us'\nacl = 'a'\n"
        "admin-acl = ['allow user r']\n"
        "user-acl = ['allow authenticated']\n" + HEAD
    ).control
    assert control.realm == "us"
    assert control.acl == Acl((Rule(allow=False),))
    assert control.admin_acl == Acl((Rule(allow=True, who="user", names=("r",)),))
    assert control.user_acl == Acl((Rule(allow=True, who="authenticated"),))


def test_each_fault_of_a_list_that_many_use_is_told_once() -> None:
    text = "[acl]\na = ['allow from nope.example.org']\n[defaults]\nlist-acl = 'a'\n" + HEAD
    (problem,) = problems_of(text + "instances = 3")
    assert (problem.line, problem.key) == (2, "acl.a[0]")


def test_a_name_that_two_files_define_is_a_problem() -> None:
    (problem,) = problems_of("[acl]\na = []\n" + HEAD, "[acl]\na = []")
    assert str(problem) == "b.toml:2: acl.a: is already defined at a.toml:2"


# --- identity providers


def test_identity_providers_in_the_order_of_the_file_or_as_named() -> None:
    text = """
        [identity-provider.us]
        type = "system"
        [identity-provider.pam]
        type = "pam"
        service = "login"
        [identity-provider.file]
        type = "file"
        path = "/etc/secret"
        """
    us = Provider(name="us", type="system")
    pam = Provider(name="pam", type="pam", service="login")
    file = Provider(name="file", type="file", path="/etc/secret")
    assert plan_of(text + HEAD).control.providers == (us, pam, file)
    named = "[control]\nidentity-provider = ['file', 'us', 'file']\n"
    assert plan_of(text + named + HEAD).control.providers == (file, us)
    assert plan_of(text + "[control]\nidentity-provider = []\n" + HEAD).control.providers == ()


# --- sockets for orders

TCP = [
    ("anonymous = 'list'\n", "inet://127.0.0.1:1", True),
    ("", "inet://127.0.0.1:1", False),
    (PROVIDER, "inet://127.0.0.1:1", True),
    (PROVIDER, "inet6://[::1]:1", True),
    (PROVIDER, "inet://*:1", False),
    (TLS, "inet://*:1", False),
    (TLS + "anonymous = 'admin'\n", "inet://*:1", False),
    (PROVIDER + TLS, "inet://*:1", True),
    (PROVIDER + TLS, "inet://192.0.2.1:1", True),
    (PROVIDER + TLS + "identity-provider = []\n", "inet://*:1", False),
]


@pytest.mark.parametrize(("said", "url", "right"), TCP)
def test_a_tcp_socket_needs_identities_and_where_others_can_listen_tls(
    said: str, url: str, right: bool
) -> None:
    provider, control = (PROVIDER, said.removeprefix(PROVIDER)) if PROVIDER in said else ("", said)
    text = f"{provider}[control]\n{control}socket = '{url}'\n{HEAD}"
    if right:
        assert len(plan_of(text).control.sockets) == 1
        assert len(plan_of(text.replace("socket =", "#"), sockets=[url]).control.sockets) == 1
    else:
        (problem,) = problems_of(text)
        assert problem.key == "control.socket"
        (problem,) = problems_of(text.replace("socket =", "#"), sockets=[url])
        assert (problem.file, problem.key) == ("command line", "--socket")


def test_the_files_of_tls() -> None:
    text = "[control]\ntls = { cert = '/etc/cert.pem', key = '%s', client-ca = '/etc/cert.pem' }\n"
    plan = plan_of(text % "/etc/key.pem" + HEAD)
    assert plan.control.tls == Tls(
        cert="/etc/cert.pem", key="/etc/key.pem", client_ca="/etc/cert.pem"
    )
    assert not plan.warnings
    (warning,) = plan_of(text % "/etc/open.pem" + HEAD).warnings
    assert (warning.key, "everybody may read" in warning.message) == ("control.tls.key", True)
    (warning,) = plan_of(text % "/etc/hidden" + HEAD).warnings
    assert "cannot tell" in warning.message
    (problem,) = problems_of(text % "/etc/nope" + HEAD)
    assert (problem.line, problem.key) == (2, "control.tls.key")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/etc/nope", "there is no file"), ("/etc/open.pem", "everybody may read")],
)
def test_a_password_file_or_a_secret_that_may_come_later_is_a_warning(
    path: str, words: str
) -> None:
    provider = f"[identity-provider.f]\ntype = 'file'\npath = '{path}'\n"
    (warning,) = plan_of(provider + HEAD).warnings
    assert (warning.line, warning.key) == (3, "identity-provider.f.path")
    assert words in warning.message
    (warning,) = plan_of(f"{HEAD}env = {{ A = {{ file = '{path}' }} }}").warnings
    assert (warning.line, warning.key) == (3, "component.x.env.A")
    assert words in warning.message

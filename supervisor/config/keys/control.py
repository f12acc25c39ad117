"""The keys of `[control]`, and of the tables of identity providers: who may give orders."""

from __future__ import annotations

from supervisor.config.acls import AclRules, WrittenAcl
from supervisor.config.fields import Fields, Key, KeySet, Record
from supervisor.config.kinds import FullPath, Text, choice
from supervisor.config.special import Names, SocketUrl
from supervisor.config.tables import Node
from supervisor.model.errors import Problem
from supervisor.model.settings import Tls

# --- tls --------------------------------------------------------------------------------------

TLS_CERT = Key(
    name="cert",
    kind=FullPath(),
    required=True,
    meaning="PEM file of the certificate, and of those between it and a known one",
)
TLS_KEY = Key(
    name="key",
    kind=FullPath(),
    required=True,
    meaning="PEM file of its key; nobody else should be able to read it",
)
TLS_CLIENT_CA = Key(
    name="client-ca",
    kind=FullPath(),
    shown="none",
    meaning="PEM file: clients need a certificate that one of these has signed",
)
TLS_KEYS = KeySet((TLS_CERT, TLS_KEY, TLS_CLIENT_CA))


def _tls(fields: Fields, _node: Node, _problems: list[Problem]) -> Tls:
    return Tls(
        cert=fields.given(TLS_CERT) or "",
        key=fields.given(TLS_KEY) or "",
        client_ca=fields.given(TLS_CLIENT_CA),
    )


# --- control ----------------------------------------------------------------------------------

CONTROL_SOCKET = Key(
    name="socket",
    kind=SocketUrl(many=True),
    shown="`unix://RUNTIME-DIRECTORY/INSTANCE.ctl`",
    meaning="where piesd listens for orders, see below; `--socket` replaces it",
)
ANONYMOUS = Key(
    name="anonymous",
    kind=choice("list", "admin"),
    shown="none",
    meaning=(
        "what strangers may do on a loopback TCP socket: look, or everything. Without it, and "
        "without an identity provider, no TCP socket is opened"
    ),
)

REALM = Key(
    name="realm",
    kind=Text(),
    default="pies",
    shown="`pies`",
    meaning="what a client shows when it asks for a password",
)
TLS = Key(
    name="tls",
    kind=Record(TLS_KEYS, _tls),
    shown="none",
    meaning="TCP sockets speak TLS",
)
IDENTITY_PROVIDER = Key(
    name="identity-provider",
    kind=Names(words="name of an identity provider, or a list"),
    shown="all, in the order of the files",
    meaning="who is asked whether a password is right, one after the other",
)
CONTROL_ACL: Key[WrittenAcl] = Key(
    name="acl", kind=AclRules(), shown="everybody", meaning="who may ask anything at all"
)
CONTROL_ADMIN_ACL: Key[WrittenAcl] = Key(
    name="admin-acl",
    kind=AclRules(),
    shown="administrators",
    meaning="who may stop, restart and reload piesd, and see its configuration",
)
USER_ACL: Key[WrittenAcl] = Key(
    name="user-acl",
    kind=AclRules(),
    shown="administrators",
    meaning="who may do the rest: list, start and stop, as far as the components allow",
)

CONTROL_KEYS = KeySet(
    (
        CONTROL_SOCKET,
        ANONYMOUS,
        TLS,
        REALM,
        IDENTITY_PROVIDER,
        CONTROL_ACL,
        CONTROL_ADMIN_ACL,
        USER_ACL,
    )
)

# --- identity providers -----------------------------------------------------------------------

PROVIDER_TYPE = Key(
    name="type",
    kind=choice("system", "pam", "file"),
    required=True,
    meaning=(
        "`system`: the users of this machine (only root can ask for their passwords); `pam`; "
        "`file`: a file of our own"
    ),
)
PROVIDER_SERVICE = Key(
    name="service",
    kind=Text(words="name"),
    default="pies",
    shown="`pies`",
    meaning="for `pam`: the name in `/etc/pam.d`",
)
PROVIDER_PATH = Key(
    name="path",
    kind=FullPath(),
    shown="required for `file`",
    meaning="for `file`: what `piesctl passwd` writes",
)
PROVIDER_KEYS = KeySet((PROVIDER_TYPE, PROVIDER_SERVICE, PROVIDER_PATH))

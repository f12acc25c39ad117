"""Random configurations that TOML and pies' syntax can both say, and their way through both."""

from __future__ import annotations

import shlex

from hypothesis import strategies as st
from msgspec.structs import replace

from config_text import InventedHost
from supervisor.config import toml
from supervisor.config.convert.carry import literal
from supervisor.config.load import make_plan
from supervisor.config.nodes import Plain, make
from supervisor.config.pies import reader as pies
from supervisor.config.pies.options import PreprocessOptions, Reading
from supervisor.config.sources import Document, Sources
from supervisor.config.tables import Node
from supervisor.engine.plan import Plan
from supervisor.model.component import Component, Where
from supervisor.model.errors import Problem
from supervisor.model.settings import SourceFile

Table = dict[str, Plain]

_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_TRICKY = "aZ09 _-./@*:#;,{}()'\"\\$`=\n\t\r\x01é☃\u200b"
texts = st.one_of(
    st.text(st.sampled_from(_TRICKY), min_size=1, max_size=12),
    st.text(_CHARACTERS, min_size=1, max_size=8),
    st.sampled_from(["${instance}", "//x", "/*x*/", "EOT", "m4_define(x)", "<<EOT", "#include"]),
)
"""Texts that trouble printers: quotes, comments, line ends, what preprocessors look for."""

names = st.text(st.sampled_from("abcXYZ_"), min_size=1, max_size=5)
paths = st.text(st.sampled_from("abc ./-é'\"#"), max_size=10).map(lambda text: f"/{text}x")
words = st.lists(texts, max_size=3).map(lambda rest: ("/bin/prog", *rest))
addresses = st.sampled_from(["10.0.0.0/8", "::1", "192.0.2.7", "/run/x.sock", "v6.example.org"])


@st.composite
def commands(draw: st.DrawFn) -> Table:
    """Return the keys about what is run."""
    said = draw(words)
    kind = draw(st.sampled_from(["list", "string", "shell", "expanding"]))
    keys: Table = {"command": said}
    if kind == "string":
        keys["command"] = shlex.join(said)
    elif kind == "shell":
        keys = {"command": draw(texts), "shell": True}
    elif kind == "expanding":
        keys = {"command": f"/bin/prog {shlex.join(said)} ${{X:-y z}} $Y", "expandenv": True}
    if draw(st.booleans()):
        keys["program"] = draw(paths)
    return keys


@st.composite
def steps(draw: st.DrawFn) -> Table:
    """Return one step of an environment."""
    name = draw(names)
    value = draw(st.one_of(texts.map(shlex.quote), st.just("${HOME:-x}/bin:$PATH"), st.just("")))
    return draw(
        st.sampled_from(
            [
                {"clear": True},
                {"keep": f"{name}*"},
                {"keep": f"{name}={draw(texts)}"},
                {"set": f"{name}={value}"},
                {"eval": f"${{{name}:=x}}{value}"},
                {"unset": name},
                {"unset": f"{name}={draw(texts)}"},
            ]
        )
    )


limits = st.dictionaries(
    st.sampled_from(["as", "core", "data", "fsize", "memlock", "rss", "stack"]),
    st.integers(0, 2**40).map(lambda number: number * 1024),
    max_size=3,
).flatmap(
    lambda sizes: st.fixed_dictionaries(
        {},
        optional={
            "cpu": st.integers(0, 10**6).map(lambda number: number * 60),
            "nofile": st.integers(0, 10**6),
            "nproc": st.integers(0, 10**6),
        },
    ).map(lambda counts: {**sizes, **counts})
)

codes = st.lists(
    st.one_of(
        st.integers(0, 255),
        st.sampled_from(["EX_CONFIG", "SIGTERM", "SIG+15", "64-78", "SIGRTMIN+3", "SIGKILL"]),
    ),
    min_size=1,
    max_size=4,
)
actions = st.fixed_dictionaries(
    {"codes": codes},
    optional={
        "exec": st.one_of(words, words.map(shlex.join)),
        "action": st.sampled_from(["restart", "disable"]),
        "notify": st.sampled_from(["root", "a@b.example,c", ["a", "b@c.example"]]),
        "message": st.one_of(texts, texts.map(lambda text: f"Subject: {text}\n\nbody\n")),
    },
)

outputs: st.SearchStrategy[Plain] = st.one_of(
    paths.map(lambda path: f"file:{path}"),
    paths.map(lambda path: {"file": path}),
    st.sampled_from(["syslog", "syslog:info", {"syslog": "local3.err"}, "inherit"]),
)

rules = st.builds(
    lambda *parts: " ".join(part for part in parts if part),
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["", "all", "authenticated", "user root,é#x", "group adm", "group adm,{x}"]),
    st.lists(addresses, max_size=2).map(lambda each: f"from {', '.join(each)}" if each else ""),
)
acls: st.SearchStrategy[Plain] = st.one_of(st.just("office"), st.lists(rules, max_size=3))

octals = st.integers(0, 0o777).map(lambda number: f"{number:03o}")


_FLAGS = ("disable", "precious", "siggroup", "nullinput")
flags: st.SearchStrategy[Table] = st.one_of(
    st.fixed_dictionaries({}, optional=dict.fromkeys(_FLAGS, st.booleans())),
    st.lists(st.sampled_from(_FLAGS), unique=True).map(lambda given: {"flags": given}),
    st.sampled_from(_FLAGS).map(lambda flag: {"flags": flag}),
)


def components() -> st.SearchStrategy[Table]:
    """Return tables of one component, without what refers to others."""
    optional: dict[str, st.SearchStrategy[Plain]] = {
        "enabled": st.just(True),
        "user": st.sampled_from(["root", "me"]),
        "group": st.lists(st.sampled_from(["adm", "wheel"]), min_size=1, unique=True),
        "allgroups": st.booleans(),
        "umask": octals,
        "chdir": paths,
        "env": st.lists(steps(), max_size=4),
        "env-clear": st.just(True),
        "env-keep": st.lists(st.sampled_from(["PATH", "LC_*", "A[bc]?"]), max_size=2),
        "instances": st.integers(1, 3),
        "limits": st.one_of(limits, st.sampled_from(["N10 c5", "T1R2U16", "A 5 L3 S 8"])),
        "nice": st.integers(-20, 19),
        "stdout": outputs,
        "stderr": outputs,
        "on-exit": st.lists(actions, min_size=1, max_size=2),
        "list-acl": acls,
        "admin-acl": acls,
        "runlevels": st.sampled_from(["2", "35", "S"]),
    }
    rest = st.fixed_dictionaries({}, optional=optional)
    names = st.sampled_from(["remove-file", "rmfile"])
    removed = st.one_of(st.just({}), st.builds(lambda name, path: {name: path}, names, paths))
    parts = st.tuples(commands(), rest, removed, flags)
    return parts.map(lambda tables: {name: each for keys in tables for name, each in keys.items()})


serving = st.fixed_dictionaries(
    {},
    optional={
        "acl": acls,
        "access-denied-message": texts,
        "max-instances-message": texts,
        "max-ip-connections": st.integers(1, 9),
        "max-ip-connections-message": texts,
        "max-rate": st.integers(0, 99),
        "sockenv": st.booleans(),
        "resolve": st.booleans(),
    },
)


@st.composite
def listening(draw: st.DrawFn, number: int, table: Table) -> Table:
    """Return *table* as that of a component with sockets of its own; *number* makes them so."""
    for key in ("nullinput", "instances"):
        table.pop(key, None)
    if "nullinput" in str(table.get("flags", "")):
        table.pop("flags")
    sockets = [f"inet://127.0.0.1:{8000 + number}", f"inet6+tcp://[::1]:{8000 + number}"]
    sockets.append(f"unix:///run/{number} x;mode=660;user=root")
    mode = draw(st.sampled_from(["inetd", "inetd", "nostartaccept", "accept", "pass-fd", "pass"]))
    table |= {"mode": mode, "socket": draw(st.sampled_from(sockets))}
    if mode.startswith("pass"):
        table["pass-fd-socket"] = draw(paths)
        table["pass-fd-timeout"] = draw(st.integers(1, 99))
    elif mode != "accept":
        table["max-instances"] = draw(st.integers(1, 9))
        kind = draw(st.sampled_from(["nowait", "wait", "internal"]))
        table |= {"wait": True} if kind == "wait" else draw(serving)
        if kind == "internal":
            for key in ("command", "program", "shell", "expandenv", "sockenv", "resolve"):
                table.pop(key, None)
            table |= {"internal": True, "service": draw(st.sampled_from(["echo", "qotd"]))}
        if str(table["socket"]).startswith("unix:"):
            for key in ("max-ip-connections", "max-ip-connections-message", "resolve"):
                table.pop(key, None)
    return table


around: st.SearchStrategy[dict[str, Table]] = st.fixed_dictionaries(
    {},
    optional={
        "control": st.fixed_dictionaries(
            {},
            optional={
                "socket": st.sampled_from(
                    ["unix:///run/x y.ctl;mode=660", "file:///run/b;user=me"]
                ),
                "realm": texts,
                "acl": acls,
                "admin-acl": acls,
                "user-acl": acls,
            },
        ),
        "syslog": st.fixed_dictionaries(
            {},
            optional={
                "dev": st.sampled_from(["/dev/log", "192.0.2.1:514", "192.0.2.1"]),
                "facility": st.sampled_from(["daemon", "local3"]),
                "tag": names,
            },
        ),
        "mail": st.fixed_dictionaries(
            {}, optional={"program": paths, "command-line": words.map(shlex.join)}
        ),
        "identity-provider": st.dictionaries(
            names,
            st.sampled_from(
                [{"type": "system"}, {"type": "pam", "service": "x y"}, {"type": "pam"}]
            ),
            max_size=2,
        ),
        "defaults": st.fixed_dictionaries(
            {}, optional={"user": st.just("me"), "umask": octals, "precious": st.just(True)}
        ),
    },
)


@st.composite
def configurations(draw: st.DrawFn) -> Table:
    """Return the tables of a whole configuration."""
    tags = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    made: Table = {}
    lives: list[str] = []
    for number, tag in enumerate(tags):
        table = draw(components())
        given = str(table.get("flags", ""))
        if table.get("disable") is True or "disable" in given:
            table.pop("enabled", None)
        modes = ["respawn", "exec", "once", "startup", "shutdown", *["listening"] * 5]
        mode = draw(st.sampled_from(modes))
        table["mode"] = mode
        if mode == "listening":
            table = draw(listening(number, table))
        elif mode in ("respawn", "exec", "once"):
            if lives:
                table["prerequisites"] = draw(st.one_of(st.just("all"), st.just(tuple(lives))))
            lives.append(tag)
        made[tag] = _escaped(table)
    root: Table = {
        "acl": {"office": draw(st.lists(rules, max_size=2))},
        "component": made,
    }
    daemon: Table = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "umask": octals,
                "shutdown-timeout": st.integers(0, 99),
                "env": st.lists(steps(), max_size=3),
                "limits": limits,
                "pidfile": paths,
                "state-directory": paths,
                "qotd-file": paths,
                "user": st.sampled_from(["root", "me"]),
                "group": st.sampled_from(["adm", ["adm", "wheel"]]),
                "allgroups": st.booleans(),
            },
        )
    )
    for name, table in (("daemon", daemon), *draw(around).items()):
        if table:
            root[name] = table
    for tag in lives[:-1]:
        if draw(st.booleans()):
            made[tag] = {**made[tag], "dependents": (lives[-1],)}  # type: ignore[dict-item]  # a table
    if draw(st.booleans()):
        root["on-exit"] = draw(st.lists(actions, min_size=1, max_size=2))
    return root


def _escaped(value: Plain) -> Plain:
    """Return a component whose strings mean `${instance}` literally."""
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, dict):
        # A mail of an exit action has an `${instance}` of its own.
        return {name: v if name == "message" else _escaped(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_escaped(each) for each in value)
    return value


def tree(root: Table) -> Node:
    """Return the tables as a reader would."""
    return make("a", 1, "", root)


def plan(text: str, syntax: str) -> Plan:
    """Build the plan of a text, on an invented machine and without a preprocessor.

    Raises:
        ConfigRejected: with what is wrong with it.
    """
    problems: list[Problem] = []
    reading = Reading(options=PreprocessOptions(enabled=False))
    if syntax == "pies":
        root = pies.read(text, "a", problems, reading)
    else:
        root = toml.read(text, "a", problems)
    documents = (Document("a", syntax, root),) if root else ()
    return make_plan(
        Sources(documents, frozenset()),
        [SourceFile("a", syntax)],
        problems,
        environ={"PATH": "/bin"},
        euid=0,
        instance=None,
        sockets=(),
        host=InventedHost(),
    )


def placeless(components: tuple[Component, ...]) -> list[Component]:
    """Return components without the places that they were written at.

    Nor do they tell which are instances of one: pies' syntax has each on its own.
    """
    return [
        replace(component, source=Where("", 0), template=None, instance=None)
        for component in components
    ]

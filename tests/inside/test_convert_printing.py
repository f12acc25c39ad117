"""How configurations are printed as TOML and in pies' syntax, and what pies cannot be told."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from config_text import plan_of
from supervisor.config import toml
from supervisor.config.convert import convert, convert_to_pies, syntax_of
from supervisor.config.convert.pies_out import print_pies
from supervisor.config.convert.toml_out import print_toml
from supervisor.config.nodes import Plain, make, plain
from supervisor.model.component import Component
from supervisor.model.errors import Problem
from supervisor.model.expansion import expand

_SCALARS = st.one_of(
    models.texts,
    st.text(st.sampled_from("\"\\\n'ab")),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
)
_VALUES: st.SearchStrategy[Plain] = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(models.texts, inner, max_size=4),
    ),
    max_leaves=10,
)


def as_pies(text: str) -> tuple[str, list[str]]:
    """Return a TOML file in pies' syntax, and what is told about it."""
    printed, problems = convert_to_pies(text, "a.toml", "toml")
    assert all(problem.warning for problem in problems), problems
    return printed, [f"{problem.key}: {problem.message}" for problem in problems]


def through_pies(text: str) -> list[Component]:
    """Return the components of a TOML file after a way through pies' syntax."""
    return list(models.plan(as_pies(text)[0], "pies").components)


@given(
    st.dictionaries(
        models.texts, st.dictionaries(models.names, _VALUES, max_size=3), min_size=1, max_size=2
    )
)
def test_whatever_is_in_a_tree_reads_back_from_toml(components: dict[str, Plain]) -> None:
    root = make("a", 1, "", {"component": components})
    problems: list[Problem] = []
    again = toml.read(print_toml(root), "a", problems)
    assert again is not None, problems
    assert plain(again) == plain(root)


@pytest.mark.parametrize("end", ['"', '""', '"""', '""""', '\\"', '\\"""'])
def test_a_long_text_may_end_in_quotation_marks(end: str) -> None:
    text = f"two\nlines{end}"
    again = toml.read(print_toml(make("a", 1, "", {"x": text})), "a", [])
    assert again is not None
    assert plain(again) == {"x": text}


def test_a_long_list_has_a_line_for_each_element_and_a_long_table_a_header() -> None:
    words = tuple(f"word-{number}" for number in range(20))
    table: dict[str, Plain] = {
        "command": words,
        "env": {word.replace("-", "_"): word for word in words},
        "chdir": "/",
    }
    printed = print_toml(make("a", 1, "", {"component": {"web": table}}))
    assert '\ncommand = [\n  "word-0",\n' in printed
    assert printed.index('chdir = "/"') < printed.index("[component.web.env]")
    assert max(len(line) for line in printed.splitlines()) <= 100
    assert tomllib.loads(printed)["component"]["web"]["env"]["word_3"] == "word-3"


def test_quotes_are_chosen_so_that_little_is_escaped() -> None:
    table = {"command": 'say "x"', "description": "it's", "chdir": "/\x01"}
    printed = print_toml(make("a", 1, "", {"component": {"web": table}}))
    assert "command = 'say \"x\"'\n" in printed
    assert 'description = "it\'s"\n' in printed
    assert 'chdir = "/\\u0001"\n' in printed


def test_comments_come_before_what_they_are_about() -> None:
    text = (
        "/* Two\n * lines. */\ncomponent a {\n  # about\n  // the command\n  command x;\n}\n"
        '# 12 "other"\n#include_once "/nowhere/*"\n'
        "component b { command <<EOT\n# no comment\nEOT\n}\n# the end\n"
    )
    printed, _ = convert(text, "pies.conf", "pies")
    assert printed == (
        "# Two\n# lines.\n[component.a]\n# about\n# the command\n"
        'command = "x"\nsiggroup = false\n\n'
        '[component.b]\ncommand = "# no comment"\nsiggroup = false\n# the end\n'
    )


def test_variables_keep_their_values_on_the_way_through_pies() -> None:
    values = {"A": "it's", "B": '"q" $x `y` \\z', "C": " a  b ", "D": "${E}", "F": ""}
    text = print_toml(
        make("a", 1, "", {"component": {"web": {"command": "/bin/prog", "env": values}}})
    )
    (component,) = through_pies(text)
    environ: dict[str, str] = {}
    for step in component.env.steps:
        name, _, value = expand(step.text, environ).partition("=")
        environ[name] = value
    assert environ == values


def test_what_is_appended_is_spelt_out_for_pies() -> None:
    text = (
        '[component.web]\ncommand = "/bin/prog"\n'
        'env = [{ append = "P=:/a$b" }, { prepend = "Q=/x:" }]\n'
    )
    (component,) = through_pies(text)
    for before, after in (
        ({}, {"P": "/a$b", "Q": "/x"}),
        ({"P": "/p", "Q": "/q"}, {"P": "/p:/a$b", "Q": "/x:/q"}),
    ):
        environ: dict[str, str] = dict(before)
        for step in component.env.steps:
            name, _, value = expand(step.text, environ).partition("=")
            environ[name] = value
        assert environ == after


def test_instances_are_components_of_their_own_for_pies() -> None:
    text = (
        '[component.web]\ncommand = "/bin/prog ${instance} $${instance}"\ninstances = 2\n'
        '[component.front]\ncommand = "/bin/prog"\nprerequisites = ["web"]\n'
    )
    first, second, front = through_pies(text)
    assert (first.tag, first.argv) == ("web:1", ("/bin/prog", "1", "${instance}"))
    assert (second.tag, second.argv) == ("web:2", ("/bin/prog", "2", "${instance}"))
    assert front.prerequisites == ("web:1", "web:2")


def test_all_means_the_same_for_each_instance() -> None:
    text = (
        "[component.first]\nmode = 'inetd'\nsocket = 'unix:///s'\ncommand = '/bin/prog'\n"
        "[component.last]\nmode = 'shutdown'\ncommand = '/bin/prog'\n"
        "[component.web]\ninstances = 2\ncommand = '/bin/prog'\nprerequisites = 'all'\n"
        "[component.end]\ninstances = 2\nmode = 'shutdown'\ncommand = '/bin/prog'\n"
        "prerequisites = 'all'\n"
    )
    root = toml.read(text, "a", [])
    assert root is not None
    plan = models.plan(print_pies(root, []), "pies")
    assert {each.tag: each.prerequisites for each in plan.components[2:]} == {
        "web:1": ("first",),
        "web:2": ("first",),
        "end:1": ("last",),
        "end:2": ("last",),
    }


def test_to_keep_nothing_of_the_environment_clears_it_for_pies() -> None:
    root = toml.read("[component.a]\ncommand = '/bin/prog'\nenv-keep = []\n", "a", [])
    assert root is not None
    (component,) = models.plan(print_pies(root, []), "pies").components
    assert component.env.clear


def test_defaults_go_into_each_component_for_pies() -> None:
    text = (
        '[defaults]\numask = "027"\n[component.a]\ncommand = "/bin/prog"\n'
        '[component.b]\ncommand = "/bin/prog"\numask = "022"\n'
    )
    assert [component.umask for component in through_pies(text)] == [0o27, 0o22]


def test_what_pies_cannot_be_told_is_listed() -> None:
    text = (
        '[daemon]\nlog-level = "debug"\nshutdown-timeout = 1.5\n'
        '[component.web]\ncommand = "/bin/prog"\nready = "notify"\nlabels = { a = "b" }\n'
        'stdout = "journal"\nlimits = { nofile = 10, rtprio = 3, as = 5 }\n'
        'env = { A = { file = "/etc/secret" } }\nremove-file = ["/a", "/b"]\n'
    )
    printed, told = as_pies(text)
    assert told == [
        "daemon.log-level: is not carried over: pies has no such thing",
        "daemon.shutdown-timeout: is not carried over: pies takes whole seconds",
        "component.web.ready: is not carried over: pies has no such thing",
        "component.web.labels: is not carried over: pies has no such thing",
        "component.web.stdout: is not carried over: pies needs a full path, or syslog",
        "component.web.limits.as: is not carried over: pies has no letter for it",
        "component.web.limits.rtprio: is not carried over: pies has no letter for it",
        "component.web.env.A: is not carried over: pies reads no files for its environment",
        "component.web.remove-file[1]: is not carried over: pies removes one file",
    ]
    assert "limits N10;" in printed
    assert "remove-file /a;" in printed
    assert all(message in printed for message in told)


def test_standard_error_follows_standard_output() -> None:
    (component,) = through_pies(
        '[component.a]\ncommand = "/bin/prog"\nstdout = "/var/log/x"\nstderr = "stdout"\n'
    )
    assert component.stderr == component.stdout


def test_the_other_tables_are_blocks_for_pies() -> None:
    text = (
        '[syslog]\nfacility = "mail"\n[mail]\nprogram = "/usr/sbin/sendmail"\n'
        '[acl]\nlocal = ["allow user a, b from 10.0.0.0/8", "deny all"]\n'
        '[identity-provider.host]\ntype = "system"\n'
        '[control]\nsocket = "unix:///run/x.ctl;mode=0600"\nacl = "local"\nrealm = "a b"\n'
        '[component.a]\ncommand = "/bin/prog"\n'
    )
    printed, told = as_pies(text)
    assert told == []
    ours, theirs = plan_of(text), models.plan(printed, "pies")
    assert ours.control == theirs.control
    assert ours.daemon == theirs.daemon
    assert "allow user (a, b) from 10.0.0.0/8;" in printed


def test_a_text_that_m4_would_change_is_told() -> None:
    problems: list[Problem] = []
    root = make("a", 1, "", {"component": {"a": {"command": "echo `date`"}}})
    print_pies(root, problems)
    (problem,) = problems
    assert "--no-preprocessor" in problem.message


def test_the_name_of_a_file_tells_its_syntax() -> None:
    assert [
        syntax_of(file, text)
        for file, text in (
            ("/etc/inetd.conf", ""),
            ("a.toml", ""),
            ("a.service", ""),
            ("Procfile.dev", ""),
            ("a.ini", ""),
            ("pies.conf", "# x\ncomponent a { }"),
            ("a.conf", "; x\n\n[program:a]\n"),
            ("a.txt", ""),
        )
    ] == [
        "inetd",
        "toml",
        "systemd",
        "procfile",
        "supervisord",
        "pies",
        "supervisord",
        None,
    ]

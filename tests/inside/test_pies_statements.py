"""Every statement of pies' syntax and the table it stands for. Source: pies.md sections 1 and 3."""

from __future__ import annotations

import pytest

from pies_text import found_in, one_fault, plain, plan_of, root_of, tree_of, web
from supervisor.config.pies import words
from supervisor.model.component import EnvStep, Mode
from supervisor.model.errors import ConfigRejected, Problem

# --- components -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("mode exec;", {"mode": "exec"}),
        ("mode pass-fd;", {"mode": "pass-fd"}),
        ("program /bin/prog;", {"program": "/bin/prog"}),
        ('command "prog -x";', {"command": "prog -x"}),
        ("prerequisites all;", {"prerequisites": ["all"]}),
        ("prerequisites none;", {"prerequisites": ["none"]}),
        ("prerequisites (a, b);", {"prerequisites": ["a", "b"]}),
        ("dependents x;", {"dependents": ["x"]}),
        ("flags shell;", {"flags": ["shell"]}),
        ("flags (shell, wait);", {"flags": ["shell", "wait"]}),
        ("runlevels 345;", {"runlevels": "345"}),
        ("user me;", {"user": "me"}),
        ("group (adm, wheel);", {"group": ["adm", "wheel"]}),
        ("allgroups yes;", {"allgroups": True}),
        ("limits T10 R20 U16 P20;", {"limits": "T10 R20 U16 P20"}),
        ('limits "T10R20";', {"limits": "T10R20"}),
        ("umask 0027;", {"umask": "0027"}),
        ("max-instances 3;", {"max-instances": 3}),
        ("chdir /srv;", {"chdir": "/srv"}),
        ("remove-file /run/x;", {"remove-file": "/run/x"}),
        ("rmfile /run/x;", {"remove-file": "/run/x"}),
        ("pass-fd-timeout 7;", {"pass-fd-timeout": 7}),
        ("pass-fd-socket /run/s;", {"pass-fd-socket": "/run/s"}),
        ("socket inet://0.0.0.0:79;", {"socket": "inet://0.0.0.0:79"}),
        ('socket "unix:///s;mode=600";', {"socket": "unix:///s;mode=600"}),
        ("socket-type dgram;", {"socket-type": "dgram"}),
        ("service echo;", {"service": "echo"}),
        ("tcpmux-master mux;", {"tcpmux-master": "mux"}),
        ("max-rate 60;", {"max-rate": 60}),
        ('max-instances-message "no\\n";', {"max-instances-message": "no\n"}),
        ("max-ip-connections 2;", {"max-ip-connections": 2}),
        ("max-ip-connections-message x;", {"max-ip-connections-message": "x"}),
        ("access-denied-message x;", {"access-denied-message": "x"}),
        ("acl local;", {"acl": "local"}),
        ("list-acl local;", {"list-acl": "local"}),
        ("admin-acl { deny all; }", {"admin-acl": ["deny all"]}),
        ("stdout file /var/log/x;", {"stdout": {"file": "/var/log/x"}}),
        ("stderr syslog daemon.err;", {"stderr": {"syslog": "daemon.err"}}),
        ('stderr syslog "err";', {"stderr": {"syslog": "err"}}),
        ("disable yes;", {"disable": True}),
        ("precious no;", {"precious": False}),
        (
            'return-code EX_OK { exec "/bin/prog"; }',
            {"on-exit": [{"exec": "/bin/prog", "codes": ["EX_OK"]}]},
        ),
    ],
)
def test_each_statement_of_a_component_becomes_its_key(
    statement: str, table: dict[str, object]
) -> None:
    assert web(statement) == table


def test_no_statement_of_a_component_is_forgotten() -> None:
    for keyword in words.COMPONENT:
        root = root_of(f"component web {{ {keyword} /x; }}", [])
        found = found_in(f"component web {{ {keyword} /x; }}")
        known = root.table["component"].table["web"].table.keys() - {"siggroup"}
        assert known or found
        assert not any("unknown" in what for _, what in found)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("comand a;", "unknown statement; did you mean 'command'?"),
        ("Mode respawn;", "did you mean 'mode'?"),
        ("shutdown-timeout 5;", "global"),
        ("stop-timeout 5;", "TOML"),
        ("mode;", "needs a value"),
        ("mode { a b; }", "not a block"),
        ("mode (respawn, startup);", "not a list"),
        ('mode respawn "x";', "takes one value"),
        ("stdout file;", "'file' takes one value"),
        ("stdout fil /x;", "did you mean 'file'?"),
        ("stdout file x;", "full path"),
        ("stdout (a, b);", "not a list"),
        ("return-code { action disable; }", "needs the codes"),
        ("return-code EX_OK;", "needs a block"),
        ("return-code 1 { acton disable; }", "did you mean 'action'?"),
        ("env { set; }", "needs a value"),
        ("env { clear yes; }", "takes no value"),
        ("env { sett A; }", "did you mean 'set'?"),
        ("env;", "needs a block"),
        ("list-acl { permit all; }", "unknown statement"),
        ("list-acl local { allow all; }", "a name or a block"),
        ('list-acl { allow user "a b"; }', "one word"),
        ("list-acl { allow { } }", "not a block"),
        ("prerequisites ((a), b);", "not of lists"),
        ("limits (a);", "not a list"),
    ],
)
def test_a_wrong_statement_is_told_at_its_line(statement: str, said: str) -> None:
    line, what = one_fault(f'component web {{\n command "/bin/prog";\n {statement}\n}}')
    assert line == 3
    assert said in what


def test_a_component_needs_one_name_and_a_block() -> None:
    for text in ("component { command a; }", "component a b { command a; }", "component web;"):
        line, what = one_fault(f"\n{text}")
        assert line == 2
        assert "component TAG { … }" in what


def test_only_with_its_flag_signals_go_to_the_group() -> None:
    tree = tree_of("component a { command x; } component b { command x; flags siggroup; }")
    assert tree["component"] == {
        "a": {"command": "x", "siggroup": False},
        "b": {"command": "x", "flags": ["siggroup"]},
    }
    one, other = plan_of(
        "component a { command /bin/prog; } component b { command /bin/prog; flags siggroup; }"
    ).components
    assert (one.stop_scope, other.stop_scope) == ("leader", "group")


# --- env --------------------------------------------------------------------------------------


def test_an_env_block_keeps_its_order() -> None:
    block = 'clear; keep LC_*; keep "A=b"; set "B=$A"; eval "${X:=v}"; unset (C, "D=e"); set B=c;'
    assert web(f"env {{ {block.replace('B=c', chr(34) + 'B=c' + chr(34))} }}")["env"] == [
        {"clear": True},
        {"keep": "LC_*"},
        {"keep": "A=b"},
        {"set": "B=$A"},
        {"eval": "${X:=v}"},
        {"unset": "C"},
        {"unset": "D=e"},
        {"set": "B=c"},
    ]


def _legacy(text: str) -> object:
    problems: list[Problem] = []
    root = root_of(f'component web {{ env "{text}"; }}', problems)
    assert [problem.warning for problem in problems] == [True]
    return plain(root.table["component"].table["web"].table["env"])


def test_the_env_of_one_line_becomes_steps_with_a_warning() -> None:
    assert _legacy("- PATH A=b C+=:x D=+y:") == [
        {"clear": True},
        {"keep": "PATH"},
        {"set": "A=b"},
        {"append": "C=:x"},
        {"prepend": "D=y:"},
    ]
    assert _legacy("-A -B=c D='e f'") == [{"unset": "A"}, {"unset": "B=c"}, {"set": "D=e f"}]


def test_without_a_dash_the_env_of_one_line_keeps_everything() -> None:
    assert _legacy("PATH A=b") == [{"set": "A=b"}]


def test_the_env_of_one_line_is_for_components_only() -> None:
    assert "needs a block" in one_fault('env "A=b";')[1]


def test_an_instance_in_pies_syntax_is_only_text() -> None:
    (component,) = plan_of(
        'component a { command "/bin/prog $${instance} ${instance}"; }'
    ).components
    assert component.argv == ("/bin/prog", "$${instance}", "${instance}")


def test_a_global_env_block_is_the_base_of_all() -> None:
    assert tree_of("env { clear; set A=b; }".replace("A=b", '"A=b"')) == {
        "daemon": {"env": [{"clear": True}, {"set": "A=b"}]}
    }


# --- exit actions -----------------------------------------------------------------------------


def test_exit_actions_have_codes_of_all_kinds() -> None:
    text = """
    return-code (EX_USAGE, 2, SIGSEGV, SIG+15, "SIG+3") {
        exec "/bin/prog -x";
        action disable;
        notify "a@b,c@d";
        message "Subject: x\\n\\n${component}";
    }
    return-code 3 { notify (a@b, c@d); }
    """
    assert tree_of(text)["on-exit"] == [
        {
            "exec": "/bin/prog -x",
            "action": "disable",
            "notify": "a@b,c@d",
            "message": "Subject: x\n\n${component}",
            "codes": ["EX_USAGE", 2, "SIGSEGV", "SIG+15", "SIG+3"],
        },
        {"notify": ["a@b", "c@d"], "codes": [3]},
    ]


def test_the_instance_in_a_message_is_left_for_the_mail() -> None:
    text = """component a { command /bin/prog;
        return-code 1 { message "on $${instance} ${instance}"; } }"""
    (component,) = plan_of(text).components
    assert component.exit_actions[0].message == "on $${instance} ${instance}"


# --- global statements ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "tree"),
    [
        ("umask 022;", {"daemon": {"umask": "022"}}),
        ("limits N64 C0;", {"daemon": {"limits": "N64 C0"}}),
        ("shutdown-timeout 9;", {"daemon": {"shutdown-timeout": 9}}),
        ("initdefault 3;", {"daemon": {"runlevel": "3"}}),
        ("state-directory /var/x;", {"daemon": {"state-directory": "/var/x"}}),
        ("pidfile /run/x;", {"daemon": {"pidfile": "/run/x"}}),
        ("qotd-file /var/x;", {"daemon": {"qotd-file": "/var/x"}}),
        ("user me;", {"daemon": {"user": "me"}}),
        ("group (a, b);", {"daemon": {"group": ["a", "b"]}}),
        ("allgroups yes;", {"daemon": {"allgroups": True}}),
        ("mailer-program /bin/m;", {"mail": {"program": "/bin/m"}}),
        ('mailer-command-line "m -t";', {"mail": {"command-line": "m -t"}}),
        (
            "syslog { dev /dev/log; facility local1; tag t; }",
            {"syslog": {"dev": "/dev/log", "facility": "local1", "tag": "t"}},
        ),
        ('syslog { dev "127.0.0.1:514"; }', {"syslog": {"dev": "127.0.0.1:514"}}),
        (
            "control { socket inet://127.0.0.1:8073; realm r; acl a; admin-acl { deny; } "
            "user-acl b; }",
            {
                "control": {
                    "socket": "inet://127.0.0.1:8073",
                    "realm": "r",
                    "acl": "a",
                    "admin-acl": ["deny"],
                    "user-acl": "b",
                }
            },
        ),
        (
            "identity-provider sys { type system; } identity-provider p { type pam; service s; }",
            {
                "identity-provider": {
                    "sys": {"type": "system"},
                    "p": {"type": "pam", "service": "s"},
                }
            },
        ),
    ],
)
def test_each_global_statement_finds_its_table(statement: str, tree: dict[str, object]) -> None:
    assert tree_of(statement) == tree


def test_the_rules_of_an_access_control_list_become_strings() -> None:
    text = """
    defacl office {
        allow all from 10.0.0.0/8;
        allow authenticated acl other from (192.0.2.1, localhost, /run/x.sock);
        allow group (wheel, adm);
        deny user bob from 10.0.0.1;
        allow from 127.0.0.1;
        deny;
    }
    """
    assert tree_of(text)["acl"] == {
        "office": [
            "allow all from 10.0.0.0/8",
            "allow authenticated acl other from 192.0.2.1,localhost,/run/x.sock",
            "allow group wheel,adm",
            "deny user bob from 10.0.0.1",
            "allow from 127.0.0.1",
            "deny",
        ]
    }


@pytest.mark.parametrize(
    "statement",
    [
        "control-file /x;",
        "stat-file /x;",
        "meta1-queue-dir /x;",
        'include-meta1 "/x";',
        "debug 3;",
        "source-info yes;",
        "control {\n\n idle-timeout 5;\n}",
    ],
)
def test_a_statement_without_effect_gives_a_warning_at_its_line(statement: str) -> None:
    problems: list[Problem] = []
    root = root_of(f"\n{statement}", problems)
    (problem,) = problems
    assert problem.warning
    assert problem.line == (4 if "idle" in statement else 2)
    assert "has no effect" in problem.message
    assert not root.table


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("componnt a { command b; }", "did you mean 'component'?"),
        ("mode respawn;", "it belongs in a block 'component TAG"),
        ("initdefault (3, 4);", "takes one value"),
        ("defacl { allow; }", "defacl NAME"),
        ("identity-provider { type system; }", "needs a name"),
        ("identity-provider a { typ system; }", "did you mean 'type'?"),
        ("syslog { facilty x; }", "did you mean 'facility'?"),
        ("syslog daemon;", "needs a block"),
        ("control here { realm x; }", "takes no name"),
        ("control { sockt x; }", "did you mean 'socket'?"),
        ("shutdown-timeout soon;", "must be a number, not 'soon'"),
    ],
)
def test_a_wrong_global_statement_is_told_at_its_line(statement: str, said: str) -> None:
    line, what = one_fault(f"# one\n{statement}")
    assert line == 2
    assert said in what


# --- merging ----------------------------------------------------------------------------------


def test_declarations_of_one_tag_merge() -> None:
    text = """component web { command a; prerequisites x; flags shell; chdir /one;
        env { set "A=1"; } return-code 1 { action disable; } }
    component db { command d; }
    component web { command b; prerequisites (y, none); flags precious; umask 022;
        env { set "A=2"; } return-code 1 { action restart; } }"""
    root = root_of(text)
    assert list(root.table["component"].table) == ["web", "db"]
    assert root.table["component"].table["web"].line == 1
    assert tree_of(text)["component"]["web"] == {  # type: ignore[index]  # a table
        "command": "b",
        "prerequisites": ["x", "y"],
        "flags": ["shell", "precious"],
        "chdir": "/one",
        "env": [{"set": "A=1"}, {"set": "A=2"}],
        "on-exit": [
            {"action": "disable", "codes": [1]},
            {"action": "restart", "codes": [1]},
        ],
        "umask": "022",
        "siggroup": False,
    }


def test_declarations_of_one_tag_merge_across_files() -> None:
    plan = plan_of(
        'component web { command "/bin/prog one"; env { set "A=1"; } } umask 022;',
        "component db { command /bin/prog; flags siggroup; }",
        'component web { command "/bin/prog two"; prerequisites db; flags siggroup; '
        'env { set "B=2"; } } umask 027; component db { user me; }',
    )
    assert [component.tag for component in plan.components] == ["web", "db"]
    web_, db = plan.components
    assert web_.argv == ("/bin/prog", "two")
    assert web_.prerequisites == ("db",)
    assert web_.stop_scope == db.stop_scope == "group"
    assert web_.env.steps == (EnvStep("set", "A=1"), EnvStep("set", "B=2"))
    assert web_.umask == 0o27
    assert web_.source.file == "a.conf"
    assert db.user == "me"


def test_the_order_of_components_is_that_of_their_first_declarations() -> None:
    plan = plan_of(
        "component a { command /bin/prog; }",
        "component b { command /bin/prog; } component a { user me; }",
        "component c { command /bin/prog; prerequisites all; } component b { user me; }",
    )
    assert [component.tag for component in plan.components] == ["a", "b", "c"]
    assert plan.components[2].prerequisites == ("a", "b")


# --- what statements mean together -----------------------------------------------------------


def test_the_socket_of_a_program_and_how_long_it_is_waited_for() -> None:
    text = """component lb {{ mode pass; command /bin/prog; socket inet://127.0.0.1:80;
        pass-fd-socket /run/lb; {} }}"""
    for more, timeout in (("", 5), ("pass-fd-timeout 7;", 7)):
        (component,) = plan_of(text.format(more)).components
        assert component.mode is Mode.PASS_FD
        assert component.ready is not None
        assert (component.ready.kind, component.ready.target) == ("pass-fd", "/run/lb")
        assert component.ready.timeout == timeout


# --- whole plans ------------------------------------------------------------------------------


def test_a_file_becomes_a_plan() -> None:
    plan = plan_of(
        """
        component init { mode startup; command "/bin/prog once"; }
        component ftp {
            mode inetd; program /bin/prog; command "ftpd -ll";
            socket inet://127.0.0.1:2121; max-instances 4;
        }
        component sh { flags (shell, precious, nullinput); command "exec /bin/prog | cat"; }
        shutdown-timeout 7;
        """
    )
    init, ftp, sh = plan.components
    assert init.mode is Mode.STARTUP
    assert (ftp.program, ftp.argv, ftp.max_instances) == ("/bin/prog", ("ftpd", "-ll"), 4)
    assert sh.argv == ("/bin/sh", "-c", "exec /bin/prog | cat")
    assert sh.precious
    assert plan.daemon.shutdown_timeout == 7


def test_what_is_for_later_is_refused_as_such() -> None:
    with pytest.raises(ConfigRejected) as caught:
        plan_of("component a {\n command /bin/prog;\n mode job;\n}")
    (problem,) = caught.value.problems
    assert problem.line == 3
    assert "not supported yet" in problem.message

"""What the lines of a Procfile become."""

from __future__ import annotations

import converted
from supervisor.config.convert import convert
from supervisor.model.component import Component, Mode


def processes(text: str) -> dict[str, Component]:
    return converted.components(text, "/srv/Procfile", "procfile")


def test_a_line_is_a_component_that_runs_in_the_directory_of_the_file() -> None:
    component = processes("# the web\nweb: /bin/prog --fast 'a b'\n")["web"]
    assert component.mode is Mode.RESPAWN
    assert component.argv == ("/bin/prog", "--fast", "a b")
    assert component.chdir == "/srv"
    assert component.source.file == "a.toml"


def test_a_command_that_needs_a_shell_gets_one() -> None:
    for command in ("cd x && y", "A=1 prog", "prog > log", "echo $HOME", "prog *.txt", "a; b"):
        component = processes(f"web: {command}")["web"]
        assert component.argv == ("/bin/sh", "-c", command)
    assert processes("web: prog --a=b c:d e@f")["web"].argv == ("prog", "--a=b", "c:d", "e@f")


def test_a_port_is_the_one_that_foreman_gives() -> None:
    found = processes("web: prog -p $PORT\nother: prog\napi: prog -p ${PORT:-1}\n")
    assert found["web"].env.set == {"PORT": "5000"}
    assert found["other"].env.set == {}
    assert found["api"].env.set == {"PORT": "5200"}


def test_the_release_command_runs_first() -> None:
    component = processes("release: prog migrate\nweb: prog")["release"]
    assert (component.mode, component.required) == (Mode.STARTUP, True)


def test_the_name_of_an_instance_in_a_command_is_no_business_of_ours() -> None:
    assert processes("web: prog ${instance}")["web"].argv[-1] == "prog ${instance}"


def test_comments_stay_with_their_component() -> None:
    printed, _ = convert("# says hello\nweb: prog\n", "/srv/Procfile", "procfile")
    assert "# says hello\n[component.web]\n" in printed


def test_all_that_is_wrong_is_told_with_its_line() -> None:
    text = "web: a\nnonsense\nworker:\nweb: b\n"
    assert converted.refused(text, "Procfile", "procfile") == [
        (2, ": must be 'NAME: COMMAND', not 'nonsense'"),
        (3, "worker: the command is missing"),
        (4, "web: is already defined at Procfile:1"),
    ]

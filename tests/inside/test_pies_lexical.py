"""The lexical rules of pies' syntax. Source: pies.md section 1.0."""

from __future__ import annotations

import pytest

from pies_text import found_in, one_fault, root_of, tree_of, web
from supervisor.model.errors import Problem

# --- comments and lines -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\numask 022;",
        "// a comment\numask 022;",
        "/* a\ncomment */ umask 022;",
        "umask /* here */ 022;",
        "umask 022; # behind",
        "umask 022;// behind",
        "umask 022 # behind a value\n;",
        "/* not /* nested */ umask 022;",
        "/***/ umask 022;",
        "  # indented\n  umask 022;",
    ],
)
def test_comments_of_all_three_forms_say_nothing(text: str) -> None:
    assert tree_of(text) == {"daemon": {"umask": "022"}}


def test_a_comment_sign_within_a_string_or_a_word_begins_no_comment() -> None:
    assert web('command "a # b // c /* d */";') == {"command": "a # b // c /* d */"}
    assert web("chdir /srv//web;") == {"chdir": "/srv//web"}
    assert web("chdir /srv/*;") == {"chdir": "/srv/*"}


def test_a_comment_without_an_end_is_told_at_its_beginning() -> None:
    for text in ("umask 022;\n/* never\nclosed\n", "component a {\n/* never\n command x; }\n"):
        line, what = one_fault(text)
        assert line == 2
        assert "no end" in what


@pytest.mark.parametrize(
    "pragma", ['#line 40 "other.conf"', '# 40 "other.conf"', '# 40 "other.conf" 2']
)
def test_a_line_pragma_moves_what_follows_to_another_file(pragma: str) -> None:
    node = root_of(f"\n\n{pragma}\n\numask 022;").table["daemon"].table["umask"]
    assert (node.file, node.line) == ("other.conf", 41)


def test_a_line_pragma_without_a_file_moves_the_line_alone() -> None:
    node = root_of("\n#line 100\numask 022;").table["daemon"].table["umask"]
    assert (node.file, node.line) == ("pies.conf", 100)


def test_the_standard_input_of_a_preprocessor_is_the_file_itself() -> None:
    node = root_of('#line 7 "other"\n#line 9 "stdin"\numask 022;').table["daemon"].table["umask"]
    assert (node.file, node.line) == ("pies.conf", 9)


@pytest.mark.parametrize("comment", ["# 42", "# 42 is the answer", "#lines of code", "#line", "#1"])
def test_a_comment_that_resembles_a_pragma_moves_nothing(comment: str) -> None:
    node = root_of(f"{comment}\numask 022;").table["daemon"].table["umask"]
    assert (node.file, node.line) == ("pies.conf", 2)


def test_lines_are_counted_through_everything_that_spans_them() -> None:
    env = "env {\n set <<EOT\nA=b\nEOT\n}"
    text = f'component web {{\n/*\n*/ command "a \\\nb"\n"c";\n{env}\nchdir x;\n}}'
    table = root_of(text).table["component"].table["web"].table
    assert {name: node.line for name, node in table.items()} == {
        "command": 3,
        "env": 6,
        "chdir": 11,
        "siggroup": 1,
    }


def test_line_ends_of_other_systems_and_a_byte_order_mark_do_no_harm() -> None:
    text = '\ufeffcomponent web {\r\n  command "a \\\r\nb";\r\n  chdir /x;\r\n}\r\n'
    root = root_of(text).table["component"].table["web"]
    assert root.table["command"].value == "a b"
    assert root.table["chdir"].line == 4


# --- values -----------------------------------------------------------------------------------


def test_a_word_has_letters_digits_and_some_signs() -> None:
    assert web("chdir a_b-c.d/e@f*g:h;") == {"chdir": "a_b-c.d/e@f*g:h"}


def test_all_escapes_of_a_string_mean_what_they_mean_in_c() -> None:
    assert web(r'command "\a\b\f\n\r\t\v\\\"";') == {"command": '\a\b\f\n\r\t\v\\"'}


def test_an_unknown_escape_loses_its_backslash_with_a_warning() -> None:
    problems: list[Problem] = []
    root = root_of('component web {\n command "one \\\n two \\w";\n}', problems)
    assert root.table["component"].table["web"].table["command"].value == "one  two w"
    (problem,) = problems
    assert problem.warning
    assert problem.line == 3
    assert r"'\w'" in problem.message


def test_adjacent_strings_are_one_and_adjacent_words_are_not() -> None:
    assert web('command "a " "b "\n  /* c */ "d";') == {"command": "a b d"}
    assert one_fault("component web {\n command a\n b;\n}")[0] == 3


def test_a_string_may_be_empty() -> None:
    assert web('max-instances-message "";') == {"max-instances-message": ""}


def test_a_string_ends_with_its_line_so_that_the_rest_is_read() -> None:
    text = 'component web {\n command "a b;\n chdir /x;\n umask "022;\n}\n'
    problems: list[Problem] = []
    table = root_of(text, problems).table["component"].table["web"].table
    assert [problem.line for problem in problems] == [2, 4]
    assert table["command"].value == "a b"
    assert table["chdir"].value == "/x"
    assert table["umask"].value == "022"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *((word, True) for word in ("yes", "true", "t", "1", '"yes"', "YES")),
        *((word, False) for word in ("no", "false", "nil", "0")),
    ],
)
def test_booleans_have_four_words_each(word: str, value: bool) -> None:
    assert web(f"allgroups {word};") == {"allgroups": value}


@pytest.mark.parametrize("word", ["on", "y", "2", '""', "(yes, no)"])
def test_other_words_are_no_booleans(word: str) -> None:
    line, what = one_fault(f"component web {{\n allgroups {word};\n}}")
    assert line == 2
    assert "allgroups" in what


def test_numbers_are_decimal() -> None:
    assert web("max-instances 010;") == {"max-instances": 10}
    assert web('max-instances "12";') == {"max-instances": 12}
    for wrong in ("ten", "-1", "0x10", "1.5", "٣", "1" * 5000):
        line, what = one_fault(f'component web {{\n max-instances "{wrong}";\n}}')
        assert line == 2
        assert "must be a number" in what


def test_octal_numbers_stay_as_they_are_written() -> None:
    assert web("umask 027;") == {"umask": "027"}


@pytest.mark.parametrize(
    ("written", "items"),
    [
        ("(a, b, c)", ["a", "b", "c"]),
        ("(a)", ["a"]),
        ("a", ["a"]),
        ('("a", b,)', ["a", "b"]),
        ('("a" "b", c)', ["ab", "c"]),
        ("()", []),
        ("(a,\n b)", ["a", "b"]),
    ],
)
def test_a_list_stands_in_parentheses_and_one_value_needs_none(
    written: str, items: list[str]
) -> None:
    assert web(f"dependents {written};") == {"dependents": items}


# --- here-documents ---------------------------------------------------------------------------


def _message(text: str) -> object:
    return web(f"max-instances-message {text}")["max-instances-message"]


def test_a_here_document_holds_the_lines_up_to_its_word() -> None:
    assert _message("<<EOT\none\n  two\n\nEOT\n") == "one\n  two\n\n"
    assert _message("<<EOT\nEOT\n") == ""
    assert _message("<<EOT\nEOTX\n EOT\nEOT\n") == "EOTX\n EOT\n"


@pytest.mark.parametrize("end", ["EOT\n", "EOT;\n", "EOT ;\n", "EOT\n;\n", "EOT  \n"])
def test_a_semicolon_after_a_here_document_may_be_there_or_not(end: str) -> None:
    table = web(f"max-instances-message <<EOT\nx\n{end} chdir /y;")
    assert table == {"max-instances-message": "x\n", "chdir": "/y"}


def test_a_dash_strips_leading_tabs_and_a_blank_after_it_all_blanks() -> None:
    assert _message("<<-EOT\n\t\tone\n\t two\n\tEOT\n") == "one\n two\n"
    assert _message("<<- EOT\n  one\n\t two\n  EOT\n") == "one\ntwo\n"


def test_escapes_in_a_here_document_are_replaced_unless_its_word_is_quoted() -> None:
    assert _message("<<EOT\na\\tb\\\nc\nEOT\n") == "a\tbc\n"
    for word in ('"EOT"', "'EOT'", r"\EOT"):
        assert _message(f"<<{word}\na\\tb\\\nc\nEOT\n") == "a\\tb\\\nc\n"


def test_a_here_document_is_no_place_for_comments_braces_or_directives() -> None:
    body = '# x\n// y\n} {"\n#include "/nowhere"\n'
    assert _message(f"<<EOT\n{body}EOT\n") == body


def test_the_last_line_break_is_kept_in_messages_only() -> None:
    assert web("command <<EOT\n/bin/prog x\nEOT\n") == {"command": "/bin/prog x"}


def test_a_warning_in_a_here_document_has_its_own_line() -> None:
    found = found_in("component web {\n command <<EOT\na\nb \\w\nEOT\n}")
    assert [line for line, _ in found] == [4]


def test_a_here_document_without_an_end_is_told_at_its_beginning() -> None:
    ((line, what),) = found_in("component web {\n command <<EOT\n/bin/prog\n EOT\n}\n")
    assert line == 2
    assert "'EOT' alone" in what


# --- statements -------------------------------------------------------------------------------


def test_blocks_may_end_in_a_semicolon_and_statements_may_be_empty() -> None:
    assert tree_of("syslog { facility user; };;\n;umask 022;") == {
        "syslog": {"facility": "user"},
        "daemon": {"umask": "022"},
    }


def test_a_label_may_be_a_string() -> None:
    assert list(tree_of('component "web.x" { command a; }')["component"]) == ["web.x"]  # type: ignore[call-overload]  # a table


def test_an_empty_file_says_nothing() -> None:
    for text in ("", "\n", "# nothing", "\ufeff", ";"):
        assert tree_of(text) == {}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("component web {\n mode respawn\n command a;\n}", 2, "a ';' is missing after 'respawn'"),
        ("component web {\n command a\n}", 2, "a ';' is missing after 'a'"),
        ("umask 022", 1, "a ';' is missing after '022'"),
        ("umask 022;\n}\n", 2, "a '}' closes nothing here"),
        ("component web\n mode respawn;\n command a;\n}", 1, "its '{' is missing"),
        ("component web {\n command a;\n", 1, "a '}' is missing"),
        ("component web {\n command a;\ncomponent db { command b; }", 3, "a '}' is missing"),
        ("component web {\n command a;\n dependents (a, b;\n}", 3, "its ')' is missing"),
        ("component web {\n command a;\n dependents (a b);\n}", 3, "a ',' is missing"),
        ("component web {\n command a;\n dependents a, b;\n}", 3, "a list stands in parentheses"),
        ("component web {\n command a;\n dependents a);\n}", 3, "a ')' closes nothing"),
        ("component web {\n command a;\n dependents (,a);\n}", 3, "a value is missing"),
        (
            "component web {\n command a;\n 12 monkeys;\n}",
            3,
            "begins with a keyword, not with '12'",
        ),
        ('component web {\n command a;\n "x" y;\n}', 3, "not with the string 'x'"),
        ("umask 022;\n{ a; b { c; } }\npidfile /x;", 2, "without the keyword of a block"),
        ("component web {\n command 'a b';\n}", 2, "double quotes"),
        ("component web {\n command “a”;\n}", 2, "plain double quotes"),
        ("component web {\n mode = respawn;\n command a;\n}", 2, "'=' means nothing"),
        ("component web {\n command a+b;\n}", 2, "because of '+'"),
        ("component web {\n command a;\n umask \0;\n}", 3, "must stand in double quotes"),
        ("component web {\n command a;\n umask << 3;\n}", 3, "here-document"),
        ("component web {\n command a;\n umask <<EOT 3\n022\nEOT\n}", 3, "nothing may follow"),
    ],
)
def test_a_fault_of_syntax_is_told_once_and_where_it_is(text: str, line: int, said: str) -> None:
    found = found_in(text)
    assert found[0][0] == line
    assert said in found[0][1]
    assert len(found) <= (2 if "umask \0" in text or "<< 3" in text else 1), found


def test_a_string_that_goes_on_in_the_next_line_is_one_fault() -> None:
    problems: list[Problem] = []
    root = root_of('component a {\n command "b\n  c";\n chdir;\n}', problems)
    assert [problem.line for problem in problems] == [2, 4]
    assert "backslash" in problems[0].message
    assert root.table["component"].table["a"].table["command"].value == "b\n  c"


def test_reading_goes_on_after_each_fault() -> None:
    problems: list[Problem] = []
    text = "12 x;\ncomponent a { mode respawn chdir /x; command b; }\n}\numask 022;"
    root = root_of(text, problems)
    assert sorted(problem.line for problem in problems) == [1, 2, 3]
    assert list(root.table["component"].table) == ["a"]
    assert root.table["daemon"].table["umask"].value == "022"

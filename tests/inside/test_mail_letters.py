"""What exit actions send: templates, headers and encoding."""

from __future__ import annotations

from email import message_from_string
from email.header import decode_header, make_header
from email.message import Message
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.model.effects import Mail
from supervisor.model.state import Exit
from supervisor.runtime.mail import Facts, Letter, bare_address, render, variables, write_letter

FACTS = Facts(instance="main", version="1.2", host="web1.example.org", user="pies")
AT = 1_700_000_000.0
CRASH = Exit(code=78, message="exited with 78")


def letter(
    message: str | None = None,
    *,
    to: tuple[str, ...] = ("ops@example.org",),
    end: Exit = CRASH,
    tag: str = "web",
    sender: str = "",
) -> Letter:
    written = write_letter(Mail(tag, to, message, end), FACTS, name="n1", sender=sender, at=AT)
    assert written is not None
    return written


def parsed(one: Letter) -> Message:
    return message_from_string(one.text, policy=default)


def body(one: Letter) -> str:
    payload = parsed(one).get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def test_without_a_message_the_subject_says_how_it_ended() -> None:
    mail = parsed(letter())
    assert mail["Subject"] == "Component web exited with 78."
    assert mail["X-Agent"] == "pies (piesd 1.2)"
    assert body(letter()).strip() == ""


def test_what_a_letter_needs_is_added() -> None:
    mail = parsed(letter("Subject: down\n\nIt is down.\n"))
    assert mail["From"] == "pies@web1.example.org"
    assert mail["To"] == "ops@example.org"
    assert mail["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert mail["Message-ID"] == "<n1.piesd@web1.example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"] == "down"


def test_what_the_message_says_itself_is_not_replaced() -> None:
    mail = parsed(letter("From: Alarm <alarm@example.org>\nTo: the-team@example.org\n\nx\n"))
    assert mail["From"] == "Alarm <alarm@example.org>"
    assert mail.get_all("To") == ["the-team@example.org"]
    assert len(mail.get_all("From") or ()) == 1


def test_a_folded_header_and_all_variables() -> None:
    text = (
        "Subject: ${program_name} of\n ${instance}\n\n"
        "${canonical_program_name} ${package} ${version} ${component} ${termination} ${retcode}\n"
    )
    killed = Exit(signal=11, message="killed by SIGSEGV", at=1.0)
    one = letter(text, end=killed)
    assert parsed(one)["Subject"] == "piesd of main"
    assert body(one) == "pies piesd 1.2 web terminated on signal 11\n"


def test_unknown_references_stay_as_they_are() -> None:
    assert render("${nobody} $component ${component", {"component": "web"}) == (
        "${nobody} $component ${component"
    )


def test_a_message_without_headers_is_all_body() -> None:
    one = letter("It is down: see the runbook.\n\nSecond paragraph.\n")
    assert body(one) == "It is down: see the runbook.\n\nSecond paragraph.\n"
    assert parsed(one)["Subject"] == "Component web exited with 78."


def test_an_empty_first_line_ends_the_headers() -> None:
    assert body(letter("\nSubject: not a header\n")) == "Subject: not a header\n"


def test_carriage_returns_do_not_matter() -> None:
    one = letter("Subject: down\r\n\r\nIt is down.\r\n")
    assert parsed(one)["Subject"] == "down"
    assert body(one) == "It is down.\n"


def test_what_is_not_ascii_is_encoded_and_comes_back() -> None:
    one = letter("Subject: ausgefallen: Grüße aus Köln\n\nDer Dienst ist müde.\n")
    assert one.text.isascii()
    assert str(make_header(decode_header(parsed(one)["Subject"]))) == (
        "ausgefallen: Grüße aus Köln"
    )
    assert body(one) == "Der Dienst ist müde.\n"


def test_html_stays_html_and_a_body_encoded_by_hand_stays_as_it_is() -> None:
    html = letter("Content-Type: text/html; charset=utf-8\n\n<p>müde</p>\n")
    assert parsed(html).get_content_type() == "text/html"
    assert body(html) == "<p>müde</p>\n"
    by_hand = letter("Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\naGVsbG8K\n")
    assert body(by_hand) == "hello\n"


@pytest.mark.parametrize("tag", ["a\nBcc: all@example.org", "a\r\n\r\nbody", "a\x00b\x7f"])
def test_a_value_cannot_make_a_header_of_its_own(tag: str) -> None:
    mail = parsed(letter(tag=tag))
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]


@given(st.text(max_size=60), st.text(max_size=30))
def test_whatever_a_template_says_the_envelope_is_ours_and_it_can_be_read(
    template: str, value: str
) -> None:
    one = letter(f"X-Mine: ${{component}}\n\n{template}", tag=value)
    assert one.to == ("ops@example.org",)
    assert {name.lower() for name in parsed(one)} <= {
        "x-mine", "from", "to", "subject", "date", "message-id", "auto-submitted",
        "mime-version", "content-type", "content-transfer-encoding",
    }  # fmt: skip


@given(st.text(max_size=200))
def test_no_template_is_so_odd_that_nothing_is_sent(template: str) -> None:
    assert letter(template).text.count("Auto-Submitted") >= 1


def test_a_message_in_several_parts_stays_as_it_is() -> None:
    parts = "--x\nContent-Type: text/plain; charset=utf-8\n\nmüde\n--x--\n"
    one = letter(f"Content-Type: multipart/mixed; boundary=x\n\n{parts}")
    assert one.text.endswith(parts)


def test_a_blind_copy_is_neither_sent_nor_seen() -> None:
    one = letter("Bcc: boss@example.org\nSubject: x\n\n")
    assert "boss" not in one.text
    assert one.to == ("ops@example.org",)


def test_the_configured_sender_is_taken_with_its_name() -> None:
    one = letter(sender="The pies <pies@example.org>")
    assert parsed(one)["From"] == "The pies <pies@example.org>"
    assert one.sender == "pies@example.org"
    assert letter(sender="").sender == "pies@web1.example.org"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ops@example.org", "ops@example.org"),
        ("The team <ops@example.org>", "ops@example.org"),
        ("root", "root"),
        ("-oQ/tmp@example.org", ""),
        ("a@b\nBcc: c@d", ""),
        ("two words", ""),
        ("", ""),
    ],
)
def test_what_an_address_is(text: str, address: str) -> None:
    assert bare_address(text) == address


def test_an_address_that_is_none_costs_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert letter(to=("-x", "ops@example.org")).to == ("ops@example.org",)
    assert "it is no address" in caplog.text
    nobody = Mail("web", ("-x",), None, CRASH)
    assert write_letter(nobody, FACTS, name="n", sender="", at=AT) is None


def test_a_second_subject_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    mail = parsed(letter("Subject: one\nSubject: two\n\nbody\n"))
    assert mail.get_all("Subject") == ["one"]
    assert "cannot use the header Subject" in caplog.text


def test_what_failed_before_it_ran_has_words_too() -> None:
    values = variables(Mail("web", (), None, Exit(stage="exec", message="no")), FACTS)
    assert (values["termination"], values["retcode"]) == ("failed at", "exec")

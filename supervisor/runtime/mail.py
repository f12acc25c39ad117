"""Write the letters that exit actions send: templates, headers, encoding.

Source: pies.md section 3 for the variables and the default message; RFC 5322 for the headers, RFC
2047 for what is not ASCII in them, RFC 3834 for `Auto-Submitted`.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import EmailMessage

    from supervisor.model.effects import Mail
    from supervisor.model.state import Exit

log = logging.getLogger(__name__)

SUBJECT: Final = "Component ${component} ${termination} ${retcode}."
DEFAULT: Final = (
    f"X-Agent: ${{canonical_program_name}} (${{package}} ${{version}})\nSubject: {SUBJECT}\n\n"
)

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FIELD: Final = re.compile(r"[!-9;-~]+:|[ \t]")
_ADDRESS: Final = re.compile(r"[^\s\x00-\x1f\x7f,;<>()\[\]\\\"-][^\s\x00-\x1f\x7f,;<>()\\\"]*")
_NAMED: Final = re.compile(r"[^<>]*<([^<>]*)>")
_CONTROL: Final = dict.fromkeys((*range(32), 127, 133, 8232, 8233), " ")


class Facts(Struct, frozen=True, kw_only=True):
    """What letters say about this piesd."""

    instance: str
    version: str
    host: str
    user: str = "root"
    program_name: str = "piesd"


class Letter(Struct, frozen=True, kw_only=True):
    """A letter ready to be sent, and to be kept in a file until it is.

    `text` is a whole message with plain newlines, `sender` and `to` are bare addresses, `at` is the
    Unix time at which it was written. Names sort by age.
    """

    name: str
    tag: str
    sender: str
    to: tuple[str, ...]
    text: str
    at: float


def write_letter(mail: Mail, facts: Facts, *, name: str, sender: str, at: float) -> Letter | None:
    """Return the letter for *mail*, or None if none of its addresses is one.

    A message that cannot be brought into the form of a letter is replaced by the default one. The
    first letter loads a good part of the standard library: this is for a worker thread.

    Args:
        name: what is different for each letter.
        sender: the configured sender; if it is empty or no address, one is made up.
        at: Unix time, now.
    """
    from email.utils import format_datetime  # noqa: PLC0415 - Most piesd never write a letter.

    to = [address for text in mail.to if (address := bare_address(text))]
    for text in mail.to:
        if not bare_address(text):
            log.error("cannot notify %r about %r: it is no address", text, mail.tag)
    if not to:
        return None
    made_up = f"{facts.user}@{facts.host}"
    from_ = bare_address(sender) or made_up
    headers = {
        "From": sender.translate(_CONTROL) if bare_address(sender) else made_up,
        "To": ", ".join(to),
        "Subject": SUBJECT,
        "Date": format_datetime(datetime.fromtimestamp(at, UTC)),
        "Message-ID": f"<{name}.{facts.program_name}@{facts.host}>",
        "Auto-Submitted": "auto-generated",
    }
    values = variables(mail, facts)
    try:
        text = _compose(DEFAULT if mail.message is None else mail.message, values, headers)
    except Exception:
        # The parsers of the standard library have raised many things over the years.
        log.exception("cannot use the message about %r; sending the default one", mail.tag)
        text = _compose(DEFAULT, values, headers)
    return Letter(name=name, tag=mail.tag, sender=from_, to=tuple(to), text=text, at=at)


def variables(mail: Mail, facts: Facts) -> dict[str, str]:
    """Return what the references of a template stand for; each is one line."""
    termination, retcode = _end(mail.exit)
    values = {
        "canonical_program_name": "pies",
        "program_name": facts.program_name,
        "package": "piesd",
        "instance": facts.instance,
        "version": facts.version,
        "component": mail.tag,
        "termination": termination,
        "retcode": retcode,
    }
    return {name: value.translate(_CONTROL) for name, value in values.items()}


def _end(end: Exit) -> tuple[str, str]:
    if end.signal is not None:
        return "terminated on signal", str(end.signal)
    if end.code is not None:
        return "exited with", str(end.code)
    return "failed at", end.stage or "its start"


def render(template: str, values: Mapping[str, str]) -> str:
    """Replace the references `${name}`; one that nobody knows stays as it is."""
    return _REFERENCE.sub(lambda found: values.get(found[1], found[0]), template)


def bare_address(text: str) -> str:
    """Return the address in *text* (`a@b` or `Name <a@b>`), or nothing if it is none.

    What begins with a hyphen is none: a mailer would take it for an option.
    """
    found = _NAMED.fullmatch(text.strip())
    address = found[1] if found else text.strip()
    return address if _ADDRESS.fullmatch(address) else ""


def _compose(template: str, values: Mapping[str, str], defaults: Mapping[str, str]) -> str:
    """Return the message: the template's headers, those that it lacks, its body."""
    from email.message import EmailMessage  # noqa: PLC0415 - Most piesd never write a letter.
    from email.policy import SMTP  # noqa: PLC0415

    fields, body = _split(template)
    message = EmailMessage(SMTP.clone(linesep="\n", cte_type="7bit"))
    for name, value in fields:
        _add(message, name, render(value, values))
    for name, value in defaults.items():
        if name not in message:
            _add(message, name, render(value, values))
    body = render(body, values)
    if _is_made_by_hand(message):
        message.set_payload("")
        return message.as_bytes().decode() + body
    kind = message.get_content_subtype() if "Content-Type" in message else "plain"
    message.set_content(body, subtype=kind, charset="us-ascii" if body.isascii() else "utf-8")
    return message.as_bytes().decode()


def _is_made_by_hand(message: EmailMessage) -> bool:
    """Tell whether the body is encoded already, or made of parts."""
    kind = message.get_content_maintype() if "Content-Type" in message else "text"
    return "Content-Transfer-Encoding" in message or kind != "text"


def _split(template: str) -> tuple[list[tuple[str, str]], str]:
    """Return the header fields and the body; what does not begin with headers is all body."""
    text = template.replace("\r\n", "\n").replace("\r", "\n")
    head, _, body = ("", "", text[1:]) if text.startswith("\n") else text.partition("\n\n")
    lines = head.removesuffix("\n").split("\n") if head else []
    if not all(map(_FIELD.match, lines)) or (lines and lines[0][0] in " \t"):
        return [], text
    fields: list[tuple[str, str]] = []
    for line in lines:
        if line[0] in " \t":
            name, value = fields[-1]
            fields[-1] = name, f"{value} {line.strip()}"
        else:
            name, _, value = line.partition(":")
            fields.append((name, value.strip()))
    return fields, body


def _add(message: EmailMessage, name: str, value: str) -> None:
    if name.lower() in ("from", "to", "date", "message-id") and not value:
        return  # Then we know better.
    if name.lower() == "bcc":
        return  # Who gets it is said elsewhere, and this is not meant to be seen.
    try:
        message[name] = value.translate(_CONTROL)
    except ValueError as error:  # For instance a second subject.
        log.warning("cannot use the header %s of a message: %s", name, error)

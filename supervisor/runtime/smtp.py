"""Hand one letter to an SMTP server. It blocks: it is for a worker thread.

TLS is used where the server offers it, without asking who it is: that keeps listeners out, and
nobody else (RFC 7435). A server that offers none gets the letter in plain text.
"""

from __future__ import annotations

import smtplib
import ssl
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from supervisor.runtime.outbox import Delivery

if TYPE_CHECKING:
    from supervisor.runtime.mail import Letter

TIMEOUT: Final = 30.0
"""Seconds that one answer of the server may take."""

PORT: Final = 25


def deliver(server: str, letter: Letter, host: str, timeout: float = TIMEOUT) -> Delivery:
    """Send *letter* by *server* (`HOST[:PORT]`) and return what came of it.

    Args:
        host: how we introduce ourselves.
        timeout: seconds for each answer.
    """
    try:
        return _deliver(server, letter, host, timeout, secretly=True)
    except ssl.SSLError:
        pass  # It offers what it cannot do. As mail servers do among themselves: without, then.
    except (OSError, smtplib.SMTPException) as error:
        return Delivery(trouble=_reason(error))
    try:
        return _deliver(server, letter, host, timeout, secretly=False)
    except (OSError, smtplib.SMTPException) as error:
        return Delivery(trouble=_reason(error))


def _deliver(server: str, letter: Letter, host: str, timeout: float, *, secretly: bool) -> Delivery:
    name, port = address_of(server)
    with closing(smtplib.SMTP(name, port, local_hostname=host, timeout=timeout)) as session:
        session.ehlo_or_helo_if_needed()
        if secretly and session.has_extn("starttls"):
            session.starttls(context=_trusting())
        data = letter.text.encode("utf-8", "surrogateescape").replace(b"\n", b"\r\n")
        try:
            refused = session.sendmail(letter.sender, letter.to, data)
        except smtplib.SMTPRecipientsRefused as error:
            # With a 421 it hangs up before it has answered for all, and nobody gets the letter.
            last = list(error.recipients.values())[-1:]
            refused = dict.fromkeys(letter.to, *last) | error.recipients
        except UnicodeEncodeError:
            return Delivery(refused=dict.fromkeys(letter.to, "its address is not ASCII"))
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            refused = dict.fromkeys(letter.to, (error.smtp_code, _bytes(error.smtp_error)))
        # How the server takes our leave changes nothing about what it has said before.
        with suppress(OSError, smtplib.SMTPException):
            session.quit()
    return _sorted(refused)


def _sorted(answers: dict[str, tuple[int, bytes]]) -> Delivery:
    """Tell what is refused for good (5xx) from what may be tried again."""
    texts = {who: f"{code} {_text(said)}" for who, (code, said) in answers.items()}
    good = {who for who, (code, _) in answers.items() if code >= 500}
    return Delivery(
        refused={who: text for who, text in texts.items() if who in good},
        later={who: text for who, text in texts.items() if who not in good},
    )


def address_of(server: str) -> tuple[str, int]:
    """Return host and port of `HOST[:PORT]`; an IPv6 address has brackets if a port follows."""
    host, colon, port = server.rpartition(":")
    if not colon or "]" in port or (":" in host and not host.startswith("[")):
        host, port = server, str(PORT)
    return host.strip("[]"), int(port)


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(_bytes(error.smtp_error))}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _bytes(said: bytes | str) -> bytes:
    return said if isinstance(said, bytes) else said.encode("utf-8", "replace")


def _text(said: bytes) -> str:
    return " ".join(said.decode("utf-8", "replace").split())


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context

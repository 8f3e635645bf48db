"""The few parts of SMTP's grammar that the simulated providers read, independent of `wire.smtp`.

In: a command line without its CRLF. Out: addresses and parameters, or None where the line is wrong.

Theory: a test peer that shared the server's parser would share its mistakes, so this is a second reading.
Standards: RFC 5321 §4.1.2 (paths), RFC 5321 §4.1.1.11 (parameters).
"""

from typing import NamedTuple

# Parameter → extension that must have been offered: RFC 1870 §3, RFC 6152 §2, RFC 6531 §3.4, RFC 3461 §4.
MAIL_PARAMETERS = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN"}
RCPT_PARAMETERS = {"NOTIFY": "DSN", "ORCPT": "DSN"}


class Path(NamedTuple):
    """A reverse or forward path: the mailbox with its domain in lower case, and the parameters."""

    mailbox: str
    domain: str
    parameters: dict[str, str]


def parse_path(argument: bytes) -> Path | None:
    """`<mailbox> [parameters]` of MAIL or RCPT; `<>` is the empty mailbox."""
    if argument[:1] != b"<":
        return None
    end = argument.find(b">") if b'"' not in argument else _closing_bracket(argument)
    if end < 0:
        return None
    try:
        mailbox = argument[1:end].decode("utf-8")
        rest = argument[end + 1 :].decode("ascii")
    except UnicodeDecodeError:
        return None
    local, at, domain = mailbox.rpartition("@")
    if mailbox and not (local and at and domain) and mailbox.lower() != "postmaster":
        return None
    if at and not domain.islower():
        domain = domain.lower()
        mailbox = f"{local}@{domain}"
    if not rest:
        return Path(mailbox, domain, {})
    if rest[0] != " ":
        return None
    parameters = {}
    for word in rest.split():
        name, _, value = word.partition("=")
        parameters[name.upper()] = value
    return Path(mailbox, domain, parameters)


def _closing_bracket(argument: bytes) -> int:
    quoted = escaped = False
    for place, octet in enumerate(argument):
        if escaped:
            escaped = False
        elif octet == 0x5C and quoted:
            escaped = True
        elif octet == 0x22:
            quoted = not quoted
        elif octet == 0x3E and not quoted:
            return place
    return -1

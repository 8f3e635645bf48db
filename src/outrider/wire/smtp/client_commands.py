"""The client's command lines, and the last check before the socket.

Every line that the client sends is made here. Nothing that leaves holds a control character: a CR or LF in
an argument would be a second command.

Invariant: a line is one command, whatever the arguments; else LocalProtocolError.

Standards: RFC 5321 §4.1.1 (commands), RFC 1870 §3, RFC 6152 §2, RFC 6531 §3.4, RFC 3461 §4 (parameters and
xtext), RFC 6533 §3 (ORCPT), RFC 4954 §5 (AUTH=).
"""

import re

from outrider.base.errors import LocalProtocolError
from outrider.model.address import Address
from outrider.model.flow import Notify, Recipient
from outrider.wire.smtp.client_events import Features, Transaction

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_XCHAR = re.compile(r"[^!-*,-<>-~]")
# RFC 3461 §4: xchar is any of "!" (33) to "~" (126) without "+" and "="
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
# RFC 6533 §3: QCHAR is the same without the backslash
_ORCPT_MAX = 500
# RFC 3461 §4.2
_NOTIFY = (
    (Notify.NEVER, "NEVER"),
    (Notify.SUCCESS, "SUCCESS"),
    (Notify.FAILURE, "FAILURE"),
    (Notify.DELAY, "DELAY"),
)


def checked(line: str) -> str:
    """`line` ended by CRLF.

    Raises:
        LocalProtocolError: It holds a control character.
    """
    if not line.isprintable() and _CONTROLS.search(line) is not None:
        raise LocalProtocolError("a command argument holds a control character; it was not sent")
    return line + "\r\n"


def xtext(text: str) -> str:
    """`text` as xtext (RFC 3461 §4)."""
    return _NOT_XCHAR.sub(lambda match: "".join(f"+{octet:02X}" for octet in match[0].encode()), text)


def orcpt(text: str) -> str | None:
    """The value of ORCPT for what was received as `text`, decoded; None where there is none that fits.

    The type utf-8 has an encoding of its own (RFC 6533 §3), of which the form in 7 bits may go to everybody.
    """
    kind, separator, address = text.partition(";")
    if not separator:
        return None
    if kind.lower() == "utf-8":
        address = _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):X}}}", address)
    elif address.isascii():
        address = xtext(address)
    else:
        return None
    value = f"{kind};{address}"
    return value if len(value) <= _ORCPT_MAX else None


def path(address: Address) -> str:
    """`local@domain` for use between angle brackets.

    Raises:
        LocalProtocolError: It could be read as more than a path.
    """
    local_part, domain = address.local_part, address.domain
    if (" " in local_part or ">" in local_part) and not local_part.startswith('"'):
        raise LocalProtocolError("an unquoted local part holds a space or a bracket; it was not sent")
    if " " in domain or ">" in domain:
        raise LocalProtocolError("a domain holds a space or a bracket; it was not sent")
    return f"{local_part}@{domain}"


def mail_line(
    transaction: Transaction, features: Features, *, size: int, eight_bit: bool, smtputf8: bool
) -> str:
    """The MAIL command.

    Args:
        transaction: What is sent.
        features: What the peer takes.
        size: Octets of the content for SIZE (RFC 1870 §3).
        eight_bit: The content has octets over 127.
        smtputf8: Send the SMTPUTF8 parameter.
    """
    sender = transaction.mail_from
    line = "MAIL FROM:<>" if sender is None else f"MAIL FROM:<{path(sender)}>"
    if features.has_size:
        line += f" SIZE={size}"
    if features.eight_bit_mime and (smtputf8 or eight_bit):
        line += " BODY=8BITMIME"
    if smtputf8:
        line += " SMTPUTF8"
    if features.dsn:
        if transaction.ret is not None:
            line += f" RET={transaction.ret}"
        if transaction.envid is not None:
            line += f" ENVID={xtext(transaction.envid)}"
    if features.authenticated:
        line += " AUTH=<>"  # RFC 4954 §5: who submitted it is asserted to nobody
    return checked(line)


def rcpt_line(recipient: Recipient, features: Features) -> str:
    """The RCPT command of one recipient."""
    line = f"RCPT TO:<{path(recipient.address)}>"
    if features.dsn:
        if recipient.notify:
            line += " NOTIFY=" + ",".join(name for bit, name in _NOTIFY if recipient.notify & bit)
        if recipient.orcpt is not None:
            value = orcpt(recipient.orcpt)
            if value is not None:
                line += f" ORCPT={value}"
    return checked(line)

"""The grammar of command arguments: text in, values out, or the reply that refuses it.

`parse_mail` and `parse_rcpt` take what follows `MAIL FROM:` and `RCPT TO:`; parameters are read by the two
tables at the end. A refusal is a `CommandError` that carries its reply.

Invariant: whatever the text, a parser returns or raises CommandError.

Standards: RFC 5321 §4.1.1 (commands), RFC 5321 §4.1.2 (paths), RFC 1870 §6 (SIZE), RFC 6152 §2 (BODY),
RFC 6531 §3.4 (SMTPUTF8), RFC 3461 §4 (RET, ENVID, NOTIFY, ORCPT, xtext), RFC 4954 §5 (AUTH=).
Not here: the order of commands (wire.smtp.server), mailbox grammar (model.mailbox).
"""

import re
from collections.abc import Callable
from typing import Any

from outrider.base.errors import AddressError, RemoteProtocolError
from outrider.model.address import Address
from outrider.model.flow import Notify, Recipient
from outrider.model.mailbox import maybe_plain_path, parse_domain, parse_mailbox
from outrider.model.reply import Reply
from outrider.wire.smtp import replies
from outrider.wire.smtp.mail_parameters import NO_MAIL_PARAMETERS, MailParameters

COMMAND_OCTETS = 512
"""RFC 5321 §4.5.3.1.4, with CRLF; the extensions below add to it."""

LINE_LIMITS = {
    "MAIL": COMMAND_OCTETS + 26 + 17 + 10 + 9 + 107 + 500,
    "RCPT": COMMAND_OCTETS + 29 + 507,
    "AUTH": 12_288,
}
"""MAIL: SIZE 26 (RFC 1870 §3), BODY 17 (RFC 6152 §2), SMTPUTF8 10 (RFC 6531 §3.4), ` RET=FULL` 9, ` ENVID=`
and 100 octets (RFC 3461 §4.4), AUTH 500 (RFC 4954 §3). RCPT: ` NOTIFY=SUCCESS,FAILURE,DELAY` 29, ` ORCPT=`
and 500 octets (RFC 3461 §4.2). AUTH: RFC 4954 §4."""

ENVID_OCTETS = 100
"""RFC 3461 §4.4."""

ORCPT_OCTETS = 500
"""RFC 3461 §4.2."""

SIZE_DIGITS = 20
"""RFC 1870 §6."""

HELO_OCTETS = 255
"""RFC 5321 §4.5.3.1.2."""

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*").fullmatch
_XCHAR = re.compile(r"\+([0-9A-F]{2})")
_UTF8_ADDR = re.compile(
    r"(?:[!-*,-<>-\[\]-~]|[^\x00-\x9f]|\\x\{(?:[1-9A-Fa-f][0-9A-Fa-f]{0,5})\})*"
).fullmatch
_UTF8_CHAR = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*").fullmatch
_VALUE = re.compile(r"[!-<>-~\x80-\U0010ffff]+").fullmatch
_ADDR_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~-]+").fullmatch
# RFC 3461 §4.2: an atom; no value of a parameter holds "="
_HELO = re.compile(r"[!-~]+").fullmatch
find_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search
"""The first control character, or line or paragraph separator, of a text."""


class CommandError(RemoteProtocolError):
    """An argument is refused; `reply` is what the peer hears."""

    def __init__(self, reply: Reply, message: str = "") -> None:
        super().__init__(message or reply.text)
        self.reply = reply


def parse_mail(text: str, *, esmtp: bool) -> tuple[Address | None, MailParameters]:
    """What follows `MAIL FROM:`; None is the null reverse-path."""
    address = maybe_plain_path(text)  # the usual command is nothing else, and costs a third of the rest
    if address is not None:
        return address, NO_MAIL_PARAMETERS
    path, tail = _split_path(text, replies.BAD_SENDER)
    parameters = NO_MAIL_PARAMETERS
    if tail:
        parameters = MailParameters(**_parse_parameters(tail, _MAIL_PARAMETERS, esmtp))
    if not path:
        return None, parameters
    return _parse_path(path, parameters.smtputf8, replies.BAD_SENDER), parameters


def parse_rcpt(text: str, *, esmtp: bool, smtputf8: bool, hostname: str) -> Recipient:
    """What follows `RCPT TO:`; `<postmaster>` alone means the one at `hostname` (RFC 5321 §4.1.1.3)."""
    address = maybe_plain_path(text)  # see `parse_mail`
    if address is not None:
        return Recipient(address)
    path, tail = _split_path(text, replies.BAD_RECIPIENT)
    if not path:
        raise CommandError(replies.NULL_RECIPIENT)
    if path.lower() == "postmaster":
        path = f"{path}@{hostname}"
    address = _parse_path(path, smtputf8, replies.BAD_RECIPIENT)
    if not tail:
        return Recipient(address)
    return Recipient(address, **_parse_parameters(tail, _RCPT_PARAMETERS, esmtp))


def parse_helo(text: str) -> str:
    """The argument of EHLO or HELO: any printable word, because clients say what they like."""
    name = text.strip(" ")
    if len(name) > HELO_OCTETS or not _HELO(name):
        raise CommandError(replies.BAD_HELO)
    return name


def parse_bdat(text: str) -> tuple[int, bool]:
    """Octets of the chunk and whether it is the last (RFC 3030 §2)."""
    size, _, last = text.partition(" ")
    if not (size.isascii() and size.isdigit()) or len(size) > SIZE_DIGITS or last.upper() not in {"", "LAST"}:
        raise CommandError(replies.BAD_ARGUMENT)
    return int(size), bool(last)


def _split_path(text: str, bad: Reply) -> tuple[str, str]:
    """The path without angle brackets, and the parameters with their leading space."""
    if text[:1] != "<":
        text = text.lstrip(" ")  # tolerated: old clients write a space here
        if text[:1] != "<":
            raise CommandError(bad, "the path is not in angle brackets")
    end = text.find(">")
    if '"' in text[:end]:
        end = _end_of_quoted_path(text)
    if end < 0:
        raise CommandError(bad, "the path is not closed")
    tail = text[end + 1 :].rstrip(" ")
    if tail and tail[0] != " ":
        raise CommandError(bad, "something follows the path without a space")
    return text[1:end], tail


def _end_of_quoted_path(text: str) -> int:
    quoted = escaped = False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == ">" and not quoted:
            return index
    return -1


def _parse_path(path: str, smtputf8: bool, bad: Reply) -> Address:
    if path[0] == "@":
        path = _without_source_route(path, bad)
    try:
        return parse_mailbox(path, smtputf8=smtputf8)
    except AddressError as error:
        reply = bad if smtputf8 or path.isascii() else replies.NEEDS_SMTPUTF8
        raise CommandError(reply, error.message) from error


def _without_source_route(path: str, bad: Reply) -> str:
    """`@a,@b:user@c` is `user@c`: routes are accepted and ignored (RFC 5321 §4.1.1.3, RFC 5321 §C)."""
    route, colon, mailbox = path.partition(":")
    try:
        for hop in route.split(","):
            if hop[:1] != "@":
                raise CommandError(bad, "the source route is malformed")
            parse_domain(hop[1:])
    except AddressError as error:
        raise CommandError(bad, "the source route is malformed") from error
    if not colon:
        raise CommandError(bad, "the source route is not ended")
    return mailbox


def decode_xtext(text: str) -> str:
    """RFC 3461 §4: `+XX` is one octet; the result is ASCII without control characters, or CommandError."""
    if not _XTEXT(text):
        raise CommandError(replies.BAD_PARAMETER, "not xtext")
    if "+" not in text:
        return text
    decoded = _XCHAR.sub(lambda match: chr(int(match[1], 16)), text)
    if not (decoded.isascii() and decoded.isprintable()):
        raise CommandError(replies.BAD_PARAMETER, "xtext hides a control character")
    return decoded


def _decode_utf8_address(text: str) -> str:
    """utf-8-addr-xtext and utf-8-addr-unitext of RFC 6533 §3."""
    if not _UTF8_ADDR(text):
        raise CommandError(replies.BAD_PARAMETER, "not utf-8-addr-xtext")
    try:
        decoded = _UTF8_CHAR.sub(lambda match: chr(int(match[1], 16)), text)
        decoded.encode()
    except (ValueError, OverflowError) as error:
        raise CommandError(replies.BAD_PARAMETER, "not a character") from error
    if find_control(decoded):
        raise CommandError(replies.BAD_PARAMETER, "a control character is hidden in ORCPT")
    return decoded


Parameter = tuple[str, Callable[[str | None], Any]]


def _parse_parameters(tail: str, table: dict[str, Parameter], esmtp: bool) -> dict[str, Any]:
    if not esmtp:
        raise CommandError(replies.UNKNOWN_PARAMETER, "parameters need EHLO")
    values: dict[str, Any] = {}
    for word in filter(None, tail.split(" ")):  # other white space is part of a value, or an error
        keyword, equals, text = word.partition("=")
        known = table.get(keyword.upper())
        if known is None:
            reply = replies.UNKNOWN_PARAMETER if _KEYWORD(keyword) else replies.BAD_PARAMETER
            raise CommandError(reply)
        name, parse = known
        if name in values or (equals and not _VALUE(text)):
            raise CommandError(replies.BAD_PARAMETER)
        values[name] = parse(text if equals else None)
    return values


def _parse_size(text: str | None) -> int:
    if text is None or len(text) > SIZE_DIGITS or not (text.isascii() and text.isdigit()):
        raise CommandError(replies.BAD_PARAMETER, "SIZE is not a number")
    return int(text)


def _parse_body(text: str | None) -> bool:
    match (text or "").upper():
        case "8BITMIME":
            return True
        case "7BIT":
            return False
        case "BINARYMIME":
            raise CommandError(replies.UNKNOWN_PARAMETER, "BINARYMIME is not offered")
        case _:
            raise CommandError(replies.BAD_PARAMETER, "unknown BODY")


def _parse_smtputf8(text: str | None) -> bool:
    if text is not None:
        raise CommandError(replies.BAD_PARAMETER, "SMTPUTF8 has no value")
    return True


def _parse_ret(text: str | None) -> str:
    value = (text or "").upper()
    if value not in {"FULL", "HDRS"}:
        raise CommandError(replies.BAD_PARAMETER, "unknown RET")
    return value


def _parse_envid(text: str | None) -> str:
    if text is None or len(text) > ENVID_OCTETS:
        raise CommandError(replies.BAD_PARAMETER, "ENVID is missing or too long")
    return decode_xtext(text)


def _parse_auth(text: str | None) -> str:
    if text is None or len(text) > ORCPT_OCTETS:
        raise CommandError(replies.BAD_PARAMETER, "AUTH is missing or too long")
    return text if text == "<>" else decode_xtext(text)


def _parse_notify(text: str | None) -> int:
    notify = 0
    for word in (text or "").upper().split(","):
        if word not in {"NEVER", "SUCCESS", "FAILURE", "DELAY"} or notify & Notify[word]:
            raise CommandError(replies.BAD_PARAMETER, "unknown NOTIFY")
        notify |= Notify[word].value
    if notify & Notify.NEVER and notify != Notify.NEVER:
        raise CommandError(replies.BAD_PARAMETER, "NEVER stands alone")
    return int(notify)


def _parse_orcpt(text: str | None) -> str:
    kind, semicolon, encoded = (text or "").partition(";")
    if not semicolon or not encoded or len(text or "") > ORCPT_OCTETS or not _ADDR_TYPE(kind):
        raise CommandError(replies.BAD_PARAMETER, "ORCPT is malformed or too long")
    if kind.lower() == "utf-8":
        return f"{kind};{_decode_utf8_address(encoded)}"
    return f"{kind};{decode_xtext(encoded)}"


_MAIL_PARAMETERS: dict[str, Parameter] = {
    "SIZE": ("size", _parse_size),
    "BODY": ("eight_bit", _parse_body),
    "SMTPUTF8": ("smtputf8", _parse_smtputf8),
    "RET": ("ret", _parse_ret),
    "ENVID": ("envid", _parse_envid),
    "AUTH": ("auth", _parse_auth),
}

_RCPT_PARAMETERS: dict[str, Parameter] = {
    "NOTIFY": ("notify", _parse_notify),
    "ORCPT": ("orcpt", _parse_orcpt),
}

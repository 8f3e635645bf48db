"""`msys.bounce` and `msys.rfc3464`: what replies and reports mean, and reports of a script's own.

In: replies, and messages that may be delivery reports. Out: Momentum's classes, tables of fields, new
reports.

Theory: a report's fields are read as far as they are there; who wrote it is not trusted, so lengths and
numbers of recipients are bounded.

Standards: RFC 3464 §2.2 and RFC 3464 §2.3 (fields), RFC 3463 §2 (status codes), RFC 6522 §3
(multipart/report).
"""

import re
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any, Final

from outrider.base.errors import OutriderError
from outrider.policy.lua.api.constants import CORE
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, needs, text_of
from outrider.policy.lua.convert import kind_of
from outrider.policy.lua.messages import Msg
from outrider.policy.lua.registry import LuaRegistry
from outrider.policy.mail import Mail
from outrider.wire.message.content import decoded
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.tree import Part

ACTIONS: Final[Mapping[float, str]] = {
    CORE[word.upper()]: word for word in ("failed", "delayed", "delivered", "relayed", "expanded")
}
"""RFC 3464 §2.3.3, by the numbers of `msys.core.FAILED` to `EXPANDED`."""

SYMBOLS: Final = {
    1: "BC_UNDETERMINED",
    10: "BC_HARD_INVALID_RECIPIENT",
    20: "BC_SOFT_BOUNCE",
    21: "BC_SOFT_DNS_FAILURE",
    22: "BC_SOFT_MAILBOX_FULL",
    23: "BC_SOFT_TOO_LARGE",
    24: "BC_SOFT_TIMEOUT",
    25: "BC_ADMIN_FAILURE",
    30: "BC_GENERIC_BOUNCE_NO_RCPT",
    40: "BC_GENERIC_BOUNCE",
    50: "BC_BLOCK_MAIL_BLOCK",
    51: "BC_BLOCK_SPAM_BLOCK",
    52: "BC_BLOCK_SPAM_CONTENT",
    53: "BC_BLOCK_PROHIBITED_ATTACHMENT",
    54: "BC_BLOCK_RELAYING_DENIED",
    60: "BC_SOFT_AUTO_REPLY",
    70: "BC_SOFT_TRANSIENT_FAILURE",
    80: "BC_ADMIN_SUBSCRIBE",
    90: "BC_HARD_UNSUBSCRIBE",
    100: "BC_SOFT_CHALLENGE_RESPONSE",
}
"""By Momentum's number of a class. Of the symbols its pages print two; the others are made like them."""

_RECIPIENTS_MAX: Final = 1_000
# chosen: more than a report of ours ever holds
_FIELD_CHARACTERS: Final = 2_000
# chosen: a reply of several lines
_PARTS_MAX: Final = 50
# chosen: a report has three parts
_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_BLANK_LINES: Final = re.compile(r"(?:\n[ \t]*){2,}")
_OF_RECIPIENT: Final = frozenset({"final-recipient", "original-recipient"})
_REPLY: Final = re.compile(r"([245])[0-9]{2}(?:[ -]([245]\.[0-9]{1,3}\.[0-9]{1,3}))?")


class Reports:
    """The functions of both."""

    def __init__(self, host: Host) -> None:
        self._host = host

    # msys.bounce

    def classify(self, msg: Any) -> Any:
        """Number, symbol, description and first recipient of a report; nil for what is none."""
        status = read_report(_message(msg))
        if status is None:
            return None
        recipients = status["recipients"]
        first: dict[str, str] = recipients[0] if recipients else {}
        reply = _after_type(first.get("diagnostic-code", "")) or first.get("status", "")
        address = _after_type(first.get("original-recipient") or first.get("final-recipient", ""))
        address = address.removeprefix("<").removesuffix(">")
        domain = address.rpartition("@")[2]
        if reply and not _REPLY.match(reply):
            code = first.get("status", "5")[:1]
            reply = f"{code if code in '45' else '5'}50 {first.get('status', '')} {reply}"
        return (*self._classified(reply, domain), address)

    def classify_smtp_response(self, text: Any, domain: Any = b"") -> Any:
        """Number, symbol and description of a reply."""
        return self._classified(text_of(text, "a reply"), text_of(domain or b"", "a domain"))

    def _classified(self, text: str, domain: str) -> tuple[int, str, str]:
        number, _, sentence = needs(self._host.bounces, "the classifier").classify_reply(text, domain)
        return number, SYMBOLS.get(number, "BC_UNDETERMINED"), sentence

    # msys.rfc3464

    def compute_delivery_status(self, msg: Any, action: Any) -> dict[str, str]:
        """Fields of a report about a message's recipient."""
        return _status_fields(self._host.mail_of(msg), _action(action), "")

    def compute_delivery_status_string(self, response: Any) -> str:
        """The fields that a reply gives: Action, Status and Diagnostic-Code."""
        text = text_of(response, "a reply")
        return "\r\n".join(f"{name}: {value}" for name, value in _reply_fields(text).items())

    def create_mdn(self, msg: Any, action: Any) -> Any:
        """A report as a message that is not sent yet."""
        made = Msg(None, None).make()
        made.message.set_raw(self._report(msg, action)[0])
        return made

    def send_mdn(self, msg: Any, action: Any) -> Any:
        """Send a report to the message's sender: 1, or 0 where it is to have none."""
        mail = self._host.mail_of(msg)
        if not mail.mail_from:
            return 0
        content, sender = self._report(msg, action)
        return self._send(content, sender)

    async def _send(self, content: bytes, sender: str) -> int:
        try:
            await needs(self._host.outbox, "the queue").send(content, "", (sender,))
        except OutriderError as error:
            self._host.log.warning("policy.report_not_sent", reason=error.message)
            return 0
        return 1

    def extract_delivery_status(self, msg: Any) -> Any:
        """The fields of a report, its recipients in `recipients`; nil for what is none."""
        return read_report(_message(msg))

    def _report(self, msg: Any, action: Any) -> tuple[bytes, str]:
        mail, word = self._host.mail_of(msg), _action(action)
        fields = _status_fields(mail, word, "")
        boundary = f"=_outrider_{mail.id}"
        header = mail.message.header.octets().decode("utf-8", "surrogateescape")  # its octets as they came
        encoding = "" if (header + mail.rcpt_to).isascii() else "Content-Transfer-Encoding: 8bit\r\n"
        while boundary in header:
            boundary += "_"
        per_message = {"Reporting-MTA": f"dns; {self._host.hostname}"}
        status = _lines(per_message) + "\r\n" + _lines(fields)
        text = (
            f"From: <mailer-daemon@{self._host.hostname}>\r\nTo: <{mail.mail_from}>\r\n"
            f"Subject: Delivery report ({word})\r\nDate: {formatdate(self._host.clock.wall())}\r\n"
            f"Message-ID: <{mail.id}.report@{self._host.hostname}>\r\nAuto-Submitted: auto-replied\r\n"
            "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n"
            f' boundary="{boundary}"\r\n{encoding}\r\n'
            f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n{encoding}\r\n"
            f"Your message to {mail.rcpt_to}: {word}.\r\n"
            f"\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n{encoding}\r\n{status}"
            f"\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\n{encoding}\r\n{header}"
            f"\r\n--{boundary}--\r\n"
        )
        return text.encode("utf-8", "surrogateescape"), mail.mail_from


def _message(msg: Any) -> EditableMessage:
    if not isinstance(msg, Msg):
        raise ValueError(f"a message was expected, not {kind_of(msg)}")  # noqa: TRY004 - scripts hear it
    return msg.message


def _lines(fields: Mapping[str, str]) -> str:
    return "".join(f"{name}: {_one_line(value)}\r\n" for name, value in fields.items())


def _one_line(value: str) -> str:
    return " ".join(value.split())[:_FIELD_CHARACTERS]


def _action(action: Any) -> str:
    word = ACTIONS.get(action) if isinstance(action, (int, float)) else None
    if word is None:
        raise ValueError("an action is msys.core.FAILED, DELAYED, DELIVERED, RELAYED or EXPANDED")
    return word


_STATUS: Final = {"failed": "5.0.0", "delayed": "4.0.0"}


def _status_fields(mail: Mail, action: str, reply: str) -> dict[str, str]:
    fields = {
        "Final-Recipient": f"rfc822; {mail.rcpt_to}",
        "Action": action,
        "Status": _STATUS.get(action, "2.0.0"),
    }
    if reply:
        fields["Diagnostic-Code"] = f"smtp; {_one_line(reply)}"
    return fields


def _reply_fields(text: str) -> dict[str, str]:
    line = _one_line(text)
    found = _REPLY.match(line)
    code = found[1] if found else "5"
    status = (found[2] if found else None) or f"{code}.0.0"
    action = {"2": "delivered", "4": "delayed"}.get(code, "failed")
    return {"Action": action, "Status": status, "Diagnostic-Code": f"smtp; {line}"}


def _after_type(value: str) -> str:
    """`text` of `type; text` (RFC 3464 §2.1.2; the type is an atom, as `utf-8` of RFC 6533 §3)."""
    kind, semicolon, text = value.partition(";")
    return text.strip() if semicolon and _TYPE.fullmatch(kind.strip()) else value.strip()


def read_report(message: EditableMessage) -> dict[str, Any] | None:
    """The fields of a delivery report by name in lower case, `recipients` a list of such; None for others."""
    for number, part in enumerate(message.walk()):
        if number >= _PARTS_MAX:
            return None
        if part.media_type not in {"message/delivery-status", "message/global-delivery-status"}:
            continue
        groups = [_fields(group) for group in _BLANK_LINES.split(_text(part)) if group.strip()]
        if not groups:
            return None
        about: dict[str, Any] = dict(groups[0])
        # without fields of the message, or a line behind them, a recipient's are in the first group
        first = 0 if _OF_RECIPIENT & groups[0].keys() else 1
        about["recipients"] = groups[first : first + _RECIPIENTS_MAX]
        return about
    return None


def _text(part: Part) -> str:
    return decoded(part).decode("utf-8", "replace").replace("\r\n", "\n")


def _fields(group: str) -> dict[str, str]:
    unfolded = re.sub(r"\n[ \t]+", " ", group.strip("\n"))
    found: dict[str, str] = {}
    for line in unfolded.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip()[:_FIELD_CHARACTERS])
    return found


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys.bounce` and `msys.rfc3464`."""
    reports = Reports(host)
    install(
        registry,
        host,
        rows,
        "msys.bounce",
        {"classify": reports.classify, "classify_smtp_response": reports.classify_smtp_response},
    )
    names = (
        "compute_delivery_status",
        "compute_delivery_status_string",
        "create_mdn",
        "send_mdn",
        "extract_delivery_status",
    )
    install(registry, host, rows, "msys.rfc3464", {name: getattr(reports, name) for name in names})

"""`vctx` and `ac`: notes of session and message, the answer that a hook gives, the recipients.

In: what a script sets. Out: notes in their `Context`, the code that the bridge answers with.

Theory: notes that nobody set are what Momentum predefines, told from session and transaction. A reply's text
is made one that can be sent, because a refusal must not fail for its wording.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from outrider.base.errors import AddressError
from outrider.model.flow import HTTP
from outrider.model.hooks import HookPhase
from outrider.model.mailbox import parse_mailbox
from outrider.policy.answers import LINES_MAX, TEXT_OCTETS
from outrider.policy.connection import Context
from outrider.policy.errors import ForbiddenError
from outrider.policy.lua.api.audit import Audits
from outrider.policy.lua.api.constants import CTX_CONN, CTX_MESS, P_ESMTP, P_HTTP
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, guarded, number_of, text_of, whole_of
from outrider.policy.lua.convert import kind_of
from outrider.policy.lua.messages import Accepted, Construct, Validation
from outrider.policy.lua.registry import LuaRegistry, ObjectClass
from outrider.policy.lua.script import VALIDATE_DONE
from outrider.policy.mail import LIST_PHASES, Mail

_ENHANCED: Final = re.compile(r"\A[245](\.[0-9]{1,3}\.[0-9]{1,3})(?=\s|$)")
_CODED: Final = re.compile(r"([2-5][0-9]{2})[ -](?=.)", re.DOTALL)
_CLOSING: Final = "4.7.0 closing connection"
_TARPIT_MAX: Final = 300.0
# seconds, chosen: the longest that a hook may be let wait
_BEFORE_LIST: Final = frozenset({HookPhase.MAILFROM, HookPhase.RCPTTO, HookPhase.RCPTTO_LIST})
_EHLO_LINE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]{0,63})(?: [!-~]+){0,16}")
# RFC 5321 §4.1.1.1 (ehlo-line); its lengths are chosen
_CAPABILITIES_MAX: Final = 50
# chosen: several times what servers announce


def note_text(value: Any, what: str = "a note's value") -> str:
    """What a note holds, or another text: octets that are no UTF-8 are Latin-1. Raises ValueError."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin-1")
    return text_of(value, what)


def note_name(key: Any) -> str:
    """The name of a note. Raises ValueError."""
    if not isinstance(key, bytes):
        raise ValueError(f"a note's name is a string, not {kind_of(key)}")  # noqa: TRY004 - scripts hear it
    return note_text(key)


def notes_of(kind: Any, message: Context, connection: Context) -> Context:
    """The notes that a constant such as VCTX_CONN means. Raises ValueError."""
    if kind == CTX_MESS:
        return message
    if kind == CTX_CONN:
        return connection
    raise ValueError(f"notes are those of VCTX_MESS ({CTX_MESS}) or VCTX_CONN ({CTX_CONN})")


def put_note(notes: Context, key: Any, value: Any) -> None:
    """Set a note; nil takes it away. Raises ValueError."""
    name = note_name(key)
    if value is None:
        notes.pop(name, None)
    else:
        notes[name] = note_text(value)


def reply_of_script(code: Any, text: Any) -> tuple[int, str]:
    """Code and text of a reply as it can be sent.

    The lines of a text may each begin with the code and the enhanced code, as they do in a reply.

    Raises:
        ValueError: The code is none.
    """
    number = whole_of(code, "a code")
    if not 200 <= number <= 599:
        raise ValueError(f"{number} is no code of a reply: use 200 to 599")
    words = "" if text is None else note_text(text, "a reply's text")
    lines: list[str] = []
    enhanced = ""
    for said in words.replace("\r\n", "\n").split("\n")[:LINES_MAX]:
        found = _CODED.match(said)
        line = said[found.end() :] if found is not None and int(found[1]) == number else said
        shown = "".join(each if each.isprintable() else " " for each in line).strip()
        if not lines and (coded := _ENHANCED.match(shown)):
            enhanced = f"{coded[0]} "
        elif enhanced:
            shown = shown.removeprefix(enhanced)
        lines.append(shown.encode("utf-8", "replace")[:TEXT_OCTETS].decode("utf-8", "ignore"))
    return number, _ENHANCED.sub(rf"{number // 100}\1", "\n".join(lines), count=1)


class Validations:
    """The methods of `vctx`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def get(self, vctx: Validation, kind: Any, key: Any) -> str:
        """A note, or what is predefined for it; empty without."""
        return self.look(vctx, kind, key) or ""

    @staticmethod
    def look(vctx: Validation, kind: Any, key: Any) -> str | None:
        """As `get`; None where there is none."""
        conversation = vctx.conversation
        mail, connection = conversation.mail, conversation.connection
        message = connection.message if mail is None else mail.context
        return vctx.note(notes_of(kind, message, connection.context), note_name(key))

    def set(self, vctx: Validation, kind: Any, key: Any, value: Any) -> None:
        conversation = vctx.conversation
        mail, connection = conversation.mail, conversation.connection
        message = connection.message if mail is None else mail.context
        put_note(notes_of(kind, message, connection.context), key, value)

    def set_code(self, vctx: Validation, code: Any, text: Any = None) -> None:
        """What the peer hears once the hook is through."""
        vctx.code = reply_of_script(code, text)

    def disconnect(self, vctx: Validation, code: Any = None, text: Any = None) -> None:
        """Refuse, and end the session: with 421, the only code that does both."""
        _, words = reply_of_script(421 if code is None else code, text)
        vctx.code = reply_of_script(421, words or _CLOSING)

    def pbp_action(self, vctx: Validation, code: Any, text: Any = None) -> int:
        self.set_code(vctx, code, text)
        return VALIDATE_DONE

    def pbp_disconnect(self, vctx: Validation, code: Any = None, text: Any = None) -> int:
        self.disconnect(vctx, code, text)
        return VALIDATE_DONE

    async def tarpit(self, _vctx: Validation, seconds: Any) -> None:
        """Let the client wait; others go on."""
        wait = number_of(seconds, "seconds")
        if not 0 <= wait <= _TARPIT_MAX:
            raise ValueError(f"a client is let wait for 0 to {_TARPIT_MAX:g} seconds")
        await asyncio.sleep(wait)

    def add_recipient(self, vctx: Validation, address: Any) -> None:
        """In RCPT, before there is a message, he is added once it is there."""
        if vctx.conversation.phase in _BEFORE_LIST:
            vctx.conversation.connection.list_edits += [("add", each) for each in _parsed(address)]
            return
        mail = _list_of(vctx)
        mail.recipients = [*mail.recipients, *_addresses(address)]

    def remove_recipient(self, vctx: Validation, address: Any) -> None:
        """As `add_recipient`; in MAIL he is removed if he is named later."""
        gone = [_as_recipient(each) for each in _addresses(address)]
        if vctx.conversation.phase in _BEFORE_LIST:
            vctx.conversation.connection.list_edits += [("remove", each) for each in gone]
            return
        mail = _list_of(vctx)
        mail.recipients = [each for each in mail.recipients if each not in gone]

    def recipient_list(self, vctx: Validation, addresses: Any = None) -> dict[int, str]:
        """All recipients, from 1 on; 0 is empty, for scripts that begin there."""
        is_early = vctx.conversation.phase is HookPhase.RCPTTO_LIST
        connection = vctx.conversation.connection
        if addresses is not None and is_early:
            connection.list_edits += [("clear", ""), *(("add", each) for each in _parsed(addresses))]
        elif addresses is not None:
            _list_of(vctx).recipients = _addresses(addresses)
        mail = vctx.conversation.mail
        found = vctx.recipients if mail is None else mail.recipients
        if is_early:
            found = connection.edited(found)
        return {0: "", **dict(enumerate(found, 1))}


def _list_of(vctx: Validation) -> Mail:
    mail = vctx.conversation.mail
    phase = vctx.conversation.phase
    if mail is None or phase not in LIST_PHASES:
        order = ", ".join(each for each in HookPhase if each in LIST_PHASES)
        raise ForbiddenError(f"recipients are added and removed in {order} only, not in {phase}")
    return mail


def _addresses(value: Any) -> list[str]:
    """One address, or those of a table by their places: also of one that `recipient_list` gave.

    That has an empty text at 0, which who went through it with `pairs` has anywhere, and who took some out of
    it left gaps.
    """
    values: Iterable[Any] = [value]
    if isinstance(value, list):
        values = [each for each in value if each != b""]
    elif isinstance(value, dict) and all(isinstance(place, (int, float)) for place in value):
        values = [each for _, each in sorted(value.items()) if each != b""]
    return [text_of(each, "an address").strip().removeprefix("<").removesuffix(">") for each in values]


def _parsed(value: Any) -> list[str]:
    """As `_addresses`, for a list that is made later. Raises ValueError: one of them is none."""
    try:
        return [str(parse_mailbox(each, smtputf8=False)) for each in _addresses(value)]
    except AddressError as error:
        raise ValueError(f"no recipient can be added: {error.message}") from error


def _as_recipient(address: str) -> str:
    """An address as recipients are written, the domain in lower case; what is none, as it is."""
    try:
        return str(parse_mailbox(address, smtputf8=True))
    except AddressError:
        return address


def _protocol(ac: Accepted) -> int:
    return P_HTTP if ac.conversation.connection.origin.protocol == HTTP else P_ESMTP


def _capability(name: Any) -> tuple[str, str]:
    """Keyword and line of a capability. Raises ValueError: it is none (RFC 5321 §4.1.1.1)."""
    line = text_of(name, "a capability").strip()
    found = _EHLO_LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"{line!r} is no line of EHLO: a keyword, and perhaps parameters behind a space")
    return found[1].upper(), line


def add_capability(ac: Accepted, name: Any) -> None:
    """Announce a capability in this session's EHLO."""
    keyword, line = _capability(name)
    offers = ac.conversation.connection.ends.offers
    if keyword not in offers and len(offers) >= _CAPABILITIES_MAX:
        raise ValueError(f"more than {_CAPABILITIES_MAX} capabilities are added and removed")
    offers[keyword] = line


def remove_capability(ac: Accepted, name: Any) -> None:
    """Do not announce one; who uses it all the same can."""
    keyword, _ = _capability(name)
    add_capability(ac, name)
    ac.conversation.connection.ends.offers[keyword] = ""


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `vctx`, `ac` and `mc`."""
    validations = Validations(host)
    audits = Audits(host)

    def session_count(_ac: Accepted, cidr: Any = None, service: Any = None) -> int:
        return audits.inbound_session_count(cidr, service)

    def methods(subject: str, functions: Mapping[str, Any]) -> dict[str, Any]:
        return {name: guarded(host, rows[f"{subject}:{name}"], each) for name, each in functions.items()}

    names = (
        "get",
        "set",
        "set_code",
        "disconnect",
        "pbp_action",
        "pbp_disconnect",
        "tarpit",
        "add_recipient",
        "remove_recipient",
        "recipient_list",
    )
    registry.register_class(
        Validation,
        ObjectClass(
            "msys.core:_validate_context",
            methods("vctx", {name: getattr(validations, name) for name in names}),
        ),
    )
    registry.register_class(
        Accepted,
        ObjectClass(
            "msys.core:_accept_construct",
            methods(
                "ac",
                {
                    "esmtp_capability_add": add_capability,
                    "esmtp_capability_remove": remove_capability,
                    "inbound_session_count": session_count,
                },
            ),
            getters={
                "remote_addr": lambda ac: ac.conversation.connection.client,
                "protocol": _protocol,
            },
        ),
    )
    registry.register_class(
        Construct,
        ObjectClass("msys.core:_message_construct", getters={"ctx": lambda mc: mc.ac.conversation.vctx}),
    )
    for module in ("msys.extended.vctx", "msys.extended.ac"):
        registry.register(module, {})

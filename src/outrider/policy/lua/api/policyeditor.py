"""`msys.policyeditor`, as far as it is not in Lua: mail that a script sends, with a throttle.

Theory: a mail's text is built anew from plain parts, so nothing of it can end a header field. The throttle is
for all workers: the last time that a mail was sent is a shared number.

Standards: RFC 5322 §3.6 (fields), RFC 3834 §5 (Auto-Submitted).
"""

import re
from collections.abc import Mapping
from email.header import Header
from email.utils import formatdate
from typing import Any, Final

from outrider.base.errors import AddressError
from outrider.model.mailbox import parse_mailbox
from outrider.policy.lua.api.absent import refusal
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import (
    Host,
    guarded,
    install,
    lua_text,
    needs,
    number_of,
    octets_of,
    text_of,
)
from outrider.policy.lua.registry import LuaRegistry
from outrider.wire.message.transfer import encode_quoted

RECIPIENTS_MAX: Final = 100
"""Chosen: a team."""


class Editor:
    """What `policyeditor.lua` calls."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def send_email(
        self, sender: Any, to: Any, subject: Any = None, body: Any = None, throttle: Any = None
    ) -> Any:
        """Send a mail, unless one was sent less than `throttle` seconds ago."""
        mail_from = _address(text_of(sender, "from"))
        recipients = tuple(_address(each) for each in re.split(r"[,\s]+", text_of(to, "to")) if each)
        if not 0 < len(recipients) <= RECIPIENTS_MAX:
            raise ValueError(f"a mail has 1 to {RECIPIENTS_MAX} recipients")
        title = text_of(subject or b"", "a subject")
        if throttle and not self._is_due(
            mail_from, recipients, title, float(number_of(throttle, "throttle"))
        ):
            return None
        content = self._build(mail_from, recipients, title, octets_of(body or b"", "a body"))
        return self._send(content, mail_from, recipients)

    async def _send(self, content: bytes, mail_from: str, recipients: tuple[str, ...]) -> None:
        await needs(self._host.outbox, "the queue").send(content, mail_from, recipients)

    def _is_due(self, sender: str, recipients: tuple[str, ...], title: str, seconds: float) -> bool:
        now = self._host.clock.wall()
        shared = self._host.shared
        key = shared.key(b"send_email", sender.encode(), ",".join(recipients).encode(), title.encode())
        return shared.add(key, 1, now, now + seconds) == 1 if shared.get(key, now) is None else False

    def _build(self, sender: str, recipients: tuple[str, ...], title: str, body: bytes) -> bytes:
        now = self._host.clock.wall()
        subject = Header(" ".join(title.split()), "utf-8", maxlinelen=70, header_name="Subject").encode(
            linesep="\r\n"
        )
        text = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        header = (
            f"From: <{sender}>\r\nTo: {', '.join(f'<{each}>' for each in recipients)}\r\n"
            f"Subject: {subject}\r\nDate: {formatdate(now)}\r\n"
            f"Message-ID: <{int(now * 1_000_000)}.policy@{self._host.hostname}>\r\n"
            "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        )
        return header.encode() + encode_quoted(text) + b"\r\n"


def _address(text: str) -> str:
    try:
        return str(parse_mailbox(text.strip("<>"), smtputf8=False))
    except AddressError as error:
        raise ValueError(f"{text!r} is no address: {error.message}") from None


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `msys.policyeditor`."""
    install(
        registry,
        host,
        rows,
        "msys.policyeditor",
        {
            "send_email": Editor(host).send_email,
            "get_binding_domain_failure_rate": refusal(
                "get_binding_domain_failure_rate", "rates are not kept for scripts; see the metrics"
            ),
            "send_trap": refusal("send_trap", "SNMP traps are not sent; events and metrics go to a monitor"),
        },
        as_module="outrider.msys.policyeditor",
    )
    checks = {
        name: guarded(host, row, lambda: None)
        for name, row in rows.items()
        if name.startswith("msys.policyeditor.")
    }

    def check(name: Any) -> None:
        checks[f"msys.policyeditor.{text_of(name, 'a name')}"]()

    registry.register("outrider.msys.policyeditor", {"check": check})
    registry.register_source("msys.policyeditor", lua_text("policyeditor"))

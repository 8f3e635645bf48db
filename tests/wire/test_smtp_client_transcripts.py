"""Runs the client's transcripts, each whole and octet by octet.

`S:` lines are what the peer sends, `C:` what the client must have sent by then, exactly, `!` is an action of
the session, `=` an event that must have happened by then, in order. A `#` line says the source.
"""

from pathlib import Path

import pytest

from outrider.model.address import Address
from outrider.model.flow import Content, Notify, Phase, Recipient, Traits
from outrider.wire.smtp.client import SmtpClient
from outrider.wire.smtp.client_events import (
    Answer,
    Credentials,
    Disconnected,
    Event,
    Ready,
    SetupFailed,
    TlsPolicy,
    TlsWanted,
    Transaction,
    TransactionDone,
)

TRANSCRIPTS = sorted((Path(__file__).parent.parent / "transcripts" / "client").glob("*.smtp"))

TLS: dict[str, TlsPolicy] = {
    "tls=off": "off",
    "tls=opportunistic": "opportunistic",
    "tls=required": "required",
}
CONTENTS = {
    "plain": Content(b"Subject: x\r\n\r\nHello\r\n", Traits.NONE, 12),
    "dotted": Content(b"Subject: x\r\n\r\n..hidden\r\n", Traits.DOTTED, 12),
    "8bit": Content("Subject: x\r\n\r\nGrüße\r\n".encode(), Traits.EIGHT_BIT, 12),
}


def _address(text: str) -> Address | None:
    if text == "-":
        return None
    local_part, _, domain = text.rpartition("@")
    return Address(local_part, domain)


def _transaction(words: list[str]) -> Transaction:
    content = CONTENTS["plain"]
    dsn = False
    addresses = []
    for word in words:
        if word.startswith("content="):
            content = CONTENTS[word.removeprefix("content=")]
        elif word == "dsn":
            dsn = True
        else:
            addresses.append(_address(word))
    notify = Notify.SUCCESS | Notify.FAILURE if dsn else Notify.UNSPECIFIED
    orcpt = "rfc822;b+x@peer.test" if dsn else None
    recipients = [Recipient(address, int(notify), orcpt) for address in addresses[1:] if address is not None]
    return Transaction(
        addresses[0], recipients, content, ret="HDRS" if dsn else None, envid="QQ+1=2" if dsn else None
    )


def _format_answer(answer: Answer | None) -> str:
    if answer is None:
        return "-"
    return f"{answer.reply.code}/{Phase(answer.phase).name}{'/ours' if answer.ours else ''}"


def _format(event: Event) -> str:
    match event:
        case Ready():
            return "ready"
        case TlsWanted():
            return "tls"
        case SetupFailed():
            ours = " ours" if event.ours else ""
            return f"failed {event.reply.code}/{event.phase.name}{ours}"
        case Disconnected():
            return f"disconnected {event.reply.code}"
        case TransactionDone():
            return " ".join(["done", *(_format_answer(answer) for answer in event.answers)])


class _Session:
    """A client and what it has said and told so far."""

    def __init__(self, *, octets: bool) -> None:
        self.octets = octets
        self.client: SmtpClient | None = None
        self.said = b""
        self.told: list[str] = []
        self.unfed = b""

    def feed(self) -> None:
        """What the peer has sent by now, in one piece or many."""
        data, self.unfed = self.unfed, b""
        if not data or self.client is None:
            return
        for piece in [data[at : at + 1] for at in range(len(data))] if self.octets else [data]:
            self.told.extend(_format(event) for event in self.client.receive(piece))
            self.said += b"".join(self.client.take_output())

    def act(self, words: list[str]) -> None:
        self.feed()
        if words[0] == "client":
            self.client = SmtpClient(
                ehlo_name="me.test",
                tls="required"
                if "tls=required" in words
                else "off"
                if "tls=off" in words
                else "opportunistic",
                secured="secured" in words,
                lmtp="lmtp" in words,
                credentials=Credentials("user", "secret") if "auth" in words else None,
            )
            return
        assert self.client is not None, "a transcript begins with ! client"
        if words[0] == "send":
            done = self.client.send(_transaction(words[1:]))
            if done is not None:
                self.told.append(_format(done))
        elif words[0] == "quit":
            self.client.quit()
        elif words[0] == "tls":
            self.client.tls_established()
        else:
            raise AssertionError(f"unknown action {words}")
        self.said += b"".join(self.client.take_output())


@pytest.mark.parametrize("octets", [False, True], ids=["whole", "octets"])
@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(transcript: Path, octets: bool) -> None:
    session = _Session(octets=octets)
    for number, line in enumerate(transcript.read_text(encoding="utf-8").splitlines(), 1):
        kind, text = line[:2], line[3:]
        where = f"{transcript.name}:{number}"
        if kind == "S:":
            session.unfed += text.encode() + b"\r\n"
        elif kind == "C:":
            session.feed()
            expected = text.encode() + b"\r\n"
            assert session.said[: len(expected)] == expected, where
            session.said = session.said[len(expected) :]
        elif line[:1] == "!":
            session.act(line[2:].split())
        elif line[:1] == "=":
            session.feed()
            assert session.told[:1] == [line[2:]], where
            session.told = session.told[1:]
        else:
            assert line.startswith("#"), where
    session.feed()
    assert session.said == b""
    assert session.told == []


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 20

"""The server machine against any input: it never raises and never takes content for commands."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.base.errors import LocalProtocolError
from outrider.model.flow import Content
from outrider.model.reply import Reply
from outrider.wire.smtp import replies
from outrider.wire.smtp.content import unstuff
from outrider.wire.smtp.content_limits import ContentLimits
from outrider.wire.smtp.server import Server
from outrider.wire.smtp.server_events import (
    AuthRequest,
    Event,
    MailFrom,
    MessageEnd,
    RcptTo,
    StartTls,
    Violation,
)
from outrider.wire.smtp.server_limits import ServerLimits

pytestmark = pytest.mark.usefixtures("each_scan")

LIMITS = ServerLimits(
    "mx.test", starttls=True, auth=True, auth_without_tls=True, errors=1000, idle_commands=1000
)


class Talk:
    """Drives a machine and says yes to everything."""

    def __init__(self, limits: ServerLimits = LIMITS, *, greet: bool = True) -> None:
        self.server = Server(limits)
        self.events: list[Event] = []
        self.said = b""
        if greet:
            self.server.greet()
            self.server.take_output()

    def send(self, octets: bytes, piece: int = 0) -> bytes:
        before = len(self.said)
        step = piece or max(1, len(octets))
        for start in range(0, len(octets), step):
            self.server.feed(octets[start : start + step])
            while True:
                event = self.server.next_event()
                if event is None:
                    break
                self.events.append(event)
                if self.server.waiting is not None:
                    self.server.accept()
                    if isinstance(event, StartTls):
                        self.server.tls_started()
                self.said += self.server.take_output()
        self.said += self.server.take_output()
        return self.said[before:]

    @property
    def contents(self) -> list[Content]:
        ends = [event.content for event in self.events if isinstance(event, MessageEnd)]
        return [end if isinstance(end, Content) else end.joined() for end in ends]

    @property
    def senders(self) -> list[str]:
        return [str(event.mail_from) for event in self.events if isinstance(event, MailFrom)]


START = b"EHLO c.test\r\nMAIL FROM:<good@x.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n"
EVIL = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
BARE = [b"\n", b"\r", b"\0\n", b"\r\0\n", b"\r\0", b"\0", b"\r\r\n", b"\n\r", b"\r\n\0", b"\0\r\n", b"\r\n"]
FALSE_ENDS = sorted(
    {
        before + b"." + behind
        for before in BARE
        for behind in BARE
        if not (before + b"." + behind).endswith(b"\r\n.\r\n") and b"\r\n.\r\n" not in before + b"." + behind
    }
)


@pytest.mark.parametrize("end", FALSE_ENDS, ids=repr)
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("size", [26_214_400, 30])
def test_no_false_end_of_data_smuggles(end: bytes, normalise: bool, size: int) -> None:
    limits = ServerLimits("mx.test", ContentLimits(size, 65_536, normalise), errors=1000)
    body = b"Subject: outer\r\n\r\nhello there, this is long enough" + end + EVIL
    outcomes = []
    for piece in (0, 1, 2, 3, 5):
        talk = Talk(limits)
        talk.send(START, piece)
        talk.send(body, piece)
        assert talk.senders == ["good@x.test"]
        assert len(talk.contents) <= 1
        assert b"250 2.1.5" in talk.send(b"RSET\r\nMAIL FROM:<next@x.test>\r\nRCPT TO:<c@x.test>\r\n")
        outcomes.append([content.wire for content in talk.contents])
    assert all(outcome == outcomes[0] for outcome in outcomes)
    # With BDAT the length says where the content ends, and the same rules hold for what is in it.
    talk = Talk(limits)
    talk.send(START.removesuffix(b"DATA\r\n"))
    talk.send(b"BDAT %d LAST\r\n" % len(body) + body)
    assert talk.senders == ["good@x.test"]
    for content in talk.contents:
        assert b"\r\n.\r\n" not in b"\r\n" + content.wire


@given(cuts=st.lists(st.integers(0, 400), max_size=8), end=st.sampled_from(FALSE_ENDS))
def test_no_split_smuggles(cuts: list[int], end: bytes) -> None:
    whole = b"Subject: outer\r\n\r\nhello" + end + EVIL
    talk = Talk()
    talk.send(START)
    borders = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    for start, stop in pairwise(borders):
        talk.send(whole[start:stop])
    assert talk.senders == ["good@x.test"]


COMMANDS = st.sampled_from(
    [
        b"EHLO c.test\r\n",
        b"HELO c.test\r\n",
        b"MAIL FROM:<a@x.test>\r\n",
        b"MAIL FROM:<> SIZE=5\r\n",
        b"RCPT TO:<a@x.test>\r\n",
        b"RCPT TO:<bad>\r\n",
        b"DATA\r\n",
        b"x\r\n.\r\n",
        b".\r\n",
        b"BDAT 3\r\nabc",
        b"BDAT 4 LAST\r\nab\r\n",
        b"BDAT x\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"STARTTLS\r\n",
        b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n",
        b"AUTH LOGIN\r\n",
        b"am9l\r\n",
        b"*\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\xff\r\n",
        b"x" * 600,
        b"QUIT\r\n",
    ]
)


@settings(max_examples=200)
@given(pieces=st.lists(st.one_of(COMMANDS, st.binary(max_size=8)), max_size=20), greet=st.booleans())
def test_any_input_is_answered(pieces: list[bytes], greet: bool) -> None:
    talk = Talk(greet=greet)
    for piece in pieces:
        talk.send(piece)
    said = talk.said
    assert said == b"" or said.endswith(b"\r\n")
    for line in said.split(b"\r\n")[:-1]:
        assert line[:3].isdigit()
        assert line[3:4] in {b" ", b"-"}


@settings(max_examples=200)
@given(pieces=st.lists(COMMANDS, max_size=16))
def test_splitting_changes_nothing(pieces: list[bytes]) -> None:
    """Lines one by one and octet by octet give the same replies (early talk apart)."""
    lines = Talk()
    octets = Talk()
    for piece in pieces:
        lines.send(piece)
        octets.send(piece, 1)
    if replies.EARLY_TALK.text.encode() not in lines.said:
        assert lines.said == octets.said


@pytest.mark.parametrize("behind", [b"", b"MAIL FROM:<evil@x.test>\r\n", b"RSET\r\nNOOP\r\n", b"garbage"])
def test_starttls_drops_what_came_with_it(behind: bytes) -> None:
    server = Server(LIMITS)
    server.greet()
    server.feed(
        b"EHLO c.test\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\nMAIL FROM:<a@x.test>\r\nSTARTTLS\r\n" + behind
    )
    kinds: list[type] = []
    while (event := server.next_event()) is not None:
        kinds.append(type(event))
        server.accept()
    assert kinds[-1] is StartTls
    assert AuthRequest in kinds
    server.take_output()
    server.feed(b"MAIL FROM:<evil2@x.test>\r\n")  # still in clear text, before the handshake
    assert server.next_event() is None
    server.tls_started()
    assert server.next_event() is None
    assert (server.helo, server.mail, server.authenticated, server.tls) == ("", None, False, True)
    server.feed(b"MAIL FROM:<a@x.test>\r\n")
    assert server.next_event() == Violation(replies.HELO_FIRST, fatal=False)
    assert server.take_output().startswith(b"503 ")


def test_talk_before_the_greeting_is_fatal() -> None:
    server = Server(LIMITS)
    server.feed(b"E")
    assert server.next_event() == Violation(replies.EARLY_TALK, fatal=True)
    assert server.closed
    server.feed(b"HLO c.test\r\n")
    server.greet()
    assert server.next_event() is None
    assert server.take_output() == b"554 5.5.1 You spoke before your turn; closing\r\n"


def test_pipelined_input_waits_for_the_answer() -> None:
    server = Server(LIMITS)
    server.greet()
    server.feed(b"EHLO c.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nNOOP\r\n")
    server.next_event()
    assert server.next_event() is None
    assert server.buffered == len(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nNOOP\r\n")
    server.accept()
    server.take_output()
    assert isinstance(server.next_event(), MailFrom)
    server.answer(Reply(451, "4.3.0", ("later",)))
    assert server.next_event() == Violation(replies.MAIL_FIRST, fatal=False)
    assert server.next_event() is None
    assert server.take_output() == b"451 4.3.0 later\r\n503 5.5.1 MAIL is needed first\r\n250 2.0.0 Ok\r\n"


def test_an_answer_needs_a_question() -> None:
    server = Server(LIMITS)
    with pytest.raises(LocalProtocolError):
        server.accept()
    with pytest.raises(LocalProtocolError):
        server.answer(replies.OK)


def test_recipients_are_limited() -> None:
    talk = Talk(ServerLimits("mx.test", recipients=2))
    said = talk.send(b"EHLO c\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@x.test>\r\n" * 4)
    assert said.count(b"452 4.5.3") == 2
    assert sum(isinstance(event, RcptTo) for event in talk.events) == 2


def test_errors_are_counted_and_a_message_forgives() -> None:
    talk = Talk(ServerLimits("mx.test", errors=3))
    message = b"MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n"
    assert b"421" not in talk.send(b"HELO c\r\nFROB\r\nFROB\r\n" + message)
    assert b"421" not in talk.send(b"x\r\n.\r\n" + b"FROB\r\n" * 2)
    assert talk.send(b"FROB\r\n").endswith(b"421 4.7.0 Too many errors, closing\r\n")
    assert talk.server.closed


def test_idle_commands_are_counted() -> None:
    talk = Talk(ServerLimits("mx.test", idle_commands=5))
    assert b"421" not in talk.send(b"NOOP\r\n" * 5)
    assert b"421 4.7.0" in talk.send(b"RSET\r\n")
    assert talk.server.closed


def test_many_recipients_are_not_idle_commands() -> None:
    talk = Talk(ServerLimits("mx.test", idle_commands=5))
    assert b"421" not in talk.send(b"HELO c\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@x.test>\r\n" * 500)


def test_a_refused_chunk_is_read_to_its_end() -> None:
    server = Server(LIMITS)
    server.greet()
    server.feed(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    for _ in range(3):
        server.next_event()
        server.accept()
    server.next_event()
    server.take_output()
    server.answer(replies.DISK_LOW)
    assert server.next_event() == Violation(replies.DISK_LOW, fatal=False)
    assert server.next_event() is None
    assert server.take_output() == b"452 4.3.1 Insufficient storage, try again later\r\n250 2.0.0 Ok\r\n"


@given(plain=st.binary(max_size=200), chunk=st.integers(1, 50), piece=st.integers(1, 40))
def test_data_and_bdat_agree(plain: bytes, chunk: int, piece: int) -> None:
    plain = plain.replace(b"\r", b"").replace(b"\n", b"\r\n").replace(b"\0", b"") + b"\r\n"
    stuffed = plain.replace(b"\r\n.", b"\r\n..")
    stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
    data = Talk()
    data.send(START, piece)
    data.send(stuffed + b".\r\n", piece)
    bdat = Talk()
    octets = START.removesuffix(b"DATA\r\n")
    for start in range(0, len(plain), chunk):
        part = plain[start : start + chunk]
        last = b" LAST" if start + chunk >= len(plain) else b""
        octets += b"BDAT %d%s\r\n" % (len(part), last) + part
    bdat.send(octets, piece)
    assert data.contents == bdat.contents
    assert unstuff(data.contents[0]) == plain


def test_421_from_the_session_closes() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\n")
    talk.server.feed(b"MAIL FROM:<>\r\nNOOP\r\n")
    talk.server.next_event()
    talk.server.answer(replies.SHUTTING_DOWN)
    assert talk.server.closed
    assert talk.server.next_event() is None
    assert talk.server.take_output().startswith(b"421 4.3.2 ")


@pytest.mark.parametrize(
    ("start", "octets"),
    [
        (b"EHLO ", 512),
        (b"MAIL FROM:", 512 + 26 + 17 + 10 + 9 + 107 + 500),
        (b"RCPT TO:", 512 + 29 + 507),
        (b"AUTH PLAIN ", 12_288),
        (b"BDAT ", 512),
        (b"DATA ", 512),
        (b"FROB ", 512),
        (b"vrfy ", 512),
        (b"rcpt to:", 512 + 29 + 507),
    ],
)
@pytest.mark.parametrize("piece", [0, 100])
def test_each_command_has_its_line_limit(start: bytes, octets: int, piece: int) -> None:
    """RFC 5321 §4.5.3.1.4; RFC 1870 §3, RFC 6152 §2, RFC 6531 §3.4, RFC 3461 §4 and RFC 4954 §4 add to it."""
    talk = Talk()
    longest = start + b"x" * (octets - 2 - len(start)) + b"\r\n"
    assert len(longest) == octets
    assert b"line too long" not in talk.send(longest, piece).lower()
    too_long = Talk()
    assert too_long.send(b"x".join((longest[:-2], b"\r\n")), piece) == b"500 5.5.6 Command line too long\r\n"
    assert too_long.server.buffered == 0


@pytest.mark.parametrize("octets", [12_286, 12_287])
def test_an_answer_of_auth_has_its_line_limit(octets: int) -> None:
    """RFC 4954 §4."""
    talk = Talk()
    talk.send(b"EHLO c.test\r\nAUTH PLAIN\r\n")
    told = talk.send(b"!" * octets + b"\r\n")
    assert (b"5.5.6" in told) is (octets > 12_286)


@pytest.mark.parametrize(
    ("limits", "offered"),
    [
        (ServerLimits("mx.test"), ()),
        (ServerLimits("mx.test", starttls=True, auth=True), (b"STARTTLS",)),
        (ServerLimits("mx.test", auth=True, auth_without_tls=True), (b"AUTH PLAIN LOGIN",)),
    ],
    ids=["plain", "starttls", "auth"],
)
def test_what_ehlo_offers(limits: ServerLimits, offered: tuple[bytes, ...]) -> None:
    always = {
        b"PIPELINING",
        b"SIZE 26214400",
        b"ENHANCEDSTATUSCODES",
        b"8BITMIME",
        b"DSN",
        b"SMTPUTF8",
        b"CHUNKING",
    }
    first, *lines = Talk(limits).send(b"EHLO c.test\r\n").splitlines()
    assert first == b"250-mx.test"
    assert {line[4:] for line in lines} == {*always, *offered}
    assert [line[:4] for line in lines] == [b"250-"] * (len(lines) - 1) + [b"250 "]


def test_within_tls_auth_is_offered_and_starttls_is_not() -> None:
    talk = Talk(ServerLimits("mx.test", starttls=True, auth=True))
    talk.send(b"EHLO c.test\r\nSTARTTLS\r\n")
    told = talk.send(b"EHLO c.test\r\n")
    assert b"250-AUTH PLAIN LOGIN\r\n" in told
    assert b"STARTTLS" not in told


def test_ehlo_offers_what_the_session_changed() -> None:
    talk = Talk(ServerLimits("mx.test", auth=True, auth_without_tls=True))
    talk.server.offers = {"AUTH": "", "CHUNKING": "", "X-OWN": "x-own a b", "SIZE": "SIZE 7"}
    first, *lines = talk.send(b"EHLO c.test\r\n").splitlines()
    assert first == b"250-mx.test"
    assert {line[4:] for line in lines} == {
        *(b"PIPELINING", b"SIZE 7", b"ENHANCEDSTATUSCODES", b"8BITMIME", b"DSN", b"SMTPUTF8", b"x-own a b")
    }
    assert talk.send(b"HELO c.test\r\n") == b"250 mx.test\r\n"


NOTED = ServerLimits("mx.test", starttls=True)


def noting(notes: list[tuple[str, str]] | None) -> Talk:
    talk = Talk(NOTED)
    talk.server.notes = notes
    return talk


def test_a_client_that_may_notes_what_it_likes() -> None:
    notes: list[tuple[str, str]] = []
    talk = noting(notes)
    assert talk.send(b"xsetcontext a=1\r\n")[:3] == b"503"
    talk.send(b"EHLO c.test\r\n")
    assert talk.send(b"xsetcontext customer=acme  plan=very+20good+3D\r\nXSETCONTEXT empty=\r\n") == (
        b"250 2.0.0 Ok\r\n" * 2
    )
    assert notes == [("customer", "acme"), ("plan", "very good="), ("empty", "")]


@pytest.mark.parametrize(
    "arguments",
    [b"", b" ", b" a", b" =b", b" 1a=b", b" a=b c", b" a=+", b" a=+0A", b" a=b=c"],
)
def test_what_cannot_be_read_notes_nothing(arguments: bytes) -> None:
    notes: list[tuple[str, str]] = []
    talk = noting(notes)
    talk.send(b"EHLO c.test\r\n")
    assert talk.send(b"XSETCONTEXT" + arguments + b"\r\n")[:3] == b"501"
    assert notes == []


def test_a_session_notes_a_hundred_things() -> None:
    notes: list[tuple[str, str]] = []
    talk = noting(notes)
    talk.send(b"EHLO c.test\r\n")
    assert talk.send(b"XSETCONTEXT a=1 b=2\r\n" * 50) == b"250 2.0.0 Ok\r\n" * 50
    assert talk.send(b"XSETCONTEXT a=1\r\n")[:3] == b"501"
    assert len(notes) == 100


@pytest.mark.parametrize("command", [b"XSETCONTEXT a=1", b"XSETCONTEX a=1", b"XSETCONTEXTS a=1"])
def test_nobody_else_notes_anything(command: bytes) -> None:
    talk = noting(None if command[:12] == b"XSETCONTEXT " else [])
    talk.send(b"EHLO c.test\r\n")
    assert talk.send(command + b"\r\n")[:3] == b"500"
    assert not talk.server.notes


def test_what_was_noted_in_the_clear_is_forgotten_with_tls() -> None:
    before: list[tuple[str, str]] = []
    talk = noting(before)
    talk.send(b"EHLO c.test\r\nXSETCONTEXT a=1\r\nSTARTTLS\r\n")
    assert talk.server.notes == []
    assert before == [("a", "1")]

"""The client machine beyond its transcripts: refusals of our own arguments, losses, and invariants."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.base.errors import LocalProtocolError, RemoteProtocolError
from outrider.model.address import Address
from outrider.model.flow import Content, Phase, Recipient, Traits
from outrider.model.reply import Reply
from outrider.wire.smtp.client import BDAT_EAGER_OCTETS, SmtpClient
from outrider.wire.smtp.client_commands import xtext
from outrider.wire.smtp.client_events import Answer, Credentials, Transaction, TransactionDone
from outrider.wire.smtp.client_setup import parse_features
from outrider.wire.smtp.commands import parse_rcpt

CONTENT = Content(b"Subject: x\r\n\r\nHello\r\n", Traits.NONE, 12)
LOST = Reply(451, "4.4.2", ("lost",))
ALL = ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 1000000")


def _ready(*keywords: str, **options: Any) -> SmtpClient:
    client = SmtpClient(ehlo_name="me.test", tls="off", **options)
    client.receive(b"220 peer.test\r\n")
    client.receive(
        b"250-peer.test\r\n" + b"".join(b"250-%s\r\n" % word.encode() for word in keywords) + b"250 X\r\n"
    )
    client.take_output()
    return client


def _transaction(*names: str, content: Content = CONTENT) -> Transaction:
    recipients = [Recipient(Address(name, "peer.test")) for name in names or ("b",)]
    return Transaction(Address("a", "me.test"), recipients, content)


def _said(client: SmtpClient) -> bytes:
    return b"".join(client.take_output())


@pytest.mark.parametrize(
    "transaction",
    [
        Transaction(Address("a\r\nRSET", "me.test"), [Recipient(Address("b", "peer.test"))], CONTENT),
        Transaction(Address("a", "me.test\n"), [Recipient(Address("b", "peer.test"))], CONTENT),
        Transaction(Address("a", "me.test"), [Recipient(Address("b\0", "peer.test"))], CONTENT),
        Transaction(Address("a", "me.test"), [Recipient(Address("b\x85", "peer.test"))], CONTENT),
        Transaction(Address("a", "me.test"), [Recipient(Address("b> SIZE=1", "peer.test"))], CONTENT),
        Transaction(Address("a", "me.test"), [Recipient(Address("b", "peer.test> X"))], CONTENT),
        Transaction(
            Address("a", "me.test"), [Recipient(Address("b", "peer.test"))], CONTENT, ret="FULL\r\nQUIT"
        ),
        Transaction(Address("a", "me.test"), [], CONTENT),
        _transaction(content=Content(b"Subject: x\r\n\r\nHello", Traits.NONE, 12)),
        _transaction(content=Content(b"", Traits.NONE, 0)),
        _transaction(content=Content(b".\r\nQUIT\r\n", Traits.DOTTED, 0)),
    ],
)
def test_what_would_break_the_protocol_is_not_sent(transaction: Transaction) -> None:
    client = _ready(*ALL)
    with pytest.raises(LocalProtocolError):
        client.send(transaction)
    assert _said(client) == b""
    assert client.can_send


def test_xtext_and_orcpt_cannot_carry_a_line_end() -> None:
    client = _ready(*ALL)
    recipient = Recipient(Address("b", "peer.test"), orcpt="rfc822;b\r\nRSET@peer.test")
    client.send(Transaction(Address("a", "me.test"), [recipient], CONTENT, envid="x\r\ny"))
    said = _said(client)
    assert b"ENVID=x+0D+0Ay\r\n" in said
    assert b"ORCPT=rfc822;b+0D+0ARSET@peer.test\r\n" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("rfc822;Bob+x@peer.test", "rfc822;Bob+2Bx@peer.test"),
        ("rfc822;a=b c@peer.test", "rfc822;a+3Db+20c@peer.test"),
        ("X-a_b;c", "X-a_b;c"),
        ("utf-8;b@peer.test", "utf-8;b@peer.test"),
        ("utf-8;b+c=d\\@peer.test", r"utf-8;b\x{2B}c\x{3D}d\x{5C}@peer.test"),
        ("UTF-8;é漢\U0001f600@peer.test", r"UTF-8;\x{E9}\x{6F22}\x{1F600}@peer.test"),
        ("rfc822;é@peer.test", None),
        ("rfc822", None),
        ("utf-8;" + "é" * 82, "utf-8;" + r"\x{E9}" * 82),
        ("utf-8;" + "é" * 83, None),
    ],
)
def test_orcpt_goes_on_as_it_came(given: str, said: str | None) -> None:
    """RFC 3461 §5.2.1: the identical address; RFC 6533 §3: in an encoding that every server reads."""
    client = _ready(*ALL)
    client.send(
        Transaction(Address("a", "me.test"), [Recipient(Address("b", "peer.test"), orcpt=given)], CONTENT)
    )
    _, rcpt, *_ = _said(client).split(b"\r\n")
    assert rcpt.decode() == "RCPT TO:<b@peer.test>" + (f" ORCPT={said}" if said else "")
    if said is not None:
        again = parse_rcpt(rcpt.decode()[8:], esmtp=True, smtputf8=False, hostname="mx.test")
        assert again.orcpt == given


@pytest.mark.parametrize("password", ["s" * 255, "short"])
def test_an_initial_response_keeps_to_the_length_of_a_command(password: str) -> None:
    """RFC 4954 §4: one that does not fit waits for the server's 334."""
    user = "u" * 200
    client = SmtpClient(ehlo_name="me.test", secured=True, credentials=Credentials(user, password))
    client.receive(b"220 peer.test\r\n250-peer.test\r\n250 AUTH PLAIN\r\n")
    response = b64encode(f"\0{user}\0{password}".encode())
    said = _said(client).removeprefix(b"EHLO me.test\r\n")
    if len(password) < 10:
        assert said == b"AUTH PLAIN " + response + b"\r\n"
        return
    assert said == b"AUTH PLAIN\r\n"
    client.receive(b"334 \r\n")
    assert _said(client) == response + b"\r\n"
    client.receive(b"235 2.7.0 Welcome\r\n")
    assert client.is_ready


def test_a_host_name_with_a_line_end_is_not_said() -> None:
    client = SmtpClient(ehlo_name="me.test\r\nQUIT", tls="off")
    with pytest.raises(LocalProtocolError):
        client.receive(b"220 peer.test\r\n")


@given(st.text())
def test_xtext_is_printable_ascii(text: str) -> None:
    assert all("!" <= char <= "~" and char != "=" for char in xtext(text))


def test_a_large_content_waits_for_an_accepted_recipient() -> None:
    wire = b"Subject: x\r\n\r\n" + b"Hello\r\n" * (BDAT_EAGER_OCTETS // 7 + 1)
    client = _ready(*ALL)
    client.send(_transaction(content=Content(wire, Traits.NONE, 12)))
    assert b"BDAT" not in _said(client)
    assert client.receive(b"250 Ok\r\n") == []
    client.receive(b"250 Ok\r\n")
    assert _said(client) == b"BDAT %d LAST\r\n" % len(wire) + wire


def _answers(done: TransactionDone) -> list[tuple[int, int, bool] | None]:
    return [
        None if answer is None else (answer.reply.code, answer.phase, answer.ours) for answer in done.answers
    ]


@pytest.mark.parametrize(
    ("heard", "phase"),
    [
        (b"", Phase.MAIL),
        (b"250 Ok\r\n", Phase.RCPT),
        (b"250 Ok\r\n250 Ok\r\n", Phase.DATA),
        (b"250 Ok\r\n250 Ok\r\n354 Go\r\n", Phase.BODY),
    ],
)
def test_a_loss_is_an_outcome_of_ours_in_its_phase(heard: bytes, phase: Phase) -> None:
    client = _ready("PIPELINING")
    client.send(_transaction())
    client.receive(heard)
    [done] = client.abandon(LOST)
    assert _answers(done) == [(451, phase, True)]
    assert client.abandon(LOST) == []
    assert client.is_closed


@pytest.mark.parametrize("keywords", [(), ("PIPELINING",)])
def test_recipients_of_another_domain_go_with_the_next_transaction(keywords: tuple[str, ...]) -> None:
    refusal = b"451 4.3.0 Multiple destination domains per transaction is unsupported. Please try again.\r\n"
    client = _ready(*keywords)
    client.send(_transaction("b", "c", "d"))
    asked = b"250 Ok\r\n" + refusal + (b"250 Ok\r\n" if keywords else b"")  # lock-step asks for no more
    done: list[Any] = []
    for line in (b"250 Ok\r\n" + asked + b"354 Go\r\n250 Ok\r\n").splitlines(keepends=True):
        done += client.receive(line)
    answers = _answers(done[0])
    assert answers == [(250, Phase.BODY, False), None, (250, Phase.BODY, False) if keywords else None]
    alone = _ready(*keywords)
    alone.send(_transaction("c"))
    (only,) = alone.receive(b"250 Ok\r\n" + refusal + (b"503 No\r\n" if keywords else b""))
    assert isinstance(only, TransactionDone)
    assert _answers(only) == [(451, Phase.RCPT, False)]


def test_a_refusal_stands_when_the_connection_is_lost_later() -> None:
    client = _ready("PIPELINING")
    client.send(_transaction("b", "c"))
    client.receive(b"250 Ok\r\n550 No\r\n250 Ok\r\n354 Go\r\n")
    [done] = client.abandon(LOST)
    assert _answers(done) == [(550, Phase.RCPT, False), (451, Phase.BODY, True)]


def test_what_was_only_queued_is_not_attempted_when_the_connection_is_lost() -> None:
    client = _ready("PIPELINING")
    client.send(_transaction("b"))
    client.send(_transaction("c"))
    client.receive(b"250 Ok\r\n250 Ok\r\n354 Go\r\n")
    assert [_answers(done) for done in client.abandon(LOST)] == [[(451, Phase.BODY, True)], [None]]


def test_a_connection_that_carried_mail_and_ends_unheard_counts_no_attempt() -> None:
    client = _ready("PIPELINING")
    client.send(_transaction("b"))
    client.receive(b"250 Ok\r\n250 Ok\r\n354 Go\r\n250 Ok\r\n")
    client.send(_transaction("c"))
    assert [_answers(done) for done in client.abandon(LOST)] == [[None]]


def test_a_chunk_that_was_sent_whole_is_an_attempt_whatever_was_heard() -> None:
    client = _ready(*ALL)
    client.send(_transaction("b"))
    client.receive(b"250 Ok\r\n250 Ok\r\n250 Ok\r\n")
    client.send(_transaction("c"))
    assert [_answers(done) for done in client.abandon(LOST)] == [[(451, Phase.BODY, True)]]


def test_a_delivery_before_a_breach_of_protocol_counts() -> None:
    client = _ready("PIPELINING")
    client.send(_transaction("b"))
    client.receive(b"250 Ok\r\n250 Ok\r\n354 Go\r\n")
    with pytest.raises(RemoteProtocolError):
        client.receive(b"250 Queued\r\nrubbish\r\n")
    assert [_answers(done) for done in client.abandon(LOST)] == [[(250, Phase.BODY, False)]]


@pytest.mark.parametrize(
    "replies",
    [
        b"250 Ok\r\n250 Ok\r\n250 Ok\r\n",
        b"354 Go\r\n",
        b"250 Ok\r\n354 Go\r\n",
        b"250 Ok\r\n250 Ok\r\n334 Go\r\n",
        b"250 Ok\r\n250 Ok\r\n354 Go\r\n354 Go\r\n",
        b"250 Ok\r\n250 Ok\r\n354 Go\r\n250 Ok\r\n250 Ok\r\n",
    ],
)
def test_replies_out_of_place_break_the_protocol(replies: bytes) -> None:
    client = _ready("PIPELINING")
    client.send(_transaction("b"))
    with pytest.raises(RemoteProtocolError):
        client.receive(replies)
    assert len(client.abandon(LOST)) == 1


def test_phases_follow_the_dialogue() -> None:
    client = SmtpClient(ehlo_name="me.test", tls="off")
    phases = [client.phase]
    for data in (b"220 x\r\n", b"250 x\r\n"):
        client.receive(data)
        phases.append(client.phase)
    client.send(_transaction())
    phases.append(client.phase)
    for data in (b"250 Ok\r\n", b"250 Ok\r\n", b"354 Go\r\n", b"250 Ok\r\n"):
        client.receive(data)
        phases.append(client.phase)
    assert phases == [
        Phase.GREETING,
        Phase.EHLO,
        None,
        Phase.MAIL,
        Phase.RCPT,
        Phase.DATA,
        Phase.BODY,
        None,
    ]


def test_without_overlap_one_transaction_at_a_time() -> None:
    client = _ready("PIPELINING", overlap=False)
    client.send(_transaction("b"))
    assert not client.can_send
    client.receive(b"250 Ok\r\n250 Ok\r\n354 Go\r\n")
    assert not client.can_send
    client.receive(b"250 Ok\r\n")
    assert client.can_send


def _behind(*recipients: str) -> SmtpClient:
    """A session whose first transaction is over, and whose second one was said behind its content."""
    client = _ready("PIPELINING")
    client.send(_transaction("b"))
    client.send(_transaction(*recipients))
    client.take_output()
    client.receive(b"250 Ok\r\n250 Ok\r\n354 Go\r\n")
    return client


@pytest.mark.parametrize(
    "heard", [b"503 No\r\n", b"503 No\r\n503 No\r\n", b"503 No\r\n250 Ok\r\n421 Bye\r\n"]
)
def test_who_takes_nothing_behind_a_content_and_goes_has_judged_nobody(heard: bytes) -> None:
    client = _behind("c", "d")
    events = client.receive(b"250 Queued\r\n" + heard)
    done = [event for event in (*events, *client.abandon(LOST)) if isinstance(event, TransactionDone)]
    assert [_answers(each) for each in done] == [[(250, Phase.BODY, False)], [None, None]]


@pytest.mark.parametrize("code", [500, 550, 451, 502])
def test_another_refusal_behind_a_content_is_one(code: int) -> None:
    client = _behind("c")
    events = client.receive(b"250 Queued\r\n" + b"%d No\r\n" % code * 3)
    done = [event for event in events if isinstance(event, TransactionDone)]
    assert _answers(done[1]) == [(code, Phase.MAIL, False)]


@pytest.mark.parametrize(("length", "waits"), [(20, False), (60, True)])
def test_a_long_envelope_waits_for_the_reply_to_the_content(length: int, waits: bool) -> None:
    client = _behind(*(f"{number}{'x' * length}" for number in range(30)))
    sent = b"".join(client.take_output())
    assert (b"MAIL" not in sent) is waits
    assert (b"MAIL" in b"".join((client.receive(b"250 Queued\r\n"), client.take_output())[1])) is waits


def test_features_are_read_leniently() -> None:
    lines = ("peer.test", "size  1000", "Pipelining", "AUTH plain", "AUTH=LOGIN", "", "SIZE x", "SMTPUTF8")
    features = parse_features(Reply(250, None, lines))
    assert features.size == 1000
    assert features.pipelining
    assert features.mechanisms == {"PLAIN", "LOGIN"}
    assert not features.smtputf8, "RFC 6531 needs 8BITMIME besides"
    assert parse_features(Reply(250, None, ("peer.test", "SIZE " + "9" * 5000))).size == 0


@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from([(), ("PIPELINING",), ALL]))
def test_whatever_comes_receive_returns_or_raises_remote(
    pieces: list[bytes], keywords: tuple[str, ...]
) -> None:
    client = _ready(*keywords)
    taken: list[Transaction] = []
    done: list[TransactionDone] = []
    try:
        for piece in pieces:
            while client.can_send and len(taken) < 6:
                transaction = _transaction("b", "c")
                taken.append(transaction)
                assert client.send(transaction) is None
            done.extend(event for event in client.receive(piece) if isinstance(event, TransactionDone))
    except RemoteProtocolError:
        assert client.is_closed
    done.extend(client.abandon(LOST))
    assert [event.transaction for event in done] == taken
    assert all(event.transaction is transaction for event, transaction in zip(done, taken, strict=True))


@given(
    st.data(),
    st.sampled_from([(), ("PIPELINING",), ALL]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
)
def test_any_lmtp_dialogue_ends_with_an_answer_of_its_own_for_each_recipient(
    data: st.DataObject, keywords: tuple[str, ...], transactions: int, recipients: int, octets: bool
) -> None:
    client = _ready(*keywords, lmtp=True)
    taken: list[Transaction] = []
    done: list[TransactionDone] = []
    wanted: list[list[int]] = []  # what the store answers for each recipient of each transaction
    refused: list[int] = []
    while len(done) < transactions:
        while client.can_send and len(taken) < transactions:
            taken.append(_transaction(*"bcde"[:recipients]))
            client.send(taken[-1])
        replies = b""
        for line in _said(client).splitlines():
            if line.startswith(b"MAIL"):
                wanted.append([])
            elif line.startswith(b"RCPT"):
                wanted[-1].append(data.draw(st.sampled_from([250, 250, 451, 550])))
                refused.append(data.draw(st.sampled_from([0, 0, 550])))
            if line.startswith(b"RCPT"):
                code = refused[-1] or 250
                wanted[-1][-1] = refused[-1] or wanted[-1][-1]
                replies += b"%d x\r\n" % code
            elif line.startswith(b"DATA"):
                replies += b"354 x\r\n" if _accepted(wanted[-1], refused) else b"503 x\r\n"
            elif line == b".":
                at = len(done)  # a content is sent only when the one before it has its answers
                flags = refused[at * recipients : (at + 1) * recipients]
                for code, flag in zip(wanted[at], flags, strict=True):
                    replies += b"" if flag else b"%d x\r\n" % code
            elif line.startswith((b"MAIL", b"RSET")):
                replies += b"250 x\r\n"
        for piece in [replies[at : at + 1] for at in range(len(replies))] if octets else [replies]:
            done.extend(event for event in client.receive(piece) if isinstance(event, TransactionDone))
    codes = [[answer.reply.code for answer in event.answers if answer] for event in done]
    assert codes == wanted


def _accepted(codes: list[int], refused: list[int]) -> bool:
    return not all(refused[-len(codes) :])


def test_an_lmtp_answer_that_was_heard_stands_when_the_connection_is_lost() -> None:
    client = _ready("PIPELINING", lmtp=True)
    client.send(_transaction("b", "c", "d"))
    client.receive(b"250 x\r\n250 x\r\n550 no\r\n250 x\r\n354 x\r\n")
    assert client.receive(b"250 stored\r\n") == []
    (done,) = client.abandon(LOST)
    assert [(answer.reply.code, answer.ours) for answer in done.answers if answer] == [
        (250, False),
        (550, False),
        (451, True),
    ]


def test_an_lmtp_store_that_takes_data_for_nobody_breaks_the_protocol() -> None:
    client = _ready("PIPELINING", lmtp=True)
    client.send(_transaction())
    with pytest.raises(RemoteProtocolError):
        client.receive(b"250 x\r\n550 no\r\n354 go\r\n")


_CODES = st.sampled_from([250, 250, 250, 354, 354, 450, 452, 550, 552, 421, 221])


def _answer_each(client: SmtpClient, code_of: Callable[[bytes], int]) -> bytes:
    """What a peer with these replies answers to what the client just said."""
    said, out = _said(client), b""
    at = 0
    while at < len(said):
        end = said.index(b"\r\n", at) + 2
        line, at = said[at:end], end
        if line.startswith(b"BDAT"):
            at += int(line.split()[1])
        elif not line.startswith((b"MAIL", b"RCPT", b"DATA", b"RSET", b"QUIT")):
            end = said.index(b".\r\n", at - len(line)) + 3
            line, at = b".", end
        out += b"%d x\r\n" % code_of(line)
    return out


@settings(max_examples=300)
@given(
    st.data(),
    st.sampled_from([(), ("PIPELINING",), ("CHUNKING",), ALL]),
    st.integers(1, 6),
    st.integers(1, 4),
    st.booleans(),
)
def test_any_dialogue_ends_with_each_transaction_done_once(
    data: st.DataObject, keywords: tuple[str, ...], transactions: int, recipients: int, octets: bool
) -> None:
    client = _ready(*keywords)
    taken: list[Transaction] = []
    done: list[TransactionDone] = []

    def code_of(line: bytes) -> int:
        code = data.draw(_CODES)
        if line.startswith((b"RSET", b"QUIT")):
            return 250
        if line.startswith(b"DATA"):
            return max(code, 354)
        return 250 if code == 354 else code

    try:
        for _ in range(100):
            while client.can_send and len(taken) < transactions:
                taken.append(_transaction(*"bcde"[:recipients]))
                client.send(taken[-1])
            replies = _answer_each(client, code_of)
            if not replies:
                break
            for piece in [replies[at : at + 1] for at in range(len(replies))] if octets else [replies]:
                done.extend(event for event in client.receive(piece) if isinstance(event, TransactionDone))
    except RemoteProtocolError:  # no dialogue above breaks the protocol
        pytest.fail("a lawful dialogue was refused")
    assert client.is_closed or len(done) == len(taken) == transactions
    done.extend(client.abandon(LOST))
    assert [id(event.transaction) for event in done] == [id(transaction) for transaction in taken]
    for event in done:
        assert len(event.answers) == recipients
        for answer in event.answers:
            assert answer is None or isinstance(answer, Answer)
            assert answer is None or answer.reply.code != 250 or answer.phase == Phase.BODY

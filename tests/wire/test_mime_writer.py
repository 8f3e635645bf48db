"""Messages: an independent reader finds exactly the fields and bodies of the draft, whatever is in them."""

import email
import email.header
import email.policy
import email.utils
from email.header import decode_header
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base import long_octets
from outrider.model.address import Address
from outrider.wire import mime
from outrider.wire.headers import FieldError, text_field
from outrider.wire.mime import RESERVED, Draft, Mailbox, MessageWriter
from outrider.wire.mime_parts import Attachment, format_part

AUTHOR = Mailbox(Address("shop", "sender.example"), "Shop")
ALICE = Mailbox(Address("alice", "example.com"))
DATE = "Tue, 24 Nov 2026 15:00:00 +0000"
BOUNDARY = "=_b0"

FIXED = ["Date", "From", "To", "Subject", "Message-ID"]


def written(draft: Draft, *, boundary: str = BOUNDARY, eight_bit: bool = False) -> bytes:
    writer = MessageWriter(eight_bit=eight_bit)
    return writer.write(draft, message_id="1@sender.example", date=DATE, boundary=boundary)


def draft_of(**parts: object) -> Draft:
    return Draft(**{"author": AUTHOR, "to": (ALICE,), "subject": "Hi", "text": "Hello\n", **parts})  # type: ignore[arg-type]


def read(octets: bytes) -> Message:
    return email.message_from_bytes(octets, policy=email.policy.compat32)


def body_of(part: Message) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode(part.get_content_charset() or "ascii")


def parts_of(message: Message) -> list[Message]:
    if not message.is_multipart():
        return [message]
    parts = message.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, Message)]


def is_mail(octets: bytes) -> bool:
    """CRLF only, no NUL, no line over 998 octets (RFC 5322 §2.1.1, RFC 5322 §2.3)."""
    bare = octets.replace(b"\r\n", b"")
    return (
        octets.endswith(b"\r\n")
        and b"\r" not in bare
        and b"\n" not in bare
        and b"\0" not in bare
        and max(map(len, octets.split(b"\r\n"))) <= 998
    )


def test_a_plain_message_is_as_short_as_it_can_be() -> None:
    assert written(draft_of()) == (
        b"Date: Tue, 24 Nov 2026 15:00:00 +0000\r\n"
        b"From: Shop <shop@sender.example>\r\n"
        b"To: alice@example.com\r\n"
        b"Subject: Hi\r\n"
        b"Message-ID: <1@sender.example>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=us-ascii\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hello\r\n"
    )


def test_text_and_html_are_alternatives() -> None:
    message = read(written(draft_of(text="Grüße\n", html="<p>Grüße</p>")))
    assert message.get_content_type() == "multipart/alternative"
    plain, html = parts_of(message)
    assert (plain.get_content_type(), body_of(plain)) == ("text/plain", "Grüße\r\n")
    assert (html.get_content_type(), body_of(html)) == ("text/html", "<p>Grüße</p>\r\n")


def test_html_alone_is_html() -> None:
    message = read(written(draft_of(text=None, html="<p>x</p>")))
    assert message.get_content_type() == "text/html"


def test_nothing_is_an_empty_text() -> None:
    assert written(draft_of(text=None)).endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "eight_bit", "encoding"),
    [
        ("ascii\n", False, "7bit"),
        ("mostly ascii, é\n", False, "quoted-printable"),
        ("漢字漢字漢字\n", False, "base64"),
        ("漢字漢字漢字\n", True, "8bit"),
        ("x" * 999, False, "quoted-printable"),
        ("x" * 998, False, "7bit"),
        ("é" * 500, True, "base64"),
    ],
)
def test_the_encoding_is_the_least_that_does(text: str, eight_bit: bool, encoding: str) -> None:
    octets = written(draft_of(text=text), eight_bit=eight_bit)
    assert is_mail(octets)
    message = read(octets)
    assert message["Content-Transfer-Encoding"] == encoding
    assert body_of(message).rstrip("\r\n") == text.rstrip("\n")


@pytest.mark.parametrize(
    ("text", "html", "expected"),
    [
        ("ü", "<p>ü</p>", ["8bit", "8bit", "8bit", "8bit", "8bit", "base64", "base64"]),
        ("u", "<p>ü</p>", ["8bit", "8bit", "7bit", "8bit", "8bit", "base64", "base64"]),
        ("ü", "<p>u</p>", ["8bit", "8bit", "8bit", None, "7bit", "base64", "base64"]),
        ("u", "<p>u</p>", [None, None, "7bit", None, "7bit", "base64", "base64"]),
        (
            "x\n8bit\n\n",
            "Content-Transfer-Encoding: 8bit\n\n",
            [None, None, "7bit", None, "7bit", "base64", "base64"],
        ),
    ],
)
def test_a_multipart_is_of_8bit_where_a_part_is(text: str, html: str, expected: list[str | None]) -> None:
    """RFC 2045 §6.4: mixed, alternative, text, related, HTML, and what is attached."""
    attachments = (Attachment(b"\xff", "image/png", content_id="a"), Attachment(b"", "text/plain"))
    attached = tuple(format_part(each, "attachments/0") for each in attachments)
    octets = written(draft_of(text=text, html=html, parts=attached), eight_bit=True)
    message = read(octets)
    assert [part["Content-Transfer-Encoding"] for part in message.walk()] == expected
    assert octets.isascii() == (expected[0] is None)


def test_a_text_that_knows_the_boundary_cannot_end_its_part() -> None:
    text = f"before\n--{BOUNDARY}--\nContent-Type: text/html\n\n--{BOUNDARY}\nafter"
    parts = parts_of(read(written(draft_of(text=text, html="<p>x</p>"))))
    assert len(parts) == 2
    assert body_of(parts[0]) == text.replace("\n", "\r\n") + "\r\n"


any_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=300) | st.text(
    "a=.\r\n \té-", max_size=300
)
header_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs")), max_size=80)
names = st.from_regex(r"X-[A-Za-z0-9-]{1,20}", fullmatch=True)


def as_lines(text: str) -> str:
    """What may change in a body: line ends, and one more at the end."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    return lines if not lines or lines.endswith("\r\n") else lines + "\r\n"


def decoded(value: object) -> str:
    unfolded = str(value).replace("\r\n", "").replace("\n", "")
    return "".join(
        part.decode(charset or "ascii") if isinstance(part, bytes) else part
        for part, charset in decode_header(unfolded)
    )


@given(
    subject=header_text,
    text=st.none() | any_text,
    html=st.none() | any_text,
    headers=st.lists(st.tuples(names, header_text), max_size=4),
    eight_bit=st.booleans(),
)
def test_what_goes_in_comes_out(
    subject: str, text: str | None, html: str | None, headers: list[tuple[str, str]], eight_bit: bool
) -> None:
    octets = written(
        draft_of(subject=subject, text=text, html=html, headers=tuple(headers)), eight_bit=eight_bit
    )
    assert is_mail(octets)
    if not eight_bit:
        assert octets.isascii()
    message = read(octets)
    end = FIXED + [name for name, _ in headers] + ["MIME-Version", "Content-Type"]
    found = message.keys()
    assert found[: len(end)] == end
    assert found[len(end) :] in ([], ["Content-Transfer-Encoding"])
    assert decoded(message["Subject"]) == subject
    assert [decoded(value) for _, value in message.items()[len(FIXED) : -1]][: len(headers)] == [
        value for _, value in headers
    ]
    bodies = [as_lines(body) for body in (text, html) if body is not None] or [""]
    assert [body_of(part) for part in parts_of(message)] == bodies


PAYLOADS = [
    "\r\nBcc: eve@evil.example",
    "\nBcc: eve@evil.example",
    "\rBcc: eve@evil.example",
    "x\r\n\r\n<script>",
    "x\r\n.\r\nMAIL FROM:<eve@evil.example>",
    "\0",
    "\x0bBcc: eve@evil.example",
    "\x85Bcc: eve@evil.example",
    "\u2028Bcc: eve@evil.example",
    "\u2029Bcc: eve@evil.example",
    "=?utf-8?q?x=0D=0ABcc:_eve@evil.example?=",
    "=?utf-8?b?DQpCY2M6IGV2ZUBldmlsLmV4YW1wbGU=?=",
    "x, eve@evil.example",
    "x> <eve@evil.example",
    '" <eve@evil.example>, "',
    "(comment) x; y: z",
    " \t leading",
    "é" * 200,
    "x" * 2_000,
    "\ud800",
]
FIELDS = ["subject", "author", "to", "cc", "reply_to", "header", "header name", "text", "html", "date", "id"]


def draft_with(field: str, payload: str) -> Draft:
    box = Mailbox(Address("bob", "example.org"), payload)
    parts: dict[str, dict[str, object]] = {
        "subject": {"subject": payload},
        "author": {"author": Mailbox(AUTHOR.address, payload)},
        "to": {"to": (ALICE, box)},
        "cc": {"cc": (box,)},
        "reply_to": {"reply_to": (box,)},
        "header": {"headers": (("X-Tag", payload),)},
        "header name": {"headers": ((payload, "x"),)},
        "text": {"text": payload},
        "html": {"html": payload},
    }
    return draft_of(**parts.get(field, {}))


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
@pytest.mark.parametrize("field", FIELDS)
def test_nothing_can_be_injected(field: str, payload: str) -> None:
    """Either an error that names the argument, or a message with no field, recipient or part more."""
    octets = b""
    refused = ""
    try:
        octets = MessageWriter().write(
            draft_with(field, payload),
            message_id=payload if field == "id" else "1@sender.example",
            date=payload if field == "date" else DATE,
            boundary=BOUNDARY,
        )
    except FieldError as error:
        refused = error.field
    if refused:
        starts = {"author": "from", "header": "headers", "header name": "headers", "id": "message_id"}
        assert refused.startswith(starts.get(field, field))
        return
    assert is_mail(octets)
    message = read(octets)
    known = {"Date", "From", "To", "Subject", "Message-ID", "MIME-Version", "Content-Type"}
    extra = {"cc": {"Cc"}, "reply_to": {"Reply-To"}, "header": {"X-Tag"}, "header name": {payload}}
    expected = known | extra.get(field, set()) | ({"Content-Transfer-Encoding"} if field != "html" else set())
    assert sorted(message.keys()) == sorted(expected)
    addresses = email.utils.getaddresses(
        [
            str(value).replace("\r\n", "")
            for name in ("From", "To", "Cc", "Reply-To")
            for value in message.get_all(name, [])
        ]
    )
    assert {address for _, address in addresses} <= {
        "shop@sender.example",
        "alice@example.com",
        "bob@example.org",
    }


@pytest.mark.parametrize(
    "name", [*sorted(RESERVED), "BCC", "Content-Type", "content-id", "Resent-From", "ARC-X"]
)
def test_fields_of_the_server_cannot_be_set(name: str) -> None:
    with pytest.raises(FieldError, match="written by the server"):
        written(draft_of(headers=((name, "x"),)))


def test_a_line_of_quoted_printable_has_76_octets_at_most_whatever_it_ends_in() -> None:
    lines = [f"{'a' * length}{end}" for length in range(66, 80) for end in (" ", "\t", "= ", "é ", "")]
    body = written(draft_of(text="\n".join(lines) + "é")).partition(b"\r\n\r\n")[2]
    assert max(map(len, body.split(b"\r\n"))) <= 76


def test_fields_that_may_stand_once_do() -> None:
    headers = (("References", "<1@x.example>"), ("references", "<2@x.example>"))
    with pytest.raises(FieldError, match="only once"):
        written(draft_of(headers=headers))


@pytest.mark.parametrize(
    "text", ["<https://sender.example/grüße>", f"<https://sender.example/{'x' * 950}>", "=?utf-8?q?a?="]
)
def test_ids_and_urls_are_never_in_encoded_words(text: str) -> None:
    for name in ("List-Unsubscribe", "references"):
        with pytest.raises(FieldError, match="are ASCII"):
            written(draft_of(headers=((name, text),)))
    url = "<https://sender.example/?a=?b>"
    assert b"List-Unsubscribe: %s\r\n" % url.encode() in written(
        draft_of(headers=(("List-Unsubscribe", url),))
    )


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Grüße <news.sender.example>", "Grüße"),
        ('"Grüße, alle"   <news.sender.example>', "Grüße, alle"),
        ("é" * 200 + " <news.sender.example>", "é" * 200),
        ("=?utf-8?q?a?= <news.sender.example>", "=?utf-8?q?a?="),
        ("News <news.sender.example>", "News"),
        ("<news.sender.example>", ""),
    ],
)
def test_of_a_phrase_with_brackets_only_the_phrase_is_encoded(text: str, phrase: str) -> None:
    for name in ("List-Id", "Disposition-Notification-To"):
        octets = written(draft_of(headers=((name, text),)))
        header = octets.partition(b"\r\n\r\n")[0]
        assert max(len(line) for line in header.split(b"\r\n")) <= 78
        value = str(read(octets)[name]).replace("\r\n", "")
        assert value.endswith("<news.sender.example>")
        chunks = email.header.decode_header(value.removesuffix("<news.sender.example>"))
        found = "".join(
            chunk if isinstance(chunk, str) else chunk.decode(code or "ascii") for chunk, code in chunks
        )
        assert found.strip() == phrase


@pytest.mark.parametrize("text", ["a <grüße>", "ü <a> <b>", "ü", "<a> ü", 'ü" <a>', f"ü <{'a' * 901}>"])
def test_what_would_be_hidden_in_encoded_words_is_refused(text: str) -> None:
    with pytest.raises(FieldError, match="angle brackets"):
        written(draft_of(headers=(("List-Id", text),)))


def test_a_field_error_points_into_the_draft() -> None:
    with pytest.raises(FieldError) as caught:
        written(draft_of(headers=(("X/Y~Z", "a\nb"),)))
    assert caught.value.field == "headers/X~1Y~0Z"


@pytest.mark.parametrize("boundary", ["b0", "=_", "=_a b", '=_a"', "=_a\r\n", "=_" + "a" * 61])
def test_a_boundary_that_could_be_text_is_refused(boundary: str) -> None:
    with pytest.raises(FieldError) as caught:
        written(draft_of(html="x"), boundary=boundary)
    assert caught.value.field == "boundary"


_TEXTS: st.SearchStrategy[str | None] = st.lists(
    st.sampled_from(["", ".", "x" * 1200, "x " * 500, "x\t", "café", "From me", "=", "ok "]), max_size=5
).map("\n".join) | st.sampled_from(
    [None, "", "Hello\n", "Hello", "café\n", "a\rb\r\nc\n", f"so {BOUNDARY} is here\n", "x" * 1200, "é" * 400]
)
_DRAFTS = st.builds(
    Draft,
    st.sampled_from([AUTHOR, Mailbox(Address("shop", "sender.example"), "Café")]),
    st.sampled_from([(), (ALICE,), (ALICE, AUTHOR), (Mailbox(Address("bob", "example.com"), "Bob"),)]),
    st.sampled_from([(), (ALICE,)]),
    st.sampled_from([(), (AUTHOR,)]),
    st.sampled_from([None, "", "Hi", "Café"]),
    _TEXTS,
    _TEXTS,
    st.sampled_from([(), (("X-Campaign", "1"),), (("X-Campaign", "1"), ("X-Campaign", "é"))]),
)


@given(st.lists(st.tuples(_DRAFTS, st.sampled_from([BOUNDARY, "=_b1"])), max_size=6), st.booleans())
def test_what_was_written_before_changes_nothing(drafts: list[tuple[Draft, str]], eight_bit: bool) -> None:
    writer = MessageWriter(eight_bit=eight_bit)
    for draft, boundary in drafts:
        found = writer.write(draft, message_id="1@sender.example", date=DATE, boundary=boundary)
        assert found == written(draft, boundary=boundary, eight_bit=eight_bit)


def test_a_draft_that_is_refused_leaves_nothing_behind() -> None:
    writer = MessageWriter()
    good = draft_of(headers=(("X-Campaign", "1"),))
    for draft in (good, draft_of(headers=(("X-Campaign", "1\n2"),)), draft_of(subject="a\nb"), good):
        try:
            found = writer.write(draft, message_id="1@sender.example", date=DATE, boundary=BOUNDARY)
        except FieldError:
            assert draft is not good
        else:
            assert draft is good
            assert found == written(good)


def test_what_all_messages_have_in_common_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def noted(name: str, text: str, field: str) -> bytes:
        names.append(name)
        return text_field(name, text, field)

    monkeypatch.setattr(mime, "text_field", noted)
    writer = MessageWriter()
    for number in range(100):
        draft = draft_of(subject=f"Hi {number % 2}", headers=(("X-Campaign", "1"),))
        writer.write(draft, message_id=f"{number}@sender.example", date=DATE, boundary=BOUNDARY)
    assert [names.count(name) for name in ("Date", "X-Campaign", "Subject")] == [1, 1, 100]


@given(
    st.lists(
        st.sampled_from(
            ["\r", "\n", "\r\n", "é" * 40, "x" * 76, "y " * 60, "z" * 1100, ".", "=", "=_b0", " "]
        ),
        max_size=12,
    ).map("".join),
    st.booleans(),
    st.booleans(),
)
def test_a_long_text_is_written_in_pieces_and_reads_the_same(
    text: str, is_multipart: bool, eight_bit: bool
) -> None:
    draft = draft_of(text=text, html="<p>x</p>" if is_multipart else None)
    with pytest.MonkeyPatch.context() as patch:
        for module in (mime, long_octets):
            patch.setattr(module, "LONG_OCTETS", 50)
        octets = written(draft, eight_bit=eight_bit)
    assert is_mail(octets)
    whole, found = (
        body_of(parts_of(read(each))[0]) for each in (written(draft, eight_bit=eight_bit), octets)
    )
    assert found == whole
    if b"quoted-printable" in octets and " " not in text:  # binascii goes beyond for a space at a line's end
        assert max(map(len, octets.partition(b"quoted-printable")[2].split(b"\r\n"))) <= 76

"""Header fields: what goes in comes out of an independent reader, or is refused by the argument's name."""

import email
import email.header
import email.policy
import email.utils
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.address import Address
from outrider.wire.headers import (
    ENCODED_LINE_OCTETS,
    ENCODED_WORD_OCTETS,
    FOLD_OCTETS,
    LINE_OCTETS,
    FieldError,
    address_field,
    check_name,
    text_field,
)

ALICE = Address("alice", "example.com")


def read_text(field: bytes) -> str:
    """The text of one field as Python's reader decodes it."""
    message = email.message_from_bytes(field + b"\r\n", policy=email.policy.compat32)
    (value,) = message.values()
    unfolded = str(value).replace("\r\n", "").replace("\n", "")
    parts = email.header.decode_header(unfolded)
    return "".join(
        part.decode(charset or "ascii") if isinstance(part, bytes) else part for part, charset in parts
    )


def is_well_formed(field: bytes) -> bool:
    lines = field.split(b"\r\n")
    return (
        lines[-1] == b""
        and b"\r" not in field.replace(b"\r\n", b"")
        and b"\n" not in field.replace(b"\r\n", b"")
        and all(len(line) <= LINE_OCTETS for line in lines)
        and all(line[:1] == b" " and line.strip(b" ") for line in lines[1:-1])
    )


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Hello", b"Subject: Hello\r\n"),
        ("", b"Subject: \r\n"),
        ("Grüße", b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n"),
        ("naïve text mostly ascii", b"Subject: =?utf-8?q?na=C3=AFve_text_mostly_ascii?=\r\n"),
        ("=?utf-8?q?x=0Abcc:?=", b"Subject: =?utf-8?b?PT91dGYtOD9xP3g9MEFiY2M6Pz0=?=\r\n"),
        (" led", b"Subject: =?utf-8?q?_led?=\r\n"),
        ("two  spaces", b"Subject: two  spaces\r\n"),
        ("<https://x.test/?a=?b>", b"Subject: <https://x.test/?a=?b>\r\n"),
        ("x?=?y", b"Subject: x?=?y\r\n"),
        ("=?a?b?c?=", b"Subject: =?utf-8?b?PT9hP2I/Yz89?=\r\n"),
    ],
)
def test_a_text_has_one_spelling(text: str, field: bytes) -> None:
    assert text_field("Subject", text, "subject") == field


def test_long_text_is_folded_before_spaces() -> None:
    text = "word " * 60 + "end"
    field = text_field("Subject", text, "subject")
    assert is_well_formed(field)
    assert max(map(len, field.split(b"\r\n"))) <= FOLD_OCTETS
    assert read_text(field) == text


def test_a_word_that_fits_no_line_is_encoded() -> None:
    text = "x" * 5_000
    field = text_field("Subject", text, "subject")
    assert is_well_formed(field)
    assert max(map(len, field.split(b"\r\n"))) <= ENCODED_LINE_OCTETS
    assert read_text(field) == text


texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs")), max_size=200
) | st.text('ab =?_"\\<>@,;é漢', max_size=200)


@given(texts)
def test_every_text_comes_back(text: str) -> None:
    field = text_field("X-Text", text, "text")
    assert is_well_formed(field)
    assert read_text(field) == text


@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs")), min_size=1, max_size=300
    )
)
def test_encoded_words_are_short_and_whole(text: str) -> None:
    for line in text_field("X-Text", "é" + text, "text").split(b"\r\n"):
        for word in line.split(b" "):
            if word.startswith(b"=?"):
                assert len(word) <= ENCODED_WORD_OCTETS
                ((part, charset),) = email.header.decode_header(word.decode())
                assert isinstance(part, bytes)
                part.decode(charset or "")  # each word alone is whole characters, RFC 2047 §5


@pytest.mark.parametrize("name", ["X", "Subject", "X-" + "a" * 48, "X-" + "a" * 49, "X-" + "a" * 74])
@pytest.mark.parametrize("text", ["é" * 200, "a é " * 50, "漢字" * 40, "\U0001f600" * 30, "e" * 300 + "é"])
def test_a_line_with_an_encoded_word_has_76_octets_at_most(name: str, text: str) -> None:
    """RFC 2047 §2, also where the name stands before the word."""
    fields = [text_field(name, text, "text")]
    if len(name) < 50:
        fields.append(address_field(name, [(ALICE, text, "to/0"), (ALICE, text, "to/1")]))
    for field in fields:
        assert is_well_formed(field)
        assert max(len(line) for line in field.split(b"\r\n") if b"=?" in line) <= 76
    assert read_text(fields[0]) == text


FORBIDDEN = [
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\x1b",
    "\t",
    "\x7f",
    "\x85",
    "\x0b",
    "\x0c",
    "\u2028",
    "\u2029",
    "\ud800",
]


@pytest.mark.parametrize("character", FORBIDDEN)
@pytest.mark.parametrize("place", ["{}text", "te{}xt", "text{}"])
def test_what_breaks_lines_is_refused(character: str, place: str) -> None:
    text = place.format(character)
    with pytest.raises(FieldError) as caught:
        text_field("Subject", text, "subject")
    assert caught.value.field == "subject"
    assert f"U+{ord(character[0]):04X}" in caught.value.reason
    with pytest.raises(FieldError) as caught:
        address_field("To", [(ALICE, text, "to/0/name")])
    assert caught.value.field == "to/0/name"
    with pytest.raises(FieldError) as caught:
        address_field("To", [(Address(text, "example.com"), "", "to/0")])
    assert caught.value.field == "to/0"


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\r\nB", "Ä", "A\0", "A" * 77, "A\u2028"])
def test_what_is_no_field_name_is_refused(name: str) -> None:
    with pytest.raises(FieldError):
        check_name(name, "headers")


def test_a_text_of_any_length_is_bounded() -> None:
    with pytest.raises(FieldError, match="longer than"):
        text_field("Subject", "x" * 65_537, "subject")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("", b"To: alice@example.com\r\n"),
        ("Alice Smith", b"To: Alice Smith <alice@example.com>\r\n"),
        ("Smith, Alice", b'To: "Smith, Alice" <alice@example.com>\r\n'),
        ('A "B" \\ C', b'To: "A \\"B\\" \\\\ C" <alice@example.com>\r\n'),
        ("eve@evil.example", b'To: "eve@evil.example" <alice@example.com>\r\n'),
        ("Zoë", b"To: =?utf-8?q?Zo=C3=AB?= <alice@example.com>\r\n"),
    ],
)
def test_a_display_name_has_one_spelling(name: str, field: bytes) -> None:
    assert address_field("To", [(ALICE, name, "to/0/name")]) == field


@given(st.lists(texts, min_size=1, max_size=8))
def test_every_display_name_and_address_comes_back(names: list[str]) -> None:
    boxes = [
        (Address(f"user{number}", "example.com"), name, f"to/{number}") for number, name in enumerate(names)
    ]
    field = address_field("To", boxes)
    assert is_well_formed(field)
    message: Message = email.message_from_bytes(field + b"\r\n", policy=email.policy.compat32)
    value = str(message["To"]).replace("\r\n", "").replace("\n", "")
    found = email.utils.getaddresses([value])
    assert [address for _, address in found] == [str(address) for address, _, _ in boxes]
    decoded = [
        "".join(
            part.decode(charset or "ascii") if isinstance(part, bytes) else part
            for part, charset in email.header.decode_header(name)
        )
        for name, _ in found
    ]
    assert [name.strip() for name in decoded] == [" ".join(name.split(" ")).strip() for name in names]

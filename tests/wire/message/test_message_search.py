"""Find and replace: every match and nothing else, in the charset and the encoding that the part has."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.wire.message import transfer
from outrider.wire.message.charsets import maybe_encode
from outrider.wire.message.content import decoded, maybe_text
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.limits import EditError
from outrider.wire.message.search import (
    Bound,
    find_body,
    find_raw,
    find_text,
    replace_body,
    replace_raw,
    replace_text,
)
from outrider.wire.message.tree import Part, read_part
from outrider.wire.smtp.content import stuff_plain, unstuff

MAIL = (
    b"Subject: hello\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"gr=FC=DFe: hello=20\r\nan=6fther li=\r\nne, odd but ri=67ht\r\nhello again=\r\n and more\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8gd8O2cmxk\r\n"
    b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8gd8O2cmxk\r\n"
    b"--b--\r\n"
)


def constant(text: str) -> Callable[[re.Match[str]], str]:
    return lambda _: text


def octets(text: bytes) -> Callable[[re.Match[bytes]], bytes]:
    return lambda _: text


def message(charset: str, encoding: str, body: bytes) -> Part:
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return read_part(head.encode("ascii") + body)


def test_what_is_found_where() -> None:
    root = read_part(MAIL)
    assert find_raw(root, re.compile(rb"Subject: (\w+)").search)
    assert not find_body(root, re.compile(rb"Subject").search)
    body = find_body(root, re.compile(rb"gr=FC=DFe").search)
    assert body is not None
    assert body.start() == root.body().index(b"gr=FC")
    match = find_text(root, re.compile("w(ö)rld").search)
    assert match is not None
    assert match[1] == "ö"
    assert find_text(root, re.compile("PNG|Subject").search) is None
    assert not root.is_changed


def test_nothing_changes_where_nothing_matches() -> None:
    content = stuff_plain(MAIL)
    edited = EditableMessage(content)
    assert replace_text(edited.root, re.compile("absent").search, constant("x")) == 0
    assert replace_body(edited.root, re.compile(rb"absent").search, octets(b"x")) == 0
    assert replace_raw(edited.root, re.compile(rb"absent").search, octets(b"x")) == 0
    assert edited.content() is content


def test_in_texts_only_the_lines_with_matches_are_written_anew() -> None:
    edited = EditableMessage(stuff_plain(MAIL))
    assert replace_text(edited.root, re.compile("hello").search, constant("bye")) == 3
    expected = MAIL.replace(b"gr=FC=DFe: hello=20", b"gr=FC=DFe: bye=20")
    expected = expected.replace(b"hello again=\r\n and more", b"bye again and more")
    expected = expected.replace(b"aGVsbG8gd8O2cmxk", b"YnllIHfDtnJsZA==", 1)  # only that of the text
    assert unstuff(edited.content()) == expected


def test_a_body_is_changed_as_it_stands() -> None:
    edited = EditableMessage(stuff_plain(MAIL))
    first = edited.root.children[0]
    assert replace_body(first, re.compile(rb"=[0-9A-F]{2}").search, octets(b"?")) == 4
    assert b"gr??e: hello?\r\n" in edited.content().wire
    assert replace_body(edited.root, re.compile(rb"--b--").search, octets(b"--b\r\n\r\nnew\r\n--b--")) == 1
    assert edited.root.children[-1].body() == b"new"


def test_raw_is_header_and_body_and_read_anew() -> None:
    edited = EditableMessage(stuff_plain(MAIL))
    assert replace_raw(edited.root, re.compile(rb"(?m)^Subject: ").search, octets(b"X-Old: ")) == 1
    assert edited.header.get("Subject") is None
    assert edited.header.get("X-Old") == "hello"
    part = edited.root.children[0]
    assert replace_raw(part, re.compile(rb"text/plain").search, octets(b"text/enriched")) == 1
    assert part.media_type == "text/enriched"
    assert unstuff(edited.content()) == MAIL.replace(b"Subject: ", b"X-Old: ").replace(
        b"text/plain", b"text/enriched"
    )
    with pytest.raises(EditError):
        replace_raw(part, re.compile(rb"\r\n").search, octets(b"\n"))
    assert part.media_type == "text/enriched"


def test_the_match_tells_the_replacement() -> None:
    part = message("utf-8", "8bit", b"a1 b22")
    assert replace_text(part, re.compile(r"([a-z])(\d+)").search, lambda m: f"{m[2]}{m[1]}") == 2
    assert part.body() == b"1a 22b"
    assert replace_text(part, re.compile(r"\d*").search, constant("-")) == 6
    assert part.body() == re.sub(r"\d*", "-", "1a 22b").encode()
    assert replace_text(part, re.compile(" ").search, constant("\n")) == 1
    assert b"\r\n" in part.body()


@pytest.mark.parametrize(
    ("charset", "encoding", "body", "replacement", "expected"),
    [
        # The part's charset and encoding can hold it.
        ("iso-8859-1", "8bit", b"gr\xfcn X", "ö", b"gr\xfcn \xf6"),
        ("us-ascii", "7bit", b"a X", "b", b"a b"),
        # 7bit gets an encoding that it needs now.
        ("iso-8859-1", "7bit", b"a long enough line of ascii X", "ö", b"a long enough line of ascii =F6"),
        # The charset cannot have it: the text goes to UTF-8.
        ("iso-8859-1", "8bit", b"gr\xfcn X", "→", "grün →".encode()),
        ("us-ascii", "7bit", b"a long enough line of ascii X", "→", b"a long enough line of ascii =E2=86=92"),
        # What cannot be read stays what it is.
        ("utf-8", "8bit", b"gr\xfcn X", "ö", b"gr\xfcn " + "ö".encode()),
        ("us-ascii", "8bit", b"gr\xfcn X", "o", b"gr\xfcn o"),
        ("iso-8859-1", "8bit", b"\x93q\x94\x81 X", "o", b"\x93q\x94\x81 o"),
        ("x-unknown", "8bit", b"gr\xfcn X", "o", "grün o".encode()),
        ("iso-2022-jp", "7bit", "漢字X".encode("iso2022_jp"), "か", "漢字か".encode("iso2022_jp")),
    ],
)
def test_charset_and_encoding_are_kept_or_made_to_fit(
    charset: str, encoding: str, body: bytes, replacement: str, expected: bytes
) -> None:
    part = message(charset, encoding, body)
    text = maybe_text(part)
    assert replace_text(part, re.compile("X").search, constant(replacement)) == 1
    assert part.body() == expected
    again = read_part(part.octets())
    assert maybe_text(again) == (text or "").replace("X", replacement)


def test_bounds_stop_what_grows() -> None:
    part = message("utf-8", "8bit", b"xxxx")
    find = re.compile("x").search
    with pytest.raises(EditError, match="more than 3 matches"):
        replace_text(part, find, constant("y"), Bound(matches=3))
    with pytest.raises(EditError, match="more than 10 octets"):
        replace_text(part, find, constant("yyyy"), Bound(octets=10))
    assert part.body() == b"xxxx"
    assert replace_text(part, find, constant("yyyy"), Bound(matches=4, octets=16)) == 4


def test_half_a_character_is_refused() -> None:
    part = message("utf-8", "8bit", b"x")
    with pytest.raises(EditError):
        replace_text(part, re.compile("x").search, constant("\ud800"))
    assert part.body() == b"x"


texts = st.text(alphabet="abX ü\n.", max_size=200).map(lambda text: text.replace("\n", "\r\n"))


@given(
    texts,
    st.sampled_from(["iso-8859-1", "utf-8", "utf-16", "windows-1252"]),
    st.sampled_from([transfer.BASE64, transfer.QUOTED_PRINTABLE, transfer.EIGHT_BIT]),
    st.sampled_from(["", "new", "ö", "→", "=", " ", "l\r\nm"]),
)
def test_every_match_is_replaced_and_the_rest_is_the_same(
    text: str, charset: str, encoding: str, replacement: str
) -> None:
    said = maybe_encode(text, charset)
    assert said is not None
    if not transfer.can_carry(said, encoding):
        encoding = transfer.BASE64
    part = message(charset, encoding, transfer.encode(said, encoding))
    before = part.octets()
    count = replace_text(part, re.compile("X").search, constant(replacement))
    assert count == text.count("X")
    assert count or part.octets() == before
    again = read_part(part.octets())
    assert maybe_text(again) == text.replace("X", replacement)
    if replacement in ("", "new", "=", " "):
        assert again.charset == charset
        assert again.transfer_encoding == encoding
        if charset != "utf-16":
            assert decoded(again) == said.replace(b"X", replacement.encode())

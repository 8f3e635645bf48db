"""The parts of a message: found as readers find them, malformed ones in one way, at a bounded cost."""

import contextlib

import pytest

from outrider.wire.message.content import decoded, maybe_text, texts
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.limits import MessageLimitError, MessageLimits
from outrider.wire.message.tree import Part, read_part
from outrider.wire.smtp.content import content_of, stuff_plain
from outrider.wire.smtp.scan import scan

NESTED = b"""\
From: a@a.test\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="abc"\r
\r
This is the preamble.\r
--abc\r
Content-Type: multipart/alternative; boundary=abcd\r
\r
--abcd\r
\r
plain text\r
--abcd  \t\r
Content-Type: text/html; charset=iso-8859-1\r
Content-Transfer-Encoding: quoted-printable\r
\r
<p>gr=FCn</p>\r
--abcd--\r
inner epilogue\r
--abc\r
Content-Type: image/png; name="a.png"\r
Content-Transfer-Encoding: base64\r
Content-Disposition: inline\r
\r
iVBORw0K\r
--abc\r
Content-Type: message/rfc822\r
\r
Subject: inner\r
Content-Type: multipart/digest; boundary=dig\r
\r
--dig\r
\r
Subject: first of the digest\r
\r
one\r
--dig\r
Content-Type: text/plain\r
\r
two\r
--dig--\r
\r
--abc--\r
The epilogue.\r
"""


def outline(part: Part) -> list[tuple[int, str]]:
    found = []
    for each in part.walk():
        depth = 0
        above = each.parent
        while above is not None:
            depth += 1
            above = above.parent
        found.append((depth, each.media_type))
    return found


def test_the_tree_of_a_nested_message() -> None:
    root = read_part(NESTED)
    assert outline(root) == [
        (0, "multipart/mixed"),
        (1, "multipart/alternative"),
        (2, "text/plain"),
        (2, "text/html"),
        (1, "image/png"),
        (1, "message/rfc822"),
        (2, "multipart/digest"),
        (3, "message/rfc822"),
        (4, "text/plain"),
        (3, "text/plain"),
    ]
    assert root.preamble == b"This is the preamble.\r\n"
    assert root.epilogue == b"The epilogue.\r\n"
    alternative, image, message = root.children
    assert alternative.epilogue == b"inner epilogue"
    assert texts(root) == ["plain text", "<p>grün</p>", "one", "two"]
    assert decoded(image) == b"\x89PNG\r\n"
    assert (image.filename, image.is_attachment, image.disposition.value) == ("a.png", True, "inline")
    assert maybe_text(image) is None
    (inner,) = message.children
    assert inner.header.get("Subject") == "inner"
    assert inner.children[0].children[0].header.get("Subject") == "first of the digest"
    assert root.octets() == NESTED
    assert not root.is_changed


@pytest.mark.parametrize(
    ("boundary", "body", "bodies"),
    [
        ("b", "--b\n\nA\n--b\nX: y\n\nB\n--b--\n", ["A", "B"]),
        ("b", "pre\n--b\n\nA\n\n--b--\n--b\n\nbehind\n--b--\n", ["A\n"]),
        ("b", "--b\n\nA\n--b--", ["A"]),
        ("b", "--b\n\nA", ["A"]),
        ("b", "--b \t\n\nA\n--b-- \t\n", ["A"]),
        ("b", "--b\n--b--\n", [""]),
        ("b", "--b\n\n\n--b--\n", [""]),
        ("b", "--b\nX: y\n--b--\n", [""]),
        ("b", "--b\n\nA --b\n --b\n--bc\n--b-x\n--b--\n", ["A --b\n --b\n--bc\n--b-x"]),
        ("b", "--b--\n--b\n\nA\n--b--\n", []),
        ("b", "--B\n\nA\n--B--\n", []),
        ("", "--\n\nA\n----\n", []),
        ('"--"', "----\n\nA\n------\n", ["A"]),
        ('"b--"', "--b--\n\nA\n--b----\n", ["A"]),
        ('" a b"', "-- a b\n\nA\n-- a b--\n", ["A"]),
        ('"\'()+_,-./:=?"', "--'()+_,-./:=?\n\nA\n--'()+_,-./:=?--\n", ["A"]),
        ('"a\\\\b\\c"', "--a\\bc\n\nA\n--a\\bc--\n", ["A"]),
        ("x" * 70, f"--{'x' * 70}\n\nA\n--{'x' * 70}--\n", ["A"]),
        ("x" * 71, f"--{'x' * 71}\n\nA\n--{'x' * 71}--\n", ["A"]),
        ("b (; boundary=c)", "--b\n\nA\n--b--\n", ["A"]),
        ("b; boundary*0=c; boundary*1=d", "--cd\n\nA\n--cd--\n", ["A"]),
    ],
)
def test_the_parts_between_the_lines_of_a_boundary(boundary: str, body: str, bodies: list[str]) -> None:
    message = f"Content-Type: multipart/mixed; boundary={boundary}\n\n{body}".replace("\n", "\r\n").encode()
    root = read_part(message)
    assert [part.body().decode().replace("\r\n", "\n") for part in root.children] == bodies
    assert root.octets() == message


@pytest.mark.parametrize(
    ("header", "types"),
    [
        ("message/rfc822", ["message/rfc822", "text/html"]),
        ("MESSAGE/RFC822 (forwarded)\nContent-Transfer-Encoding: 8BIT", ["message/rfc822", "text/html"]),
        ("message/global\nContent-Transfer-Encoding: 8bit", ["message/global", "text/html"]),
        ("message/rfc822\nContent-Transfer-Encoding: base64", ["message/rfc822"]),
        ("message/partial; id=1; number=1", ["message/partial"]),
        ("message/delivery-status", ["message/delivery-status"]),
        ("text / html", ["text/html"]),
        ("text", ["text/plain"]),
        ("text/html\nContent-Type: message/rfc822", ["text/html"]),
        ("", ["text/plain"]),
    ],
)
def test_what_a_type_says_of_what_is_within(header: str, types: list[str]) -> None:
    message = f"Content-Type: {header}\n\nContent-Type: text/html\n\n--b\n\nA\n".replace("\n", "\r\n")
    assert [part.media_type for part in read_part(message.encode()).walk()] == types


@pytest.mark.parametrize(
    ("disposition", "is_attachment", "filename"),
    [
        ("attachment", True, ""),
        ("Attachment; FileName=a.b", True, "a.b"),
        ("inline", False, ""),
        ("INLINE (shown)", False, ""),
        ('inline; filename="a b"', True, "a b"),
        ("signal; mode=unknown", True, ""),
        ("form-data; name=x", True, ""),
        ("; filename*=utf-8''%E2%82%AC", True, "€"),
        ("", False, ""),
    ],
)
def test_a_disposition_that_nobody_knows_is_an_attachment(
    disposition: str, is_attachment: bool, filename: str
) -> None:
    """RFC 2183 §2.8."""
    part = read_part(f"Content-Disposition: {disposition}\r\n\r\nx".encode())
    assert (part.is_attachment, part.filename) == (is_attachment, filename)


@pytest.mark.parametrize(
    ("encoding", "octets"),
    [
        ("base64", b"A"),
        ("(c) BASE64 (d)", b"A"),
        (" base64 ;", b"A"),
        ("Quoted-Printable", b"QQ="),
        ("7bit", b"QQ=="),
        ("x-unknown", b"QQ=="),
        ('"base64"', b"QQ=="),
    ],
)
def test_the_name_of_a_transfer_encoding_is_read(encoding: str, octets: bytes) -> None:
    part = read_part(f"Content-Transfer-Encoding: {encoding}\r\n\r\nQQ==".encode())
    assert decoded(part) == octets


def test_the_order_of_the_message_is_followed_from_part_to_part() -> None:
    root = read_part(NESTED)
    found = []
    part: Part | None = root
    while part is not None:
        found.append(part)
        part = part.following
    assert found == list(root.walk())
    children = root.children
    assert children[1].previous is children[0]
    assert children[1].next is children[2]
    assert root.first_child is children[0]
    assert root.last_child is children[2]
    assert children[0].parent is root


def multipart(body: bytes, boundary: bytes = b"b") -> Part:
    return read_part(b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n%s" % (boundary, body))


def bodies(part: Part) -> list[bytes]:
    return [child.body() for child in part.children]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"one", b"two"]),
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo", [b"one", b"two"]),  # no end boundary
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n", [b"one", b"two\r\n"]),
        (b"--b\r\n\r\none\r\n--b--", [b"one"]),
        (b"--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\nnot any more\r\n", [b"one"]),
        (b"--b\r\n\r\none\r\n--bb\r\n\r\nstill one\r\n--b--\r\n", [b"one\r\n--bb\r\n\r\nstill one"]),
        (b"--b\r\n\r\none\r\n--b-\r\n--b--x\r\n --b\r\n--b--\r\n", [b"one\r\n--b-\r\n--b--x\r\n --b"]),
        (b"--b\r\n--b\r\n--b--\r\n", [b"", b""]),  # each line end shared
        (b"--b\r\n\r\n--b\r\n\r\n\r\n--b--\r\n", [b"", b""]),
        (b"--b--\r\n", []),
        (b"--b", [b""]),
        (b"--b\r\n", [b""]),
        (b"", []),
        (b"no boundary here\r\n", []),
        (b"--b\r\nno header\r\n\r\nat all\r\n--b--\r\n", [b"no header\r\n\r\nat all"]),
        (b"--b\r\nOnly: a header\r\n--b--\r\n", [b""]),
        (b"--b \t\r\n\r\none\r\n--b-- \r\n", [b"one"]),
    ],
)
def test_malformed_multiparts_have_one_reading(body: bytes, expected: list[bytes]) -> None:
    root = multipart(body)
    assert bodies(root) == expected
    assert root.octets().endswith(body)
    if not expected and b"--b--" not in body:
        assert root.preamble == body


def test_a_boundary_that_begins_another_one() -> None:
    inner = (
        b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\none\r\n--bb\r\n\r\ntwo\r\n--bb--\r\n"
    )
    root = multipart(b"--b\r\n" + inner + b"\r\n--b\r\n\r\nthree\r\n--b--\r\n")
    assert bodies(root.children[0]) == [b"one", b"two"]
    assert root.children[1].body() == b"three"


def test_an_outer_boundary_ends_an_inner_multipart() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\none\r\n"
    root = multipart(b"--b\r\n" + inner + b"--b\r\n\r\ntwo\r\n--b--\r\n")
    assert bodies(root.children[0]) == [b"one"]
    assert root.children[1].body() == b"two"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"multipart/mixed", "multipart/mixed"),
        (b'multipart/mixed; boundary=""', "multipart/mixed"),
        (b"text", "text/plain"),
        (b"", "text/plain"),
        (b"/", "text/plain"),
        (b"text/", "text/plain"),
        (b"TEXT/html;;", "text/html"),
    ],
)
def test_types_that_cannot_be_read(value: bytes, expected: str) -> None:
    root = read_part(b"Content-Type: %s\r\n\r\nbody\r\n" % value)
    assert root.media_type == expected
    assert root.children == []
    assert root.preamble == b"body\r\n" or not root.is_multipart


def test_of_two_types_the_first_counts() -> None:
    root = read_part(b"Content-Type: text/html\r\nContent-Type: text/plain\r\n\r\nx")
    assert root.media_type == "text/html"


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable"])
def test_a_message_that_is_wrongly_encoded_is_a_leaf_and_decoded(encoding: bytes) -> None:
    root = read_part(
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: %s\r\n\r\nQTog\r\n" % encoding
    )
    assert not root.is_container
    assert root.children == []
    assert decoded(root) == (b"A: " if encoding == b"base64" else b"QTog\r\n")


@pytest.mark.parametrize(
    ("octets", "body"),
    [
        (b"A: 1\r\n\r\nbody", b"body"),
        (b"A: 1\r\n", b""),
        (b"A: 1", b""),
        (b"\r\nbody", b"body"),
        (b"\r\n", b""),
        (b"", b""),
        (b"no field\r\n\r\nbody", b"body"),  # the whole message: its header ends where the content says
    ],
)
def test_where_the_body_begins(octets: bytes, body: bytes) -> None:
    root = read_part(octets)
    assert root.body() == body
    assert root.octets() == octets


def test_ten_thousand_parts_are_read_walked_and_written() -> None:
    parts = b"".join(b"--b\r\nX-N: %d\r\n\r\npart %d\r\n" % (number, number) for number in range(10_000))
    root = multipart(parts + b"--b--\r\n")
    assert [part.body() for part in root.children][9_999] == b"part 9999"
    part: Part | None = root
    count = 0
    while part is not None:
        count += 1
        part = part.following
    assert count == 10_001
    children = root.children
    for number, child in enumerate(children):
        if number % 2:
            child.unlink()
        else:
            child.header.append("X-Seen", "yes")
    again = read_part(root.octets())
    assert [child.header.get("X-N") for child in again.children] == [
        str(number) for number in range(0, 10_000, 2)
    ]
    assert all(child.header.get("X-Seen") == "yes" for child in again.children)


def deep(levels: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(levels)
    )
    return head + b"\r\nleaf\r\n" + b"".join(b"--b%d--\r\n" % level for level in reversed(range(levels)))


def test_levels_up_to_the_limit_are_read_and_no_more() -> None:
    limits = MessageLimits(depth=100)
    root = read_part(deep(99), limits=limits)
    leaf = list(root.walk())[-1]
    assert leaf.body() == b"leaf"
    leaf.header.append("X", "1")
    assert list(read_part(root.octets(), limits=limits).walk())[-1].header.get("X") == "1"
    too_deep = read_part(deep(100), limits=limits)
    with pytest.raises(MessageLimitError) as caught:
        list(too_deep.walk())
    assert caught.value.limit == "depth"
    assert too_deep.octets() == deep(100)


def test_messages_in_messages_count_as_levels() -> None:
    octets = b"Content-Type: message/rfc822\r\n\r\n" * 5_000 + b"end"
    with pytest.raises(MessageLimitError):
        list(read_part(octets).walk())


def test_more_parts_than_the_limit_are_refused_and_nothing_is_changed() -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n\r\n" * 10 + b"--b--\r\n"
    assert len(read_part(octets, limits=MessageLimits(parts=11)).children) == 10
    root = read_part(octets, limits=MessageLimits(parts=10))
    for _ in range(2):
        with pytest.raises(MessageLimitError) as caught:
            _ = root.children
        assert caught.value.limit == "parts"
    assert root.octets() == octets
    assert root.header.get("Content-Type") == "multipart/mixed; boundary=b"


@pytest.mark.parametrize(
    "piece",
    [b"--b\r\n", b"\r\n--bx", b"--b" + b" " * 500, b"--b--x\r\n", b"--b\r\n\r\n", b"--b\r\nA\r\n", b"\r\n"],
)
def test_a_hostile_body_costs_what_it_is_long(piece: bytes) -> None:
    root = multipart(piece * (4 << 20 // len(piece)), b"b")
    with contextlib.suppress(MessageLimitError):
        for part in root.walk():
            _ = part.media_type


def test_a_message_is_read_from_its_wire_form() -> None:
    plain = NESTED.replace(b"plain text", b".plain\r\n..text")
    content = stuff_plain(plain)
    message = EditableMessage(content)
    assert message.raw() == plain
    assert texts(message.root)[0] == ".plain\r\n..text"
    assert message.content() is content
    assert next(message.walk()).media_type == "multipart/mixed"


@pytest.mark.parametrize(
    "wire", [b"\r\n", b"A: 1\r\n", b"\r\nbody\r\n", b"..dot: 1\r\n\r\n..\r\n", b"no header\r\n"]
)
def test_the_smallest_messages(wire: bytes) -> None:
    content = content_of(wire, scan(wire, True, True)[1])
    message = EditableMessage(content)
    assert message.content() is content
    message.header.append("X", "1")
    made = message.content()
    assert made.wire.endswith(b"\r\n")
    again = EditableMessage(made)
    assert again.header.get("X") == "1"
    assert again.body() == EditableMessage(content).body()

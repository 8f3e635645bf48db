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

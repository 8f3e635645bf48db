"""Whatever is edited: what comes out is wire form and reads as was set, and the rest is as it was."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.model.flow import Content, Traits
from outrider.wire.headers import FieldError
from outrider.wire.message.content import decoded, maybe_text, set_decoded, set_text, texts
from outrider.wire.message.delimiters import choose_boundary, holds_delimiter
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.limits import EditError, MessageLimitError, MessageLimits
from outrider.wire.message.makers import make_binary, make_message, make_multipart, make_text
from outrider.wire.message.parameters import Parametered
from outrider.wire.message.tree import Part, read_part
from outrider.wire.smtp.content import content_of, stuff_plain, unstuff
from outrider.wire.smtp.scan import NUL, STRAY, scan

SIMPLE = b"From: a@a.test\r\nSubject: s\r\n\r\nHello\r\n.dot\r\n"
MIXED = (
    b"From: a@a.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n"
    b"--b \t\r\nContent-Type: text/plain\r\n\r\none\r\n"
    b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBO\r\nRw0K\r\n"
    b"--b--  \r\nepilogue\r\n"
)


def message(plain: bytes, *, utf8: bool = False) -> EditableMessage:
    return EditableMessage(stuff_plain(plain), utf8=utf8)


def check_wire(content: Content) -> None:
    """What every content is."""
    wire = content.wire
    assert wire.endswith(b"\r\n")
    _, found = scan(wire, True, True)
    assert not found & (STRAY | NUL)
    assert content == content_of(wire, found)
    assert stuff_plain(unstuff(content)).wire == wire


def outline(part: Part) -> list[object]:
    """All that can be seen of a part and those below it, but for the names of boundaries."""
    header = part.header
    fields = [
        (name.lower(), value)
        for name, value in zip(header.names(), [header.raw_at(at) for at in range(len(header))], strict=True)
        if name.lower() != "content-type" or not part.is_multipart
    ]
    children = [outline(child) for child in part.children]
    return [fields, part.media_type, children if children or part.is_multipart else part.body()]


def test_a_message_that_was_only_read_is_the_very_content() -> None:
    content = stuff_plain(MIXED)
    read = EditableMessage(content)
    assert read.content() is content
    assert read.header.get("From") == "a@a.test"
    assert texts(read.root) == ["one"]
    assert read.raw() == MIXED
    assert read.body().startswith(b"preamble")
    assert read.content() is content
    assert not read.is_changed
    read.header.append("X", "1")
    read.header.delete("X")
    assert read.content() is content


def test_a_changed_header_leaves_the_body_alone() -> None:
    for plain in (SIMPLE, MIXED, b"A: 1\r\n", b"\r\nbody\r\n"):
        edited = message(plain)
        edited.header.append("X-A", "1")
        made = edited.content()
        check_wire(made)
        head, _, body = plain.partition(b"\r\n\r\n") if plain[:2] != b"\r\n" else (b"", b"", plain[2:])
        start = head.removesuffix(b"\r\n") + b"\r\n" if head else b""
        assert unstuff(made) == start + b"X-A: 1\r\n\r\n" + body
        assert made.header_octets == len(start) + len(b"X-A: 1\r\n")


@pytest.mark.parametrize(
    "body", [b"plain\r\n", "grün\r\n".encode(), b"..\r\n.x\r\n", b"l" * 1000 + b"\r\n", b""]
)
@pytest.mark.parametrize("start", [b"A: 1", "A: ü".encode(), b"A: " + b"v" * 1000, b"A: 1\r\n.B: 2"])
def test_traits_follow_the_header(start: bytes, body: bytes) -> None:
    edited = message(start + b"\r\n\r\n" + body)
    edited.header.delete("A")
    check_wire(edited.content())
    edited.header.prepend("B", "x")
    check_wire(edited.content())
    utf8 = message(start + b"\r\n\r\n" + body, utf8=True)
    utf8.header.set("A", "ä")
    check_wire(utf8.content())
    assert utf8.content().traits & Traits.HEADER_UTF8


def test_one_part_is_written_anew_and_nothing_else() -> None:
    edited = message(MIXED)
    set_text(edited.root.children[0], "two\nthree")
    made = edited.content()
    check_wire(made)
    assert unstuff(made) == MIXED.replace(
        b"Content-Type: text/plain\r\n\r\none\r\n",
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\ntwo\r\nthree\r\n",
    )


def test_parts_are_added_moved_and_taken_out() -> None:
    edited = message(MIXED)
    root = edited.root
    first, image = root.children
    assert root.add_last(make_text("last"))
    assert root.add_first(make_text("first"))
    assert make_text("middle").insert_after(first)
    assert image.insert_before(first)
    assert [part.body() for part in root.children] == [b"first", b"iVBO\r\nRw0K", b"one", b"middle", b"last"]
    check_wire(edited.content())
    again = EditableMessage(edited.content()).root
    assert outline(again) == outline(root)
    assert again.preamble == b"preamble\r\n"
    assert again.epilogue == b"epilogue\r\n"
    image.unlink()
    assert image.parent is None
    assert first.replace_with(make_binary(b"\0", "application/x"))
    assert [part.media_type for part in EditableMessage(edited.content()).root.children] == [
        "text/plain",
        "application/x",
        "text/plain",
        "text/plain",
    ]
    for part in root.children:
        part.unlink()
    assert EditableMessage(edited.content()).root.children == []
    assert root.add_last(image)
    assert EditableMessage(edited.content()).root.children[0].octets() == image.octets()


def test_only_a_multipart_takes_parts() -> None:
    leaf = read_part(SIMPLE)
    assert not leaf.add_last(make_text("x"))
    assert not leaf.add_first(make_text("x"))
    assert not make_text("x").insert_after(leaf)
    assert not make_text("x").insert_before(leaf)
    assert not leaf.replace_with(make_text("x"))
    whole = make_message(SIMPLE)
    assert not make_text("x").insert_after(whole.children[0])
    assert leaf.octets() == SIMPLE


def test_a_part_goes_into_no_part_of_its_own() -> None:
    inner = make_multipart("mixed", [make_text("x")])
    outer = make_multipart("mixed", [inner])
    with pytest.raises(EditError):
        inner.add_last(outer)
    with pytest.raises(EditError):
        outer.add_last(outer)
    assert outline(read_part(outer.octets())) == outline(outer)


def test_a_part_can_be_put_where_it_already_is() -> None:
    root = read_part(MIXED)
    first, image = root.children
    assert root.add_last(image)
    assert root.add_first(first)
    assert image.insert_after(first)
    assert not image.insert_after(image)
    assert [child.media_type for child in root.children] == ["text/plain", "image/png"]
    assert outline(read_part(root.octets())) == outline(root)


def test_a_part_moves_from_message_to_message_as_it_is() -> None:
    one, two = read_part(MIXED), read_part(MIXED.replace(b"=b\r", b"=c\r").replace(b"--b", b"--c"))
    image = one.children[1]
    octets = image.octets()
    assert two.add_first(image)
    assert len(one.children) == 1
    assert read_part(two.octets()).children[0].octets() == octets


def test_a_message_that_was_taken_out_leaves_an_empty_body() -> None:
    whole = make_message(SIMPLE)
    whole.children[0].unlink()
    assert whole.body() == b""


@pytest.mark.parametrize("bad", [b"a\nb", b"a\rb", b"a\0b", b"\n", b"a\r"])
def test_no_octets_break_a_line(bad: bytes) -> None:
    edited = message(SIMPLE)
    for change in (edited.set_body, edited.set_raw, edited.root.set_octets, make_message):
        with pytest.raises(EditError):
            change(bad)
    assert unstuff(edited.content()) == SIMPLE


def test_a_boundary_that_stands_in_what_was_added_is_replaced() -> None:
    for text in ("x\n--b\ny", "--b--", "--b \t\n", "x\n--b"):
        edited = message(MIXED)
        set_text(edited.root.children[0], text)
        again = EditableMessage(edited.content()).root
        assert again.content_type.get("boundary") != "b"
        assert maybe_text(again.children[0]) == text.replace("\n", "\r\n")
        assert len(again.children) == 2
        assert again.children[1].octets() == edited.root.children[1].octets()
        assert again.preamble == b"preamble\r\n"
        assert again.epilogue == b"epilogue\r\n"
    edited = message(MIXED)
    set_text(edited.root.children[0], "--bb\n-b\n --b\nx --b")
    assert EditableMessage(edited.content()).root.content_type.get("boundary") == "b"


def test_a_boundary_that_stands_in_a_part_that_was_moved_is_replaced() -> None:
    root = read_part(MIXED)
    assert root.add_last(read_part(b"Content-Type: text/plain\r\n\r\nx\r\n--b\r\ny"))
    again = read_part(root.octets())
    assert [child.body() for child in again.children] == [b"one", b"iVBO\r\nRw0K", b"x\r\n--b\r\ny"]


def test_empty_parts_that_share_a_line_end_stay_as_they_are() -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n\r\none\r\n--b\r\n--b--\r\n"
    root = read_part(octets)
    root.children[1].set_body(b"two")
    assert root.octets() == octets.replace(b"one", b"two")
    root.children[0].set_body(b"first")
    assert [child.body() for child in read_part(root.octets()).children] == [b"first", b"two", b""]


def test_a_boundary_at_the_very_end_gets_a_line_of_its_own() -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b"
    root = read_part(octets)
    root.children[0].set_body(b"two")
    assert root.octets() == octets.replace(b"one", b"two")
    root.children[1].header.append("X", "1")
    assert read_part(root.octets()).children[1].header.get("X") == "1"
    other = read_part(octets)
    assert other.add_last(make_text("three"))
    assert [child.body() for child in read_part(other.octets()).children] == [b"one", b"", b"three"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (b"multipart/:; boundary=b", "multipart/mixed"),
        (b"multipart/" + b"x" * 2000 + b"; boundary=b", "multipart/mixed"),
        (b"multipart/related; " + b"n" * 2000 + b"=v; boundary=b", "multipart/related"),
        (b"multipart/related; n*0=v; \x01=v; n=\x01; boundary=b", "multipart/related"),
        (b"multipart/related; boundary=" + b"b" * 80, "multipart/related"),
        (b"multipart/related", "multipart/related"),
    ],
)
def test_a_type_that_cannot_be_written_again_is_no_fault_of_who_edits(kind: bytes, expected: str) -> None:
    boundary = kind.rpartition(b"boundary=")[2]
    root = read_part(b"Content-Type: %s\r\n\r\n--%s\r\n\r\none\r\n" % (kind, boundary))
    text = f"--{boundary.decode()}"
    if root.children:
        set_text(root.children[0], text)
    else:
        root.add_last(make_text(text))
    again = read_part(root.octets())
    assert again.media_type == expected
    assert [maybe_text(child) for child in again.children] == [text]
    if expected == "multipart/related":
        root.set_content_type(Parametered("multipart/alternative"))
        assert [maybe_text(child) for child in read_part(root.octets()).children] == [text]


def test_a_text_whose_type_cannot_be_written_again_gets_another() -> None:
    for kind in (b"text/:", b"text/plain; n=\x01; x=y"):
        part = read_part(b"Content-Type: %s\r\n\r\nold" % kind)
        set_text(part, "new")
        assert read_part(part.octets()).media_type == "text/plain"
        assert maybe_text(read_part(part.octets())) == "new"


def test_another_boundary_is_written_to_all_its_lines() -> None:
    edited = message(MIXED)
    edited.root.set_content_type(edited.root.content_type.with_parameter("boundary", "other one"))
    made = edited.content()
    check_wire(made)
    again = EditableMessage(made).root
    assert [child.octets() for child in again.children] == [child.octets() for child in edited.root.children]
    assert again.epilogue == b"epilogue\r\n"
    assert b"--b" not in made.wire


def test_a_body_and_its_type_may_be_set_in_either_order() -> None:
    body = b"--x\r\n\r\none\r\n--x\r\n\r\ntwo\r\n--x--\r\n"
    for order in (0, 1):
        edited = message(SIMPLE)
        if order:
            edited.set_body(body)
        edited.header.set("Content-Type", "multipart/mixed; boundary=x")
        if not order:
            edited.set_body(body)
        assert [child.body() for child in edited.root.children] == [b"one", b"two"]
        assert edited.body() == body
        again = EditableMessage(edited.content()).root
        assert [child.body() for child in again.children] == [b"one", b"two"]


def test_a_boundary_that_is_written_into_the_header_alone_is_taken_at_its_word() -> None:
    for is_read_before in (False, True):
        edited = message(MIXED)
        if is_read_before:
            old = edited.root.children[0]
            old.set_body(b"one")
        edited.header.set("Content-Type", "multipart/mixed; boundary=c")
        assert edited.root.children == []
        assert edited.body() == MIXED.partition(b"\r\n\r\n")[2]
        edited.header.set("Content-Type", "multipart/related; boundary=b")
        assert [child.body() for child in edited.root.children] == [b"one", b"iVBO\r\nRw0K"]
        assert outline(EditableMessage(edited.content()).root) == outline(edited.root)


def test_a_multipart_of_another_kind_keeps_its_parts() -> None:
    root = read_part(MIXED)
    children = root.children
    root.set_content_type(Parametered("multipart/related", (("type", "text/plain"),)))
    assert root.children == children
    assert b'multipart/related; type="text/plain"; boundary=b\r\n' in root.octets()
    digest = read_part(
        b"Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nA: 1\r\n\r\nx\r\n--d--\r\n"
    )
    assert digest.children[0].media_type == "message/rfc822"
    digest.set_content_type(Parametered("multipart/mixed"))
    assert digest.children[0].media_type == "message/rfc822"
    assert outline(read_part(digest.octets())) == outline(digest)


def test_a_multipart_that_becomes_a_text_keeps_its_octets() -> None:
    edited = message(MIXED)
    assert len(edited.root.children) == 2
    body = edited.body()
    edited.header.set("Content-Type", "text/plain")
    assert edited.body() == body
    check_wire(edited.content())


def test_a_multipart_without_a_boundary_gets_one_with_its_first_part() -> None:
    root = read_part(b"Content-Type: multipart/mixed\r\n\r\nonly text")
    assert root.add_last(make_text("one"))
    again = read_part(root.octets())
    assert again.content_type.get("boundary")
    assert [child.body() for child in again.children] == [b"one"]
    assert again.preamble == b"only text\r\n"


def test_a_multipart_without_an_end_stays_so_unless_its_parts_are_others() -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n"
    root = read_part(octets)
    root.children[0].set_body(b"1")
    assert root.octets() == octets.replace(b"one", b"1")
    root.children[1].set_body(b"2")
    assert root.octets() == octets.replace(b"one", b"1").replace(b"two\r\n", b"2")
    root.add_last(make_text("3"))
    assert [child.body() for child in read_part(root.octets()).children] == [b"1", b"2", b"3"]
    assert root.octets().endswith(b"--b--")


def test_a_digest_keeps_what_its_parts_are() -> None:
    octets = (
        b"Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: x\r\n\r\nbody\r\n--d--\r\n"
    )
    digest, mixed = read_part(octets), read_part(MIXED)
    first = digest.children[0]
    assert first.media_type == "message/rfc822"
    assert digest.add_last(make_text("text"))
    plain = read_part(b"\r\nno type")
    assert digest.add_last(plain)
    assert mixed.add_last(first)
    assert [child.media_type for child in read_part(digest.octets()).children] == ["text/plain", "text/plain"]
    again = read_part(mixed.octets()).children[2]
    assert again.media_type == "message/rfc822"
    assert again.children[0].header.get("Subject") == "x"


@pytest.mark.parametrize(
    ("text", "charset", "encoding", "expected"),
    [
        ("ascii", "", "", b"Content-Type: text/plain; charset=us-ascii\r\n\r\nascii"),
        ("ascii", "utf-8", "", b"Content-Type: text/plain; charset=utf-8\r\n\r\nascii"),
        ("mostly ascii, ü", "iso-8859-1", "quoted-printable", b"mostly ascii, =FC"),
        ("grün", "", "base64", b"Z3LDvG4="),
        ("grün", "utf-8", "8bit", "8bit\r\n\r\ngrün".encode()),
        ("l" * 999, "", "", b"quoted-printable\r\n\r\n" + b"l" * 75 + b"=\r\n"),
        ("nul \0", "", "quoted-printable", b"nul =00"),
    ],
)
def test_texts_are_made(text: str, charset: str, encoding: str, expected: bytes) -> None:
    part = make_text(text, charset=charset, encoding=encoding)
    assert expected in part.octets()
    assert maybe_text(read_part(part.octets())) == text


@pytest.mark.parametrize(
    ("text", "charset", "encoding"),
    [
        ("€", "iso-8859-1", ""),
        ("x", "x-none", ""),
        ("\ud800", "", ""),
        ("\ud800", "utf-8", ""),
        ("ü", "", "7bit"),
        ("l" * 999, "", "8bit"),
        ("\0", "", "7bit"),
        ("x", "", "x-uuencode"),
    ],
)
def test_texts_that_cannot_be_written_are_refused_and_change_nothing(
    text: str, charset: str, encoding: str
) -> None:
    edited = message(MIXED)
    with pytest.raises(EditError):
        set_text(edited.root.children[0], text, charset=charset, encoding=encoding)
    assert unstuff(edited.content()) == MIXED
    with pytest.raises(FieldError):
        set_text(edited.root, "x", media_type="image/png")


def test_a_text_keeps_charset_encoding_and_parameters_while_they_can_hold_it() -> None:
    octets = (
        b"Content-Type: text/plain; charset=iso-8859-1; format=flowed\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=FCn\r\n"
    )
    part = read_part(octets)
    set_text(part, "über\n")
    assert part.octets() == octets.replace(b"gr=FCn", b"=FCber").replace(b"Content-Type", b"Content-Type")
    set_text(part, "5 €\n")
    assert part.charset == "utf-8"
    assert part.content_type.get("format") == "flowed"
    assert part.octets().endswith(b"5 =E2=82=AC\r\n")
    set_text(part, "<b>", media_type="text/html")
    assert part.content_type == Parametered("text/html", (("charset", "utf-8"),))


def test_eight_bits_are_told_by_those_around_them() -> None:
    root = make_multipart("mixed", [make_multipart("mixed", [make_text("x")])])
    set_text(root.children[0].children[0], "ü", encoding="8bit")
    assert root.transfer_encoding == root.children[0].transfer_encoding == "8bit"


def test_a_whole_message_says_its_mime_version() -> None:
    edited = message(SIMPLE)
    set_text(edited.root, "ü")
    assert edited.header.get("MIME-Version") == "1.0"
    assert b"MIME-Version" not in make_text("x").octets()
    assert b"MIME-Version" not in make_binary(b"x", filename="a").octets()


def test_octets_are_made_with_names_and_read_again() -> None:
    part = make_binary(bytes(range(256)), "application/pdf; x=y", filename="ünï.pdf", content_id="c@id.test")
    again = read_part(part.octets())
    assert decoded(again) == bytes(range(256))
    assert (again.filename, again.is_attachment, again.media_type) == ("ünï.pdf", True, "application/pdf")
    assert again.content_type.get("x") == "y"
    assert again.header.get("Content-ID") == "<c@id.test>"
    assert make_binary(b"x", disposition="inline").disposition.value == "inline"
    set_decoded(part, b"plain", encoding="7bit")
    assert part.body() == b"plain"
    set_decoded(part, b"\xff")
    assert (part.transfer_encoding, part.body()) == ("base64", b"/w==")
    for bad in ("multipart/mixed", "nonsense type"):
        with pytest.raises((EditError, FieldError)):
            make_binary(b"x", bad)
    with pytest.raises(EditError):
        make_binary(b"\xff", encoding="7bit")


def test_messages_are_made_as_they_are() -> None:
    part = make_message(MIXED, filename="m.eml")
    assert part.children[0].octets() == MIXED
    assert (part.media_type, part.filename) == ("message/rfc822", "m.eml")
    assert make_message("Subject: ü\r\n\r\nx".encode()).media_type == "message/global"
    latin = make_message("Subject: ü\r\n\r\nx".encode("latin-1"))
    assert (latin.media_type, latin.transfer_encoding) == ("message/rfc822", "8bit")
    assert make_message("Subject: x\r\n\r\nü".encode()).transfer_encoding == "8bit"
    with pytest.raises(EditError):
        make_message(b"x" * 999)


@pytest.mark.parametrize("boundary", ["x" * 62, "x" * 70, "'()+_,-./:=? " * 5 + "x", "=?a?=", "'" * 70])
def test_a_boundary_is_written_in_one_piece(boundary: str) -> None:
    """Many readers know neither sections nor percent signs (RFC 2231) in a boundary."""
    part = make_multipart("mixed", [make_text("a")], boundary=boundary)
    part.set_content_type(Parametered("multipart/related"))
    octets = part.octets()
    assert b'boundary="%s"' % boundary.encode() in octets or b"boundary=%s\r\n" % boundary.encode() in octets
    assert len(read_part(octets).children) == 1


@pytest.mark.parametrize("bad", [" ", "a ", "a\r\n", "ü", "a" * 71, '"'])
def test_boundaries_are_checked(bad: str) -> None:
    with pytest.raises(FieldError):
        make_multipart("mixed", boundary=bad)


def test_a_chosen_boundary_is_nowhere() -> None:
    pieces = [b"a", b"b"]
    boundary = choose_boundary(pieces)
    assert choose_boundary(pieces) == boundary
    other = choose_boundary([*pieces, b"--" + boundary.encode()])
    assert other != boundary
    assert len(boundary) <= 70
    assert not holds_delimiter(b"x--b\r\n", b"b")
    assert holds_delimiter(b"--b", b"b")
    assert make_multipart("mixed", [make_text("--=b")], boundary="=b").octets().count(b"--=b") == 1


def test_limits_hold_for_what_is_added() -> None:
    limits = MessageLimits(depth=3, parts=4)
    root = read_part(MIXED, limits=limits)
    assert len(root.children) == 2
    assert root.add_last(make_multipart("mixed"))
    with pytest.raises(MessageLimitError) as caught:
        root.add_last(make_text("x"))
    assert caught.value.limit == "parts"
    root.children[0].unlink()
    with pytest.raises(MessageLimitError) as caught:
        root.children[1].add_last(make_multipart("mixed", [make_text("deep")]))
    assert caught.value.limit == "depth"
    assert root.children[1].add_last(make_text("x"))
    assert outline(read_part(root.octets())) == outline(root)


def test_another_message_altogether() -> None:
    edited = message(MIXED)
    old = edited.root.children[0]
    edited.set_raw(SIMPLE)
    assert edited.raw() == SIMPLE
    assert edited.header.get("Subject") == "s"
    assert old.parent is None
    edited.set_raw(MIXED)
    assert edited.content() == stuff_plain(MIXED)
    edited.set_raw(b"A: 1")
    assert edited.content() == stuff_plain(b"A: 1\r\n")
    edited.set_raw(b"")
    check_wire(edited.content())


# Trees that look like mail, with all that is odd about it, and edits without end.

leaf_texts = st.sampled_from(
    ["", "one", "line\r\nline\r\n", ".dot\r\n..\r\n", "ü", "--b", "\r\n--i\r\n", "x" * 1000]
)
fields = st.sampled_from(
    ["", "X: 1\r\n", "X: 1\r\n fold\r\nY:\r\n", "garbage\r\nX: 2\r\n", "From: a@a.test\r\n"]
)


@st.composite
def leaves(draw: st.DrawFn) -> bytes:
    head = draw(
        st.sampled_from(["", "Content-Type: text/plain\r\n", "content-type: TEXT/html; charset=utf-8\r\n"])
    )
    head += draw(st.sampled_from(["", "", "Content-Transfer-Encoding: 8bit\r\n"])) + draw(fields)
    return (
        head.encode() + b"\r\n" + draw(st.sampled_from([b"", b"one", b".x\r\n", b"a\r\n\r\nb", "ü".encode()]))
    )


@st.composite
def multiparts(draw: st.DrawFn, parts: st.SearchStrategy[bytes]) -> bytes:
    boundary = draw(st.sampled_from(["b", "bb", "i", "a b"]))
    line = f"--{boundary}".encode()
    pad = draw(st.sampled_from([b"", b" \t"]))
    kind = draw(st.sampled_from(["mixed", "alternative", "digest"]))
    out = [
        f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n'.encode()
        + draw(fields).encode()
        + b"\r\n"
    ]
    out.append(draw(st.sampled_from([b"", b"preamble\r\n", b"\r\n"])))
    for part in draw(st.lists(parts, max_size=3)):
        out += (line, pad, b"\r\n", part, b"\r\n")
    out.append(
        draw(
            st.sampled_from(
                [b"", line + b"--", line + b"--\r\n", line + b"-- \r\nepilogue\r\n", line + b"\r\n"]
            )
        )
    )
    return b"".join(out)


def containers(parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return multiparts(parts) | parts.map(lambda part: b"Content-Type: message/rfc822\r\n\r\n" + part)


mails = st.recursive(leaves(), containers, max_leaves=6)


def pick(root: Part, number: int) -> Part:
    parts = list(root.walk())
    return parts[number % len(parts)]


def put_anew(part: Part, text: str) -> None:
    part.set_octets(b"Content-Type: text/plain\r\n\r\n" + text.encode())


def name_other_boundary(part: Part, _: str) -> None:
    if part.is_multipart:
        part.set_content_type(part.content_type.with_parameter("boundary", "other"))


EDITS: dict[str, Callable[[Part, str], object]] = {
    "header": lambda part, text: part.header.set("X", "new " + text.partition("\r")[0]),
    "delete": lambda part, _: part.header.delete("x"),
    "retype": lambda part, _: part.header.set("Content-Type", 'multipart/mixed; boundary="i"'),
    "untype": lambda part, _: part.header.delete("Content-Type"),
    "boundary": name_other_boundary,
    "text": set_text,
    "body": lambda part, text: part.set_body(text.encode()),
    "octets": put_anew,
    "unlink": lambda part, _: part.unlink(),
    "first": lambda part, text: part.add_first(make_text(text)),
    "last": lambda part, text: part.add_last(
        make_multipart("mixed", [make_text(text), make_message(SIMPLE)])
    ),
    "before": lambda part, text: make_text(text).insert_before(part),
    "after": lambda part, text: make_text(text).insert_after(part),
}
edits = st.lists(
    st.tuples(st.sampled_from([*EDITS, "move"]), st.integers(0, 9), st.integers(0, 9), leaf_texts), max_size=5
)


@settings(max_examples=400)
@given(mails, edits)
def test_whatever_is_edited(plain: bytes, done: list[tuple[str, int, int, str]]) -> None:
    original = stuff_plain(plain)
    edited = EditableMessage(original)
    assert outline(edited.root) == outline(read_part(unstuff(original)))
    assert edited.content() is original
    for kind, one, two, text in done:
        part = pick(edited.root, one)
        if kind == "move":
            with contextlib.suppress(EditError):  # into itself
                part.insert_after(pick(edited.root, two))
        else:
            EDITS[kind](part, text)
        check_wire(edited.content())
    root = edited.root
    octets = root.octets()
    assert unstuff(edited.content()) == (octets if octets.endswith(b"\r\n") else octets + b"\r\n")
    again = read_part(octets)
    assert outline(again) == outline(root)
    pairs = zip(root.walk(), again.walk(), strict=True)
    assert all(new.octets() == old.octets() for old, new in pairs if not old.is_changed)

"""Header sections: fields are found as they were written, nothing else is changed, nothing is smuggled in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.errors import LocalProtocolError
from outrider.wire.headers import FieldError
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.header import Header
from outrider.wire.message.limits import MessageLimitError, MessageLimits
from outrider.wire.message.parameters import parse_parametered
from outrider.wire.smtp.content import stuff_plain

SECTION = (
    b"Received: from a.test\r\n\tby b.test;\r\n Mon, 1 Jan 2026 00:00:00 +0000\r\n"
    b"From: =?utf-8?q?J=C3=B6rg?= <joerg@a.test>\r\n"
    b"SUBJECT : one\r\n"
    b"Subject:two\r\n"
    b"this line is no field\r\n"
    b"X-Empty:\r\n"
    b"X-Raw: gr\xc3\xbcn\r\n"
    b"X-Latin: gr\xfcn\r\n"
)


def test_fields_are_found_whatever_their_case_and_place() -> None:
    header = Header(SECTION)
    assert header.get_all("subject") == ["one", "two"]
    assert header.get("From") == "Jörg <joerg@a.test>"
    assert header.get_raw("from") == [b" =?utf-8?q?J=C3=B6rg?= <joerg@a.test>"]
    assert header.get("received") == "from a.test\tby b.test; Mon, 1 Jan 2026 00:00:00 +0000"
    assert header.get_raw("received")[0].count(b"\r\n") == 2
    assert header.get("X-Empty") == ""
    assert header.get("X-Raw") == header.get("X-Latin") == "grün"
    assert header.get("X-None") is None
    assert header.get_all("X-None") == []
    for name in header.names():
        assert header.get_octets(name) == [value.encode() for value in header.get_all(name)]
    assert header.get_octets("From") == ["Jörg <joerg@a.test>".encode()]
    assert header.get_octets("SUBJECT") == [b"one", b"two"]
    assert header.get_octets("X-Latin") == ["grün".encode()]
    assert Header(b"X-Quotes: \x93gr\xfcn\x94\r\n").get("X-Quotes") == "“grün”"
    assert "x-raw" in header
    assert "this line is no field" not in header
    assert header.names() == ["Received", "From", "SUBJECT", "Subject", "", "X-Empty", "X-Raw", "X-Latin"]
    assert [name for name, _ in header.items()] == [name for name in header.names() if name]


def test_lookups_are_the_same_before_and_after_the_list_of_fields_is_made() -> None:
    section = b"A: 1\r\nB: 2\r\n x\r\na: 3\r\nAB: 4\r\nb\r\n"
    fresh, split = Header(section), Header(section)
    assert len(split) == 5
    for name in ("a", "A", "b", "ab", "c", "", "a: 1\r\nb", "b:"):
        assert fresh.get_all(name) == split.get_all(name), name
        assert fresh.get(name) == split.get(name), name
    assert fresh.get_all("B") == ["2 x"]


def test_a_section_that_is_not_changed_is_the_octets_that_it_was() -> None:
    header = Header(SECTION)
    assert header.octets() == SECTION
    assert len(header) == 8
    assert header.octets() == SECTION
    assert not header.is_changed


def test_a_change_leaves_all_other_fields_as_they_were() -> None:
    header = Header(SECTION)
    header.set("subject", "three")
    assert header.octets() == SECTION.replace(b"SUBJECT : one\r\nSubject:two\r\n", b"SUBJECT: three\r\n")
    assert header.is_changed


def test_replace_takes_all_out_and_puts_the_new_ones_last() -> None:
    header = Header(b"A: 1\r\nB: 2\r\na: 3\r\n")
    header.replace("A", ["x", "y"])
    assert header.octets() == b"B: 2\r\nA: x\r\nA: y\r\n"
    header.replace("A", [])
    assert header.octets() == b"B: 2\r\n"


def test_fields_go_where_they_are_put() -> None:
    header = Header(b"B: 2\r\n")
    header.prepend("A", "1")
    header.append("D", "4")
    header.insert(2, "C", "3")
    assert header.octets() == b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n"
    header.set_at(1, "two")
    header.delete_at(2)
    assert header.delete("a") == 1
    assert header.delete("a") == 0
    assert header.octets() == b"B: two\r\nD: 4\r\n"
    header.delete("b")
    header.delete("d")
    assert header.octets() == b""


def test_a_line_that_would_continue_a_new_field_stays_first() -> None:
    header = Header(b" leftover\r\nA: 1\r\n")
    header.prepend("X", "safe")
    assert header.octets() == b" leftover\r\nX: safe\r\nA: 1\r\n"
    assert Header(header.octets()).get("X") == "safe"


def test_a_line_that_is_no_field_is_never_left_first() -> None:
    header = Header(b"A: 1\r\ngarbage\r\nB: 2\r\njunk\r\nC: 3\r\n")
    header.delete("A")
    assert header.octets() == b"B: 2\r\njunk\r\nC: 3\r\n"
    header.delete("C")
    assert header.octets() == b"B: 2\r\njunk\r\n"
    header.delete("B")
    assert header.octets() == b""
    first = Header(b"garbage\r\nA: 1\r\nB: 2\r\n")
    first.delete("A")
    assert first.octets() == b"garbage\r\nB: 2\r\n"


def test_a_section_without_its_last_line_end_gets_it() -> None:
    header = Header(b"A: 1\r\nB: 2")
    assert header.get("B") == "2"
    header.append("C", "3")
    assert header.octets() == b"A: 1\r\nB: 2\r\nC: 3\r\n"


@pytest.mark.parametrize("bad", ["a\r\nBcc: x", "a\nb", "a\rb", "a\0b", "a\x0bb", "\u2028"])
def test_no_text_smuggles_a_field_in(bad: str) -> None:
    header = Header(b"A: 1\r\n")
    for name in ("X-Text", "To"):
        with pytest.raises(FieldError):
            header.append(name, bad)
    assert header.octets() == b"A: 1\r\n"
    assert not header.is_changed


@pytest.mark.parametrize(
    "bad", [b"a\r\nBcc: x", b"a\nb", b"a\rb", b"a\0b", b"a\r\n \r\n b", b"a\r\n", b"a\r\n ", b"x" * 999]
)
def test_no_octets_smuggle_a_field_in(bad: bytes) -> None:
    header = Header()
    with pytest.raises(FieldError):
        header.append("X", bad)


@pytest.mark.parametrize("name", ["", "A B", "A:", "Ä", "A\r\nB", "a" * 77])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(FieldError):
        Header().append(name, "x")


def test_a_value_in_octets_stands_as_it_is() -> None:
    header = Header()
    header.append("Subject", b"=?utf-8?b?R3LDvG4=?=")
    header.append("X-Folded", b"a\r\n b")
    header.append("X-Long", b" ".join([b"word"] * 40))
    assert header.get("Subject") == "Grün"
    assert header.get_raw("Subject") == [b" =?utf-8?b?R3LDvG4=?="]
    assert header.get_raw("X-Folded") == [b" a\r\n b"]
    assert max(map(len, header.octets().split(b"\r\n"))) <= 78
    assert header.get("X-Long") == " ".join(["word"] * 40)


def test_text_beyond_ascii_is_encoded_or_written_as_utf8() -> None:
    plain, utf8 = Header(), Header(utf8=True)
    for header in (plain, utf8):
        header.append("Subject", "Grüße")
        header.append("To", "Jörg <joerg@a.test>, b@b.test")
        assert header.get("Subject") == "Grüße"
        assert header.get("To") == "Jörg <joerg@a.test>, b@b.test"
    assert plain.octets().isascii()
    assert b"<joerg@a.test>" in plain.octets()
    assert utf8.octets() == "Subject: Grüße\r\nTo: Jörg <joerg@a.test>, b@b.test\r\n".encode()


@pytest.mark.parametrize("value", ["Jörg", "Grüße: a@b.test;", "jörg@a.test", "Jörg <a@b.test"])
def test_an_address_field_that_could_not_be_read_again_is_refused(value: str) -> None:
    with pytest.raises(FieldError):
        Header().append("To", value)


def test_limits_are_named() -> None:
    with pytest.raises(MessageLimitError) as caught:
        Header(b"A: 1\r\n" * 10, limits=MessageLimits(header_octets=59))
    assert caught.value.limit == "header_octets"
    with pytest.raises(MessageLimitError) as caught:
        Header(b"A: 1\r\n" * 10, limits=MessageLimits(fields=9))
    assert caught.value.limit == "fields"
    assert len(Header(b"A: 1\r\n" * 10, limits=MessageLimits(fields=10, header_octets=60))) == 10
    assert len(Header(b"A: 1\r\n" + b" fold\r\n" * 100, limits=MessageLimits(fields=1))) == 1
    with pytest.raises(LocalProtocolError):
        Header(b"A: \0\r\n")


def test_a_header_of_a_mebibyte_is_read() -> None:
    section = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 100) for number in range(10_000))
    assert len(section) > 1 << 20
    header = Header(section)
    assert header.get("x-9999") == "v" * 100
    header.delete("X-5000")
    assert len(header.octets()) == len(section) - len("X-5000: \r\n") - 100
    message = EditableMessage(stuff_plain(section + b"\r\nbody\r\n"))
    message.header.set("X-0", "new")
    assert EditableMessage(message.content()).header.get("x-0") == "new"
    assert message.content().header_octets == len(section) - 97
    one = Header(b"X: " + b"v" * (1 << 20) + b"\r\n")
    assert len(one.get("x") or "") == 1 << 20


names = st.sampled_from(["A", "a", "Subject", "X-B", "To", "Received"])
lines = st.sampled_from(
    [
        *(
            b"A: 1",
            b"a : 2",
            b"Subject: =?utf-8?q?=C3=BC?= x",
            b"X-B:\tv\r\n w\r\n\tx",
            b"To: a@b.test",
            b"garbage",
        ),
        *(b" lead", b".dot: 1", b"Received: x\r\n y", b"a b: c", b": none", b"\xff\xfe: \xff"),
    ]
)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120)
edits = st.tuples(st.sampled_from(["append", "prepend", "set", "replace", "delete", "insert"]), names, texts)


def apply(header: Header, edit: tuple[str, str, str]) -> None:
    kind, name, text = edit
    try:
        match kind:
            case "append":
                header.append(name, text)
            case "prepend":
                header.prepend(name, text)
            case "set":
                header.set(name, text)
            case "replace":
                header.replace(name, [text, text])
            case "insert":
                header.insert(len(header) // 2, name, text)
            case _:
                header.delete(name)
    except FieldError:
        assert name == "To"  # which is not always a list of addresses


@given(st.lists(lines, max_size=6), st.lists(edits, max_size=6))
def test_whatever_is_done_it_reads_the_same_again(
    start: list[bytes], done: list[tuple[str, str, str]]
) -> None:
    header = Header(b"".join(line + b"\r\n" for line in start))
    for edit in done:
        before = [(name.lower(), header.raw_at(place)) for place, name in enumerate(header.names())]
        apply(header, edit)
        after = [(name.lower(), header.raw_at(place)) for place, name in enumerate(header.names())]
        edited = ("", edit[1].lower())  # what is no field may go with the field before it
        assert [each for each in after if each[0] not in edited] == [
            each for each in before if each[0] not in edited
        ]
    octets = header.octets()
    assert octets == b"" or octets.endswith(b"\r\n")
    assert b"\r\n\r\n" not in b"\r\n" + octets
    assert b"\0" not in octets
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    again = Header(octets)
    assert again.names() == header.names()
    assert [again.value_at(place) for place in range(len(again))] == [
        header.value_at(place) for place in range(len(header))
    ]


@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize(
    "text", ["é =?utf-8?q?a?=", " é ", "é\tb", "é" * 3_000, "=?é?=", "a  é", "x" * 990 + " é"]
)
def test_text_beyond_ascii_is_read_as_it_was_given(text: str, utf8: bool) -> None:
    header = Header(utf8=utf8)
    header.append("X-Any", text)
    octets = header.octets()
    assert Header(octets).get("X-Any") == text.replace("\t", " ")
    assert max(map(len, octets.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Content-Type", 'text/plain; name="grün.txt"; charset=utf-8'),
        ("Content-Disposition", "attachment; filename=grün.txt"),
    ],
)
def test_parameters_beyond_ascii_are_never_hidden_in_encoded_words(name: str, text: str, utf8: bool) -> None:
    header = Header(utf8=utf8)
    header.append(name, text)
    octets = header.octets()
    assert b"=?" not in octets
    assert octets.isascii() != utf8
    assert parse_parametered(Header(octets).get_unfolded(name) or "") == parse_parametered(text)


@given(st.sampled_from(["X-Any", "Subject"]), texts)
def test_what_was_set_is_read(name: str, text: str) -> None:
    for utf8 in (False, True):
        header = Header(b"A: 1\r\n", utf8=utf8)
        header.set(name, text)
        assert Header(header.octets()).get(name) == text


@given(st.binary(max_size=300))
def test_any_octets_are_a_section(octets: bytes) -> None:
    octets = octets.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"\r\n").lstrip(b"\r\n")
    while b"\r\n\r\n" in octets:
        octets = octets.replace(b"\r\n\r\n", b"\r\n")
    header = Header(octets)
    assert header.octets().removesuffix(b"\r\n") == octets.removesuffix(b"\r\n")
    for name in header.names():
        assert not name or header.get_all(name)
        assert header.get_octets(name) == [value.encode() for value in header.get_all(name)]

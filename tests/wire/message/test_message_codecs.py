"""Charsets, encoded words, transfer encodings, parameters: whatever comes is read, what is written too."""

import base64
import email.header
import quopri
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.wire.headers import FieldError
from outrider.wire.message import charsets, transfer
from outrider.wire.message.charsets import Reading, decode, is_known, maybe_encode
from outrider.wire.message.parameters import (
    PARAMETERS,
    VALUE_CHARACTERS,
    Parametered,
    format_parametered,
    parse_parametered,
)
from outrider.wire.message.words import decode_words

NAMES = sorted(charsets._CODECS)
SAME = sorted(name for name, (reads, writes) in charsets._CODECS.items() if reads == writes)

some_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"plain", "us-ascii", "plain"),
        (b"gr\xc3\xbcn", "us-ascii", "grün"),
        (b"gr\xfcn", "us-ascii", "grün"),
        (b"gr\xfcn", "", "grün"),
        (b"gr\xc3\xbcn", "x-nonsense", "grün"),
        (b"gr\xfcn", "ISO-8859-1", "grün"),
        (b"\x93quoted\x94 \x80", "iso-8859-1", "“quoted” €"),
        (b"\x81", "iso-8859-1", "\x81"),
        (b"\xa4", "iso-8859-15", "€"),
        (b"gr\xfcn", "utf-8", "gr\ufffdn"),
        ("漢字".encode("gbk"), "gb2312", "漢字"),
        ("漢字".encode("shift_jis"), "Shift_JIS", "漢字"),
        ("漢字".encode("iso2022_jp"), "iso-2022-jp", "漢字"),
        ("한글".encode("cp949"), "ks_c_5601-1987", "한글"),
        ("привет".encode("koi8-r"), "KOI8-R", "привет"),
        ("a".encode("utf-16-be"), "utf-16", "a"),
        ("a".encode("utf-16"), "utf-16", "a"),
        ("a".encode("utf-32-be"), "utf-32", "a"),
        ("a".encode("utf-32"), "UTF-32", "a"),
        ("ü".encode("cp850"), "cp850", "ü"),
        ("ł".encode("iso8859-2"), "'iso-8859-2'", "ł"),
        ("ł".encode("iso8859-2"), " ISO-8859-2\t", "ł"),
        ("ü".encode("cp437"), "437", "ü"),
        ("€".encode("cp858"), "CP00858", "€"),
        ("и".encode("cp866"), "csIBM866", "и"),
        ("и".encode("iso8859-5"), "Cyrillic", "и"),
        ("и".encode("mac-cyrillic"), "x-mac-cyrillic", "и"),
        ("ü".encode("mac-roman"), "mac", "ü"),
        ("א".encode("iso8859-8"), "csISO88598I", "א"),
        ("ł".encode("iso8859-2"), "ISO_8859-2:1987", "ł"),
        ("ş".encode("cp1254"), "latin5", "ş"),
        ("ă".encode("iso8859-16"), "ISO-8859-16", "ă"),
        ("漢".encode("cp932"), "MS932", "漢"),
        ("漢".encode("iso2022_jp"), "csISO2022JP", "漢"),
        ("漢字한".encode("iso2022_jp_2"), "iso-2022-jp-2", "漢字한"),
        ("漢".encode("euc_jp"), "EUCJP", "漢"),
        ("한".encode("cp949"), "windows-949", "한"),
        ("漢".encode("big5"), "CN-Big5", "漢"),
        (b"+AOQ-", "utf-7", "ä"),
        (b"+2AA-", "utf-7", "\ufffd"),
    ],
)
def test_texts_are_read_as_readers_read_them(octets: bytes, charset: str, text: str) -> None:
    assert decode(octets, charset) == text


@pytest.mark.parametrize(
    "name", ["rot13", "base64", "idna", "punycode", "unicode_escape", "undefined", "mbcs", "zlib"]
)
def test_codecs_that_are_no_charsets_are_unknown(name: str) -> None:
    assert not is_known(name)
    assert decode(b"\\u0041", name) == "\\u0041"
    assert maybe_encode("x", name) is None


@given(st.binary(max_size=100), st.sampled_from(NAMES))
def test_any_octets_are_a_text_in_any_charset(octets: bytes, charset: str) -> None:
    decode(octets, charset).encode()
    reading = Reading(octets, charset)
    reading.text.encode()
    if reading.is_exact:
        middle = len(reading.text) // 2
        both = reading.octets(0, middle) + reading.octets(middle, len(reading.text))
        assert both == octets


@given(some_text, st.sampled_from(NAMES))
def test_a_text_that_was_written_is_read_again(text: str, charset: str) -> None:
    octets = maybe_encode(text, charset)
    if octets is not None and charset in SAME:
        assert decode(octets, charset) == text
    assert maybe_encode(text, "utf-8") == text.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no words", "no words"),
        ("=?utf-8?q?a_b=3D?=", "a b="),
        ("=?UTF-8?B?R3LDvG4=?=", "Grün"),
        ("=?utf-8?B?R3LDvG4?=", "Grün"),
        ("=?utf-8*de?q?=C3=BC?=", "ü"),
        ("a =?utf-8?q?b?= c", "a b c"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?=\t =?iso-8859-1?q?=FC?=", "aü"),
        ("=?utf-8?b?w7w=?= =?utf-8?b?w7w=?=", "üü"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),
        ("x=?utf-8?q?a?=y", "xay"),
        ("=?utf-8?q?a b?=", "a b"),
        ("=?nonsense?q?=C3=BC?=", "ü"),
        ("=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        ("=?utf-8?q?never ends", "=?utf-8?q?never ends"),
        ("=?utf-8?q?a=0D=0ABcc:_x=00?=", "a  Bcc: x "),
        ("=?utf-8?q??=x", "x"),
        ("=?=?utf-8?q?a?=", "=?a"),
        ("(=?ISO-8859-1?Q?a?=)", "(a)"),
        ("(=?ISO-8859-1?Q?a?=\t\r\n  =?ISO-8859-1?Q?b?= c)", "(ab c)"),
        ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
        ("=?utf-8?q?=e2=82=ac?=", "€"),
        ("=?utf-8?q?a=4?=", "a=4"),
        ("=?utf-8?q?a==41?=", "a=A"),
        ("=?utf-8?q?a?b?=", "=?utf-8?q?a?b?="),
        ("=??q?a?=", "=??q?a?="),
        ("=?utf-8?b?YQ==?==?utf-8?b?Yg==?=", "ab"),
        ("=?utf-8?b?5g==?= =?UTF-8?q?=BC=A2?=", "漢"),
        ("=?gb2312?b?uro=?= =?gb2312?b?19Y=?=", "汉字"),
        ("=?iso-2022-jp?b?GyRCNEEbKEI=?= =?iso-2022-jp?b?GyRCO3obKEI=?=", "漢字"),
        ("=?cp850?q?=81?=", "ü"),
    ],
)
def test_encoded_words(text: str, expected: str) -> None:
    assert decode_words(text) == expected


@given(st.text(alphabet="=?utf-8qQbB*_ aÄ\t", max_size=80))
def test_any_text_may_hold_words(text: str) -> None:
    decode_words(text).encode()


@pytest.mark.parametrize("piece", ["=?", "=?a?q?", "=?a?q?b?=", "=?a?q?b?= ", "?", "=?a*"])
def test_words_cost_what_they_are_long(piece: str) -> None:
    decode_words(piece * (1_000_000 // len(piece)))


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=80),
    st.sampled_from(["utf-8", "iso-8859-1"]),
)
def test_agrees_with_another_writer(text: str, charset: str) -> None:
    try:
        written = email.header.Header(text, charset, maxlinelen=75).encode(linesep="\r\n")
    except UnicodeEncodeError:
        return
    assert decode_words(written.replace("\r\n", "")) == text or not written.startswith("=?")


@given(st.binary(max_size=400))
def test_transfer_encodings_give_back_what_was_encoded(octets: bytes) -> None:
    for encoding in (transfer.BASE64, transfer.QUOTED_PRINTABLE):
        encoded = transfer.encode(octets, encoding)
        assert transfer.decode(encoded, encoding) == octets
        assert encoded.isascii()
        assert transfer.can_carry(encoded, transfer.SEVEN_BIT)
        assert max(map(len, encoded.split(b"\r\n"))) <= 76
    assert quopri.decodestring(transfer.encode_quoted(octets).replace(b"\r\n", b"\n")) == octets.replace(
        b"\r\n", b"\n"
    )


@pytest.mark.parametrize("end", [b" ", b"\t", b"  ", b"\t ", b"= ", b"\xfc ", b"", b"."])
@pytest.mark.parametrize("line_end", [b"", b"\r\n", b"\r\nx", b"\r\n \r\n"])
def test_a_line_of_quoted_printable_is_short_and_ends_in_no_white_space(end: bytes, line_end: bytes) -> None:
    """RFC 2045 §6.7 (3) and (5), for all lengths around the limit."""
    for length in range(60, 85):
        octets = b"a" * length + end + line_end
        for line in (encoded := transfer.encode_quoted(octets)).split(b"\r\n"):
            assert len(line) <= 76
            assert line[-1:] not in (b" ", b"\t")
        assert transfer.decode_quoted(encoded) == octets


@given(st.binary(max_size=200))
def test_any_octets_are_decoded(octets: bytes) -> None:
    for encoding in (transfer.BASE64, transfer.QUOTED_PRINTABLE, "x-unknown"):
        transfer.decode(octets, encoding)


@pytest.mark.parametrize(
    ("encoded", "octets"),
    [
        (b"SGVsbG8=", b"Hello"),
        (b"SGVsbG8", b"Hello"),
        (b"SGVs\r\nbG8=\r\n", b"Hello"),
        (b"SG!Vs*bG8=", b"Hello"),
        (b"SGVsbG8=\r\n-- \r\nfooter", b"Hello"),
        (b"SGVsbG", b"Hell"),
        (b"SGVsb", b"Hel"),
        (b"====", b""),
        (b"", b""),
    ],
)
def test_damaged_base64_is_read_as_far_as_it_goes(encoded: bytes, octets: bytes) -> None:
    assert transfer.decode(encoded, transfer.BASE64) == octets


@pytest.mark.parametrize(
    ("encoded", "octets"),
    [
        (b"a=3Db", b"a=b"),
        (b"soft =\r\nbreak", b"soft break"),
        (b"soft =  \r\nbreak", b"soft break"),
        (b"spaces   \r\nend\t", b"spaces\r\nend"),
        (b"bad =XY = escape", b"bad =XY = escape"),
        (b"lower =c3=bc", "lower ü".encode()),
        (b"a==41", b"a=A"),
        (b"a===3D=", b"a==="),
        (b"=" * 5 + b"41", b"====A"),
        (b"a==\r\nb", b"a=b"),
        (b"ends=", b"ends"),
        (b"=E", b"=E"),
        (b"=0D=0A", b"\r\n"),
        (b"=\r\n\r\n", b"\r\n"),
    ],
)
def test_damaged_quoted_printable_is_read_as_far_as_it_goes(encoded: bytes, octets: bytes) -> None:
    assert transfer.decode(encoded, transfer.QUOTED_PRINTABLE) == octets


def test_spaces_without_end_cost_what_they_are_long() -> None:
    octets = b" " * (1 << 20)
    assert transfer.decode_quoted(octets + b"\r\nx") == b"\r\nx"


lines = st.lists(st.sampled_from([b"ab", b"", b"=", "ü".encode(), b"x" * 80, b"a b ", b"\t"]), max_size=6)


@given(lines, st.data())
def test_edits_of_quoted_printable_touch_only_their_lines(said: list[bytes], data: st.DataObject) -> None:
    octets = b"\r\n".join(said)
    # Written as some writers do, who escape more than they must, so that writing it anew would show.
    encoded = b"\r\n".join(
        b"".join(b"=%02X" % octet for octet in line[:20])
        + (b"=\r\n" + transfer.encode_quoted(line[20:]) if line[20:] else b"")
        for line in said
    )
    assert transfer.decode_quoted(encoded) == octets
    count = data.draw(st.integers(0, 3))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), min_size=2 * count, max_size=2 * count)))
    replacement = data.draw(st.sampled_from([b"", b"new", b"a\r\nb", b"\r\n"]))
    edits = [(cuts[2 * at], cuts[2 * at + 1], replacement) for at in range(count)]
    edited = transfer.edit_quoted(encoded, edits)
    assert transfer.decode_quoted(edited) == transfer.apply_edits(octets, edits)
    if not edits:
        assert edited == encoded
    elif octets:
        before = octets[: edits[0][0]].count(b"\r\n")
        kept = transfer._quoted_lines(encoded)[:before]
        assert edited.startswith(b"\r\n".join(kept))


@pytest.mark.parametrize(
    ("text", "value", "parameters"),
    [
        ("text/plain", "text/plain", {}),
        ("TEXT/Plain; CharSet=UTF-8", "text/plain", {"charset": "UTF-8"}),
        ("text/plain; charset=us-ascii (Plain text)", "text/plain", {"charset": "us-ascii"}),
        (
            'text/plain; charset="us-ascii" ; format = flowed',
            "text/plain",
            {"charset": "us-ascii", "format": "flowed"},
        ),
        (r'a/b; x="q\"\\;"; y=z', "a/b", {"x": 'q"\\;', "y": "z"}),
        ("attachment; filename=my file.pdf; size=3", "attachment", {"filename": "my file.pdf", "size": "3"}),
        ('attachment; filename="=?utf-8?q?=C3=BC.txt?="', "attachment", {"filename": "ü.txt"}),
        ("attachment; filename*=UTF-8'de'%C3%BC.txt; filename=u.txt", "attachment", {"filename": "ü.txt"}),
        ("attachment; filename=u.txt; filename*=iso-8859-1''%FC.txt", "attachment", {"filename": "ü.txt"}),
        (
            "a/b; u*1=\"b\"; u*0*=utf-8''%C3; u*2*=%BC; v=1",
            "a/b",
            {"u": "\ufffdb\ufffd", "v": "1"},
        ),
        ("a/b; u*0*=utf-8''%C3; u*1*=%BC", "a/b", {"u": "ü"}),
        ("a/b; u*0=a; u*2=c", "a/b", {"u": "a"}),
        ("a/b; u*1=b", "a/b", {"u": ""}),
        ("multipart/mixed;boundary=a;boundary=b", "multipart/mixed", {"boundary": "a"}),
        ('multipart/mixed; boundary="never closed', "multipart/mixed", {"boundary": "never closed"}),
        ("multipart/mixed; boundary=a b", "multipart/mixed", {"boundary": "a"}),
        (";;; a=b;; ;c=d;e", "", {"a": "b", "c": "d"}),
        ('"text/plain"; a=b', "", {"a": "b"}),
        ("", "", {}),
        ("text", "text", {}),
        ("text / html ; charset = utf-8", "text/html", {"charset": "utf-8"}),
        ("text\t/(c)html(d);(e)charset(f)=(g)utf-8(h)", "text/html", {"charset": "utf-8"}),
        ("(c) text/plain", "text/plain", {}),
        ('text/plain (") ; a=b (\\" \\( ") ; c="(" (")', "text/plain", {"a": "b", "c": "("}),
        ('multipart/mixed (a "(b)" \\\\); boundary="x (") y"', "multipart/mixed", {"boundary": "x ("}),
        ("text/plain (never ends; a=b", "text/plain", {}),
        ("text/plain ); a=b)", "text/plain", {"a": "b)"}),
        ("text/plain charset=utf-8", "text/plain", {}),
        ("text/plain; charset=utf-8\tfoo; a=b", "text/plain", {"charset": "utf-8", "a": "b"}),
        (
            'multipart/mixed; boundary="a;b:c=?(d) \'e,f/"',
            "multipart/mixed",
            {"boundary": "a;b:c=?(d) 'e,f/"},
        ),
        ("multipart/mixed; boundary=a=b/c:d?", "multipart/mixed", {"boundary": "a=b/c:d?"}),
        ('text/plain; a="b\\', "text/plain", {"a": "b"}),
        ('text/plain; a="', "text/plain", {"a": ""}),
        ("a/b; u*=utf-8''a%0D%0AX:%00b", "a/b", {"u": "a  X: b"}),
        ("a/b; u*=utf-8''%zz%4", "a/b", {"u": "%zz%4"}),
        ("a/b; u*=utf-8'x", "a/b", {"u": "utf-8'x"}),
        ("a/b; u*=''x%20y", "a/b", {"u": "x y"}),
        ('a/b; u*2*=%20c; u*0=a; u*1="b"', "a/b", {"u": "ab c"}),
        ("a/b; u*01=b; u*0=a", "a/b", {"u*01": "b", "u": "a"}),
    ],
)
def test_parameters_are_read(text: str, value: str, parameters: dict[str, str]) -> None:
    found = parse_parametered(text)
    assert (found.value, dict(found.parameters)) == (value, parameters)
    for name, expected in parameters.items():
        assert found.get(name) == expected


COMMENTED = ("a", " ", ";", "=", '"', "\\)", "\\(", "\\\\", ",", "@", "/", "é", '(")', "(;(a))")
CHARACTERS = ("a", " ", ";", "(", ")", "\\", '"', "=", ",", "@", "*", "'", "%41", "é", "漢")


def _some(random: Random, pieces: tuple[str, ...], most: int) -> str:
    return "".join(random.choice(pieces) for _ in range(random.randint(0, most)))


def _cfws(random: Random) -> str:
    return random.choice(
        ("", "", " ", "\t ", f"({_some(random, COMMENTED, 5)})", f" ({_some(random, COMMENTED, 5)}) ")
    )


def _quoted_string(random: Random, text: str) -> str:
    pairs = ("\\" + each if each in '"\\' or random.random() < 0.1 else each for each in text)
    return f'"{"".join(pairs)}"'


def _written_oddly(random: Random, name: str, text: str) -> list[tuple[str, str]]:
    """A parameter as pairs of name and value, in one of the forms of RFC 2045 §5.1 and RFC 2231 §4.1."""
    octets = text.encode()
    cut = random.randint(0, len(octets))
    sections = [
        "".join(f"%{octet:02x}" for octet in octets[:cut]),
        "".join(f"%{octet:02X}" for octet in octets[cut:]),
    ]
    place = random.randint(0, len(text))
    forms = [
        [(name, _quoted_string(random, text))],
        [(f"{name}*", f"UTF-8'{random.choice(('', 'en'))}'{''.join(sections)}")],
        [(f"{name}*0*", f"utf-8''{sections[0]}"), (f"{name}*1*", sections[1] or '""')],
        [
            (f"{name}*0", _quoted_string(random, text[:place])),
            (f"{name}*1", _quoted_string(random, text[place:])),
        ],
    ]
    chosen = random.choice(forms)
    random.shuffle(chosen)
    return chosen


@given(st.randoms(use_true_random=False))
def test_parameters_are_found_among_comments_and_sections(random: Random) -> None:
    """A writer of its own, with white space and comments wherever RFC 2045 §5.1 lets them be."""
    expected = {f"p{number}-x": _some(random, CHARACTERS, 8) for number in range(random.randint(0, 4))}
    pieces = [random.choice(("Text", "x-a")), "/", "b+c"]
    for name, text in expected.items():
        for pair in _written_oddly(random, name, text):
            pieces += (";", pair[0].upper(), "=", pair[1])
    value = "".join(_cfws(random) + piece for piece in pieces) + _cfws(random)
    found = parse_parametered(value)
    assert found.value == "".join(pieces[:3]).lower()
    assert dict(found.parameters) == expected


@given(st.text(alphabet="ab;=\"\\()*01'% /", max_size=60))
def test_any_text_has_parameters(text: str) -> None:
    found = parse_parametered(text)
    assert len({name for name, _ in found.parameters}) == len(found.parameters)


@pytest.mark.parametrize(
    "piece",
    [';a="\\"', ";", "(", "()", '("', "(a", "\\(", '("\\"', ";a", '"\\"', ';="', ";a*0=b", "*", "; a=b"],
)
def test_parameters_cost_what_they_are_long(piece: str) -> None:
    found = parse_parametered(piece * (2 * VALUE_CHARACTERS // len(piece)))
    assert len(found.parameters) <= PARAMETERS


@given(
    st.sampled_from(["text/plain", "attachment", "application/x-a+b"]),
    st.lists(
        st.tuples(
            st.sampled_from(["charset", "name", "filename", "x-y"]),
            st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=150),
        ),
        unique_by=lambda pair: pair[0],
        max_size=4,
    ),
)
def test_parameters_that_were_written_are_read_again(value: str, pairs: list[tuple[str, str]]) -> None:
    made = Parametered(value, tuple(pairs))
    written = format_parametered(made, "Content-Disposition")
    assert parse_parametered(written.decode("ascii").replace("\r\n", "")) == made
    assert max(map(len, written.split(b"\r\n"))) <= 78 + len(" x-y*0*=")


def test_parameters_that_cannot_be_written_are_refused() -> None:
    for made in (
        Parametered("text plain"),
        Parametered(""),
        Parametered("text/plain", (("a b", "c"),)),
        Parametered("text/plain", (("a*", "c"),)),
        Parametered("text/plain", (("a", "c\r\nX: y"),)),
    ):
        with pytest.raises(FieldError):
            format_parametered(made, "Content-Type")


def test_a_parameter_is_changed_in_its_place() -> None:
    made = Parametered("a/b", (("x", "1"), ("y", "2")))
    assert made.with_parameter("x", "3").parameters == (("x", "3"), ("y", "2"))
    assert made.with_parameter("z", "3").parameters == (("x", "1"), ("y", "2"), ("z", "3"))
    assert made.with_parameter("x", "").parameters == (("y", "2"),)
    assert made.with_parameter("z", "") == made


def test_base64_agrees_with_another_decoder() -> None:
    octets = bytes(range(256)) * 300
    assert base64.b64decode(transfer.encode(octets, transfer.BASE64)) == octets

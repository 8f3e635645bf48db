"""Octets to text and back by the charset that a message names.

Theory: names come from anybody, so they are looked up in a table of what mail uses and never handed to the
interpreter, which would import modules for them and remember each name that it does not know. What is
common but mislabelled is read as its readers read it: Windows-1252 under the name of Latin-1, UTF-8 under
the name of ASCII or under no name. Writing is strict: a text goes out in a charset only if that has all of
its characters.

Invariant: `decode` returns for whatever it is given, and what it returns can be encoded in UTF-8.

Standards: RFC 2045 §5.2 (default), RFC 2046 §4.1.2 (charsets).
"""

from types import MappingProxyType
from typing import Final, TypeVar

Default = TypeVar("Default")

_WESTERN: Final = "cp1252"
_NONE: Final = ("ascii", "")

_CODEC_OF: Final = (
    ("us-ascii", "ascii", "ascii"),
    ("utf-8", "utf-8", "utf-8"),
    ("utf-16", "utf-16", "utf-16"),
    ("utf-16be", "utf-16-be", "utf-16-be"),
    ("utf-16le", "utf-16-le", "utf-16-le"),
    ("utf-32", "utf-32", "utf-32"),
    ("utf-32be", "utf-32-be", "utf-32-be"),
    ("utf-32le", "utf-32-le", "utf-32-le"),
    ("utf-7", "utf-7", "utf-7"),
    ("gb2312", "gb18030", "gb2312"),
    ("gbk", "gb18030", "gbk"),
    ("gb18030", "gb18030", "gb18030"),
    ("hz-gb-2312", "hz", "hz"),
    ("big5", "cp950", "big5"),
    ("big5-hkscs", "big5hkscs", "big5hkscs"),
    ("shift_jis", "cp932", "shift_jis"),
    ("euc-jp", "euc_jp", "euc_jp"),
    ("iso-2022-jp", "iso2022_jp_ext", "iso2022_jp"),
    ("iso-2022-jp-1", "iso2022_jp_ext", "iso2022_jp_1"),
    ("iso-2022-jp-2", "iso2022_jp_2", "iso2022_jp_2"),
    ("iso-2022-kr", "iso2022_kr", "iso2022_kr"),
    ("euc-kr", "cp949", "euc_kr"),
    ("johab", "johab", "johab"),
    ("koi8-r", "koi8-r", "koi8-r"),
    ("koi8-u", "koi8-u", "koi8-u"),
    ("tis-620", "cp874", "tis-620"),
    ("windows-874", "cp874", "cp874"),
    ("kz-1048", "kz1048", "kz1048"),
    ("macintosh", "mac-roman", "mac-roman"),
    ("x-mac-cyrillic", "mac-cyrillic", "mac-cyrillic"),
    ("x-mac-ce", "mac-latin2", "mac-latin2"),
    ("viscii", _WESTERN, "ascii"),
    ("iso-8859-1", _WESTERN, "iso8859-1"),
    ("iso-8859-9", "cp1254", "iso8859-9"),
    ("iso-8859-11", "cp874", "iso8859-11"),
    *((f"iso-8859-{n}", f"iso8859-{n}", f"iso8859-{n}") for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)),
    *((f"windows-{number}", f"cp{number}", f"cp{number}") for number in range(1250, 1259)),
    *(
        (f"ibm{number}", f"cp{number}", f"cp{number}")
        for number in (437, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862, 863, 864, 865, 866, 869)
    ),
)
"""Names, the codec that reads each, and the one that writes it."""

_ALIASES: Final = """
us-ascii       ascii ansi_x3.4-1968 ansi_x3.4-1986 iso_646.irv:1991 iso646-us iso-ir-6 us cp367 ibm367 csascii
utf-8          utf8 utf_8 csutf8 unicode-1-1-utf-8
utf-7          unicode-1-1-utf-7 csutf7
utf-16         csutf16 unicode
utf-16be       csutf16be iso-10646-ucs-2 ucs-2 csunicode
utf-16le       csutf16le
utf-32         csutf32
utf-32be       csutf32be iso-10646-ucs-4 ucs-4 csucs4
utf-32le       csutf32le
iso-8859-1     8859-1 latin1 latin-1 l1 cp819 ibm819 iso-ir-100 csisolatin1
iso-8859-2     latin2 latin-2 l2 iso-ir-101 csisolatin2
iso-8859-3     latin3 l3 iso-ir-109 csisolatin3
iso-8859-4     latin4 l4 iso-ir-110 csisolatin4
iso-8859-5     cyrillic iso-ir-144 csisolatincyrillic
iso-8859-6     arabic asmo-708 ecma-114 iso-ir-127 csisolatinarabic iso-8859-6-e iso-8859-6-i
iso-8859-7     greek greek8 elot_928 ecma-118 iso-ir-126 csisolatingreek
iso-8859-8     hebrew iso-ir-138 csisolatinhebrew logical visual
iso-8859-8     iso-8859-8-i iso-8859-8-e csiso88598i csiso88598e
iso-8859-9     latin5 l5 iso-ir-148 csisolatin5
iso-8859-10    latin6 l6 iso-ir-157 csisolatin6
iso-8859-13    latin7 csiso885913
iso-8859-14    latin8 l8 iso-celtic iso-ir-199 csiso885914
iso-8859-15    latin9 latin-9 l9 csiso885915
iso-8859-16    latin10 l10 iso-ir-226 csiso885916
tis-620        tis620 cstis620
windows-874    cp874 ibm874 dos-874 cswindows874
gb2312         gb_2312-80 euc-cn cn-gb iso-ir-58 chinese csgb2312 csiso58gb231280
gbk            cp936 ms936 windows-936 x-gbk csgbk
gb18030        cp54936 csgb18030
hz-gb-2312     hz
big5           big5-tw cn-big5 x-x-big5 cp950 csbig5
big5-hkscs     big5hkscs csbig5hkscs
shift_jis      shift-jis shiftjis sjis x-sjis cp932 ms932 ms_kanji mskanji windows-31j csshiftjis cswindows31j
euc-jp         eucjp euc_jp x-euc-jp x-euc cseucpkdfmtjapanese
iso-2022-jp    iso-2022-jp-ms cp50220 cp50221 cp50222 csiso2022jp
iso-2022-jp-2  csiso2022jp2
iso-2022-kr    csiso2022kr
euc-kr         euckr cp949 windows-949 korean iso-ir-149 cseuckr csksc56011987
euc-kr         ks_c_5601 ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601
koi8-r         koi8r koi8 koi cskoi8r
koi8-u         koi8u koi8-ru cskoi8u
kz-1048        rk1048 strk1048-2002 cskz1048
macintosh      mac macroman x-mac-roman csmacintosh
x-mac-cyrillic mac-cyrillic x-mac-ukrainian
x-mac-ce       mac-centraleurope
ibm437         cspc8codepage437
ibm850         cspc850multilingual
ibm852         cspcp852
ibm858         ibm00858 cp00858 ccsid00858 pc-multilingual-850+euro csibm00858
ibm862         cspc862latinhebrew
viscii         csviscii
"""
"""Other names of the registry of IANA, and of mail as it is, for each of `_CODEC_OF`."""


_WINDOWS: Final = ("cp", "x-cp", "cswindows", "windows", "win-", "x-windows-")
# beginnings that stand for `windows-`


def _table() -> dict[str, tuple[str, str]]:
    """For each name in lower case: the codec that reads it and the one that writes it."""
    table = {name: (reads, writes) for name, reads, writes in _CODEC_OF}
    for name in list(table):
        number = name.rpartition("-")[2]
        if name.startswith("iso-8859-"):
            aliases = [f"iso_8859-{number}", f"iso8859-{number}", f"iso8859_{number}", f"iso8859{number}"]
            aliases += [f"iso_8859-{number}:{year}" for year in (1987, 1988, 1989, 1992, 1998, 2001)]
        elif name.startswith("windows-125"):
            aliases = [f"{start}{number}" for start in _WINDOWS]
        elif name.startswith("ibm"):
            number = name.removeprefix("ibm")
            aliases = [f"cp{number}", number, f"csibm{number}"]
        else:
            continue
        table |= dict.fromkeys(aliases, table[name])
    for line in _ALIASES.split("\n")[1:-1]:
        name, *aliases = line.split()
        table |= dict.fromkeys(aliases, table[name])
    return table


_CODECS: Final = MappingProxyType(_table())
_NOT_ASCII: Final = frozenset(
    (
        *("utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-32-le", "utf-7", "hz"),
        *("iso2022_jp_ext", "iso2022_jp_2", "iso2022_kr"),
    )
)
# Octets up to 127 do not stand for themselves in these
_MARKS: Final = MappingProxyType(
    {"utf-16": (b"\xff\xfe", b"\xfe\xff"), "utf-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff")}
)


def _codecs(charset: str, default: Default) -> tuple[str, str] | Default:
    """Those of a name, around which some writers put spaces or single quotes."""
    return _CODECS.get(charset.strip(" \t'").lower(), default)


def is_known(charset: str) -> bool:
    """True when the name is one that mail uses."""
    return _codecs(charset, None) is not None


def decode(octets: bytes, charset: str) -> str:
    """The text; what cannot be read becomes U+FFFD.

    Args:
        octets: The text in its charset.
        charset: As the message names it; unknown or empty is read as UTF-8, or as Windows-1252.
    """
    codec = _codecs(charset, _NONE)[0]
    if codec in _NOT_ASCII:
        marks = _MARKS.get(codec)
        if marks is not None and not octets.startswith(marks):  # big-endian, as the registrations say
            codec += "-be"
        text = octets.decode(codec, "replace")
        if codec == "utf-7":  # the only codec here that lets halves of characters through
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text
    if octets.isascii():
        return octets.decode("ascii")
    if codec == "ascii":
        codec = "utf-8" if is_utf8(octets) else _WESTERN
    if codec == _WESTERN:
        try:
            return octets.decode(_WESTERN)
        except UnicodeDecodeError:  # the five octets that Windows-1252 leaves open
            return octets.decode("latin-1")
    return octets.decode(codec, "replace")


def maybe_encode(text: str, charset: str) -> bytes | None:
    """The octets of `text` in `charset`; None where that is unknown or lacks one of its characters."""
    codec = _codecs(charset, None)
    if codec is None:
        return None
    try:
        return text.encode(codec[1])
    except UnicodeEncodeError:
        return None


class Reading:
    """A text that was read so that its octets can be told from it.

    Args:
        octets: The text in its charset.
        charset: As for `decode`.

    Attributes:
        text: As `decode` gives it, but one U+FFFD for each octet that cannot be read.
    """

    __slots__ = ("_charset", "_codec", "_exact", "text")

    def __init__(self, octets: bytes, charset: str) -> None:
        codec = _codecs(charset, _NONE)[0]
        if codec == "ascii":
            codec = "utf-8" if is_utf8(octets) else _WESTERN
        self._charset = charset or "us-ascii"
        self._codec = ""
        self._exact = self.text = decode(octets, charset)
        if codec not in _NOT_ASCII:
            exact = octets.decode(codec, "surrogateescape")
            if exact.encode(codec, "surrogateescape") == octets:
                self._codec = codec
                self._exact = self.text = exact
                if not exact.isascii():
                    self.text = exact.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    @property
    def is_exact(self) -> bool:
        """True when each piece of the text has its own octets."""
        return bool(self._codec)

    def octets(self, start: int, end: int) -> bytes:
        """Those of `text[start:end]`; only where it is exact."""
        return self._exact[start:end].encode(self._codec, "surrogateescape")

    def maybe_encode(self, text: str) -> bytes | None:
        """Another text in the same charset; None where that lacks one of its characters."""
        return maybe_encode(text, self._charset)


def is_utf8(octets: bytes) -> bool:
    """True when they are text in UTF-8."""
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

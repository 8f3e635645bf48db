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
from typing import Final

_WESTERN: Final = "cp1252"


def _table() -> dict[str, tuple[str, str]]:
    """For each name in lower case: the codec that reads it and the one that writes it."""
    table = {
        "us-ascii": ("ascii", "ascii"),
        "utf-8": ("utf-8", "utf-8"),
        "utf-16": ("utf-16", "utf-16"),
        "utf-16be": ("utf-16-be", "utf-16-be"),
        "utf-16le": ("utf-16-le", "utf-16-le"),
        "utf-32": ("utf-32", "utf-32"),
        "utf-7": ("utf-7", "utf-7"),
        "gb2312": ("gb18030", "gb2312"),
        "gbk": ("gb18030", "gbk"),
        "gb18030": ("gb18030", "gb18030"),
        "hz-gb-2312": ("hz", "hz"),
        "big5": ("cp950", "big5"),
        "big5-hkscs": ("big5hkscs", "big5hkscs"),
        "shift_jis": ("cp932", "shift_jis"),
        "euc-jp": ("euc_jp", "euc_jp"),
        "iso-2022-jp": ("iso2022_jp_ext", "iso2022_jp"),
        "iso-2022-kr": ("iso2022_kr", "iso2022_kr"),
        "euc-kr": ("cp949", "euc_kr"),
        "johab": ("johab", "johab"),
        "koi8-r": ("koi8-r", "koi8-r"),
        "koi8-u": ("koi8-u", "koi8-u"),
        "tis-620": ("cp874", "tis-620"),
        "windows-874": ("cp874", "cp874"),
        "macintosh": ("mac-roman", "mac-roman"),
        "viscii": (_WESTERN, "ascii"),
    }
    for number in (*range(1, 12), *range(13, 17)):
        table[f"iso-8859-{number}"] = (f"iso8859-{number}", f"iso8859-{number}")
    table["iso-8859-1"] = (_WESTERN, "iso8859-1")
    table["iso-8859-9"] = ("cp1254", "iso8859-9")
    table["iso-8859-11"] = ("cp874", "iso8859-11")
    table["iso-8859-8-i"] = table["iso-8859-8-e"] = table["iso-8859-8"]
    for number in range(1250, 1259):
        table[f"windows-{number}"] = (f"cp{number}", f"cp{number}")
    for number in (437, 850, 852, 855, 857, 858, 860, 861, 862, 863, 865, 866, 869):
        table[f"ibm{number}"] = (f"cp{number}", f"cp{number}")
    for alias, name in (
        *(
            ("ascii", "us-ascii"),
            ("ansi_x3.4-1968", "us-ascii"),
            ("utf8", "utf-8"),
            ("unicode-1-1-utf-7", "utf-7"),
        ),
        *(
            ("latin1", "iso-8859-1"),
            ("l1", "iso-8859-1"),
            ("iso_8859-1", "iso-8859-1"),
            ("8859-1", "iso-8859-1"),
        ),
        *(("iso8859-1", "iso-8859-1"), ("iso8859-2", "iso-8859-2"), ("iso8859-15", "iso-8859-15")),
        *(("latin2", "iso-8859-2"), ("iso_8859-2", "iso-8859-2"), ("latin-9", "iso-8859-15")),
        *(("iso_8859-15", "iso-8859-15"), ("cp936", "gbk"), ("ms936", "gbk"), ("x-gbk", "gbk")),
        *(
            ("gb_2312-80", "gb2312"),
            ("euc-cn", "gb2312"),
            ("cn-gb", "gb2312"),
            ("big5-tw", "big5"),
            ("cp950", "big5"),
        ),
        *(
            ("sjis", "shift_jis"),
            ("x-sjis", "shift_jis"),
            ("cp932", "shift_jis"),
            ("windows-31j", "shift_jis"),
        ),
        *(("shift-jis", "shift_jis"), ("ms_kanji", "shift_jis"), ("x-euc-jp", "euc-jp")),
        *(("ks_c_5601-1987", "euc-kr"), ("ks_c_5601", "euc-kr"), ("ksc5601", "euc-kr"), ("cp949", "euc-kr")),
        *(("koi8r", "koi8-r"), ("x-mac-roman", "macintosh"), ("cp874", "windows-874"), ("cp866", "ibm866")),
        *((f"cp{number}", f"windows-{number}") for number in range(1250, 1259)),
        *((f"x-cp{number}", f"windows-{number}") for number in range(1250, 1259)),
    ):
        table[alias] = table[name]
    return table


_CODECS: Final = MappingProxyType(_table())
_NOT_ASCII: Final = frozenset(
    ("utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-7", "hz", "iso2022_jp_ext", "iso2022_kr")
)
# Octets up to 127 do not stand for themselves in these
_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


def is_known(charset: str) -> bool:
    """True when the name is one that mail uses."""
    return charset.lower() in _CODECS


def decode(octets: bytes, charset: str) -> str:
    """The text; what cannot be read becomes U+FFFD.

    Args:
        octets: The text in its charset.
        charset: As the message names it; unknown or empty is read as UTF-8, or as Windows-1252.
    """
    codec = _CODECS.get(charset.lower(), ("ascii", ""))[0]
    if codec in _NOT_ASCII:
        if codec == "utf-16" and octets[:2] not in _MARKS:  # big-endian, as its registration says
            codec = "utf-16-be"
        text = octets.decode(codec, "replace")
        if codec == "utf-7":  # the only codec here that lets halves of characters through
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text
    if octets.isascii():
        return octets.decode("ascii")
    if codec == "ascii":
        codec = "utf-8" if _is_utf8(octets) else _WESTERN
    if codec == _WESTERN:
        try:
            return octets.decode(_WESTERN)
        except UnicodeDecodeError:  # the five octets that Windows-1252 leaves open
            return octets.decode("latin-1")
    return octets.decode(codec, "replace")


def maybe_encode(text: str, charset: str) -> bytes | None:
    """The octets of `text` in `charset`; None where that is unknown or lacks one of its characters."""
    codec = _CODECS.get(charset.lower())
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
        codec = _CODECS.get(charset.lower(), ("ascii", ""))[0]
        if codec == "ascii":
            codec = "utf-8" if _is_utf8(octets) else _WESTERN
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


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

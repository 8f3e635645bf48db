"""`json`: texts of JSON between Lua and what Python reads and writes.

In: a text, or a row of marked values. Out: a row for `json.lua`, which makes objects of it, or a text. Rows
are flat, because tables nested as deep as JSON may be do not cross: `o` and a count before names and
values, `a` and a count before items, `s` before a scalar, `z` for null.

Standards: RFC 8259.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, lua_text, octets_of, whole_of
from outrider.policy.lua.api.patterns import bounded
from outrider.policy.lua.registry import LuaRegistry

DEPTH_MAX: Final = 100
"""Chosen: deeper objects hold themselves."""

ERRORS: Final = {
    "ERROR_DEPTH": 1,
    "ERROR_PARSE_EOF": 2,
    "ERROR_PARSE_UNEXPECTED": 3,
    "ERROR_PARSE_NULL": 4,
    "ERROR_PARSE_BOOLEAN": 5,
    "ERROR_PARSE_NUMBER": 6,
    "ERROR_PARSE_ARRAY": 7,
    "ERROR_PARSE_OBJECT_KEY_NAME": 8,
    "ERROR_PARSE_OBJECT_KEY_SEP": 9,
    "ERROR_PARSE_OBJECT_VALUE_SEP": 10,
    "ERROR_PARSE_STRING": 11,
    "ERROR_PARSE_COMMENT": 12,
}
"""Numbers in the order of json-c, whose names these are."""

TEXTS: Final = {
    0: "success",
    1: "nesting too deep",
    2: "unexpected end of data",
    3: "unexpected character",
    4: "null expected",
    5: "boolean expected",
    6: "number expected",
    7: "array value separator ',' expected",
    8: "quoted object property name expected",
    9: "object property name separator ':' expected",
    10: "object value separator ',' expected",
    11: "invalid string sequence",
    12: "expected comment",
}

_HALVES: Final = re.compile("[\ud800-\udfff]")
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_BY_SIGN: Final = {"n": 4, "t": 5, "f": 5, "-": 6, "+": 6, "/": 12, "N": 6, "I": 6, ".": 6}


class _TooDeepError(ValueError):
    pass


def _flat(value: Any, depth: int = 0) -> Iterator[Any]:
    if depth >= DEPTH_MAX and isinstance(value, (dict, list)):
        raise _TooDeepError
    match value:
        case None:
            yield "z"
        case dict():
            yield "o"
            yield len(value)
            for name, item in value.items():
                yield _whole(name)
                yield from _flat(item, depth + 1)
        case list():
            yield "a"
            yield len(value)
            for item in value:
                yield from _flat(item, depth + 1)
        case _:
            yield "s"
            yield _whole(value) if isinstance(value, str) else value


def _whole(text: str) -> str:
    """A text that UTF-8 can hold: half of a character (RFC 8259 §8.2) is U+FFFD, as json-c gives it."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


def _no_constant(name: str) -> None:
    raise json.JSONDecodeError("Expecting value", name, 0)


def _loads(octets: bytes) -> Any:
    return json.loads(octets.decode("utf-8", "replace"), parse_constant=_no_constant)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _fault(error: json.JSONDecodeError) -> int:
    """json-c's number for what Python found."""
    text, at, message = error.doc, error.pos, error.msg
    if message.startswith(("Unterminated", "Invalid")):
        return 11
    if not text[at:].strip():
        return 2
    if message.startswith("Expecting property name"):
        return 8
    if message.startswith("Expecting ':'"):
        return 9
    if message.startswith("Expecting ','"):
        before = _STRINGS.sub("", text[:at])
        opened = []
        for sign in before:
            if sign in "[{":
                opened.append(sign)
            elif sign in "]}" and opened:
                opened.pop()
        return 7 if opened and opened[-1] == "[" else 10
    sign = text[at]
    if message.startswith("Expecting value"):
        return 6 if sign.isdigit() else _BY_SIGN.get(sign, 3)
    return 3


def _read(row: Iterator[Any], depth: int = 0) -> Any:
    if depth > DEPTH_MAX:
        raise ValueError("a JSON object is nested too deep, or holds itself")
    match next(row):
        case b"o":
            return {_text(next(row)): _read(row, depth + 1) for _ in range(next(row))}
        case b"a":
            return [_read(row, depth + 1) for _ in range(next(row))]
        case b"s":
            value = next(row)
            return _text(value) if isinstance(value, bytes) else value
        case _:
            return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Json:
    """What `json.lua` calls."""

    def __init__(self, host: Host) -> None:
        self._octets_max = host.limits.json_octets
        self._budget = host.budget

    def decode(self, text: Any) -> Any:
        """A row, or `nil, number, message`."""
        octets = octets_of(text, "a JSON text")
        if len(octets) > self._octets_max:
            raise ValueError(f"a JSON text has at most {self._octets_max} octets")
        try:
            return bounded(self._budget, lambda: list(_flat(_loads(octets))))
        except json.JSONDecodeError as error:
            number = _fault(error)
            return None, number, f"{TEXTS[number]} at {error.pos + 1}"
        except (_TooDeepError, RecursionError):
            return None, 1, TEXTS[1]
        except ValueError:  # a number of more digits than Python reads
            return None, 6, TEXTS[6]

    def dump(self, row: Any) -> bytes:
        """The text of a row."""
        try:
            text = bounded(self._budget, lambda: _dumps(_read(iter(row))))
        except StopIteration:
            raise ValueError("the JSON object cannot be written") from None
        octets = text.encode("utf-8", "replace")
        if len(octets) > self._octets_max:
            raise ValueError(f"a JSON text has at most {self._octets_max} octets")
        return octets

    def strerror(self, code: Any) -> str:
        return TEXTS.get(whole_of(code, "a code"), "unknown error")


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `json`."""
    native = Json(host)
    registry.register("outrider.json", {"decode": native.decode, "encode": native.dump, **ERRORS})
    install(registry, host, rows, "json", {"strerror": native.strerror}, as_module="outrider.json")
    registry.register_source("json", lua_text("json"))

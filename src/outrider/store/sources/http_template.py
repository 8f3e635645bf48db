"""An HTTP request with placeholders, and its JSON answer as rows.

In: text and parameters. Out: method, target and body. The text is `GET /path/{}?key={}#/pointer`, or `POST
/path#/pointer` with a JSON body on the lines below. `{}` and `{1}` are parameters by position, `{name}` by
name; in a body they stand alone in a string, `"{}"`, and keep their kind. What follows `#` is a JSON
Pointer to the rows in the answer.

Theory: a parameter is percent-encoded whole, so it is never more than a part of its own path segment or
query value. A path segment that is empty, `.` or `..` after that would still name another resource: such a
parameter is refused. In a body parameters are put into the decoded document, never into its text.

Standards: RFC 3986 §2.1 (percent-encoding), RFC 3986 §5.2.4 (dot segments), RFC 6901 §6 (pointer as
fragment), RFC 8259 §2 (JSON).
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from outrider.store.sources.failures import SourceParameterError, SourceQueryError
from outrider.store.sources.placeholders import TEXT_MAX
from outrider.store.sources.rows import Rows, Value, row_of

_PLACE: Final = re.compile(r"\{(\d+|[^\W\d]\w*|)\}")
_TARGET: Final = re.compile(r"/[!-~]*")
_FIRST_LINE: Final = re.compile(r"(GET|POST)\s+(\S+)\s*(?:\n(.*))?", re.DOTALL)


class Slot(NamedTuple):
    """Stands in a compiled body for the argument of this number."""

    number: int


class Request(NamedTuple):
    """A request as written.

    Attributes:
        method: `GET` or `POST`.
        path: Parts of the path: text, or the number of an argument.
        query: Parts of what follows `?`.
        body: The document, with `Slot` where an argument goes; None without.
        pointer: Steps to the rows in the answer.
        order: See `placeholders.Compiled`.
        needed: See `placeholders.Compiled`.
    """

    method: str
    path: tuple[str | int, ...]
    query: tuple[str | int, ...]
    body: Any
    pointer: tuple[str, ...]
    order: tuple[int | str, ...]
    needed: int


class _Places:
    """Numbers the placeholders as they are met."""

    def __init__(self, *, by_name: bool) -> None:
        self._by_name = by_name
        self.order: list[int | str] = []
        self._counted = 0

    def number(self, written: str) -> int:
        if self._by_name:
            if not written or written.isdigit():
                raise SourceQueryError("parameters come by name; write {name}")
            self.order.append(written)
        elif not written:
            self.order.append(self._counted)
            self._counted += 1
        elif written.isdigit() and int(written) > 0:
            self.order.append(int(written) - 1)
        else:
            raise SourceQueryError("parameters come by position; write {} or {1}")
        return len(self.order) - 1

    def parts(self, text: str) -> tuple[str | int, ...]:
        found: list[str | int] = []
        place = 0
        for match in _PLACE.finditer(text):
            found += [text[place : match.start()], self.number(match[1])]
            place = match.end()
        return tuple(part for part in [*found, text[place:]] if part != "")

    def body(self, value: Any) -> Any:
        match value:
            case str() if (whole := _PLACE.fullmatch(value)) is not None:
                return Slot(self.number(whole[1]))
            case list():
                return [self.body(each) for each in value]
            case dict():
                return {key: self.body(each) for key, each in value.items()}
            case _:
                return value


def compile_request(text: str, *, by_name: bool) -> Request:
    """The request in `text`.

    Raises:
        SourceQueryError: It is not written as it must be.
    """
    found = _FIRST_LINE.fullmatch(text.strip()) if len(text) <= TEXT_MAX else None
    if found is None:
        raise SourceQueryError("write GET /path/{}#/rows, or POST /path#/rows and a JSON body below it")
    target, _, fragment = found[2].partition("#")
    if not _TARGET.fullmatch(target):
        raise SourceQueryError("the target begins with / and has ASCII characters only")
    if fragment and not fragment.startswith("/"):
        raise SourceQueryError("the pointer behind # begins with /")
    path, has_query, query = target.partition("?")
    places = _Places(by_name=by_name)
    path_parts, query_parts = places.parts(path), places.parts(f"?{query}") if has_query else ()
    body: Any = None
    if found[3] is not None and found[3].strip():
        if found[1] == "GET":
            raise SourceQueryError("a GET has no body")
        try:
            body = places.body(msgspec.json.decode(found[3]))
        except (msgspec.DecodeError, RecursionError):
            raise SourceQueryError("the body is not JSON") from None
    steps = tuple(unquote(step).replace("~1", "/").replace("~0", "~") for step in fragment.split("/")[1:])
    numbers = [place + 1 for place in places.order if isinstance(place, int)]
    needed = 0 if by_name else max(numbers, default=0)
    return Request(found[1], path_parts, query_parts, body, steps, tuple(places.order), needed)


def target_of(request: Request, arguments: Sequence[Value]) -> str:
    """Path and query with the arguments in them.

    Raises:
        SourceParameterError: An argument would change which resource the path names.
    """
    path = "".join(part if isinstance(part, str) else _quoted(arguments[part]) for part in request.path)
    if any(isinstance(part, int) for part in request.path):
        written = "".join(part if isinstance(part, str) else "\0" for part in request.path)
        for segment, shape in zip(path.split("/"), written.split("/"), strict=True):
            if "\0" in shape and segment in {"", ".", ".."}:
                raise SourceParameterError(
                    "a parameter of the path is empty, . or .., which is another resource"
                )
    query = (part if isinstance(part, str) else _quoted(arguments[part]) for part in request.query)
    return path + "".join(query)


def _quoted(value: Value) -> str:
    return "" if value is None else quote(value if isinstance(value, bytes) else str(value), safe="")


def body_of(request: Request, arguments: Sequence[Value]) -> bytes:
    """The body; empty when there is none."""
    if request.body is None:
        return b""
    return msgspec.json.encode(_filled(request.body, arguments))


def _filled(value: Any, arguments: Sequence[Value]) -> Any:
    match value:
        case Slot():
            argument = arguments[value.number]
            if isinstance(argument, bytes):
                raise SourceQueryError("a parameter holds octets, which JSON cannot")
            return argument
        case list():
            return [_filled(each, arguments) for each in value]
        case dict():
            return {key: _filled(each, arguments) for key, each in value.items()}
        case _:
            return value


def rows_of_answer(body: bytes, pointer: Sequence[str]) -> Rows:
    """The rows in a JSON answer: objects of a list are rows, an object is one, a bare value is a `value`.

    Raises:
        SourceQueryError: It is not JSON.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SourceQueryError("the answer is not JSON") from None
    for step in pointer:
        match found:
            case dict():
                found = found.get(step)
            case list() if step.isascii() and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            case _:
                return ()
    if found is None:
        return ()
    elements = found if isinstance(found, list) else [found]
    return tuple(row_of(each if isinstance(each, dict) else {"value": each}) for each in elements)

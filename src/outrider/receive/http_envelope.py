"""What a request says beside its body: the envelope of a raw message, its stream, fields that may stand once.

In: a request's query and fields. Out: their values, or a `Problem` that names every fault at once.

Theory: who stands before us may take the first of two fields, or the last, so one that may stand once and
stands twice is refused. What the escapes of a query stand for must be UTF-8: replaced by something else it
would be another address.

Standards: RFC 9110 §5.3 (repeated fields), RFC 9110 §5.6.1 (lists), RFC 3986 §2.5 (UTF-8 in escapes),
RFC 6750 §3.1 (one key).
"""

import re
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from outrider.base.errors import AddressError
from outrider.model.address import Address
from outrider.model.mailbox import parse_mailbox
from outrider.receive.problems import Fault, Problem

MAIL_FROM_FIELD: Final = "outrider-mail-from"
RCPT_TO_FIELD: Final = "outrider-rcpt-to"
STREAM_PARAMETER: Final = "stream"

_SIGN: Final = re.compile(r'[,"]|\\.')
# RFC 9110 §5.6.1: a comma within quotes ends nothing; a quote that is never closed is left to the address

Query = dict[str, list[str]]


def only(request: Request, name: str, default: str = "") -> str:
    """The value of a field that may stand once."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Problem("bad_parameter", errors=(Fault(name, "stands more than once"),))
    return values[0] if values else default


def query_of(request: Request) -> Query:
    """The parameters of the query, each with its values."""
    found: Query = {}
    try:
        text = request.scope["query_string"].decode("ascii")
        for name, value in parse_qsl(text, keep_blank_values=True, errors="strict"):
            found.setdefault(name, []).append(value)
    except UnicodeDecodeError:
        raise Problem("bad_parameter", errors=(Fault("", "the query is not UTF-8"),)) from None
    return found


def stream_of(query: Query) -> str | None:
    """The stream that is asked for, or None."""
    values = query.get(STREAM_PARAMETER, [])
    if len(values) > 1:
        raise Problem("bad_parameter", errors=(Fault(STREAM_PARAMETER, "stands more than once"),))
    return values[0] if values else None


def envelope_of(request: Request, query: Query) -> tuple[Address | None, tuple[Address, ...]]:
    """The envelope from fields `Outrider-Mail-From` and `Outrider-Rcpt-To`, or from the query.

    Addresses in a query end up in the logs of proxies, so fields are the better place.
    """
    faults: list[Fault] = []
    senders = _values(request, query, MAIL_FROM_FIELD, "from", faults)
    if len(senders) != 1:
        faults.append(Fault("from", "exactly one sender is needed; `<>` is the null sender"))
    mail_from = None
    if senders and senders[0] not in ("", "<>"):
        mail_from = _parse(senders[0], "from", faults)
    given = _values(request, query, RCPT_TO_FIELD, "to", faults)
    if not given:
        faults.append(Fault("to", "at least one recipient is needed"))
    found = [_parse(text, f"to/{number}", faults) for number, text in enumerate(given)]
    if faults:
        raise Problem("bad_parameter", errors=tuple(faults))
    return mail_from, tuple(dict.fromkeys(address for address in found if address is not None))


def _values(request: Request, query: Query, field: str, parameter: str, faults: list[Fault]) -> list[str]:
    """The values of a field, or else of a query parameter; both together are a fault."""
    name = field.encode("ascii")
    raw = [value for key, value in request.headers.raw if key == name]
    values = query.get(parameter, [])
    if raw and values:
        faults.append(Fault(parameter, f"stands in the query and in the field {field}; use one"))
    if not raw:
        return values
    try:
        texts = [value.decode() for value in raw]
    except UnicodeDecodeError:
        faults.append(Fault(parameter, f"the field {field} is not UTF-8"))
        return []
    return texts if field == MAIL_FROM_FIELD else [each for text in texts for each in _listed(text)]


def _listed(text: str) -> list[str]:
    """The elements of a list, which whoever passes several fields on may make of them."""
    found: list[str] = []
    start = 0
    is_quoted = False
    for match in _SIGN.finditer(text):
        if match[0] == '"':
            is_quoted = not is_quoted
        elif match[0] == "," and not is_quoted:
            found.append(text[start : match.start()].strip(" \t"))
            start = match.end()
    return [element for element in (*found, text[start:].strip(" \t")) if element]


def _parse(text: str, parameter: str, faults: list[Fault]) -> Address | None:
    bare = text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text
    try:
        return parse_mailbox(bare, smtputf8=True)
    except AddressError as error:
        hint = "; in a query a `+` is a space, write it as %2B" if " " in text else ""
        faults.append(Fault(parameter, error.message + hint))
        return None

"""One question to one nameserver: UDP first, TCP when the answer does not fit.

In: a query and a server. Out: a response that belongs to it, or `ExchangeError`.

Theory: each UDP exchange has a socket of its own, connected, so that the kernel draws a fresh random port
and drops what comes from elsewhere; with the random id that is what an off-path forger must guess
(RFC 5452 §4). A datagram that does not fit the question is ignored, not believed and not fatal, until there
are too many: then somebody is guessing, and TCP, which cannot be forged blindly, gets the question
(RFC 5452 §9.3).

Standards: RFC 1035 §4.2 (transport), RFC 7766 §5 (TCP on truncation), RFC 5452 §9.1 (what must match).
"""

import asyncio
import struct

import dns.exception
import dns.flags
import dns.message

FORGERIES_MAX = 16
# Datagrams that do not fit before the question goes over TCP; chosen, because honest strays are rare.

ANSWER_RECORDS_MAX = 256
# Records of an answer that are read: a record costs 40 µs to parse (measured) and the loop must not be held
# over 20 ms; the longest honest answers have some dozens.

HEADER_OCTETS = 12
# RFC 1035 §4.1.1.

_LENGTH = struct.Struct("!H")
_COUNTS = struct.Struct("!HHH")  # answer, authority, additional: RFC 1035 §4.1.1
_COUNTS_AT = 6


class ExchangeError(Exception):
    """No usable answer from this server: silence, refusal to connect, or nonsense."""


class CutShortError(ExchangeError):
    """The server's answer by UDP is cut short, and by TCP, where it would be whole, it gives none."""


class _Truncated(Exception):  # noqa: N818 - a signal within this module, not an error
    """The answer must be fetched over TCP."""


class _Datagram(asyncio.DatagramProtocol):
    def __init__(self, query: dns.message.Message, wire: bytes, answered: asyncio.Future[bytes]) -> None:
        self._query = query
        self._wire = wire
        self._answered = answered
        self._strays = 0

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - the socket is connected
        if self._answered.done():
            return
        if data[:2] == self._wire[:2] and _is_answer(self._query, data):
            self._answered.set_result(data)
            return
        self._strays += 1
        if self._strays > FORGERIES_MAX:
            self._answered.set_exception(_Truncated())

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(ExchangeError(str(exc) or type(exc).__name__))


async def exchange(
    query: dns.message.Message, server: tuple[str, int], timeout_seconds: float
) -> dns.message.Message:
    """Ask `server`; the response has the query's id and question, and at most `ANSWER_RECORDS_MAX` answers.

    Raises:
        ExchangeError: Nothing usable came in time.
    """
    wire, failed = query.to_wire(), ExchangeError
    try:
        async with asyncio.timeout(timeout_seconds):
            try:
                data = await _ask_udp(query, wire, server)
            except _Truncated:
                failed = CutShortError
                data = await _ask_tcp(wire, server)
    except TimeoutError as error:
        raise failed("no answer in time") from error
    except (OSError, EOFError) as error:
        raise failed(str(error) or type(error).__name__) from error
    return _parsed(query, data)


async def _ask_udp(query: dns.message.Message, wire: bytes, server: tuple[str, int]) -> bytes:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagram(query, wire, answered), remote_addr=server
    )
    try:
        transport.sendto(wire)
        data = await answered
    finally:
        transport.close()
    if data[2] << 8 & dns.flags.TC:
        raise _Truncated
    return data


async def _ask_tcp(wire: bytes, server: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(_LENGTH.pack(len(wire)) + wire)
        (length,) = _LENGTH.unpack(await reader.readexactly(2))
        if length < HEADER_OCTETS:
            raise EOFError("answer shorter than a DNS header")
        return await reader.readexactly(length)
    finally:
        writer.close()


def _is_answer(query: dns.message.Message, data: bytes) -> bool:
    """True when header and question are those of an answer to `query`; the rest is not looked at."""
    try:
        return query.is_response(dns.message.from_wire(data, question_only=True))
    except dns.exception.DNSException:
        return False


def _parsed(query: dns.message.Message, data: bytes) -> dns.message.Message:
    answers, _, _ = _COUNTS.unpack_from(data, _COUNTS_AT)
    if answers > ANSWER_RECORDS_MAX:
        # Read as if the message ended behind the records that we take; the rest is trailing octets.
        data = data[:_COUNTS_AT] + _COUNTS.pack(ANSWER_RECORDS_MAX, 0, 0) + data[_COUNTS_AT + _COUNTS.size :]
    try:
        response = dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError) as error:
        raise ExchangeError(f"malformed answer: {type(error).__name__}") from error
    if not query.is_response(response):
        raise ExchangeError("the answer does not belong to the question")
    return response

"""A Redis command with placeholders, and its reply as rows.

In: text such as `HGETALL customer:?` and parameters. Out: the words that are sent. Words are separated by
white space; quotes hold one together and nothing in them is a placeholder. `?` (by position) or `$name` (by
name) may stand anywhere in a word but the first, which is the command.

Theory: RESP sends each word with its length, so a parameter is never more than a part of its own word. What
it can do is name another key below the written prefix, and nothing else.

Which commands there are: those that answer at once and leave the connection as it was. Others (subscriptions,
transactions, blocking ones, administration) would make a pooled connection useless.

Standards: the Redis serialization protocol, version 2.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from outrider.store.sources.failures import SourceParameterError, SourceQueryError
from outrider.store.sources.placeholders import TEXT_MAX
from outrider.store.sources.rows import Row, Rows, Value, row_of

READING: Final = frozenset(
    (
        "BITCOUNT",
        "BITPOS",
        "DBSIZE",
        "ECHO",
        "EXISTS",
        "EXPIRETIME",
        "GEODIST",
        "GEOHASH",
        "GEOPOS",
        "GET",
        "GETBIT",
        "GETRANGE",
        "HEXISTS",
        "HGET",
        "HGETALL",
        "HKEYS",
        "HLEN",
        "HMGET",
        "HSTRLEN",
        "HVALS",
        "LCS",
        "LINDEX",
        "LLEN",
        "LPOS",
        "LRANGE",
        "MGET",
        "PEXPIRETIME",
        "PFCOUNT",
        "PING",
        "PTTL",
        "SCARD",
        "SDIFF",
        "SINTER",
        "SINTERCARD",
        "SISMEMBER",
        "SMEMBERS",
        "SMISMEMBER",
        "STRLEN",
        "SUNION",
        "TTL",
        "TYPE",
        "ZCARD",
        "ZCOUNT",
        "ZLEXCOUNT",
        "ZMSCORE",
        "ZRANGE",
        "ZRANGEBYLEX",
        "ZRANGEBYSCORE",
        "ZRANK",
        "ZREVRANGE",
        "ZREVRANGEBYSCORE",
        "ZREVRANK",
        "ZSCORE",
    )
)
WRITING: Final = frozenset(
    (
        "APPEND",
        "DECR",
        "DECRBY",
        "DEL",
        "EXPIRE",
        "EXPIREAT",
        "GETDEL",
        "GETEX",
        "GETSET",
        "HDEL",
        "HINCRBY",
        "HINCRBYFLOAT",
        "HMSET",
        "HSET",
        "HSETNX",
        "INCR",
        "INCRBY",
        "INCRBYFLOAT",
        "LPOP",
        "LPUSH",
        "LREM",
        "LSET",
        "LTRIM",
        "MSET",
        "PERSIST",
        "PEXPIRE",
        "PFADD",
        "PSETEX",
        "RPOP",
        "RPUSH",
        "SADD",
        "SET",
        "SETBIT",
        "SETEX",
        "SETNX",
        "SETRANGE",
        "SPOP",
        "SREM",
        "UNLINK",
        "ZADD",
        "ZINCRBY",
        "ZPOPMAX",
        "ZPOPMIN",
        "ZREM",
        "ZREMRANGEBYRANK",
        "ZREMRANGEBYSCORE",
    )
)

_PIECE: Final = re.compile(
    r"(?P<space>\s+)|\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<mark>\?)|\$(?P<name>[^\W\d]\w*)"
    r"|(?P<text>[^\s\"'?$]+|\$)|(?P<open>[\"'])"
)


class Command(NamedTuple):
    """A command as written.

    Attributes:
        name: In capitals.
        words: The others; of each its parts: text, or the number of an argument.
        order: See `placeholders.Compiled`.
        needed: See `placeholders.Compiled`.
    """

    name: str
    words: tuple[tuple[str | int, ...], ...]
    order: tuple[int | str, ...]
    needed: int


def compile_command(text: str, *, by_name: bool, writable: bool) -> Command:
    """The command in `text`.

    Raises:
        SourceQueryError: It is none that may be sent, or not written as it must be.
    """
    if len(text) > TEXT_MAX:
        raise SourceQueryError(f"the command is longer than {TEXT_MAX} characters")
    words, order = _words(text, by_name=by_name)
    first = words[0] if words else []
    if len(first) != 1 or not isinstance(first[0], str):
        raise SourceQueryError("a Redis command begins with its name, such as HGETALL customer:?")
    name = first[0].upper()
    if name not in READING and not (writable and name in WRITING):
        known = name in WRITING
        reason = "writes; set writable for this source" if known else "is none of those that a source takes"
        raise SourceQueryError(f"the Redis command {name[:32]!r} {reason}")
    needed = 0 if by_name else len(order)
    return Command(name, tuple(tuple(word) for word in words[1:]), tuple(order), needed)


def _words(text: str, *, by_name: bool) -> tuple[list[list[str | int]], list[int | str]]:
    words: list[list[str | int]] = []
    order: list[int | str] = []
    is_within = False
    for piece in _PIECE.finditer(text):
        if piece["space"]:
            is_within = False
            continue
        if piece["open"]:
            raise SourceQueryError(f"the quote at character {piece.start() + 1} of the command is not closed")
        if not is_within:
            words.append([])
            is_within = True
        if piece["mark"] if not by_name else piece["name"]:
            order.append(piece["name"] if by_name else len(order))
            words[-1].append(len(order) - 1)
        else:
            quoted = piece["double"] if piece["double"] is not None else piece["single"]
            words[-1].append(piece.group() if quoted is None else quoted)
    return words, order


def words_of(command: Command, arguments: Sequence[Value]) -> list[bytes]:
    """What is sent.

    Raises:
        SourceParameterError: An argument is none; Redis has no such value.
    """
    words = (
        b"".join(part.encode() if isinstance(part, str) else _octets(arguments[part]) for part in word)
        for word in command.words
    )
    return [command.name.encode(), *words]


def _octets(value: Value) -> bytes:
    match value:
        case bytes():
            return value
        case None:
            raise SourceParameterError("a parameter is none, which Redis has no word for")
        case _:
            return str(value).encode()


def rows_of_reply(name: str, words: Sequence[bytes], reply: Any) -> Rows:
    """The reply to a command as rows.

    HGETALL and HMGET give one row with the hash's fields as columns, or none where there is nothing.
    Everything else gives the column `value`: one row for a value, one for each element of a list, none for
    nil.
    """
    if reply is None:
        return ()
    if name == "HGETALL" and isinstance(reply, list | tuple):
        names, values = reply[::2], reply[1::2]
        return _record(names, values)
    if name == "HMGET" and isinstance(reply, list | tuple):
        return _record(words[2:], reply) if any(value is not None for value in reply) else ()
    if isinstance(reply, list | tuple):
        return tuple(_value_row(each) for each in reply)
    return (_value_row(reply),)


def _record(names: Sequence[bytes], values: Sequence[Any]) -> Rows:
    if not names:
        return ()
    pairs = zip(names, values, strict=True)
    return (row_of({name.decode("utf-8", "backslashreplace"): _text(value) for name, value in pairs}),)


def _value_row(value: Any) -> Row:
    return row_of({"value": _text(value)})


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, list | tuple):
        return [_text(each) for each in value]
    return value

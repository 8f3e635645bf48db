"""ARC: a chain of seals, by which those who pass a message on say what they found when it came.

In: a message. Out: whether its chain holds (`Chain`, without I/O like the verifier), and for a message that
is passed on, the three fields of the next set (`seal`). They may be asked for when the message comes
(`ask_seal`, which keeps what was found then, because a set says only that) and made when it leaves
(`make_seal`).

Theory: each set holds what its sealer found, a signature over the message as it was then, and a seal over all
sets so far. The newest message signature must fit the message as it is now; older ones need not, because that
is what ARC is for. A chain that failed once has failed for good: it is sealed once more to say so, and then
no more.

Standards: RFC 8617 §4.1 (fields), RFC 8617 §5.1 (sealing), RFC 8617 §5.2 (validating), RFC 8617 §4.2.1 (50
sets), RFC 8617 §6 (results).
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace

from outrider.model.flow import Content
from outrider.wire.dkim.authentication_results import Checked, format_payload
from outrider.wire.dkim.canonical import relaxed_field
from outrider.wire.dkim.fields import Field
from outrider.wire.dkim.listing import UnsignableError, list_fields
from outrider.wire.dkim.message import Parts
from outrider.wire.dkim.record import record_name
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.results import Fault, Records, SignatureResult
from outrider.wire.dkim.signature import FIELD_NAME, Signature, SignatureError, own_octets, parse_signature
from outrider.wire.dkim.signer import Keys, check_key, folded_base64, own_form, signed_field
from outrider.wire.dkim.tags import TagError, parse_tags
from outrider.wire.dkim.verifier import check_signature, usable_key

RESULTS: Final = b"arc-authentication-results"
MESSAGE: Final = b"arc-message-signature"
SEAL: Final = b"arc-seal"
_MESSAGE_FIELD: Final = b"ARC-Message-Signature"
# as it is written
SETS_MAX: Final = 50
"""RFC 8617 §4.2.1."""

_REMOTE_IP: Final = "smtp.remote-ip"
_POSITION: Final = re.compile(r"0?[1-9]|[1-9][0-9]{1,2}")
# RFC 8617 §3.9: two digits; of three it is too many sets, and no field that cannot be read
_MARK: Final = re.compile(rb"[();\\]")

_FIELD_OF_SET: Final = (RESULTS, MESSAGE, SEAL)  # the order in which a seal covers them, RFC 8617 §5.1.1


class ChainState(StrEnum):
    """Words for `cv=` and for `arc=` in results (RFC 8617 §4.4, RFC 8617 §7.3)."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a word of the standard
    FAIL = "fail"


class ChainResult(msgspec.Struct, frozen=True):
    """A chain, checked.

    Attributes:
        state: Whether it holds.
        reason: Why not.
        sets: How many sets it has; of a broken one, the highest number of any.
        is_closed: Its newest seal says that it failed; nobody adds another.
        oldest_pass: The message was not changed since this set was made (0: since the first); only where the
            chain holds.
        newest: The newest message signature, where it could be read.
        is_transient: A look-up failed; another time it may hold.
    """

    state: ChainState
    reason: str = ""
    sets: int = 0
    is_closed: bool = False
    oldest_pass: int = 0
    newest: SignatureResult | None = None
    is_transient: bool = False

    def checked(self, client: str = "") -> Checked:
        """For `Authentication-Results`."""
        properties = (
            ("header.oldest-pass", str(self.oldest_pass) if self.state is ChainState.PASS else ""),
            (_REMOTE_IP, client),
        )
        return Checked("arc", self.state, self.reason, properties)


class _Set(msgspec.Struct, frozen=True):
    """One set: its fields, and what they say."""

    fields: tuple[Field, Field, Field]
    message: Signature
    seal: Signature


class _BrokenError(Exception):
    """The chain does not hold; the text says why."""


class Chain:
    """The chain of one message.

    Args:
        content: The message.
        now: Unix seconds.
        parts: Of the message, where it was taken apart already.
    """

    __slots__ = ("_broken", "_count", "_now", "_parts", "_sets", "names")

    def __init__(self, content: Content, now: float, parts: Parts | None = None) -> None:
        self._parts = Parts(content) if parts is None else parts
        self._now = now
        self._sets: tuple[_Set, ...] = ()
        self._broken = ""
        self._count = 0
        try:
            self._sets = self._read()
        except _BrokenError as error:
            self._broken = str(error)
        self.names = tuple(
            dict.fromkeys(
                record_name(each.known.selector, each.known.domain)
                for one in self._sets
                for each in (one.message, one.seal)
            )
        )
        """Where the keys are, each once."""

    def result(self, answers: Mapping[str, Records]) -> ChainResult:
        """Whether the chain holds (RFC 8617 §5.2)."""
        count = self._count
        if self._broken:
            closed = self._is_closed()
            return ChainResult(ChainState.FAIL, self._broken, count, is_closed=closed)
        if not self._sets:
            return ChainResult(ChainState.NONE)
        newest = self._message(self._sets[-1], answers)
        if not newest.is_pass:
            return _fail(f"message signature {count}: {newest.reason}", count, newest, newest.fault)
        for number in range(count, 0, -1):
            found = self._sealed(number, answers)
            if not found.is_pass:
                return _fail(f"seal {number}: {found.reason}", count, newest, found.fault)
        return ChainResult(ChainState.PASS, sets=count, oldest_pass=self._oldest_pass(answers), newest=newest)

    def _read(self) -> tuple[_Set, ...]:
        columns = [self._parts.fields(name) for name in _FIELD_OF_SET]
        numbered: dict[tuple[bytes, int], Field] = {}
        for name, column in zip(_FIELD_OF_SET, columns, strict=True):
            for field in column:
                numbered[name, _instance(name, field)] = field
        count = self._count = max((number for _, number in numbered), default=0)
        most = max(count, *map(len, columns))
        if most > SETS_MAX:
            raise _BrokenError(f"more than {SETS_MAX} sets")
        if len({len(column) for column in columns}) != 1 or len(numbered) != 3 * len(columns[0]):
            raise _BrokenError("there is not one field of each kind for each set")
        sets = []
        for number in range(1, most + 1):
            if (RESULTS, number) not in numbered:
                raise _BrokenError(f"set {number} is missing")
            sets.append(self._set(number, numbered))
        return tuple(sets)

    @staticmethod
    def _set(number: int, numbered: Mapping[tuple[bytes, int], Field]) -> _Set:
        try:
            message = _signature(MESSAGE, numbered[MESSAGE, number])
            seal = _signature(SEAL, numbered[SEAL, number])
        except KeyError:
            raise _BrokenError(f"set {number} is not whole") from None
        except SignatureError as error:
            raise _BrokenError(f"set {number}: {error.message}") from error
        state = seal.tags.get("cv", "").lower()
        if "h" in seal.tags:
            raise _BrokenError(f"seal {number} holds h=")  # RFC 8617 §4.1.3
        if state == ChainState.FAIL:
            raise _BrokenError(f"seal {number} says that the chain failed before it")
        if state != (ChainState.NONE if number == 1 else ChainState.PASS):
            raise _BrokenError(f"seal {number} says cv={state[:10]}")
        fields = (numbered[RESULTS, number], numbered[MESSAGE, number], numbered[SEAL, number])
        return _Set(fields, message, seal)

    def _is_closed(self) -> bool:
        """True when the newest seal, as far as it can be read, says that the chain failed."""
        return self._count > 0 and any(
            _instance(SEAL, field) == self._count
            and _tags(SEAL, field).get("cv", "").lower() == ChainState.FAIL
            for field in self._parts.fields(SEAL)
        )

    def _message(self, one: _Set, answers: Mapping[str, Records]) -> SignatureResult:
        if SEAL in one.message.names:
            return replace(one.message.known, fault=Fault.SYNTAX, reason="h= names ARC-Seal")
        return check_signature(self._parts, one.message, answers, self._now)

    def _sealed(self, number: int, answers: Mapping[str, Records]) -> SignatureResult:
        seal = self._sets[number - 1].seal
        found, record = usable_key(seal.known, answers)
        if record is None:
            return found
        before = _sets_octets([one.fields for one in self._sets[:number]])
        own = relaxed_field(SEAL, self._sets[number - 1].fields[2].value)
        data = before[: len(before) - len(own)] + seal.own
        if not record.key.is_good(seal.signature, data):
            return replace(found, fault=Fault.SIGNATURE, reason="it does not fit the sets and its key")
        return found

    def _oldest_pass(self, answers: Mapping[str, Records]) -> int:
        """RFC 8617 §5.2, step 5: the oldest set since which nothing was changed; 0 when that is the first."""
        for number in range(len(self._sets) - 1, 0, -1):
            if not self._message(self._sets[number - 1], answers).is_pass:
                return number + 1
        return 0


class SealRequest(msgspec.Struct, frozen=True):
    """The next set, asked for.

    Attributes:
        request: Whose seal; `identity` and `expiry_seconds` mean nothing here.
        results: What was found when the message came, as `format_payload` writes it.
        sets: How many sets it had.
        state: Whether its chain held.
    """

    request: SignRequest
    results: bytes
    sets: int
    state: ChainState


def ask_seal(
    request: SignRequest, authserv_id: str, checks: Sequence[Checked], chain: ChainResult
) -> SealRequest | None:
    """What `make_seal` needs to know later; None where nobody adds to the chain.

    That is where it was closed, or has as many sets as there may be, or claims more.

    Args:
        request: Whose seal.
        authserv_id: Who checked.
        checks: What was found when the message came; `arc` is written anew, with the client's address that it
            had.
        chain: What was found of its chain *when the message came*.

    Raises:
        LocalProtocolError: `authserv_id` is no such name.
    """
    if chain.is_closed or chain.sets >= SETS_MAX:
        return None
    others = [check for check in checks if check.method != "arc"]
    clients = [dict(check.properties).get(_REMOTE_IP, "") for check in checks if check.method == "arc"]
    found = [*others, chain.checked("".join(clients[:1]))]
    return SealRequest(request, format_payload(authserv_id, found), chain.sets, chain.state)


def has_sets(content: Content, count: int) -> bool:
    """True when a message holds the sets up to `count`, and no later one."""
    parts = Parts(content)
    wanted = set(range(1, count + 1))
    return all({_instance(name, field) for field in parts.fields(name)} == wanted for name in _FIELD_OF_SET)


def seal(
    content: Content,
    request: SignRequest,
    keys: Keys,
    now: float,
    *,
    authserv_id: str,
    checks: Sequence[Checked],
    chain: ChainResult,
) -> bytes:
    """`ask_seal` and `make_seal` in one; empty where the chain is closed."""
    asked = ask_seal(request, authserv_id, checks, chain)
    return b"" if asked is None else make_seal(content, asked, keys, now)


def make_seal(content: Content, asked: SealRequest, keys: Keys, now: float) -> bytes:
    """The three fields of the next set, to put before `content`.

    Args:
        content: The message as it will leave, signatures included.
        asked: The set.
        keys: Where the key is.
        now: Unix seconds, for `t=`.

    Raises:
        UnsignableError: The key is too short, or the sets that the message came with are not there any more.
        KeyAbsentError: The key is not there.
    """
    request = asked.request
    number = asked.sets + 1
    key = keys.get(request.key)
    check_key(key, request)
    results = b"ARC-Authentication-Results: i=%d; %b\r\n" % (number, asked.results)
    parts = Parts(content)
    listing = list_fields(parts.counts, request, (FIELD_NAME,))  # RFC 8617 §4.1.2
    value = b" i=%d; a=%b; c=%b/%b;\r\n\td=%b; s=%b; t=%d;\r\n" % (
        number,
        key.algorithm.encode("ascii"),
        request.header.encode("ascii"),
        request.body.encode("ascii"),
        request.domain.encode("ascii"),
        request.selector.encode("ascii"),
        now,
    )
    digest = folded_base64(parts.body_digest(request.body))
    value += listing.tag + b"\tbh=%b;\r\n\tb=" % digest
    own = own_form(_MESSAGE_FIELD, value, request.header)
    fields = parts.canonical_all(listing.picks, request.header)
    message = signed_field(_MESSAGE_FIELD, value, own, fields, key)
    value = b" i=%d; a=%b; t=%d; cv=%b;\r\n\td=%b; s=%b;\r\n\tb=" % (
        number,
        key.algorithm.encode("ascii"),
        now,
        asked.state.encode("ascii"),
        request.domain.encode("ascii"),
        request.selector.encode("ascii"),
    )
    # RFC 8617 §5.1.2: a chain that failed cannot be covered in a way that all agree on; this set alone is
    earlier = b"" if asked.state is ChainState.FAIL else _sets_octets(_numbered_sets(parts, asked.sets))
    data = earlier + _own_octets(results, message) + relaxed_field(SEAL, value)[:-2]
    return b"ARC-Seal:%b%b\r\n" % (value, folded_base64(key.sign(data))) + message + results


def _own_octets(results: bytes, message: bytes) -> bytes:
    return b"".join(
        relaxed_field(name, field[len(name) + 1 : -2])
        for name, field in ((RESULTS, results), (MESSAGE, message))
    )


def _numbered_sets(parts: Parts, count: int) -> list[tuple[Field, Field, Field]]:
    columns = []
    for name in _FIELD_OF_SET:
        column = {_instance(name, field): field for field in parts.fields(name)}
        try:
            columns.append([column[number] for number in range(1, count + 1)])
        except KeyError:
            raise UnsignableError(
                f"the message came with {count} ARC sets, and they are not whole any more", sets=count
            ) from None
    return list(zip(*columns, strict=True))


def _sets_octets(sets: Sequence[tuple[Field, Field, Field]]) -> bytes:
    return b"".join(
        relaxed_field(name, field.value)
        for one in sets
        for name, field in zip(_FIELD_OF_SET, one, strict=True)
    )


def _signature(name: bytes, field: Field) -> Signature:
    """A message signature or a seal. Raises SignatureError."""
    plain = _without_comments(name, field.value)
    found = parse_signature(name, field._replace(value=plain), is_arc=True, is_seal=name == SEAL)
    return found if plain == field.value else replace(found, own=own_octets(name, field, found.header))


def _instance(name: bytes, field: Field) -> int:
    """The number of a field's set; 0 when it cannot be read."""
    number = _tags(name, field).get("i", "")
    return int(number) if _POSITION.fullmatch(number) else 0


def _tags(name: bytes, field: Field) -> dict[str, str]:
    """The tags of a field, of ARC-Authentication-Results the number alone; none where they cannot be read."""
    value = _without_comments(name, field.value).decode("latin-1")
    if name == RESULTS:
        value = value.partition(";")[0]  # RFC 8617 §4.1.1: it stands first; the rest is no tag list
    try:
        return parse_tags(value)
    except TagError:
        return {}


def _without_comments(name: bytes, value: bytes) -> bytes:
    """A value without the comments that may stand about `i=` and `cv=` (RFC 8617 §3.9).

    The former stands before any semicolon, the latter anywhere in a seal, whose tags hold no parentheses.
    """
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    place = depth = 0
    while (found := _MARK.search(value, place)) is not None:
        mark, start = found[0], place
        place = found.end() + (mark == b"\\" and depth > 0)
        if depth:
            depth += {b"(": 1, b")": -1}.get(mark, 0)
        elif mark == b";" and name != SEAL:
            return b"".join(kept) + value[start:]
        elif mark == b"(":
            kept += (value[start : found.start()], b" ")
            depth = 1
        else:
            kept.append(value[start:place])
    return b"".join(kept) + (b"" if depth else value[place:])


def _fail(reason: str, count: int, newest: SignatureResult, fault: Fault) -> ChainResult:
    return ChainResult(ChainState.FAIL, reason, count, newest=newest, is_transient=fault is Fault.LOOKUP)

"""The verifier, without I/O: what to look up for a message, and what its signatures are worth then.

    verification = Verification(content, now)
    results = verification.results({name: await ask(name) for name in verification.names})

Theory: every signature is checked, whatever the others say, and nothing is decided here: what a failed
signature means is policy's. A signature that covers only a part of the body (`l=`) does not pass unless
that is all of it, because anybody may have added the rest (RFC 6376 §8.2).

Invariant: whatever the message and the records hold, there is a result for each signature that was looked
at, and no exception; work is bounded by the size of the message and by the limits.

Standards: RFC 6376 §6.1 (verifiers), RFC 6376 §8.4 (many signatures), RFC 8301 §3 (algorithms and sizes),
RFC 8463 §3 (Ed25519).
"""

import hmac
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from outrider.model.flow import Content
from outrider.wire.dkim.keys import RSA_BITS_MAX, RSA_BITS_MIN
from outrider.wire.dkim.message import Parts, Picks, pick
from outrider.wire.dkim.record import KeyRecord, RecordError, parse_records, record_name
from outrider.wire.dkim.results import Fault, Records, SignatureResult
from outrider.wire.dkim.signature import FIELD_NAME, SKEW_SECONDS, Signature, SignatureError, parse_signature

NO_ANSWER: Final = Records(trouble="it was not looked up")


SIGNATURES_MAX: Final = 10
"""Chosen: mail that went through several hands has three or four; later ones get `Fault.TOO_MANY`."""


class Verification:
    """See the module.

    Args:
        content: The message.
        now: Unix seconds.
        parts: Of the message, where it was taken apart already.
    """

    __slots__ = ("_now", "_parts", "_read", "_rest", "names")

    def __init__(self, content: Content, now: float, parts: Parts | None = None) -> None:
        self._parts = Parts(content) if parts is None else parts
        self._now = now
        fields = self._parts.fields(FIELD_NAME)
        self._rest = max(0, len(fields) - SIGNATURES_MAX)
        self._read: list[Signature | SignatureResult] = []
        for field in fields[:SIGNATURES_MAX]:
            try:
                self._read.append(parse_signature(FIELD_NAME, field))
            except SignatureError as error:
                self._read.append(error.result)
        self.names = tuple(
            dict.fromkeys(
                record_name(each.known.selector, each.known.domain)
                for each in self._read
                if isinstance(each, Signature)
            )
        )
        """Where the keys are, each once; TXT records are to be looked up there."""

    def results(self, answers: Mapping[str, Records]) -> tuple[SignatureResult, ...]:
        """The results, in the order of the fields; empty when the message is not signed.

        Args:
            answers: By name; one that is missing is a look-up that failed.
        """
        checked = [
            check_signature(self._parts, each, answers, self._now, place)
            if isinstance(each, Signature)
            else each
            for place, each in enumerate(self._read)
        ]
        unseen = SignatureResult(
            fault=Fault.TOO_MANY, reason=f"only {SIGNATURES_MAX} signatures are looked at"
        )
        return (*checked, *[unseen] * min(self._rest, 1))


def check_signature(
    parts: Parts, signature: Signature, answers: Mapping[str, Records], now: float, place: int = -1
) -> SignatureResult:
    """Check one signature over header fields and body.

    Args:
        parts: The message.
        signature: The signature.
        answers: Key records by name.
        now: Unix seconds.
        place: Of a DKIM-Signature its place among the fields of that name.
    """
    known = _with_body(parts, signature)
    if b"from" not in signature.names:
        return replace(known, fault=Fault.FROM_UNSIGNED, reason="From is not signed")
    found, record = usable_key(known, answers)
    if record is None:
        return found
    if found.body_octets is not None and found.body_matches is None:
        return replace(found, fault=Fault.BODY_LENGTH, reason="l= is longer than the body")
    if not found.body_matches:
        return replace(found, fault=Fault.BODY, reason="the body is not what was signed")
    data = parts.canonical_all(_signed(parts, signature, place), signature.header) + signature.own
    if not record.key.is_good(signature.signature, data):
        return replace(found, fault=Fault.SIGNATURE, reason="the signature does not fit header and key")
    timely = timely_fault(found, now)
    if timely is not None:
        return timely
    if found.body_octets is not None and not _is_whole(parts, signature, found):
        return replace(
            found, fault=Fault.BODY_LENGTH, reason=f"only {found.body_octets} octets of the body are signed"
        )
    return found


def _signed(parts: Parts, signature: Signature, place: int) -> Picks:
    """The fields that a signature covers; never itself, which was not there yet (RFC 6376 §3.5, `h=`)."""
    if place < 0 or FIELD_NAME not in signature.names:
        return pick(signature.names, parts.counts)
    counts = tuple((name, count - (name == FIELD_NAME)) for name, count in parts.counts)
    return tuple(
        (name, at + (name == FIELD_NAME and at >= place)) for name, at in pick(signature.names, counts)
    )


def usable_key(
    known: SignatureResult, answers: Mapping[str, Records]
) -> tuple[SignatureResult, KeyRecord | None]:
    """The signature with what is known of its key, and the record; without one, the result says why."""
    answer = answers.get(record_name(known.selector, known.domain), NO_ANSWER)
    known = replace(known, was_looked_up=True)
    if answer.trouble:
        return replace(known, fault=Fault.LOOKUP, reason=f"the key was not found: {answer.trouble}"), None
    if not answer.texts:
        return replace(known, fault=Fault.NO_KEY, reason="there is no key record"), None
    try:
        record = parse_records(answer.texts)
    except RecordError as error:
        fault = Fault.KEY_REVOKED if error.is_revoked else Fault.KEY_SYNTAX
        return replace(known, fault=fault, reason=error.message), None
    known = replace(
        known,
        key_bits=record.key.bits,
        key_is_testing=record.is_testing,
        key_is_strict=record.is_strict,
    )
    unfit = _unfit(known, record)
    if unfit is not None:
        return unfit, None
    return known, record


def _unfit(known: SignatureResult, record: KeyRecord) -> SignatureResult | None:
    kind, _, digest = known.algorithm.partition("-")
    if record.key.record_type != kind:
        reason = f"the key is for {record.key.record_type}, the signature is {known.algorithm}"
        return replace(known, fault=Fault.KEY_UNFIT, reason=reason)
    if record.hashes and digest not in record.hashes:
        return replace(known, fault=Fault.KEY_UNFIT, reason=f"the key is not for {digest}")
    if not record.is_for_mail:
        return replace(known, fault=Fault.KEY_UNFIT, reason="the key is not for mail")
    if kind == "rsa" and not RSA_BITS_MIN <= record.key.bits <= RSA_BITS_MAX:
        reason = f"a key of {record.key.bits} bits is not taken (RFC 8301 §3.2)"
        return replace(known, fault=Fault.KEY_SHORT, reason=reason)
    host = known.identity.rpartition("@")[2].lower()
    if record.is_strict and not known.instance and host != known.domain:
        return replace(known, fault=Fault.IDENTITY, reason="the key does not serve subdomains (t=s)")
    return None


def timely_fault(known: SignatureResult, now: float) -> SignatureResult | None:
    """The result of a signature that is expired, or of the future; None when it is of now."""
    signed, expiry = known.signed_time, known.expiry_time
    if expiry is not None and (expiry < now or (signed is not None and expiry <= signed)):
        return replace(known, fault=Fault.EXPIRED, reason="the signature is expired")
    if signed is not None and signed > now + SKEW_SECONDS:
        return replace(known, fault=Fault.FUTURE, reason="the signature is of a later time than now")
    return None


def _with_body(parts: Parts, signature: Signature) -> SignatureResult:
    known = signature.known
    try:
        digest = parts.body_digest(signature.body, known.body_octets)
    except ValueError:
        return known  # compared to nothing
    return replace(known, body_matches=hmac.compare_digest(digest, signature.body_hash))


def _is_whole(parts: Parts, signature: Signature, known: SignatureResult) -> bool:
    return parts.body_digest(signature.body) == parts.body_digest(signature.body, known.body_octets)

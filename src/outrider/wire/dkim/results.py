"""What checking a signature gives.

Theory: the word is the one that goes into `Authentication-Results`; the fault says exactly what was wrong,
for policy and logs. A failure of a signature is a value, never an exception: the message is another's.

Standards: RFC 8601 §2.7.1 (the words), RFC 6376 §3.9 (what may come of a check).
"""

from enum import StrEnum

import msgspec


class Result(StrEnum):
    """Words of RFC 8601 §2.7.1."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a word of the standard
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Fault(StrEnum):
    """What is wrong with a signature, exactly."""

    NONE = "none"
    SYNTAX = "syntax"  # the field cannot be read, or lacks a tag
    ALGORITHM = "algorithm"  # not one that is known
    OLD_ALGORITHM = "old-algorithm"  # rsa-sha1, RFC 8301 §3.1
    IDENTITY = "identity"  # i= is not of d=, or of a subdomain although the key says t=s
    FROM_UNSIGNED = "from-unsigned"
    EXPIRED = "expired"
    FUTURE = "future"
    BODY_LENGTH = "body-length"  # l= is longer than the body, or leaves some of it unsigned
    NO_KEY = "no-key"
    KEY_SYNTAX = "key-syntax"
    KEY_REVOKED = "key-revoked"
    KEY_UNFIT = "key-unfit"  # for another algorithm, hash or service
    KEY_SHORT = "key-short"
    LOOKUP = "lookup"  # the nameservers gave no answer; transient
    BODY = "body"  # the body was changed
    SIGNATURE = "signature"  # the header was changed, or another key signed
    TOO_MANY = "too-many"  # more signatures than are looked at


RESULTS = {
    Fault.NONE: Result.PASS,
    Fault.SYNTAX: Result.PERMERROR,
    Fault.ALGORITHM: Result.NEUTRAL,
    Fault.OLD_ALGORITHM: Result.POLICY,
    Fault.IDENTITY: Result.PERMERROR,
    Fault.FROM_UNSIGNED: Result.PERMERROR,
    Fault.EXPIRED: Result.FAIL,
    Fault.FUTURE: Result.POLICY,
    Fault.BODY_LENGTH: Result.POLICY,
    Fault.NO_KEY: Result.PERMERROR,
    Fault.KEY_SYNTAX: Result.PERMERROR,
    Fault.KEY_REVOKED: Result.PERMERROR,
    Fault.KEY_UNFIT: Result.PERMERROR,
    Fault.KEY_SHORT: Result.POLICY,
    Fault.LOOKUP: Result.TEMPERROR,
    Fault.BODY: Result.FAIL,
    Fault.SIGNATURE: Result.FAIL,
    Fault.TOO_MANY: Result.NEUTRAL,
}
"""The word for each fault."""


class Records(msgspec.Struct, frozen=True):
    """What a look-up of a key's name gave.

    Attributes:
        texts: Of its TXT records; empty when there are none.
        trouble: Why there was no answer at all; empty when there was one.
    """

    texts: tuple[str, ...] = ()
    trouble: str = ""


class SignatureResult(msgspec.Struct, frozen=True, kw_only=True):
    """One signature, checked. What could not be read of it is empty, zero or None.

    Attributes:
        fault: What is wrong.
        reason: The same in words, for people.
        domain: `d=`.
        selector: `s=`.
        identity: `i=`, or `@` and the domain.
        algorithm: `a=`.
        header: Canonicalisation of the header.
        body: Canonicalisation of the body.
        signed_fields: `h=`, in lower case.
        signature: `b=`, Base64 without white space.
        signed_time: `t=`, Unix seconds.
        expiry_time: `x=`, Unix seconds.
        body_octets: `l=`.
        body_matches: The body is what was signed; None when it was not compared.
        was_looked_up: The key's record was asked for.
        key_bits: Size of the key.
        key_is_testing: Its record says `t=y`.
        key_is_strict: Its record says `t=s`.
        instance: Number of the ARC set; 0 for a DKIM signature.
    """

    fault: Fault
    reason: str = ""
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    header: str = ""
    body: str = ""
    signed_fields: tuple[str, ...] = ()
    signature: str = ""
    signed_time: int | None = None
    expiry_time: int | None = None
    body_octets: int | None = None
    body_matches: bool | None = None
    was_looked_up: bool = False
    key_bits: int = 0
    key_is_testing: bool = False
    key_is_strict: bool = False
    instance: int = 0

    @property
    def result(self) -> Result:
        """The word for `Authentication-Results`."""
        return RESULTS[self.fault]

    @property
    def is_pass(self) -> bool:
        return self.fault is Fault.NONE

    def has_signed(self, field: str) -> bool:
        """True when fields of this name are signed."""
        return field.lower() in self.signed_fields

"""The examples of RFC 6376 §A and RFC 8463 §A: they verify, and our signer writes the same signatures."""

import base64

import pytest

from outrider.wire.dkim.canonical import Canonicalization
from outrider.wire.dkim.keys import SigningKey
from outrider.wire.dkim.message import Parts, pick
from outrider.wire.dkim.record import parse_record
from outrider.wire.dkim.results import Fault, Records
from outrider.wire.dkim.signer import FIELD, own_form, signed_field
from outrider.wire.dkim.verifier import Verification
from outrider.wire.smtp.content import stuff_plain
from tests.wire.dkim import vectors

ANSWERS = {name: Records((text,)) for name, text in vectors.RECORDS.items()}


@pytest.mark.parametrize(
    ("message", "algorithms"),
    [
        (vectors.SIMPLE_MESSAGE, ["rsa-sha256"]),
        (vectors.RELAXED_MESSAGE, ["ed25519-sha256", "rsa-sha256"]),
    ],
    ids=["RFC 6376", "RFC 8463"],
)
def test_the_messages_of_the_standards_verify(message: bytes, algorithms: list[str]) -> None:
    verification = Verification(stuff_plain(message), 1_600_000_000)
    results = verification.results({name: ANSWERS[name] for name in verification.names})
    assert [(each.fault, each.reason) for each in results] == [(Fault.NONE, "")] * len(algorithms)
    assert [each.algorithm for each in results] == algorithms


@pytest.mark.parametrize(
    ("value", "key", "signature"),
    [
        (vectors.ED25519_VALUE, vectors.ed25519_key(), vectors.ED25519_SIGNATURE),
        (vectors.RSA_VALUE, vectors.rsa_key(), vectors.RSA_SIGNATURE),
    ],
    ids=["ed25519", "rsa"],
)
def test_our_signer_writes_the_signatures_of_the_standard(
    value: bytes, key: SigningKey, signature: bytes
) -> None:
    parts = Parts(stuff_plain(vectors.PLAIN_MESSAGE))
    names = (b"from", b"to", b"subject", b"date", b"message-id", b"from", b"subject", b"date")
    fields = parts.canonical_all(pick(names, parts.counts), Canonicalization.RELAXED)
    own = own_form(FIELD, value, Canonicalization.RELAXED)
    field = signed_field(FIELD, value, own, fields, key)
    written = b"".join(field[len(FIELD + b":") + len(value) :].split())
    assert written == b"".join(signature.split())
    assert base64.b64encode(parts.body_digest(Canonicalization.RELAXED)).decode() == vectors.BODY_HASH


def test_the_keys_of_the_standard_belong_to_its_records() -> None:
    records = {name: parse_record(text) for name, text in vectors.RECORDS.items()}
    assert records["brisbane._domainkey.football.example.com"].key.matches(vectors.ed25519_key())
    assert records["test._domainkey.football.example.com"].key.matches(vectors.rsa_key())
    assert not records["brisbane._domainkey.example.com"].key.matches(vectors.rsa_key())

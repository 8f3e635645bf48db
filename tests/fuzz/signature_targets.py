"""What is fuzzed of signatures: messages that are signed and checked, records, and the texts of keys."""

import contextlib
import random

from outrider.base.errors import ConfigError
from outrider.privacy.signing_keys import parse_private_key
from outrider.wire.dkim.arc import Chain, ChainState, ask_seal, make_seal
from outrider.wire.dkim.authentication_results import Checked
from outrider.wire.dkim.canonical import Canonicalization, relaxed_body, relaxed_body_pure
from outrider.wire.dkim.listing import UnsignableError
from outrider.wire.dkim.record import RecordError, format_record, parse_record
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.results import Records
from outrider.wire.dkim.results_field import with_results
from outrider.wire.dkim.signer import sign
from outrider.wire.dkim.verifier import Verification
from outrider.wire.dmarc import DmarcError, parse_dmarc
from outrider.wire.smtp.content import checked, normalise_plain, unstuff
from outrider.wire.spf.record import SpfError, parse_spf
from tests.fuzz.engine import Target, must
from tests.wire.dkim import vectors
from tests.wire.dkim.signing import DOMAIN, KEYS, MESSAGE, NOW, key_of, pem, records

FORMS = list(Canonicalization)
RECORD = format_record(key_of("ed25519"))


def signed_messages(octets: bytes, chance: random.Random) -> None:
    content = normalise_plain(octets)
    request = SignRequest(
        DOMAIN, "ed25519", "ed25519", header=chance.choice(FORMS), body=chance.choice(FORMS)
    )
    try:
        fields = sign(content, [request], KEYS, NOW)
    except UnsignableError:
        return
    plain = fields + unstuff(content)
    results = Verification(normalise_plain(plain), NOW).results(records("ed25519"))
    must(bool(results) and results[0].is_pass, results)
    lines = fields.removesuffix(b"\r\n").split(b"\r\n")
    must(all(line[:1] == b"\t" and line.strip() for line in lines[1:]), fields)
    body = plain.partition(b"\r\n\r\n")[2]
    must(relaxed_body(body) == relaxed_body_pure(body), body)


def checked_messages(octets: bytes, chance: random.Random) -> None:
    content = normalise_plain(octets)
    verification = Verification(content, NOW)
    answers = {name: Records((chance.choice([RECORD, "", "v=DKIM1; p="]),)) for name in verification.names}
    results = verification.results(answers)
    must(len(results) <= 11, len(results))
    must(all(result.is_pass or result.reason for result in results), results)
    must(all(result.domain == DOMAIN for result in results if result.is_pass), results)
    chain = Chain(content, NOW)
    found = chain.result({name: Records((RECORD,)) for name in chain.names})
    must(found.state is not ChainState.PASS, found)  # no seed has a chain, and nobody guesses a seal


def marked_and_sealed(octets: bytes, chance: random.Random) -> None:
    content = normalise_plain(octets)
    if content.wire[:1] in {b" ", b"\t"}:
        return  # it would go on with any field that is put before it
    marked = with_results(content, "mx.test", [Checked("spf", "pass")])
    again = checked(marked.wire)
    must((again.traits, again.header_octets) == (marked.traits, marked.header_octets), marked)
    must(marked.wire.startswith(b"Authentication-Results: mx.test;\r\n\tspf=pass\r\n"), marked)
    must(with_results(marked, "mx.test", [Checked("spf", "pass")]).wire == marked.wire, marked)
    chain = Chain(content, NOW).result({})
    if chain.state is not ChainState.NONE:
        return
    asked = ask_seal(
        SignRequest(DOMAIN, "ed25519", "ed25519", body=chance.choice(FORMS)), "mx.test", [], chain
    )
    try:
        fields = b"" if asked is None else make_seal(content, asked, KEYS, NOW)
    except UnsignableError:
        return
    sealed = Chain(normalise_plain(fields + unstuff(content)), NOW).result(records("ed25519"))
    must(sealed.state is ChainState.PASS or "From" in sealed.reason, sealed)


def published(octets: bytes, chance: random.Random) -> None:
    text = octets.decode("latin-1")
    with contextlib.suppress(RecordError):
        must(parse_record(text).key.bits >= 256, text)
    with contextlib.suppress(SpfError):
        must(all(term.qualifier in "+-~?" for term in parse_spf(text).mechanisms), text)
    with contextlib.suppress(DmarcError):
        must(parse_dmarc(text).policy in {"none", "quarantine", "reject"}, text)
    del chance


def private_keys(octets: bytes, chance: random.Random) -> None:
    try:
        key = parse_private_key(octets, "it")
    except ConfigError as error:
        must(error.message.startswith("it is "), error.message)
        return
    must(len(key.sign(b"data")) in {64, key.bits // 8}, key)
    del chance


TARGETS = (
    Target(
        "signed-messages",
        "What can be signed verifies, whatever it is, and the signature is one field.",
        (
            MESSAGE,
            vectors.PLAIN_MESSAGE,
            b"From: a\r\n\r\n \t\r\n\r\n",
            b"from : a@b.test\r\n x\r\n.y: z\r\n",
        ),
        signed_messages,
    ),
    Target(
        "checked-messages",
        "Each signature of a message gets a result, and none passes that nobody made.",
        (
            vectors.RELAXED_MESSAGE,
            vectors.SIMPLE_MESSAGE,
            b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.test; s=s; b=AA==\r\n"
            b"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed; d=a.test; s=s; h=from; bh=AA==; b=AA==\r\n"
            b"ARC-Authentication-Results: i=1; a.test; none\r\n" + MESSAGE,
        ),
        checked_messages,
    ),
    Target(
        "marked-and-sealed",
        "A field of ours stands once and first, whatever a header holds, and the first set of a chain holds.",
        (
            b"Authentication-Results: mx.test; spf=fail\r\n" + MESSAGE,
            b'Authentication-Results : (c (d) \\) e)\r\n "mx\\.test" 1; none\r\nFrom: a\r\n\r\n.x\r\n',
            b"authentication-results:other.test\r\n\r\nx\r\n",
        ),
        marked_and_sealed,
    ),
    Target(
        "published-records",
        "A record of DKIM, SPF or DMARC is read or refused by the errors that are named.",
        (
            RECORD.encode(),
            vectors.RECORDS["test._domainkey.football.example.com"].encode(),
            (
                b"v=spf1 ip4:192.0.2.0/24 a:%{ir}.x.test//64 mx/24 include:y.test exists:%{l1r-}.z ~all "
                b"redirect=b.test"
            ),
            b"v=DMARC1; p=reject; sp=none; adkim=s; rua=mailto:a@b.test; t=y; psd=n",
        ),
        published,
    ),
    Target(
        "signing-keys",
        "A text that is read as a private key signs, and what is refused is not shown.",
        (pem("ed25519"), b"".join(pem("ed25519").splitlines()[1:-1]), pem("rsa1024")),
        private_keys,
    ),
)

"""The verifier: every kind of damage is found and named; hostile messages and records cost little."""

import base64
import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from outrider.wire.dkim.canonical import Canonicalization, relaxed_body_pure
from outrider.wire.dkim.message import Parts, pick
from outrider.wire.dkim.record import format_record
from outrider.wire.dkim.results import Fault, Records, Result, SignatureResult
from outrider.wire.dkim.signature import FIELD_OCTETS_MAX, own_octets
from outrider.wire.dkim.signer import sign
from outrider.wire.dkim.verifier import SIGNATURES_MAX, Verification
from outrider.wire.smtp.content import normalise_plain, stuff_plain, unstuff
from tests.wire.dkim.signing import KEYS, MESSAGE, NOW, check, key_of, records, request

RELAXED = sign(stuff_plain(MESSAGE), [request(expiry_seconds=100)], KEYS, NOW) + MESSAGE
NAME = "ed25519._domainkey.sender.test"
RECORD = format_record(key_of("ed25519"))


def one(message: bytes, answers: dict[str, Records] | None = None, now: float = NOW) -> SignatureResult:
    results = check(stuff_plain(message), answers, now)
    assert len(results) == 1
    return results[0]


def resigned(old: bytes, new: bytes, below: bytes = b"") -> bytes:
    """The signed message with a tag of its signature changed before the key signs it.

    `below` are fields that stood there when it was signed.
    """
    message = RELAXED
    assert old in message, old
    changed = message.replace(old, new, 1)
    (field,) = Parts(stuff_plain(changed)).fields(b"dkim-signature")
    parts = Parts(stuff_plain(below + MESSAGE))  # to which the field is put when it is whole
    found = re.search(rb"[ \t]h=([^;]*);", field.value)
    assert found
    names = tuple(name.strip().lower() for name in found[1].split(b":"))
    own = own_octets(b"dkim-signature", field, Canonicalization.RELAXED)
    data = parts.canonical_all(pick(names, parts.counts), Canonicalization.RELAXED) + own
    signature = base64.b64encode(key_of("ed25519").sign(data))
    whole = re.sub(rb"\r\n\tb=[^;]*$", b"\r\n\tb=" + signature, field.raw)
    return whole + b"\r\n" + below + MESSAGE


def test_an_unsigned_message_has_no_results() -> None:
    verification = Verification(stuff_plain(MESSAGE), NOW)
    assert verification.names == ()
    assert verification.results({}) == ()


def test_a_good_signature_tells_what_policy_may_ask() -> None:
    result = one(RELAXED)
    assert (result.result, result.fault) == (Result.PASS, Fault.NONE)
    assert (result.domain, result.selector, result.identity) == ("sender.test", "ed25519", "@sender.test")
    assert (result.algorithm, result.key_bits) == ("ed25519-sha256", 256)
    assert (result.signed_time, result.expiry_time) == (NOW, NOW + 100)
    assert result.has_signed("Subject")
    assert not result.has_signed("X-Other")
    assert result.body_matches
    assert result.was_looked_up
    assert result.body_octets is None


def what_is_signed(message: bytes) -> tuple[object, ...]:
    """What a reader of a signed message relies on, taken apart without the code that is tested."""
    header, _, body = message.partition(b"\r\n\r\n")
    unfolded = header.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")
    fields: dict[bytes, list[bytes]] = {}
    for name, _, value in (line.partition(b":") for line in unfolded):
        fields.setdefault(name.strip().lower(), []).append(b" ".join(value.split()))
    own = fields.pop(b"dkim-signature", [b""])[0]
    before, _, signature = own.rpartition(b"b=")
    lines = [b" ".join(line.split()) for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    fields.pop(b"x-other", None)
    signed = [
        fields.get(name) for name in (b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"sender")
    ]
    return before, base64.b64decode(signature + b"=="), signed, lines


@pytest.mark.parametrize("header", [Canonicalization.SIMPLE, Canonicalization.RELAXED])
def test_a_change_of_any_octet_is_found_or_changes_nothing_that_is_signed(header: Canonicalization) -> None:
    """Every octet of the signed message, one after the other, becomes each of three others."""
    signed = sign(stuff_plain(MESSAGE), [request(header=header)], KEYS, NOW) + MESSAGE
    answers = records("ed25519")
    passed = 0
    for place, old in enumerate(signed):
        for octet in {old ^ 1, 0x20, 0x78} - {old}:
            content = normalise_plain(signed[:place] + bytes((octet,)) + signed[place + 1 :])
            results = check(content, answers)
            if any(result.is_pass for result in results):
                passed += 1
                assert what_is_signed(unstuff(content)) == what_is_signed(signed), (place, octet)
    assert 0 < passed < len(signed) // 5  # the unsigned field, white space


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b"First", b"first", Fault.BODY),
        (b"Last line\r\n", b"Last line\r\nmore\r\n", Fault.BODY),
        (b"line  with spaces\t", b"line with spaces", Fault.NONE),
        (b"line  with spaces\t", b"linewith spaces", Fault.BODY),
        (b"A  subject", b"A Subject", Fault.SIGNATURE),
        (b"\r\n\tfolded ", b" folded", Fault.NONE),
        (b"From: Ann", b"FROM:\tAnn", Fault.NONE),
        (b"X-Other: not", b"X-Other: really not", Fault.NONE),
        (b"Subject:", b"Subjekt:", Fault.SIGNATURE),
        (b"\r\nTo: bob@receiver.test", b"", Fault.SIGNATURE),
        (b"d=sender.test", b"d=sender.example", Fault.LOOKUP),
        (b"s=ed25519", b"s=rsa2048", Fault.KEY_UNFIT),
        (b"a=ed25519-sha256", b"a=rsa-sha256", Fault.KEY_UNFIT),
        (b"a=ed25519-sha256", b"a=rsa-sha1", Fault.OLD_ALGORITHM),
        (b"a=ed25519-sha256", b"a=ed448-sha256", Fault.ALGORITHM),
        (b"c=relaxed/relaxed", b"c=simple/relaxed", Fault.SIGNATURE),
        (b"c=relaxed/relaxed", b"c=nofws/relaxed", Fault.SYNTAX),
        (b"v=1", b"v=2", Fault.SYNTAX),
        (b"v=1; ", b"", Fault.SYNTAX),
        (b"v=1; ", b"v=1; v=1; ", Fault.SYNTAX),
        (b"q=dns/txt", b"q=http", Fault.SYNTAX),
        (b"d=sender.test", b"d=", Fault.SYNTAX),
        (b"bh=", b"bh=%%", Fault.SYNTAX),
        (b"t=1764500000", b"t=-1", Fault.SYNTAX),
        (b"t=1764500000", b"t=" + b"9" * 30, Fault.SYNTAX),
    ],
)
def test_damage_is_named(old: bytes, new: bytes, fault: Fault) -> None:
    assert old in RELAXED
    assert one(RELAXED.replace(old, new, 1)).fault is fault


@pytest.mark.parametrize(
    ("old", "new", "fault", "result"),
    [
        (b"h=from:from:", b"h=", Fault.FROM_UNSIGNED, Result.PERMERROR),
        (b"s=ed25519;", b"s=ed25519; i=@sub.sender.test;", Fault.NONE, Result.PASS),
        (b"s=ed25519;", b"s=ed25519; i=@other.test;", Fault.IDENTITY, Result.PERMERROR),
        (b"s=ed25519;", b"s=ed25519; i=@xsender.test;", Fault.IDENTITY, Result.PERMERROR),
        (b"s=ed25519;", b"s=ed25519; l=0;", Fault.BODY, Result.FAIL),
        (b"s=ed25519;", b"s=ed25519; l=99999;", Fault.BODY_LENGTH, Result.POLICY),
        (b"s=ed25519;", b"s=ed25519; l=" + b"9" * 76 + b";", Fault.BODY_LENGTH, Result.POLICY),
        (b"s=ed25519;", b"s=ed25519; unknown=tags are; kept=;", Fault.NONE, Result.PASS),
        (b"t=1764500000", b"t=1764510000", Fault.EXPIRED, Result.FAIL),
        (b"t=1764500000; x=1764500100", b"t=1764510000", Fault.FUTURE, Result.POLICY),
        (b"t=1764500000; x=1764500100", b"t=1764500600", Fault.NONE, Result.PASS),
    ],
)
def test_a_signature_that_is_right_and_means_nothing_all_the_same(
    old: bytes, new: bytes, fault: Fault, result: Result
) -> None:
    found = one(resigned(old, new))
    assert (found.fault, found.result) == (fault, result), found.reason


TAG = b"s=ed25519;"
"""Where further tags are put in."""


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        # tag lists, RFC 6376 §3.2
        (TAG, TAG + b" unknown \r\n\t = of no meaning;", Fault.NONE),
        (TAG, TAG + b" under_scored9=a=b=c;", Fault.NONE),
        (TAG, TAG + b" empty=;", Fault.NONE),
        (TAG, TAG + b" D=other.test; S=other;", Fault.NONE),
        (TAG, TAG + b";", Fault.SYNTAX),
        (TAG, TAG + b" alone;", Fault.SYNTAX),
        (TAG, TAG + b" 9a=;", Fault.SYNTAX),
        (TAG, TAG + b" hyphen-ed=;", Fault.SYNTAX),
        (TAG, TAG + b" s=ed25519;", Fault.SYNTAX),
        (TAG, TAG + b" control=a\x01b;", Fault.SYNTAX),
        (TAG, TAG + b" control=a\x7fb;", Fault.SYNTAX),
        (TAG, TAG + b" latin=\xe9;", Fault.SYNTAX),
        (b"v=1", b"V=1", Fault.SYNTAX),
        (b"v=1", b"v=01", Fault.SYNTAX),
        (b"v=1", b"v = 1 ", Fault.NONE),
        # each tag, RFC 6376 §3.5
        (b"a=ed25519-sha256", b"a=ED25519-SHA256", Fault.NONE),
        (b"a=ed25519-sha256", b"a=ed25519 - sha256", Fault.ALGORITHM),
        (b"bh=", b"bh= \r\n\t", Fault.NONE),
        (b"c=relaxed/relaxed", b"c=Relaxed/RELAXED", Fault.NONE),
        (b"c=relaxed/relaxed", b"c=relaxed", Fault.BODY),
        (b"c=relaxed/relaxed", b"c=relaxed/", Fault.SYNTAX),
        (b"c=relaxed/relaxed", b"c=/relaxed", Fault.SYNTAX),
        (b"c=relaxed/relaxed", b"c=", Fault.SYNTAX),
        (b"c=relaxed/relaxed", b"c=relaxed / relaxed", Fault.SYNTAX),
        (b"c=relaxed/relaxed", b"c=relaxed/relaxed/relaxed", Fault.SYNTAX),
        (b"d=sender.test", b"d= sender.test\r\n\t", Fault.NONE),
        (b"d=sender.test", b"d=sender.test.", Fault.SYNTAX),
        (b"d=sender.test", b"d=.sender.test", Fault.SYNTAX),
        (b"d=sender.test", b"d=sender..test", Fault.SYNTAX),
        (b"d=sender.test", b"d=sender .test", Fault.SYNTAX),
        (b"d=sender.test", b"d=sender\r\n\t.test", Fault.SYNTAX),
        (b"d=sender.test", b"d=test", Fault.SYNTAX),
        (b"d=sender.test", b"d=" + b"a" * 64 + b".test", Fault.SYNTAX),
        (b"d=sender.test", b"d=" + b"a." * 125 + b"test", Fault.SYNTAX),
        (TAG, b"s=ed 25519;", Fault.SYNTAX),
        (TAG, b"s=ED25519;", Fault.NONE),
        (b"h=from:", b"h= from \r\n\t : ", Fault.NONE),
        (b"h=from:", b"h=from::", Fault.SYNTAX),
        (b"h=from:", b"h=:from:", Fault.SYNTAX),
        (b"h=from:", b"h=x-absent:X-Absent:FROM:", Fault.NONE),
        (b"h=from:", b"h=fr om:from:", Fault.SYNTAX),
        (b"h=from:", "h=é:from:".encode(), Fault.SYNTAX),
        (b"h=from:", b"h=from:dkim-signature:", Fault.NONE),
        (TAG, TAG + b" i=;", Fault.IDENTITY),
        (TAG, TAG + b" i=sender.test;", Fault.IDENTITY),
        (TAG, TAG + b" i=@;", Fault.IDENTITY),
        (TAG, TAG + b" i=@.sender.test;", Fault.IDENTITY),
        (TAG, TAG + b" i=@a..sender.test;", Fault.IDENTITY),
        (TAG, TAG + b" i=@a=20b.sender.test;", Fault.IDENTITY),
        (TAG, TAG + b" i=@test;", Fault.IDENTITY),
        (TAG, TAG + b" i=Ann@Sub.SENDER.test;", Fault.NONE),
        (TAG, TAG + b" i=ann=3Bb\r\n\t =2b@sender.test;", Fault.NONE),
        (TAG, TAG + b" l=;", Fault.SYNTAX),
        (TAG, TAG + b" l=-1;", Fault.SYNTAX),
        (TAG, TAG + b" l=" + b"0" * 77 + b";", Fault.SYNTAX),
        (TAG, TAG + b" l=" + b"0" * 76 + b";", Fault.BODY),
        (b"q=dns/txt;", b"", Fault.NONE),
        (b"q=dns/txt", b"q=http : DNS/TXT", Fault.NONE),
        (b"q=dns/txt", b"q=", Fault.SYNTAX),
        (b"t=1764500000", b"t=", Fault.SYNTAX),
        (b"t=1764500000", b"t=17645 00000", Fault.SYNTAX),
        (b"t=1764500000", b"t=0", Fault.NONE),
        (b"t=1764500000", b"t=1764500100", Fault.EXPIRED),
        (b"t=1764500000; x=1764500100", b"t=1764500000; x=1764500000", Fault.EXPIRED),
        (b"t=1764500000; x=1764500100", b"t=1764500000; x=1764500001", Fault.NONE),
        (b"t=1764500000; x=1764500100", b"x=1764500000", Fault.NONE),
        (b"x=1764500100", b"x=999999999999", Fault.NONE),
        (b"x=1764500100", b"x=1000000000000", Fault.SYNTAX),
        (TAG, TAG + b" z=From:ann@sender.test|\r\n\tSubject:demo=20run=7C;", Fault.NONE),
    ],
)
def test_each_tag_is_read_as_its_grammar_says(old: bytes, new: bytes, fault: Fault) -> None:
    found = one(resigned(old, new))
    assert found.fault is fault, found.reason


def test_names_beyond_ascii_are_looked_up_as_a_labels() -> None:
    """RFC 8616 §5: fields of internationalised mail hold U-labels, and characters that need no quoting."""
    tags = "d=Bücher.test; i=jörg=C3=A9@Post.BÜCHER.test".encode()
    message = resigned(b"d=sender.test", tags).replace(b"s=ed25519", "s=schlüssel".encode())
    name = "xn--schlssel-95a._domainkey.xn--bcher-kva.test"
    assert Verification(stuff_plain(message), NOW).names == (name,)
    found = one(resigned(b"d=sender.test", tags), {f"ed25519.{name.partition('.')[2]}": Records((RECORD,))})
    assert found.fault is Fault.NONE, found.reason
    assert (found.domain, found.identity) == ("xn--bcher-kva.test", "jörgé@post.xn--bcher-kva.test")
    assert one(resigned(b"d=sender.test", "d=b\u2028.test".encode())).fault is Fault.SYNTAX


def test_a_signature_may_cover_others_but_never_itself() -> None:
    first = sign(stuff_plain(MESSAGE), [request()], KEYS, NOW)
    for below in (b"", first, first + first):
        for names in (b"dkim-signature:", b"dkim-signature:" * (below.count(b"DKIM-Signature:") + 1)):
            message = resigned(b"h=from:", b"h=" + names + b"from:", below)
            assert check(stuff_plain(message))[0].is_pass, (below, names)
    for message in (first + resigned(b"h=from:", b"h=dkim-signature:from:"), resigned(TAG, TAG)):
        faults = [each.fault for each in check(stuff_plain(message))]
        assert faults[-1] is (Fault.SIGNATURE if len(faults) > 1 else Fault.NONE)


def test_a_signature_expires() -> None:
    assert one(RELAXED, now=NOW + 100).is_pass
    assert one(RELAXED, now=NOW + 101).fault is Fault.EXPIRED


def test_a_signature_of_a_part_of_a_body_does_not_pass() -> None:
    length = len(b"First line with spaces\r\n")
    digest = Parts(stuff_plain(MESSAGE)).body_digest(Canonicalization.RELAXED, length)
    found = re.search(rb"bh=([^;]*);", RELAXED)
    assert found
    message = resigned(found[0], b"bh=%b; l=%d;" % (base64.b64encode(digest), length))
    result = one(message)
    assert (result.fault, result.body_octets, result.body_matches) == (Fault.BODY_LENGTH, length, True)
    whole = len(b"First line with spaces\r\n.a line with a dot\r\n\r\nLast line\r\n")
    message = resigned(b"s=ed25519;", b"s=ed25519; l=%d;" % whole)
    assert one(message).is_pass


@pytest.mark.parametrize(
    ("texts", "fault", "result"),
    [
        ((), Fault.NO_KEY, Result.PERMERROR),
        ((RECORD,), Fault.NONE, Result.PASS),
        ((RECORD.removeprefix("v=DKIM1; "),), Fault.NONE, Result.PASS),
        (("v=spf1 -all", RECORD), Fault.NONE, Result.PASS),
        (("v=DKIM1; k=ed25519; p=",), Fault.KEY_REVOKED, Result.PERMERROR),
        (("v=DKIM1; k=ed25519",), Fault.KEY_SYNTAX, Result.PERMERROR),
        (("",), Fault.KEY_SYNTAX, Result.PERMERROR),
        (("garbage",), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD.replace("DKIM1", "DKIM2"),), Fault.KEY_SYNTAX, Result.PERMERROR),
        (("p=AAAA; v=DKIM1",), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD.replace("k=ed25519", "k=ed448"),), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD.replace("k=ed25519; ", ""),), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD.replace("p=", "p=AAAA"),), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD.replace("p=", "p=%"),), Fault.KEY_SYNTAX, Result.PERMERROR),
        (("v=DKIM1; k=rsa; p=" + "A" * 15_000,), Fault.KEY_SYNTAX, Result.PERMERROR),
        (("x" * 20_000,), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD + "; h=sha1",), Fault.KEY_UNFIT, Result.PERMERROR),
        ((RECORD + "; h=sha1:sha256",), Fault.NONE, Result.PASS),
        ((RECORD + "; h=SHA256; s=EMAIL",), Fault.NONE, Result.PASS),
        ((RECORD.replace("k=ed25519", "k=Ed25519"),), Fault.NONE, Result.PASS),
        ((RECORD + "; s=tlsrpt",), Fault.KEY_UNFIT, Result.PERMERROR),
        ((RECORD + "; s=other : email",), Fault.NONE, Result.PASS),
        ((format_record(key_of("ed25519b")),), Fault.SIGNATURE, Result.FAIL),
        ((format_record(key_of("rsa2048")),), Fault.KEY_UNFIT, Result.PERMERROR),
        ((RECORD.replace("; ", " ;\r\n\t"),), Fault.NONE, Result.PASS),
        ((RECORD + "; n=a note; z=unknown",), Fault.NONE, Result.PASS),
        ((RECORD + ";",), Fault.NONE, Result.PASS),
        ((RECORD + ";;",), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD + "; n=\0",), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD + "; k=ed25519",), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD.replace("DKIM1", "dkim1"),), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD.replace("v=", "V="),), Fault.NONE, Result.PASS),
        ((RECORD.replace("; k=", " ; g=* ; k = "),), Fault.NONE, Result.PASS),
        (("k=ed25519; " + RECORD.replace("k=ed25519; ", ""),), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD.replace("p=", "p= ") + "\t;",), Fault.NONE, Result.PASS),
        ((RECORD.replace("p=", 'p="'),), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD.replace("; ", "\\; "),), Fault.KEY_SYNTAX, Result.PERMERROR),
        ((RECORD + "; h=sha512 : sha256",), Fault.NONE, Result.PASS),
        ((RECORD + "; t=future:s : y",), Fault.NONE, Result.PASS),
        (("v=DKIM1; p= ;",), Fault.KEY_REVOKED, Result.PERMERROR),
        (("v=DKIM1; p=", RECORD), Fault.NONE, Result.PASS),
        ((RECORD + "\udcff",), Fault.KEY_SYNTAX, Result.PERMERROR),
        (("v=DKIM1; k=ed25519; p=ÿÿÿÿ",), Fault.KEY_SYNTAX, Result.PERMERROR),
    ],
)
def test_hostile_and_odd_records(texts: tuple[str, ...], fault: Fault, result: Result) -> None:
    found = one(RELAXED, {NAME: Records(texts)})
    assert (found.fault, found.result) == (fault, result), found.reason


def test_keys_of_other_kinds_and_sizes() -> None:
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = base64.b64encode(curve.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    signed = sign(stuff_plain(MESSAGE), [request("rsa1024", allow_short_key=True)], KEYS, NOW) + MESSAGE
    name = "rsa1024._domainkey.sender.test"
    assert one(signed, {name: Records((f"p={other}",))}).fault is Fault.KEY_SYNTAX
    key = key_of("rsa1024")._private
    assert isinstance(key, rsa.RSAPrivateKey)
    bare = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()
    found = one(signed, {name: Records((f"p={bare}",))})
    assert (found.fault, found.key_bits) == (Fault.NONE, 1024)


def test_flags_of_a_record_are_told_and_kept() -> None:
    answers = records("ed25519", flags=("y", "s"))
    found = one(RELAXED, answers)
    assert (found.is_pass, found.key_is_testing, found.key_is_strict) == (True, True, True)
    message = resigned(b"s=ed25519;", b"s=ed25519; i=@sub.sender.test;")
    assert one(message, answers).fault is Fault.IDENTITY
    assert one(message, records("ed25519", flags=("y",))).is_pass


def test_a_look_up_that_failed_is_transient() -> None:
    found = one(RELAXED, {NAME: Records(trouble="SERVFAIL")})
    assert (found.fault, found.result) == (Fault.LOOKUP, Result.TEMPERROR)
    assert "SERVFAIL" in found.reason
    assert one(RELAXED, {}).result is Result.TEMPERROR


def test_only_some_signatures_of_many_are_looked_at() -> None:
    field = RELAXED.removesuffix(MESSAGE)
    results = check(stuff_plain(field * 500 + MESSAGE))
    assert [each.fault for each in results] == [Fault.NONE] * SIGNATURES_MAX + [Fault.TOO_MANY]
    verification = Verification(stuff_plain(field * 500 + MESSAGE), NOW)
    assert len(verification.names) == 1


def test_signatures_of_many_lengths_make_the_body_canonical_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(body: bytes) -> bytes:
        made.append(len(body))
        return relaxed_body_pure(body)

    monkeypatch.setattr("outrider.wire.dkim.message.BODY", {Canonicalization.RELAXED: counted})
    field = RELAXED.removesuffix(MESSAGE)
    fields = b"".join(field.replace(b"q=dns/txt;", b"q=dns/txt; l=%d;" % length) for length in range(9))
    results = check(stuff_plain(fields + MESSAGE))
    assert [each.fault for each in results] == [Fault.BODY] * 9
    assert len(made) == 1


def test_a_field_that_is_too_long_is_not_read() -> None:
    long = b"DKIM-Signature: v=1; " + b"a" * FIELD_OCTETS_MAX + b"\r\n" + MESSAGE
    assert one(long).fault is Fault.SYNTAX
    names = b":".join([b"from"] * 1500)
    assert one(resigned(b"h=from:", b"h=" + names + b":")).is_pass


def test_case_of_names_and_of_domains_means_nothing() -> None:
    assert one(RELAXED.replace(b"DKIM-Signature", b"dkim-signature", 1)).is_pass
    message = resigned(b"d=sender.test", b"d=SENDER.test")
    assert one(message).domain == "sender.test"
    assert one(message).is_pass


TAGS = st.sampled_from(
    b"v=1|a=rsa-sha256|a=ed25519-sha256|d=sender.test|s=ed25519|h=from|h=from:to:|bh=|bh=AAAA|b=|b=AAAA|l=1|l=x|"
    b"x=1|t=0|i=@|i==40|c=/|c=simple|q=dns/txt|\xff|=|;| |\r\n\t|b|v".split(b"|")
)


@given(st.lists(TAGS, max_size=14), st.lists(st.text(max_size=40), max_size=3))
def test_whatever_field_and_record_hold_there_is_a_result(tags: list[bytes], texts: list[str]) -> None:
    field = b"DKIM-Signature: " + b"; ".join(tags) + b"\r\n"
    content = stuff_plain(field + MESSAGE)
    verification = Verification(content, NOW)
    results = verification.results({name: Records(tuple(texts)) for name in verification.names})
    assert len(results) == 1
    assert not results[0].is_pass
    assert results[0].reason


@given(st.binary(max_size=300))
def test_records_of_any_octets_give_a_result(octets: bytes) -> None:
    text = octets.decode("latin-1")
    for texts in ((text,), (f"v=DKIM1; p={text}",), (f"p={base64.b64encode(octets).decode()}",)):
        assert not one(RELAXED, {NAME: Records(texts)}).is_pass


def test_results_have_a_word_for_each_fault() -> None:
    result = one(RELAXED)
    for fault in Fault:
        assert replace(result, fault=fault).result in Result

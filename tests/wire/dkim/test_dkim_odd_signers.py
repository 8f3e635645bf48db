"""A signer that writes its field in every odd form that the grammar allows: we read what it signs.

Its canonicalisation, its choice of fields and its field are its own, straight from the rules of RFC 6376
§3.4, RFC 6376 §3.7 and RFC 6376 §5.4.2; tags are in any order, folds wherever they may be.
"""

import base64
import hashlib
import re
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from outrider.wire.smtp.content import stuff_plain
from tests.wire.dkim.signing import NOW, check, key_of

FWS = (b"", b"", b" ", b"\t", b"  ", b"\r\n ", b"\r\n\t")
NAMES = (b"From", b"FROM", b"from ", b"To", b"Subject\t", b"X-a", b"Received", b"DKIM-Signature")
LISTED = (b"from", b"To", b"subject", b"x-a", b"received", b"x-none", b"dkim-signature")
PIECES = (b"a", b"bc", b" ", b"\t", b"\r\n x", b"\r\n\t", b"=", b";", b"\xc3\xa9", b":", b".", b"b=")
BODY = (b"a", b" ", b"\t", b"\r\n", b".", b"\r\n.", b"\xff", b"\r\n\r\n")


def canonical_field(name: bytes, value: bytes, *, relaxed: bool) -> bytes:
    if not relaxed:
        return name + b":" + value
    return (
        name.rstrip(b" \t").lower() + b":" + re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" ")
    )


def canonical_body(body: bytes, *, relaxed: bool) -> bytes:
    lines = body.split(b"\r\n")
    if relaxed:
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if not lines and not relaxed:
        return b"\r\n"
    return b"".join(line + b"\r\n" for line in lines)


def selected(listed: list[bytes], fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    left, found = list(fields), []
    for name in listed:
        for place in reversed(range(len(left))):
            if left[place][0].strip().lower() == name.lower():
                found.append(left.pop(place))
                break
    return found


def joined(random: Random, pieces: tuple[bytes, ...], most: int) -> bytes:
    return b"".join(random.choice(pieces) for _ in range(random.randint(0, most)))


def odd_message(random: Random) -> bytes:
    """A message, signed by `ed25519` of `sender.test` in a field at its top."""
    names = [random.choice(NAMES) for _ in range(random.randint(0, 8))]
    names.insert(random.randint(0, len(names)), b"From")
    fields = [(name, joined(random, PIECES, 8)) for name in names]
    body = joined(random, BODY, 10)
    body += b"" if body.endswith(b"\r\n") or not body else b"\r\n"
    header_relaxed, body_relaxed = random.random() < 0.5, random.random() < 0.5
    listed = [random.choice(LISTED) for _ in range(random.randint(0, 8))]
    listed.insert(random.randint(0, len(listed)), b"from")
    digest = base64.b64encode(hashlib.sha256(canonical_body(body, relaxed=body_relaxed)).digest())
    word = {False: b"simple", True: b"relaxed"}
    tags = [
        *(
            b"v=1",
            b"a=ed25519-sha256",
            b"d=sender.test",
            b"s=ed25519",
            b"t=%d" % int(NOW),
            b"foo=",
            b"z9_=x=b=y",
        ),
        b"c=%b/%b" % (word[header_relaxed], word[body_relaxed]),
        b"h=" + (random.choice(FWS) + b":" + random.choice(FWS)).join(listed),
        b"bh=%b%b%b" % (digest[:9], random.choice(FWS), digest[9:]),
    ]
    random.shuffle(tags)
    tags = [random.choice(FWS) + tag + random.choice(FWS) for tag in tags]
    place = random.randint(0, len(tags))
    start = (
        b"".join(tag + b";" for tag in tags[:place]) + random.choice(FWS) + b"b" + random.choice(FWS) + b"="
    )
    behind = b"".join(b";" + tag for tag in tags[place:]) + random.choice((b"", b";", b"; ", b";\r\n\t"))
    name = random.choice((b"DKIM-Signature", b"dkim-signature ", b"DKIM-SIGNATURE\t"))
    signed = b"".join(
        canonical_field(*field, relaxed=header_relaxed) + b"\r\n" for field in selected(listed, fields)
    ) + canonical_field(name, start + behind, relaxed=header_relaxed)
    signature = base64.b64encode(key_of("ed25519").sign(signed))
    value = b"%b%b%b%b%b" % (random.choice(FWS), signature[:20], random.choice(FWS), signature[20:], behind)
    header = b"".join(b"%b:%b\r\n" % field for field in fields)
    return b"%b:%b%b\r\n%b\r\n%b" % (name, start, value, header, body)


@given(st.randoms(use_true_random=False))
def test_what_an_odd_signer_signs_is_good_and_not_good_when_changed(random: Random) -> None:
    message = odd_message(random)
    result = check(stuff_plain(message))[0]
    assert result.is_pass, (result.reason, message)
    head, _, body = message.partition(b"\r\n\r\n")
    for changed in (head + b"\r\nFrom: ~", head.replace(b"v=1", b"v=2", 1)):
        assert not check(stuff_plain(changed + b"\r\n\r\n" + body))[0].is_pass
    assert not check(stuff_plain(message + b"x\r\n"))[0].is_pass

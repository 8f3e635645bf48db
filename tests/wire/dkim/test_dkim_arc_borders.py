"""ARC at its borders: sets made by hand, in every odd but legal form, and in every form that is neither."""

import base64
import hashlib
import re
from collections.abc import Callable

import pytest

from outrider.wire.dkim.arc import SETS_MAX, Chain, ChainResult, ChainState, ask_seal, seal
from outrider.wire.dkim.authentication_results import Checked
from outrider.wire.dkim.record import format_record
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.results import Records
from outrider.wire.smtp.content import stuff_plain
from tests.wire.dkim.signing import KEYS, NOW, key_of

ANSWERS = {
    f"ed25519._domainkey.{domain}": Records((format_record(key_of("ed25519")),))
    for domain in ("one.test", "xn--bcher-kva.test")
}
HEADER = b"From: ann@sender.test\r\nTo: bob@one.test\r\nSubject: hello\r\n"
BODY = b"hello\r\n"
PASS, FAIL, NONE = ChainState.PASS, ChainState.FAIL, ChainState.NONE

RESULTS = b" i=%d; mx.one.test; none"
MESSAGE = b" i=%d; a=ed25519-sha256; c=relaxed/relaxed; d=one.test; s=ed25519; t=1; h=from:subject; bh=%b; b="
SEAL = b" i=%d; a=ed25519-sha256; t=1; cv=%b; d=one.test; s=ed25519; b="


def relaxed(name: bytes, value: bytes) -> bytes:
    return name + b":" + re.sub(rb"[ \t\r\n]+", b" ", value).strip()


def simple(name: bytes, value: bytes) -> bytes:
    written = {b"arc-message-signature": b"ARC-Message-Signature", b"from": b"From", b"subject": b"Subject"}
    return written[name] + b":" + value


def signed(data: bytes) -> bytes:
    return base64.b64encode(key_of("ed25519").sign(data))


Change = Callable[[bytes], bytes]


def same(value: bytes) -> bytes:
    return value


def one_set(
    number: int,
    before: list[bytes],
    *,
    results: Change = same,
    message: Change = same,
    sealing: Change = same,
) -> tuple[list[bytes], bytes]:
    """The fields of a set as a seal covers them, and as they stand in the message.

    Args:
        number: Of the set.
        before: What `one_set` gave for those before.
        results: Changes the value of a field before it is signed; so do the others.
        message: See there.
        sealing: See there.
    """
    lines = [line.split(b":", 1) for line in HEADER.split(b"\r\n") if line]
    texts = {name.lower(): value for name, value in lines}
    first = results(RESULTS % number)
    bodyhash = base64.b64encode(hashlib.sha256(BODY).digest())
    second = message(MESSAGE % (number, bodyhash))
    listed = re.search(rb"[; ]h *=([^;]*)", second)
    names = [] if listed is None else [each.strip().lower() for each in listed[1].split(b":")]
    form_of = relaxed if b"c=relaxed" in second else simple
    own = form_of(b"arc-message-signature", second)
    data = [form_of(name, texts.pop(name)) for name in names if name in texts]  # none of them comes twice
    second += signed(b"\r\n".join([*data, own]))
    third = sealing(SEAL % (number, b"none" if number == 1 else b"pass"))
    covered = [
        *before,
        relaxed(b"arc-authentication-results", first),
        relaxed(b"arc-message-signature", second),
    ]
    third += signed(b"\r\n".join([*covered, relaxed(b"arc-seal", third)]))
    form = b"ARC-Seal:%b\r\nARC-Message-Signature:%b\r\nARC-Authentication-Results:%b\r\n"
    return [*covered, relaxed(b"arc-seal", third)], form % (third, second, first)


def chain_of(message: bytes) -> ChainResult:
    chain = Chain(stuff_plain(message), NOW)
    return chain.result({name: ANSWERS.get(name, Records()) for name in chain.names})


def checked(count: int = 1, last: dict[str, Change] | None = None) -> ChainResult:
    """The result of a chain of so many sets, the last one changed."""
    before: list[bytes] = []
    fields = b""
    for number in range(1, count + 1):
        before, lines = one_set(number, before, **(last or {}) if number == count else {})
        fields = lines + fields
    return chain_of(fields + HEADER + b"\r\n" + BODY)


def swap(old: bytes, new: bytes) -> Change:
    def change(value: bytes) -> bytes:
        assert old in value
        return value.replace(old, new, 1)

    return change


@pytest.mark.parametrize("count", [1, 2, SETS_MAX])
def test_chains_made_by_hand_hold(count: int) -> None:
    result = checked(count)
    assert (result.state, result.sets, result.oldest_pass) == (PASS, count, 0)


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        pytest.param("results", b"i=1", b"i = 1", id="spaces in results"),
        pytest.param("results", b" i=1", b"(a) i (b;c) = (\\)d) 1 (e(f))", id="comments in results"),
        pytest.param("results", b" i=1", b"\r\n\ti=\r\n 1\r\n\t", id="results folded"),
        pytest.param("results", b"i=1", b"i=01", id="zero before the number"),
        pytest.param("results", b"mx.one.test; none", b"\xfcber nichts; i=7; x=(", id="results of any form"),
        pytest.param("results", b"; mx.one.test; none", b";", id="results of nothing"),
        pytest.param("message", b"i=1", b"i=1 (a;b)", id="comment in a message signature"),
        pytest.param("message", b" i=1; a=ed25519-sha256;", b" a=ed25519-sha256; i=1;", id="order of tags"),
        pytest.param("message", b"t=1; ", b"", id="no time"),
        pytest.param("message", b"t=1;", b"v=2; t=1; new=x;", id="unknown tags, and a version"),
        pytest.param("message", b"h=from:subject", b"h = From \r\n : SUBJECT ", id="list with spaces"),
        pytest.param("message", b"h=from:subject", b"h=from:from:subject:none", id="list that promises"),
        pytest.param("message", b"a=ed25519-sha256", b"a=ED25519-SHA256", id="case of the algorithm"),
        pytest.param("message", b"d=one.test", b"d=One.Test", id="case of the domain"),
        pytest.param("message", b"d=one.test", b"d=b\xc3\xbccher.test", id="U-label"),
        pytest.param("message", b"c=relaxed/relaxed; ", b"", id="simple is the default"),
        pytest.param("message", b"c=relaxed/relaxed", b"c=simple", id="simple for the body too"),
        pytest.param("message", b"c=relaxed/relaxed", b"c=relaxed", id="simple for the body"),
        pytest.param("message", b"c=relaxed/relaxed", b"c = Simple/Relaxed ", id="simple for the header"),
        pytest.param("message", b"t=1;", b"t=1; l=7;", id="length of the whole body"),
        pytest.param("message", b" b=", b"\r\n\tb=\r\n\t", id="message signature folded"),
        pytest.param("sealing", b"i=1", b"(x) i=1 (a(b)c)", id="comment in a seal"),
        pytest.param("sealing", b"cv=none", b"cv (a) = (b;) NONE (c)", id="comments and case of cv"),
        pytest.param("sealing", b"t=1; ", b"", id="seal without time"),
        pytest.param("sealing", b"t=1;", b"v=1; c=simple; bh=x; l=0; new=x;", id="unknown tags of a seal"),
        pytest.param("sealing", b" i=1;", b"\r\n\ti=1;\r\n ", id="seal folded"),
        pytest.param("sealing", b" b=", b" b  =  ", id="spaces about b"),
    ],
)
def test_odd_forms_hold(field: str, old: bytes, new: bytes) -> None:
    result = checked(1, {field: swap(old, new)})
    assert (result.state, result.reason) == (PASS, "")


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        *(
            pytest.param(field, b"i=1", b"i=" + number, id=f"{field} i={number!r}")
            for field in ("results", "message", "sealing")
            for number in (
                b"0",
                b"00",
                b"-1",
                b"+1",
                b"1.0",
                b"1a",
                b"",
                b"001",
                b"\xb9",
                b"51",
                b"100",
                b"2",
                b"(1)",
            )
        ),
        *(
            pytest.param(field, old, b"", id=f"{field} without{old.decode()}")
            for field, tags in (
                ("results", b" i=1;"),
                ("message", b" i=1;| a=ed25519-sha256;| d=one.test;| s=ed25519;| h=from:subject;"),
                ("sealing", b" i=1;| a=ed25519-sha256;| d=one.test;| s=ed25519;| cv=none;"),
            )
            for old in tags.split(b"|")
        ),
        pytest.param("results", b"i=1;", b"I=1;", id="I in results"),
        pytest.param("results", b"i=1;", b"mx.one.test; i=1;", id="number not first in results"),
        pytest.param("results", b"i=1;", b"i=1 i=1;", id="number twice in results"),
        pytest.param("results", b" i=1;", b" (never closed i=1;", id="comment without end"),
        pytest.param("message", b"i=1;", b"i=1; i=1;", id="number twice"),
        pytest.param("message", b"h=from:subject", b"h=subject", id="From unsigned"),
        pytest.param("message", b"h=from:subject", b"h=from:arc-seal", id="a seal signed"),
        pytest.param("message", b"h=from:subject", b"h=from:ARC-SEAL", id="a seal signed, case"),
        pytest.param("message", b"h=from:subject", b"h=", id="nothing signed"),
        pytest.param("message", b"a=ed25519-sha256", b"a=rsa-sha1", id="SHA-1"),
        pytest.param("message", b"a=ed25519-sha256", b"a=rsa-sha256", id="another key type"),
        pytest.param("message", b"t=1;", b"t=soon;", id="time that is none"),
        pytest.param("message", b"t=1;", b"t=1; x=2;", id="expired"),
        pytest.param("message", b"c=relaxed/relaxed", b"c=relaxed/other", id="canonicalisation"),
        pytest.param("message", b"; t=1;", b"; t=1; junk;", id="no tag list"),
        pytest.param("message", b"t=1;", b"t=1; l=0;", id="length of nothing"),
        pytest.param("message", b"t=1;", b"t=1; l=8;", id="length of more"),
        pytest.param("sealing", b"t=1;", b"t=1; h=from;", id="h in a seal"),
        pytest.param("sealing", b"t=1;", b"t=1; h=;", id="empty h in a seal"),
        pytest.param("sealing", b"t=1;", b"t=1; t=1;", id="tag twice"),
        pytest.param("sealing", b"cv=none", b"cv=pass", id="first seal passes"),
        pytest.param("sealing", b"cv=none", b"cv=fail", id="first seal fails"),
        pytest.param("sealing", b"cv=none", b"cv=", id="cv empty"),
        pytest.param("sealing", b"cv=none", b"cv=no", id="cv odd"),
        pytest.param("sealing", b"cv=none", b"CV=none", id="case of a tag"),
        pytest.param("sealing", b"a=ed25519-sha256", b"a=ed25519-sha1", id="unknown algorithm"),
        pytest.param("sealing", b"d=one.test", b"d=none.test", id="no key"),
    ],
)
def test_forms_that_are_none_fail(field: str, old: bytes, new: bytes) -> None:
    result = checked(1, {field: swap(old, new)})
    assert result.state is FAIL
    assert result.reason


@pytest.mark.parametrize("state", [b"none", b"fail", b""])
def test_a_later_seal_that_does_not_pass_fails(state: bytes) -> None:
    result = checked(3, {"sealing": swap(b"cv=pass", b"cv=" + state)})
    assert (result.state, result.is_closed) == (FAIL, state == b"fail")


@pytest.mark.parametrize("form", [b"i=2; cv=fail", b"cv=FAIL; i=02", b"i=2(x); cv=(y)fail; junk=1"])
def test_a_closed_chain_is_known_whatever_the_form_of_its_seal(form: bytes) -> None:
    result = chain_of(b"ARC-Seal: " + form + b"\r\n" + one_set(1, [])[1] + HEADER + b"\r\n" + BODY)
    assert (result.state, result.is_closed, result.sets) == (FAIL, True, 2)
    assert ask_seal(SignRequest("one.test", "ed25519", "ed25519"), "mx.one.test", [], result) is None


@pytest.mark.parametrize("fields", [b"ARC-Seal: cv=fail\r\n", b"ARC-Seal: i=0; cv=fail\r\n"])
def test_a_seal_without_number_closes_nothing(fields: bytes) -> None:
    result = chain_of(fields + HEADER + b"\r\n" + BODY)
    assert (result.state, result.is_closed, result.sets) == (FAIL, False, 0)


@pytest.mark.parametrize("name", [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"])
@pytest.mark.parametrize("what", ["missing", "twice", "renumbered"])
def test_each_set_has_each_field_once(name: bytes, what: str) -> None:
    before, first = one_set(1, [])
    second = one_set(2, before)[1]
    line = next(line for line in second.split(b"\r\n") if line.startswith(name + b":")) + b"\r\n"
    changed = {
        "missing": second.replace(line, b""),
        "twice": second + line,
        "renumbered": second.replace(line, line.replace(b"i=2", b"i=1")),
    }[what]
    assert chain_of(second + first + HEADER + b"\r\n" + BODY).state is PASS
    assert chain_of(changed + first + HEADER + b"\r\n" + BODY).state is FAIL


def test_the_order_of_fields_in_the_message_means_nothing() -> None:
    before, first = one_set(1, [])
    lines = (one_set(2, before)[1] + first).split(b"\r\n")[:-1]
    for order in (sorted(lines), sorted(lines, reverse=True)):
        fields = b"".join(line + b"\r\n" for line in order)
        assert chain_of(HEADER + fields + b"\r\n" + BODY).state is PASS


def test_case_of_names_and_folding_on_the_way_break_no_seal() -> None:
    before, first = one_set(1, [])
    fields = one_set(2, before)[1] + first
    changed = fields.replace(b"ARC-Seal:", b"arc-SEAL :").replace(b"; ", b";\r\n\t  ")
    assert chain_of(changed + HEADER + b"\r\n" + BODY).state is PASS


def test_folding_breaks_a_simple_message_signature_and_no_seal() -> None:
    before, first = one_set(1, [], message=swap(b"c=relaxed/relaxed; ", b""))
    assert chain_of(first + HEADER + b"\r\n" + BODY).state is PASS
    folded = first.replace(b"; s=", b";\r\n\ts=")
    result = chain_of(folded + HEADER + b"\r\n" + BODY)
    assert (result.state, result.reason[:19]) == (FAIL, "message signature 1")
    last = chain_of(one_set(2, before)[1] + folded + HEADER + b"\r\n" + BODY)
    assert (last.state, last.oldest_pass) == (PASS, 2)


def test_old_results_are_sealed_too() -> None:
    before, first = one_set(1, [])
    second = one_set(2, before)[1]
    forged = first.replace(b"mx.one.test; none", b"mx.one.test; spf=pass")
    assert chain_of(second + forged + HEADER + b"\r\n" + BODY).state is FAIL


def test_a_set_beyond_fifty_fails_and_a_full_chain_gets_none() -> None:
    request = SignRequest("one.test", "ed25519", "ed25519")
    full = checked(SETS_MAX)
    assert ask_seal(request, "mx.one.test", [], full) is None
    assert checked(SETS_MAX + 1).state is FAIL


def test_a_set_names_the_client_that_was_checked_and_no_stale_result() -> None:
    # RFC 8617 §6
    plain = stuff_plain(HEADER + b"\r\n" + BODY)
    checks = [Checked("spf", "pass"), ChainResult(FAIL, "stale").checked("2001:db8::1")]
    request = SignRequest("one.test", "ed25519", "ed25519")
    fields = seal(
        plain, request, KEYS, NOW, authserv_id="mx.one.test", checks=checks, chain=ChainResult(NONE)
    )
    assert b'\tspf=pass;\r\n\tarc=none smtp.remote-ip="2001:db8::1"\r\n' in fields
    assert b"stale" not in fields

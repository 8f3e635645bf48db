"""ARC: chains of one to several sets, of ours and as dkimpy reads them, and every way to break one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.wire.dkim.arc import SETS_MAX, Chain, ChainResult, ChainState, seal
from outrider.wire.dkim.authentication_results import Checked
from outrider.wire.dkim.record import format_record
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.results import Fault, Records
from outrider.wire.dkim.signer import sign
from outrider.wire.smtp.content import stuff_plain
from tests.wire.dkim import reference
from tests.wire.dkim.signing import KEYS, MESSAGE, NOW, key_of

KEY_NAMES = ("ed25519", "rsa2048")
HOPS = (("one.test", "rsa2048"), ("two.test", "ed25519"), ("three.test", "rsa2048"))
ANSWERS = {
    f"{key}._domainkey.{domain}": Records((format_record(key_of(key)),))
    for domain in ("one.test", "two.test", "three.test")
    for key in ("rsa2048", "ed25519")
}
CHECKS = [Checked("dkim", "pass", "", (("header.d", "sender.test"),)), Checked("arc", "pass")]


def chain_of(message: bytes) -> ChainResult:
    chain = Chain(stuff_plain(message), NOW)
    return chain.result({name: ANSWERS.get(name, Records()) for name in chain.names})


def sealed(message: bytes, domain: str, key: str, chain: ChainResult | None = None) -> bytes:
    request = SignRequest(domain, key, key)
    found = chain_of(message) if chain is None else chain
    fields = seal(
        stuff_plain(message), request, KEYS, NOW, authserv_id=f"mx.{domain}", checks=CHECKS, chain=found
    )
    return fields + message


def through(hops: tuple[tuple[str, str], ...], message: bytes = MESSAGE) -> bytes:
    for domain, key in hops:
        message = sealed(message, domain, key)
    return message


def test_an_unsealed_message_has_no_chain() -> None:
    assert chain_of(MESSAGE).state is ChainState.NONE


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_chain_of_several_hops_holds(count: int) -> None:
    result = chain_of(through(HOPS[:count]))
    assert (result.state, result.reason, result.sets, result.oldest_pass) == (ChainState.PASS, "", count, 0)
    assert result.newest is not None
    assert result.newest.domain == HOPS[count - 1][0]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_dkimpy_reads_our_chain(count: int) -> None:
    hops = tuple((domain, "rsa2048") for domain, _ in HOPS)  # it reads no Ed25519 in ARC
    message = through(hops[:count])
    assert reference.chain_verifies(message, ANSWERS) == "pass"
    assert reference.chain_verifies(message.replace(b"Last line", b"last line"), ANSWERS) == "fail"


def test_a_set_says_what_was_found() -> None:
    first = sealed(MESSAGE, "one.test", "ed25519")
    second = sealed(first, "two.test", "ed25519")
    assert (
        b"ARC-Authentication-Results: i=1; mx.one.test;\r\n\tdkim=pass header.d=sender.test;\r\n\tarc=none"
        in first
    )
    assert (
        b"ARC-Authentication-Results: i=2; mx.two.test;\r\n\tdkim=pass header.d=sender.test;\r\n\tarc=pass"
        in second
    )
    assert b"cv=none" in first
    assert b"cv=pass" in second
    assert second.count(b"arc=") == 2


def test_a_list_may_change_the_message_and_seal_what_it_found() -> None:
    first = sealed(MESSAGE, "one.test", "rsa2048")
    found = chain_of(first)
    changed = first.replace(b"A  subject", b"[list] A subject") + b"-- \r\nfooter\r\n"
    assert chain_of(changed).state is ChainState.FAIL
    second = sealed(changed, "two.test", "rsa2048", found)
    result = chain_of(second)
    assert (result.state, result.oldest_pass) == (ChainState.PASS, 2)
    assert result.checked().properties[0] == ("header.oldest-pass", "2")
    assert reference.chain_verifies(second, ANSWERS) == "pass"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"Last line", b"last line", "message signature 3: the body"),
        (b"Subject:  A", b"Subject:  B", "message signature 3: the signature"),
        (b"i=2; mx.two.test", b"i=2; mx.evil.test", "seal 3: it does not fit"),
        (
            b"dkim=pass header.d=sender.test;\r\n\tarc=none",
            b"dkim=fail;\r\n\tarc=none",
            "seal 3: it does not fit",
        ),
        (b"cv=none", b"cv=pass", "seal 1 says cv=pass"),
        (b"cv=pass", b"cv=none", "seal 3 says cv=none"),
        (b"cv=pass", b"cv=fail", "seal 3 says that the chain failed"),
        (b"ARC-Seal: i=2", b"ARC-Seal: i=3", "one field of each kind"),
        (b"ARC-Seal: i=2", b"X-Seal: i=2", "one field of each kind"),
        (b"ARC-Seal: i=3;", b"ARC-Seal: i=9;", "not whole"),
        (b"ARC-Seal: i=3;", b"ARC-Seal: i=3; h=from;", "holds h="),
        (b"d=two.test", b"d=", "d= missing"),
        (b"d=three.test", b"d=four.test", "there is no key record"),
    ],
)
def test_a_broken_chain_fails_and_says_where(old: bytes, new: bytes, reason: str) -> None:
    message = through(HOPS)
    assert old in message
    result = chain_of(message.replace(old, new, 1))
    assert result.state is ChainState.FAIL
    assert reason in result.reason


def test_an_older_seal_of_nobody_breaks_the_chain_although_newer_ones_are_good() -> None:
    first = through(HOPS[:1])
    stranger = SignRequest("two.test", "ed25519", "ed25519b")  # not the key that is published there
    fields = seal(stuff_plain(first), stranger, KEYS, NOW, authserv_id="mx", checks=[], chain=chain_of(first))
    believed = ChainResult(ChainState.PASS, sets=2)
    result = chain_of(sealed(fields + first, "three.test", "rsa2048", believed))
    assert (result.state, result.reason) == (
        ChainState.FAIL,
        "seal 2: it does not fit the sets and its key",
    )


def test_a_message_signature_over_seals_is_refused() -> None:
    result = chain_of(through(HOPS[:1]).replace(b"h=from:", b"h=arc-seal:from:", 1))
    assert (result.state, "h= names ARC-Seal" in result.reason) == (ChainState.FAIL, True)


def test_a_message_signature_covers_the_signatures_that_are_there() -> None:
    # RFC 8617 §4.1.2
    signatures = sign(
        stuff_plain(MESSAGE), [SignRequest("one.test", key, key) for key in KEY_NAMES], KEYS, NOW
    )
    message = sealed(signatures + MESSAGE, "one.test", "rsa2048")
    assert chain_of(message).state is ChainState.PASS
    assert reference.chain_verifies(message, ANSWERS) == "pass"
    assert message.partition(b"ARC-Message-Signature:")[2].partition(b"bh=")[0].count(b"dkim-signature") == 2
    for at in (message.index(b"DKIM-Signature"), message.rindex(b"DKIM-Signature")):
        changed = message[:at] + message[at:].replace(b"q=dns/txt;", b"q= dns/txt;", 1)
        assert chain_of(changed).state is ChainState.FAIL


@pytest.mark.parametrize(
    ("fields", "highest"),
    [
        (b"ARC-Seal: i=7; cv=none\r\n", 7),
        (b"ARC-Seal: i=1; cv=none\r\nARC-Seal: i=1; cv=none\r\n", 1),
        (b"ARC-Authentication-Results: i=3; mx.test\r\nARC-Seal: i=1; cv=none\r\n", 3),
        (b"ARC-Seal: nothing\r\n", 0),
    ],
)
def test_the_next_set_of_a_broken_chain_has_the_next_number(fields: bytes, highest: int) -> None:
    # RFC 8617 §5.1
    found = chain_of(fields + MESSAGE)
    assert (found.state, found.sets) == (ChainState.FAIL, highest)
    assert f"ARC-Seal: i={highest + 1}; ".encode() in sealed(fields + MESSAGE, "one.test", "ed25519", found)


def test_a_chain_is_closed_by_its_highest_seal_whatever_is_missing() -> None:
    assert chain_of(b"ARC-Seal: i=1; cv=none\r\nARC-Seal: i=3; cv=fail\r\n" + MESSAGE).is_closed


def test_a_broken_chain_with_numbers_beyond_all_gets_no_set() -> None:
    message = b"ARC-Seal: i=51; cv=none\r\n" + MESSAGE
    assert "more than 50" in chain_of(message).reason
    assert sealed(message, "one.test", "ed25519") == message


def test_a_set_that_was_taken_out_breaks_the_chain() -> None:
    message = through(HOPS)
    start, end = message.index(b"ARC-Seal: i=2"), message.index(b"ARC-Seal: i=1")
    result = chain_of(message[:start] + message[end:])
    assert (result.state, result.reason) == (ChainState.FAIL, "set 2 is missing")


def test_a_broken_chain_is_sealed_once_more_and_then_closed() -> None:
    broken = through(HOPS[:2]).replace(b"Last line", b"last line")
    found = chain_of(broken)
    last = sealed(broken, "three.test", "rsa2048", found)
    assert b"cv=fail" in last
    assert reference.chain_verifies(last, ANSWERS) != "pass"
    result = chain_of(last)
    assert (result.state, result.is_closed) == (ChainState.FAIL, True)
    assert sealed(last, "one.test", "rsa2048", result) == last


def test_a_look_up_that_failed_is_transient() -> None:
    chain = Chain(stuff_plain(through(HOPS[:1])), NOW)
    result = chain.result({})
    assert (result.state, result.is_transient) == (ChainState.FAIL, True)
    assert result.newest is not None
    assert result.newest.fault is Fault.LOOKUP


def test_more_sets_than_the_standard_allows_are_not_looked_at() -> None:
    fields = b"".join(
        b"ARC-Seal: i=%d; a=x\r\nARC-Message-Signature: i=%d\r\nARC-Authentication-Results: i=%d; x\r\n"
        % ((n,) * 3)
        for n in range(SETS_MAX + 1)
    )
    chain = Chain(stuff_plain(fields + MESSAGE), NOW)
    assert chain.names == ()
    assert "more than 50" in chain.result({}).reason


PIECES = st.sampled_from(
    b"i=1|i=0|i=x|cv=none|cv=fail|a=rsa-sha256|b=AA==|bh=AA==|d=one.test|s=ed25519|h=from|c=relaxed/relaxed|t=1|\xff|=".split(
        b"|"
    )
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Seal", b"Message-Signature", b"Authentication-Results"]), st.lists(PIECES)
        )
    )
)
def test_whatever_the_fields_hold_there_is_a_result(sets: list[tuple[bytes, list[bytes]]]) -> None:
    fields = b"".join(b"ARC-%b: %b\r\n" % (name, b"; ".join(tags)) for name, tags in sets)
    result = chain_of(fields + MESSAGE)
    assert result.state is (ChainState.FAIL if sets else ChainState.NONE)

"""What leaves is signed as it was asked for, or does not leave."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.clock import FakeClock
from outrider.base.errors import KeyAbsentError
from outrider.base.ids import MessageId
from outrider.base.log import ListLog
from outrider.guard.signing import SigningGuard
from outrider.model.changes import Stored
from outrider.model.flow import Content, Origin, Traits
from outrider.wire.dkim.arc import ChainResult, ChainState, SealRequest, ask_seal
from outrider.wire.dkim.authentication_results import Checked
from outrider.wire.dkim.keys import SigningKey
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.stored import Asked, pack, unpack
from tests.wire.dkim.reference import chain_verifies, verifies
from tests.wire.dkim.signing import DOMAIN, key_of, records, request

ORIGIN = Origin("test", "ESMTP", "127.0.0.1", "me.test", None, None)
HEADER = b"From: shop@shop.test\r\nSubject: order\r\n"
CONTENT = Content(HEADER + b"\r\nOn its way.\r\n..and more\r\n", Traits.DOTTED, len(HEADER))
REQUEST = request("rsa2048")


class Ring:
    def get(self, name: str) -> SigningKey:
        if name == "lost":
            raise KeyAbsentError(f"there is no key {name}")
        return key_of(name)


def stored(signing: bytes) -> Stored:
    return Stored(MessageId("0" * 18), 7, 0.0, ORIGIN, None, (), None, None, False, 0, 4, 8, signing=signing)


@pytest.fixture
def log() -> ListLog:
    return ListLog()


@pytest.fixture
def guard(clock: FakeClock, log: ListLog) -> SigningGuard:
    return SigningGuard(Ring(), clock, log)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_was_asked_for_is_signed_and_an_independent_verifier_agrees(guard: SigningGuard) -> None:
    entries, signed = guard.clear(stored(pack((REQUEST,))), [7, 8], CONTENT)
    assert entries == [7, 8]
    assert signed.wire.endswith(CONTENT.wire)
    assert signed.wire[signed.header_octets : signed.header_octets + 2] == b"\r\n"
    assert signed.traits == CONTENT.traits
    sent = signed.wire.replace(b"\r\n..", b"\r\n.")
    assert verifies(sent, records("rsa2048"))
    assert not verifies(sent.replace(b"more", b"less"), records("rsa2048"))


def test_what_nobody_asked_to_sign_is_the_same(guard: SigningGuard) -> None:
    entries, content = guard.clear(stored(b""), [7], CONTENT)
    assert content is CONTENT
    assert entries == [7]


@pytest.mark.parametrize(
    ("signing", "content", "why"),
    [
        (pack((SignRequest(DOMAIN, "s1", "lost"),)), CONTENT, "there is no key lost"),
        (pack((REQUEST,)), Content(b"X: y\r\n\r\n", Traits.NONE, 6), "0 From fields"),
        (b"\x00", CONTENT, "Expected `array`"),
        (b"\x91\x81\xa3new\xa1x", CONTENT, "unknown arguments of a signature: new"),
    ],
)
def test_what_cannot_be_signed_stays_and_the_log_says_why(
    guard: SigningGuard, log: ListLog, signing: bytes, content: Content, why: str
) -> None:
    assert guard.clear(stored(signing), [7], content) == ((), content)
    [(level, event, fields)] = log.lines
    assert (level, event) == ("error", "guard.not_signed")
    assert why in fields["error"]


@given(
    st.lists(
        st.builds(
            SignRequest,
            st.sampled_from(["shop.test", "a.shop.test"]),
            st.sampled_from(["s1", "s2.x"]),
            st.text(min_size=1, max_size=20),
            fields=st.sampled_from(
                [("from",), ("from", "to", "x-y"), SignRequest("a.test", "s", "k").fields]
            ),
            expiry_seconds=st.integers(0, 1_000_000),
            allow_short_key=st.booleans(),
        ),
        max_size=4,
    )
)
def test_requests_come_back_as_they_were_packed(requests: list[Any]) -> None:
    asked = Asked(tuple(requests))
    assert unpack(pack(*asked)) == asked
    for first in asked.signatures[:1]:
        sealed = Asked(asked.signatures, SealRequest(first, b"mx.test; arc=pass", 3, ChainState.PASS))
        assert unpack(pack(*sealed)) == sealed


def test_what_an_earlier_program_packed_is_read() -> None:
    octets = b"\x91\x83\xa6domain\xa6a.test\xa8selector\xa1s\xa3key\xa3k:1"
    assert unpack(octets) == Asked((SignRequest("a.test", "s", "k:1"),))
    assert pack((SignRequest("a.test", "s", "k:1"),)) == octets


def sealing(chain: ChainResult) -> SealRequest:
    """The next set, asked for when a message came with a chain."""
    asked = ask_seal(request("rsa2048"), "mx.shop.test", [Checked("spf", "fail")], chain)
    assert asked is not None
    return asked


def test_a_seal_goes_over_signatures_and_says_what_was_found_when_the_message_came(
    guard: SigningGuard, clock: FakeClock
) -> None:
    asked = sealing(ChainResult(ChainState.NONE))
    entries, first = guard.clear(stored(pack((REQUEST,), asked)), [7], CONTENT)
    assert entries == [7]
    assert [each.partition(b":")[0] for each in re.findall(rb"(?m)^[A-Z][^ :]*:", first.wire)][:4] == [
        b"ARC-Seal",
        b"ARC-Message-Signature",
        b"ARC-Authentication-Results",
        b"DKIM-Signature",
    ]
    assert b"ARC-Authentication-Results: i=1; mx.shop.test;\r\n\tspf=fail;\r\n\tarc=none\r\n" in first.wire
    sent = first.wire.replace(b"\r\n..", b"\r\n.")
    assert chain_verifies(sent, records("rsa2048")) == "pass"
    assert verifies(sent, records("rsa2048"))
    asked = sealing(ChainResult(ChainState.PASS, sets=1))
    second = guard.clear(stored(pack((), asked)), [7], first)[1]
    assert chain_verifies(second.wire.replace(b"\r\n..", b"\r\n."), records("rsa2048")) == "pass"
    assert second.wire.startswith(b"ARC-Seal: i=2;")
    assert second.header_octets == len(second.wire) - len(CONTENT.wire) + CONTENT.header_octets


def test_a_seal_on_a_chain_that_is_gone_is_not_made_and_the_log_says_why(
    guard: SigningGuard, log: ListLog
) -> None:
    asked = sealing(ChainResult(ChainState.PASS, sets=1))
    assert guard.clear(stored(pack((REQUEST,), asked)), [7], CONTENT)[0] == ()
    assert "came with 1 ARC sets" in log.lines[0][2]["error"]


def test_nobody_adds_to_a_chain_that_was_closed() -> None:
    chain = ChainResult(ChainState.FAIL, "seal 2 says so", 2, is_closed=True)
    assert ask_seal(REQUEST, "mx.shop.test", [], chain) is None
    assert ask_seal(REQUEST, "mx.shop.test", [], ChainResult(ChainState.PASS, sets=50)) is None
    assert ask_seal(REQUEST, "mx.shop.test", [], ChainResult(ChainState.PASS, sets=49)) is not None


def test_a_usual_request_takes_little_room() -> None:
    assert len(pack((REQUEST,))) < 60

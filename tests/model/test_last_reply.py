"""What the queue remembers of an attempt holds no address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from outrider.model.address import Address
from outrider.model.flow import Outcome, Phase
from outrider.model.last_reply import TEXT_LIMIT, last_reply_of
from outrider.model.reply import Reply
from tests.spool.samples import attempted


def remembered(text: str, local_part: str = "alice") -> str:
    outcome = Outcome(Reply(450, "4.2.0", (text,)), Phase.RCPT, host="mx.one.example")
    facts = replace(attempted(outcome), recipient=Address(local_part, "one.example"))
    last = last_reply_of(facts)
    assert (last.host, last.ours, last.attempted_time) == ("mx.one.example", False, facts.attempted_time)
    return last.text.removeprefix("450 4.2.0 ")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Try later", "Try later"),
        ("<alice@one.example>: greylisted", "<address>: greylisted"),
        ("bob+tag@two.example is over quota", "<address> is over quota"),
        ("User ALICE unknown", "User <address> unknown"),
        ("malice is no word of mine", "malice is no word of mine"),
        ("two\tlines\x1b[2J here", "two lines\ufffd[2J here"),
    ],
)
def test_a_reply_is_kept_without_addresses(said: str, kept: str) -> None:
    assert remembered(said) == kept


def test_a_long_reply_is_cut() -> None:
    assert len(remembered("x" * 5_000)) <= TEXT_LIMIT


@given(
    st.text(max_size=200), st.sampled_from(["alice@one.example", "<alice@one.example>", '"a b"@x.example'])
)
def test_whatever_a_peer_says_no_address_stays(around: str, address: str) -> None:
    kept = remembered(f"{around} {address} {around}")
    assert "@" not in kept
    assert kept.isprintable()

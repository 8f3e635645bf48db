"""Which fields a signature covers, by the names of a message alone."""

import pytest

from outrider.model.flow import Content
from outrider.wire.dkim.canonical import Canonicalization
from outrider.wire.dkim.listing import LINE_OCTETS, UnsignableError, list_fields
from outrider.wire.dkim.message import Parts, pick
from outrider.wire.dkim.request import SignRequest
from outrider.wire.smtp.content import stuff_plain


def message(*fields: str) -> Content:
    return stuff_plain("".join(f"{field}\r\n" for field in fields).encode() + b"\r\nbody\r\n")


def request(*fields: str, oversigned: tuple[str, ...] = ()) -> SignRequest:
    return SignRequest("sender.test", "s", "key", fields=fields, oversigned=oversigned)


def test_each_field_as_often_as_it_is_there_and_once_more_where_that_is_asked() -> None:
    parts = Parts(message("To: 1", "FROM: a", "to: 2", "Subject : x"))
    assert parts.counts == ((b"to", 2), (b"from", 1), (b"subject", 1))
    listing = list_fields(
        parts.counts, request("to", "cc", "subject", oversigned=("to", "cc")), (b"subject",)
    )
    assert listing.names == (*[b"to"] * 3, b"cc", b"subject", b"from", b"subject")
    assert listing.picks == ((b"to", 1), (b"to", 0), (b"subject", 0), (b"from", 0))
    assert listing.tag == b"\th=to:to:to:cc:subject:from:subject;\r\n"
    covered = parts.canonical_all(listing.picks, Canonicalization.RELAXED)
    assert covered == b"to:2\r\nto:1\r\nsubject:x\r\nfrom:a\r\n"


def test_a_name_that_is_not_there_takes_nothing() -> None:
    assert pick((b"x", b"from", b"from", b"x"), ((b"from", 1),)) == ((b"from", 0),)


@pytest.mark.parametrize("count", [3, 64, 65, 300])
def test_messages_of_few_and_of_many_names_are_listed_alike(count: int) -> None:
    names = [f"x{number}" for number in range(count)]
    wanted = names[-40:]
    for _ in range(2):
        parts = Parts(message("From: a", *(f"{name}: 1" for name in names)))
        assert len(parts.counts) == count + 1
        listing = list_fields(parts.counts, request(*wanted))
        assert listing.picks == (*((name.encode(), 0) for name in wanted), (b"from", 0))
        assert max(map(len, listing.tag.split(b"\r\n"))) <= LINE_OCTETS
        assert b"".join(listing.tag.split()) == b"h=%s:from;" % ":".join(wanted).encode()


def test_more_than_can_be_listed_is_refused_each_time() -> None:
    parts = Parts(message("From: a", *["X-A: 1"] * 1500))
    for _ in range(2):
        with pytest.raises(UnsignableError, match="no signature can list them"):
            list_fields(parts.counts, request("x-a"))

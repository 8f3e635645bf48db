"""Whose a message is: read from From, remembered where that is cheap."""

import pytest

from outrider.policy import author
from outrider.policy.author import REMEMBERED, REMEMBERED_OCTETS, AuthorDomains, has_one_author
from outrider.privacy.mail_checks import AUTHOR_OCTETS
from outrider.wire.dkim.message import Parts
from tests.policy.acting import plain_content


def domain_of(authors: AuthorDomains, value: str) -> str:
    return authors.of(plain_content(f"From: {value}\r\n\r\nHello\r\n".encode()))


def crowd(first: str, octets: int) -> str:
    """A From of many, of which `first` is the first one."""
    return f"{first}@shop.test" + ",\r\n joe@one.test" * (octets // 16)


def test_the_first_address_says_whose_it_is() -> None:
    authors = AuthorDomains()
    for _ in range(2):
        assert domain_of(authors, "Ann <ann@Shop.test>, joe@one.test") == "shop.test"
        assert domain_of(authors, "nobody") == ""


def test_what_is_remembered_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many senders there are, and however long their fields."""
    monkeypatch.setattr(author, "REMEMBERED", 10)
    authors = AuthorDomains()
    for number in range(25):
        assert domain_of(authors, f"a{number}@shop.test") == "shop.test"
        assert domain_of(authors, crowd(f"b{number}", 2_000)) == "shop.test"
        kept = authors._domains
        assert len(kept) <= 10
        assert max(map(len, kept)) <= REMEMBERED_OCTETS
    assert REMEMBERED * REMEMBERED_OCTETS <= 1 << 21


def test_what_is_longer_than_any_crowd_names_nobody() -> None:
    authors = AuthorDomains()
    assert domain_of(authors, crowd("ann", AUTHOR_OCTETS - 100)) == "shop.test"
    assert domain_of(authors, crowd("ann", AUTHOR_OCTETS + 100)) == ""


@pytest.mark.parametrize(
    ("header", "has_one"),
    [
        (b"From: a", True),
        (b"FROM: a", True),
        (b"To: b\r\nfRoM:\r\n a\r\nFrom-X: c", True),
        (b"From-X: a\r\nFrom: b", True),
        (b"From \t: a", True),
        (b"Subject: x\r\n From: y\r\nFrom: a", True),
        (b"To: b", False),
        (b"From-X: a", False),
        (b"To: b\r\n From: a", False),
        (b"From: a\r\nFrom: a", False),
        (b"From: a\r\nTo: b\r\nfrom :c", False),
    ],
)
def test_a_message_has_one_author_as_the_signer_counts_them(header: bytes, *, has_one: bool) -> None:
    content = plain_content(header + b"\r\n\r\nFrom: in a body\r\n")
    assert has_one_author(content) is has_one
    assert (Parts(content).count(b"from") == 1) is has_one

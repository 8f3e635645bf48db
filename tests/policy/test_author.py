"""Whose a message is: read from From, remembered where that is cheap."""

import pytest

from outrider.policy import author
from outrider.policy.author import REMEMBERED, REMEMBERED_OCTETS, AuthorDomains
from outrider.privacy.mail_checks import AUTHOR_OCTETS
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

"""Patterns of domains: written by people, compared with the domains of addresses."""

import pytest

from outrider.model.domain_patterns import parse_domain_pattern
from outrider.model.mailbox import parse_mailbox
from outrider.model.scopes import matches


@pytest.mark.parametrize(
    "text", ["Shop.Example", "bücher.example", "BÜCHER.example", "xn--bcher-kva.example"]
)
def test_a_domain_means_the_same_as_in_an_address(text: str) -> None:
    domain = parse_mailbox(f"a@{text}", smtputf8=True).domain
    assert parse_domain_pattern(text) == domain
    assert parse_domain_pattern(f"*.{text}") == f"*.{domain}"
    below = parse_mailbox(f"a@mail.{text}", smtputf8=True).domain
    assert matches(parse_domain_pattern(f"*.{text}"), below)


def test_a_star_is_every_domain() -> None:
    assert parse_domain_pattern("*") == "*"


@pytest.mark.parametrize(
    "text",
    ["", "*.", "*a.example", "a.*", ".a.example", "a.example.", " a.example", "b@a.example", "ü..example"],
)
def test_what_would_never_match_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".: |write"):
        parse_domain_pattern(text)

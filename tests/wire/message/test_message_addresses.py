"""Addresses in header fields: what the grammar allows is read, what it does not is bounded and reported."""

import email.headerregistry
import email.policy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.mailbox import parse_mailbox, unicode_domain
from outrider.receive import submitter
from outrider.wire.message.addresses import (
    ADDRESSES,
    FAULTS,
    VALUE_CHARACTERS,
    parse_addresses,
)
from outrider.wire.message.header import Header


def specs(value: str) -> list[str]:
    found = parse_addresses(value)
    assert not found.faults, found
    return [each.spec for each in found.addresses]


@pytest.mark.parametrize(
    ("value", "names", "expected"),
    [
        ("a@b.test", [""], ["a@b.test"]),
        ("  Alice Cooper <alice@example.test> ", ["Alice Cooper"], ["alice@example.test"]),
        ("a@b.test,c@d.test", ["", ""], ["a@b.test", "c@d.test"]),
        ('"Doe, John" <j@d.test>', ["Doe, John"], ["j@d.test"]),
        (r'"a \"b\" \\" <j@d.test>', ['a "b" \\'], ["j@d.test"]),
        ("John Q. Public <j@d.test>", ["John Q. Public"], ["j@d.test"]),
        ('John (not  \t the) Smith\t "  the  2nd"  <j@d.test>', ["John Smith   the  2nd"], ["j@d.test"]),
        ("j @ (in) d (dot) . (and) test", ["and"], ["j@d.test"]),
        (
            "Pete (A nice \\) chap) <pete (his account) @ silly.test (his host)>",
            ["Pete"],
            ["pete@silly.test"],
        ),
        ("j@d.test (John (the elder))", ["John (the elder)"], ["j@d.test"]),
        ('"very odd"@d.test', [""], ['"very odd"@d.test']),
        ('"plain"@d.test', [""], ["plain@d.test"]),
        ("a@[192.0.2.1]", [""], ["a@[192.0.2.1]"]),
        ("<@one.test,@two.test:j@d.test>", [""], ["j@d.test"]),
        ("a . b @ c . test", [""], ["a.b@c.test"]),
        (",, a@b.test ,,", [""], ["a@b.test"]),
        ("=?utf-8?q?J=C3=B6rg?= <j@d.test>", ["Jörg"], ["j@d.test"]),
        ('"=?utf-8?q?J=C3=B6rg?=" <j@d.test>', ["Jörg"], ["j@d.test"]),
        ("=?utf-8?b?SsO2?= =?utf-8?b?cmc=?= x <j@d.test>", ["Jörg x"], ["j@d.test"]),
        ("a@b.test,\r\n\tB <b@b.test>", ["", "B"], ["a@b.test", "b@b.test"]),
        ("Jörg <jörg@bücher.example>", ["Jörg"], ["jörg@xn--bcher-kva.example"]),
        ("<>", [""], [""]),
        ("A@EXAMPLE.Test", [""], ["A@example.test"]),
        ("Alice  Cooper <a@b.test>", ["Alice Cooper"], ["a@b.test"]),
        ("Alice\r\n  Cooper\r\n\t<a@b.test>", ["Alice Cooper"], ["a@b.test"]),
        ('"a"."b".c@d.test', [""], ["a.b.c@d.test"]),
        ('a . (x) "b c" @ d.test', ["x"], ['"a.b c"@d.test']),
        (r'"a\"".b@d.test', [""], [r'"a\".b"@d.test']),
        ("a@[ 192.0.2.1 ]", [""], ["a@[192.0.2.1]"]),
        ("a@[IPv6:\r\n 2001:db8::1]", [""], ["a@[IPv6:2001:db8::1]"]),
        ("a@b.test (A) (=?utf-8?q?=C3=A9?=)", ["é"], ["a@b.test"]),
        ("=?utf-8?q?a=2C_b?= <a@b.test>, c@d.test", ["a, b", ""], ["a@b.test", "c@d.test"]),
    ],
)
def test_well_formed(value: str, names: list[str], expected: list[str]) -> None:
    assert specs(value) == expected
    assert [each.display_name for each in parse_addresses(value).addresses] == names


def test_groups_are_read_and_their_members_say_so() -> None:
    assert specs("undisclosed-recipients:;") == []
    found = parse_addresses('"A Group":Ed <ed@a.test>,joe@b.test (Joe);, z@z.test').addresses
    assert [(each.group, each.display_name, each.spec) for each in found] == [
        ("A Group", "Ed", "ed@a.test"),
        ("A Group", "Joe", "joe@b.test"),
        ("", "", "z@z.test"),
    ]


def test_the_parts_of_an_address() -> None:
    (found,) = parse_addresses("Max <user+detail+more@b\u00fccher.example>").addresses
    assert found.address == parse_mailbox("user+detail+more@xn--bcher-kva.example", smtputf8=False)
    assert (found.local_part, found.user, found.detail) == ("user+detail+more", "user", "detail+more")
    assert found.domain == "xn--bcher-kva.example"
    assert found.unicode_domain == "bücher.example"
    assert found.text == "Max <user+detail+more@bücher.example>"
    (found,) = parse_addresses("user@a.test").addresses
    assert (found.user, found.detail, found.unicode_domain) == ("user", "", "a.test")


def test_a_label_that_is_no_u_label_stays() -> None:
    assert unicode_domain("xn--bcher-kva.xn--\u0000.test") == "bücher.xn--\0.test"
    assert unicode_domain("xn--a.test") == "xn--a.test"


@pytest.mark.parametrize(
    ("value", "expected", "fault"),
    [
        ("nobody", ["nobody"], "it has no domain"),
        ("a@b@c.test", ["a@b@c.test"], "it has more than one @"),
        ("John Doe j@d.test", ["j@d.test"], "something stands before its local part"),
        (
            f"{'l' * 65}@B\u00fccher.example",
            [f"{'l' * 65}@xn--bcher-kva.example"],
            "the local part is too long",
        ),
        ("a(c)b@d.test", ["b@d.test"], "something stands before its local part"),
        ("a@b.test evil.test", ["a@b.test"], "something stands behind its domain"),
        ("a@b.test(c)evil.test", ["a@b.test"], "something stands behind its domain"),
        ("<a@b.test evil.test>", ["a@b.test"], "something stands behind its domain"),
        ("a <b@c.test, d@e.test", ["b@c.test", "d@e.test"], "its angle bracket is not closed"),
        ("a <b@c.test", ["b@c.test"], "its angle bracket is not closed"),
        ("<a@b.test> rest", ["a@b.test"], "something stands behind its angle brackets"),
        ("x@y.test (never closed", ["x@y.test"], "its comment is not closed"),
        ("G: a@b.test", ["a@b.test"], "its group is not closed"),
        ("a@b.test; c@d.test", ["a@b.test", "c@d.test"], "a semicolon stands outside of a group"),
        ("@b.test", ["@b.test"], "the local part is empty"),
        ("a@-b-.test", ["a@-b-.test"], "the domain"),
        (
            'a@b.test, "never closed <a@b.test>',
            ["a@b.test", "a@b.test"],
            "address 2: its quoted string is not closed",
        ),
        ("a@[192.0.2.1", ["a@[192.0.2.1"], "its address literal is not closed"),
    ],
)
def test_malformed_is_read_as_far_as_it_goes_and_reported(
    value: str, expected: list[str], fault: str
) -> None:
    found = parse_addresses(value)
    assert any(fault in each for each in found.faults), found
    assert [each.spec for each in found.addresses] == expected
    assert all(value not in each for each in found.faults)


def test_what_is_beyond_the_bounds_is_not_read() -> None:
    many = parse_addresses("a@b.test," * (ADDRESSES + 5))
    assert len(many.addresses) == ADDRESSES
    assert str(ADDRESSES) in many.faults[-1]
    long = parse_addresses("(" + "x" * VALUE_CHARACTERS + ") a@b.test")
    assert not long.addresses
    assert str(VALUE_CHARACTERS) in long.faults[-1]
    faulty = parse_addresses("x," * 100)
    assert len(faulty.faults) == FAULTS
    assert faulty.more_faults == 100 - FAULTS


@pytest.mark.parametrize(
    "piece",
    ['"\\"', "[\\[", "(", "<", "<@,", "a:", "<a:", "a;", "a:;", '"', "\\", "a@", "()", "<>", " ", "  a"],
)
def test_nothing_costs_more_than_its_length(piece: str) -> None:
    # within the time-out; the square of it is not
    parse_addresses(piece * (VALUE_CHARACTERS // len(piece)))
    parse_addresses(" " * VALUE_CHARACTERS + piece * VALUE_CHARACTERS)


def test_many_colons_behind_many_words_cost_no_more_than_their_length() -> None:
    words = VALUE_CHARACTERS // 4  # each colon looked through all of them: 50 seconds
    found = parse_addresses("a " * words + "@" + ":" * 2 * words)
    assert [each.address for each in found.addresses] == [None]


def test_what_does_not_end_is_sought_once() -> None:
    for start, piece in (('"', '\\"'), ("[", "\\[")):
        found = parse_addresses(start + piece * 100)
        assert sum("is not closed" in fault for fault in found.faults) + found.more_faults == 1
        parse_addresses(start + piece * (VALUE_CHARACTERS // 2))


@given(st.text(alphabet='ab@<>(),;:."\\[] \r\n=?é', max_size=60))
def test_anything_is_taken(value: str) -> None:
    found = parse_addresses(value)
    for each in found.addresses:
        if each.address is not None:
            assert parse_mailbox(str(each.address), smtputf8=True) == each.address
            assert each.spec == str(each.address)
        else:
            assert found.faults or not each.spec


locals_ = st.from_regex(re.compile(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,4}){0,2}", re.ASCII), fullmatch=True)
domains = st.sampled_from(["a.test", "mail.example", "x-y.test", "sub.b.test"])
phrases = st.text(st.characters(codec="utf-8", categories=["L", "Nd", "Po", "Zs"]), min_size=1, max_size=30)


@given(st.lists(st.tuples(phrases, locals_, domains), min_size=1, max_size=4))
def test_agrees_with_another_reader(boxes: list[tuple[str, str, str]]) -> None:
    registry = email.policy.SMTP.header_factory
    made = [
        email.headerregistry.Address(" ".join(name.split()), local, domain) for name, local, domain in boxes
    ]
    value = registry("To", ", ".join(str(each) for each in made)).fold(policy=email.policy.SMTP)
    text = value.partition(":")[2].removesuffix("\r\n")
    again = registry("To", re.sub(r"\r\n(?=[ \t])", "", text)).addresses
    found = parse_addresses(text)
    assert [each.spec for each in found.addresses] == [each.addr_spec for each in again]


@given(st.text(alphabet='ab@<>(),;:."\\[] \r\n', max_size=40) | st.just("x@a.test (c) <b@c.test>"))
def test_no_author_is_seen_that_the_submitters_check_did_not_see(value: str) -> None:
    try:
        checked = submitter.author_domains(value)
    except submitter._UnreadableError:
        return
    seen = {each.domain for each in parse_addresses(value).addresses if each.domain}
    assert seen <= set(checked), (value, checked)


def test_every_field_of_the_name_is_read() -> None:
    header = Header(b"To: a@a.test,\r\n b@b.test\r\nCc: c@c.test\r\nto: =?utf-8?q?=C3=BC?= <d@d.test>, x\r\n")
    found = header.addresses("To")
    assert [each.spec for each in found.addresses] == ["a@a.test", "b@b.test", "d@d.test", "x"]
    assert found.addresses[2].display_name == "ü"
    assert found.faults == ("address 2: it has no domain",)
    assert header.addresses("cc").addresses[0].spec == "c@c.test"
    assert header.addresses("Bcc").addresses == ()

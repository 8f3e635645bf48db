"""The address grammar as tables, and the property that an address has one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.errors import AddressError
from outrider.model.mailbox import parse_domain, parse_mailbox

VALID = [
    # text, as returned; RFC 5321 §4.1.2 unless said
    ("user@example.com", "user@example.com"),
    ("User.Name@EXAMPLE.Com", "User.Name@example.com"),
    ("a@b", "a@b"),
    ("a@localhost", "a@localhost"),
    ("a!b%c@example.com", "a!b%c@example.com"),
    ("!#$%&'*+/=?^_`{|}~-@example.com", "!#$%&'*+/=?^_`{|}~-@example.com"),
    ('"joe"@example.com', "joe@example.com"),
    ('"joe.b"@example.com', "joe.b@example.com"),
    (r'"j\oe"@example.com', "joe@example.com"),
    ('"a b"@example.com', '"a b"@example.com'),
    (r'"a\"b"@example.com', r'"a\"b"@example.com'),
    (r'"a\\"@example.com', r'"a\\"@example.com'),
    ('"a@b"@example.com', '"a@b"@example.com'),
    ('".a"@example.com', '".a"@example.com'),
    ('""@example.com', '""@example.com'),
    ('"<>"@example.com', '"<>"@example.com'),
    ("a@1.example.com", "a@1.example.com"),
    ("a@x--y.example.com", "a@x--y.example.com"),
    ("a@3com.example", "a@3com.example"),
    ("a@" + "d" * 63 + ".example", "a@" + "d" * 63 + ".example"),
    ("l" * 64 + "@example.com", "l" * 64 + "@example.com"),
    # RFC 5321 §4.1.3
    ("a@[192.0.2.1]", "a@[192.0.2.1]"),
    ("a@[IPv6:2001:DB8::1]", "a@[IPv6:2001:db8::1]"),
    ("a@[ipv6:2001:0db8:0:0:0:0:0:1]", "a@[IPv6:2001:db8::1]"),
    ("a@[IPv6:::ffff:192.0.2.1]", "a@[IPv6:::ffff:c000:201]"),
    # RFC 6531 §3.3, RFC 5891 §4
    ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
    ("a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"),
]

VALID_UTF8 = [
    ("müller@example.com", "müller@example.com"),
    ('"mü ller"@example.com', '"mü ller"@example.com'),
    ("a@bücher.example", "a@xn--bcher-kva.example"),
    ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
    ("a@faß.example", "a@xn--fa-hia.example"),
    ("a@例え.テスト", "a@xn--r8jz45g.xn--zckzah"),
    ("a@bücher。example", "a@xn--bcher-kva.example"),
    ("a@\uff45xample.com", "a@example.com"),
    ("ü" * 32 + "@example.com", "ü" * 32 + "@example.com"),
]

INVALID = [
    ("", "domain"),
    ("a", "domain"),
    ("a@", "domain is empty"),
    ("@example.com", "local part is empty"),
    ("a@b@example.com", "local part"),
    ("a b@example.com", "local part"),
    (".a@example.com", "local part"),
    ("a.@example.com", "local part"),
    ("a..b@example.com", "local part"),
    ("a(b)@example.com", "local part"),
    ("a<b@example.com", "local part"),
    ('a"b@example.com', "local part"),
    ('"a"b@example.com', "local part"),
    ('"a@example.com', "local part"),
    ('"a"b"@example.com', "local part"),
    ('"a\\"@example.com', "local part"),
    ("a\n@example.com", "local part"),
    ('"a\r\n"@example.com', "local part"),
    ('"a\0"@example.com', "local part"),
    ("a@exa mple.com", "domain"),
    ("a@-example.com", "domain"),
    ("a@example-.com", "domain"),
    ("a@example..com", "domain"),
    ("a@.example.com", "domain"),
    ("a@example.com.", "domain"),
    ("a@exa_mple.com", "domain"),
    ("a@example.com\n", "domain"),
    ("a@example.com\r\nRCPT TO:<b@c>", "local part"),
    ("a@example.com>", "domain"),
    ("a@192.0.2.1", "number"),
    ("a@1", "number"),
    ("a@0x7f.1", "number"),
    ("a@" + "d" * 64 + ".example", "label"),
    ("l" * 65 + "@example.com", "local part is too long"),
    ("l" * 64 + "@" + "d." * 95 + "example", "too long"),
    ("a@" + "d." * 130 + "com", "too long"),
    ("a@[192.0.2.1", "closed"),
    ("a@[192.0.2.256]", "IP"),
    ("a@[192.0.2.01]", "IP"),
    ("a@[192.0.2]", "IP"),
    ("a@[2001:db8::1]", "tag"),
    ("a@[IPv6:2001:db8::g]", "IP"),
    ("a@[IPv6:fe80::1%eth0]", "tag"),
    ("a@[IPv6:]", "IP"),
    ("a@[]", "IP"),
    ("a@[x:y]", "tag"),
    ("a@xn--a.example", "internationalised"),
    ("a@xn--zz--zz.example", "internationalised"),
    ("@a,@b:user@example.com", "local part"),
]

INVALID_UTF8 = [
    ("a\x85b@example.com", "local part"),
    ("a\u2028b@example.com", "local part"),
    ("a\ud800b@example.com", "local part"),
    ("a@b\u2028c.example", "internationalised"),
    ("a@x℀y.example", "internationalised"),
    ("a@\u200d.example", "internationalised"),
    ("a@☃︎‍.example", "internationalised"),
    ("a@\uff11\uff12\uff17.0.0.1", "number"),
    ("ü" * 33 + "@example.com", "local part is too long"),
]


@pytest.mark.parametrize(("text", "expected"), VALID + VALID_UTF8)
def test_valid(text: str, expected: str) -> None:
    assert str(parse_mailbox(text, smtputf8=True)) == expected
    if text.isascii():
        assert str(parse_mailbox(text, smtputf8=False)) == expected
    else:
        with pytest.raises(AddressError, match="SMTPUTF8"):
            parse_mailbox(text, smtputf8=False)


@pytest.mark.parametrize(("text", "part"), INVALID + INVALID_UTF8)
def test_invalid(text: str, part: str) -> None:
    with pytest.raises(AddressError, match=part) as caught:
        parse_mailbox(text, smtputf8=True)
    assert len(text) < 8 or text not in caught.value.message
    if text.isascii():
        with pytest.raises(AddressError, match=part):
            parse_mailbox(text, smtputf8=False)


ODD = st.text(st.sampled_from('ab.@"\\ <>[]:%!-_1xnéß\u3002\u00ad\r\n\0'), max_size=24)


@given(text=st.one_of(ODD, st.text(max_size=40), st.emails()))
def test_an_address_has_one_form(text: str) -> None:
    try:
        address = parse_mailbox(text, smtputf8=True)
    except AddressError:
        return
    again = parse_mailbox(str(address), smtputf8=True)
    assert again == address
    assert parse_domain(address.domain) == address.domain
    assert address.domain.isascii()
    assert not set(str(address)) & set("\r\n\0")
    assert len(address.local_part.encode()) <= 64
    assert len(str(address).encode()) <= 254
    assert str(address).rpartition("@")[2] == address.domain


@given(domain=st.text(st.sampled_from("aB1-.é\u3002xn[]:"), max_size=20))
def test_a_domain_has_one_form(domain: str) -> None:
    try:
        parsed = parse_domain(domain)
    except AddressError:
        return
    assert parse_domain(parsed) == parsed
    if parsed[0] != "[":
        assert parsed == parsed.lower()

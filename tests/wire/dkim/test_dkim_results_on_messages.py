"""A field of ours goes on a message, and forged ones come off."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.flow import Content, Traits
from outrider.wire.dkim.authentication_results import Checked
from outrider.wire.dkim.results_field import claim, with_results
from outrider.wire.smtp.content import checked, stuff_plain

OURS = b"Authentication-Results: mx.one.test;\r\n\tspf=pass\r\n"
CHECKS = [Checked("spf", "pass")]
REST = b"Received: from a\r\n\tby b\r\nSubject: x\r\n"
BODY = b"\r\nauthentication-results: mx.one.test; spf=fail\r\n.dot\r\n"


def marked(header: bytes) -> bytes:
    content = with_results(stuff_plain(header + BODY), "mx.one.test", CHECKS)
    again = checked(content.wire)
    assert (again.traits, again.header_octets) == (content.traits, content.header_octets)
    return content.wire


def test_the_field_stands_at_the_top_and_the_rest_is_as_it_was() -> None:
    assert marked(REST) == OURS + REST + BODY.replace(b"\r\n.", b"\r\n..")


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: mx.one.test; spf=pass\r\n",
        b"AUTHENTICATION-RESULTS:MX.ONE.TEST.;\r\n\tspf=pass\r\n",
        b"Authentication-Results : (a (comment) \\) here)\r\n mx.one.test 1;\r\n spf=pass\r\n",
        b'Authentication-Results: "mx.one.\\test"; none\r\n',
        b"Authentication-Results:\r\n\tmx.one.test\r\n",
        b"Authentication-Results: mx.one.test(x); none\r\n",
        b"Authentication-Results:\r\n",
        b"Authentication-Results: (never closed mx.one.test; none\r\n",
        b"Authentication-Results: ; spf=pass\r\n",
        b"Authentication-Results: mx.two.test 2; spf=pass\r\n",
        b"Authentication-Results: mx.two.test(1) (2)\r\n\t10 ; spf=pass\r\n",
        b'Authentication-Results: "mx.two.test"0; spf=pass\r\n',
        b'Authentication-Results: " mx.one.test "; spf=pass\r\n',
        b'Authentication-Results: " "; spf=pass\r\n',
        b"Authentication-Results: mx.two.test " + b"9" * 5_000 + b"; none\r\n",
        "Authentication-Results: \uff4d\uff58.one.test; spf=pass\r\n".encode(),
        "Authentication-Results: mx.o\u00adne.test; spf=pass\r\n".encode(),
    ],
)
def test_a_field_that_claims_to_be_ours_comes_off(field: bytes) -> None:
    assert marked(REST + field + REST + field) == OURS + REST + REST + BODY.replace(b"\r\n.", b"\r\n..")


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: mx.two.test; spf=pass\r\n\tsmtp.mailfrom=mx.one.test\r\n",
        b"Authentication-Results: (mx.one.test) mx.two.test; none\r\n",
        b"Authentication-Results: amx.one.test; none\r\n",
        b"Authentication-Results: mx.two.test 1; none\r\n",
        b"Authentication-Results: mx.two.test (2) 01 ; none\r\n",
        b"Authentication-Results: mx.two.test; 2=pass\r\n",
        b"Authentication-Results: 2; none\r\n",
        b"Authentication-Results: mx.two.test\r\n",
        b"Authentication-Results: m\xfcx.test; none\r\n",
        b"X-Authentication-Results: mx.one.test; none\r\n",
        b"Subject: a\r\n Authentication-Results: mx.one.test; none\r\n",
    ],
)
def test_a_field_of_somebody_else_stays(field: bytes) -> None:
    assert field in marked(field + REST)


@pytest.mark.parametrize("ours", ["mx.xn--bcher-kva.test", "MX.xn--BCHER-kva.test"])
@pytest.mark.parametrize(
    "claimed", ["mx.bücher.test", '"MX.BÜCHER.test"', "mx.xn--bcher-kva.test.", "mx.bu\u0308cher.test"]
)
def test_names_are_the_same_in_a_labels_and_u_labels(ours: str, claimed: str) -> None:
    # RFC 8601 §5
    for name, is_kept in (claimed, False), ("mx.bucher.test", True), ("mx.xn--a.test", True):
        forged = f"Authentication-Results: {name}; spf=pass\r\n".encode()
        wire = with_results(stuff_plain(forged + REST + BODY), ours, CHECKS).wire
        assert (forged in wire) is is_kept
        assert REST in wire


def test_a_forged_field_takes_with_it_what_only_it_held() -> None:
    forged = "Authentication-Results: mx.one.test; spf=pass (ü)\r\n".encode()
    content = stuff_plain(forged + REST + b"\r\nx\r\n")
    assert content.traits & Traits.HEADER_UTF8
    assert with_results(content, "mx.one.test", CHECKS).traits == Traits.NONE


@given(
    st.lists(
        st.sampled_from(
            [b"(", b")", b"\\", b'"', b"mx.one.test", b";", b" ", b"\r\n\t", b"a", b"=", b"\xff"]
        ),
        max_size=30,
    )
)
def test_whatever_a_field_holds_other_fields_stay_and_no_other_reads_as_ours(pieces: list[bytes]) -> None:
    value = b"".join(pieces)
    wire = b"Authentication-Results:" + value + b"\r\n" + REST + b"\r\nx\r\n"
    content = checked(wire)
    found = with_results(content, "mx.one.test", CHECKS)
    assert found.wire.startswith(OURS)
    rest = found.wire[len(OURS) :]
    assert rest in {wire, wire[wire.index(REST) :]}
    if rest == wire:
        name, version = claim(value.decode("utf-8", "replace"))
        assert (name.lower().rstrip(".") not in {"", "mx.one.test"}, version) == (True, 1)


def test_a_message_without_header_gets_one() -> None:
    content = with_results(Content(b"\r\nhello\r\n", Traits.NONE, 0), "mx.one.test", CHECKS)
    assert content == Content(OURS + b"\r\nhello\r\n", Traits.NONE, len(OURS))

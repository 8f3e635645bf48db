"""dkimpy reads what we sign, and we read what it signs, over messages that hypothesis makes up."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outrider.base.clock import SystemClock
from outrider.wire.dkim.canonical import Canonicalization
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.signer import sign
from outrider.wire.smtp.content import stuff_plain
from tests.wire.dkim import reference
from tests.wire.dkim.signing import DOMAIN, KEYS, check, key_of, records

NOW = SystemClock().wall()  # dkimpy takes the time of the day

WHITE = st.sampled_from(["", " ", "  ", "\t", " \t ", "\r\n ", "\r\n\t \t"])
WORDS = st.text(
    st.characters(codec="latin-1", exclude_characters="\r\n\0\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"), max_size=12
)
VALUES = st.lists(st.tuples(WHITE, WORDS), max_size=5).map(
    lambda parts: "".join(white + word for white, word in parts)
)
NAMES = st.sampled_from(
    [
        "To",
        "Cc",
        "Subject",
        "SUBJECT",
        "Date",
        "Reply-To",
        "X-Other",
        "List-Unsubscribe",
        "Message-ID",
        "MIME-Version",
    ]
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=10)
LINES = st.lists(
    st.lists(
        st.sampled_from(["", " ", "  ", "\t", "word", ".", "..", "=20", "\xe4", " end "]), max_size=6
    ).map("".join),
    max_size=12,
)


def _folds_are_whole(message: bytes) -> bytes:
    """A fold of white space alone would end the header for some readers (RFC 5322 §3.2.2)."""
    lines = message.split(b"\r\n")
    return b"\r\n".join(line if line.strip() or not line else line + b"x" for line in lines)


def _message(fields: list[tuple[str, str]], lines: list[str], place: int) -> bytes:
    header = [f"{name}:{value}" for name, value in fields]
    header.insert(min(place, len(header)), "From: Ann <ann@sender.test>")
    return (
        _folds_are_whole("\r\n".join(header).encode("latin-1"))
        + b"\r\n\r\n"
        + "\r\n".join(lines).encode("latin-1")
        + b"\r\n"
    )


MESSAGES = st.builds(_message, FIELDS, LINES, st.integers(0, 10))
FORMS = st.sampled_from(list(Canonicalization))
FULL = 5_000
REDUCED = 150


def _reads_ours(message: bytes, key: str, header: Canonicalization, body: Canonicalization) -> None:
    asked = SignRequest(
        DOMAIN, key, key, header=header, body=body, identity="@sender.test", expiry_seconds=9_999_999
    )
    signed = sign(stuff_plain(message), [asked], KEYS, NOW) + message
    answers = records(key)
    assert check(stuff_plain(signed), answers, NOW)[0].is_pass
    assert reference.verifies(signed, answers)


def _reads_theirs(message: bytes, key: str, header: Canonicalization, body: Canonicalization) -> None:
    field = reference.signed(message, key_of(key), key, DOMAIN, header=header, body=body)
    (result,) = check(stuff_plain(field + message), records(key), NOW)
    assert result.is_pass, result.reason


@settings(max_examples=REDUCED)
@given(MESSAGES, FORMS, FORMS)
def test_dkimpy_reads_our_ed25519_signatures(
    message: bytes, header: Canonicalization, body: Canonicalization
) -> None:
    _reads_ours(message, "ed25519", header, body)


@settings(max_examples=REDUCED, suppress_health_check=[HealthCheck.too_slow])
@given(MESSAGES, FORMS, FORMS)
def test_dkimpy_reads_our_rsa_signatures(
    message: bytes, header: Canonicalization, body: Canonicalization
) -> None:
    _reads_ours(message, "rsa2048", header, body)


@settings(max_examples=REDUCED)
@given(MESSAGES, FORMS, FORMS)
def test_we_read_the_signatures_of_dkimpy(
    message: bytes, header: Canonicalization, body: Canonicalization
) -> None:
    _reads_theirs(message, "ed25519", header, body)


@pytest.mark.long
@settings(max_examples=FULL)
@given(MESSAGES, st.sampled_from(["ed25519", "rsa2048"]), FORMS, FORMS)
def test_dkimpy_reads_our_signatures_of_thousands(
    message: bytes, key: str, header: Canonicalization, body: Canonicalization
) -> None:
    _reads_ours(message, key, header, body)


@pytest.mark.long
@settings(max_examples=FULL)
@given(MESSAGES, FORMS, FORMS)
def test_we_read_the_signatures_of_dkimpy_of_thousands(
    message: bytes, header: Canonicalization, body: Canonicalization
) -> None:
    _reads_theirs(message, "ed25519", header, body)


@pytest.mark.parametrize("key", ["ed25519", "rsa2048"])
def test_dkimpy_finds_what_was_changed_after_we_signed(key: str) -> None:
    message = b"From: ann@sender.test\r\nSubject: x\r\n\r\nbody\r\n"
    signed = sign(stuff_plain(message), [SignRequest(DOMAIN, key, key)], KEYS, NOW) + message
    answers = records(key)
    assert reference.verifies(signed, answers)
    for old, new in (
        (b"body", b"Body"),
        (b"Subject: x", b"Subject: y"),
        (b"From:", b"From: y@z.test\r\nFrom:"),
    ):
        changed = signed.replace(old, new)
        assert not reference.verifies(changed, answers), new
        assert not check(stuff_plain(changed), answers, NOW)[0].is_pass, new


def test_a_length_of_dkimpy_is_read() -> None:
    message = b"From: ann@sender.test\r\nSubject: x\r\n\r\nbody\r\n"
    field = reference.signed(
        message, key_of("ed25519"), "ed25519", DOMAIN, header="relaxed", body="simple", length=True
    )
    (result,) = check(stuff_plain(field + message), records("ed25519"), NOW)
    assert (result.is_pass, result.body_octets) == (True, 6)
    (result,) = check(stuff_plain(field + message + b"added\r\n"), records("ed25519"), NOW)
    assert not result.is_pass

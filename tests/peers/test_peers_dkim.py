"""OpenDKIM reads what we sign, finds what was changed after it, and we read what it signs."""

import itertools

import pytest

from outrider.base.clock import SystemClock
from outrider.wire.dkim.canonical import Canonicalization
from outrider.wire.dkim.signer import sign
from outrider.wire.smtp.content import stuff_plain
from tests.peers import opendkim
from tests.wire.dkim.signing import DOMAIN, KEYS, MESSAGE, check, key_of, pem, records, request

pytestmark = pytest.mark.peer

NOW = SystemClock().wall()  # OpenDKIM takes the time of the day
FORMS = list(itertools.product(["ed25519", "rsa2048", "rsa1024"], Canonicalization, Canonicalization))
TEXTS = {name: answer.texts[0] for name, answer in records().items()}
BODIES = (
    b"",
    b"\r\n\r\n\r\n",
    b" \r\n\t\r\n",
    b".\r\n..\r\n. dot\r\n",
    b"  a   b\t\tc \r\n\r\n  d\r\n\r\n\r\n",
    b"\xe4\xf6\xfc  \xc3\xa4\r\n",
    b"x" * 900 + b"  y\r\n",
)
HEADERS = (
    b"From: Ann <ann@sender.test>\r\nSubject:\r\n",
    b"Subject: a\r\n\tb\r\n  c \t \r\nFROM:\t ann@sender.test \r\nTo: a@b.t,\r\n c@d.t\r\nTo: e@f.t\r\n",
)
PLAIN = MESSAGE.replace(b":  ", b": ")


@pytest.fixture(autouse=True)
def _installed() -> None:
    if reason := opendkim.missing():
        pytest.skip(reason)


def test_opendkim_reads_our_signatures_in_every_form_and_finds_changes() -> None:
    signed = [
        sign(
            stuff_plain(PLAIN),
            [request(key, header=header, body=body, allow_short_key=True, expiry_seconds=9_999_999)],
            KEYS,
            NOW,
        )
        + PLAIN
        for key, header, body in FORMS
    ]
    changed = [message.replace(b"Last line", b"last line") for message in signed]
    added = [message.replace(b"X-Other", b"From: eve@evil.test\r\nX-Other") for message in signed]
    found = opendkim.verdicts([*signed, *changed, *added], TEXTS)
    assert found == [True] * len(signed) + [False] * len(changed) + [False] * len(added)


def test_opendkim_reads_our_signatures_over_odd_messages() -> None:
    messages = [
        sign(stuff_plain(message), [request(key, header=header, body=body, allow_short_key=True)], KEYS, NOW)
        + message
        for message in (head + b"\r\n" + body for head in HEADERS for body in BODIES)
        for key, header, body in FORMS
        if header is Canonicalization.RELAXED
    ]
    assert opendkim.verdicts(messages, TEXTS) == [True] * len(messages)


@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("rsa2048", "relaxed/relaxed"),
        ("rsa2048", "relaxed/simple"),
        ("rsa2048", "simple/simple"),
        ("ed25519", "relaxed/relaxed"),
        ("ed25519", "relaxed/simple"),
        # what it signs by Ed25519 over a simple header, OpenDKIM 2.11 itself and dkimpy refuse as we do
    ],
)
def test_we_read_the_signatures_of_opendkim(key: str, form: str) -> None:
    for body in BODIES:
        message = PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
        signed = opendkim.signed(
            message, pem(key), algorithm=key_of(key).algorithm, selector=key, domain=DOMAIN, form=form
        )
        (result,) = check(stuff_plain(signed), now=NOW)
        assert result.is_pass, (body, result.reason)

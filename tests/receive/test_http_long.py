"""Long contents through the HTTP door: the same message as a short one would be."""

import base64
import email
from email.message import Message
from typing import Any

import pytest

from outrider.base.long_octets import LONG_OCTETS
from outrider.wire.smtp.content import unstuff
from tests.receive.http_site import HttpSite

LINES = LONG_OCTETS // 64 + 500
HEADER = b"From: shop@sender.example\r\nSubject: long\r\n"


async def raw(site: HttpSite, octets: bytes) -> Any:
    target = "/v1/messages?from=shop@sender.example&to=joe@example.com"
    chunks = [octets[at : at + 65_536] for at in range(0, len(octets), 65_536)]
    return await site.ask("POST", target, chunks, kind="message/rfc822")


async def test_a_long_raw_message_is_taken_as_it_is_behind_our_trace() -> None:
    site = HttpSite()
    body = b"".join(b".%062d\r\n" % number for number in range(LINES))
    stream = b"X-Outrider-Stream: news\r\n"
    answer = await raw(site, HEADER + stream + b"\r\n" + body)
    assert answer.status == 202, answer.body
    submission = site.intake.only()
    content = submission.content
    assert submission.origin.stream == "news"
    plain = unstuff(content)
    assert plain.startswith(b"Received: from ")
    assert plain.endswith(HEADER + b"\r\n" + body)
    assert content.wire[: content.header_octets].endswith(HEADER)
    assert content.wire[content.header_octets :].startswith(b"\r\n..")


@pytest.mark.parametrize("levels", [90, 110])
async def test_a_long_raw_message_is_looked_through(levels: int) -> None:
    site = HttpSite(mime_depth=100)
    nested = b"Content-Type: message/rfc822\r\n\r\n" * levels
    answer = await raw(site, HEADER + nested + b"x" * 60 + b"\r\n" + b"y" * 60_000 + b"\r\n" * LONG_OCTETS)
    if levels > 100:
        assert (answer.status, answer.document["code"]) == (422, "bad_content")
        assert site.intake.submitted == []
    else:
        assert answer.status == 202


async def test_a_header_section_beyond_the_limit_is_refused_however_long_it_is() -> None:
    site = HttpSite()
    answer = await raw(site, HEADER + b"X-More: 1\r\n" * (LONG_OCTETS // 8))
    assert (answer.status, answer.document["code"]) == (422, "bad_content")
    assert site.intake.submitted == []


@pytest.mark.parametrize("is_personal", [False, True])
async def test_a_long_text_is_what_a_reader_finds(*, is_personal: bool) -> None:
    site = HttpSite()
    text = "".join(f".{'é' if number % 1000 == 0 else 'e'}{number:050}\n" for number in range(LINES))
    message: dict[str, Any] = {"from": "shop@sender.example", "subject": "long", "text": text}
    if is_personal:
        message |= {"recipients": [{"address": "joe@example.com"}, {"address": "bob@example.com"}]}
    else:
        message |= {"to": ["joe@example.com"]}
    answer = await site.post(message)
    assert answer.status == 202, answer.body
    assert len(site.intake.submitted) == 1 + is_personal
    for submission in site.intake.submitted:
        read = email.message_from_bytes(unstuff(submission.content))
        assert read["Received"] is not None
        payload = read.get_payload(decode=True)
        assert isinstance(payload, bytes)
        assert payload.decode() == text.replace("\n", "\r\n")


LONG_FILE = bytes(range(256)) * (LONG_OCTETS // 256 + 1)


@pytest.mark.parametrize("octets", [0, 1, 2, 3, LONG_OCTETS, LONG_OCTETS + 1])
async def test_an_attachment_is_what_its_base64_stands_for(octets: int) -> None:
    content = LONG_FILE[:octets]
    site = HttpSite()
    answer = await site.post(attached(base64.b64encode(content).decode()))
    assert answer.status == 202, answer.body
    read = email.message_from_bytes(unstuff(site.intake.only().content))
    parts = read.get_payload()
    assert isinstance(parts, list)
    attachment = parts[1]
    assert isinstance(attachment, Message)
    assert attachment.get_payload(decode=True) == content


LONG_TEXT = base64.b64encode(LONG_FILE).decode()


BAD = {
    **{text: text for text in ("Q", "QQ", "QQ=", "QQ===", "QQ====", "BAQB====", "QQ==QQ==", "QU JD", "QU-D")},
    "line end": "QQ==\n",
    "beyond ASCII": "QUé=",
    "long, only padding at its end": LONG_TEXT[:-4] + "=" * 4,
    "long, padding at a border": LONG_TEXT[: LONG_OCTETS - 2] + "==" + LONG_TEXT,
    "long, line end": LONG_TEXT + "\n",
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_base64_is_named(name: str) -> None:
    site = HttpSite()
    answer = await site.post(attached(BAD[name]))
    assert answer.status == 422
    assert answer.pointers == ["/attachments/0/content"]
    assert site.intake.submitted == []


def attached(text: str) -> dict[str, Any]:
    message: dict[str, Any] = {"from": "shop@sender.example", "to": ["joe@example.com"], "text": "Hi\n"}
    return message | {"attachments": [{"content": text, "filename": "a.bin"}]}

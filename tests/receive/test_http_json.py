"""What JSON can say of a message: parts, variables, metadata, time, stream; and what each fault is called."""

import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest

from outrider.base.long_octets import LONG_OCTETS
from outrider.model.flow import Submission
from outrider.wire.smtp import replies
from tests.receive.http_site import HttpSite

MESSAGE = {"from": "shop@sender.example", "to": ["alice@example.com"], "subject": "Hi", "text": "Hello\n"}
PERSONAL = {
    "from": "shop@sender.example",
    "subject": "Hi {{name}}",
    "text": "Dear {{ name }}, \\{{no}} {{order}}\n",
    "html": '<a title="{{name}}">{{name}}</a>',
    "variables": {"order": 7},
    "recipients": [{"address": "a@example.com", "variables": {"name": 'A"<&'}}],
}
NOW = 1_790_000_000.0  # FakeClock's


def read(submission: Submission) -> EmailMessage:
    wire = submission.content.wire
    plain = (b"\r\n" + wire).replace(b"\r\n.", b"\r\n")[2:]
    message = email.message_from_bytes(plain, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def shape(message: Any) -> Any:
    if not message.is_multipart():
        return message.get_content_type()
    return message.get_content_subtype(), *(shape(part) for part in message.iter_parts())


_OCTETS = b'{"from":"shop@sender.example","to":["alice@example.com"],"text":"x","subject":%b}'


@pytest.mark.parametrize(
    ("more", "pointers"),
    [
        (b',"to":["eve@example.com"]', ["/to"]),
        (b',"from":"a@sender.example","text":"y","text":"z"', ["/from", "/text"]),
        (b',"variables":{"to":"x","from":"y","text":"subject"}', []),
        (b',"html":"to","headers":{"X-A":"\\"to\\""}', []),
        (b',"variables":{"a":1},"variables":{"a":2}', ["/variables"]),
        (b',"t\\u006f":["eve@example.com"]', ["/to"]),
        (b',"variables":{"a":1,"b":2,"a":3}', ["/variables/a"]),
        (
            b',"cc":[{"address":"a@example.com"},{"address":"b@example.com","address":"c@example.com"}]',
            ["/cc/1/address"],
        ),
        (b',"cc":[{"address":"a@example.com"},{"address":"b@example.com"}],"html":"\\"to\\":1"', []),
    ],
)
async def test_a_member_stands_once(more: bytes, pointers: list[str]) -> None:
    """RFC 8259 §4: of names that are not unique nobody can tell which one counts."""
    site = HttpSite()
    answer = await site.post(_OCTETS.replace(b"}", more + b"}") % b"null")
    assert answer.status == (422 if pointers else 202), answer.body
    assert answer.pointers == pointers
    assert len(site.intake.submitted) == (not pointers)


async def test_a_member_stands_once_in_a_long_body_too() -> None:
    site = HttpSite()
    content = b"A" * LONG_OCTETS
    parts = b',"attachments":[{"content":"%b"},{"content":"%b","content":"QUE="}]' % (content, content)
    answer = await site.post(_OCTETS.replace(b"}", parts + b"}") % b"null")
    assert (answer.status, answer.pointers) == (422, ["/attachments/1/content"])
    assert site.intake.submitted == []


async def test_members_of_different_objects_may_have_one_name() -> None:
    recipients = [{"address": f"{name}@example.com", "variables": {"name": name}} for name in "abc"]
    assert (await HttpSite().post(PERSONAL | {"recipients": recipients})).status == 202


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (_OCTETS % b'"\\ud83d\\ude00"', 202),
        (_OCTETS % b'"\\ud800"', 400),
        (_OCTETS % b'"\\udc00x"', 400),
        (_OCTETS % b'"\\ude00\\ud83d"', 400),
        (_OCTETS % b'"\xed\xa0\x80"', 400),
        (_OCTETS % b'"\xc0\x80"', 400),
        (_OCTETS % b'"a\tb"', 400),
        (_OCTETS % b'"a\\u0000b"', 422),
        (_OCTETS % b'"a\\u0085b"', 422),
        (_OCTETS % b"null", 202),
        (_OCTETS % b'null,"variables":{"a":9223372036854775807}', 202),
        (_OCTETS % b'null,"variables":{"a":9223372036854775808}', 422),
        (_OCTETS % b'null,"variables":{"a":1.0}', 422),
        (_OCTETS % b'null,"variables":{"a":1e400}', 422),
        (_OCTETS % b'null,"variables":{"a":01}', 400),
        (_OCTETS % b'null,"variables":{"a":NaN}', 400),
        (_OCTETS % b'null,"cc":null', 422),
        (_OCTETS % b"null,", 400),
        (b"\xef\xbb\xbf" + _OCTETS % b"null", 400),
        ((_OCTETS % b"null").decode().encode("utf-16"), 400),
        (b" \n\t" + _OCTETS % b"null" + b"\r\n ", 202),
        (_OCTETS % b"null" + b"{}", 400),
        (_OCTETS.replace(b'"text"', b'"\\u0074ext"') % b"null", 202),
        (_OCTETS.replace(b'"text"', b'"Text"') % b"null", 422),
        (_OCTETS % (b'null,"x":' + b"[" * 100_000 + b"]" * 100_000), 422),
    ],
)
async def test_the_corners_of_json(body: bytes, status: int) -> None:
    """RFC 8259 §7 (strings), RFC 8259 §6 (numbers), RFC 8259 §8.1 (UTF-8 without mark)."""
    answer = await HttpSite().post(body)
    assert answer.status == status, answer.body


async def test_files_and_pictures_have_their_places() -> None:
    site = HttpSite()
    message = MESSAGE | {
        "html": '<img src="cid:logo">',
        "attachments": [
            {"content": "AAEC", "content_type": "image/png", "content_id": "logo", "filename": "l.png"},
            {"content": "cGRm", "content_type": "application/pdf", "filename": "Übersicht 漢字.pdf"},
            {"content": ""},
        ],
    }
    assert (await site.post(message)).status == 202
    found = read(site.intake.only())
    assert shape(found) == (
        "mixed",
        ("alternative", "text/plain", ("related", "text/html", "image/png")),
        "application/pdf",
        "application/octet-stream",
    )
    (alternative, pdf, plain) = found.iter_parts()
    (_, related) = alternative.iter_parts()
    (_, picture) = related.iter_parts()
    assert (picture["content-id"], picture.get_content()) == ("<logo>", b"\x00\x01\x02")
    assert picture.get_content_disposition() == "inline"
    assert (pdf.get_filename(), pdf.get_content()) == ("Übersicht 漢字.pdf", b"pdf")
    assert (plain.get_content(), plain.get_content_disposition()) == (b"", "attachment")


@pytest.mark.parametrize(
    ("attachment", "pointer"),
    [
        ({"content": "AAE"}, "/attachments/0/content"),
        ({"content": "AA\nE="}, "/attachments/0/content"),
        ({"content": "", "content_type": "text"}, "/attachments/0/content_type"),
        ({"content": "", "content_type": "text/plain\r\nX: y"}, "/attachments/0/content_type"),
        ({"content": "", "content_type": "message/rfc822"}, "/attachments/0/content_type"),
        ({"content": "", "filename": "../x"}, "/attachments/0/filename"),
        ({"content": "", "filename": "a\u202efdp.exe"}, "/attachments/0/filename"),
        ({"content": "", "filename": ".."}, "/attachments/0/filename"),
        ({"content": "", "content_id": "a>b"}, "/attachments/0/content_id"),
        ({"content": "", "content_id": "x"}, "/attachments"),
        ({"content": "", "size": 1}, "/attachments/0/size"),
    ],
)
async def test_a_part_that_cannot_be_written_is_named(attachment: Any, pointer: str) -> None:
    site = HttpSite()
    answer = await site.post(MESSAGE | {"attachments": [attachment]})
    assert (answer.status, answer.pointers) == (422, [pointer])
    assert site.intake.submitted == []


async def test_parts_are_bounded() -> None:
    site = HttpSite(attachments=2)
    answer = await site.post(MESSAGE | {"attachments": [{"content": ""}] * 3})
    assert (answer.status, answer.pointers) == (422, ["/attachments"])
    twice = MESSAGE | {"html": "x", "attachments": [{"content": "", "content_id": "a"}] * 2}
    assert (await site.post(twice)).pointers == ["/attachments/1/content_id"]


async def test_a_variable_is_put_in_and_escaped_in_html_only() -> None:
    site = HttpSite()
    answer = await site.post(PERSONAL)
    assert answer.document["recipients"] == 1
    found = read(site.intake.only())
    assert found["subject"] == 'Hi A"<&'
    plain, html = found.iter_parts()
    assert plain.get_content() == 'Dear A"<&, {{no}} 7\r\n'
    assert html.get_content() == '<a title="A&quot;&lt;&amp;">A&quot;&lt;&amp;</a>\r\n'
    assert found["to"] == "a@example.com"


async def test_a_value_is_never_looked_at_again() -> None:
    site = HttpSite()
    recipients = [{"address": "a@example.com", "variables": {"name": "{{order}} \\{{ {{x"}}]
    assert (await site.post(PERSONAL | {"recipients": recipients})).status == 202
    assert read(site.intake.only())["subject"] == "Hi {{order}} \\{{ {{x"


async def test_without_variables_braces_are_text() -> None:
    site = HttpSite()
    assert (await site.post(MESSAGE | {"subject": "{{name}} {{"})).status == 202
    assert read(site.intake.only())["subject"] == "{{name}} {{"
    assert (await site.post(MESSAGE | {"subject": "{{n}}", "variables": {"n": "x"}})).status == 202
    assert read(site.intake.submitted[1])["subject"] == "x"


@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"variables": {}}, ["/recipients/0/variables/order"]),
        ({"recipients": [{"address": "a@example.com"}]}, ["/recipients/0/variables/name"]),
        ({"subject": "{{"}, ["/subject"]),
        ({"text": "{{na me}}"}, ["/text"]),
        ({"headers": {"X-A": "{{1}}"}}, ["/headers/X-A"]),
        ({"to": ["b@example.com"]}, ["/recipients"]),
        ({"recipients": [{"address": "a"}, {"address": "b@"}]}, [f"/recipients/{n}/address" for n in (0, 1)]),
        ({"variables": {"a\n": "x"}}, ["/variables/a\n"]),
        ({"variables": {"order": True}}, ["/variables/..."]),
        ({"variables": {"order": 10**30}}, ["/variables/..."]),
        ({"metadata": {"a": "b\r\n"}}, ["/metadata/a"]),
        ({"metadata": {f"m{n}": "" for n in range(33)}}, ["/metadata"]),
        (
            {"recipients": [{"address": "a@example.com", "variables": {"name": "a\r\nBcc: eve@x.example"}}]},
            ["/recipients/0/variables"],
        ),
        (
            {"recipients": [{"address": "a@example.com", "name": "a\nb", "variables": {"name": "x"}}]},
            ["/recipients/0/name"],
        ),
    ],
)
async def test_what_is_wrong_with_a_personal_request_is_named(change: Any, pointers: list[str]) -> None:
    site = HttpSite()
    answer = await site.post(PERSONAL | change)
    assert (answer.status, answer.pointers) == (422, pointers), answer.body
    assert site.intake.submitted == []


async def test_a_missing_variable_is_named_in_words() -> None:
    answer = await HttpSite().post(PERSONAL | {"variables": {}})
    assert answer.document["errors"][0]["detail"] == "there is no variable order"


async def test_a_text_that_its_variables_blow_up_is_given_up_before_it_is_made() -> None:
    site = HttpSite(message_octets=65_536)
    message = PERSONAL | {"text": "{{order}}" * 900, "variables": {"order": "x" * 10_000}}
    answer = await site.post(message)
    assert (answer.status, answer.document["code"]) == (413, "too_big")
    many = PERSONAL | {
        "recipients": [{"address": f"a{n}@example.com", "variables": {"name": "x" * 900}} for n in range(99)]
    }
    assert (await HttpSite(request_content_octets=65_536).post(many)).document["code"] == "too_big"


async def test_each_recipient_has_a_message_and_metadata_of_his_own() -> None:
    site = HttpSite()
    recipients = [
        {"address": f"{name}@example.com", "variables": {"name": name}, "metadata": {"n": name}}
        for name in "abc"
    ]
    answer = await site.post(PERSONAL | {"recipients": recipients, "metadata": {"c": "all", "n": "?"}})
    submitted = site.intake.submitted
    assert answer.document["ids"] == [each.message_id for each in submitted]
    assert answer.document["id"] == answer.document["ids"][0]
    for name, each in zip("abc", submitted, strict=True):
        (recipient,) = each.envelope.recipients
        assert str(recipient.address) == f"{name}@example.com"
        assert dict(recipient.metadata) == {"c": "all", "n": name}
        assert read(each)["subject"] == f"Hi {name}"


@pytest.mark.parametrize(
    ("seconds", "status", "not_before"),
    [(3600, 202, 3600), (259_200, 202, 259_200), (259_201, 422, 0), (-86_400, 202, 0), (-86_401, 422, 0)],
)
async def test_a_time_to_send_is_bounded(seconds: int, status: int, not_before: int) -> None:
    site = HttpSite()
    at = datetime.fromtimestamp(site.clock.wall() + seconds, UTC).isoformat()
    answer = await site.post(MESSAGE | {"send_at": at})
    assert (answer.status, answer.pointers) == (status, [] if status == 202 else ["/send_at"])
    if not_before:
        assert site.intake.only().not_before_time == site.clock.wall() + not_before


@pytest.mark.parametrize(
    "text", ["tomorrow", "2026-11-24T10:00:00", "2026-11-24", "", 5, "2026-13-01T00:00:00Z"]
)
async def test_a_time_says_its_zone(text: Any) -> None:
    answer = await HttpSite().post(MESSAGE | {"send_at": text})
    assert (answer.status, answer.pointers) == (422, ["/send_at"])


async def test_a_stream_is_one_of_the_keys() -> None:
    site = HttpSite()
    assert (await site.post(MESSAGE)).status == 202
    assert (await site.post(MESSAGE | {"stream": "news"})).status == 202
    assert [each.origin.stream for each in site.intake.submitted] == ["orders", "news"]
    answer = await site.post(MESSAGE | {"stream": "private"})
    assert (answer.status, answer.document["code"], answer.pointers) == (403, "stream_denied", ["/stream"])


async def test_the_field_that_names_a_stream_in_mail_has_no_place_in_json() -> None:
    site = HttpSite()
    answer = await site.post(MESSAGE | {"headers": {"X-Outrider-Stream": "news"}})
    assert (answer.status, answer.pointers) == (422, ["/headers/X-Outrider-Stream"])
    assert site.intake.submitted == []


async def test_without_a_key_a_refusal_is_recorded_for_the_tenant_of_the_listener(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = HttpSite(tenant="house")
    tenants: list[str] = []
    monkeypatch.setattr(site.intake, "refused", lambda origin, *_: tenants.append(origin.tenant))
    assert (await site.post(MESSAGE, key="nobody")).status == 401
    assert tenants == ["house"]


async def test_the_tenant_is_that_of_the_key_and_of_nothing_else() -> None:
    site = HttpSite()
    assert (await site.post(MESSAGE | {"tenant": "other"})).status == 422
    headers = {"X-Tenant": "other"}
    assert (await site.post(MESSAGE | {"headers": headers}, outrider_tenant="other")).status == 202
    assert site.intake.only().origin.tenant == "acme"


async def test_a_listener_of_one_tenant_takes_its_keys_alone() -> None:
    own, others = HttpSite(tenant="acme"), HttpSite(tenant="other")
    assert (await own.post(MESSAGE)).status == 202
    assert own.intake.only().origin.tenant == "acme"
    path = "/v1/messages/01k9q4m2x7f3a8w0z1"
    for answer in (await others.post(MESSAGE), await others.batch(MESSAGE), await others.ask("GET", path)):
        assert (answer.status, answer.document["code"]) == (403, "tenant_denied")
    assert others.intake.submitted == []
    assert others.intake.refusals == [replies.OTHER_TENANT] * 3
    assert (await others.post(MESSAGE, key="other")).status == 202


async def test_a_key_does_what_its_scopes_say() -> None:
    site = HttpSite()
    answer = await site.post(MESSAGE, key="reader")
    assert (answer.status, answer.document["code"]) == (403, "scope_denied")
    wanted = 'Bearer realm="outrider", error="insufficient_scope", scope="inject"'  # RFC 6750 §3.1
    assert answer.fields["www-authenticate"] == wanted
    path = "/v1/messages/01k9q4m2x7f3a8w0z1"
    assert (await site.ask("GET", path, key="reader")).status == 200
    assert (await site.ask("GET", path, key="writer")).status == 403
    assert (await site.post(MESSAGE, key="play")).status == 202
    assert site.intake.only().origin.sandbox


async def test_a_name_cannot_pretend_to_be_another_sender() -> None:
    site = HttpSite()
    for name, status in (
        ("ceo@bank.example", 422),
        ("Ünser ceo@bank.example", 422),
        ("shop@sender.example", 202),
    ):
        answer = await site.post(MESSAGE | {"from": {"address": "shop@sender.example", "name": name}})
        assert answer.status == status, name
    waiting = await site.post(MESSAGE | {"from": "a@new.example"})
    assert waiting.status == 403
    assert "not verified" in waiting.document["detail"]

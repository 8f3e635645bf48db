"""HTTP sources: what is sent, what parameters cannot do, and what answers mean."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.store.sources.failures import SourceDownError, SourceQueryError
from outrider.store.sources.http_template import body_of, compile_request, rows_of_answer, target_of
from outrider.store.sources.placeholders import arguments
from outrider.store.sources.rows import Parameters, Value
from tests.peers.databases import PASSWORD
from tests.store.sources.conftest import Customers, Opened


def target(text: str, parameters: Parameters) -> str:
    request = compile_request(text, by_name=isinstance(parameters, dict))
    return target_of(request, arguments(request.order, request.needed, parameters))


def body(text: str, parameters: Parameters) -> bytes:
    request = compile_request(text, by_name=isinstance(parameters, dict))
    return body_of(request, arguments(request.order, request.needed, parameters))


@pytest.mark.parametrize(
    ("text", "parameters", "expected"),
    [
        ("GET /", (), "/"),
        ("GET /c/{}/x?a={}&b=1#/rows", ("a/b", "c&d=e"), "/c/a%2Fb/x?a=c%26d%3De&b=1"),
        ("GET /{2}/{1}", ("a", "b"), "/b/a"),
        ("GET /{domain}?q={domain}", {"domain": "ä"}, "/%C3%A4?q=%C3%A4"),
        ("GET /?q={}", (None,), "/?q="),
        ("GET /?q={}", (b"\xff",), "/?q=%FF"),
        ("GET /?q={}", (1.0,), "/?q=1"),
        ("GET /a..{}", (".",), "/a..."),
    ],
)
def test_targets(text: str, parameters: Parameters, expected: str) -> None:
    assert target(text, parameters) == expected


@pytest.mark.parametrize("value", ["", ".", "..", None])
def test_a_parameter_does_not_name_another_resource(value: Value) -> None:
    for text in ("GET /a/{}", "GET /{}/b"):
        with pytest.raises(SourceQueryError, match="another resource"):
            target(text, (value,))
    if value != "..":
        with pytest.raises(SourceQueryError, match="another resource"):
            target("GET /a/.{}", (value,))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=3))
def test_a_parameter_is_one_segment_and_one_value(value: str) -> None:
    found = target("GET /a/{}/b?q={}&r=1", (value, value))
    path, _, query = found.partition("?")
    assert path.count("/") == 3
    assert query.count("&") == 1
    assert query.count("=") == 2
    assert found.isascii()
    assert not set(found) & set(" \r\n#")


@pytest.mark.parametrize(
    ("text", "parameters", "expected"),
    [
        ('POST /x\n{"a": "{}", "b": ["{}", "{not"]}', ('"x', 5), b'{"a":"\\"x","b":[5,"{not"]}'),
        ('POST /x\n{"a": "{d}"}', {"d": None}, b'{"a":null}'),
        ("POST /x", (), b""),
    ],
)
def test_bodies(text: str, parameters: Parameters, expected: bytes) -> None:
    assert body(text, parameters) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("PUT /", "write GET"),
        ("GET http://other.example/", "begins with /"),
        ("GET /a b", "write GET"),
        ("GET /ä", "ASCII"),
        ("GET /#rows", "pointer behind #"),
        ("GET /\n{}", "a GET has no body"),
        ("POST /\n{", "not JSON"),
        ("GET /{domain}", "by position"),
        ("GET /{0}", "by position"),
    ],
)
def test_what_is_no_request(text: str, reason: str) -> None:
    with pytest.raises(SourceQueryError, match=reason):
        compile_request(text, by_name=False)


@pytest.mark.parametrize(
    ("answer", "pointer", "rows"),
    [
        (b'[{"a": 1}, {"a": null}]', (), [{"a": 1}, {"a": None}]),
        (b'{"a": true, "b": {"c": [1]}}', (), [{"a": 1, "b": '{"c":[1]}'}]),
        (b'{"a": {"b/c": [5, "x"]}}', ("a", "b/c"), [{"value": 5}, {"value": "x"}]),
        (b'{"a": [{"x": 1}]}', ("a", "0"), [{"x": 1}]),
        (b'{"a": []}', ("a",), []),
        (b'{"a": null}', ("a",), []),
        (b"{}", ("a", "b"), []),
        (b"[1]", ("5",), []),
        (b"3", ("a",), []),
    ],
)
def test_answers(answer: bytes, pointer: tuple[str, ...], rows: list[dict[str, Value]]) -> None:
    assert [dict(row) for row in rows_of_answer(answer, pointer)] == rows


def test_a_pointer_is_read_as_in_a_fragment() -> None:
    assert compile_request("GET /#/a~1b/%C3%A4/~0", by_name=False).pointer == ("a/b", "ä", "~")


ALL = "GET /customers/{}#/data/rows"


async def test_the_request_as_the_server_sees_it(customers: tuple[Customers, int], opened: Opened) -> None:
    app, port = customers
    source, _ = opened(url=f"http://127.0.0.1:{port}/v1/")
    await source.fetch("GET /customers/{}?x={}", ("ä/b", "1 2"))
    await source.fetch('POST /find\n{"domain": "{}"}', ("a.example",))
    assert app.asked == [
        ("GET", "/v1/customers/%C3%A4%2Fb?x=1%202", b""),
        ("POST", "/v1/find", b'{"domain":"a.example"}'),
    ]
    assert app.fields["host"] == f"127.0.0.1:{port}"
    assert "authorization" not in app.fields
    assert source._backend.connections == 1  # kept for the second


async def test_who_we_are(customers: tuple[Customers, int], opened: Opened, tmp_path: Path) -> None:
    app, port = customers
    token, _ = opened(url=f"http://127.0.0.1:{port}", password_environment="SHOP_PASSWORD")
    await token.fetch("GET /")
    assert app.fields["authorization"] == f"Bearer {PASSWORD}"
    path = tmp_path / "password"
    path.write_text("pass:word\n")
    path.chmod(0o600)
    basic, _ = opened(url=f"http://erika@127.0.0.1:{port}", password_file=path)
    await basic.fetch("GET /")
    assert base64.b64decode(app.fields["authorization"].removeprefix("Basic ")) == b"erika:pass:word"


@pytest.mark.parametrize("status", [204, 404, 410])
async def test_nothing_there_is_no_rows(
    status: int, customers: tuple[Customers, int], opened: Opened
) -> None:
    app, port = customers
    source, _ = opened(url=f"http://127.0.0.1:{port}")
    app.status, app.body = status, b"" if status == 204 else b"nothing here"
    assert await source.fetch(ALL, ("a.example",)) == ()


@pytest.mark.parametrize(
    ("status", "is_down"),
    [(301, False), (302, False), (400, False), (401, False), (429, True), (500, True), (503, True)],
)
async def test_what_a_status_means(
    status: int, is_down: bool, customers: tuple[Customers, int], opened: Opened
) -> None:
    app, port = customers
    app.status = status
    source, _ = opened(url=f"http://127.0.0.1:{port}")
    with pytest.raises(
        SourceDownError if is_down else SourceQueryError, match=f"the server answers {status}"
    ):
        await source.fetch(ALL, ("a.example",))
    assert len(app.asked) == 1  # a redirect is not followed


async def test_answers_that_cannot_be_used(customers: tuple[Customers, int], opened: Opened) -> None:
    app, port = customers
    source, _ = opened(url=f"http://127.0.0.1:{port}", octets_max=1_024, rows_max=2)
    for content, reason in (
        (b"<html>", "not JSON"),
        (b"[1, 2, 3]", "more than 2 rows"),
        (b"[" * 900, "not JSON"),
    ):
        app.body = content
        with pytest.raises(SourceQueryError, match=reason):
            await source.fetch("GET /x")
    app.body = b'"' + b"x" * 2_000 + b'"'
    with pytest.raises(SourceDownError, match="longer than 1024 octets"):
        await source.fetch("GET /x")
    assert source._backend.connections == 0

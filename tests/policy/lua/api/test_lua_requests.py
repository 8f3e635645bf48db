"""`msys.http.client` and `curl` against a real server: failures are values, options honoured or refused."""

import asyncio
import ssl

import pytest
import trustme

from outrider.policy.errors import ScriptError
from outrider.policy.lua.api.host import ApiLimits
from tests.policy.lua.api.http_echo import Echo
from tests.policy.lua.api.service_stage import Make

CLIENT = "local url = ... local c = msys.http.client.new()\n"
CURL = "local url = ... local c, out = curl.new(), {} c:setopt(curl.OPT_URL, url)\n"
WRITE = "c:setopt(curl.OPT_WRITEFUNCTION, function(_, t) out[#out + 1] = t return #t end)\n"


async def test_a_status_that_says_no_is_an_answer(stage: Make, echo: Echo) -> None:
    made = stage(CLIENT + "local ok = c:do_request('GET', url) local n, s = c:get_status() return {ok, n, s}")
    assert await made.call("data", f"{echo.url}status/404".encode()) == [True, 404, b"Not Found"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (b"http://127.0.0.1:1/", "no connection"),
        (b"gopher://x.test/", "no URL of http"),
        (b"http://[x/", "no URL"),
        (b"nonsense", "no URL of http"),
        (b"http://127.0.0.1:99999/", "no URL"),
        (b"https://127.0.0.1:1/", "TLS"),
    ],
)
async def test_no_answer_is_a_value(stage: Make, url: bytes, reason: str) -> None:
    made = stage(
        CLIENT + "local ok, e = c:do_request('GET', url) local n, s = c:get_status()"
        " return {ok, e, n, s == e, tostring(c:get_body()), #c:get_headers()}"
    )
    ok, text, number, same, body, headers = await made.call("data", url)
    assert (ok, number, same, body, headers) == (False, 0, True, b"nil", 0)
    assert reason in text.decode()


async def test_certificates_are_checked(stage: Make) -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_side)
    trusting, other = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Echo(server_side) as echo:
        for context, expected in ((trusting, True), (other, False)):
            made = stage(
                CLIENT + "local ok, e = c:do_request('GET', url) return {ok, e}",
                client_tls=lambda c=context: c,
            )
            answer = await made.call("data", echo.url.encode())
            assert answer[0] is expected
        assert b"certificate" in answer[1].lower()


async def test_a_server_that_says_nothing_is_not_waited_for(stage: Make) -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    made = stage(CLIENT + "c:set_timeout(0.02) local ok, e = c:do_request('GET', url) return e")
    assert b"no answer within 0.02 s" in await made.call("data", url.encode())
    server.close()


async def test_a_long_answer_is_refused(stage: Make, echo: Echo) -> None:
    made = stage(
        CLIENT + "local ok, e = c:do_request('POST', url, ('x'):rep(2000)) return e",
        limits=ApiLimits(http_octets=1000),
    )
    assert b"longer than 1000" in await made.call("data", echo.url.encode())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("c:do_request('FETCH', url)", "no method 'FETCH'"),
        ("c:set_header('X-A: 1\\r\\nX-B: 2')", "without a line break"),
        ("c:set_timeout(1000)", "at most 300"),
        ("for i = 1, 200 do c:set_header('A: 1') end", "at most 100"),
    ],
)
async def test_what_is_no_request_raises(stage: Make, body: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason):
        await stage(CLIENT + body).call("data", b"http://127.0.0.1:1/")


async def test_a_url_cannot_bring_fields_of_its_own(stage: Make, echo: Echo) -> None:
    made = stage(CLIENT + "c:do_request('GET', url) return c:get_body()")
    answer = await made.call("data", echo.url.encode() + b"a b\r\nX-Evil:1")
    assert b"x-evil" not in answer
    assert answer.startswith(b"GET /a%20b")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ["GET / HTTP/1.1"]),
        ("c:setopt(curl.OPT_POSTFIELDS, 'a=1')", ["POST / ", "application/x-www-form-urlencoded", "\n\na=1"]),
        ("c:setopt(curl.OPT_CUSTOMREQUEST, 'DELETE')", ["DELETE / "]),
        (
            "c:setopt(curl.OPT_USERAGENT, 'me') c:setopt(curl.OPT_REFERER, 'r')",
            ["user-agent: me", "referer: r"],
        ),
        ("c:setopt(curl.OPT_HTTPHEADER, 'X-A: 1', 'X-B: 2')", ["x-a: 1", "x-b: 2"]),
        ("c:setopt(curl.OPT_HTTPHEADER, {'X-A: 1'})", ["x-a: 1"]),
        ("c:setopt(curl.OPT_USERPWD, 'a:b')", ["authorization: basic ytpi"]),
        (
            "c:setopt(curl.OPT_COOKIE, 'k=v') c:setopt(curl.OPT_RANGE, '0-9')",
            ["cookie: k=v", "range: bytes=0-9"],
        ),
        (
            (
                "c:setopt(curl.OPT_UPLOAD, true) local n = 0 "
                "c:setopt(curl.OPT_READFUNCTION, function() n = n + 1 return n < 3 and 'part' .. n"
                " or nil end)"
            ),
            ["PUT / ", "\n\npart1part2"],
        ),
        ("c:setopt(curl.OPT_HEADER, true)", ["HTTP/1.1 200 OK", "X-Served-By: test"]),
    ],
)
async def test_options_of_curl(stage: Make, echo: Echo, options: str, expected: list[str]) -> None:
    made = stage(f"{CURL}{WRITE}{options}\nlocal ok, e = c:perform() return ok and table.concat(out) or e")
    text = (await made.call("data", echo.url.encode())).decode()
    for each in expected:
        assert each in text


async def test_redirects_are_followed_where_that_is_asked(stage: Make, echo: Echo) -> None:
    body = (
        f"{CURL}{WRITE}c:setopt(curl.OPT_FOLLOWLOCATION, select(2, ...)) c:perform() return table.concat(out)"
    )
    made = stage(body)
    url = f"{echo.url}to/to/end".encode()
    assert (await made.call("data", url, True)).startswith(b"GET /end ")
    assert (await made.call("data", url, False)).startswith(b"GET /to/to/end ")


async def test_credentials_are_not_taken_to_another_server(stage: Make, echo: Echo) -> None:
    async with Echo() as other:
        echo.target = other.url
        made = stage(
            f"{CURL}c:setopt(curl.OPT_USERPWD, 'a:b')"
            " c:setopt(curl.OPT_FOLLOWLOCATION, true) return c:perform()"
        )
        assert await made.call("data", f"{echo.url}away".encode()) is True
        assert b"Authorization" in echo.requests[0]
        assert b"Authorization" not in other.requests[0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("c:setopt(curl.OPT_PROXY, 'x')", "OPT_PROXY is not supported"),
        ("c:setopt(curl.OPT_SSL_VERIFYPEER, false)", "always checked"),
        ("c:setopt(curl.OPT_SSL_VERIFYHOST, 0)", "always checked"),
        ("c:setopt(curl.OPT_POST, 1)", "takes a boolean, got a number"),
        ("c:setopt(curl.OPT_TIMEOUT, '1')", "takes a number, got a string"),
        ("c:setopt(curl.OPT_URL, 7)", "takes a string"),
        ("c:setopt(99999, 7)", "no such option"),
        ("c:close() c:setopt(curl.OPT_URL, 'x')", "closed"),
        ("c.perform()", "call with ':'"),
    ],
)
async def test_options_that_are_not_supported_are_refused_by_name(
    stage: Make, body: str, reason: str
) -> None:
    with pytest.raises(ScriptError, match=reason) as caught:
        await stage(CURL + body).call("data", b"http://127.0.0.1:1/")
    assert caught.value.script == "script.lua"


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("status/500", "c:setopt(curl.OPT_FAILONERROR, true)", b"answered 500"),
        ("", "c:setopt(curl.OPT_WRITEFUNCTION, function() return 0 end)", b"did not take all"),
        ("", "c:setopt(curl.OPT_HEADERFUNCTION, function() return 0 end)", b"did not take all"),
        ("", "c:setopt(curl.OPT_URL, nil)", b"no URL"),
    ],
)
async def test_what_fails_in_curl_is_a_value(
    stage: Make, echo: Echo, path: str, options: str, reason: bytes
) -> None:
    made = stage(f"{CURL}{options}\nlocal ok, e = c:perform() return tostring(ok) .. e")
    answer = await made.call("data", f"{echo.url}{path}".encode())
    assert answer.startswith(b"nil")
    assert reason in answer

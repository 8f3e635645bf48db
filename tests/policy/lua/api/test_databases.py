"""`msys.db` on a real SQLite: answers, parameters, failures, the cache; `msys.cidr` on it and on files."""

import inspect
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.model.hooks import HookPhase
from outrider.policy.errors import ScriptError, TooSlowError
from outrider.policy.lua.api.cidr import parse_rbldnsd
from outrider.store.sources.failures import SourceDownError, SourceError, SourceQueryError
from outrider.store.sources.measures import NoMetrics, SourceMeasures
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.rows import Parameters, Rows, parameter
from outrider.store.sources.source import Source
from tests.policy.lua.api.service_stage import Make, ServiceStage
from tests.store.sources.test_source import Scripted


async def table(made: ServiceStage) -> None:
    source = made.source("crm")
    await source.execute("CREATE TABLE customer (id INTEGER, name TEXT, binding TEXT)")
    await source.execute(
        "INSERT INTO customer VALUES (1, 'Ann', 'vip'), (2, 'Bob', NULL), (3, '\u00e4', 'x')"
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            "fetch_row('crm', 'SELECT * FROM customer WHERE id = ?', {1})",
            {b"id": 1, b"name": b"Ann", b"binding": b"vip"},
        ),
        ("fetch_row('crm', 'SELECT * FROM customer WHERE id = :id', {id = 2})", {b"id": 2, b"name": b"Bob"}),
        (
            "fetch_row('crm', 'SELECT name FROM customer WHERE id = $id', {['$id'] = 3})",
            {b"name": "ä".encode()},
        ),
        ("fetch_row('crm', 'SELECT id FROM customer WHERE name = ?', {'\\195\\164'})", {b"id": 3}),
        ("fetch_row('crm', 'SELECT id FROM customer WHERE id = ?', {9})", None),
        ("fetch_row('crm', 'SELECT id FROM customer WHERE binding = ?', {nil})", None),
        (
            "fetch_row('crm', 'SELECT id FROM customer WHERE name = ? AND binding IS ?', {'Bob', nil})",
            {b"id": 2},
        ),
        (
            "fetch_row('crm', 'SELECT id FROM customer WHERE binding IS ? AND name = ?', {nil, 'Bob'})",
            {b"id": 2},
        ),
        ("fetch_row('crm', 'SELECT id FROM customer WHERE binding = :b', {b = nil})", None),
        ("fetch_row('crm', 'SELECT id FROM customer WHERE binding IS $b', {['$b'] = nil})", {b"id": 2}),
        (
            "fetch_row('crm', 'SELECT id FROM customer WHERE binding IS :b AND id > :i', {i = 1, b = nil})",
            {b"id": 2},
        ),
        ("fetch_row('crm', 'SELECT id FROM customer WHERE binding IS ?1', {nil})", {b"id": 2}),
        ("fetch_row('crm', [[SELECT ':b' AS b]], {})", {b"b": b":b"}),
        ("fetch_row('crm', 'SELECT 1.5 AS a, 2 AS b', nil, {nocache = true})", {b"a": 1.5, b"b": 2}),
        ("fetch_row('crm', 'customer', {'Ann', 2})", {b"id": 1, b"name": b"Ann"}),
        ("fetch_row('crm', 'customer', {who = 'Bob', below = 3})", {b"id": 2, b"name": b"Bob"}),
        ("fetch_row('crm', 'customer', {[':who'] = 'Bob', below = 2})", None),
        ("fetch_row('crm', 'customer', {who = 'Bob'})", None),
        ("fetch_row('crm', 'customer')", None),
        (
            "fetch_row('crm', 'SELECT 9007199254740993 AS a, -9007199254740993 AS b, 9007199254740992 AS c')",
            {b"a": b"9007199254740993", b"b": b"-9007199254740993", b"c": 1 << 53},
        ),
        ("execute('crm', 'rename', {who = 'Eve'})", True),
        ("execute('crm', 'DELETE FROM customer WHERE id = ?', {1})", True),
    ],
)
async def test_answers(stage: Make, call: str, expected: object) -> None:
    made = stage(f"return msys.db.{call}")
    await table(made)
    assert await made.call() == expected


async def test_rows_are_an_iterator(stage: Make) -> None:
    made = stage(
        "local names = {} for row in"
        " msys.db.query('crm', 'SELECT name FROM customer WHERE id < ? ORDER BY id', {3})"
        " do names[#names + 1] = row.name end"
        " for row in msys.db.query('crm', 'SELECT 1 WHERE 0') do names = nil end return names"
    )
    await table(made)
    assert await made.call() == [b"Ann", b"Bob"]


FAILURES = [
    ("'none', 'SELECT 1'", "no data source"),
    ("'crm', 'SELECT nonsense FROM nowhere'", "nowhere"),
    ("'crm', 'SELECT ?', {{}}", "parameter 1 is a dict"),
    ("'crm', 'SELECT ?', 7", "parameters are a table"),
    ("'crm', 'SELECT ?', {[1e15] = 1}", "1 placeholders, but there is a parameter at 1e"),
]


@pytest.mark.parametrize(("arguments", "reason"), FAILURES)
async def test_failures_raise_at_the_scripts_line(stage: Make, arguments: str, reason: str) -> None:
    for function in ("query", "fetch_row", "execute"):
        body = f"local x = msys.db.{function}({arguments})"
        made = stage(f"\n{body}", source=known_source)
        with pytest.raises(ScriptError, match=reason) as caught:
            await made.call()
        line = (made.folder / "script.lua").read_text().splitlines().index(body) + 1
        assert (caught.value.script, caught.value.line) == ("script.lua", line), function


@pytest.mark.parametrize(("arguments", "reason"), FAILURES)
async def test_failures_are_values_where_that_is_asked(stage: Make, arguments: str, reason: str) -> None:
    more = arguments if arguments.count(",") > 1 else f"{arguments}, nil"
    for function, first in (("query", None), ("fetch_row", None), ("execute", False)):
        made = stage(
            f"local a, e = msys.db.{function}({more}, {{raise_error = false}}) return {{tostring(a), e}}",
            source=known_source,
        )
        failed, text = await made.call()
        assert failed == {None: b"nil", False: b"false"}[first]
        assert reason in text.decode()


async def test_an_option_that_is_none_is_refused(stage: Make) -> None:
    made = stage("msys.db.fetch_row('crm', 'SELECT 1', {}, {no_cache = true})")
    with pytest.raises(ScriptError, match="no option 'no_cache'"):
        await made.call()


async def test_what_is_remembered_is_there_without_waiting(stage: Make) -> None:
    made = stage("return msys.db.fetch_row('crm', 'SELECT name FROM customer WHERE id = ?', {1}, ...).name")
    await table(made)
    assert await made.call() == b"Ann"
    await made.source("crm").execute("UPDATE customer SET name = 'new'")
    msg = made.enter(HookPhase.DATA)
    at_once = made.session.call(made.scripts.hooks("validate_data")[0], [msg])
    assert not inspect.isawaitable(at_once)
    assert at_once == b"Ann"
    assert await made.call("data", {"nocache": True}) == b"new"
    assert await made.call() == b"Ann"


class _Checking(Scripted):
    """A backend that looks at parameters, as real ones do, and knows no table."""

    async def fetch(self, query: str, parameters: Parameters) -> Rows:
        assert not isinstance(parameters, Mapping)
        for place, value in enumerate(parameters, 1):
            parameter(value, place)
        raise SourceQueryError("no such table: nowhere")


def known_source(name: str) -> Source:
    """The source `crm`, without tables."""
    if name != "crm":
        raise SourceQueryError(f"there is no data source {name!r}")
    options = DataSourceOptions(name="crm", url="sqlite:///crm.db")
    return Source(options, _Checking(), FakeClock(), ListLog(), SourceMeasures(NoMetrics(), "crm"))


@pytest.mark.parametrize("function", ["query", "fetch_row", "execute"])
async def test_a_source_that_is_down_is_told_to_the_peer_as_transient(stage: Make, function: str) -> None:
    """The hook fails as one that has to wait too long, for which the peer hears 451, and names the source."""
    backend = Scripted()
    backend.answer = SourceDownError("it cannot be reached")
    options = DataSourceOptions(name="crm", url="sqlite:///crm.db")
    source = Source(options, backend, FakeClock(), ListLog(), SourceMeasures(NoMetrics(), "crm"))
    made = stage(f"return msys.db.{function}('crm', 'SELECT 1')", source=lambda _: source)
    with pytest.raises(TooSlowError, match="it cannot be reached") as caught:
        await made.call()
    assert isinstance(caught.value.__cause__, SourceError)
    assert caught.value.__cause__.fields["source"] == "crm"
    assert caught.value.script == "script.lua"


@pytest.mark.parametrize("function", ["query", "fetch_row", "execute"])
async def test_a_script_that_looks_at_a_failure_finds_the_source_in_the_context(
    stage: Make, function: str
) -> None:
    backend = Scripted()
    backend.answer = SourceDownError("it cannot be reached")
    options = DataSourceOptions(name="crm", url="sqlite:///crm.db")
    source = Source(options, backend, FakeClock(), ListLog(), SourceMeasures(NoMetrics(), "crm"))
    made = stage(
        f"msys.db.{function}('crm', 'SELECT 1', nil, {{raise_error = false}})", source=lambda _: source
    )
    await made.call()
    assert made.connection.context["datasource_error"] == "crm"


# cidr

LISTS = b"""$SOA 1 ns.test. x. 0 1 1 1 1
:127.0.0.3:listed
# a comment
10.79.0.0:one
10.80.0.0/16:127.0.0.9:net
10.80.1.0/24
!10.80.2.0/24
192.0.2.10-192.0.2.20:range $
2001:db8::/32 :six
1111::0 :text
[2001:db9::1] :5:five
198.51.100.1:see http://list.test/?a=1
198.51.100.2 :7:http://list.test/
198.51.100.3 see: http://list.test/
"""


@pytest.mark.parametrize(
    ("address", "text", "number"),
    [
        ("10.79.0.0", b"one", b"127.0.0.3"),
        ("10.79.0.1", None, None),
        ("10.80.7.7", b"net", b"127.0.0.9"),
        ("10.80.1.7", b"listed", b"127.0.0.3"),
        ("10.80.2.7", None, None),
        ("192.0.2.9", None, None),
        ("192.0.2.10", b"range $", b"127.0.0.3"),
        ("192.0.2.20", b"range $", b"127.0.0.3"),
        ("192.0.2.21", None, None),
        ("2001:db8:1::1", b"six", b"127.0.0.3"),
        ("1111::", b"text", b"127.0.0.3"),
        ("2001:db9::1", b"five", b"127.0.0.5"),
        ("2001:dba::", None, None),
        ("198.51.100.1", b"see http://list.test/?a=1", b"127.0.0.3"),
        ("198.51.100.2", b"http://list.test/", b"127.0.0.7"),
        ("198.51.100.3", b"see: http://list.test/", b"127.0.0.3"),
    ],
)
def test_files_of_rbldnsd(address: str, text: bytes | None, number: bytes | None) -> None:
    lines = LISTS.splitlines()
    assert parse_rbldnsd(lines, takes_text=True).find(ip_address(address)) == text
    assert parse_rbldnsd(lines, takes_text=False).find(ip_address(address)) == number


@pytest.mark.parametrize("line", [b"nonsense", b"300.1.1.1:x", b"10.0.0.9-10.0.0.1:x", b"10.0.0.0/64:x"])
def test_a_line_that_is_none_is_named(line: bytes) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_rbldnsd([b"10.0.0.0:x", line], takes_text=True)


async def test_a_file_is_read_when_it_is_asked_and_again_when_it_is_old(stage: Make) -> None:
    made = stage(
        "return msys.cidr.query('t', ...)",
        init="msys.cidr.define('t', {type = 'rbldnsd', source = 'list', refresh = 60, interpolate = true,"
        " default_value = 'none'})",
    )
    path = made.folder / "list"
    with pytest.raises(ScriptError, match="'list' cannot be read: No such file"):
        await made.call("data", b"192.0.2.10")
    path.write_bytes(LISTS)
    assert await made.call("data", b"192.0.2.10") == b"range 192.0.2.10"
    assert await made.call("connect") == b"none"
    path.write_bytes(b"192.0.2.1:now\n")
    assert await made.call("connect") == b"none"
    made.clock.advance(60)
    assert await made.call("connect") == b"now"
    made.clock.advance(60)
    path.write_bytes(b"nonsense\n")
    assert await made.call("connect") == b"now"
    assert "line 1" in made.logged("policy.cidr_not_read")[0]["reason"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("'moon'", "no type 'moon'"),
        ("{type = 'empty', colour = 1}", "no option 'colour'"),
        ("{type = 'datasource', cachename = 'crm'}", "query is a string, not nil"),
    ],
)
async def test_tables_that_are_none(stage: Make, options: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason):
        await stage(f"msys.cidr.define('x', {options})").call()


async def test_files_elsewhere_are_not_read(stage: Make, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"192.0.2.1:secret\n")
    made = stage(
        "return msys.cidr.query('t')", init="msys.cidr.define('t', {type = 'rbldnsd', source = '../secret'})"
    )
    with pytest.raises(ScriptError, match="not below the scripts' folder"):
        await made.call()


async def test_a_column_that_the_query_does_not_give_is_named(stage: Make) -> None:
    made = stage(
        "return msys.cidr.query('t')",
        init="msys.cidr.define('t', {type = 'datasource', cachename = 'crm', query = 'SELECT 1 AS a',"
        " cidr_column = 'net'})",
    )
    with pytest.raises(ScriptError, match="no column 'net'; it gives a"):
        await made.call()

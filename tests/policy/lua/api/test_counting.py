"""Series, gauges and counters: sums of windows, keys, what is shared and what is kept."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider.policy.connection import Connection
from outrider.policy.errors import ScriptError
from outrider.policy.shared import attach_cells, create_cells
from tests.policy.acting import SMTP
from tests.policy.lua.api.service_stage import Make

DEFINE = "msys.audit_series.define('users', 'string', 900, 4)"
ADD = "msys.audit_series.add('users', {key = 'ann'})"
COUNT = "return msys.audit_series.count('users', {key = 'ann', startv = 0, endv = 3})"


async def test_windows_slide(stage: Make) -> None:
    add = "local what, n = ... if what then msys.audit_series.add('users', {key = 'ann', count = n}) end"
    made = stage(f"{add} {COUNT}", init=DEFINE)
    made.clock.step_wall(-made.clock.wall() % 900)
    assert await made.call("data", b"add", 1) == 1
    for expected in (11, 21, 31, 40):
        made.clock.advance(900)
        assert await made.call("mailfrom", b"add", 10) == expected
    made.clock.advance(899)
    assert await made.call("connect") == 40
    made.clock.advance(4 * 900)
    assert await made.call("connect") == 0


async def test_windows_by_number_and_keys_by_themselves(stage: Make) -> None:
    made = stage(
        "local s = msys.audit_series s.add('users', 'ann') s.add('users', {key = 'bob', count = -2})"
        " return {s.count('users', 'ann'), s.count('users', 'bob'),"
        " s.count('users', {key = 'ann', startv = 1}), s.count('users', {key = 7})}",
        init=DEFINE,
    )
    assert await made.call() == [1, -2, 0, 0]
    made.clock.advance(900)
    assert await made.call() == [1, -2, 1, 0]


async def test_an_item_is_removed_from_all_windows(stage: Make) -> None:
    made = stage(
        f"local what = ... if what then msys.audit_series.remove_item('users', what) else {ADD} end {COUNT}",
        init=DEFINE,
    )
    await made.call()
    made.clock.advance(900)
    assert await made.call() == 2
    assert await made.call("data", b"ann") == 0
    assert await made.call() == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("msys.audit_series.add('users')", "needs a key"),
        ("msys.audit_series.add('nobody', 'x')", "no series 'nobody'"),
        ("msys.audit_series.add('users', {key = 'x', count = 1.5})", "whole number"),
        ("msys.audit_series.add('users', {what = 1})", "no option 'what'"),
        ("msys.audit_series.count('users', {key = 'x', startv = 2, endv = 1})", "startv to endv"),
        ("msys.audit_series.define('x', 'words', 1, 1)", "no type 'words'"),
        ("msys.audit_series.define('x', 'string', 0, 1)", "1 second or more"),
        ("msys.audit_series.define('x', 'string', 1, 100000)", "1440"),
        ("msys.audit_series.define('x', 'string', 60, 1, {replicate = 'moon'})", "replicate is one of"),
        ("msys.audit_series.add('nets', 'x')", "no address or network"),
        ("msys.audit_series.add('nets', '192.0.2.0/24')", "an address is counted"),
        ("msys.audit_series.add('nets', '2001:db8::1')", "count no IPv6"),
        ("msys.audit_series.count('nets', '192.0.2.0/25')", "/8, /16, /24, /32"),
        ("msys.gauge_cache.inc('none', 'x')", "no gauge cache 'none'"),
        ("msys.gauge_cache.define('x', 0, 1)", "1 element or more"),
        ("msys.gauge_cache.define('x', 1000000, 1)", "policy.shared_numbers"),
        ("msys.counter.inc('')", "names joined by /"),
        ("msys.counter.inc('a//b')", "names joined by /"),
        ("msys.counter.open('a', 7)", "STRICT or"),
        ("msys.counter.open('a', {})", "a number, not a table"),
        ("msys.counter.add('a', 'x')", "a number, not a string"),
        ("msys.audit.connections('60,1')", "no monitor '60,1' is configured.*'60,3', '10,1'"),
        ("msys.audit.connections('60')", "seconds and windows, as '60,1'"),
        ("msys.audit.receptions('60,3', {what = 1})", "no option 'what'"),
        ("msys.audit.receptions('60,3', {'/24'})", "takes a table of options"),
        ("msys.audit.rejections('60,3', {startv = 1, endv = 0})", "startv to endv"),
        ("msys.audit.rejections('60,3', '/25')", "/8, /16, /24, /32, not for /25"),
        ("msys.audit.rejections('60,3', 'x')", "no address or network"),
        ("msys.audit.inbound_session_count('/24', 'smtp')", "no service 'smtp'; there are SMTP"),
    ],
)
async def test_faults_are_told_at_the_scripts_line(stage: Make, body: str, reason: str) -> None:
    made = stage(f"\n{body}", init=f"{DEFINE} msys.audit_series.define('nets', 'cidr', 60, 2)")
    with pytest.raises(ScriptError, match=reason) as caught:
        await made.call()
    line = (made.folder / "script.lua").read_text().splitlines().index(body) + 1
    assert (caught.value.script, caught.value.line) == ("script.lua", line)


async def test_networks_hold_the_addresses_in_them(stage: Make) -> None:
    made = stage(
        "local s = msys.audit_series"
        " for _, a in ipairs({'192.0.2.1', '192.0.2.2', '192.0.9.1', '198.51.100.1'}) do"
        " s.add('nets', a) end s.add('six', {key = '[2001:db8::1]'}) s.add('six', '2001:db8:0:1::1')"
        " return {s.count('nets'), s.count('nets', '/24'), s.count('nets', {key = '192.0.2.9/16'}),"
        " s.count('nets', '/8'), s.count('six', '2001:db8::/48'), s.count('six', '2001:db8::/64')}",
        init="msys.audit_series.define('nets', 'cidr', 60, 2)"
        " msys.audit_series.define('six', 'cidr_ipv6', 60, 2)",
    )
    assert await made.call() == [1, 2, 3, 3, 2, 1]  # the client of the stage is 192.0.2.1


async def test_workers_count_together_and_a_reload_forgets_nothing(stage: Make, tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    cells = create_cells(path, 4096)
    both = f"{{{COUNT.removeprefix('return ')}, msys.counter.read('site/x')}}"
    body = f"{ADD} msys.counter.inc('site/x') return {both}"
    first = stage(body, init=DEFINE, shared=cells)
    second = stage(body, init=DEFINE, shared=attach_cells(path))
    for number in range(1, 10, 2):
        assert await first.call() == [number, number]
        assert await second.call() == [number + 1, number + 1]
    again = stage(body, init=DEFINE, shared=attach_cells(path))
    assert await again.call() == [11, 11]
    other = stage(body, init="msys.audit_series.define('users', 'string', 60, 4)", shared=attach_cells(path))
    assert (await other.call())[0] == 1


async def test_what_persists_is_there_after_a_restart(stage: Make, tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    body = (
        "local s = msys.audit_series s.add('kept', 'a') s.add('not', 'a') msys.counter.inc('c')"
        " return {s.count('kept', 'a'), s.count('not', 'a'), msys.counter.read('c')}"
    )
    init = (
        "msys.audit_series.define('kept', 'string', 86400, 2, {persist = true})"
        " msys.audit_series.define('not', 'string', 86400, 2)"
    )
    assert await stage(body, init=init, shared=create_cells(path, 4096)).call() == [1, 1, 1]
    assert await stage(body, init=init, shared=create_cells(path, 4096)).call() == [2, 1, 1]


async def test_options_that_mean_nothing_here_are_told(stage: Make) -> None:
    made = stage(
        "return 1",
        init="msys.audit_series.define('s', 'string', 60, 1, {replicate = 'cluster', serialize = true})",
    )
    assert [fields["option"] for fields in made.logged("policy.audit_series_option")] == ["serialize"]


async def test_too_little_room_is_told(stage: Make) -> None:
    made = stage(
        "for i = 1, 200 do msys.audit_series.add('users', {key = i}) end",
        init=DEFINE,
        shared=create_cells(None, 64),
    )
    await made.call()
    assert len(made.logged("policy.shared_numbers_full")) == 1


async def test_gauges_end_when_nobody_changes_them(stage: Make) -> None:
    made = stage(
        "local what, key = ... return msys.gauge_cache[what]('open', key)",
        init="msys.gauge_cache.define('open', 100, 30)",
    )
    assert [await made.call("data", b"inc", b"a") for _ in range(3)] == [1, 2, 3]
    assert await made.call("data", b"dec", b"a") == 2
    made.clock.advance(29)
    assert await made.call("data", b"inc", b"a") == 3
    made.clock.advance(29)
    assert await made.call("data", b"get", b"a") == 3
    made.clock.advance(1)
    assert await made.call("data", b"get", b"a") == 0
    assert await made.call("data", b"inc", b"a") == 1


async def test_what_has_ended_in_a_gauge_cache_is_not_removed_twice(stage: Make) -> None:
    made = stage(
        "local what, key = ... return msys.gauge_cache[what]('open', key)",
        init="msys.gauge_cache.define('open', 2, 10)",
    )
    for key in (b"a", b"b"):
        await made.call("data", b"inc", key)
    made.clock.advance(11)
    for key in (b"c", b"d"):
        await made.call("data", b"inc", key)
    for key in (b"a", b"b"):
        await made.call("data", b"remove_item", key)
    for key in (b"e", b"f"):
        await made.call("data", b"inc", key)
    assert sum([await made.call("data", b"get", key) for key in (b"c", b"d", b"e", b"f")]) == 2


async def test_a_full_gauge_cache_drops_the_oldest(stage: Make) -> None:
    made = stage(
        "local what, key = ... return msys.gauge_cache[what]('open', key)",
        init="msys.gauge_cache.define('open', 16, 1000)",
    )
    for number in range(16):
        made.clock.advance(1)
        await made.call("data", b"inc", number)
    made.clock.advance(1)
    await made.call("data", b"inc", 0)
    await made.call("data", b"inc", b"one more")
    values = [await made.call("data", b"get", number) for number in range(16)]
    assert values == [2, 0, 0, *[1] * 13]
    assert await made.call("data", b"get", b"one more") == 1


@pytest.mark.parametrize("name", ["connections", "receptions", "rejections", "inbound_session_count"])
async def test_where_no_monitor_is_configured_nothing_is_counted(stage: Make, name: str) -> None:
    made = stage(f"return msys.audit.{name}('60,3')", audit=None)
    with pytest.raises(ScriptError, match="name a monitor in policy"):
        await made.call()


async def test_monitors_slide_and_know_the_client(stage: Make) -> None:
    made = stage(
        "local a = msys.audit return {a.connections('60,3'), a.connections('60,3', '/24'),"
        " a.connections('60,3', {startv = 1}), a.connections('60,3', {startv = 0, endv = 9}),"
        " a.connections('10,1'), a.inbound_session_count(), a.inbound_session_count('/8', 'SMTP')}"
    )
    made.clock.step_wall(-made.clock.wall() % 60)
    made.happen(b"192.0.2.1")
    made.happen(b"192.0.2.2")
    assert await made.call("connect") == [2, 4, 0, 2, 2, 1, 2]
    made.clock.advance(60)
    made.happen(b"192.0.2.1")
    assert await made.call("data") == [2, 2, 2, 4, 2, 2, 3]
    made.clock.advance(120)
    assert await made.call("outbound") == [0, 0, 0, 2, 0, 2, 3]


async def test_ipv6_clients_in_brackets_and_around_the_peer(stage: Make) -> None:
    made = stage(
        "local a = msys.audit return {a.receptions('60,3'), a.receptions('60,3', '/24'),"
        " a.receptions('60,3', '[2001:db8::1]/64'), a.receptions('60,3', '[2001:db8::1]'),"
        " a.receptions('60,3', '2001:db8:1::/48'), a.inbound_session_count('[2001:db8::]/32')}"
    )
    for client in (b"2001:db8::1", b"2001:db8::2", b"2001:db8:1::1"):
        made.happen(client)
    made.another(Connection(replace(SMTP, client="2001:db8::1")))
    assert await made.call("connect") == [3, 9, 6, 3, 3, 3]


async def test_a_cluster_is_this_node_and_that_is_told_once(stage: Make) -> None:
    made = stage("return msys.audit.connections('60,3', {cidr = '/24', cluster = true})")
    made.happen(b"192.0.2.7")
    assert [await made.call(), await made.call()] == [2, 2]
    assert [fields["option"] for fields in made.logged("policy.audit_series_option")] == ["cluster"]


async def test_the_client_is_the_key_where_none_is_given_or_its_ac(stage: Make) -> None:
    made = stage(
        "local ac = ... local s = msys.audit_series s.add('nets')"
        " s.add('nets', {count = 2}) s.add('nets', {key = ac})"
        " return {s.count('nets'), s.count('nets', {key = '192.0.2.1'}), s.count('nets', '/24')}",
        init="msys.audit_series.define('nets', 'cidr', 60, 2)",
    )
    assert made.conversation is not None
    assert await made.call("data", made.conversation.ac) == [4, 4, 4]
    with pytest.raises(ScriptError, match="no client here: name the address"):
        await made.call("load")

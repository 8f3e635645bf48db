"""What a data source may be told, how its password is kept, and what a reload does."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from outrider.base.clock import SystemClock
from outrider.base.errors import ConfigError
from outrider.base.log import ListLog
from outrider.server.catalogue import values
from outrider.server.configuration import load
from outrider.store.sources.address import Address, parse_address
from outrider.store.sources.failures import SourceQueryError
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.rows import INT_MAX, Value, parameter, plain, row_of
from outrider.store.sources.secret import read_secret
from outrider.store.sources.sources import Sources


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///shop.db", Address("sqlite", path="shop.db")),
        ("sqlite:////var/shop%20a.db", Address("sqlite", path="/var/shop a.db")),
        ("csv:///a/b.csv", Address("csv", path="a/b.csv")),
        ("postgresql://u@h/d", Address("postgresql", "h", 5432, "u", "d")),
        ("postgresql://u@/d?host=/run/pg", Address("postgresql", "", 5432, "u", "d", "/run/pg")),
        ("mariadb://u%40x@[2001:db8::1]:3307/d", Address("mysql", "2001:db8::1", 3307, "u@x", "d")),
        ("mysql://u@/d?socket=/run/my.sock", Address("mysql", "", 3306, "u", "d", "/run/my.sock")),
        ("redis://h/3", Address("redis", "h", 6379, "", "3")),
        ("redis:///0?socket=/run/redis", Address("redis", "", 6379, "", "0", "/run/redis")),
        ("https://api.example/v1/", Address("http", "api.example", 443, "", "/v1", "", is_https=True)),
        ("http://127.0.0.1:8080", Address("http", "127.0.0.1", 8080)),
    ],
)
def test_addresses(url: str, expected: Address) -> None:
    assert parse_address(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("oracle://h/d", "write sqlite"),
        ("shop.db", "write sqlite"),
        ("postgresql://u:secret@h/d", "no password belongs here"),
        ("postgresql://u:@h/d", "no password belongs here"),
        ("sqlite://shop.db", "write sqlite:///FILE"),
        ("csv:///", "write csv:///FILE"),
        ("postgresql://h/d", "name the user and the database"),
        ("mysql://u@h", "name the user and the database"),
        ("mysql://u@h/d?ssl=off", "nothing but the Unix socket"),
        ("mysql://u@/d", "name a host, or a Unix socket"),
        ("postgresql://u@h/d?host=/run", "name a host, or a Unix socket"),
        ("redis://h/x", "is a number"),
        ("http://h/a#b", "no fragment"),
        ("http://h:99999/", "Port out of range"),
    ],
)
def test_addresses_that_are_none(url: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        DataSourceOptions(name="x", url=url)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "a b"}, "should match pattern"),
        ({"url": "csv:///x", "writable": True}, "cannot be written"),
        ({"tls": True}, "tls is for servers"),
        ({"pool": {"min": 5, "max": 4}}, "min is larger"),
        ({"password_file": "a", "password_environment": "B"}, "give one of"),
        ({"query": ({"name": "q", "text": "SELECT ?"},)}, "query q: it has 1 placeholders, but 0 parameters"),
        ({"query": ({"name": "q", "text": "SELECT '"},)}, "quote at character 8"),
        ({"query": ({"name": "q", "text": "SELECT 1"},) * 2}, "two queries have the name 'q'"),
        ({"url": "redis://h", "query": ({"name": "q", "text": "DEL a"},)}, "'DEL' writes"),
        ({"url": "http://h", "query": ({"name": "q", "text": "DEL a"},)}, "write GET"),
    ],
)
def test_faults_are_found_before_the_start(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        DataSourceOptions(**{"name": "x", "url": "sqlite:///shop.db", **options})


TOML = """
[[data_source]]
name = "customers"
url = "sqlite:///shop.db"

[[data_source.query]]
name = "binding"
text = "SELECT binding FROM customers WHERE domain = ?"
parameters = ["sender_domain"]

[[data_source]]
name = "limits"
url = "postgresql://outrider@db.example/limits"
password_file = "secrets/limits"
ca_file = "ca.pem"
tls = true
"""


def test_the_configuration_nests_them(tmp_path: Path) -> None:
    (tmp_path / "outrider.toml").write_text(TOML)
    settings = load(tmp_path / "outrider.toml", {"OUTRIDER_DATA_SOURCE__LIMITS__ROWS_MAX": "7"})
    customers, limits = settings.data_source
    assert customers.address.path == f"{tmp_path}/shop.db"
    assert limits.password_file == tmp_path / "secrets/limits"
    assert limits.ca_file == tmp_path / "ca.pem"
    assert limits.rows_max == 7
    assert {value.name for value in values(settings)} >= {
        "data_source.customers.query.binding.text",
        "data_source.limits.pool.max",
    }
    (tmp_path / "outrider.toml").write_text(TOML.replace('"limits"', '"customers"'))
    with pytest.raises(ConfigError, match="two data sources have the name 'customers'"):
        load(tmp_path / "outrider.toml", {})


def source(path: Path | None = None, variable: str = "") -> DataSourceOptions:
    return DataSourceOptions(
        name="shop", url="redis://127.0.0.1", password_file=path, password_environment=variable
    )


def test_a_password_comes_from_a_file_of_our_own(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hunter 2\r\nsecond line\n")
    path.chmod(0o600)
    assert read_secret(source(path), {}) == "hunter 2"
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(
            ConfigError, match=rf"has mode {mode:04o}, so others can read or change it: chmod 0600"
        ) as told:
            read_secret(source(path), {})
        assert "hunter" not in str(told.value)


def test_a_password_that_cannot_be_had(tmp_path: Path) -> None:
    path = tmp_path / "password"
    with pytest.raises(ConfigError, match=r"data_source\.shop\.password_file: .* No such file"):
        read_secret(source(path), {})
    for content in (b"", b"\nsecond\n", b"x" * 5_000, b"\xff\n"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="no password in its first line"):
            read_secret(source(path), {})
    assert read_secret(source(variable="A"), {"A": "b"}) == "b"
    with pytest.raises(ConfigError, match="the variable A is not set"):
        read_secret(source(variable="A"), {})
    assert read_secret(source(), {}) == ""


def test_a_password_comes_from_a_systemd_credential(tmp_path: Path) -> None:
    options = DataSourceOptions(name="shop", url="redis://127.0.0.1", password_credential="shop.password")
    path = tmp_path / "shop.password"
    path.write_text("hunter 2")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    for mode in (0o400, 0o440):  # the group's bits are the mask of systemd's ACL
        path.chmod(mode)
        assert read_secret(options, environment) == "hunter 2"
    path.chmod(0o444)
    with pytest.raises(ConfigError, match="has mode 0444"):
        read_secret(options, environment)
    with pytest.raises(ConfigError, match=r"password_credential: systemd passes no credentials"):
        read_secret(options, {})
    for outside in ("../x", "a/b"):
        with pytest.raises(ValidationError):
            DataSourceOptions(name="shop", url="redis://127.0.0.1", password_credential=outside)


async def test_a_reload_keeps_what_did_not_change(tmp_path: Path) -> None:
    def lite(name: str, **more: Any) -> DataSourceOptions:
        return DataSourceOptions(name=name, url=f"csv:///{tmp_path}/{name}.csv", **more)

    for name in "abcd":
        (tmp_path / f"{name}.csv").write_text("x\n1\n")
    secret = tmp_path / "secret"
    secret.write_text("one")
    secret.chmod(0o600)
    environment = {"SECRET": "one"}
    with_secret = lite("d", password_environment="SECRET")
    sources = Sources([lite("a"), lite("b"), with_secret], SystemClock(), ListLog(), environment)
    before = {name: sources.find(name) for name in sources.names}
    for each in before.values():
        await each.fetch(f"SELECT * FROM {each.name}")
    environment["SECRET"] = "two"
    changed = await sources.reload([lite("a"), lite("b", rows_max=5), lite("c"), with_secret])
    assert changed == ["b", "d", "c"]
    assert sources.names == ("a", "b", "c", "d")
    assert sources.find("a") is before["a"]
    assert sources.find("a").peek("SELECT * FROM a") is not None
    for name in "bd":
        assert sources.find(name) is not before[name]
        assert before[name]._backend.connections == 0
        assert len(await sources.find(name).fetch(f"SELECT * FROM {name}")) == 1
    current = {name: sources.find(name) for name in sources.names}
    with pytest.raises(ConfigError):
        await sources.reload([lite("a", rows_max=6), lite("b", password_file=tmp_path / "absent")])
    assert {name: sources.find(name) for name in sources.names} == current
    assert await sources.reload([]) == ["a", "b", "c", "d"]
    with pytest.raises(SourceQueryError, match="there is no data source 'a'; configured: none"):
        sources.find("a")
    await sources.close()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1),
        (Decimal("12.50"), "12.50"),
        (Decimal(30), 30),
        (Decimal("3E2"), 300),
        (Decimal("NaN"), "NaN"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(hours=-30, microseconds=-5), "-30:00:00.000005"),
        (timedelta(minutes=61), "01:01:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (bytearray(b"a"), b"a"),
        (["a", 1, None], '["a",1,null]'),
        ({"ä": Decimal("1.5")}, '{"ä":"1.5"}'),
        (1.5, 1.5),
        (None, None),
    ],
)
def test_values_of_drivers(value: Any, expected: Value) -> None:
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)


def test_parameters_that_compare_equal_are_sent_alike() -> None:
    for same in ((1, 1.0, True), (0, 0.0, -0.0, False), (2**53, float(2**53))):
        assert {(type(sent := parameter(each, 1)), sent) for each in same} == {(int, same[0])}
    assert parameter(1.5, 1) == 1.5


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "parameter 2 is not a finite number"),
        (float("-inf"), "parameter 2 is not a finite number"),
        (INT_MAX + 1, "does not fit into 64 bits"),
        ("\udcff", "no valid Unicode"),
        ([1], "is a list; give text"),
        (Decimal(1), "is a Decimal; give text"),
    ],
)
def test_parameters_that_no_source_takes(value: Any, reason: str) -> None:
    with pytest.raises(SourceQueryError, match=reason):
        parameter(value, 2)


def test_a_row_is_a_mapping_that_shows_no_value() -> None:
    row = row_of({"a": "secret", "b": 2})
    assert (row["a"], row.at(1), list(row), dict(row)) == ("secret", 2, ["a", "b"], {"a": "secret", "b": 2})
    assert "secret" not in repr(row)
    with pytest.raises(KeyError):
        row["c"]
    with pytest.raises(TypeError):
        row["a"] = "x"  # type: ignore[index]

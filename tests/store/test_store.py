"""Tenants, credentials and domains: what is stored, what is refused, and what is noted of it."""

import asyncio
import os
import stat
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from outrider.base.errors import ConfigError, StoreError, UnavailableError
from outrider.net.answers import Answer, Kind, Status
from outrider.store import audit, credentials, domains, schema, tenants
from outrider.store.credentials import KEYS, USERS
from outrider.store.editor import Author, hash_of
from outrider.store.engine import Database, open_engine, reading, writing
from outrider.store.options import StoreOptions
from outrider.store.records import SCOPES, ApiKey, Rights, SmtpUser
from outrider.store.upgrade import migrations, upgrade

HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"


async def add_user(database: Database, author: Author, name: str = "joe", tenant: str = "acme") -> SmtpUser:
    return await credentials.add(database, author, USERS, SmtpUser(name, HASH, Rights(tenant)))


async def test_what_is_stored_comes_back(database: Database, author: Author) -> None:
    tenant = await tenants.add_tenant(database, author, "acme", description="Acme")
    await tenants.add_stream(database, author, "acme", "news", "marketing")
    rights = Rights(
        "acme",
        "the shop",
        domains=(".Shop.example", "shop.example"),
        streams=("news",),
        stream="news",
        networks=("192.0.2.0/24",),
        is_sandbox=True,
        expires_time=2_000_000_000.0,
    )
    key = await credentials.add(database, author, KEYS, ApiKey("shop", "ab" * 32, ("inject",), rights))
    user = await add_user(database, author)
    assert key.rights.domains == (".shop.example", "shop.example")
    assert await credentials.find(database, KEYS, "shop") == key
    assert await credentials.list_all(database, USERS, "acme") == [user]
    assert (await tenants.describe_tenant(database, "acme"))["name"] == tenant.name
    kinds = [(one.name, one.kind) for one in await tenants.list_streams(database, "acme")]
    assert kinds == [("default", "transactional"), ("news", "marketing")]
    changed = await credentials.set_rights(database, author, KEYS, "shop", is_enabled=False, networks=())
    assert await credentials.find(database, KEYS, "shop") == changed
    assert not changed.rights.is_enabled
    await credentials.remove(database, author, KEYS, "shop")
    with pytest.raises(StoreError, match="no key 'shop'"):
        await credentials.find(database, KEYS, "shop")


async def test_what_is_wrong_is_refused_and_leaves_no_trace(database: Database, author: Author) -> None:
    await tenants.add_tenant(database, author, "acme")
    await add_user(database, author)
    before = await audit.find_head(database)
    wrong = [
        tenants.add_tenant(database, author, "acme"),
        tenants.add_tenant(database, author, "no name"),
        tenants.remove_tenant(database, author, "acme"),
        tenants.remove_tenant(database, author, "default"),
        tenants.add_stream(database, author, "acme", "x", "spam"),
        add_user(database, author),
        add_user(database, author, "ann", "nobody"),
        credentials.set_rights(database, author, USERS, "joe", streams=("none",)),
        credentials.set_rights(database, author, USERS, "joe", networks=("192.0.2.1/24",)),
        credentials.set_rights(database, author, USERS, "joe", domains=("-bad-",)),
        credentials.set_rights(database, author, USERS, "joe", tenant="default"),
        credentials.set_rights(database, author, USERS, "joe", expires_time=253_402_300_800.0),
        credentials.add(
            database, author, KEYS, ApiKey("k", "0" * 64, SCOPES, Rights("acme", expires_time=-1.0))
        ),
        credentials.add(database, author, KEYS, ApiKey("k", "0" * 64, ("root",), Rights("acme"))),
        domains.add_domain(database, author, "acme", "not a domain"),
        domains.remove_domain(database, author, "acme", "shop.example"),
    ]
    for change in wrong:
        with pytest.raises(StoreError):
            await change
    assert await audit.find_head(database) == before
    assert await credentials.find(database, USERS, "joe") is not None


async def test_every_change_is_a_row_with_actor_and_reason(database: Database, author: Author) -> None:
    await tenants.add_tenant(database, author, "acme")
    await add_user(database, author)
    await credentials.set_password_hash(database, author, "joe", HASH)
    await domains.add_domain(database, author, "acme", "shop.example")
    rows = await audit.list_audit(database)
    assert [row.action for row in rows] == [
        "domain.added",
        "user.password",
        "user.added",
        "stream.added",
        "tenant.added",
        "store.upgraded",
    ]
    assert {(row.actor, row.reason) for row in rows} == {("cli:tester", "a test")}
    assert "argon2" not in "".join(row.details for row in rows)
    assert [row.subject for row in await audit.list_audit(database, action="user", limit=1)] == ["joe"]
    check = await audit.verify(database, audit.parse_head(str(await audit.find_head(database))))
    assert (check.rows, check.fault) == (6, "")


async def test_two_writers_make_one_chain(database: Database, author: Author) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(tenants.add_tenant(database, author, f"tenant-{number}"))
    check = await audit.verify(database)
    assert (check.rows, check.fault) == (9, "")


async def test_the_database_refuses_to_change_the_audit_log(database: Database, author: Author) -> None:
    await tenants.add_tenant(database, author, "acme")
    for statement in (
        sa.update(schema.audit).values(actor="somebody else"),
        sa.delete(schema.audit),
        sa.delete(schema.audit_head),
        sa.update(schema.audit_head).values(number=1),
    ):
        with pytest.raises((StoreError, UnavailableError), match=r"append-only|refuses"):
            async with writing(database) as connection:
                await connection.execute(statement)
    assert (await audit.verify(database)).fault == ""


TAMPER = {
    "changed": ("UPDATE audit SET reason = 'another' WHERE number = 2", "row 2 was changed"),
    "removed": ("DELETE FROM audit WHERE number = 2", "row 2 is missing"),
    "first removed": ("DELETE FROM audit WHERE number = 1", "row 1 is missing"),
    "cut": ("DELETE FROM audit WHERE number = 3", "the log ends with row 2"),
    "reordered": (
        "UPDATE audit SET number = CASE number WHEN 1 THEN 20 ELSE number END WHERE number = 1",
        "row 1 is missing",
    ),
}


@pytest.mark.parametrize("how", TAMPER)
async def test_tampering_is_found(tmp_path: Path, author: Author, how: str) -> None:
    database = open_engine(StoreOptions(), tmp_path)
    await upgrade(database, author)
    await tenants.add_tenant(database, author, "acme")
    statement, told = TAMPER[how]
    async with writing(database) as connection:
        await connection.execute(sa.text("DROP TRIGGER audit_no_update"))
        await connection.execute(sa.text("DROP TRIGGER audit_no_delete"))
        await connection.execute(sa.text(statement))
    assert told in (await audit.verify(database)).fault
    await database.dispose()


async def test_a_row_that_was_rewritten_with_its_hash_is_found(tmp_path: Path, author: Author) -> None:
    database = open_engine(StoreOptions(), tmp_path)
    await upgrade(database, author)
    await tenants.add_tenant(database, author, "acme")
    [row] = [row for row in await audit.list_audit(database) if row.number == 2]
    forged = hash_of(replace(row, reason="another"))
    async with writing(database) as connection:
        await connection.execute(sa.text("DROP TRIGGER audit_no_update"))
        statement = sa.text("UPDATE audit SET reason = 'another', hash = :hash WHERE number = 2")
        await connection.execute(statement, {"hash": forged})
    assert (await audit.verify(database)).fault.startswith("row 3 does not follow the row before it")
    await database.dispose()


async def test_two_rows_that_changed_places_are_found(tmp_path: Path, author: Author) -> None:
    database = open_engine(StoreOptions(), tmp_path)
    await upgrade(database, author)
    await tenants.add_tenant(database, author, "acme")
    async with writing(database) as connection:
        await connection.execute(sa.text("DROP TRIGGER audit_no_update"))
        for before, after in ((1, 99), (2, 1), (99, 2)):
            await connection.execute(sa.text(f"UPDATE audit SET number = {after} WHERE number = {before}"))
    assert (await audit.verify(database)).fault
    await database.dispose()


async def test_a_log_that_was_rewritten_does_not_pass_the_witness(database: Database, author: Author) -> None:
    await tenants.add_tenant(database, author, "acme")
    head = await audit.find_head(database)
    forged = audit.Head(head.number, "0" * 64)
    assert "witness" in (await audit.verify(database, forged)).fault
    assert "witness" in (await audit.verify(database, audit.Head(head.number + 1, head.hash))).fault


class Dns:
    """Answers TXT."""

    def __init__(self) -> None:
        self.texts: tuple[str, ...] = ()
        self.status = Status.FOUND
        self.asked: list[tuple[str, Kind]] = []

    async def lookup(self, name: str, kind: Kind) -> Answer:
        self.asked.append((name, kind))
        return Answer(self.status, 60.0, texts=self.texts)


async def test_a_domain_is_verified_by_its_record(database: Database, author: Author) -> None:
    await tenants.add_tenant(database, author, "acme")
    domain = await domains.add_domain(database, author, "acme", "Shop.example")
    other = await domains.add_domain(database, author, "default", "shop.example")
    expected = domains.expected_record(domain)
    dns = Dns()
    assert (
        "no TXT record"
        in (await domains.verify_domain(database, author, dns, "acme", "shop.example")).trouble
    )
    dns.texts = (domains.expected_record(other).value,)
    assert (
        "another token"
        in (await domains.verify_domain(database, author, dns, "acme", "shop.example")).trouble
    )
    dns.texts = ("v=spf1 -all", expected.value)
    proof = await domains.verify_domain(database, author, dns, "acme", "shop.example")
    assert (proof.trouble, proof.domain.verified_by) == ("", "dns")
    assert set(dns.asked) == {("_outrider.shop.example", Kind.TXT)}
    found = {one.tenant: one.verified_time for one in await domains.list_domains(database)}
    assert found["acme"] is not None
    assert found["default"] is None


async def test_a_newer_database_is_refused(tmp_path: Path, author: Author) -> None:
    database = open_engine(StoreOptions(), tmp_path)
    assert await upgrade(database, author)
    assert not await upgrade(database, author)
    async with writing(database) as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=f"revision 9999.*up to {schema.REVISION}"):
        await upgrade(database, author)
    await database.dispose()


def test_the_schema_is_the_one_that_the_migrations_make() -> None:
    assert migrations()[-1] == schema.REVISION


async def test_whoever_finds_the_newest_schema_waits_for_no_writer(
    database: Database, author: Author
) -> None:
    async with writing(database) as connection:
        await connection.execute(sa.update(schema.audit_head).values(number=9))
        assert not await upgrade(database, author)  # a writer would give up after store.wait_seconds


async def test_a_reading_sees_one_moment(database: Database, author: Author) -> None:
    async with reading(database) as connection:
        before = await audit.read_head(connection)
        await tenants.add_tenant(database, author, "acme")
        assert await audit.read_head(connection) == before
        found = await connection.execute(sa.select(schema.tenants.c.name))
        assert "acme" not in found.scalars().all()
    assert (await audit.find_head(database)).number > before.number


async def test_the_file_is_its_owners_alone(tmp_path: Path, author: Author) -> None:
    database = open_engine(StoreOptions(), tmp_path)
    await upgrade(database, author)
    for path in list(os.scandir(tmp_path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    await database.dispose()
    (tmp_path / "control.db").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_engine(StoreOptions(), tmp_path)


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "postgresql://u:secret@h/d", "postgresql://h/d?password=secret", "sqlite", "x"]
)
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        StoreOptions(url=url)


async def test_a_server_that_says_nothing_is_told_with_the_option_that_it_overran(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    silent = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    engine = open_engine(StoreOptions(url=f"postgresql://x@127.0.0.1:{port}/y", wait_seconds=0.1), tmp_path)
    with pytest.raises(UnavailableError, match=r"does not answer: not within store\.wait_seconds$"):
        async with reading(engine):
            raise AssertionError
    await ended.wait()
    await engine.dispose()
    silent.close()
    await silent.wait_closed()


@pytest.mark.parametrize(
    ("octets", "told"),
    [(b"no database at all" * 1000, "is damaged, and the way back is a copy"), (None, "full, or broken")],
)
async def test_a_file_that_sqlite_cannot_use_is_told_with_what_to_do(
    tmp_path: Path, octets: bytes | None, told: str
) -> None:
    engine, threads = open_engine(StoreOptions(), tmp_path), threading.active_count()
    if octets is None:
        (tmp_path / "control.db").unlink()
        (tmp_path / "control.db").mkdir()
    else:
        (tmp_path / "control.db").write_bytes(octets)
    with pytest.raises(UnavailableError, match=told):
        async with reading(engine) as connection:
            await connection.execute(sa.text("SELECT 1 FROM sqlite_master"))
    await engine.dispose()
    while threading.active_count() > threads:  # noqa: ASYNC110 - the library's own tells our loop of its end
        await asyncio.sleep(0)

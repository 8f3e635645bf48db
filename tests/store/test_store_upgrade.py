"""Control databases of each revision open with all that is in them; a newer one is refused."""

import asyncio
import json
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import StoreError
from outrider.base.log import NullLog
from outrider.privacy.passwords import Passwords
from outrider.privacy.store_authenticator import StoreAuthenticator
from outrider.store import audit, credentials, domains, schema, tenants
from outrider.store.credentials import KEYS, USERS
from outrider.store.editor import Author
from outrider.store.engine import FILE_MODE, Database, open_engine
from outrider.store.options import StoreOptions
from outrider.store.records import ApiKey, Rights, Tenant
from outrider.store.upgrade import migrations, upgrade
from tests.store.conftest import _create, _programs

FIXTURES = Path(__file__).parents[1] / "fixtures"
REVISIONS = migrations()
MADE = 1_790_000_000.0
ROWS = 16
DIALECTS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.peer))


@dataclass
class Old:
    """A database as an earlier program left it.

    Attributes:
        revision: Of its schema.
        options: How to open it.
        folder: The state directory.
        told: What only its maker knew.
    """

    revision: str
    options: StoreOptions
    folder: Path
    told: dict[str, str]

    def run(self, sql: str) -> None:
        """Statements past the program."""
        if not self.options.url:
            with sqlite3.connect(self.folder / "control.db") as connection:
                connection.executescript(sql)
            connection.close()
            return
        line = ["-v", "ON_ERROR_STOP=1", "-q", "-f", "-", self.options.url]
        self._program("psql", *line, stdin=sql)

    def dump(self) -> object:
        """All that is stored."""
        if not self.options.url:
            return (self.folder / "control.db").read_bytes()
        # what the session of a dump draws at random, and comments
        return [
            line for line in self._program("pg_dump", self.options.url).splitlines() if line[:1] not in "\\-"
        ]

    @staticmethod
    def _program(name: str, *line: str, stdin: str = "") -> str:
        programs = _programs()
        assert programs is not None
        done = subprocess.run(
            [programs / name, *line], input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=REVISIONS)
async def old(request: pytest.FixtureRequest, dialect: str, tmp_path: Path) -> Old:
    """The database of a revision."""
    fixture = FIXTURES / f"store-{request.param}"
    told = json.loads((fixture / f"{dialect}.json").read_text("utf-8"))
    options = StoreOptions()
    if dialect == "postgresql":
        base = request.getfixturevalue("postgresql")
        name = f"u{os.getpid()}_{abs(hash(request.node.nodeid))}"
        await _create(base, name)
        options = StoreOptions(url=base + name)
    else:
        (tmp_path / "control.db").touch(FILE_MODE)
    made = Old(request.param, options, tmp_path, told)
    script = (fixture / f"{dialect}.sql").read_text("utf-8")
    if dialect == "sqlite":
        script = "PRAGMA journal_mode=WAL;\n" + script  # as the program keeps it; a dump does not say so
    await asyncio.to_thread(made.run, script)
    return made


@pytest.fixture
async def opened(old: Old) -> AsyncIterator[Database]:
    engine = open_engine(old.options, old.folder)
    yield engine
    await engine.dispose()


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    passwords = Passwords()
    yield passwords
    passwords.close()


def test_each_revision_has_its_fixture() -> None:
    names = {f"store-{revision}" for revision in REVISIONS}
    assert {path.name for path in FIXTURES.glob("store-*")} == names
    kinds = {"sqlite.sql", "sqlite.json", "postgresql.sql", "postgresql.json"}
    assert all({path.name for path in (FIXTURES / name).iterdir()} == kinds for name in names)
    assert REVISIONS[-1] == schema.REVISION


async def test_all_of_it_is_there_and_the_audit_log_still_fits(
    old: Old, opened: Database, author: Author
) -> None:
    for is_new in (old.revision == schema.REVISION, True):  # as it was left, and as this program leaves it
        assert await upgrade(opened, author) is (not is_new)
        assert await tenants.list_tenants(opened) == [
            Tenant("acme", "Acme Ltd., Grüße", True, True, MADE),
            Tenant("default", "", True, True, 0.0),
            Tenant("gone", "", False, True, MADE),
            Tenant("lab", "", True, False, MADE),
        ]
        streams = [(one.tenant, one.name, one.kind) for one in await tenants.list_streams(opened, "acme")]
        assert streams == [("acme", "default", "transactional"), ("acme", "news", "marketing")]
        found = {one.name: one for one in await domains.list_domains(opened, "acme")}
        assert {name: (one.verified_time, one.verified_by) for name, one in found.items()} == {
            "shop.example": (MADE, "operator"),
            "new.example": (None, ""),
        }
        user = await credentials.find(opened, USERS, "joe")
        assert user.rights == Rights("acme", "the shop", domains=("shop.example",), created_time=MADE)
        play = await credentials.find(opened, KEYS, "play")
        assert (play.scopes, play.rights) == (
            ("inject",),
            Rights(
                "lab",
                "",
                domains=(".lab.example", "lab.example"),
                streams=("default",),
                networks=("192.0.2.0/24", "2001:db8::/32"),
                is_sandbox=True,
                is_enabled=False,
                expires_time=2_000_000_000.5,
                created_time=MADE,
            ),
        )
        check = await audit.verify(opened, audit.parse_head(old.told["witness"]))
        assert (check.rows >= ROWS, check.fault) == (True, "")
    actions = [row.action for row in await audit.list_audit(opened)]
    assert actions[-ROWS:][:1] + actions[-1:] == ["key.disabled", "store.upgraded"]


async def test_the_old_secrets_let_in(
    opened: Database, old: Old, author: Author, clock: FakeClock, passwords: Passwords
) -> None:
    authenticator = StoreAuthenticator(
        opened,
        lambda database: upgrade(database, author),
        stale_seconds=60.0,
        fallback=None,
        passwords=passwords,
        clock=clock,
        log=NullLog(),
        secret=b"s" * 32,
    )
    user = await authenticator.password("joe", old.told["password"])
    key = await authenticator.api_key(old.told["key"])
    assert user is not None
    assert key is not None
    assert (user.tenant, user.sender_domains, key.tenant, key.stream) == (
        "acme",
        frozenset({"shop.example"}),
        "acme",
        "news",
    )
    assert await authenticator.password("joe", "another") is None


async def test_it_goes_on_to_be_changed(opened: Database, author: Author) -> None:
    await upgrade(opened, author)
    await tenants.set_tenant(opened, author, "gone", is_enabled=True)
    await credentials.add(opened, author, KEYS, ApiKey("new", "ab" * 32, ("status",), Rights("gone")))
    await tenants.remove_stream(opened, author, "acme", "default")
    check = await audit.verify(opened)
    assert (check.rows >= ROWS + 3, check.fault) == (True, "")
    with pytest.raises(StoreError, match="exists"):
        await tenants.add_tenant(opened, author, "acme")


async def test_a_newer_one_is_refused_and_left_as_it_is(old: Old, author: Author) -> None:
    await asyncio.to_thread(old.run, "UPDATE alembic_version SET version_num = '9999'")
    before = await asyncio.to_thread(old.dump)
    for _ in range(2):
        engine = open_engine(old.options, old.folder)
        with pytest.raises(StoreError, match=f"revision 9999.*up to {schema.REVISION}.*newer program"):
            await upgrade(engine, author)
        await engine.dispose()
    assert await asyncio.to_thread(old.dump) == before

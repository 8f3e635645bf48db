"""Credentials of the control database in a worker: who works, what they may, and how soon they do not."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import StoreError, UnavailableError
from outrider.base.log import ListLog
from outrider.privacy import credentials as file_credentials
from outrider.privacy import issuing
from outrider.privacy.authenticator import FileAuthenticator
from outrider.privacy.credentials import User
from outrider.privacy.importing import import_credentials
from outrider.privacy.principals import sender_domains
from outrider.privacy.store_authenticator import StoreAuthenticator
from outrider.store import audit, credentials, domains, tenants
from outrider.store.credentials import KEYS, USERS
from outrider.store.editor import Author
from outrider.store.engine import Database, open_engine
from outrider.store.options import StoreOptions
from outrider.store.records import Rights, SmtpUser
from outrider.store.upgrade import upgrade
from tests.privacy.test_authenticator import CountingPasswords

SECRET = b"k" * 32


@dataclasses.dataclass
class House:
    database: Database
    author: Author
    clock: FakeClock
    log: ListLog
    passwords: CountingPasswords
    authenticator: StoreAuthenticator

    async def user(self, name: str, password: str, rights: Rights) -> None:
        user = SmtpUser(name, self.passwords.hash(password), rights)
        await credentials.add(self.database, self.author, USERS, user)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock, log, passwords = FakeClock(), ListLog(), CountingPasswords()
    author = Author("cli:tester", clock)
    database = open_engine(StoreOptions(), tmp_path)

    async def prepare(which: Database) -> None:
        await upgrade(which, author)

    path = tmp_path / "users.toml"
    file_credentials.add_user(path, User("old", passwords.hash("from a file"), "acme", frozenset({"*"})))
    file = FileAuthenticator(path, passwords=passwords, clock=clock, log=log, secret=SECRET)
    authenticator = StoreAuthenticator(
        database,
        prepare,
        stale_seconds=300,
        fallback=file,
        passwords=passwords,
        clock=clock,
        log=log,
        secret=SECRET,
    )
    await authenticator.refresh()
    await tenants.add_tenant(database, author, "acme")
    made = House(database, author, clock, log, passwords, authenticator)
    await made.user("joe", "right one", Rights("acme"))
    await authenticator.refresh()
    yield made
    passwords.close()
    await database.dispose()


async def test_a_user_is_known_by_the_password_alone(house: House) -> None:
    found = await house.authenticator.password("joe", "right one", "192.0.2.1")
    assert found is not None
    assert (found.name, found.tenant, found.scopes) == ("joe", "acme", frozenset({"inject"}))
    assert found.streams == {"default"}
    checks = house.passwords.checks
    assert await house.authenticator.password("joe", "right one") is found
    assert house.passwords.checks == checks, "what was right is remembered"
    for user, password in (("joe", "wrong one"), ("nobody", "right one")):
        before = house.passwords.checks
        assert await house.authenticator.password(user, password) is None
        assert house.passwords.checks == before + 1, "an unknown user costs what a wrong password costs"


async def test_whoever_is_not_there_is_looked_for_in_the_file(house: House) -> None:
    found = await house.authenticator.password("old", "from a file")
    assert found is not None
    assert found.sender_domains == {"*"}
    await house.user("old", "from the database", Rights("acme"))
    await house.authenticator.refresh()
    assert await house.authenticator.password("old", "from a file") is None
    assert await house.authenticator.password("old", "from the database") is not None


async def test_a_revoked_key_ends_with_the_next_look(house: House) -> None:
    issued = await issuing.issue_key(house.database, house.author, Rights("acme"), scopes=("inject",))
    found = await house.authenticator.api_key(issued.text)
    other = await house.authenticator.password("joe", "right one")
    assert found is not None
    assert other is not None
    assert (found.name, found.scopes) == (f"key:{issued.key.id}", frozenset({"inject"}))
    await credentials.remove(house.database, house.author, KEYS, issued.key.id)
    await house.authenticator.refresh()
    assert not found.is_valid
    assert other.is_valid, "what did not change goes on"
    assert await house.authenticator.api_key(issued.text) is None


async def test_who_is_removed_while_the_password_is_checked_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify_soon = house.passwords.verify_soon

    async def slowly(stored: str | None, password: str) -> bool:
        is_right = await verify_soon(stored, password)
        await credentials.remove(house.database, house.author, USERS, "joe")
        await house.authenticator.refresh()
        return is_right

    monkeypatch.setattr(house.passwords, "verify_soon", slowly)
    assert await house.authenticator.password("joe", "right one") is None
    assert (
        "warning",
        "privacy.credential_refused",
        {"principal": "joe", "reason": "changed"},
    ) in house.log.lines


async def test_disabling_a_tenant_ends_all_of_it(house: House) -> None:
    found = await house.authenticator.password("joe", "right one")
    assert found is not None
    await tenants.set_tenant(house.database, house.author, "acme", is_enabled=False)
    await house.authenticator.refresh()
    assert not found.is_valid
    assert await house.authenticator.password("joe", "right one") is None
    assert (
        "warning",
        "privacy.credential_refused",
        {"principal": "joe", "reason": "disabled"},
    ) in house.log.lines


async def test_a_disabled_tenant_is_shut_for_the_users_file_and_listeners_too(house: House) -> None:
    assert await house.authenticator.password("old", "from a file") is not None
    await tenants.set_tenant(house.database, house.author, "acme", is_enabled=False)
    await house.authenticator.refresh()
    assert house.authenticator.is_shut("acme")
    assert not house.authenticator.is_shut("default")
    assert not house.authenticator.is_shut("only in the configuration")
    assert await house.authenticator.password("old", "from a file") is None
    await tenants.set_tenant(house.database, house.author, "acme", is_enabled=True)
    await house.authenticator.refresh()
    assert not house.authenticator.is_shut("acme")
    assert await house.authenticator.password("old", "from a file") is not None


async def test_a_new_password_ends_the_old_one(house: House) -> None:
    assert await house.authenticator.password("joe", "right one") is not None
    stored = house.passwords.hash("another one")
    await credentials.set_password_hash(house.database, house.author, "joe", stored)
    await house.authenticator.refresh()
    assert await house.authenticator.password("joe", "right one") is None
    assert await house.authenticator.password("joe", "another one") is not None


async def test_a_key_is_bound_to_its_time_and_network(house: House) -> None:
    until = house.clock.wall() + 60
    rights = Rights("acme", networks=("192.0.2.0/24",), expires_time=until, is_sandbox=True)
    issued = await issuing.issue_key(house.database, house.author, rights, key_id="shop")
    found = await house.authenticator.api_key(issued.text, "::ffff:192.0.2.7")
    assert found is not None
    assert found.is_sandbox
    for client in ("198.51.100.7", "", "2001:db8::1"):
        assert await house.authenticator.api_key(issued.text, client) is None
    house.clock.advance(61)
    assert await house.authenticator.api_key(issued.text, "192.0.2.7") is None
    await house.authenticator.refresh()
    assert not found.is_valid


async def test_a_typo_needs_no_look_up(house: House) -> None:
    issued = await issuing.issue_key(house.database, house.author, Rights("acme"))
    await house.database.dispose()
    for wrong in (issued.text[:-1], issued.text.replace("ork_", "ork-"), issued.text[::-1], "", "ork_a_b_c"):
        assert await house.authenticator.api_key(wrong) is None
    text = issued.text
    flipped = text[:20] + ("0" if text[20] != "0" else "1") + text[21:]
    assert file_credentials.key_id_of(flipped) is None


async def test_while_the_database_is_away_who_was_known_works_for_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await house.authenticator.password("joe", "right one") is not None

    async def away(*_: object) -> None:
        raise UnavailableError("away")

    monkeypatch.setattr("outrider.privacy.store_authenticator.find_head", away)
    monkeypatch.setattr("outrider.privacy.store_authenticator.look_up", away)
    house.clock.advance(299)
    await house.authenticator.refresh()
    assert await house.authenticator.password("joe", "right one") is not None
    with pytest.raises(UnavailableError):
        await house.authenticator.password("ann", "right one")
    house.clock.advance(2)
    with pytest.raises(UnavailableError):
        await house.authenticator.password("joe", "right one")


async def test_only_verified_domains_count(house: House) -> None:
    await domains.add_domain(house.database, house.author, "acme", "shop.example")
    await house.authenticator.refresh()
    before = await house.authenticator.password("joe", "right one")
    assert before is not None
    assert (before.sender_domains, before.pending_domains) == (frozenset(), frozenset({"shop.example"}))
    await domains.trust_domain(house.database, house.author, "acme", "shop.example")
    await house.authenticator.refresh()
    assert not before.is_valid
    after = await house.authenticator.password("joe", "right one")
    assert after is not None
    assert (after.sender_domains, after.pending_domains) == (frozenset({"shop.example"}), frozenset())


@pytest.mark.parametrize(
    ("listed", "verifies", "allowed", "pending"),
    [
        ((), True, {"a.example"}, {"b.example"}),
        (("*",), True, {"a.example"}, {"b.example"}),
        (("a.example", ".a.example", "x.a.example"), True, {"a.example", ".a.example", "x.a.example"}, set()),
        (("b.example", "nota.example"), True, set(), {"b.example", "nota.example"}),
        ((), False, {"a.example", "b.example"}, set()),
        (("*",), False, {"*"}, set()),
        (("c.example",), False, {"c.example"}, set()),
    ],
)
def test_what_a_list_of_domains_means(
    listed: tuple[str, ...], verifies: bool, allowed: set[str], pending: set[str]
) -> None:
    verified, unverified = frozenset({"a.example"}), frozenset({"b.example"})
    assert sender_domains(listed, verified, unverified, verifies=verifies) == (
        frozenset(allowed),
        frozenset(pending),
    )


async def test_a_users_file_is_taken_over_whole_or_not_at_all(house: House, tmp_path: Path) -> None:
    path = tmp_path / "more.toml"
    text = file_credentials.make_key(path, "web", "new", frozenset({".web.example"}))
    file_credentials.add_user(
        path, User("ann", house.passwords.hash("ann's own"), "new", frozenset({"ann.example"}))
    )
    found = file_credentials.read_credentials(path)
    assert await import_credentials(house.database, house.author, found) == (1, 1, 1)
    await house.authenticator.refresh()
    ann = await house.authenticator.password("ann", "ann's own")
    web = await house.authenticator.api_key(text)
    assert ann is not None
    assert web is not None
    assert (ann.sender_domains, web.sender_domains) == (
        frozenset({"ann.example"}),
        frozenset({".web.example"}),
    )
    before = await audit.find_head(house.database)
    with pytest.raises(StoreError, match="exists"):
        await import_credentials(house.database, house.author, found)
    assert await audit.find_head(house.database) == before


async def test_many_ask_at_once(house: House) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(house.authenticator.password("joe", "right one")) for _ in range(20)]
    assert all(task.result() is not None for task in asked)

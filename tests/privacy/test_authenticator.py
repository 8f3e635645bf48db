"""Who is who: right and wrong secrets, equal work, and what is remembered for how long."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError, UnavailableError
from outrider.base.log import ListLog
from outrider.privacy import credentials, passwords
from outrider.privacy.authenticator import FileAuthenticator
from outrider.privacy.credentials import User
from outrider.privacy.passwords import Passwords


class CountingPasswords(Passwords):
    """Cheap parameters, and a count of checks done."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_kib=8)
        self.checks = 0

    def _check(self, stored: str, password: str) -> bool:
        self.checks += 1
        return super()._check(stored, password)


class House:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.passwords = CountingPasswords()
        self.clock = FakeClock()
        self.log = ListLog()
        self.add("joe", "secret")
        self.authenticator = FileAuthenticator(
            path, passwords=self.passwords, clock=self.clock, log=self.log, secret=b"k" * 32
        )

    def add(self, name: str, password: str) -> None:
        user = User(name, self.passwords.hash(password), "acme", frozenset({"acme.example"}))
        credentials.add_user(self.path, user)

    async def knows(self, user: str, password: str) -> bool:
        return await self.authenticator.password(user, password) is not None


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path / "users.toml")
    yield made
    made.passwords.close()


async def test_right_and_wrong(house: House) -> None:
    principal = await house.authenticator.password("joe", "secret")
    assert principal is not None
    assert (principal.name, principal.tenant) == ("joe", "acme")
    assert principal.sender_domains == {"acme.example"}
    for user, password in (("joe", "wrong"), ("Joe", "secret"), ("ann", "secret"), ("", ""), ("joe", "")):
        assert not await house.knows(user, password)


async def test_an_unknown_user_costs_what_a_wrong_password_costs(house: House) -> None:
    for user in ("joe", "nobody"):
        before = house.passwords.checks
        assert not await house.knows(user, "wrong")
        assert house.passwords.checks == before + 1


async def test_a_right_password_is_remembered_for_a_while(house: House) -> None:
    house.add("joes", "something else")
    house.clock.advance(1)
    assert await house.knows("joe", "secret")
    assert await house.knows("joe", "secret")
    assert house.passwords.checks == 1
    assert not await house.knows("joe", "secret2")
    assert not await house.knows("joes", "ecret")
    house.clock.advance(61)
    checks = house.passwords.checks
    assert await house.knows("joe", "secret")
    assert house.passwords.checks == checks + 1


async def test_no_password_is_kept(house: House) -> None:
    assert await house.knows("joe", "secret")
    assert "secret" not in repr(house.authenticator._remembered)
    assert b"secret" not in b"".join(house.authenticator._remembered)


async def test_a_changed_file_counts_within_a_second(house: House) -> None:
    assert await house.knows("joe", "secret")
    house.add("ann", "other-secret")
    credentials.set_password(house.path, "joe", house.passwords.hash("new"))
    house.clock.advance(1)
    assert not await house.knows("joe", "secret")
    assert await house.knows("joe", "new")
    assert await house.knows("ann", "other-secret")
    house.path.unlink()
    house.clock.advance(1)
    assert not await house.knows("joe", "new")


async def test_a_faulty_file_changes_nothing(house: House) -> None:
    house.path.write_text("[[user]]\nname = 5\n")
    house.clock.advance(1)
    assert await house.knows("joe", "secret")
    assert ("warning", "privacy.credentials_faulty") in [line[:2] for line in house.log.lines]
    with pytest.raises(ConfigError):
        FileAuthenticator(
            house.path, passwords=house.passwords, clock=house.clock, log=house.log, secret=b"k"
        )


async def test_keys(house: House) -> None:
    text = credentials.make_key(house.path, "web", "acme", frozenset({"acme.example"}))
    house.clock.advance(1)
    principal = await house.authenticator.api_key(text)
    assert principal is not None
    assert (principal.name, principal.tenant) == ("key:web", "acme")
    forged = credentials._key_text("web", "0" * 64)
    for wrong in (forged, text[:-1], "", "é", credentials._key_text("nobody", "0" * 64)):
        assert await house.authenticator.api_key(wrong) is None
    credentials.revoke_key(house.path, "web")
    house.clock.advance(1)
    assert await house.authenticator.api_key(text) is None


async def test_a_flood_is_answered_at_once(house: House) -> None:
    house.passwords._waiting = passwords.WAITING
    with pytest.raises(UnavailableError):
        await house.authenticator.password("joe", "secret")


async def test_one_check_at_a_time(house: House) -> None:
    running = most = 0

    class Watching(CountingPasswords):
        def _check(self, stored: str, password: str) -> bool:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return super()._check(stored, password)
            finally:
                running -= 1

    watching = Watching()
    await asyncio.gather(*(watching.verify_soon(None, "x") for _ in range(10)))
    watching.close()
    assert (most, watching.checks) == (1, 10)


def test_the_shipped_parameters_are_argon2id() -> None:
    made = Passwords()
    stored = made.hash("secret")
    made.close()
    assert passwords.is_argon2id(stored)
    assert "m=19456,t=2,p=1" in stored
    assert made.verify(stored, "secret")
    assert not made.verify(stored, "Secret")
    assert not made.verify("$argon2id$damaged", "secret")

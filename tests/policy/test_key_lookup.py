"""Signing keys from a table: which rows sign, with what; what fails, and that no text of a key is shown."""

import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from outrider.base.clock import SystemClock
from outrider.base.errors import ConfigError
from outrider.base.log import ListLog
from outrider.model.flow import Decided, Refusal
from outrider.model.hooks import HookPhase
from outrider.policy.bindings import Bindings
from outrider.policy.errors import ScriptError, TooSlowError
from outrider.policy.key_lookup import NAME, KeyLookup, key_questions_of
from outrider.policy.scripted import Scripts
from outrider.policy.surroundings import HERE
from outrider.privacy.signing_options import DkimOptions
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.sources import Sources
from outrider.wire.dkim.stored import unpack
from outrider.wire.smtp import replies
from tests.policy.acting import SMTP, Told, messages, submission

COLUMNS = ("domain", "selector", "private_key", "signing_domain")
QUERY = {"name": "keys", "text": "SELECT * FROM keys WHERE domain = ?", "parameters": ["from_domain"]}
TABLE = {"domain": "*", "key_source": "keys", "key_query": "keys"}


class Keeper:
    """`surroundings.SigningKeys` that takes every text but one."""

    def keep(self, text: str) -> str:
        if text == "no key":
            raise ConfigError("the text of a signing key: is no private key")
        return f"text:{text}"

    def unwritten(self, names: Iterable[str]) -> None:
        """All of them are."""


class Tables:
    """Gives all tables."""

    def __init__(self, tables: list[DkimOptions]) -> None:
        self._tables = tuple(tables)

    def options_for(self, domain: str, tenant: str) -> tuple[DkimOptions, ...]:
        return self._tables


class Vault:
    """A table of keys, and what a message gets by it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "keys.csv"
        self.told = Told()
        self.sources: Sources | None = None

    async def decide(
        self, *rows: tuple[str, ...], author: str = "sender.test", **table: Any
    ) -> Decided | Refusal:
        self._file.write_text("".join(f"{','.join(each)}\n" for each in (COLUMNS, *rows)), encoding="utf-8")
        await self.close()
        url = f"csv:///{self._file}"
        options = [DataSourceOptions.model_validate({"name": "keys", "url": url, "query": [QUERY]})]
        self.sources = HERE.sources = Sources(options, SystemClock(), ListLog(), {})
        tables = [DkimOptions.model_validate({**TABLE, **table})]
        script = KeyLookup(Tables(tables), key_questions_of(tables, options))
        door = Scripts([script], self.told, wait_seconds=5.0, bindings=Bindings())
        submitted = submission(plain=f"From: Shop <shop@{author}>\r\n\r\nHello\r\n".encode())
        decision = door.open(submitted.origin).decide(submitted)
        return decision if isinstance(decision, Decided | Refusal) else await decision

    async def signed(self, *rows: tuple[str, ...], **more: Any) -> list[tuple[str, str, str]]:
        decision = await self.decide(*rows, **more)
        assert self.told.failures == []
        (message,) = messages(decision)
        return [(each.domain, each.selector, each.key) for each in unpack(message.signing).signatures]

    async def close(self) -> None:
        if self.sources is not None:
            await self.sources.close()


@pytest.fixture
async def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Vault]:
    monkeypatch.setattr(HERE, "sources", None)
    monkeypatch.setattr(HERE, "keys", Keeper())
    made = Vault(tmp_path)
    yield made
    await made.close()


RSA = ("sender.test", "rsa", "KEY1", "")
ED25519 = ("sender.test", "ed", "KEY2", "mailer.test")


async def test_each_row_signs(vault: Vault) -> None:
    assert await vault.signed(RSA, ED25519) == [
        ("sender.test", "rsa", "text:KEY1"),
        ("mailer.test", "ed", "text:KEY2"),
    ]
    assert (vault.told.calls, vault.told.failures) == ([HookPhase.FINAL_VALIDATION], [])


async def test_without_a_row_or_a_key_nothing_is_signed(vault: Vault) -> None:
    assert await vault.signed(RSA, author="other.test") == []
    assert await vault.signed(("sender.test", "rsa", "", "")) == []
    assert await vault.signed(("[192.0.2.1]", "rsa", "KEY1", ""), author="[192.0.2.1]") == []
    assert vault.told.failures == []


async def test_what_the_table_says_goes_before_what_the_row_says(vault: Vault) -> None:
    more = {"selector": "fixed", "signing_domain": "all.test", "identity": "@news.all.test"}
    assert await vault.signed(ED25519, **more) == [("all.test", "fixed", "text:KEY2")]


async def test_columns_may_be_called_otherwise(vault: Vault) -> None:
    more = {"selector_column": "private_key", "key_column": "selector", "domain_column": "none"}
    assert await vault.signed(ED25519, **more) == [("sender.test", "KEY2", "text:ed")]


@pytest.mark.parametrize(
    ("row", "more", "said"),
    [
        (("sender.test", "a b", "KEY", ""), {}, "selector: is not made of DNS labels"),
        (("sender.test", "", "KEY", ""), {}, "selector: is not made of DNS labels"),
        (("sender.test", "rsa", "KEY", "no domain"), {}, "domain: is not a domain name in A-labels"),
        (("sender.test", "rsa", "no key", ""), {}, "the text of a signing key: is no private key"),
        (RSA, {"key_column": "pem"}, "the row has no column pem; it has: domain, selector, private_key"),
        (RSA, {"selector_column": "s"}, "the row has no column s; it has: domain, selector, private_key"),
    ],
)
async def test_a_row_that_cannot_sign_fails_loudly(
    vault: Vault, row: tuple[str, ...], more: dict[str, str], said: str
) -> None:
    refusal = await vault.decide(row, **more)
    assert isinstance(refusal, Refusal)
    assert refusal.reply == replies.POLICY_FAILED
    [failure] = vault.told.failures
    assert isinstance(failure, ScriptError)
    assert failure.reason.startswith(said)
    assert (failure.script, failure.phase) == (NAME, HookPhase.FINAL_VALIDATION)
    assert "KEY" not in failure.reason


async def test_a_source_that_is_down_is_a_451(vault: Vault, tmp_path: Path) -> None:
    await vault.signed(RSA)
    (tmp_path / "keys.csv").unlink()
    assert vault.sources is not None
    vault.sources.find("keys").forget()
    options = vault.sources.find("keys").options
    tables = [DkimOptions.model_validate(TABLE)]
    script = KeyLookup(Tables(tables), key_questions_of(tables, [options]))
    door = Scripts([script], vault.told, wait_seconds=5.0, bindings=Bindings())
    decision = door.open(SMTP).decide(submission())
    assert not isinstance(decision, Decided | Refusal)
    refusal = await decision
    assert isinstance(refusal, Refusal)
    assert refusal.reply == replies.POLICY_SLOW
    assert isinstance(vault.told.failures[0], TooSlowError)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"key_file": "x.pem", "selector": "s"},
            "key_file, key_credential and key_source exclude each other",
        ),
        ({"key_query": ""}, "key_source and key_query come together"),
        ({"arc": True}, "arc seals with a key of a file"),
        ({"key_source": "", "key_query": "", "key_parameters": {"a": "tenant"}}, "key_parameters are for a"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        DkimOptions.model_validate({**TABLE, **table})

"""`outrider keys` and `outrider trace --recipient` as a person or a script uses them."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError, KeyAbsentError, StoreError, UnavailableError
from outrider.base.files import OsFiles
from outrider.base.log import ListLog
from outrider.cli.main import app
from outrider.model.address import Address
from outrider.model.flow import Origin
from outrider.model.reply import Reply
from outrider.privacy.token import LiveTokens
from outrider.record.options import RecordOptions
from outrider.record.writer import EventWriter
from outrider.server.configuration import load
from outrider.server.keys import ServerKeys, live_ring, prepare_keys
from outrider.spool.engine import EmbeddedEngine
from tests.spool.samples import small_as, stored

ALICE = Address("alice", "one.example")
SERVER = '[server]\nstate_directory = "state"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "outrider.toml"
    path.write_text(SERVER)
    return path


def run(config: Path, *words: str, stdin: str = "", code: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "-c", str(config)], input=stdin, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_keys_are_generated_rotated_listed_and_exported(config: Path) -> None:
    made = json.loads(run(config, "keys", "generate", "spool", "--json"))
    assert made["key"] == "spool-1"
    with pytest.raises(StoreError, match="keys rotate spool"):
        run(config, "keys", "generate", "spool")
    run(config, "keys", "rotate", "spool")
    listed = json.loads(run(config, "keys", "list", "--json"))["keys"]
    assert [(each["key"], each["state"]) for each in listed] == [
        ("spool-1", "reads older data"),
        ("spool-2", "in use"),
    ]
    assert listed[0]["fingerprint"] == made["fingerprint"]
    exported = run(config, "keys", "export", "spool", "1")
    assert exported == (config.parent / "state" / "keys" / "spool-1.key").read_text()
    assert json.loads(run(config, "keys", "export", "spool", "1", "--json"))["file"] == exported
    secret = exported.splitlines()[-1].split('"')[1]
    for shown in ("list", "list --json", "destroy spool 1", "destroy spool 1 --json"):
        assert secret not in run(config, "keys", *shown.split()), shown


def test_destroying_says_first_what_is_lost_and_then_needs_a_reason_and_a_yes(config: Path) -> None:
    for _ in range(2):
        run(config, "keys", "rotate", "log")
    key = config.parent / "state" / "keys" / "log-1.key"
    assert "Nothing was changed" in run(config, "keys", "destroy", "log", "1", "--reason", "over")
    assert key.exists()
    with pytest.raises(StoreError, match="reason"):
        run(config, "keys", "destroy", "log", "1", "--yes")
    assert key.exists()
    done = json.loads(run(config, "keys", "destroy", "log", "1", "--yes", "--reason", "over", "--json"))
    assert done == {"key": "log-1", "destroyed": True, "uses": 0, "reason": "over"}
    assert not key.exists()
    with pytest.raises(KeyAbsentError, match="destroyed"):
        run(config, "keys", "destroy", "log", "1")


def test_every_change_of_the_ring_is_in_the_audit_log_before_and_after(config: Path) -> None:
    run(config, "keys", "generate", "log")
    run(config, "keys", "rotate", "log", "--reason", "yearly")
    run(config, "keys", "destroy", "log", "1")
    run(config, "keys", "destroy", "log", "1", "--yes", "-r", "over")
    with pytest.raises(StoreError, match="keys rotate log"):
        run(config, "keys", "generate", "log")
    rows = json.loads(run(config, "audit", "list", "--action", "keyring", "--json"))
    told = [(row["action"], row["subject"], row["reason"], json.loads(row["details"])) for row in rows[::-1]]
    keys = [each.get("key", "") for *_, each in told]
    assert [each[:3] for each in told[::2]] == [
        ("keyring.generate", "log", ""),
        ("keyring.rotate", "log", "yearly"),
        ("keyring.destroy", "log-1", "over"),
        ("keyring.generate", "log", ""),
    ]
    assert keys[1::2] == ["log-1", "log-2", "log-1", ""]
    assert [each["result"] for *_, each in told[1::2]][:3] == ["done"] * 3
    assert "there is a log key already" in told[-1][3]["result"]
    ring = (config.parent / "state" / "keys").glob("*.key")
    secrets = [path.read_text().splitlines()[-1].split('"')[1] for path in ring]
    assert len(secrets) == 1
    assert not any(secret in str(rows) for secret in secrets)


def test_no_key_is_made_that_cannot_be_recorded(config: Path) -> None:
    (config.parent / "state").mkdir()
    database = config.parent / "state" / "control.db"
    database.write_text("no database")
    database.chmod(0o600)
    with pytest.raises(UnavailableError):
        run(config, "keys", "generate", "spool")
    assert not list((config.parent / "state").glob("keys/*.key"))


def test_the_ring_is_where_the_environment_says(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_SERVER__STATE_DIRECTORY", "elsewhere")
    run(config, "keys", "generate", "spool")
    made = config.parent / "elsewhere" / "keys" / "spool-1.key"
    assert made.exists()
    assert run(config, "keys", "export", "spool", "1") == made.read_text()


async def open_spool(config: Path) -> EmbeddedEngine:
    """The spool, to be written under the newest spool key."""
    settings = load(config)
    settings.server.spool_directory.parent.mkdir(exist_ok=True)
    return await EmbeddedEngine.open(
        OsFiles(),
        str(settings.server.spool_directory),
        small_as("aes"),
        FakeClock(),
        ListLog(),
        keys=ServerKeys(settings, {}).spool,
    )


async def fill_spool(config: Path) -> None:
    """Three messages under the newest spool key."""
    engine = await open_spool(config)
    for number in range(3):
        await engine.commit([stored(engine.reserve(1), b"text\r\n", number=number)], [[b"text\r\n"]])
    await engine.close()


def test_the_count_before_a_destruction_is_that_of_the_frames(config: Path) -> None:
    for _ in range(2):
        run(config, "keys", "rotate", "log")
        run(config, "keys", "rotate", "spool")
        asyncio.run(fill_spool(config))
    shown = run(config, "keys", "destroy", "spool", "1")
    assert "3 frames of the spool" in shown.replace("\n", " ")
    assert "LOST" in shown
    assert json.loads(run(config, "keys", "destroy", "spool", "1", "--json"))["uses"] == 3


async def write_under_old_key(config: Path) -> None:
    """A server that accepted a message before a rotation runs on: nobody may destroy what it goes on with."""
    engine = await open_spool(config)
    await engine.commit([stored(engine.reserve(1), b"text\r\n")], [[b"text\r\n"]])
    await asyncio.to_thread(run, config, "keys", "rotate", "spool")
    with pytest.raises(StoreError, match="restart it"):
        await asyncio.to_thread(run, config, "keys", "destroy", "spool", "1", "--yes", "--reason", "over")
    await engine.close()


def test_a_key_that_a_running_server_writes_with_is_not_destroyed(config: Path) -> None:
    run(config, "keys", "generate", "log")
    run(config, "keys", "generate", "spool")
    asyncio.run(write_under_old_key(config))
    key = config.parent / "state" / "keys" / "spool-1.key"
    assert key.exists()
    run(config, "keys", "destroy", "spool", "1", "--yes", "--reason", "over")
    assert not key.exists(), "nobody writes with it any more"


def write_events(config: Path, log: int) -> None:
    """A refused command that names Alice, in an event file under the newest log key."""
    settings = load(config)
    tokens = LiveTokens(live_ring(settings, {}))
    directory = settings.server.events_directory
    writer = EventWriter(OsFiles(), directory, log, RecordOptions(), FakeClock(), ListLog(), tokens=tokens)
    origin = Origin("smtp", "ESMTP", "192.0.2.1", "client.example", None, None)
    for recipient in ("<Alice@one.example>", "<malice@one.example>"):
        writer.refused(origin, "<>", recipient, Reply(550, "5.7.1", ("no",)))
    writer.close()


@pytest.mark.parametrize("profile", ["masked", "domain", "customer-id", "none", "token", "full"])
def test_who_looks_for_a_recipient_hears_when_events_show_none(config: Path, profile: str) -> None:
    config.write_text(f'{SERVER}[record]\nredaction = "full"\n[record.events]\nrecipient = "{profile}"\n')
    said = run(config, "trace", "-r", "bob@one.example", code=1).replace("\n", " ")
    is_told = f"Events show recipients as `{profile}` (record.redaction)" in said
    assert is_told is (profile not in ("token", "full"))


def test_one_recipient_is_found_under_every_version_of_the_key(config: Path) -> None:
    for log in (1, 2):
        run(config, "keys", "rotate", "log")
        write_events(config, log)
    for words, stdin in ((["--recipient", "ALICE@one.example"], ""), (["-r", "-"], "alice@ONE.example\n")):
        found = json.loads(run(config, "trace", *words, "--json", stdin=stdin))
        assert [event["reply_code"] for event in found["refusals"]] == [550, 550]
    assert "Refused at" in run(config, "trace", "-r", "alice@one.example")
    assert "Nothing is known" in run(config, "trace", "-r", "bob@one.example", code=1)
    assert "2 events hold tokens" in run(config, "keys", "destroy", "log", "1").replace("\n", " ")
    run(config, "keys", "destroy", "log", "1", "--yes", "--reason", "over")
    found = json.loads(run(config, "trace", "-r", "alice@one.example", "--json"))
    assert len(found["refusals"]) == 1


@pytest.mark.parametrize("words", [[], ["01k9q4m2x7f3a8w0z1", "-r", "a@b.example"], ["-r", "nobody"]])
def test_trace_asks_for_an_id_or_an_address(config: Path, words: list[str]) -> None:
    run(config, "trace", *words, code=2)


def test_the_first_start_makes_the_log_key_and_no_other(config: Path) -> None:
    settings = load(config)
    keys, made = prepare_keys(settings, {}, OsFiles(), FakeClock())
    assert made is not None
    assert (made.name, Path(made.source).parent) == ("log-1", config.parent / "state" / "keys")
    assert keys.tokens is not None
    assert keys.tokens.token(ALICE).startswith("t1.")
    assert prepare_keys(settings, {}, OsFiles(), FakeClock())[1] is None
    assert [key.name for key in live_ring(settings, {}).ring.of()] == ["log-1"]


def test_without_tokens_no_key_is_made(config: Path) -> None:
    config.write_text(SERVER + '[record]\nredaction = "domain"\n')
    keys, made = prepare_keys(load(config), {}, OsFiles(), FakeClock())
    assert (made, keys.tokens) == (None, None)
    config.write_text(SERVER + '[record]\nredaction = "domain"\n[record.events]\nmail_from = "token"\n')
    assert prepare_keys(load(config), {}, OsFiles(), FakeClock())[1] is not None


def test_an_encrypted_spool_without_a_key_does_not_start(config: Path) -> None:
    config.write_text(SERVER + '[spool]\nencryption = "aes-256-gcm"\n')
    with pytest.raises(ConfigError, match="outrider keys generate spool"):
        prepare_keys(load(config), {}, OsFiles(), FakeClock())
    run(config, "keys", "generate", "spool")
    assert prepare_keys(load(config), {}, OsFiles(), FakeClock())[0].spool.newest() == 1

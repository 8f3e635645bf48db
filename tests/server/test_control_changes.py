"""Every route of the control API that changes something: what is audited, and that no secret leaves by it."""

import json
import os
import pwd
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from outrider.base.errors import OutriderError, UnavailableError
from outrider.base.files import OsFiles
from outrider.model.flow import Origin
from outrider.model.reply import Reply
from outrider.net.options import NetOptions
from outrider.privacy.credentials import hash_key
from outrider.privacy.passwords import Passwords
from outrider.privacy.token import LiveTokens
from outrider.record.options import RecordOptions
from outrider.record.writer import EventWriter
from outrider.server.backup.restore import open_backup
from outrider.server.control_api.app import openapi
from outrider.server.keys import live_ring
from outrider.server.requests import RefusedError
from outrider.sim.dns import DnsServer
from outrider.sim.options import WorldOptions
from outrider.sim.zones import Zones
from outrider.store.audit import verify
from outrider.store.credentials import KEYS, USERS
from outrider.store.lookup import look_up
from tests.server.control_site import Site, control_site

ME = pwd.getpwuid(os.geteuid()).pw_name
PASSWORD = "correct horse battery"
PASSPHRASE = "staple battery horse"
USERS_FILE = '[[user]]\nname = "old"\npassword_hash = "{hash}"\nsender_domains = ["old.test"]\n'
HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"


class Change(NamedTuple):
    """One route that changes something.

    Attributes:
        method: In lower case.
        route: As OpenAPI names it; what stands in braces is taken from `names`.
        action: In the audit log.
        asked: Body; of a removal the query.
        names: For the braces.
        first: What must have been asked before.
    """

    method: str
    route: str
    action: str
    asked: dict[str, Any]
    names: dict[str, str] = {}  # noqa: RUF012 - a value like the others
    first: tuple["Change", ...] = ()

    @property
    def path(self) -> str:
        """Where it is asked."""
        return re.sub(r"{(\w+)}", lambda found: self.names[found[1]], self.route)

    async def ask(self, site: Site) -> Any:
        """Ask for it, after what must come first."""
        for each in self.first:
            await each.ask(site)
        if self.method == "delete":
            return await site.call("delete", self.path, **self.asked)
        return await site.call(self.method, self.path, self.asked)


WHY = {"reason": "why"}
TENANT = Change("post", "/v1/tenants", "tenant.added", {"name": "shop", **WHY})
STREAM = Change(
    "post", "/v1/tenants/{name}/streams", "stream.added", {"name": "news", **WHY}, {"name": "default"}
)
DOMAIN = Change(
    "post", "/v1/tenants/{name}/domains", "domain.added", {"name": "shop.test", **WHY}, {"name": "default"}
)
USER = Change("post", "/v1/users", "user.added", {"name": "a/joe", "password": PASSWORD, **WHY})
KEY = Change("post", "/v1/keys", "key.added", {"id": "web", **WHY})
SIGNING = {"domain": "shop.test", "selector": "2026a"}
SIGNING_KEY = Change("post", "/v1/dkim/{domain}/{selector}", "dkim.keygen", WHY, SIGNING)
RING_KEY = Change("post", "/v1/keyring/{purpose}", "keyring.generate", WHY, {"purpose": "log"})
ROTATED = Change(
    "post", "/v1/keyring/{purpose}/rotation", "keyring.rotate", WHY, {"purpose": "log"}, (RING_KEY,)
)
CHANGES = [
    Change("post", "/v1/queue/hold", "queue.hold", WHY),
    Change("post", "/v1/queue/release", "queue.release", WHY),
    Change("post", "/v1/queue/retry", "queue.retry", WHY),
    Change("post", "/v1/queue/purge", "queue.purge", WHY),
    Change("post", "/v1/queue/move", "queue.move", {**WHY, "to_domain": "two.test"}),
    Change("post", "/v1/suspensions", "path.suspend", {**WHY, "site": "*"}),
    Change("delete", "/v1/suspensions/{number}", "path.resume", WHY, {"number": "4"}),
    Change("post", "/v1/reload", "config.reload", WHY),
    TENANT,
    Change(
        "patch", "/v1/tenants/{name}", "tenant.disabled", {"is_enabled": False, **WHY}, {"name": "default"}
    ),
    Change("delete", "/v1/tenants/{name}", "tenant.removed", WHY, {"name": "shop"}, (TENANT,)),
    STREAM,
    Change(
        "delete",
        "/v1/tenants/{name}/streams/{stream}",
        "stream.removed",
        WHY,
        {"name": "default", "stream": "news"},
        (STREAM,),
    ),
    DOMAIN,
    Change(
        "post",
        "/v1/tenants/{name}/domains/{domain}/verification",
        "domain.verified",
        {"trust": True, **WHY},
        {"name": "default", "domain": "shop.test"},
        (DOMAIN,),
    ),
    Change(
        "delete",
        "/v1/tenants/{name}/domains/{domain}",
        "domain.removed",
        WHY,
        {"name": "default", "domain": "shop.test"},
        (DOMAIN,),
    ),
    USER,
    Change(
        "patch", "/v1/users/{name}", "user.disabled", {"is_enabled": False, **WHY}, {"name": "a/joe"}, (USER,)
    ),
    Change(
        "post",
        "/v1/users/{name}/password",
        "user.password",
        {"password": PASSWORD + "!", **WHY},
        {"name": "a/joe"},
        (USER,),
    ),
    Change("delete", "/v1/users/{name}", "user.removed", WHY, {"name": "a/joe"}, (USER,)),
    Change("post", "/v1/users/import", "user.imported", {"file": USERS_FILE.format(hash=HASH), **WHY}),
    KEY,
    Change("patch", "/v1/keys/{name}", "key.changed", {"scopes": ["status"], **WHY}, {"name": "web"}, (KEY,)),
    Change("post", "/v1/keys/{name}/rotation", "key.rotated", WHY, {"name": "web"}, (KEY,)),
    Change("delete", "/v1/keys/{name}", "key.removed", WHY, {"name": "web"}, (KEY,)),
    RING_KEY,
    ROTATED,
    Change(
        "post",
        "/v1/keyring/{purpose}/{version}/destruction",
        "keyring.destroy",
        {"confirm": True, **WHY},
        {"purpose": "log", "version": "1"},
        (ROTATED,),
    ),
    SIGNING_KEY,
    Change(
        "post",
        "/v1/dkim/{domain}/{selector}/activation",
        "dkim.rotate",
        {"trust": True, **WHY},
        SIGNING,
        (SIGNING_KEY,),
    ),
    Change(
        "post", "/v1/backups", "backup.make", {"into": "{folder}/copies", "passphrase": PASSPHRASE, **WHY}
    ),
]
QUESTIONS = {("post", "/v1/trace")}
"""What is asked by a body and changes nothing."""
ELSEWHERE = {("post", "/v1/policy/shadow"), ("delete", "/v1/policy/shadow")}
"""What only a whole server can do; tests/e2e/test_policy_shadow.py looks into its audit log."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with control_site(tmp_path) as site:
        yield site


def in_place(change: Change, site: Site) -> Change:
    """With the site's folder where it is named."""
    into = change.asked.get("into", "").format(folder=site.folder)
    return change._replace(asked={**change.asked, "into": into}) if into else change


def test_the_list_above_holds_every_route_that_changes_something() -> None:
    found = {
        (method, path)
        for path, operations in openapi()["paths"].items()
        for method in operations
        if method != "get"
    }
    assert found == {(each.method, each.route) for each in CHANGES} | QUESTIONS | ELSEWHERE


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.action)
async def test_every_change_is_audited_and_becomes_an_event(site: Site, change: Change) -> None:
    change = in_place(change, site)
    await change.ask(site)
    rows = await site.audit()
    assert change.action in [row.action for row in rows]
    assert {row.actor for row in rows} == {f"api:{ME}"}
    assert {json.loads(row.details)["user_id"] for row in rows} == {os.geteuid()}
    assert {row.reason for row in rows} == {"why"}
    assert (await verify(site.engine)).fault == ""
    events = [arguments for name, arguments in site.dispatcher.asked if name == "record.admin"]
    chain = list(before(change))
    assert [(event["actor"], event["result"]) for event in events] == [(ME, "done")] * len(chain)
    assert {event["reason"] for event in events} == {"why"}


def before(change: Change) -> Iterator[Change]:
    """All that is asked for one change, itself last."""
    for each in change.first:
        yield from before(each)
    yield change


def secrets_of_the_ring(folder: Path) -> set[str]:
    """What stands behind `secret =` in its files."""
    return {path.read_text().splitlines()[-1].split('"')[1] for path in (folder / "keys").glob("*.key")}


async def test_no_secret_is_in_an_audit_row_an_event_or_a_log_line(site: Site) -> None:
    secrets = {PASSWORD, PASSPHRASE, HASH}
    for change in CHANGES:
        answer = await in_place(change, site)._replace(first=()).ask(site)
        if change.route.startswith("/v1/keys") and isinstance(answer, dict):
            secrets |= {answer["key"]} if "key" in answer else set()
        if change.route.startswith("/v1/keyring"):
            found = secrets_of_the_ring(site.folder)
            assert not any(secret in str(answer) for secret in found)
            secrets |= found
        if change.route.startswith("/v1/dkim"):
            found = {(site.folder / "keys" / "dkim" / "shop.test" / "2026a.pem").read_text().split("\n")[1]}
            assert not any(secret in str(answer) for secret in found)
            secrets |= found
    assert len(secrets) == 3 + 2 + 2 + 1
    told = [str(await site.audit()), str(site.dispatcher.asked), str(site.log.lines)]
    assert [secret for secret in secrets for each in told if secret in each] == []


# users and keys


async def test_a_key_is_shown_once_and_works_as_it_was_shown(site: Site) -> None:
    asked = {"id": "web", "scopes": ["inject"], "networks": ["192.0.2.0/24"], "is_sandbox": True}
    made = await site.call("post", "/v1/keys", asked)
    assert made["key"].startswith("ork_web_")
    kept = {name: value for name, value in made.items() if name != "key"}
    assert await site.call("get", "/v1/keys/web") == kept
    assert (await site.call("get", "/v1/keys"))["items"] == [kept]
    assert (kept["scopes"], kept["networks"]) == (["inject"], ["192.0.2.0/24"])
    assert await works(site, made["key"])
    again = await site.call("post", "/v1/keys/web/rotation", {})
    assert again["key"] != made["key"]
    assert (await works(site, made["key"]), await works(site, again["key"])) == (False, True)
    status, head, _ = await site.answer("POST", "/v1/keys/web/rotation", "{}")
    assert (status, head["cache-control"]) == (200, "no-store")
    drawn = await site.call("post", "/v1/keys", {})
    assert drawn["id"] in drawn["key"]


async def works(site: Site, text: str) -> bool:
    """True when the database knows the key by this text."""
    found = await look_up(site.engine, KEYS, [text.split("_")[1]])
    return any(known.record.hash == hash_key(text) for known in found.values())


async def test_what_a_credential_may_do_is_changed_and_nothing_else_of_it(site: Site) -> None:
    await site.call("post", "/v1/users", {"name": "joe", "password": PASSWORD, "domains": ["a.test"]})
    before = await site.call("get", "/v1/users/joe")
    until = {"expires_time": "2099-01-01T02:00:00+02:00"}
    assert (await site.call("patch", "/v1/users/joe", until)) == {
        **before,
        "expires_time": "2099-01-01T00:00:00.000000Z",
    }
    changed = await site.call("patch", "/v1/users/joe", {"never_expires": True, "domains": []})
    assert changed == {**before, "domains": []}
    verified = Passwords(time_cost=1, memory_kib=8)
    try:
        await site.call("post", "/v1/users/joe/password", {"password": "another long one"})
        stored = (await look_up(site.engine, USERS, ["joe"]))["joe"].record.password_hash
        assert verified.verify(stored, "another long one")
        assert not verified.verify(stored, PASSWORD)
    finally:
        verified.close()


async def test_a_users_file_is_taken_whole_or_not_at_all(site: Site) -> None:
    good = USERS_FILE.format(hash=HASH)
    with pytest.raises(RefusedError, match="password_hash: not an Argon2id hash"):
        await site.call("post", "/v1/users/import", {"file": good + USERS_FILE.format(hash="plain")})
    assert (await site.call("get", "/v1/users"))["items"] == []
    taken = await site.call("post", "/v1/users/import", {"file": good})
    assert taken == {"users": 1, "keys": 0, "tenants": 0}
    assert [each["name"] for each in (await site.call("get", "/v1/users"))["items"]] == ["old"]


async def test_a_domain_is_proved_by_its_record(site: Site) -> None:
    made = await site.call("post", "/v1/tenants/default/domains", {"name": "shop.test"})
    name, value = made["record"]["name"], made["record"]["value"]
    place = "/v1/tenants/default/domains/shop.test"
    async with answering_dns(site, name, "another text"):
        found = await site.call("post", f"{place}/verification", {})
        assert "hold something else" in found["trouble"]
        assert found["verified_time"] is None
    async with answering_dns(site, name, value):
        found = await site.call("post", f"{place}/verification", {})
    assert (found["trouble"], found["verified_by"]) == ("", "dns")
    assert (await site.call("get", place))["verified_time"] == found["verified_time"] is not None
    with pytest.raises(UnavailableError, match="no nameserver answers"):
        await site.call("post", f"{place}/verification", {})


@asynccontextmanager
async def answering_dns(site: Site, name: str, text: str) -> AsyncIterator[None]:
    """A name server of the site's that knows one TXT record."""
    record = {"type": "TXT", "name": f"{name}.", "value": f'"{text}"'}
    provider = {
        "name": "other",
        "domains": ["other.test"],
        "mx": [{"name": "mx.other.test", "address": "127.0.0.1"}],
    }
    world = {"provider": [provider], "zone": [{"name": "shop.test", "record": [record]}]}
    server = DnsServer(Zones(WorldOptions.model_validate(world)), "127.0.0.1")
    await server.start()
    net = NetOptions(nameservers=(f"127.0.0.1:{server.port}",), query_timeout_seconds=30)
    site.hub.settings = site.hub.settings.model_copy(update={"net": net})
    try:
        yield
    finally:
        await server.stop()


# the key ring and copies


async def test_a_destruction_says_first_what_is_lost_and_then_asks_for_a_word_and_a_reason(
    site: Site,
) -> None:
    for _ in range(2):
        await site.call("post", "/v1/keyring/log/rotation", {})
    place = "/v1/keyring/log/1/destruction"
    told = await site.call("post", place, {"reason": "over"})
    assert (told["destroyed"], told["uses"], told["audit"]) == (False, 0, None)
    assert "Copies of the key elsewhere" in told["meaning"]
    with pytest.raises(RefusedError, match="/body/reason"):
        await site.call("post", place, {"confirm": True})
    assert (site.folder / "keys" / "log-1.key").exists()
    gone = await site.call("post", place, {"confirm": True, "reason": "over"})
    assert gone["destroyed"]
    assert not (site.folder / "keys" / "log-1.key").exists()
    states = {each["key"]: each["state"] for each in (await site.call("get", "/v1/keyring"))["items"]}
    assert states == {"log-1": "destroyed: over", "log-2": "in use"}
    row = next(row for row in await site.audit() if row.action == "keyring.destroy.result")
    noted = json.loads(row.details)
    assert (row.subject, noted["result"], noted["fingerprint"]) == ("log-1", "done", gone["fingerprint"])


async def test_a_copy_is_made_as_the_command_makes_it(site: Site) -> None:
    await site.call("post", "/v1/keyring/spool", {})
    into = str(site.folder / "copies")
    made = await site.call("post", "/v1/backups", {"into": into, "passphrase": PASSPHRASE})
    assert (made["secrets"], made["database"]) == (1, "sqlite")
    opened = open_backup(Path(made["path"]), PASSPHRASE)
    assert opened.secrets is not None
    assert len(opened.secrets) == 1
    with pytest.raises(RefusedError, match="exists already"):
        await site.call("post", "/v1/backups", {"into": into, "without_keys": True})
    results = [json.loads(row.details) for row in await site.audit() if row.action == "backup.make.result"]
    assert results[0]["path"] == made["path"]
    assert "exists already" in results[1]["result"]
    async with site.hub.copying:
        with pytest.raises(RefusedError, match="being made already"):
            await site.call("post", "/v1/backups", {"into": into, "without_keys": True})


# what is refused

WRONG: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "/v1/users", {"name": "joe", "password": "short"}, 422, "at least 8 characters"),
    ("POST", "/v1/users", {"name": "joe"}, 422, "/body/password"),
    ("POST", "/v1/users", {"name": "joe", "password": PASSWORD, "tenant": "none"}, 404, "no tenant 'none'"),
    ("POST", "/v1/users", {"name": "joe", "password": PASSWORD, "streams": ["no"]}, 404, "no stream 'no'"),
    ("POST", "/v1/users", {"name": "there", "password": PASSWORD}, 409, "user 'there' exists"),
    ("POST", "/v1/users", {"name": "joe", "pasword": PASSWORD}, 422, "/body/pasword"),
    ("POST", "/v1/users/there/password", {"password": "x"}, 422, "at least 8 characters"),
    ("POST", "/v1/users/nobody/password", {"password": PASSWORD}, 404, "no user 'nobody'"),
    ("PATCH", "/v1/users/there", {}, 422, "say what to change"),
    ("PATCH", "/v1/users/there", {"tenant": "other"}, 422, "/body/tenant"),
    ("PATCH", "/v1/users/there", {"is_enabled": False}, 422, "needs a reason"),
    ("PATCH", "/v1/users/there", {"networks": ["here"]}, 422, "network 'here'"),
    ("PATCH", "/v1/users/there", {"expires_time": "2099-01-01T00:00:00"}, 422, "/body/expires_time"),
    (
        "PATCH",
        "/v1/users/there",
        {"expires_time": "2099-01-01T00:00:00Z", "never_expires": True},
        422,
        "not both",
    ),
    ("GET", "/v1/users/nobody", {}, 404, "no user 'nobody'"),
    ("DELETE", "/v1/users/there", {}, 422, "needs a reason"),
    ("POST", "/v1/users/import", {"file": "[user"}, 422, "/body/file"),
    ("POST", "/v1/users/import", {"file": ""}, 404, "no users and no keys"),
    ("POST", "/v1/keys", {"scopes": ["all"]}, 422, "/body/scopes/0"),
    ("POST", "/v1/keys", {"scopes": []}, 422, "scopes are inject and status"),
    ("POST", "/v1/keys", {"id": "no key"}, 422, "a key's id is letters, digits and hyphens"),
    ("POST", "/v1/keys/nobody/rotation", {}, 404, "no key 'nobody'"),
    ("DELETE", "/v1/keys/nobody?reason=why", {}, 404, "no key 'nobody'"),
    ("GET", "/v1/tenants/nobody", {}, 404, "no tenant 'nobody'"),
    ("GET", "/v1/tenants/default/domains/none.test", {}, 404, "no domain 'none.test'"),
    ("POST", "/v1/tenants/default/domains/none.test/verification", {}, 404, "no domain 'none.test'"),
    ("POST", "/v1/keyring/none", {}, 422, "/path/purpose"),
    ("POST", "/v1/keyring/log", {}, 409, "there is a log key already"),
    ("POST", "/v1/keyring/log/1/destruction", {"confirm": True, **WHY}, 409, "is the newest log key"),
    ("POST", "/v1/keyring/log/7/destruction", {}, 404, "log-7 is not in the key ring"),
    ("POST", "/v1/keyring/log/0/destruction", {}, 422, "/path/version"),
    ("POST", "/v1/dkim/a..b/2026a", {}, 422, "is no domain name"),
    ("POST", "/v1/dkim/shop.test/2026a", {"bits": 1024}, 422, "/body/bits"),
    ("POST", "/v1/dkim/shop.test/no%20selector", {}, 422, "selector"),
    ("GET", "/v1/dkim?domain=a..b", {}, 422, "is no domain name"),
    ("POST", "/v1/backups", {"into": "copies", "without_keys": True}, 422, "an absolute path"),
    ("POST", "/v1/backups", {"into": "/nowhere"}, 422, "either a passphrase, or without_keys"),
    ("POST", "/v1/backups", {"into": "/nowhere", "passphrase": "x"}, 422, "/body/passphrase"),
    ("POST", "/v1/backups", {"into": "/dev/null/x", "without_keys": True}, 409, "cannot be made"),
    ("GET", "/v1/config/options?name=server.wrkers", {}, 404, "did you mean server.workers"),
    ("POST", "/v1/queue/hold", {**WHY, "filter": {"id": ["joe@one.test"]}}, 422, "trace --recipient"),
    ("POST", "/v1/queue/hold", {**WHY, "filter": {"domain": "joe@one.test"}}, 422, "trace --recipient"),
    ("POST", "/v1/queue/purge", {**WHY, "filter": {"reply": "*<joe@one.test>*"}}, 422, "trace --recipient"),
    ("POST", "/v1/queue/purge", {**WHY, "filter": {"path": "smtp/a/joe@one.test"}}, 422, "trace --recipient"),
    ("POST", "/v1/suspensions", {**WHY, "site": "joe@one.test"}, 422, "trace --recipient"),
    ("POST", "/v1/queue/move", {**WHY, "to_binding": "nwes"}, 422, "there is no binding 'nwes'"),
    ("GET", "/v1/config/path", {}, 422, "name a site or a domain"),
    ("GET", "/v1/config/path?site=x&domain=y.test", {}, 422, "name a site or a domain"),
    ("GET", "/v1/config/path?domain=a..b", {}, 422, "is no domain"),
]


@pytest.mark.parametrize(("method", "path", "asked", "status", "told"), WRONG)
async def test_whatever_is_wrong_is_a_problem_and_changes_nothing(
    site: Site, method: str, path: str, asked: dict[str, Any], status: int, told: str
) -> None:
    for each in (USER._replace(asked={"name": "there", "password": PASSWORD}), RING_KEY):
        await each.ask(site)
    rows = await site.audit()
    found, _, answer = await site.answer(method, path, json.dumps(asked) if method != "GET" else "")
    problem = json.loads(answer)
    assert (found, problem["status"]) == (status, status), problem
    assert told in problem["detail"]
    changed = [
        row
        for row in (await site.audit())[len(rows) :]
        if not row.action.startswith(("keyring", "backup", "dkim"))  # with a row for each that was asked for
    ]
    assert changed == []
    assert PASSWORD not in answer
    assert "joe@one.test" not in answer
    ring = await site.call("get", "/v1/keyring")
    assert [each["key"] for each in ring["items"]] == ["log-1"]


# what is asked without being written down


async def test_mail_to_a_recipient_is_found_and_the_address_stays_where_it_was_asked(site: Site) -> None:
    await RING_KEY.ask(site)
    tokens = LiveTokens(live_ring(site.hub.settings, {}))
    writer = EventWriter(
        OsFiles(), site.hub.events_directory, 1, RecordOptions(), site.hub.clock, site.log, tokens=tokens
    )
    origin = Origin("smtp", "ESMTP", "192.0.2.1", "client.example", None, None)
    writer.refused(origin, "<>", "<Alice@one.example>", Reply(550, "5.7.1", ("no",)))
    writer.close()
    found = await site.call("post", "/v1/trace", {"recipient": "ALICE@one.example"})
    assert [event["reply_code"] for event in found["refusals"]] == [550]
    assert found["messages"] == []
    other = await site.call("post", "/v1/trace", {"recipient": "bob@one.example"})
    assert other == {"messages": [], "refusals": []}
    with pytest.raises(RefusedError, match="/body/recipient: the address has no domain") as told:
        await site.call("post", "/v1/trace", {"recipient": "alice.secret"})
    said = [
        str(await site.audit()),
        str(site.dispatcher.asked),
        str(site.log.lines),
        str(found),
        str(told.value),
    ]
    assert [each for each in said if "alice" in each.lower()] == []


async def test_options_are_explained_with_what_runs_and_what_the_files_say_since(site: Site) -> None:
    items = (await site.call("get", "/v1/config/options", name="server.*"))["items"]
    by_name = {each["name"]: each for each in items}
    [workers] = by_name["server.workers"]["values"]
    assert workers["origin"] == "an earlier reading; outrider.toml:4 says 8 now"
    [state] = by_name["server.state_directory"]["values"]
    assert state == {
        "name": "server.state_directory",
        "value": json.dumps(str(site.folder)),
        "origin": "outrider.toml:3",
    }
    assert by_name["server.drain_seconds"]["values"][0]["origin"] == "default"
    assert "origins" not in await site.call("get", "/v1/config/diff")


async def test_what_needs_the_files_tells_each_of_their_faults_and_makes_nothing(site: Site) -> None:
    async def reload(*, dry_run: bool) -> dict[str, Any]:
        assert dry_run
        faults = ["outrider.toml:3: server.wrkers is not an option", "outrider.toml:9: net.x: no"]
        return {"ok": False, "reason": "2 faults in the configuration", "faults": faults, "code": 78}

    site.hub.reload = reload
    copies = json.dumps({"into": str(site.folder / "copies"), "without_keys": True})
    for method, path, body in (
        ("GET", "/v1/config/options", ""),
        ("POST", "/v1/backups", copies),
    ):
        status, _, answer = await site.answer(method, path, body)
        problem = json.loads(answer)
        assert (status, problem["code"]) == (409, "bad_configuration")
        assert [each["detail"].partition(":")[2][0] for each in problem["errors"]] == ["3", "9"]
    assert not (site.folder / "copies").exists()
    assert await site.audit() == []


async def test_nothing_is_made_that_cannot_be_recorded(site: Site) -> None:
    async with site.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE audit_head RENAME TO away")
    for change in (RING_KEY, in_place(CHANGES[-1], site)):
        with pytest.raises(OutriderError):
            await change.ask(site)
    assert not list(site.folder.glob("keys/*.key"))
    assert not (site.folder / "copies").exists()


@pytest.mark.parametrize(
    ("counts", "changed", "words"),
    [((500, 1000), 1000, "1000 were changed before, perhaps more"), ((), 0, "it is not known whether")],
)
async def test_what_was_changed_until_the_dispatcher_died_is_told_and_recorded(
    site: Site, counts: tuple[int, ...], changed: int, words: str
) -> None:
    """Slices of a purge are done for good: who reads that nothing was would look no further."""
    site.dispatcher.dies_at = counts
    with pytest.raises(UnavailableError, match=words):
        await site.call("post", "/v1/queue/purge", {"reason": "why"})
    _, result = await site.audit()
    details = json.loads(result.details)
    assert (result.action, details["changed"]) == ("queue.purge.result", changed)
    assert words in details["result"]
    (event,) = [arguments for name, arguments in site.dispatcher.asked if name == "record.admin"]
    assert (event["changed"], words in event["result"]) == (changed, True)

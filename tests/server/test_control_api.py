"""The control API: who may ask, what is recorded, what is refused and in which form."""

import asyncio
import json
import os
import pwd
import socket
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.base.errors import OutriderError, PermissionDeniedError, UnavailableError
from outrider.server.control_api import accounts, credentials, domains
from outrider.server.control_api import hub as hub_module
from outrider.server.control_api.app import BODY_OCTETS, openapi
from outrider.server.control_api.client import ControlClient
from outrider.server.control_api.models import QueueFilter
from outrider.server.requests import RefusedError
from outrider.store.domains import shown_domain
from outrider.store.records import ApiKey, Domain, Rights, SmtpUser, Stream, Tenant, shown
from outrider.store.schema import REVISION
from tests.patience import PATIENCE_SECONDS
from tests.server.control_site import DUE, KEPT, PATH, Site, control_site

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with control_site(tmp_path) as site:
        yield site


# who may ask


async def test_the_socket_and_its_folder_are_for_one_user(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o755)
    async with control_site(folder) as site:
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "control.sock")]
        assert modes == [0o700, 0o600]
        assert "control.directory_closed" in [line[1] for line in site.log.lines]


async def test_another_user_is_refused_and_told_in_the_log(tmp_path: Path) -> None:
    async with control_site(tmp_path, users={os.geteuid() + 1}) as site:
        with pytest.raises(PermissionDeniedError, match="Only root"):
            await site.call("get", "/v1/status")
        with pytest.raises(PermissionDeniedError):
            await site.call("post", "/v1/queue/purge", {"reason": "because"})
        assert site.dispatcher.asked == []
        assert "http.user_denied" in [line[1] for line in site.log.lines]


# what is recorded


async def test_the_row_is_written_before_the_change_and_another_tells_its_result(site: Site) -> None:
    changed = await site.call(
        "post", "/v1/queue/purge", {"filter": {"domain": "one.test"}, "reason": "a spam run"}
    )
    asked, result = await site.audit()
    assert (asked.action, asked.subject, asked.reason) == ("queue.purge", "domain=one.test", "a spam run")
    assert json.loads(asked.details) == {"matched": 3, "user_id": os.geteuid()}
    assert asked.number == changed["audit"]
    assert result.action == "queue.purge.result"
    told = {"of": asked.number, "result": "done", "changed": 3, "user_id": os.geteuid()}
    assert json.loads(result.details) == told


async def test_a_change_that_fails_has_its_result_too(site: Site) -> None:
    site.dispatcher.fault = "the spool is full"
    with pytest.raises(RefusedError, match="the spool is full"):
        await site.call("post", "/v1/queue/purge", {"reason": "why"})
    assert json.loads((await site.audit())[-1].details)["result"] == "the spool is full"


async def test_a_database_of_a_newer_program_ends_nobody_and_is_not_touched(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "UPGRADE_AGAIN_SECONDS", 0)

    async def set_revision(revision: str) -> None:
        async with site.engine.begin() as connection:
            await connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")

    before = await site.audit()
    await set_revision("9999")
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(hub_module.upgrade_store(site.hub))
        while site.hub.unfit is None:
            await site.call("get", "/v1/queue/count")
        for method, path, *body in (
            ("post", "/v1/queue/purge", {"reason": "why"}),
            ("post", "/v1/tenants", {"name": "acme"}),
            ("get", "/v1/tenants"),
        ):
            with pytest.raises(RefusedError, match="a newer program made it"):
                await site.call(method, path, *body)
        assert (await site.call("get", "/v1/queue/count"))["count"] == 3, "who only looks is answered"
        assert not waiting.done(), "it looks again"
        await set_revision(REVISION)
    assert site.dispatcher.changes() == []
    assert await site.audit() == before
    await site.call("post", "/v1/queue/purge", {"reason": "why"})
    assert [line[1] for line in site.log.lines].count("store.newer") == 1


async def test_nothing_is_changed_that_cannot_be_recorded(site: Site) -> None:
    async with site.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE audit_head RENAME TO away")
    with pytest.raises(OutriderError):
        await site.call("post", "/v1/queue/purge", {"reason": "why"})
    assert site.dispatcher.changes() == []
    assert (await site.call("get", "/v1/queue/count"))["count"] == 3, "who only looks is answered"


# what is refused


@pytest.mark.parametrize("verb", ["hold", "purge", "move"])
async def test_what_stops_or_removes_mail_needs_a_reason(site: Site, verb: str) -> None:
    asked = {"to_domain": "two.test"} if verb == "move" else {}
    with pytest.raises(RefusedError, match="reason"):
        await site.call("post", f"/v1/queue/{verb}", asked)
    with pytest.raises(RefusedError, match="reason"):
        await site.call("post", f"/v1/queue/{verb}", {**asked, "reason": "   "})
    assert (site.dispatcher.changes(), await site.audit()) == ([], [])
    assert (await site.call("post", f"/v1/queue/{verb}", {**asked, "dry_run": True}))["matched"] == 3


@pytest.mark.parametrize(
    ("given", "taken"), [("Relay.Example", "relay.example"), ("bücher.example", "xn--bcher-kva.example")]
)
async def test_mail_is_moved_to_a_domain_as_routes_know_it(site: Site, given: str, taken: str) -> None:
    await site.call("post", "/v1/queue/move", {"to_domain": given, "reason": "why"})
    moves = [asked for name, asked in site.dispatcher.asked if name == "queue.move"]
    assert [asked["to_domain"] for asked in moves] == [taken]


@pytest.mark.parametrize("given", ["relay example", "relay.example:25", "a@relay.example", "10.1.2.3", "."])
async def test_mail_is_not_moved_to_what_is_no_domain(site: Site, given: str) -> None:
    for is_rehearsal in (True, False):
        asked = {"to_domain": given, "reason": "why", "dry_run": is_rehearsal}
        with pytest.raises(RefusedError, match="cannot be moved to the domain"):
            await site.call("post", "/v1/queue/move", asked)
    assert site.dispatcher.changes() == []


async def test_a_suspension_is_for_sites_in_any_case(site: Site) -> None:
    """Sites are in lower case: a suspension of `MX.Example` would hold nothing."""
    await site.call("post", "/v1/suspensions", {"site": "MX.Example", "reason": "why"})
    told = [asked["site"] for name, asked in site.dispatcher.asked if name in {"paths.list", "paths.suspend"}]
    assert told == ["mx.example", "mx.example"]
    with pytest.raises(RefusedError, match="begins the pattern"):
        await site.call("post", "/v1/suspensions", {"site": "*example", "reason": "why"})


async def test_a_dry_run_changes_and_records_nothing(site: Site) -> None:
    for path, asked in (
        ("/v1/queue/purge", {"reason": "why", "dry_run": True}),
        ("/v1/suspensions", {"site": "*", "dry_run": True}),
        ("/v1/reload", {"dry_run": True}),
    ):
        await site.call("post", path, asked)
    assert (site.dispatcher.changes(), await site.audit(), site.reloads) == ([], [], [True])


async def test_a_count_that_has_changed_since_is_a_conflict(site: Site) -> None:
    with pytest.raises(RefusedError, match="3 entries match now, not 5") as told:
        await site.call("post", "/v1/queue/purge", {"reason": "why", "expect": 5})
    assert told.value.kind == "conflict"
    assert site.dispatcher.changes() == []
    assert (await site.call("post", "/v1/queue/purge", {"reason": "why", "expect": 3}))["changed"] == 3


async def test_release_counts_only_what_is_held(site: Site) -> None:
    await site.call("post", "/v1/queue/release", {"filter": {"tenant": "shop"}})
    assert site.dispatcher.asked[0] == ("queue.count", {"tenant": "shop", "held": True})


@pytest.mark.parametrize(
    ("request_line", "body", "status", "code"),
    [
        ("GET /v1/queue?limit=0", "", 422, "invalid"),
        (f"GET /v1/queue?cursor={2**63}", "", 422, "invalid"),
        (f"GET /v1/queue?entry={2**63}", "", 422, "invalid"),
        (f"GET /v1/queue/count?attempts={2**63}", "", 422, "invalid"),
        (f"GET /v1/paths?cursor={2**63}", "", 422, "invalid"),
        (f"GET /v1/audit?cursor={2**63}", "", 422, "invalid"),
        (f"DELETE /v1/suspensions/{2**63}?reason=y", "", 422, "invalid"),
        ("GET /v1/queue?domian=x", "", 422, "invalid"),
        ("GET /v1/queue?state=lost", "", 422, "invalid"),
        ("GET /v1/queue?domain=d*.example", "", 422, "invalid"),
        ("GET /v1/queue/count?site=mx*.example", "", 422, "invalid"),
        ("POST /v1/queue/purge", "{", 422, "invalid"),
        ("POST /v1/queue/purge", '{"filter": {"domian": "x"}, "reason": "y"}', 422, "invalid"),
        ("POST /v1/queue/move", '{"reason": "y"}', 422, "invalid"),
        ("POST /v1/suspensions", '{"site": "*", "reason": "y", "seconds": 0}', 422, "invalid"),
        ("GET /v1/messages/short", "", 422, "invalid"),
        ("GET /v1/messages/000000000000000000", "", 404, "absent"),
        ("GET /v1/nothing", "", 404, "not_found"),
        ("DELETE /v1/queue", "", 405, "method_not_allowed"),
        ("POST /v1/queue/purge", json.dumps({"reason": "x" * BODY_OCTETS}), 413, "too_big"),
    ],
)
async def test_whatever_is_wrong_is_a_problem(
    site: Site, request_line: str, body: str, status: int, code: str
) -> None:
    head = f"{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    found, answer = await site.raw(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    problem = json.loads(answer)
    assert (found, problem["status"], problem["code"]) == (status, status, code)
    assert problem["title"]
    assert problem["detail"]
    assert site.dispatcher.changes() == []


async def test_a_problem_names_what_is_wrong_where(site: Site) -> None:
    with pytest.raises(RefusedError, match="/body/filter/attempts"):
        await site.call("post", "/v1/queue/hold", {"reason": "y", "filter": {"attempts": -1}})


async def test_nobody_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    async with control_site(tmp_path) as site:
        pass
    with pytest.raises(UnavailableError, match="is the server running"):
        await site.call("get", "/v1/status")


# what is answered


@pytest.mark.parametrize("is_late", [False, True])
def test_a_server_that_gives_no_answer_is_told_apart_from_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    monkeypatch.setattr("outrider.server.control_api.client.ANSWER_SECONDS", 0.01 if is_late else 60.0)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "control.sock"))
        listening.listen()

        def hang_up() -> None:
            listening.accept()[0].close()

        if not is_late:
            threading.Thread(target=hang_up).start()
        with pytest.raises(UnavailableError, match=r"gives no answer; .*try again"):
            ControlClient(tmp_path).get("/v1/status")


def test_a_change_may_take_longer_than_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outrider.server.control_api.client.ANSWER_SECONDS", 0.0)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
    given_up = threading.Event()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "control.sock"))
        listening.listen()

        def serve() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    asked = connection.recv(65_536)
                    if asked.startswith(b"GET"):
                        given_up.wait(60)
                    else:
                        connection.sendall(answer + b'{"changed":1}')
                        connection.recv(65_536)

        thread = threading.Thread(target=serve)
        thread.start()
        with ControlClient(tmp_path) as client:
            with pytest.raises(UnavailableError):
                client.get("/v1/queue/count")
            given_up.set()
            assert client.post("/v1/queue/purge", {}) == {"changed": 1}
        thread.join()


async def test_pages_go_through_the_whole_queue(site: Site) -> None:
    site.dispatcher.entries = 7
    cursor, seen = None, []
    while True:
        page = await site.call("get", "/v1/queue", limit=3, cursor=cursor)
        seen.append([row["entry"] for row in page["items"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]


async def test_the_life_of_a_message_says_what_stops_it(site: Site) -> None:
    life = await site.call("get", f"/v1/messages/{DUE}")
    assert life["queued"][0]["suspended"] == KEPT
    assert "is suspended (suspension 4 by root: they asked)" in life["steps"][-1]["text"]


@pytest.mark.parametrize("name", [*QueueFilter.model_fields])
async def test_each_filter_can_be_asked_by(site: Site, name: str) -> None:
    """Also `path`, which is what a client's functions call something else."""
    chosen = {"path": "smtp/default/mx.one.test", "state": "due", "id": ["a"], "entry": [1], "held": True}
    value = chosen.get(name, "1")
    await site.pages("/v1/queue", 2, **{name: value})
    await site.call("get", "/v1/queue/count", **{name: value})
    (select, listed), (count, counted) = site.dispatcher.asked
    assert (select, count) == ("queue.select", "queue.count")
    assert len(counted) == 1
    assert counted.items() <= listed.items()


async def test_filters_arrive_as_the_dispatcher_names_them(site: Site) -> None:
    chosen = {
        "domain": "*.test",
        "id": ["a", "b"],
        "older_than": 60,
        "attempts": 2,
        "held": False,
        "reply": "4*",
    }
    await site.call("get", "/v1/queue/count", **chosen)
    assert site.dispatcher.asked == [
        (
            "queue.count",
            {
                "routing_domain": "*.test",
                "message_ids": ["a", "b"],
                "older_than_seconds": 60.0,
                "min_attempts": 2,
                "held": False,
                "reply": "4*",
            },
        )
    ]


async def test_every_question_is_answered(site: Site) -> None:
    for path in (
        "/v1/status",
        "/v1/workers",
        "/v1/metrics/summary",
        "/v1/events",
        "/v1/config",
        "/v1/config/diff",
        "/v1/queue/summary",
        "/v1/paths",
        "/v1/paths/smtp/default/mx.one.test",
        "/v1/suspensions",
        "/v1/config/options",
        "/v1/tenants",
        "/v1/tenants/default",
        "/v1/streams",
        "/v1/users",
        "/v1/keys",
        "/v1/keyring",
        "/v1/dkim",
        "/v1/dkim/checks",
        "/v1/domains",
        "/v1/audit",
        "/v1/audit/check",
        "/v1/openapi.json",
    ):
        assert await site.call("get", path), path
    listed = await site.call("get", "/v1/paths")
    assert [row["site"] for row in listed["items"]] == [PATH["site"]]
    path = await site.call("get", "/v1/config/path", site="mx.one.test", binding="news")
    assert (path["path"], path["is_known"]) == ("smtp/news/mx.one.test", False)
    configured = (await site.call("get", "/v1/config"))["values"]
    assert configured["server.workers"].isdigit()
    assert (await site.call("get", "/v1/audit/check"))["ok"] is True


def test_openapi_describes_every_route() -> None:
    described = openapi()
    assert described["openapi"].startswith("3.1")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["tags"], (method, path)
            assert any(code.startswith("2") for code in operation["responses"]), (method, path)


def test_no_field_of_a_record_is_left_out_of_its_answer() -> None:
    rights = Rights("default")
    domain = Domain("default", "shop.test", "token", None, "", None, 1.0)
    for model, told in (
        (accounts.TenantShown, shown(Tenant("default", "", True, True, 1.0))),
        (accounts.StreamShown, shown(Stream("default", "news", "marketing", 1.0))),
        (credentials.UserShown, shown(SmtpUser("joe", "hash", rights))),
        (credentials.KeyShown, shown(ApiKey("web", "hash", ("inject",), rights))),
        (domains.DomainShown, shown_domain(domain)),
    ):
        assert set(model.model_fields) == set(told), model
        assert "hash" not in str(told)

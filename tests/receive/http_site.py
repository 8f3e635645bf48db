"""An injection listener with everything behind it faked, and requests to it without a socket.

In: requests as method, path, body and fields. Out: answers; what was submitted is in the intake.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from outrider.base.clock import FakeClock
from outrider.base.ids import IdSource
from outrider.base.log import ListLog
from outrider.model.changes import Keyed
from outrider.model.dispatch import KeyState, Reserved
from outrider.model.flow import Origin, RefusedRecipient, Submission
from outrider.model.ports import Keep, PolicySession, Principal
from outrider.model.reply import Reply
from outrider.receive.clients import ClientCounts
from outrider.receive.http import Shared, build_app
from outrider.receive.http_limits import KeyRates
from outrider.receive.http_models import RecipientState
from outrider.receive.http_options import HttpOptions
from outrider.wire.smtp import replies
from tests.receive.principals import FakePrincipal

HOSTNAME = "mx.sender.example"


key_of = partial(
    FakePrincipal,
    sender_domains=frozenset({"sender.example"}),
    pending_domains=frozenset({"new.example"}),
    streams=frozenset({"news", "orders"}),
    stream="orders",
)
KEYS = {
    "k": key_of("shop-key"),
    "other": key_of("other-key", "other", sender_domains=frozenset("*")),
    "reader": key_of("reader", scopes=frozenset({"status"})),
    "writer": key_of("writer", scopes=frozenset({"inject"})),
    "play": key_of("play", is_sandbox=True),
}


class Keys:
    async def password(self, user: str, password: str, client: str = "") -> Principal | None:
        return None

    async def api_key(self, key: str, client: str = "") -> Principal | None:
        return KEYS.get(key)

    def is_shut(self, tenant: str) -> bool:
        return False


class Reservations:
    """All keys in one dictionary."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}
        self.done: dict[bytes, Keyed] = {}
        self.is_away = False

    async def reserve(self, key: bytes, body: bytes) -> Reserved:
        await asyncio.sleep(0)
        if self.is_away:
            return Reserved(0, KeyState.UNKNOWN)
        if key in self.held:
            return Reserved(0, KeyState.BUSY if self.held[key] == body else KeyState.OTHER)
        found = self.done.get(key)
        if found is not None:
            return Reserved(0, KeyState.DONE if found.body == body else KeyState.OTHER, found.answer)
        self.held[key] = body
        return Reserved(0, KeyState.FREE)

    def release(self, key: bytes) -> None:
        self.held.pop(key, None)


class Intake:
    """Stores at once, or when told to; `reply` is its answer, None keeps the request waiting."""

    def __init__(self, reservations: Reservations) -> None:
        self.reservations = reservations
        self.reply: Reply | None = Reply(250, "2.0.0", ("Ok",))
        self.submitted: list[Submission] = []
        self.waiting: list[Callable[[], None]] = []
        self.refusals: list[Reply] = []
        self.torn_after: int | None = None
        self.replies: dict[str, Reply] = {}  # to recipients whom policy refuses

    def submit(
        self, submission: Submission, done: Callable[[Reply], None], session: PolicySession | None = None
    ) -> None:
        raise AssertionError("HTTP hands over whole requests")

    def submit_all(
        self,
        submissions: Sequence[Submission],
        keys: Sequence[Sequence[Keyed]],
        done: Callable[[Reply], None],
        keep: Keep | None = None,
    ) -> None:
        refused = [
            [
                RefusedRecipient(each, self.replies[str(each.address)])
                for each in submission.envelope.recipients
                if str(each.address) in self.replies
            ]
            for submission in submissions
        ]
        if keep is not None and any(refused):
            keys = keep(refused)

        def store() -> None:
            reply = self.reply or Reply(250, "2.0.0", ("Ok",))
            stored = len(submissions) if self.torn_after is None else self.torn_after
            for number, submission in enumerate(submissions):
                is_stored = reply.is_positive and number < stored
                if is_stored:
                    self.submitted.append(submission)
                for keyed in keys[number] if keys else ():
                    self.reservations.held.pop(keyed.key, None)
                    if is_stored:
                        self.reservations.done[keyed.key] = keyed
            done(reply if stored == len(submissions) else replies.SPOOL_FAILED)

        if self.reply is None:
            self.waiting.append(store)
        else:
            store()

    def refusal(self) -> Reply | None:
        return None

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        self.refusals.append(reply)

    def only(self) -> Submission:
        (submission,) = self.submitted
        return submission


class States:
    async def lookup(self, message_id: str) -> list[RecipientState] | None:
        return [RecipientState("*@example.com", "queued", "acme")]


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def pointers(self) -> list[str]:
        return [fault["pointer"] for fault in self.document.get("errors", [])]


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds; nothing here waits for more than a few turns."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")


class HttpSite:
    """A listener and its client, in one loop and without sockets."""

    def __init__(self, **options: Any) -> None:
        self.clock, self.log = FakeClock(), ListLog()
        self.reservations = Reservations()
        self.intake = Intake(self.reservations)
        chosen = HttpOptions(**options)
        self.app = build_app(
            chosen,
            hostname=HOSTNAME,
            intake=self.intake,
            authenticator=Keys(),
            lookup=States(),
            shared=Shared(self.reservations, ClientCounts(), KeyRates(chosen.key_recipients_per_second)),
            ids=IdSource(self.clock, 5),
            clock=self.clock,
            log=self.log,
        )

    async def ask(
        self,
        method: str,
        path: str,
        chunks: Iterable[bytes] = (),
        *,
        key: str = "k",
        kind: str = "application/json",
        paced: bool = False,
        leaves: bool = False,
        **fields: str,
    ) -> Answer:
        """One request; its body comes in `chunks`.

        With `paced` a chunk comes only when there is a line of answer to each one before it; with
        `leaves` the client is gone after the last one.
        """
        path, _, query = path.partition("?")
        headers = {"authorization": f"Bearer {key}", "content-type": kind}
        headers |= {name.replace("_", "-"): value for name, value in fields.items()}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        rest = iter([*chunks])
        sent: list[Any] = []
        given = 0

        async def receive() -> dict[str, Any]:
            nonlocal given
            await asyncio.sleep(0)
            if paced:
                await until(lambda: sum(each.get("body", b"").count(b"\n") for each in sent) >= given)
            given += 1
            chunk = next(rest, None)
            if chunk is None and leaves:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], found, b"".join(each.get("body", b"") for each in sent[1:]))

    async def post(self, message: Any, **more: Any) -> Answer:
        """A message in JSON."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.ask("POST", "/v1/messages", [body], **more)

    async def batch(self, *lines: Any, **more: Any) -> Answer:
        """A batch in one chunk."""
        octets = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        return await self.ask(
            "POST", "/v1/batches", [b"\n".join(octets)], kind="application/x-ndjson", **more
        )

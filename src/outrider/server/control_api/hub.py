"""What the routes share: the way to the dispatcher, the control database, and how a change is recorded.

Theory: a change is written to the audit log before it is made, and its result after it
(`store.audit.noting`); then it becomes an `admin` event. The control database changes itself in one
transaction with its audit row (`store.editor`); for those only the event is written here.

Invariant: no change is made when the audit log cannot be written.
"""

import asyncio
import pwd
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Protocol, TypeVar

from fastapi import Depends, Request

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError, OutriderError, StoreError, UnavailableError
from outrider.base.log import Log
from outrider.net.http import Peer
from outrider.server.audit_room import AuditRoom
from outrider.server.control_api.problems import ReasonMissingError
from outrider.server.measures import Summed
from outrider.server.requests import UnfinishedError, ask
from outrider.server.settings import Settings
from outrider.server.shadows import Shadows
from outrider.store.audit import note, noting
from outrider.store.editor import Author
from outrider.store.engine import Database
from outrider.store.upgrade import upgrade

UPGRADE_AGAIN_SECONDS: Final = 5.0
# chosen: a database that restarts is back in seconds
PATIENCE_SECONDS: Final = 10.0
# chosen: a dispatcher that died is back in a second or two, more where it has much to read


Result = TypeVar("Result")


class Reload(Protocol):
    """Has the supervisor read the configuration again, or only compare."""

    async def __call__(self, *, dry_run: bool) -> dict[str, Any]: ...


@dataclass(slots=True)
class Hub:
    """See the module.

    Attributes:
        settings: What this process runs with; a reload exchanges it.
        clock: Time.
        log: Server log.
        database: The control database, also while it is nothing for this program.
        summed: The metrics of all processes.
        reload: The supervisor's.
        started_at: When the server started, monotonic seconds.
        copying: Held while a backup is made.
        shadows: The shadow run; None where there can be none.
        room: For the audit log, where its database is on our disk.
        unfit: Why the control database is nothing for this program; None where it is.
    """

    settings: Settings
    clock: Clock
    log: Log
    database: Database
    summed: Summed
    reload: Reload
    started_at: float
    copying: asyncio.Lock = field(default_factory=asyncio.Lock)
    shadows: Shadows | None = None
    room: AuditRoom | None = None
    unfit: StoreError | None = None

    @property
    def engine(self) -> Database:
        """The control database.

        Raises:
            StoreError: A newer program made it; nothing is read or written.
        """
        if self.unfit is not None:
            raise StoreError(self.unfit.message, self.unfit.kind)
        return self.database

    @property
    def events_directory(self) -> Path:
        """Where event files are."""
        return self.settings.server.events_directory

    async def ask(self, operation: str, /, **arguments: Any) -> Any:
        """Ask the dispatcher."""
        socket = self.settings.server.sockets_directory / "queue.sock"
        return await ask(socket, operation, patience_seconds=PATIENCE_SECONDS, **arguments)

    async def _make_room(self) -> None:
        """Where the disk is full, give back what is reserved, so that a change can be recorded."""
        if self.room is None or not self.room.is_short() or self.room.give():
            return
        try:
            await self.ask("spool.make_room")
        except UnavailableError as error:
            self.log.error("control.room_not_given", error=error.message)

    def _author(self, act: "Act") -> Author:
        """Who changes something, for the control database."""
        return Author(f"api:{act.by.name}", self.clock, act.reason, act.by.user_id)

    async def sources(self) -> "Read":
        """What the configuration's files, environment and flags say now, as a reload would take them.

        Raises:
            ConfigError: They have faults.
            UnavailableError: The supervisor does not answer.
        """
        answer = await self.reload(dry_run=True)
        if not answer["ok"]:
            raise ConfigError(answer["reason"], tuple(answer["faults"]))
        return Read(tuple(Path(path) for path in answer["files"]), answer["origins"], answer["changes"])

    async def change(
        self,
        act: "Act",
        work: Callable[[], Awaitable[dict[str, Any]]],
        *,
        matched: int = 0,
    ) -> tuple[dict[str, Any], int]:
        """Record, do, record what came of it; returns the result and the number of the audit row.

        Args:
            act: What is asked for.
            work: Does it; of its result the audit log keeps `changed`, a count, and `facts`, no secrets.
            matched: How much it concerns.

        Raises:
            UnavailableError: The audit log cannot be written, so nothing was done; or the work failed so.
        """
        await self._make_room()
        recorded = noting(
            self.engine, self._author(act), act.action, act.target, act.tenant, matched=matched, **act.details
        )
        number = changed = 0
        try:
            async with recorded as noted:
                number, noted.facts["changed"] = noted.number, 0
                try:
                    result = await work()
                except OutriderError as error:
                    changed = noted.facts["changed"] = _changed_before(error)
                    raise
                finally:
                    await self._make_room()  # for the row about what came of it
                changed = noted.facts["changed"] = int(result.get("changed", 0))
                noted.facts |= result.get("facts", {})
        except OutriderError as error:
            if number:  # else nobody was let begin
                await self.tell(act, error.message, matched=matched, changed=changed, audit=number)
            raise
        await self.tell(act, "done", matched=matched, changed=changed, audit=number)
        return result, number

    async def store(self, act: "Act", work: Callable[[Author], Awaitable[Result]]) -> Result:
        """Have the control database changed, which writes the audit row itself; then the event.

        Raises:
            StoreError: What is asked cannot be; nothing was changed.
            UnavailableError: The database does not answer; nothing was changed.
        """
        await self._make_room()
        result = await work(self._author(act))
        await self.tell(act, "done", changed=1)
        return result

    async def signalled(self, action: str, subject: str, **facts: Any) -> None:
        """Record what a signal had done: the kernel lets the server's own user and root send it.

        It is done by now and stays so where the database does not answer (decision 0029).
        """
        try:
            await note(self.engine, Author("signal", self.clock), action, subject, **facts)
        except OutriderError as error:
            self.log.error("control.audit_not_written", action=action, error=error.message)

    async def tell(
        self, act: "Act", result: str, *, matched: int = 0, changed: int = 0, audit: int = 0
    ) -> None:
        """Have the event written; the audit log, which has it already, is what counts."""
        try:
            await self.ask(
                "record.admin",
                actor=act.by.name,
                action=act.action,
                target=act.target,
                reason=act.reason,
                result=result,
                matched=matched,
                changed=changed,
                audit=audit,
            )
        except UnavailableError as error:
            self.log.error("control.event_not_written", action=act.action, audit=audit, error=error.message)


def _changed_before(error: OutriderError) -> int:
    """How much a change had changed when it failed; from now on the error says so too."""
    changed = error.changed if isinstance(error, UnfinishedError) else int(error.fields.get("changed", 0))
    told = f"{changed} were changed before" if changed else ""
    if isinstance(error, UnfinishedError):
        told = f"{told}, perhaps more" if changed else "it is not known whether anything was changed"
    if told:
        error.message = f"{error.message}; {told}: look before you ask again"
    return changed


@dataclass(frozen=True, slots=True)
class Read:
    """What was read again and compared with what runs.

    Attributes:
        files: Files of the configuration, the main one first.
        origins: Where each value comes from that is not a default, by its name.
        changes: What differs from what runs, as `Change.told`.
    """

    files: tuple[Path, ...]
    origins: dict[str, str]
    changes: list[dict[str, Any]]


class Caller(NamedTuple):
    """Who is at the other end of the socket, as the kernel says: a user's name now, and its id."""

    name: str
    user_id: int


@dataclass(frozen=True, slots=True)
class Act:
    """A change that somebody asks for.

    Attributes:
        by: Who.
        action: Words joined by dots.
        target: What it concerns.
        reason: Why.
        tenant: Whose, where it is somebody's.
        details: Facts for the audit log; no secrets.
    """

    by: Caller
    action: str
    target: str
    reason: str
    tenant: str
    details: dict[str, Any]


async def upgrade_store(hub: Hub) -> None:
    """Bring the control database to this program's revision, as soon as it answers.

    Everything that changes nothing works meanwhile; changes are refused until their audit rows can be
    written. So it is with a database that a newer program made, until another one is in its place.
    """
    while True:
        try:
            await upgrade(hub.database, Author("server", hub.clock))
        except UnavailableError as error:
            hub.log.warning("store.unavailable", error=error.message)
        except StoreError as error:
            if hub.unfit is None:
                hub.log.error("store.newer", error=error.message)
            hub.unfit = error
        else:
            hub.unfit = None
            return
        await asyncio.sleep(UPGRADE_AGAIN_SECONDS)


def act(by: Caller, action: str, target: str, reason: str, tenant: str = "", **details: Any) -> Act:
    """See `Act`."""
    return Act(by, action, target, reason, tenant, details)


def with_reason(reason: str, what: str) -> str:
    """`reason`, which must be one.

    Raises:
        ReasonMissingError: It is empty.
    """
    if not reason:
        raise ReasonMissingError(f"{what} needs a reason: say why, for whoever reads the audit log later")
    return reason


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


def _caller(request: Request) -> Caller:
    peer: Peer = request.state.peer
    try:
        return Caller(pwd.getpwuid(peer.user).pw_name, peer.user)
    except KeyError:
        return Caller(f"uid-{peer.user}", peer.user)


WithHub = Annotated[Hub, Depends(_hub)]
Actor = Annotated[Caller, Depends(_caller)]

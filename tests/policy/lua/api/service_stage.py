"""The services of the API for a script, without a server: real numbers, a real SQLite, a clock by hand."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.model.address import Address
from outrider.model.hooks import SESSION_PHASES, WAY_OUT_PHASES, HookPhase
from outrider.net.answers import Answer, Kind, Status
from outrider.policy.attempt import Attempt
from outrider.policy.audit import Audit, Monitor
from outrider.policy.bindings import Bindings
from outrider.policy.connection import Connection
from outrider.policy.declare import HOOKS
from outrider.policy.lua.api.coverage import LOAD
from outrider.policy.lua.api.host import Host
from outrider.policy.lua.api.packages import make_registry
from outrider.policy.lua.conversation import Conversation
from outrider.policy.lua.convert import LuaFunction
from outrider.policy.lua.limits import LuaLimits
from outrider.policy.lua.loader import LuaScripts
from outrider.policy.lua.messages import Msg, mail_behind
from outrider.policy.lua.script import NoHook
from outrider.policy.mail import Mail
from outrider.policy.shared import create_cells
from outrider.server.bounces import TableBounces
from outrider.store.sources.measures import NoMetrics, SourceMeasures
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.source import Source
from outrider.store.sources.sqlite import open_sqlite
from tests.policy.acting import BINDINGS, PLAIN, SMTP, submission
from tests.policy.leaving import UNKNOWN, ended_of

MODULES = (
    "msys.core",
    "msys.db",
    "msys.datasource",
    "msys.audit_series",
    "msys.audit",
    "msys.cidr",
    "msys.gauge_cache",
    "msys.counter",
    "msys.pcre",
    "msys.base64",
    "msys.qp",
    "msys.idn",
    "msys.dumper",
    "msys.getopt",
    "msys.http.client",
    "msys.httpclnt",
    "msys.timer",
    "msys.threadpool",
    "msys.os",
    "msys.ts.chunk_logger",
    "msys.bounce",
    "msys.rfc3464",
    "msys.av",
    "msys.validate.opendkim",
    "msys.validate.dkim",
    "msys.validate.dk",
    "msys.sign.dk",
    "msys.adaptive",
    "msys.message_scope",
    "msys.policyeditor",
    "msys.extended.httpsrv",
    "msys.delivery",
    "msys.apn",
    "msys.gcm",
    "msys.mstore",
    "msys.smpp",
    "msys.mcmt.collector",
    "msys.aggregator.mblox",
    "msys.beta.rcptto_proxy",
    "msys.mms",
)
LOCALS = ("json", "xml", "curl", "thread")


class Names:
    """DNS of a test: TXT records by name."""

    def __init__(self, texts: dict[str, str] | None = None) -> None:
        self.texts = texts or {}
        self.asked: list[str] = []

    async def lookup(self, name: str, kind: Kind) -> Answer:
        self.asked.append(name)
        await asyncio.sleep(0)
        if name not in self.texts:
            return Answer(Status.NO_NAME, 60.0)
        return Answer(Status.FOUND, 60.0, texts=(self.texts[name],))


class Outbox:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, str, tuple[str, ...]]] = []

    async def send(self, content: bytes, mail_from: str, recipients: tuple[str, ...]) -> str:
        await asyncio.sleep(0)
        self.sent.append((content, mail_from, recipients))
        return "id"


QUERIES = (
    {
        "name": "customer",
        "text": "SELECT id, name FROM customer WHERE name = ? AND id < ?",
        "parameters": ("who", "below"),
    },
    {"name": "rename", "text": "UPDATE customer SET name = ? WHERE id = 1", "parameters": ("who",)},
)
"""Of the data source `crm`, by name."""


class ServiceStage:
    """One set of scripts whose body can be called in any phase, with a message."""

    def __init__(
        self, folder: Path, body: str, *, top: str = "", init: str = "", plain: bytes = PLAIN, **host: Any
    ) -> None:
        self.clock = FakeClock()
        self.log = ListLog()
        self.keys: list[str] = []
        self.names = Names()
        self.outbox = Outbox()
        self.work: list[Coroutine[Any, Any, Any]] = []
        self.functions: list[LuaFunction] = []
        self.connection = Connection(SMTP)
        self.connection.sender = Address("shop", "sender.test")
        self.connection.recipient = Address("joe", "one.test")
        self.mail = Mail(submission(plain=plain), self.connection, Bindings(BINDINGS))
        self.conversation: Conversation | None = None
        self.now: Conversation | NoHook = NoHook()
        cells = host.setdefault("shared", create_cells(None, 4096))
        monitors = (Monitor(60, 3), Monitor(10, 1))
        self.audit = Audit(monitors, frozenset({"smtp"}), 2, lambda: cells, self.clock.wall, self.log)
        defaults: dict[str, Any] = {
            "audit": self.audit,
            "clock": self.clock,
            "log": self.log,
            "current": lambda: self.now,
            "mail_of": mail_behind,
            "source": self.source,
            "keep_key": self.keep,
            "run": self.run,
            "spawn": self.work.append,
            "resolver": self.names,
            "bounces": TableBounces(),
            "outbox": self.outbox,
            "folder": folder,
            "hostname": "out.sender.test",
        }
        self.host = Host(**defaults | host)
        self.folder = folder
        self._source: Source | None = None
        registry, self.services = make_registry(self.host)
        registry.register("stage", {"keep": self.functions.append, "happen": self.happen})
        (folder / "script.lua").write_text(_script(body, top, init))
        limits = LuaLimits(seconds=5.0)
        self.scripts = LuaScripts.load(
            [folder / "script.lua"], registry, limits, self.log, clock=self.clock.now, folders=[folder]
        )
        self.session = self.scripts.session()
        self.conversation = Conversation(self.connection, self.session, lambda _session, _faults: None)

    def another(self, connection: Connection) -> None:
        """Another session begins, and is the one that is called from now on."""
        self.connection = connection
        self.session = self.scripts.session()
        self.conversation = Conversation(connection, self.session, lambda _session, _faults: None)

    def happen(self, client: bytes) -> None:
        """A client had two connections, of which one is open, three messages taken and four refusals."""
        origin = replace(SMTP, client=client.decode())
        for _ in range(2):
            self.audit.connected(origin.client)
        self.audit.left(origin.client)
        for _ in range(3):
            self.audit.received(origin)
        for _ in range(4):
            self.audit.refused(origin)

    def run(self, function: LuaFunction, *values: Any) -> Any:
        self.now = NoHook()
        return self.scripts.run(function, *values)

    def keep(self, text: str) -> str:
        self.keys.append(text)
        return f"text:{len(self.keys)}"

    def source(self, name: str) -> Source:
        """The data source `crm`: customers in SQLite."""
        assert name == "crm"
        if self._source is None:
            path = self.folder / "crm.db"
            path.touch()
            options = DataSourceOptions.model_validate(
                {"name": "crm", "url": f"sqlite:///{path}", "writable": True, "query": QUERIES}
            )
            measures = SourceMeasures(NoMetrics(), "crm")
            backend = open_sqlite(options, self.clock)
            self._source = Source(options, backend, self.clock, self.log, measures)
        return self._source

    async def call(self, phase: str = HookPhase.DATA, *values: Any) -> Any:
        """What the body gives in a phase; a wait is waited for."""
        if phase == LOAD:
            return await self._settled(self.run(self.functions[0], None, *values))
        hook = self.scripts.hooks(HOOKS[HookPhase(phase)].lua)[0]
        return await self._settled(self.session.call(hook, [self.enter(HookPhase(phase)), *values]))

    def enter(self, phase: HookPhase) -> Msg | None:
        """A phase begins; its `msg`, where it has one."""
        assert self.conversation is not None
        arguments: dict[HookPhase, tuple[Any, ...]] = {
            HookPhase.AUTH: (self.connection, "ann", True),
            HookPhase.RCPTTO_LIST: (self.connection, ("joe@one.test",)),
        }
        if phase in SESSION_PHASES:
            self.conversation.enter(phase, arguments.get(phase, (self.connection, "x")))
        elif phase in WAY_OUT_PHASES:
            ended = ended_of(UNKNOWN, kind="bounced" if phase is HookPhase.DISPOSAL else "")
            attempt = Attempt(phase, ended.stored, 0, ended.path, 1, self.connection.message).after(ended)
            self.mail.enter(phase)
            is_before = phase is HookPhase.OUTBOUND
            self.conversation.enter(phase, (self.mail, attempt) if is_before else (attempt,))
        else:
            self.mail.enter(phase)
            self.conversation.enter(phase, (self.mail,))
        self.now = self.conversation
        return self.conversation.msg

    @staticmethod
    async def _settled(result: Any) -> Any:
        return await result if inspect.isawaitable(result) else result

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [fields for _, name, fields in self.log.lines if name == event]

    async def close(self) -> None:
        self.host.shared.close()
        if self._source is not None:
            await self._source.close()


def _script(body: str, top: str, init: str) -> str:
    hooks = "\n".join(f"function mod:{HOOKS[phase].lua}(...) return body(...) end" for phase in HookPhase)
    required = "\n".join(f'require("{name}")' for name in MODULES)
    local = "\n".join(f'local {name} = require("{name}")' for name in LOCALS)
    return (
        f'{required}\n{local}\nlocal dkim_h = require("opendkim.dkim")\nlocal mod = {{}}\n{top}\n'
        f"local function body(msg, ...)\n{body}\nend\nstage.keep(body)\n{hooks}\n"
        f"function mod:init()\n{init}\nreturn true\nend\n"
        'msys.registerModule("script", mod)\n'
    )


Make = Callable[..., ServiceStage]

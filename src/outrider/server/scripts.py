"""Scripts of a worker: loading them, what is told of them, and what holds where they cannot be loaded.

In: the policy's options. Out: a `PolicyDoor` for listeners and intake.

Theory: a server does not start, and a reload changes nothing, with a script that cannot be loaded. A worker
that is started again later may find one all the same, because files change; it then takes nothing that is new
and goes on sending, and a reload mends it.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from outrider.base.clock import Clock, SystemClock
from outrider.base.errors import ConfigError, StoreError
from outrider.base.log import Log, NullLog
from outrider.model.address import Address
from outrider.model.ends import Ends
from outrider.model.flow import Origin, Recipient, Refusal, Submission
from outrider.model.hooks import HookPhase
from outrider.model.ports import PolicyDoor, WayOutPolicy
from outrider.model.reply import Reply
from outrider.net.answers import Lookup
from outrider.policy import python
from outrider.policy.audit import Audit
from outrider.policy.bindings import Bindings
from outrider.policy.budget import CpuBudget
from outrider.policy.errors import HookError
from outrider.policy.lua.api.host import Outbox
from outrider.policy.options import PolicyOptions
from outrider.policy.script import Script
from outrider.policy.scripted import Scripts
from outrider.policy.shared import attach_cells, create_cells
from outrider.policy.signing import ConfiguredSigning
from outrider.policy.surroundings import HERE
from outrider.privacy.key_keeper import KeyKeeper
from outrider.record.metrics import Metrics
from outrider.server.checks import asks_for_checks, checks_of
from outrider.server.lookups import configured_lookups
from outrider.server.lua_scripts import LuaSurroundings, audit_of
from outrider.server.resolvers import new_resolver
from outrider.server.settings import Settings
from outrider.server.signing import signing_table
from outrider.store.sources.sources import Sources
from outrider.wire.smtp import replies


class Teller:
    """`policy.asking.Told`: metrics of calls; log, event and metric of failures; an alert when they repeat.

    Args:
        metrics: Of this process.
        notice: Writes an event of the server itself.
        clock: Time.
        log: Server log.
        options: What is an alert.
    """

    def __init__(
        self,
        metrics: Metrics,
        notice: Callable[..., None],
        clock: Clock,
        log: Log,
        options: PolicyOptions,
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._notice = notice
        self._clock = clock
        self._log = log
        self._calls = {phase: metrics.cell("outrider_policy_hooks_total", phase) for phase in HookPhase}
        self._failures: dict[str, deque[float]] = {}
        self._alerted_at: dict[str, float] = {}

    def asked(self, phase: HookPhase) -> None:
        self._calls[phase].value += 1

    def failed(self, error: HookError) -> None:
        self._metrics.cell("outrider_policy_failures_total", error.script, type(error).__name__).value += 1
        facts = {
            "script": error.script,
            "line": error.line,
            "phase": str(error.phase),
            "reason": type(error).__name__,
        }
        self._log.error("policy.failed", **facts, error=error.reason)
        self._notice("policy.failed", **facts)
        self._alert(error.script)

    def broken(self, error: ConfigError) -> None:
        """The scripts cannot be loaded, and the worker has no others."""
        self._log.error("policy.not_loaded", error=error.message)
        self._notice("policy.not_loaded", faults=len(error.faults))

    def _alert(self, script: str) -> None:
        options = self._options
        now = self._clock.now()
        times = self._failures.setdefault(script, deque(maxlen=options.alert_failures))
        times.append(now)
        is_many = len(times) == options.alert_failures and now - times[0] <= options.alert_seconds
        if is_many and now - self._alerted_at.get(script, -options.alert_seconds) >= options.alert_seconds:
            self._alerted_at[script] = now
            facts = {"script": script, "failures": len(times), "seconds": round(now - times[0], 1)}
            self._log.error("policy.alert", **facts)
            self._notice("policy.alert", **facts)


def load_all(
    settings: Settings, budget: CpuBudget, lua: LuaSurroundings, resolver: Lookup | None = None
) -> list[Script]:
    """Load every script of a configuration.

    Args:
        settings: The configuration.
        budget: Of those in Python.
        lua: What those in Lua have.
        resolver: DNS for those in Lua; None where there is none for them.

    Raises:
        ConfigError: One or more cannot be loaded; each fault with file and line.
    """
    faults: list[str] = []
    scripts: list[Script] = []
    in_lua: Mapping[str, Script] = {}
    try:
        in_lua = lua.load(settings, resolver)
    except (HookError, StoreError) as error:
        faults.append(error.message)
    for each in settings.policy.script:
        try:
            if each.source.suffix == ".lua":
                scripts += [in_lua[each.name]] if each.name in in_lua else []
            else:
                scripts.append(python.load(each.name, each.source, budget))
        except HookError as error:
            faults.append(error.message)
    if faults:
        for script in scripts:
            script.close()
        raise ConfigError("the policy cannot be loaded: " + "; ".join(faults), tuple(faults))
    return scripts


def check_scripts(settings: Settings) -> None:
    """Load the scripts of a configuration and throw them away.

    Raises:
        ConfigError: As `load_all`.
    """
    budget = CpuBudget(settings.policy.hook_seconds)
    HERE.take_cells(create_cells)
    try:
        for script in load_all(settings, budget, LuaSurroundings(SystemClock(), NullLog(), budget)):
            script.close()
    finally:
        HERE.take_cells(None)


class WorkerScripts:
    """The scripts of a worker, and the processor time that they may use.

    Args:
        settings: With which the worker starts.
        teller: Makes who hears of calls and failures.
        sources: Data sources that scripts may ask.
        keys: Where they may keep signing keys.
        clock: Time.
        log: Server log.
        bindings: Makes what chooses bindings.
        outbox: Sends new messages of scripts.
        column: Number of this worker, from 0.

    Attributes:
        scripts: Those of the start; later those that were taken.
        audit: Counts for them by network, or None where no monitor is configured.
    """

    def __init__(
        self,
        settings: Settings,
        teller: Callable[[PolicyOptions], Teller],
        sources: Sources,
        keys: KeyKeeper,
        clock: Clock,
        log: Log,
        bindings: Callable[[Settings], Bindings],
        outbox: Outbox,
        column: int = 0,
    ) -> None:
        self._column = column
        self._has_begun = False
        self.audit: Audit | None = None
        self._bindings = bindings
        self._teller = teller
        self._clock = clock
        self._log = log
        self._sources = sources
        self._budget = CpuBudget(settings.policy.hook_seconds)
        self._lua = LuaSurroundings(clock, log, self._budget, outbox)
        HERE.sources, HERE.keys, HERE.wall = sources, keys, clock.wall
        HERE.take_cells(partial(attach_cells, settings.shared_numbers_file))
        HERE.take_shared(settings.server.sockets_directory)
        self._untaken: Scripts | None = None
        self.scripts: PolicyDoor | None
        try:
            self.scripts = self.build(settings)
        except ConfigError as error:
            teller(settings.policy).broken(error)
            self.scripts = Broken()

    def build(self, settings: Settings) -> PolicyDoor | None:
        """What asks the scripts of a configuration; None where there are none and no mail is checked.

        What was built before and not taken, because another part of a reload had a fault, ends.

        Raises:
            ConfigError: As `load_all`, or there are no nameservers.
        """
        untaken, self._untaken = self._untaken, None
        if untaken is not None:
            untaken.close()
        resolver = new_resolver(settings.net, self._clock, self._log, tells_names=False)
        scripts = [
            *configured_lookups(settings, self._clock),
            *load_all(settings, self._budget, self._lua, resolver),
        ]
        if not scripts and not asks_for_checks(settings):
            return None
        self._untaken = Scripts(
            scripts,
            self._teller(settings.policy),
            wait_seconds=settings.policy.wait_seconds,
            bindings=self._bindings(settings),
            signing=configured_signing(settings, self._clock),
            notes=listener_notes(settings),
            checks=checks_of(settings, self._clock, resolver),
            addresses=listener_addresses(settings),
            audit=self._audit_of(settings),
        )
        return self._untaken

    def _audit_of(self, settings: Settings) -> Audit | None:
        audit = audit_of(settings, self._clock, self._log, self._column)
        if audit is not None and not self._has_begun:
            audit.begin()
            self._has_begun = True
        return audit

    def take(self, scripts: PolicyDoor | None) -> None:
        """These are asked from now on; the processor's clock ticks only where there are some.

        Those that were asked before end with their last session.
        """
        before, self.scripts = self.scripts, scripts
        self.audit = scripts.audit if isinstance(scripts, Scripts) else None
        self._untaken = None
        if isinstance(before, Scripts) and before is not scripts:
            before.close()
        self._lua.begin()
        if scripts is None:
            self._budget.stop()
        else:
            self._budget.start()

    def prepare_sources(self, settings: Settings) -> Callable[[], Awaitable[list[str]]]:
        """What takes over the data sources of a configuration. Raises ConfigError; nothing changed then."""
        return self._sources.prepare(settings.data_source)

    async def close(self) -> None:
        """Nothing is asked any more."""
        if isinstance(self.scripts, Scripts):
            self.scripts.close()
        self.scripts = None
        HERE.take_cells(None)
        HERE.take_shared(None)
        await self._sources.close()

    def reshape(self, options: PolicyOptions) -> None:
        """Another budget of processor time."""
        self._budget.reshape(options.hook_seconds)


class Broken:
    """`PolicyDoor` and session where scripts cannot be loaded: nothing is taken, nothing is lost.

    What was taken before goes out unasked: which hooks of the way out there would be is not known.
    """

    way_out: WayOutPolicy | None = None

    def open(self, origin: Origin, ends: Ends | None = None) -> "Broken":  # noqa: ARG002 - the port's shape
        return self

    def connect(self, origin: Origin) -> Reply:  # noqa: ARG002 - the port's shape
        return replies.POLICY_FAILED

    def ehlo(self, origin: Origin, name: str) -> Reply:  # noqa: ARG002 - the port's shape
        return replies.POLICY_FAILED

    def auth(self, origin: Origin, user: str, *, is_valid: bool) -> Reply:  # noqa: ARG002 - the port's shape
        return replies.POLICY_FAILED

    def mail_from(self, origin: Origin, sender: Address | None) -> Reply:  # noqa: ARG002 - the port's shape
        return replies.POLICY_FAILED

    def rcpt_to(self, origin: Origin, recipient: Recipient) -> Reply:  # noqa: ARG002 - the port's shape
        return replies.POLICY_FAILED

    def rcpt_list(self, origin: Origin, recipients: Sequence[Recipient]) -> Reply:  # noqa: ARG002 - the port's shape
        return replies.POLICY_FAILED

    def decide(self, submission: Submission) -> Refusal:  # noqa: ARG002 - the port's shape
        return Refusal(replies.POLICY_FAILED, "the policy cannot be loaded")

    def reset(self) -> None:
        """There is nothing to forget."""

    def close(self) -> None:
        """There is nothing to close."""


def listener_notes(settings: Settings) -> dict[str, dict[str, str]]:
    """For each listener that has some the notes that its connections begin with."""
    smtp = {each.name: each.context for each in settings.listener if each.context}
    return smtp | {each.name: each.context for each in settings.http if each.context}


def listener_addresses(settings: Settings) -> dict[str, tuple[str, int]]:
    """Address and port of each listener in the configuration."""
    smtp = {each.name: (str(each.address), each.port) for each in settings.listener}
    return smtp | {each.name: (str(each.address), each.port) for each in settings.http}


def configured_signing(settings: Settings, clock: Clock) -> ConfiguredSigning | None:
    """What a configuration says of signatures; None where it says nothing."""
    return ConfiguredSigning(signing_table(settings, clock)) if settings.dkim else None

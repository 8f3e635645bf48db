"""The policy of a configuration, tried out in a process that is no server.

In: settings. Out: what becomes of messages, decision by decision.

Theory: scripts, bindings, signatures, checks and data sources are those of the configuration, as a worker
makes them; data sources and DNS are asked in earnest. Nothing is stored, sent or written: a key that a script
brings is looked at and thrown away.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.classify.verdict import classify
from outrider.model.flow import Submission
from outrider.model.reply import Reply
from outrider.policy.bindings import Bindings
from outrider.policy.budget import CpuBudget
from outrider.policy.checking import Checks
from outrider.policy.rehearsal import Rehearsal, Surroundings, rehearse
from outrider.policy.script import Script
from outrider.policy.script_lines import ScriptLines
from outrider.policy.shared import create_cells
from outrider.policy.surroundings import HERE
from outrider.privacy.signing_keys import parse_private_key
from outrider.server.checks import checks_of
from outrider.server.lookups import configured_lookups
from outrider.server.lua_scripts import LuaSurroundings
from outrider.server.resolvers import new_resolver
from outrider.server.scripts import configured_signing, listener_addresses, listener_notes, load_all
from outrider.server.settings import Settings
from outrider.store.sources.sources import Sources


class LookedAtKeys:
    """`policy.surroundings.SigningKeys` that keeps none."""

    def keep(self, text: str) -> str:
        parse_private_key(text, "the text of a signing key")
        return f"text:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def unwritten(self, names: Iterable[str]) -> None:
        """Nothing is written."""


class Stage:
    """See the module. Made by `staged`.

    Attributes:
        scripts: In the order in which they are asked.
        around: What their hooks meet besides a message.
    """

    def __init__(
        self, settings: Settings, clock: Clock, scripts: Sequence[Script], checks: Checks, budget: CpuBudget
    ) -> None:
        self.scripts = tuple(scripts)
        self._budget = budget
        files = [each.source for each in settings.policy.script if each.source.suffix == ".py"]
        self._lines = ScriptLines([Path(file) for file in files], scripts)
        self.around = Surroundings(
            Bindings(settings.binding_names, settings.binding_group, settings.policy.default_binding),
            clock.now,
            settings.policy.wait_seconds,
            configured_signing(settings, clock),
            listener_notes(settings),
            checks,
            listener_addresses(settings),
            self._lines,
            classify,
        )

    async def play(
        self,
        submission: Submission,
        notes: Mapping[str, str] | None = None,
        reply: Reply | None = None,
        *,
        with_lines: bool = True,
    ) -> Rehearsal:
        """What becomes of a message, and of a host's reply to it.

        `notes` go before those that its listener gives.
        """
        with self._lines.watching() if with_lines else nullcontext():
            return await rehearse(self.scripts, submission, self.around, notes, reply)

    @property
    def is_stuck(self) -> bool:
        """A hook caught every end that it was given: it would keep the process from ending, too."""
        return bool(self._budget.abandoned)


@asynccontextmanager
async def staged(
    settings: Settings, clock: Clock, log: Log, environment: Mapping[str, str]
) -> AsyncIterator[Stage]:
    """The policy of a configuration for as long as this lasts.

    Raises:
        ConfigError: Scripts cannot be loaded, signing keys cannot be read, or no nameservers are known.
    """
    budget = CpuBudget(settings.policy.hook_seconds)
    resolver = new_resolver(settings.net, clock, log, tells_names=False)
    sources = Sources(settings.data_source, clock, log, environment)
    before = HERE.sources, HERE.keys
    HERE.sources, HERE.keys = sources, LookedAtKeys()
    HERE.take_cells(create_cells)
    try:
        loaded = load_all(settings, budget, LuaSurroundings(clock, log, budget), resolver)
        scripts = [*configured_lookups(settings, clock), *loaded]
        budget.start()
        try:
            yield Stage(settings, clock, scripts, checks_of(settings, clock, resolver), budget)
        finally:
            budget.stop()
            for script in scripts:
                script.close()
    finally:
        HERE.sources, HERE.keys = before
        HERE.take_cells(None)
        await sources.close()

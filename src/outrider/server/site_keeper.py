"""The last site of each queued domain, kept over a start, and found out where it is not known.

In: the dispatcher's `SiteTable` and the domains that have mail. Out: a file in the state directory, and
questions to the resolver, some each second.

Theory: mail is never sent by a last site, only chosen and shown by it, so the file is a cache: it is replaced
as a whole, and one that is damaged counts as none. It names what decided about the sites;
when that is another one now, every site in it is in doubt and is looked up again. Sites that nobody has asked
for come in the same way, as in a queue of an earlier program.

Invariant: a site that is taken from the file was one of its domain.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path

import msgspec

from outrider.base.files import Files, write_atomic
from outrider.base.log import Log
from outrider.schedule.sites import SiteTable
from outrider.server.settings import Settings

STEP_SECONDS = 1.0
# chosen: between two looks at what is not known
LOOK_UPS = 20
# chosen: in each; what is due is looked up beside, and mail of a thousand domains is known within a minute
KEEP_STEPS = 30
# chosen: what was learned since is looked up again after a crash; and all is known unless something changed


class _Written(msgspec.Struct, array_like=True):
    basis: bytes
    digest: bytes
    sites: bytes


class SiteKeeper:
    """See the module.

    Args:
        files: The file primitive.
        path: The file.
        sites: What is known.
        queued: The domains that have mail now.
        ask: Has the route of a domain looked up.
        log: Told when the file cannot be written.
        settings: Those of now; what an earlier dispatcher knew is recalled at once.
    """

    def __init__(
        self,
        files: Files,
        path: Path,
        sites: SiteTable,
        queued: Callable[[], AbstractSet[str]],
        ask: Callable[[str], None],
        log: Log,
        settings: Settings,
    ) -> None:
        self._files = files
        self._path = path
        self._sites = sites
        self._queued = queued
        self._ask = ask
        self._log = log
        self._basis = basis_of(settings)
        self._kept_changes = -1
        self._unsure: Iterator[str] = iter(())
        self._rests = False
        self._recall()

    def _recall(self) -> None:
        try:
            written = msgspec.msgpack.decode(self._path.read_bytes(), type=_Written)
            if _digest(written.sites) != written.digest:
                return
            known = msgspec.msgpack.decode(written.sites, type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return
        self._sites.recall(known, is_doubted=written.basis != self._basis)

    def reshape(self, settings: Settings) -> None:
        """Other settings from now on, which the table of sites knows already."""
        self._basis = basis_of(settings)
        self._kept_changes = -1
        self._unsure = iter(())
        self._rests = False

    async def run(self) -> None:
        """Look up and keep until cancelled."""
        steps = 0
        while True:
            await asyncio.sleep(STEP_SECONDS)
            steps += 1
            if steps % KEEP_STEPS == 0:
                self._rests = False
                await self.keep()
            if not self._rests:
                self.look_up()

    def look_up(self) -> None:
        """Ask for some queued domains whose site is not known, or in doubt."""
        some = list(islice(self._unsure, LOOK_UPS))
        if not some:
            is_unsure = self._sites.is_unsure
            self._unsure = iter([domain for domain in self._queued() if is_unsure(domain)])
            some = list(islice(self._unsure, LOOK_UPS))
        self._rests = not some
        for domain in some:
            self._ask(domain)

    async def keep(self) -> None:
        """Write the file where something has changed; a failure is told and tried again."""
        changes, basis = self._sites.changes, self._basis
        if changes == self._kept_changes:
            return
        known = self._sites.last_sites(self._queued())
        try:
            await asyncio.to_thread(self._write, basis, known)
        except OSError as error:
            self._log.error("sites.not_kept", error=error.strerror)
        else:
            self._kept_changes = changes

    def _write(self, basis: bytes, known: dict[str, str]) -> None:
        sites = msgspec.msgpack.encode(known)
        octets = msgspec.msgpack.encode(_Written(basis, _digest(sites), sites))
        write_atomic(self._files, str(self._path), octets)


def basis_of(settings: Settings) -> bytes:
    """A digest of what decides about the site of a domain, beside the DNS."""
    parts = [settings.net.model_dump_json()]
    parts += [provider.model_dump_json() for provider in settings.shaping.provider]
    return _digest("\n".join(parts).encode())


def _digest(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()

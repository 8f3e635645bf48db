"""Data sources: each can be asked, and nobody else changes or overhears what policy is told.

Each source is opened apart from the others and from the running server, probed once, and closed. Queries of
SQL that only read are asked with NULL for each parameter, so that a table or a column that is not there is
found before mail asks.
"""

import asyncio
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.base.log import NullLog
from outrider.server.doctor.finding import Finding, fault, good, warning
from outrider.server.settings import Settings
from outrider.store.sources.failures import SourceError, SourceParameterError, SourceQueryError
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.source import Source
from outrider.store.sources.sources import Sources

WRITERS = stat.S_IWGRP | stat.S_IWOTH
_SQL = frozenset({"sqlite", "csv", "postgresql", "mysql"})


async def check_sources(
    settings: Settings, environment: Mapping[str, str], make_clock: Callable[[], Clock]
) -> list[Finding]:
    """Every source that is configured, all at once."""
    clock = make_clock()
    found = await asyncio.gather(*(_check(each, environment, clock) for each in settings.data_source))
    return [finding for findings in found for finding in findings]


async def _check(options: DataSourceOptions, environment: Mapping[str, str], clock: Clock) -> list[Finding]:
    check = f"source.{options.name}"
    return [*await _reachable(check, options, environment, clock), *_exposure(check, options)]


async def _reachable(
    check: str, options: DataSourceOptions, environment: Mapping[str, str], clock: Clock
) -> list[Finding]:
    begun_at = clock.now()
    try:
        sources = Sources([options], clock, NullLog(), environment)
    except ConfigError as error:
        mend = "the server does not start with it: mend the file or the option"
        return [fault(check, error.message, mend)]
    source = sources.find(options.name)
    try:
        await source.probe()
        took = (clock.now() - begun_at) * 1_000
        found = await _refused(check, source)
    except SourceError as error:
        what = f"{error.message}; what policy asks of it fails"
        return [fault(check, what, f"outrider source test {options.name} tries again")]
    finally:
        await sources.close()
    return [
        good(check, f"{options.address.kind}, can be asked; the first answer took {took:.1f} ms"),
        *found,
    ]


async def _refused(check: str, source: Source) -> list[Finding]:
    """The queries that it refuses. Raises SourceDownError."""
    options = source.options
    found = []
    for query in options.query if options.address.kind in _SQL and not options.writable else ():
        try:
            await source.fetch(query.text, (None,) * len(query.parameters), use_cache=False)
        except SourceParameterError:
            continue
        except SourceQueryError as error:
            again = f"outrider source test {source.name} --query {query.name}"
            mend = f"mend its text, or the table; {again} asks once more"
            found.append(fault(check, f"the query {query.name} is refused: {error.message}", mend))
    return found


def _exposure(check: str, options: DataSourceOptions) -> list[Finding]:
    address = options.address
    if address.kind in {"sqlite", "csv"}:
        path = Path(address.path)
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:  # it is not there, or its folder is closed to us: so it cannot be asked
            mode = 0
        if mode & WRITERS:
            what = f"{path} may be written by others (mode {mode:04o}), who decide with it how mail goes out"
            return [warning(check, what, f"chmod go-w {path}")]
        return []
    if address.is_local or options.tls or address.is_https:
        return []
    mend = "write https" if address.kind == "http" else "set tls for it, and ca_file where it needs one"
    return [warning(check, f"what is said to {address.host} can be read and changed on the way", mend)]

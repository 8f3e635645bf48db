"""What a look-up in a data source costs that is answered from the cache, in µs of processor time per look-up.

`peek` is what a script does: find the source by its name, ask it with one parameter, read a column. `fetch`
is the same by `await`. `configured` is a whole `[[policy.lookup]]` table in set_binding: read a header of the
message, ask, assign the binding. `unknown` is the same for a customer that has no row. Keys are taken in turn
from as many as a small shop has, so that the cache works as it does for mail. Each figure is the least of
some repeats.

Measured on two cores that others used too, in µs: peek 0.6, fetch 1.1, configured 9.3 (of which 1.5 make the
message that is asked about), unknown 7.3; asked of each is 30.

Usage: micro_lookup.py [--repeats N] [--calls N] [--json]
"""

import argparse
import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from outrider.base.clock import SystemClock
from outrider.base.ids import MessageId
from outrider.base.log import NullLog
from outrider.model.address import Address
from outrider.model.flow import Envelope, Origin, Recipient, Submission
from outrider.model.hooks import HookPhase
from outrider.policy.bindings import Bindings
from outrider.policy.connection import Connection
from outrider.policy.lookup import lookups_of
from outrider.policy.lookup_options import LookupOptions
from outrider.policy.mail import Mail
from outrider.policy.surroundings import HERE, source
from outrider.store.sources.options import DataSourceOptions
from outrider.store.sources.sources import Sources
from outrider.wire.smtp.content import stuff_plain

REPEATS = 7
CALLS = 20_000
CUSTOMERS = 1_000
QUERY = "SELECT binding FROM customer WHERE name = ?"
FIELDS = b"".join(b"X-Field-%d: some value that nobody asks for\r\n" % number for number in range(12))
LOOKUP = {
    "name": "customer",
    "source": "crm",
    "query": "customer",
    "parameters": {"name": "header:X-Customer"},
    "assign": {"binding": "binding"},
}


def _database(folder: Path) -> DataSourceOptions:
    database = sqlite3.connect(folder / "crm.db")
    with database:
        database.execute("CREATE TABLE customer (name TEXT, binding TEXT)")
        rows = [(f"customer{number}", "vip") for number in range(CUSTOMERS)]
        database.executemany("INSERT INTO customer VALUES (?, ?)", rows)
    database.close()
    query = {"name": "customer", "text": QUERY, "parameters": ["name"]}
    cache = {"seconds": 86_400, "negative_seconds": 86_400}
    url = f"sqlite:///{folder}/crm.db"
    return DataSourceOptions.model_validate({"name": "crm", "url": url, "query": [query], "cache": cache})


def _mail(customer: str) -> Mail:
    envelope = Envelope(Address("shop", "sender.test"), (Recipient(Address("joe", "one.test")),))
    origin = Origin("bench", "SMTP", "127.0.0.1", "bench.test", None, None)
    plain = b"From: shop@sender.test\r\n%sX-Customer: %s\r\n\r\nHello\r\n" % (FIELDS, customer.encode())
    submission = Submission(MessageId("0" * 18), 0.0, origin, envelope, stuff_plain(plain))
    mail = Mail(submission, Connection(origin), Bindings(("default", "vip")))
    mail.enter(HookPhase.SET_BINDING)
    return mail


def _least(run: Callable[[int], object], repeats: int, calls: int) -> float:
    least = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        for number in range(calls):
            run(number)
        least = min(least, time.process_time() - began)
    return least / calls * 1e6


async def _figures(folder: Path, repeats: int, calls: int) -> dict[str, float]:
    options = _database(folder)
    sources = HERE.sources = Sources([options], SystemClock(), NullLog(), {})
    names = [f"customer{number}" for number in range(CUSTOMERS)]
    for name in (*names, "nobody"):
        await source("crm").fetch(QUERY, (name,))
    [lookup] = lookups_of([LookupOptions.model_validate(LOOKUP)], [options])
    session = lookup.open(Connection(_mail("nobody").connection.origin))
    contents = [_mail(name)._submission for name in names[:100]]
    nobody = _mail("nobody")._submission
    bindings = Bindings(("default", "vip"))

    def peek(number: int) -> object:
        rows = source("crm").peek(QUERY, (names[number % CUSTOMERS],))
        if not rows:
            raise SystemExit("it was not remembered")
        return rows[0]["binding"]

    def fetch(number: int) -> object:
        asked = source("crm").fetch(QUERY, (names[number % CUSTOMERS],))
        try:
            asked.send(None)
        except StopIteration as stop:
            return stop.value[0]["binding"]
        raise SystemExit("it was not remembered")

    def configured(number: int) -> object:
        mail = Mail(contents[number % 100], connection, bindings)
        mail.enter(HookPhase.SET_BINDING)
        return session.call(HookPhase.SET_BINDING, mail)

    def unknown(_number: int) -> object:
        mail = Mail(nobody, connection, bindings)
        mail.enter(HookPhase.SET_BINDING)
        return session.call(HookPhase.SET_BINDING, mail)

    connection = Connection(nobody.origin)
    first = Mail(contents[0], connection, bindings)
    first.enter(HookPhase.SET_BINDING)
    session.call(HookPhase.SET_BINDING, first)
    if first.binding != "vip":
        raise SystemExit("the row did not decide")
    cases = {"peek": peek, "fetch": fetch, "configured": configured, "unknown": unknown}
    found = {name: round(_least(run, repeats, calls), 2) for name, run in cases.items()}
    await sources.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_figures(Path(folder), arguments.repeats, arguments.calls))
    if arguments.json:
        print(json.dumps(found))
        return
    for name, figure in found.items():
        print(f"{name:12} {figure:7.2f} µs")


if __name__ == "__main__":
    main()

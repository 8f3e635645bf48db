"""`outrider queue …`: look at the queue and act on a part of it chosen by a filter.

Acting commands count first and change nothing until `--yes` (or an answer at the terminal) says so. What
stops or removes mail asks for a reason, which is kept in the audit log.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from outrider.base.exits import Exit
from outrider.cli.asking import Yes, counted_first
from outrider.cli.declared import takes
from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    control,
    number,
    octets,
    print_json,
    print_table,
    say,
    until,
)

app = typer.Typer(
    no_args_is_help=True, help="Look at the queue; hold, release, retry, move or purge parts of it."
)

UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
# seconds; `m` is minutes, as in most tools of the field
STATES = ("held", "due", "deferred")
GROUPINGS = ("domain", "site", "path", "tenant", "stream", "binding", "reply", "hold")
ENTRIES_MAX = 1_000_000
# chosen: what `--limit` may ask for; it comes in pages


def parse_age(text: str) -> float:
    """Seconds of `90`, `90s`, `15m`, `2h` or `3d`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no time: write 90, 90s, 15m, 2h or 3d")
    return float(found[1]) * UNITS[found[2]]


def check_one_of(option: str, text: str, words: Sequence[str]) -> None:
    """Refuse what an option does not know.

    Raises:
        typer.BadParameter: `text` is none of `words`.
    """
    if text not in words:
        raise typer.BadParameter(f"{option} is one of {', '.join(words)}")


Domain = Annotated[str | None, typer.Option(help="Routing domain, exact or *.suffix.")]
Site = Annotated[str | None, typer.Option(help="Site that the domain goes to, exact or *.suffix.")]
PathName = Annotated[str | None, typer.Option("--path", help="Path: CHANNEL/BINDING/SITE, each may be *.")]
Tenant = Annotated[str | None, typer.Option(help="Tenant.")]
Stream = Annotated[str | None, typer.Option(help="Stream of the tenant.")]
Binding = Annotated[str | None, typer.Option(help="Binding.")]
MessageIds = Annotated[list[str] | None, typer.Option("--id", help="Message id; may be repeated.")]
OlderThan = Annotated[str | None, typer.Option(help="Received at least so long ago: 90, 15m, 2h, 3d.")]
NewerThan = Annotated[str | None, typer.Option(help="Received at most so long ago.")]
Attempts = Annotated[int | None, typer.Option(min=0, help="At least so many attempts made.")]
AttemptsMax = Annotated[int | None, typer.Option(min=0, help="At most so many attempts made.")]
State = Annotated[str | None, typer.Option(help=f"State: {', '.join(STATES)}.")]
OnlyHeld = Annotated[
    bool | None, typer.Option("--held/--not-held", help="Only entries on hold, or only free ones.")
]
ReplyText = Annotated[
    str | None, typer.Option("--reply", help="In the last reply, whatever its case; * stands for any text.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what would be changed.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit log, in events and with the entries.")]


def chosen_by(
    *,
    domain: Domain = None,
    site: Site = None,
    path: PathName = None,
    tenant: Tenant = None,
    stream: Stream = None,
    binding: Binding = None,
    ids: MessageIds = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    attempts: Attempts = None,
    attempts_max: AttemptsMax = None,
    state: State = None,
    held: OnlyHeld = None,
    reply: ReplyText = None,
) -> dict[str, Any]:
    """The filter as the control API takes it."""
    if state is not None:
        check_one_of("--state", state, STATES)
    given = {
        "domain": domain,
        "site": site,
        "path": path,
        "tenant": tenant,
        "stream": stream,
        "binding": binding,
        "id": ids or None,
        "older_than": None if older_than is None else parse_age(older_than),
        "newer_than": None if newer_than is None else parse_age(newer_than),
        "attempts": attempts,
        "attempts_max": attempts_max,
        "state": state,
        "held": held,
        "reply": reply,
    }
    return {name: value for name, value in given.items() if value is not None}


filtered = takes("chosen", chosen_by)


@app.command("list")
@filtered
def list_(
    chosen: dict[str, Any],
    limit: Annotated[int, typer.Option(min=1, max=ENTRIES_MAX, help="At most so many entries.")] = 50,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List queued entries, the oldest first.

    Examples:
      outrider queue list --domain example.test
      outrider queue list --reply '4*greylist' --older-than 2h
      outrider queue list --held --json
    """
    with control(config) as server:
        rows: list[dict[str, Any]] = list(server.pages("/v1/queue", limit, **chosen))
        matched = server.get("/v1/queue/count", **chosen) if not as_json else None
    if matched is None:
        print_json(rows)
        return
    now = datetime.now(UTC)  # noqa: TID251 - only shown, as a distance
    print_table(
        "Queued entries",
        ("message", "for", "tenant/stream", "attempts", "due", "state", "size", "last reply"),
        [
            (
                row["message_id"],
                row["routing_domain"],
                f"{row['tenant']}/{row['stream']}",
                row["attempts"],
                until(row["due_time"], now),
                row["state"],
                row["size"],
                row["held"] or row["last_reply"],
            )
            for row in rows
        ],
        totals=(
            f"{len(rows)} of {number(matched['count'])}",
            *[""] * 5,
            octets(sum(row["size"] for row in rows)),
            "",
        ),
    )
    _say_unresolved(matched)


@app.command("count")
@filtered
def count(
    chosen: dict[str, Any],
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Count queued entries.

    Examples:
      outrider queue count --tenant shop
      outrider queue count --state deferred --attempts 5
    """
    with control(config) as server:
        counted = server.get("/v1/queue/count", **chosen)
    if as_json:
        print_json(counted)
        return
    say(f"{number(counted['count'])} entries")
    _say_unresolved(counted)


def _say_unresolved(counted: dict[str, Any]) -> None:
    if counted["unresolved"]:
        say(
            f"{counted['unresolved']} queued domains never had a route, or none was looked up yet; "
            "no site could match them."
        )


@app.command("summary")
@filtered
def summary(
    *,
    by: Annotated[str, typer.Option(help=f"Count by: {', '.join(GROUPINGS)}.")] = "domain",
    chosen: dict[str, Any],
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many groups.")] = 30,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Count queued entries by domain, site, tenant, last reply and so on, with totals.

    Examples:
      outrider queue summary
      outrider queue summary --by reply --state deferred
    """
    check_one_of("--by", by, GROUPINGS)
    with control(config) as server:
        answer = server.get("/v1/queue/summary", by=by, **chosen)
    if as_json:
        print_json(answer)
        return
    groups = answer["groups"]
    print_table(
        f"The queue by {by}",
        (by, "entries", "held", "content", "oldest", "most attempts"),
        [
            (
                group["name"],
                group["entries"],
                group["held"],
                octets(group["octets"]),
                group["oldest_time"],
                group["attempts"],
            )
            for group in groups[:limit]
        ],
        totals=(
            f"{len(groups)} groups",
            number(answer["entries"]),
            number(answer["held"]),
            octets(answer["octets"]),
            "",
            "",
        ),
    )


@app.command("show")
def show(
    message_id: Annotated[str, typer.Argument(help="Message id, as in the 250 reply.")],
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show what is still queued of one message; `outrider trace` tells its whole life.

    Examples:
      outrider queue show 01k9q4m2x7f3a8w0z1
    """
    with control(config) as server:
        rows = list(server.pages("/v1/queue", ENTRIES_MAX, id=[message_id]))
    if as_json:
        print_json(rows)
    elif not rows:
        say(f"Nothing of {message_id} is queued; `outrider trace {message_id}` says what became of it.")
    for row in rows if not as_json else ():
        site = row["site"] or "not resolved now"
        say(f"Entry {row['entry']} for {row['routing_domain']} (site {site}): {row['state']}")
        for name in ("tenant", "stream", "binding", "size", "attempts", "received_time", "due_time"):
            say(f"  {name.replace('_', ' '):14} {row[name]}")
        if row["held"]:
            say(f"  {'on hold':14} {row['held']}")
        if row["last_reply"]:
            where = f" by {row['last_host']}" if row["last_host"] else ""
            say(f"  {'last reply':14} {row['last_reply']}{where} at {row['last_attempt_time']}")
    if not rows:
        raise typer.Exit(Exit.FOUND)


def act(
    operation: str,
    verb: str,
    chosen: dict[str, Any],
    config: Path,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    reason: str,
    needs_reason: bool,
    **arguments: Any,
) -> None:
    """Count, ask, do, say what was done."""
    with control(config) as server:
        path = f"/v1/queue/{operation}"
        answer = counted_first(
            lambda body: server.post(path, {"filter": chosen, **arguments, **body}),
            lambda counted: counted["matched"],
            question=f"{operation.capitalize()} {{}} entries?",
            warning="{} entries would be changed",
            deed=operation if needs_reason else "",
            reason=reason,
            yes=yes,
            dry_run=dry_run,
        )
    told = {name: answer[name] for name in ("matched", "changed", "busy")} | {"dry_run": dry_run}
    if as_json:
        print_json(told)
    elif dry_run:
        say(f"{number(answer['matched'])} entries match; nothing was changed.")
    else:
        busy = f"; {answer['busy']} are in delivery now and were left" if answer["busy"] else ""
        kept = f" (audit row {answer['audit']})" if answer["audit"] else ""
        say(f"{verb}: {number(answer['changed'])} of {number(answer['matched'])} entries{busy}{kept}.")


def _command(operation: str, verb: str, text: str, *, needs_reason: bool) -> Callable[..., None]:
    def command(
        chosen: dict[str, Any],
        *,
        reason: Reason = "",
        yes: Yes = False,
        dry_run: DryRun = False,
        config: ConfigPath = CONFIG_DEFAULT,
        as_json: AsJson = False,
    ) -> None:
        act(
            operation,
            verb,
            chosen,
            config,
            yes=yes,
            dry_run=dry_run,
            as_json=as_json,
            reason=reason,
            needs_reason=needs_reason,
        )

    command.__doc__ = text
    return filtered(command)


app.command("hold")(
    _command(
        "hold",
        "Held",
        "Put entries on hold; they wait until they are released.\n\nExamples:\n"
        "  outrider queue hold --domain example.test --reason 'blocked' --yes",
        needs_reason=True,
    )
)
app.command("release")(
    _command(
        "release",
        "Released",
        "Release held entries; they keep their due time.\n\nExamples:\n"
        "  outrider queue release --domain example.test --yes",
        needs_reason=False,
    )
)
app.command("retry")(
    _command(
        "retry",
        "Due now",
        "Make entries due at once; what is on hold stays so.\n\nExamples:\n"
        "  outrider queue retry --domain example.test --yes\n"
        "  outrider queue retry --reply 'try again later' --attempts 3 --yes",
        needs_reason=False,
    )
)
app.command("purge")(
    _command(
        "purge",
        "Purged",
        "Remove entries without a report to the sender; each purge is an event with its reason.\n\n"
        "Examples:\n  outrider queue purge --tenant shop --dry-run\n"
        "  outrider queue purge --id 01k9q4m2x7f3a8w0z1 --reason 'sent by mistake' --yes",
        needs_reason=True,
    )
)


@app.command("move")
@filtered
def move(
    *,
    to_domain: Annotated[str | None, typer.Option(help="New routing domain.")] = None,
    to_binding: Annotated[str | None, typer.Option(help="New binding.")] = None,
    chosen: dict[str, Any],
    reason: Reason = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Give entries another routing domain or binding.

    Examples:
      outrider queue move --domain old.test --to-domain relay.test --reason 'old.test is away' --yes
    """
    if to_domain is None and to_binding is None:
        raise typer.BadParameter("say where to: --to-domain, --to-binding or both")
    act(
        "move",
        "Moved",
        chosen,
        config,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
        reason=reason,
        needs_reason=True,
        to_domain=to_domain,
        to_binding=to_binding,
    )

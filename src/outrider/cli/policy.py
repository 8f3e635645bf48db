"""`outrider policy …`: check scripts, try them on messages that are here or were sent, stubs for editors."""

import asyncio
import os
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from outrider.base.exits import Exit
from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    control,
    print_json,
    print_table,
    printable,
    say,
    settings_of,
)
from outrider.cli.rehearsed import facts_of, lines_of, show, sums_of

if TYPE_CHECKING:
    from outrider.model.hooks import HookPhase
    from outrider.model.reply import Reply
    from outrider.policy.rehearsal import Rehearsal
    from outrider.policy.traces import Trace
    from outrider.server.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Policy by scripts: check them and try them out.")
shadow_app = typer.Typer(
    no_args_is_help=True,
    help="Other scripts beside the live ones: they change nothing, differences are listed.",
)
app.add_typer(shadow_app, name="shadow")

MESSAGE_OCTETS = 256 << 20
# chosen: more than any listener takes
Context = Annotated[
    list[str] | None, typer.Option("--context", help="A note of the connection, KEY=VALUE; may be repeated.")
]


@app.command("check")
def check(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Load every script of the configuration and list which hooks each has.

    Exit code 78 when one cannot be loaded, with each fault's file and line. What the log would say of them,
    as of hooks that are never asked, goes to standard error.

    Examples:
      outrider policy check
      outrider policy check --json
    """
    from outrider.model.hooks import HookPhase

    settings = settings_of(config)
    files = {each.name: str(each.source) for each in settings.policy.script}
    phases_of, lines = asyncio.run(_phases(settings))
    for line in lines:
        typer.echo(f"outrider: {printable(line)}", err=True)
    found = [
        {
            "script": name,
            "file": files.get(name, ""),
            "phases": [str(phase) for phase in HookPhase if phase in had],
        }
        for name, had in phases_of
    ]
    if as_json:
        print_json(found)
        return
    if not found:
        say("There are no scripts; all mail goes out by the domain of its address, with the default binding.")
        return
    phases = [phase for phase in HookPhase if any(phase in each["phases"] for each in found)]
    columns = ("script", *phases)
    rows = [
        [each["script"], *("yes" if phase in each["phases"] else "" for phase in phases)] for each in found
    ]
    print_table("Scripts, in the order in which they are asked", columns, rows)


@app.command("test")
def try_message(
    message: Annotated[str, typer.Argument(help="File with a whole message, or `-` for standard input.")],
    to: Annotated[list[str] | None, typer.Option("--to", help="Recipient; may be repeated.")] = None,
    mail_from: Annotated[
        str | None, typer.Option("--from", help="Reverse-path; empty is the null one.")
    ] = None,
    context: Context = None,
    note: Annotated[
        list[str] | None, typer.Option("--note", help="A note of the message, KEY=VALUE; may be repeated.")
    ] = None,
    listener: Annotated[str, typer.Option(help="Listener that it comes in by; `http` ones too.")] = "",
    user: Annotated[str, typer.Option(help="Login that was right.")] = "",
    client: Annotated[str, typer.Option(help="Address of the client.")] = "127.0.0.1",
    helo: Annotated[str, typer.Option(help="What the client calls itself.")] = "localhost",
    tenant: Annotated[str, typer.Option(help="Who sends.")] = "default",
    stream: Annotated[str, typer.Option(help="Its stream.")] = "default",
    reply: Annotated[
        str, typer.Option(help="What the host answers, as `550 5.1.1 No such user`; asks the hooks after it.")
    ] = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Have a message go through all phases without a server, and show what each script decides.

    Data sources and DNS are asked in earnest; nothing is stored or sent. What scripts print is shown first.
    Exit code 0 when the message is taken, 1 when it is refused, 70 when a script failed.

    Examples:
      outrider policy test letter.eml --from shop@example.test --to joe@one.test --to ann@two.test
      outrider policy test - --to joe@one.test --context customer=42 --json < letter.eml
      outrider policy test letter.eml --to joe@one.test --reply '450 4.2.0 Not yet'
    """
    from outrider.model.flow import HTTP
    from outrider.policy.traces import Trace, TraceError, submission_of

    settings = settings_of(config)
    plain = _message(message)
    doors = {door.name: HTTP for door in settings.http} | {door.name: "ESMTP" for door in settings.listener}
    name = listener or next((door.name for door in settings.listener), "smtp")
    if listener and listener not in doors:
        raise typer.BadParameter(f"there is no listener {listener!r}; there are {', '.join(doors)}")
    if any(door.name == name and door.role == "inbound" for door in settings.listener):
        raise typer.BadParameter(
            f"the listener {name!r} is for mail of the server itself; scripts see none of it"
        )
    protocol = doors.get(name, "ESMTP")
    trace = Trace(
        recipients=to or ["recipient@example.test"],
        mail_from="sender@example.test" if mail_from is None else mail_from,
        listener=name,
        protocol="ESMTPA" if user and protocol == "ESMTP" else protocol,
        client=client,
        helo=helo,
        user=user,
        tenant=tenant,
        stream=stream,
        context=_pairs(context, "--context"),
        notes=_pairs(note, "--note"),
    )
    try:
        ip_address(client)
        submission_of(trace, plain)
    except (TraceError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    played = asyncio.run(_played(settings, [(trace, plain)], _reply(reply), with_lines=True))
    [found] = played.found
    show(found, as_json=as_json, lines=played.lines)
    if found.failures:
        played.leave(Exit.SOFTWARE)
    if found.refusal is not None or found.refused:
        played.leave(Exit.FOUND)


@app.command("run-trace")
def run_trace(
    file: Annotated[str, typer.Argument(help="Traces, one JSON object a line, or `-` for standard input.")],
    every: Annotated[
        bool, typer.Option("--all", help="Show the decisions of each message, not only their sums.")
    ] = False,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Have recorded messages go through all phases, and count what scripts decide.

    A line holds client, envelope and header of a message; `outrider policy record` writes such lines, and
    docs/how-to/decide-with-scripts.md lists the fields. Exit code 1 when a script failed, 65 when a line is
    no trace.

    Examples:
      outrider policy run-trace yesterday.jsonl
      outrider policy record | outrider policy run-trace - --json
    """
    settings = settings_of(config)
    traces = _traces(file)
    played = asyncio.run(_played(settings, [(trace, None) for trace in traces], with_lines=every))
    found = played.found
    sums = sums_of(found)
    if as_json:
        shown = [facts_of(each) for each in found] if every else []
        print_json({**sums, "each": shown} if every else sums)
    else:
        if every:
            for trace, each in zip(traces, found, strict=True):
                say(f"{trace.id or trace.mail_from} to {' '.join(trace.recipients[:3])}")
                show(each, as_json=False)
        print_table(
            f"{sums['messages']} messages: {sums['accepted']} accepted, {sums['refused']} refused, "
            f"{sums['failed']} with failures",
            ("script", "phase", "decision", "times"),
            [(row["script"], row["phase"], row["decision"], row["times"]) for row in sums["decisions"]],
        )
    if sums["failed"]:
        played.leave(Exit.FOUND)


@app.command("record")
def record(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Newest events to look through.")] = 10_000,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Write what was received lately as traces, one a line, for `outrider policy run-trace`.

    They are made from the events, so addresses are shown as `record.redaction` says, and there is no header:
    nothing is kept about anybody that the events do not hold already.

    Examples:
      outrider policy record > yesterday.jsonl
      outrider policy record --limit 100000 | outrider policy run-trace -
    """
    from outrider.policy.traces import format_trace
    from outrider.record.trace import tail
    from outrider.server.recorded import traces_of

    traces = traces_of(tail(settings_of(config).server.events_directory, limit))
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(traces))
        return
    for trace in traces:
        typer.echo(format_trace(trace).decode())


@app.command("stubs")
def stubs(
    language: Annotated[
        Literal["python", "lua"], typer.Option("--language", "-l", help="For which language.")
    ] = "python",
    as_json: AsJson = False,
) -> None:
    """Print typed stubs of all hooks and of what they are given, for editors.

    Examples:
      outrider policy stubs > outrider_hooks.pyi
      outrider policy stubs --language lua > outrider.d.lua
    """
    from outrider.policy.stubs import lua_stub, python_stub

    text = python_stub() if language == "python" else lua_stub()
    print_json({"language": language, "stub": text}) if as_json else typer.echo(text, nl=False)


@shadow_app.command("start")
def shadow_start(
    directory: Annotated[
        Path | None, typer.Argument(help="Directory whose scripts are asked, in the order of their names.")
    ] = None,
    script: Annotated[
        list[str] | None, typer.Option("--script", help="NAME=FILE, in the order of asking; may be repeated.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Ask other scripts what the live ones are asked, from the next sessions and requests on.

    They run in a process of their own, see the same clients and messages, and change nothing: no mail, no
    notes, no shared counts; data sources are opened to be read only. What they are too slow for is dropped
    and counted. The run ends with `outrider policy shadow stop`, or when the server restarts.

    Examples:
      outrider policy shadow start --script shop=shop-2.py --reason 'bindings from the CRM'
      outrider policy shadow start new-policy/
    """
    from outrider.server.shadows import scripts_in

    if (directory is None) == (not script):
        raise typer.BadParameter("give a directory, or --script NAME=FILE")
    files = (
        scripts_in(directory) if directory else [(k, Path(v)) for k, v in _pairs(script, "--script").items()]
    )
    if not files:
        raise typer.BadParameter(f"there is no script in {directory}")
    body = {
        "scripts": [{"name": name, "source": str(path.resolve())} for name, path in files],
        "reason": reason,
    }
    with control(config) as server:
        answer = server.post("/v1/policy/shadow", body)
    if as_json:
        print_json(answer)
        return
    say(f"{', '.join(name for name, _ in files)} are asked beside the live scripts from now on.")
    say("Look with `outrider policy shadow report`, end it with `outrider policy shadow stop`.")


@shadow_app.command("report")
def shadow_report(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show what the shadow decides otherwise. Exit code 1 when none runs.

    Examples:
      outrider policy shadow report
      outrider policy shadow report --json
    """
    with control(config) as server:
        answer = server.get("/v1/policy/shadow")
    _show_shadow(answer, as_json=as_json)
    if not answer["running"]:
        raise typer.Exit(Exit.FOUND)


@shadow_app.command("stop")
def shadow_stop(
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")] = "",
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """End the shadow run and show its last report.

    Examples:
      outrider policy shadow stop
    """
    with control(config) as server:
        answer = server.delete("/v1/policy/shadow", reason=reason)
    _show_shadow(answer, as_json=as_json)


def _show_shadow(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    if not answer["running"]:
        say(f"No shadow runs{': ' if answer['ended'] else '.'}{answer['ended']}")
    if not answer["since_time"]:
        return
    say(
        f"Since {answer['since_time']}: {answer['asked']} decisions compared, {answer['differing']} differ, "
        f"{answer['dropped']} dropped."
    )
    for each in answer["failures"]:
        say(f"  failed {each['times']} times: {each['what']}")
    kinds = ("phase", "live", "shadow", "times")
    print_table("Differences", kinds, [[row[name] for name in kinds] for row in answer["differences"]])
    if answer["examples"]:
        facts = ("time", "phase", "live", "shadow", "message_id")
        rows = [
            [*(row[name] for name in facts), row.get("recipient") or row["domain"]]
            for row in answer["examples"]
        ]
        print_table("Newest examples", (*facts, "recipient"), rows)


def _message(name: str) -> bytes:
    """The octets of a message in a file, or of standard input."""
    octets = sys.stdin.buffer.read(MESSAGE_OCTETS + 1) if name == "-" else Path(name).read_bytes()
    if len(octets) > MESSAGE_OCTETS:
        raise typer.BadParameter(f"a message has at most {MESSAGE_OCTETS} octets")
    return octets


def _reply(text: str) -> "Reply | None":
    """The reply of a host, as an option gives it; None for an empty text."""
    from outrider.model.reply import Reply
    from outrider.policy.answers import reply_of

    if not text:
        return None
    code, _, rest = text.partition(" ")
    try:
        if code == "250":
            return Reply(250, None, (rest or "Ok",))
        return reply_of(int(code), rest)
    except ValueError as error:
        raise typer.BadParameter(f"--reply is as '550 5.1.1 No such user', or 250: {error}") from error


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option} is KEY=VALUE, not {text!r}")
        found[name] = value
    return found


def _traces(name: str) -> "list[Trace]":
    """The traces of a file. Raises StoreError with the number of a line that is none."""
    from outrider.base.errors import StoreError
    from outrider.policy.traces import TraceError, parse_trace, submission_of

    octets = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    found = []
    for number, line in enumerate(octets.splitlines(), 1):
        if not line.strip():
            continue
        try:
            trace = parse_trace(line)
            submission_of(trace)
        except TraceError as error:
            raise StoreError(f"{name}:{number}: {error.message}") from error
        found.append(trace)
    return found


async def _phases(settings: "Settings") -> "tuple[list[tuple[str, frozenset[HookPhase]]], list[str]]":
    """Which phases each script has a hook for, and what the log would say of the scripts."""
    from outrider.base.clock import SystemClock
    from outrider.base.log import ListLog
    from outrider.server.rehearsing import staged

    log = ListLog()
    async with staged(settings, SystemClock(), log, os.environ) as stage:
        return [(script.name, script.phases) for script in stage.scripts], lines_of(log)


@dataclass(frozen=True, slots=True)
class _Played:
    """What became of messages, what was logged, and whether a hook goes on whatever it is told."""

    found: "list[Rehearsal]"
    lines: list[str]
    is_stuck: bool

    def leave(self, code: Exit) -> NoReturn:
        """End with a code: at once where the interpreter would wait for a hook for ever as it ends."""
        if self.is_stuck:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        raise typer.Exit(code)


async def _played(
    settings: "Settings",
    messages: "list[tuple[Trace, bytes | None]]",
    reply: "Reply | None" = None,
    *,
    with_lines: bool,
) -> _Played:
    from outrider.base.clock import SystemClock
    from outrider.base.log import ListLog
    from outrider.policy.traces import submission_of
    from outrider.server.rehearsing import staged

    found = []
    log = ListLog()
    async with staged(settings, SystemClock(), log, os.environ) as stage:
        for trace, plain in messages:
            submission = submission_of(trace, plain)
            found.append(await stage.play(submission, trace.context, reply, with_lines=with_lines))
        return _Played(found, lines_of(log), stage.is_stuck)

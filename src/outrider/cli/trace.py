"""`outrider trace`: the life of one message, or all that was sent to one recipient, from events and queue."""

import os
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from outrider.base.exits import Exit
from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    control,
    directories_of,
    print_json,
    print_table,
    printable,
    say,
    settings_of,
)

FOLLOW_SECONDS = 1.0
# chosen: as a person reads; each look reads the event files that were written to since the message came
FINDABLE = ("token", "full")
# Redaction profiles (`record.redact.Profile`) that keep what one recipient can be found by.


def trace(
    message_id: Annotated[str | None, typer.Argument(help="Message id, as in the 250 reply.")] = None,
    recipient: Annotated[
        str | None,
        typer.Option(
            "--recipient", "-r", help="Exact address of a recipient; `-` reads it from standard input."
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and print each new step until its end.")
    ] = False,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a message: reception, each attempt, its end, and what is still queued.

    With --recipient: every message to one exact address. Events hold a keyed token in place of the address;
    it is made from what you give, for every version of the `log` key, and looked for.

    Examples:
      outrider trace 01k9q4m2x7f3a8w0z1
      outrider trace 01k9q4m2x7f3a8w0z1 --json
      outrider trace 01k9q4m2x7f3a8w0z1 --follow
      outrider trace --recipient alice@example.com
      outrider trace --recipient - < address.txt
    """
    if (message_id is None) == (recipient is None):
        raise typer.BadParameter("give a message id, or --recipient with an address")
    if follow and message_id is None:
        raise typer.BadParameter("--follow is for one message: give its id")
    if recipient is not None:
        _trace_recipient(recipient, config, as_json=as_json)
    elif message_id is not None:
        _trace_message(message_id, config, as_json=as_json, follow=follow)


def _trace_message(message_id: str, config: Path, *, as_json: bool, follow: bool) -> None:
    from outrider.base.ids import is_message_id

    if not is_message_id(message_id):
        raise typer.BadParameter(f"{message_id!r} is not a message id: 18 lower-case letters and digits")
    life = _life(config, message_id)
    if follow:
        _follow(life, config, as_json=as_json)
        return
    if as_json:
        print_json(life)
    elif not life["events"] and not life["queued"]:
        say(f"{message_id}: nothing is known of it (events are kept as long as record.keep_seconds says).")
    else:
        for line in timeline(life):
            say(line)
    if not life["events"] and not life["queued"]:
        raise typer.Exit(Exit.FOUND)


def _life(config: Path, message_id: str) -> dict[str, Any]:
    """What the running server knows of a message; without one, what its event files say."""
    from outrider.base.errors import UnavailableError
    from outrider.server.control_api.client import path_of
    from outrider.server.requests import RefusedError

    try:
        with control(config) as server:
            found: dict[str, Any] = server.get(path_of("messages", message_id))
    except UnavailableError:
        return _life_on_disk(config, message_id)
    except RefusedError as error:
        if error.kind != "absent":
            raise
        return {"message_id": message_id, "events": [], "queued": [], "steps": [], "recipients": []}
    return found


def _life_on_disk(config: Path, message_id: str) -> dict[str, Any]:
    from outrider.server.tracing import written_about

    return written_about(directories_of(config).events_directory, message_id).with_queue(None)


def timeline(life: dict[str, Any]) -> list[str]:
    """A message's life as lines for people: its steps, then the state of each recipient."""
    lines = [f"Message {life['message_id']}"]
    several = len(life["recipients"]) > 1
    lines += [_line(step, several=several) for step in life["steps"]]
    for state in life["recipients"]:
        reply = f": {state['reply']}" if state.get("reply") else ""
        attempts = state.get("attempts", 0)
        lines.append(
            f"{state.get('recipient') or state.get('domain') or state['entry']} is {state['state']} after "
            f"{attempts} attempt{'' if attempts == 1 else 's'}{reply}"
        )
    if life["queued"] is None:
        lines.append("The server does not run, so its queue was not asked.")
    elif not life["queued"]:
        lines.append("Nothing of it is queued any more.")
    return lines


def _line(step: dict[str, Any], *, several: bool) -> str:
    kind = step["kind"]
    if step.get("attempt") and kind in ("delivered", "deferred", "bounced", "expired"):
        kind = f"{kind} {step['attempt']}"
    whom = f"{step['recipient']}: " if several and step.get("recipient") else ""
    until = f", until {step['until']}" if step.get("until") else ""
    return f"  {step['time']:28} {kind:13} {whom}{step['text']}{until}"


def _follow(life: dict[str, Any], config: Path, *, as_json: bool) -> None:
    """Print what is there, then each new step, until nothing more will happen or the server goes."""
    import json

    told: set[str] = set()
    if not as_json:
        say(f"Message {life['message_id']}")
    while True:
        several = len(life["recipients"]) > 1
        for step in life["steps"]:
            key = json.dumps(step, sort_keys=True)
            until = str(step.get("until", "")) if step["kind"] == "waits" else ""
            # the wait that an attempt began is a row of the queue as well
            if key in told or (until in told and not step.get("id")):
                continue
            told.add(key)
            if until:
                told.add(until)
            sys.stdout.write((key if as_json else printable(_line(step, several=several))) + "\n")
        sys.stdout.flush()
        if life.get("is_final"):
            return
        if life["queued"] is None:
            from outrider.base.errors import UnavailableError

            raise UnavailableError(
                "the server does not answer any more; its event files say no more than this"
            )
        _pause(FOLLOW_SECONDS)
        life = _life(config, life["message_id"])


def _pause(seconds: float) -> None:
    """Sleep; a signal ends the command as usual."""
    threading.Event().wait(seconds)


def _trace_recipient(given: str, config: Path, *, as_json: bool) -> None:
    from outrider.base.errors import AddressError
    from outrider.server.tracing import mail_to

    text = sys.stdin.readline() if given == "-" else given
    settings = settings_of(config)
    try:
        found = mail_to(settings, os.environ, text)
    except AddressError as error:
        raise typer.BadParameter(f"--recipient: {error.message}") from error
    states, refusals = found["messages"], found["refusals"]
    if as_json:
        print_json(found)
    elif not states and not refusals:
        say(
            "Nothing is known of this recipient: events are kept as long as record.keep_seconds says, and "
            "tokens of a destroyed `log` key cannot be found."
        )
        profile = settings.record.profiles(settings.record.events)[0].value
        if profile not in FINDABLE:
            say(
                f"Events show recipients as `{profile}` (record.redaction), so nothing can be found of what "
                f"was written so: only `{'` and `'.join(FINDABLE)}` tell one recipient from another."
            )
    else:
        print_table(
            "Mail to one recipient",
            ("message", "updated", "state", "attempts", "reply"),
            [
                tuple(state.get(key) for key in ("message_id", "updated_time", "state", "attempts", "reply"))
                for state in states
            ],
        )
        for event in refusals:
            say(f"Refused at {event.get('time')}: {event.get('reply_code')} {event.get('reply_text', '')}")
        if states:
            say("The life of one of them: outrider trace ID")
    if not states and not refusals:
        raise typer.Exit(Exit.FOUND)

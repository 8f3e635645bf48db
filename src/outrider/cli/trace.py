"""`outrider trace`: the life of one message, or all that was sent to one recipient, from events and queue."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, print_table, say


def trace(
    message_id: Annotated[str | None, typer.Argument(help="Message id, as in the 250 reply.")] = None,
    recipient: Annotated[
        str | None,
        typer.Option(
            "--recipient", "-r", help="Exact address of a recipient; `-` reads it from standard input."
        ),
    ] = None,
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a message: reception, each attempt, its end, and what is still queued.

    With --recipient: every message to one exact address. Events hold a keyed token in place of the address;
    it is made from what you give, for every version of the `log` key, and looked for.

    Examples:
      outrider trace 01k9q4m2x7f3a8w0z1
      outrider trace 01k9q4m2x7f3a8w0z1 --json
      outrider trace --recipient alice@example.com
      outrider trace --recipient - < address.txt
    """
    if (message_id is None) == (recipient is None):
        raise typer.BadParameter("give a message id, or --recipient with an address")
    if recipient is not None:
        _trace_recipient(recipient, config, as_json=as_json)
    elif message_id is not None:
        _trace_message(message_id, config, as_json=as_json)


def _trace_message(message_id: str, config: Path, *, as_json: bool) -> None:
    from outrider.base.errors import UnavailableError
    from outrider.base.ids import is_message_id
    from outrider.cli.output import ask_server
    from outrider.record.trace import life_of
    from outrider.server.configuration import load

    if not is_message_id(message_id):
        raise typer.BadParameter(f"{message_id!r} is not a message id: 18 lower-case letters and digits")
    settings = load(config)
    events: list[dict[str, Any]] = life_of(settings.server.events_directory, message_id)
    try:
        queued: list[dict[str, Any]] | None = ask_server(
            config, "queue.select", message_ids=[message_id], limit=1000
        )
    except UnavailableError:
        queued = None
    if as_json:
        print_json({"message_id": message_id, "events": events, "queued": queued})
    elif not events and not queued:
        say(f"{message_id}: nothing is known of it (events are kept as long as record.keep_seconds says).")
    else:
        print_table(
            f"Life of {message_id}",
            ("time", "event", "domain", "site", "reply", "attempts"),
            [
                (
                    event.get("time"),
                    event.get("type"),
                    event.get("domain"),
                    event.get("site"),
                    " ".join(
                        str(event[key])
                        for key in ("reply_code", "reply_enhanced", "reply_text")
                        if event.get(key)
                    ),
                    event.get("attempts"),
                )
                for event in events
            ],
        )
        _say_queued(queued)
    if not events and not queued:
        raise typer.Exit(1)


def _trace_recipient(given: str, config: Path, *, as_json: bool) -> None:
    from outrider.base.errors import AddressError
    from outrider.model.mailbox import parse_mailbox
    from outrider.record.trace import events_about, states_of
    from outrider.server.configuration import load
    from outrider.server.keys import forms_of

    text = sys.stdin.readline().strip() if given == "-" else given
    try:
        address = parse_mailbox(text, smtputf8=True)
    except AddressError as error:
        raise typer.BadParameter(f"--recipient: {error.message}") from error
    settings = load(config)
    events = events_about(settings.server.events_directory, forms_of(settings, os.environ, address))
    states = states_of(events)
    refusals = [event for event in events if event.get("type") == "refusal"]
    if as_json:
        print_json({"messages": states, "refusals": refusals})
    elif not events:
        say(
            "Nothing is known of this recipient: events are kept as long as record.keep_seconds says, and "
            "tokens of a destroyed `log` key cannot be found."
        )
    else:
        print_table(
            f"Mail to one recipient at {address.domain}",
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
    if not events:
        raise typer.Exit(1)


def _say_queued(queued: list[dict[str, Any]] | None) -> None:
    if queued is None:
        say("The server does not run, so its queue was not asked.")
    elif queued:
        for entry in queued:
            held = f", held: {entry['held']}" if entry["held"] else ""
            say(f"Still queued for {entry['routing_domain']}: due {entry['due_time']}{held}")
    else:
        say("Nothing of it is queued any more.")

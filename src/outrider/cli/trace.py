"""`outrider trace ID`: the life of one message, from its events and from the queue."""

from typing import Annotated, Any

import typer

from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, print_table, say


def trace(
    message_id: Annotated[str, typer.Argument(help="Message id, as in the 250 reply.")],
    config: ConfigPath = CONFIG_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show what happened to a message: reception, each attempt, its end, and what is still queued.

    Examples:
      outrider trace 01k9q4m2x7f3a8w0z1
      outrider trace 01k9q4m2x7f3a8w0z1 --json
    """
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


def _say_queued(queued: list[dict[str, Any]] | None) -> None:
    if queued is None:
        say("The server does not run, so its queue was not asked.")
    elif queued:
        for entry in queued:
            held = f", held: {entry['held']}" if entry["held"] else ""
            say(f"Still queued for {entry['routing_domain']}: due {entry['due_time']}{held}")
    else:
        say("Nothing of it is queued any more.")

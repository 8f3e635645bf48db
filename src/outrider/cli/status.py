"""`outrider status`: is the server running, what is in the queue, how is each path."""

from datetime import timedelta
from typing import Any

from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, ask_server, print_json, print_table, say


def status(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show processes, counters and the busiest paths of the running server.

    Examples:
      outrider status
      outrider status --json | jq .queue
    """
    answer: dict[str, Any] = ask_server(config, "status")
    if as_json:
        print_json(answer)
        return
    queue = answer["queue"]
    say(f"Up {timedelta(seconds=int(answer['up_seconds']))}, {len(answer['workers'])} workers.")
    say(
        f"Queued {queue['alive']} (held {queue['held']}, in memory {queue['resident']}, "
        f"granted {queue['granted']})."
    )
    if answer["paths"]:
        print_table(
            "Busiest paths",
            ("site", "binding", "waiting", "granted", "connections", "state"),
            [
                (
                    path["site"],
                    path["binding"],
                    path["waiting"],
                    path["granted"],
                    path["connections"],
                    path["state"],
                )
                for path in answer["paths"]
            ],
        )

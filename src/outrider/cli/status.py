"""`outrider status`: is the server running, what is in the queue, how is each path; one screen."""

from collections.abc import Sequence
from typing import Any

from outrider.cli.output import (
    CONFIG_DEFAULT,
    AsJson,
    ConfigPath,
    control,
    duration,
    number,
    octets,
    print_json,
    print_table,
    say,
)
from outrider.server.calendar import STEP_SECONDS

RESULTS: Sequence[str] = ("delivered", "transient", "bounced", "expired")


def status(config: ConfigPath = CONFIG_DEFAULT, as_json: AsJson = False) -> None:
    """Show processes, counters and the busiest paths of the running server.

    Examples:
      outrider status
      outrider status --json | jq .queue
    """
    with control(config) as server:
        answer: dict[str, Any] = server.get("/v1/status")
    if as_json:
        print_json(answer)
        return
    for line in summary(answer):
        say(line)
    print_table(
        "Processes",
        ("process", "pid", "memory", "loop lag", "restarts"),
        [
            (
                each["name"],
                each["pid"],
                octets(each["resident_bytes"]),
                f"{each['lag_seconds'] * 1000:.1f} ms",
                each["restarts"],
            )
            for each in answer["processes"]
        ],
    )
    if answer["paths"]:
        print_table(
            "Busiest paths",
            ("site", "binding", "waiting", "deferred", "in delivery", "connections", "failures", "state"),
            [
                (
                    path["site"],
                    path["binding"],
                    path["waiting"],
                    path["deferred"],
                    path["granted"],
                    path["connections"],
                    path["failures"],
                    path["state"],
                )
                for path in answer["paths"]
            ],
        )


def summary(answer: dict[str, Any]) -> list[str]:
    """The node in a few lines."""
    queue = answer["queue"]
    results = answer["results"]
    attempts = ", ".join(f"{number(results.get(result, 0))} {result}" for result in RESULTS)
    lines = [
        f"{answer['hostname']} is up for {duration(answer['up_seconds'])}, {len(answer['workers'])} workers.",
        (
            f"Queued {number(queue['alive'])}: {number(queue['granted'])} in delivery, "
            f"{number(queue['held'])} held, {number(queue['resident'])} in memory; "
            f"{answer['connections']} connections open."
        ),
        f"Accepted {number(answer['accepted'])}; attempts: {attempts}.",
    ]
    if not answer["granting"]:
        lines.append("Nothing is sent yet: the dispatcher still reads the logs of the last run.")
    if abs(ahead := answer["clock_steps_seconds"]) >= STEP_SECONDS:
        way = "ahead" if ahead > 0 else "back"
        lines.append(
            f"The machine's clock was set {way} by {duration(abs(ahead))}; "
            "the server keeps its own until a restart."
        )
    if queue["unreadable"]:
        lines.append(
            f"{number(queue['unreadable'])} queued recipients cannot be sent to: files of the spool that "
            "hold their messages were removed; the server's log names them (spool.segment_gone)."
        )
    if answer["stressed"]:
        lines.append(f"Under stress, limits for strangers are tight: {', '.join(answer['stressed'])}.")
    if answer["suspensions"]:
        lines.append(f"{answer['suspensions']} suspensions hold; see `outrider path suspensions`.")
    return lines

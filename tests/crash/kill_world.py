"""What a kill run is made of: the practice internet, the server's configuration, the loads.

In: ports, a seed. Out: a world with moods that recover, the text of an `outrider.toml`, load options.

Theory: providers are slow, greylist, refuse for a while and for good, and hang up, so that at any moment
messages are in every state that a kill can hit. None takes a message without saying so: a duplicate in the
account then always comes from the kill.
"""

import random
from pathlib import Path
from typing import Any

from outrider.sim.options import Behaviour, LoadOptions, WorldOptions
from outrider.sim.server import PracticeInternet
from outrider.sim.temper import Temper

SENDER = "sender@practice.test"
MESSAGE_OCTETS_MAX = 65_536
SEGMENT_OCTETS = 1 << 20
# small, so that segments are rolled, compacted and dropped within a run
MIX: tuple[tuple[str, float], ...] = (
    ("plain.test", 4),
    ("slow.test", 2),
    ("grey.test", 2),
    ("moody.test", 3),
    ("leaver.test", 1),
    ("burst.test", 1),
)


def _provider(number: int, name: str, behaviour: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "domains": [f"{name}.test"],
        "mx": [{"name": f"mx.{name}.test", "address": f"127.0.20.{number}"}],
        "behaviour": behaviour,
        "rule": rules,
    }


def kill_world(seed: int) -> WorldOptions:
    """Six tempers, and the sender's own provider, where the reports go."""
    tempfail, gone = "451 4.3.0 Not now", "550 5.1.1 No such user"
    return WorldOptions.model_validate(
        {
            "seed": seed,
            "provider": [
                _provider(1, "practice", {}),
                _provider(2, "plain", {"limits": {"max_connection_messages": 30}}),
                _provider(3, "slow", {"delay": {"connect": 0.05, "rcpt": 0.01, "body": 0.1}}),
                _provider(4, "grey", {"greylist_seconds": 0.5}),
                _provider(
                    5,
                    "moody",
                    {},
                    {"on": "connect", "probability": 0.05, "reply": "421 4.3.2 Too busy"},
                    {"on": "rcpt", "probability": 0.1, "reply": tempfail},
                    {"on": "rcpt", "probability": 0.04, "reply": gone},
                    {"on": "data", "probability": 0.03, "reply": tempfail},
                    {"on": "body", "probability": 0.03, "reply": "554 5.7.1 Refused"},
                ),
                _provider(
                    6,
                    "leaver",
                    {},
                    {"on": "mail", "probability": 0.03, "action": "disconnect", "reply": "421 4.3.2 Bye"},
                    {"on": "data", "probability": 0.03, "action": "drop"},
                    {"on": "body", "probability": 0.03, "action": "drop"},
                ),
                _provider(7, "burst", {"bursts": [{"period_seconds": 6, "length_seconds": 2}]}),
            ],
        }
    )


def befriend(world: PracticeInternet, options: WorldOptions) -> None:
    """From now on every provider takes everything at once."""
    for one in options.provider:
        provider = world.providers[one.name]
        kind = one.model_copy(update={"behaviour": Behaviour(), "rule": ()})
        provider.behaviour = kind.behaviour
        provider.temper = Temper(kind, random.Random(0), provider.now())
        provider.slow_phases = frozenset()


def server_toml(
    *,
    smtp_port: int,
    http_port: int,
    dns_port: int,
    exchanger_port: int,
    users_file: Path,
    run_directory: Path,
) -> str:
    """A server of two workers that delivers into the practice internet and forgets nothing in its events."""
    return f"""\
[server]
hostname = "mail.practice.test"
workers = 2
state_directory = "state"
run_directory = "{run_directory}"
users_file = "{users_file}"
min_free_bytes = 0

[[listener]]
name = "smtp"
port = {smtp_port}
trusted_networks = ["127.0.0.0/8"]
limits = {{ message_octets = {MESSAGE_OCTETS_MAX} }}

[[http]]
name = "http"
port = {http_port}

[net]
nameservers = ["127.0.0.1:{dns_port}"]
allowed_target_networks = ["127.0.0.0/8"]

[shaping.default]
smtp_port = {exchanger_port}
retry_interval_seconds = 1
max_retry_interval_seconds = 2

[delivery.default]
max_deliveries_per_connection = 50

[spool]
segment_octets = {SEGMENT_OCTETS}
checkpoint_seconds = 1

[record]
redaction = "full"
metrics_port = 0
log_format = "json"

[classify.dsn.rate]
per_hour = 10000000
burst = 1000000
"""


def loads(*, smtp_port: int, http_port: int, api_key: str, seed: int) -> list[LoadOptions]:
    """Mail by SMTP and HTTP that is good, and some of both that must be refused."""
    common: dict[str, Any] = {
        "domains": MIX,
        "users": 300,
        "sender": SENDER,
        "seed": seed,
        "give_up_seconds": 0,
        "reply_seconds": 20,
    }
    smtp: dict[str, Any] = {**common, "port": smtp_port}
    http: dict[str, Any] = {**common, "port": http_port, "via": "http", "api_key": api_key}
    kinds: list[dict[str, Any]] = [
        {**smtp, "run": "smtp", "rate": 40, "recipients": 2, "connections": 4, "connection_messages": 25},
        {**http, "run": "http", "rate": 15, "connections": 2, "connection_messages": 25},
        {**smtp, "run": "oversize", "rate": 2, "connections": 1, "size": MESSAGE_OCTETS_MAX + 4096},
        {**http, "run": "stranger", "rate": 2, "connections": 1, "api_key": f"{api_key}x"},
    ]
    return [LoadOptions.model_validate(kind) for kind in kinds]

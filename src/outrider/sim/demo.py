"""The demo of `make run`: its world, its mix of mail, and the server's configuration for it.

In: ports and folders. Out: a world, load options, the text of an `outrider.toml`.

Not here: processes and the screen (`cli.demo`), the numbers on it (`sim.live`).
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from outrider.sim.options import LoadOptions, WorldOptions
from outrider.sim.world import parse_world

SENDER = "sender@practice.test"
HTTP_SHARE = 0.2  # chosen, because both ways in shall be seen working
MIX: tuple[tuple[str, float], ...] = (
    ("bigmail.test", 30),
    ("bigmail.example", 10),
    ("greymail.test", 8),
    ("moody.test", 12),
    ("slowpoke.test", 6),
    ("leavers.test", 8),
    ("modern.test", 12),
    ("antique.test", 6),
    *((f"d{number}.hoster.test", 0.2) for number in range(40)),
)
# chosen, so that every temper is met within seconds and the big one gets most


def demo_world() -> WorldOptions:
    """The world that comes with the program."""
    text = resources.files("outrider.sim").joinpath("demo.toml").read_text(encoding="utf-8")
    return parse_world(text, "demo.toml")


@cache
def providers_by_domain() -> Mapping[str, str]:
    """Who takes the mail of each domain of the demo's world."""
    return {domain: each.name for each in demo_world().provider for domain in each.all_domains()}


def demo_load(via: str, port: int, *, rate: float, api_key: str = "") -> LoadOptions:
    """What the demo sends by SMTP or HTTP: `rate` messages a second in all, over both."""
    share = HTTP_SHARE if api_key else 0.0
    return LoadOptions.model_validate(
        {
            "port": port,
            "via": via,
            "api_key": api_key,
            "rate": rate * (share if via == "http" else 1 - share),
            "connections": 4,
            "domains": MIX,
            "users": 500,
            "sender": SENDER,
            "run": via,
            "seed": 7 if via == "http" else 3,
        }
    )


def server_toml(
    *,
    folder: Path,
    workers: int,
    smtp_port: int,
    http_port: int,
    dns_port: int,
    exchanger_port: int,
    metrics_port: int,
    users_file: Path | None,
) -> str:
    """An `outrider.toml` for a server that delivers into the practice internet.

    Args:
        folder: Where the server keeps its state.
        workers: Worker processes.
        smtp_port: Port on which the server takes mail by SMTP.
        http_port: Port on which it takes mail by HTTP.
        dns_port: Port of the simulator's DNS.
        exchanger_port: Port of the simulated exchangers.
        metrics_port: Port of its metrics.
        users_file: File with the API key, or None.
    """
    users = f'users_file = "{users_file}"\n' if users_file else ""
    return f"""\
# Written by `outrider demo`: everything on loopback, names from the practice internet.

[server]
hostname = "mail.practice.test"
workers = {workers}
state_directory = "{folder}"
{users}
[[listener]]
port = {smtp_port}
trusted_networks = ["127.0.0.0/8"]

[[http]]
port = {http_port}

[net]
nameservers = ["127.0.0.1:{dns_port}"]
allowed_target_networks = ["127.0.0.0/8"]

[shaping.default]
smtp_port = {exchanger_port}
retry_interval_seconds = 2
max_retry_interval_seconds = 4

[[shaping.override]]
site = "*.bigmail.test"
max_connections = 16

[delivery.default]
max_deliveries_per_connection = 100

[record]
metrics_port = {metrics_port}

[classify.dsn.rate]
per_hour = 1000000
burst = 100000
"""

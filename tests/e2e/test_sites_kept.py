"""Deferred mail is found by its site after a start, and after a change of where its domain goes."""

import smtplib
from pathlib import Path

from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port, wait_until

RETRIES = """
[shaping]
horizon_seconds = 1

[shaping.default]
retry_interval_seconds = 86400
max_retry_interval_seconds = 86400
"""
DOMAINS = ("one.test", "two.test", "three.test")


def named(configuration: str, site: str) -> str:
    return configuration.replace("[[net.routes]]\n", f'[[net.routes]]\nname = "{site}"\n')


def queued_by_site(server: OutriderProcess) -> dict[str, tuple[int, int]]:
    """Site to what is queued in all, and on disk."""
    return {row["site"]: (row["queued"], row["on_disk"]) for row in server.command("path", "list")}


def test_mail_is_found_by_its_site_after_starts_and_changes_of_routes(tmp_path: Path) -> None:
    nobody = free_port()
    plain = configuration_for(dict.fromkeys(DOMAINS, nobody), workers=1, more=RETRIES)
    with serving(tmp_path, named(plain, "alpha")) as server:
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=PATIENCE_SECONDS) as client:
            for domain in DOMAINS:
                client.sendmail("a@sender.test", [f"joe@{domain}"], b"Subject: hello\r\n\r\nHello\r\n")
        wait_until(lambda: queued_by_site(server) == {"alpha": (3, 3)}, "all of it is deferred, on disk")
    with serving(tmp_path, named(plain, "alpha")) as server:
        assert queued_by_site(server) == {"alpha": (3, 3)}
        counted = server.command("queue", "count", "--site", "alpha")
        assert (counted["count"], counted["unresolved"]) == (3, 0)
        text = server.config.read_text(encoding="utf-8").replace('name = "alpha"', 'name = "beta"')
        server.config.write_text(text, encoding="utf-8")
        server.command("reload")
        wait_until(lambda: queued_by_site(server) == {"beta": (3, 3)}, "the new site of what is not due")
    with serving(tmp_path, named(plain, "gamma")) as server:
        wait_until(lambda: queued_by_site(server) == {"gamma": (3, 3)}, "the site of what a start finds")

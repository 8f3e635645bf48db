"""All mail goes to one relay that wants a password over TLS; without a good certificate it gets neither."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.e2e.outrider_process import serving
from tests.e2e.practice import Practice, await_events, events_of, provider, send

WORLD = (
    provider("sender", "sender.test", "127.30.7.1")
    + """
[[zone]]
name = "smart.test"
[[zone.record]]
name = "relay"
type = "A"
value = "127.0.0.1"
"""
)
USER, PASSWORD = "outrider", "correct horse battery"


class Relay(socketserver.ThreadingTCPServer):
    """A scripted server: STARTTLS, AUTH PLAIN, one transaction after the other.

    Attributes:
        context: Its certificate.
        said: Every command line, with `TLS ` before those that came encrypted.
        contents: What it took.
    """

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Dialogue)
        self.context = context
        self.said: list[str] = []
        self.contents: list[bytes] = []


class Dialogue(socketserver.StreamRequestHandler):
    """One connection."""

    server: Relay

    def handle(self) -> None:
        self.say(b"220 relay.smart.test ESMTP")
        mark = ""
        while line := self.rfile.readline():
            text = line.decode().rstrip("\r\n")
            self.server.said.append(mark + text)
            verb = text[:4].upper()
            if verb == "EHLO":
                offers = [b"250-AUTH PLAIN", b"250 8BITMIME"] if mark else [b"250 STARTTLS"]
                self.say(b"250-relay.smart.test", *offers)
            elif verb == "STAR":
                self.say(b"220 2.0.0 Go ahead")
                try:
                    secured = self.server.context.wrap_socket(self.connection, server_side=True)
                except OSError:
                    return
                self.connection, mark = secured, "TLS "
                self.rfile, self.wfile = secured.makefile("rb"), secured.makefile("wb")
            elif verb == "AUTH":
                given = base64.b64decode(text.split()[2]).split(b"\0")[1:]
                good = given == [USER.encode(), PASSWORD.encode()]
                self.say(b"235 2.7.0 Welcome" if good else b"535 5.7.8 Wrong")
            elif verb == "DATA":
                self.say(b"354 Go on")
                self.take()
            else:
                self.say(b"221 2.0.0 Bye" if verb == "QUIT" else b"250 2.0.0 OK")
                if verb == "QUIT":
                    return

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def take(self) -> None:
        content = b""
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            content += line
        self.server.contents.append(content)
        self.say(b"250 2.0.0 Taken")

    def say(self, *lines: bytes) -> None:
        self.wfile.write(b"\r\n".join(lines) + b"\r\n")
        self.wfile.flush()


@contextmanager
def relaying(authority: trustme.CA, name: str) -> Iterator[Relay]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with Relay(context) as relay:
        thread = threading.Thread(target=relay.serve_forever)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()


def configuration(practice: Practice, folder: Path, relay: Relay, authority: trustme.CA) -> str:
    folder.mkdir()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    return practice.configuration(
        more=f"""
[[net.routes]]
domain = "*"
hosts = ["relay.smart.test:{relay.server_address[1]}"]
name = "smart"

[net.tls]
ca_file = "{folder}/ca.pem"

[[delivery.override]]
site = "smart"
tls = "required"
auth_user = "{USER}"
password_file = "{folder}/password"
"""
    )


def test_it_authenticates_in_tls_and_hands_everything_over(practice: Practice, tmp_path: Path) -> None:
    authority = trustme.CA()
    with relaying(authority, "relay.smart.test") as relay:
        text = configuration(practice, tmp_path / "server", relay, authority)
        with serving(tmp_path / "server", text) as server:
            for domain in ("one.test", "two.test"):
                send(server.ports["smtp"], f"customer@{domain}", body=f"For {domain}.")
            deliveries = await_events(server, 2, "delivery")
            assert {(event["site"], event["host"]) for event in deliveries} == {("smart", "relay.smart.test")}
            assert all(event["tls"].startswith("TLSv1") for event in deliveries)
            assert PASSWORD not in server.log()
        assert sorted(content.count(b"For one.test.") for content in relay.contents) == [0, 1]
        assert not [line for line in relay.said if line[:4] in {"AUTH", "MAIL", "RCPT", "DATA"}]
        assert len([line for line in relay.said if line.startswith("TLS AUTH PLAIN ")]) >= 1


def test_a_wrong_certificate_gets_neither_password_nor_mail(practice: Practice, tmp_path: Path) -> None:
    authority = trustme.CA()
    with relaying(authority, "other.smart.test") as relay:
        text = configuration(practice, tmp_path / "server", relay, authority)
        with serving(tmp_path / "server", text) as server:
            send(server.ports["smtp"], "customer@one.test")
            deferred = await_events(server, 1, "transient")
            assert deferred[0]["phase"] == "starttls"
            assert deferred[0]["ours"] is True
            assert not events_of(server, "delivery", "bounce")
    assert relay.contents == []
    assert not [line for line in relay.said if "AUTH" in line or "MAIL" in line]

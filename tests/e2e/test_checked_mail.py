"""What comes is checked against DNS; what was found goes on with it in a field and a seal, and to scripts."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider.base.clock import SystemClock
from outrider.wire.dkim.record import format_record
from outrider.wire.dkim.signer import sign
from outrider.wire.smtp.content import stuff_plain
from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import Practice, await_events, copies, id_in, log_lines, provider, reply_to
from tests.wire.dkim.reference import chain_verifies
from tests.wire.dkim.signing import DOMAIN, KEYS, key_of, pem, records, request

RECORD = format_record(key_of("rsa2048"))
ZONE = f"""
[[zone]]
name = "{DOMAIN}"
record = [
    {{ name = "@", type = "TXT", value = '"v=spf1 ip4:127.0.0.1 -all"' }},
    {{ name = "rsa2048._domainkey", type = "TXT", value = '"{RECORD[:200]}" "{RECORD[200:]}"' }},
    {{ name = "_dmarc", type = "TXT", value = '"v=DMARC1; p=reject"' }},
]
[[zone]]
name = "broken.test"
answer = "servfail"
[[zone]]
name = "macros.test"
record = [{{ name = "@", type = "TXT", value = '"v=spf1 exists:%{{l}}.broken.test -all"' }}]
"""
WORLD = provider("one", "one.test", "127.30.9.1") + ZONE
SCRIPT = """\
from outrider.policy.api import Refuse

async def data_spool(mail):
    if mail.header("X-Strict"):
        checks = await mail.check()
        if checks.dmarc.word == "fail" and checks.dmarc.policy == "reject":
            return Refuse(550, f"5.7.1 nothing speaks for {checks.dmarc.domain}")
"""
MORE = f"""
[[policy.script]]
name = "strict"
source = "strict.py"
[[listener]]
name = "marked"
port = 0
trusted_networks = ["127.0.0.0/8"]
authentication_results = true
[[dkim]]
domain = "*"
signing_domain = "{DOMAIN}"
selector = "rsa2048"
key_file = "rsa2048.pem"
arc = true
"""
PLAIN = (
    b"From: Ann <ann@sender.test>\r\nTo: joe@one.test\r\nSubject: order\r\n"
    b"Date: Tue, 24 Nov 2026 16:34:24 +0000\r\nMessage-ID: <1@sender.test>\r\n\r\nOn its way.\r\n"
)


@pytest.fixture(scope="module")
def server(storing: Practice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutriderProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "strict.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "rsa2048.pem").touch(0o600)
    (folder / "rsa2048.pem").write_bytes(pem("rsa2048"))
    with serving(folder, storing.configuration(more=MORE)) as running:
        yield running


def received(server: OutriderProcess, store: Path, listener: str, sender: str, content: bytes) -> bytes:
    """What the receiver got of a message."""
    code, text = reply_to(server, content, mail_from=sender, listener=listener)
    assert code == 250, text
    message_id = id_in(text)
    await_events(server, 1, "delivery", message_id=message_id)
    [found] = copies(store, message_id)
    return found


def field(message: bytes, name: bytes) -> str:
    """The one field of a name, unfolded."""
    header = b"\r\n" + message.partition(b"\r\n\r\n")[0] + b"\r\n"
    [value] = re.findall(rb"\r\n" + name + rb":((?:[^\r\n]|\r\n[ \t])*)", header)
    return b" ".join(value.split()).decode()


def signed(content: bytes) -> bytes:
    return sign(stuff_plain(content), [request("rsa2048")], KEYS, SystemClock().wall()) + content


def test_a_listener_writes_what_it_found_and_removes_what_others_claim(
    server: OutriderProcess, store: Path
) -> None:
    forged = b"Authentication-Results: outrider.example.test; dmarc=pass header.from=bank.test\r\n"
    message = received(server, store, "marked", "ann@sender.test", forged + signed(PLAIN))
    found = field(message, b"Authentication-Results")
    assert found.startswith("outrider.example.test; dkim=pass header.d=sender.test")
    assert "spf=pass smtp.mailfrom=sender.test" in found
    assert "dmarc=pass header.from=sender.test; arc=none" in found
    assert b"bank.test" not in message


def test_what_dns_does_not_answer_is_written_and_the_message_goes_on(
    server: OutriderProcess, store: Path
) -> None:
    content = PLAIN.replace(b"ann@sender.test", b"ann@broken.test")
    found = field(received(server, store, "marked", "ann@broken.test", content), b"Authentication-Results")
    assert "spf=temperror" in found
    assert "dmarc=temperror" in found


def test_what_a_message_has_dns_asked_for_is_not_in_the_log(server: OutriderProcess, store: Path) -> None:
    content = PLAIN.replace(b"ann@sender.test", b"ann@macros.test")
    found = field(
        received(server, store, "marked", "wilhelmina@macros.test", content), b"Authentication-Results"
    )
    assert "spf=temperror" in found
    assert log_lines(server, "dns.lookup_failed")
    assert "wilhelmina" not in server.log()


def test_the_next_set_of_a_chain_says_what_was_found_and_holds_for_others(
    server: OutriderProcess, store: Path
) -> None:
    first = received(server, store, "smtp", "ann@sender.test", PLAIN)
    found = field(first, b"ARC-Authentication-Results")
    assert found.startswith("i=1; outrider.example.test; dkim=none; spf=pass")
    assert found.endswith("arc=none smtp.remote-ip=127.0.0.1")
    assert chain_verifies(first, records("rsa2048")) == "pass"
    second = received(server, store, "smtp", "list@other.test", first)
    assert second.startswith(b"ARC-Seal: i=2;")
    assert b"cv=pass" in second[:200]
    assert chain_verifies(second, records("rsa2048")) == "pass"
    broken = second.replace(b"On its way.", b"On its own.")
    third = received(server, store, "smtp", "list@other.test", broken)
    assert third.startswith(b"ARC-Seal: i=3;")
    assert b"cv=fail" in third[:200]


def test_a_script_refuses_what_nothing_speaks_for(server: OutriderProcess) -> None:
    content = b"X-Strict: yes\r\n" + PLAIN
    assert reply_to(server, content)[0] == 250
    code, text = reply_to(server, content, mail_from="ann@evil.test")
    assert (code, text) == (550, "5.7.1 nothing speaks for sender.test")
    assert log_lines(server, "policy.failed") == []

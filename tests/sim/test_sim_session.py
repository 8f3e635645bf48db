"""Each behaviour of a simulated provider, seen by smtplib and by raw sockets."""

import json
import smtplib
import socket
import ssl
from pathlib import Path

import pytest

from outrider.base.clock import SystemClock
from tests.patience import PATIENCE_SECONDS
from tests.sim.conftest import Running, WorldMaker

PLAIN = """
[[provider]]
name = "plain"
domains = ["plain.test"]
mx = [{name = "mx.plain.test", address = "127.0.0.1"}]
"""
MESSAGE = "X-Sim-Number: run-{number}\r\nSubject: s\r\n\r\nHello\r\n.dot\r\n"


def with_behaviour(text: str) -> str:
    return PLAIN + "[provider.behaviour]\n" + text


def with_rule(text: str) -> str:
    return PLAIN + "[[provider.rule]]\n" + text


def send(client: smtplib.SMTP, number: int, *recipients: str, sender: str = "s@a.test") -> dict[str, object]:
    return dict(client.sendmail(sender, recipients or ("r@plain.test",), MESSAGE.format(number=number)))


def raw(place: tuple[str, int]) -> socket.socket:
    return socket.create_connection(place, timeout=PATIENCE_SECONDS)


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    return data


def read_all(sock: socket.socket) -> bytes:
    data = b""
    try:
        while part := sock.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def test_numbered_messages_are_counted_exactly(start_world: WorldMaker) -> None:
    running = start_world(PLAIN)
    with running.client("plain") as client:
        send(client, 1, "a@plain.test", "b@PLAIN.test")
        send(client, 2, "a@plain.test")
        send(client, 2, "a@plain.test")
    assert running.world.numbered() == [
        ("run-1", "a@plain.test", 1, 0),
        ("run-1", "b@plain.test", 1, 0),
        ("run-2", "a@plain.test", 2, 0),
    ]
    report = running.world.report()["providers"]["plain"]
    assert (report["messages"], report["recipients"], report["duplicates"]) == (3, 4, 1)
    assert report["replies"]["354"] == 3
    assert report["most_in_a_minute"] == {"messages": 3, "recipients": 4}
    assert report["violations"] == {}


def test_a_number_in_the_body_does_not_count(start_world: WorldMaker) -> None:
    running = start_world(PLAIN)
    with running.client("plain") as client:
        client.sendmail("s@a.test", ["r@plain.test"], "Subject: s\r\n\r\nX-Sim-Number: run-1\r\n")
    assert running.world.numbered() == []
    assert running.provider("plain").counts.unnumbered == 1


def test_failure_report_counts_as_bounce(start_world: WorldMaker) -> None:
    running = start_world(PLAIN)
    report = (
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n"
        "Final-Recipient: rfc822; gone@x.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        "Final-Recipient: rfc822; late@x.test\r\nAction: delayed\r\nStatus: 4.1.1\r\n\r\n"
        "--b\r\nContent-Type: text/rfc822-headers\r\n\r\nX-Sim-Number: run-7\r\n\r\n--b--\r\n"
    )
    with running.client("plain") as client:
        client.sendmail("", ["s@plain.test"], report)
    assert running.world.numbered() == [("run-7", "gone@x.test", 0, 1)]


def test_foreign_domains_are_not_relayed(start_world: WorldMaker) -> None:
    running = start_world(PLAIN)
    with running.client("plain") as client, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        send(client, 1, "r@other.test")
    assert refused.value.recipients["r@other.test"][0] == 550
    assert (running.provider("plain").counts.rejected, running.provider("plain").counts.deferred) == (1, 0)


def test_rule_answers_by_recipient_and_every(start_world: WorldMaker) -> None:
    running = start_world(
        with_rule('on = "rcpt"\nmatch = "bad*@*"\nevery = 2\nreply = "550 5.1.1 No such user"\n')
    )
    with running.client("plain") as client:
        assert send(client, 1, "bad1@plain.test", "good@plain.test") == {}
        refused = send(client, 2, "bad2@plain.test", "good@plain.test")
    assert list(refused) == ["bad2@plain.test"]
    assert running.provider("plain").counts.rejected == 1
    assert list(running.provider("plain").counts.last_replies) == ["550 5.1.1 No such user"]
    assert running.provider("plain").counts.recipients == 3


def test_rule_with_probability_repeats_with_its_seed(start_world: WorldMaker) -> None:
    text = with_rule('on = "mail"\nprobability = 0.5\n')
    seen = []
    for _ in range(2):
        running = start_world(text)
        with running.client("plain") as client:
            client.ehlo()
            codes = []
            for _ in range(20):
                codes.append(client.mail("s@a.test")[0])
                client.rset()
        seen.append(codes)
    assert seen[0] == seen[1]
    assert set(seen[0]) == {250, 451}


def test_rule_times_out_of_use(start_world: WorldMaker) -> None:
    running = start_world(with_rule('on = "body"\ntimes = 1\nreply = "451 4.3.0 Once"\n'))
    with running.client("plain") as client:
        with pytest.raises(smtplib.SMTPDataError):
            send(client, 1)
        send(client, 1)
    assert running.world.numbered() == [("run-1", "r@plain.test", 1, 0)]
    assert (running.provider("plain").counts.rejected, running.provider("plain").counts.deferred) == (0, 1)


@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail", "rcpt", "data", "body", "rset", "quit"])
@pytest.mark.parametrize("action", ["disconnect", "drop"])
def test_connection_ends_at_each_command(start_world: WorldMaker, phase: str, action: str) -> None:
    running = start_world(with_rule(f'on = "{phase}"\naction = "{action}"\nreply = "451 4.0.0 Here"\n'))
    dialogue: tuple[bytes, ...] = (
        b"EHLO c.test\r\n",
        b"RSET\r\n" if phase == "rset" else b"",
        b"MAIL FROM:<s@a.test>\r\nRCPT TO:<r@plain.test>\r\nDATA\r\n",
        b"QUIT\r\n" if phase == "quit" else b"Subject: s\r\n\r\n.\r\n",
    )
    if phase == "quit":
        dialogue = (b"EHLO c.test\r\n", b"QUIT\r\n")
    with raw(running.place("plain")) as sock:
        heard = b""
        try:
            for part in dialogue:
                if part:
                    sock.sendall(part)
            heard = read_all(sock)
        except (BrokenPipeError, ConnectionResetError):
            heard += read_all(sock)
    if action == "disconnect":
        assert heard.endswith(b"451 4.0.0 Here\r\n")
    else:
        assert b"Here" not in heard
    assert running.provider("plain").counts.messages == 0
    running.settle(lambda: running.provider("plain").counts.connections == 0)


def test_stall_never_answers_but_reads(start_world: WorldMaker) -> None:
    running = start_world(with_rule('on = "mail"\naction = "stall"\n'))
    with raw(running.place("plain")) as sock:
        sock.sendall(b"EHLO c.test\r\nMAIL FROM:<s@a.test>\r\nQUIT\r\n")
        assert b"250 ENHANCEDSTATUSCODES\r\n" in read_until(sock, b"250 ENHANCEDSTATUSCODES\r\n")
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        assert running.provider("plain").counts.connections == 1


def test_lost_reply_takes_the_message(start_world: WorldMaker) -> None:
    running = start_world(with_rule('on = "body"\naction = "lose-reply"\n'))
    with pytest.raises(smtplib.SMTPServerDisconnected), running.client("plain") as client:
        send(client, 4)
    assert running.world.numbered() == [("run-4", "r@plain.test", 1, 0)]


def test_connection_limit(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour("limits = {max_connections = 2}\n"))
    counts = running.provider("plain").counts
    with running.client("plain") as one, running.client("plain"):
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            running.client("plain")
        assert refused.value.smtp_code == 421
        one.quit()
        with running.client("plain"):
            pass
    assert counts.connections_refused == 1
    assert counts.connections_total == 4
    assert counts.connections_most == 3


def test_reconnecting_at_once_is_never_two_connections(start_world: WorldMaker) -> None:
    running = start_world(PLAIN)
    for _ in range(200):
        with raw(running.place("plain")) as sock:
            read_until(sock, b"\r\n")
    counts = running.provider("plain").counts
    assert counts.connections_total == 200
    assert counts.connections_most == 1


def test_message_and_recipient_limits(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour("limits = {max_connection_messages = 1, max_recipients = 2}\n"))
    with running.client("plain") as client:
        refused = send(client, 1, "a@plain.test", "b@plain.test", "c@plain.test")
        assert refused["c@plain.test"] == (452, b"4.5.3 Too many recipients")
        with pytest.raises(smtplib.SMTPSenderRefused) as second:
            send(client, 2)
        assert second.value.smtp_code == 421


def test_rate_limit(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour("limits = {max_messages_per_minute = 2}\n"))
    with running.client("plain") as client:
        send(client, 1)
        send(client, 2)
        with pytest.raises(smtplib.SMTPSenderRefused) as third:
            send(client, 3)
        assert third.value.smtp_code == 451
    assert running.provider("plain").counts.messages_in_window.most == 2


def test_size_limit(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour("limits = {max_message_bytes = 1000}\n"))
    with running.client("plain") as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "1000"
        assert client.mail("s@a.test", ["SIZE=1001"])[0] == 552
    with raw(running.place("plain")) as sock:
        sock.sendall(b"HELO c\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<r@plain.test>\r\nDATA\r\n")
        read_until(sock, b"354 ")
        sock.sendall(b"x" * 5000 + b"\r\n.\r\nQUIT\r\n")
        assert b"552 5.3.4" in read_all(sock)


def test_greylisting_forgives_the_patient(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour("greylist_seconds = 0.01\n"))
    with running.client("plain") as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(client, 1)
        began = SystemClock().now()
        running.settle(lambda: SystemClock().now() > began + 0.02)
        send(client, 1)
    assert running.world.numbered() == [("run-1", "r@plain.test", 1, 0)]


def test_burst_answers_everything(start_world: WorldMaker) -> None:
    running = start_world(
        with_behaviour(
            'bursts = [{period_seconds = 2000, length_seconds = 1000, reply = "451 4.3.2 Burst"}]\n'
        )
    )
    with running.client("plain") as client:
        client.ehlo()
        assert client.mail("s@a.test") == (451, b"4.3.2 Burst")


def test_delay_keeps_the_order_of_replies(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour("delay = {mail = 0.02, body = 0.02}\n"))
    with raw(running.place("plain")) as sock:
        read_until(sock, b"\r\n")
        sock.sendall(b"EHLO c.test\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<r@plain.test>\r\nDATA\r\n")
        read_until(sock, b"354 ")
        sock.sendall(b"Subject: s\r\n\r\nx\r\n.\r\nMAIL FROM:<s@a.test>\r\nQUIT\r\n")
        codes = [line[:3] for line in read_all(sock).splitlines()]
    assert codes[-3:] == [b"250", b"250", b"221"]
    assert running.provider("plain").counts.messages == 1


def test_early_talk_is_noticed(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour("delay = {connect = 1}\n"))
    with raw(running.place("plain")) as sock:
        sock.sendall(b"EHLO c.test\r\n")
        read_until(sock, b"250 ")
    assert running.provider("plain").counts.violations["early-talk"] == 1


def test_slow_reading_still_takes_the_message(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour("read_bytes_per_second = 500000\n"))
    with running.client("plain") as client:
        client.sendmail("s@a.test", ["r@plain.test"], "Subject: s\r\n\r\n" + "x" * 70 + "\r\n" * 10000)
    assert running.provider("plain").counts.messages == 1


def test_chunking(start_world: WorldMaker, tmp_path: Path) -> None:
    running = start_world(PLAIN, tmp_path)
    with raw(running.place("plain")) as sock:
        sock.sendall(b"EHLO c.test\r\n")
        read_until(sock, b"250 ")
        sock.sendall(b"MAIL FROM:<s@a.test> BODY=8BITMIME\r\nRCPT TO:<r@plain.test>\r\n")
        content = b"X-Sim-Number: run-1\r\n\r\n.\r\n\xc3\xa9\r\n"
        sock.sendall(b"BDAT 10\r\n" + content[:10] + b"BDAT %d LAST\r\n" % (len(content) - 10) + content[10:])
        sock.sendall(b"BDAT 3 LAST\r\nabcQUIT\r\n")
        codes = [line[:3] for line in read_all(sock).splitlines()][-6:]
    assert codes == [b"250", b"250", b"250", b"250", b"503", b"221"]
    assert running.world.numbered() == [("run-1", "r@plain.test", 1, 0)]
    assert running.provider("plain").counts.violations == {}
    assert (tmp_path / "plain" / "00000001.eml").read_bytes() == content


def test_stored_message_is_unstuffed(start_world: WorldMaker, tmp_path: Path) -> None:
    running = start_world(PLAIN, tmp_path)
    with running.client("plain") as client:
        send(client, 1)
    assert (tmp_path / "plain" / "00000001.eml").read_bytes() == MESSAGE.format(number=1).encode()
    envelope = json.loads((tmp_path / "plain" / "00000001.json").read_text())
    assert (envelope["mail_from"], envelope["recipients"]) == ("s@a.test", ["r@plain.test"])


def test_breaches_of_protocol_are_counted(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour('extensions = ["SMTPUTF8"]\n'))
    with raw(running.place("plain")) as sock:
        sock.sendall(b"EHLO c.test\r\nMAIL FROM:<s@a.test> BODY=8BITMIME\r\n")
        sock.sendall(b"MAIL FROM:<s@a.test>\r\nRCPT TO:<r@plain.test>\nDATA\r\n")
        read_until(sock, b"354 ")
        sock.sendall(b"a\nb\rc\0\xff\r\n.\r\nQUIT\r\n")
        heard = read_all(sock)
    assert heard.startswith(b"250")
    violations = running.provider("plain").counts.violations
    for kind in (
        "bare-lf",
        "bare-cr",
        "nul",
        "undeclared-8bit",
        "command-without-crlf",
        "parameter-not-offered",
    ):
        assert violations[kind] == 1, kind
    assert violations["pipelining"] >= 1


def test_only_crlf_dot_crlf_ends_data(start_world: WorldMaker) -> None:
    running = start_world(PLAIN)
    with raw(running.place("plain")) as sock:
        sock.sendall(b"EHLO c.test\r\nMAIL FROM:<s@a.test>\r\nRCPT TO:<r@plain.test>\r\nDATA\r\n")
        read_until(sock, b"354 ")
        for part in (b"a\n.\n", b"b\r\n.\n", b"c\n.\r\n", b"d\r.\r", b"\r\n", b".", b"\r", b"\nQUIT\r\n"):
            sock.sendall(part)
        read_all(sock)
    assert running.provider("plain").counts.messages == 1


def test_extensions_and_old_servers(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour('extensions = ["8BITMIME"]\nhelo_only = false\n'))
    with running.client("plain") as client:
        client.ehlo()
        assert list(client.esmtp_features) == ["8bitmime"]
    running = start_world(with_behaviour("helo_only = true\n"))
    with running.client("plain") as client:
        client.ehlo_or_helo_if_needed()
        assert client.does_esmtp is False
        send(client, 1)


def client_context(authority: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = True
    return context


def shown_certificate(running: Running, tmp_path: Path) -> Path:
    """The certificate that the provider shows, to be trusted by the test's client."""
    lax = ssl.create_default_context()
    lax.check_hostname = False
    lax.verify_mode = ssl.CERT_NONE
    with running.client("plain") as client:
        client.starttls(context=lax)
        assert isinstance(client.sock, ssl.SSLSocket)
        der = client.sock.getpeercert(binary_form=True)
    assert der
    path = tmp_path / "shown.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(der))
    return path


def test_tls_delivers(start_world: WorldMaker, tmp_path: Path) -> None:
    running = start_world(with_behaviour('tls = {mode = "require"}\n'))
    context = client_context(shown_certificate(running, tmp_path))
    with running.client("plain") as client:
        client._host = "mx.plain.test"  # type: ignore[attr-defined]
        assert client.ehlo()[0] == 250
        assert client.mail("s@a.test")[0] == 530
        client.starttls(context=context)
        client.ehlo()
        assert not client.has_extn("starttls")
        send(client, 1)
    assert running.world.numbered() == [("run-1", "r@plain.test", 1, 0)]


@pytest.mark.parametrize(("fault", "text"), [("expired", "expired"), ("wrong-name", "mismatch")])
def test_tls_certificate_faults(start_world: WorldMaker, tmp_path: Path, fault: str, text: str) -> None:
    running = start_world(with_behaviour(f'tls = {{mode = "offer", fault = "{fault}"}}\n'))
    context = client_context(shown_certificate(running, tmp_path))
    with running.client("plain") as client:
        client._host = "mx.plain.test"  # type: ignore[attr-defined]
        with pytest.raises(ssl.SSLCertVerificationError, match=text):
            client.starttls(context=context)
        client.close()


def test_tls_broken_handshake_and_refusal(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour('tls = {mode = "offer", fault = "handshake"}\n'))
    with running.client("plain") as client:
        with pytest.raises(ssl.SSLError):
            client.starttls(context=client_context(None))
        client.close()
    running = start_world(with_behaviour('tls = {mode = "offer", fault = "refused"}\n'))
    with running.client("plain") as client:
        with pytest.raises(smtplib.SMTPResponseException, match="454"):
            client.starttls(context=client_context(None))
        send(client, 1)


def test_commands_before_the_handshake_have_no_effect(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour('tls = {mode = "offer"}\n'))
    with raw(running.place("plain")) as sock:
        sock.sendall(b"EHLO c.test\r\nSTARTTLS\r\nMAIL FROM:<s@a.test>\r\n")
        heard = read_until(sock, b"220 2.0.0")
        sock.sendall(b"this is no handshake\r\n")
        heard += read_all(sock)
    after = heard.partition(b"220 2.0.0")[2]
    assert b"Sender OK" not in after
    assert b"503 " not in after
    assert running.provider("plain").counts.violations["pipelining"] >= 1


def test_two_providers_share_a_port(start_world: WorldMaker) -> None:
    running = start_world(
        """
        [[provider]]
        name = "one"
        domains = ["one.test"]
        mx = [{name = "mx.one.test", address = "127.0.7.1"}]
        [[provider]]
        name = "two"
        domain_count = 3
        domain_pattern = "d{n}.two.test"
        mx = [{name = "mx.two.test", address = "127.0.7.2"}, {name = "mx2.two.test", address = "127.0.7.3"}]
        """
    )
    assert running.place("one")[1] == running.place("two")[1] == running.world.smtp_port
    with running.client("one") as one, running.client("two") as two:
        send(one, 1, "r@one.test")
        send(two, 2, "r@d2.two.test")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send(two, 3, "r@d3.two.test")
    assert running.provider("one").counts.messages == running.provider("two").counts.messages == 1


def test_the_silent_are_sent_away(start_world: WorldMaker) -> None:
    running = start_world(with_behaviour("idle_seconds = 0.05\n"))
    with raw(running.place("plain")) as sock:
        assert read_all(sock).endswith(b"421 4.4.2 Idle for too long\r\n")
    running.settle(lambda: running.provider("plain").counts.connections == 0)

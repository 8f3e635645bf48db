"""The move from a real Postfix and back, by the lines that the pages show."""

import os
import re
import signal
import smtplib
import subprocess
import textwrap
import tomllib
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, serving, start_server
from tests.e2e.practice import DEFERS, await_events, events_of, practising, provider, queue_is, send
from tests.house.test_docs_examples import UNITS, shown_defaults
from tests.patience import PATIENCE_SECONDS
from tests.peers import postfix as postfix_peer
from tests.peers.postfix import MASTER_CF, Postfix, flush, queue_is_empty
from tests.peers.processes import find_program, free_port, wait_until
from tools.project_files import ROOT

pytestmark = pytest.mark.peer

HOW_TO = ROOT / "docs" / "how-to"
BESIDE = HOW_TO / "put-it-before-postfix.md"
MIGRATE = HOW_TO / "migrate-from-postfix.md"
COUNT = 5
WORLD = provider("net", "example.net", "127.30.12.1") + provider("shop", "example.com", "127.30.12.2")


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def block(page: Path, language: str, mark: str) -> str:
    """The only block of a page that holds `mark`."""
    (found,) = (text for text in blocks(page, language) if mark in text)
    return found


def hand_over(relay: Postfix, first: int, domain: str = "example.com") -> None:
    """Gives Postfix some messages."""
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=PATIENCE_SECONDS) as client:
        for number in range(first, first + COUNT):
            text = f"From: shop@{domain}\r\nSubject: number {number}\r\n\r\nIt is on its way.\r\n"
            client.sendmail(f"shop@{domain}", ["customer@example.net"], text)


def deliveries(server: OutriderProcess) -> int:
    return len([event for event in events_of(server, "delivery") if event["domain"] == "example.net"])


@pytest.fixture(autouse=True)
def _needs_postfix() -> None:
    if reason := postfix_peer.missing():
        pytest.skip(reason)


def test_postfix_hands_over_keeps_its_mail_over_an_outage_and_the_logs_agree(tmp_path: Path) -> None:
    port = free_port()
    listener = block(BESIDE, "toml", 'name = "postfix"').replace("2525", str(port))
    relayhost = block(BESIDE, "cf", "relayhost").replace("2525", str(port))
    with practising(WORLD) as practice:
        text = practice.configuration(more=listener)
        with (
            serving(tmp_path / "outrider", text) as server,
            postfix_peer.postfix(domains="local.test", more=relayhost) as relay,
        ):
            hand_over(relay, 0)
            await_events(server, COUNT, "delivery")

            # an outage: Postfix keeps it
            assert server.stop() == 0
            hand_over(relay, COUNT)
            wait_until(lambda: relay.log().count("status=deferred") >= COUNT, "Postfix keeps the mail")
            assert practice.seen("net").recipients == COUNT
            again = start_server(server.folder)
            try:
                wait_until(lambda: deliveries(again) == 2 * COUNT, "all of it")
                wait_until(lambda: queue_is_empty(relay), "Postfix has nothing left")

                # each recipient once on both sides, and at the receiver
                assert relay.log().count("status=sent (250 2.0.0 Ok: queued as ") == 2 * COUNT
                assert practice.seen("net").recipients == 2 * COUNT
                # the id in Postfix's log is the one to trace by
                queued = re.findall(r"queued as (\w+), durable", relay.log())
                assert len(set(queued)) == 2 * COUNT
                states = {again.command("trace", one)["recipients"][0]["state"] for one in queued[:2]}
                assert states == {"delivered"}

                # a sender that is not listed goes back, not out
                hand_over(relay, 2 * COUNT, "elsewhere.example")
                wait_until(lambda: relay.log().count("status=bounced") >= COUNT, "refused for good")
                assert deliveries(again) == 2 * COUNT
                assert again.stop() == 0
            finally:
                again.kill()
                if again.process.stdout is not None:
                    again.process.stdout.close()


def test_what_postfix_had_in_its_queue_moves_too(tmp_path: Path) -> None:
    listener = block(BESIDE, "toml", 'name = "postfix"').replace("2525", "0")
    relayhost = block(BESIDE, "cf", "relayhost")
    dead = relayhost.replace("2525", str(free_port()))
    with (
        practising(WORLD) as practice,
        serving(tmp_path / "outrider", practice.configuration(more=listener)) as server,
        postfix_peer.postfix(domains="local.test", more=dead) as relay,
    ):
        hand_over(relay, 0)
        wait_until(lambda: relay.log().count("status=deferred") >= COUNT, "Postfix cannot send it")
        main_cf = relay.folder / "etc" / "main.cf"
        alive = relayhost.replace("2525", str(server.ports["postfix"]))
        main_cf.write_text(main_cf.read_text("utf-8").replace(dead, alive), "utf-8")
        os.kill(int((relay.folder / "queue" / "pid" / "master.pid").read_text()), signal.SIGHUP)

        def is_handed_over() -> bool:
            flush(relay)
            return queue_is_empty(relay)

        wait_until(is_handed_over, "Postfix has nothing left")
        await_events(server, COUNT, "delivery")
        assert practice.seen("net").recipients == COUNT


def test_the_way_back_brings_the_queue_out_through_postfix(tmp_path: Path) -> None:
    world = provider("net", "example.net", "127.30.13.1", DEFERS)
    with practising(world) as practice, postfix_peer.postfix(domains="example.net") as old:
        with serving(tmp_path / "outrider", practice.configuration()) as server:
            for _ in range(COUNT):
                send(server.ports["smtp"], "customer@example.net")
            await_events(server, COUNT, "transient")
            assert old.messages() == []

            back = block(MIGRATE, "toml", 'name = "postfix"').replace(":25", f":{old.port}")
            (server.folder / "conf.d").mkdir()
            (server.folder / "conf.d" / "back.toml").write_text(back, "utf-8")
            for line in block(MIGRATE, "sh", "outrider reload").splitlines():
                server.command(*line.split()[1:])
            assert len(old.wait_for(COUNT)) == COUNT
            wait_until(queue_is(server, 0), "the queue is empty")
            assert {event["site"] for event in events_of(server, "delivery")} == {"postfix"}
        assert practice.seen("net").recipients == 0


def test_one_domain_may_be_handed_over_first(tmp_path: Path) -> None:
    port = free_port()
    listener = block(BESIDE, "toml", 'name = "postfix"').replace("2525", str(port))
    transport = block(MIGRATE, "cf", "smtp:[127.0.0.1]:2525").replace("2525", str(port))
    with (
        practising(WORLD) as practice,
        serving(tmp_path / "outrider", practice.configuration(more=listener)) as server,
        postfix_peer.postfix(domains="local.test", more=transport) as relay,
        smtplib.SMTP("127.0.0.1", relay.port, timeout=PATIENCE_SECONDS) as client,
    ):
        text = "From: shop@example.com\r\nSubject: one\r\n\r\nIt is on its way.\r\n"
        client.sendmail("shop@example.com", ["customer@example.net", "someone@local.test"], text)
        await_events(server, 1, "delivery")
        assert len(relay.wait_for(1)) == 1
        assert len(events_of(server, "reception")) == 1


CF_BLOCKS = [(page, text) for page in (BESIDE, MIGRATE) for text in blocks(page, "cf")]


def postconf(folder: Path, main_cf: str, *arguments: str) -> dict[str, str]:
    """The parameters that Postfix shows; it must have nothing to say against them."""
    program = find_program("/usr/sbin/postconf", "postfix/usr/sbin/postconf")
    if program is None:
        pytest.skip("postconf comes with Postfix; run `make peers` as root")
    (folder / "main.cf").write_text(main_cf, "utf-8")
    (folder / "master.cf").write_text(MASTER_CF.format(port=25) + "slow unix - - n - - smtp\n", "utf-8")
    command = [str(program), "-c", str(folder), *arguments]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stderr
    return {
        name: value.strip() for name, _, value in (one.partition(" =") for one in shown.stdout.splitlines())
    }


@pytest.mark.parametrize(("page", "text"), CF_BLOCKS, ids=lambda value: str(value).partition(" =")[0][-30:])
def test_the_lines_of_main_cf_on_the_pages_are_postfix_s_own(page: Path, text: str, tmp_path: Path) -> None:
    names = {line.partition(" =")[0] for line in text.splitlines()}
    assert postconf(tmp_path, text, "-n").keys() - {"config_directory"} == names, page


def test_names_and_defaults_in_the_tables_are_postfix_s_own(tmp_path: Path) -> None:
    first = "".join(re.findall(r"^\|([^|]*)\|", MIGRATE.read_text("utf-8"), re.MULTILINE))
    codes = {code.partition(" =")[0] for code in re.findall(r"`([^`]*)`", first)}
    names = {code for code in codes if re.fullmatch(r"(?!permit_|reject_)[a-z]+(_[a-z0-9]+)+", code)}
    assert len(names) > 40
    known = postconf(tmp_path, "", "-d", *names)
    assert known.keys() == names
    defaults = {
        name: value for name, value in shown_defaults(MIGRATE.read_text("utf-8")).items() if name in known
    }
    assert len(defaults) >= 8
    assert defaults == {
        name: float(known[name].rstrip("shd")) * UNITS[known[name].lstrip("0123456789")] for name in defaults
    }


def test_the_configuration_before_and_the_one_after_say_the_same() -> None:
    before = dict(re.findall(r"^(\w+) = (.*)$", block(MIGRATE, "cf", "myhostname"), re.MULTILINE))
    after = tomllib.loads(block(MIGRATE, "toml", "message_octets"))
    (listener,) = after["listener"]
    assert after["server"]["hostname"] == before["myhostname"]
    assert listener["address"] == before["inet_interfaces"]
    assert listener["trusted_networks"] == before["mynetworks"].split(", ")
    assert listener["limits"]["message_octets"] == int(before["message_size_limit"])
    assert after["delivery"]["default"]["source_addresses"] == [before["smtp_bind_address"]]
    shaping = after["shaping"]["default"]
    assert shaping["max_connections"] == int(before["default_destination_concurrency_limit"])
    assert shaping["message_expiration_seconds"] == 86_400 * int(before["maximal_queue_lifetime"].rstrip("d"))
    assert after["net"]["routes"][0]["hosts"][0].partition(":")[0] in before["transport_maps"]

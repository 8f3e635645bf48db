"""Nothing is smuggled in by SMTP or HTTP, and nothing that leaves can be split by a lenient receiver."""

import http.client
import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from outrider.privacy.credentials import make_key
from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.hostility.attack import Attacker, unharmed
from tests.hostility.raw_receiver import RawReceiver, raw_receiver, ways_to_end
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

LINE_ENDS = (b"\r\n", b"\r", b"\n", b"\0", b"\r\0", b"\n\r", b"\r\r\n", b"\r\n\0")
FALSE_ENDS = [before + dot + after for before in LINE_ENDS for after in LINE_ENDS for dot in (b".", b"..")]
FALSE_ENDS = [end for end in FALSE_ENDS if not (b"\r\n.\r\n" in end or end == b"\r\n.\r\n")]
"""Everything that looks like an end of data to somebody, and is none."""

SECOND = (
    b"MAIL FROM:<boss@bank.test>\r\nRCPT TO:<victim@receiver.test>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nx\r\n.\r\n"
)
HEADER = b"From: shop@sender.test\r\nSubject: first\r\n\r\nHello"


class Door(NamedTuple):
    server: OutriderProcess
    receiver: RawReceiver
    key: str

    @property
    def smtp(self) -> int:
        return self.server.ports["smtp"]

    @property
    def mending(self) -> int:
        return self.server.ports["mending"]

    def arrived(self, marker: str) -> bytes:
        """The content with `marker`, once it is at the receiver."""
        sign = marker.encode()
        wait_until(lambda: any(sign in taken.wire for taken in self.receiver.taken), f"{marker} arrived")
        return next(taken.wire for taken in self.receiver.taken if sign in taken.wire)

    def post(self, body: bytes, media_type: str, **fields: str) -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self.server.ports["http"], timeout=PATIENCE_SECONDS)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": media_type, **fields}
            client.request("POST", "/v1/messages", body, headers)
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()


@pytest.fixture(scope="module", params=[(), ("PIPELINING", "8BITMIME", "CHUNKING")], ids=["data", "bdat"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("smuggling")
    users = folder / "users.toml"
    key = make_key(users, "app", "default", frozenset({"sender.test"}))
    mending = (
        '[[listener]]\nname = "mending"\nport = 0\ntrusted_networks = ["127.0.0.0/8"]\n'
        'stray_line_endings = "normalise"\n'
    )
    with raw_receiver(*request.param) as receiver:
        text = configuration_for({"receiver.test": receiver.port}, workers=1, users_file=users, more=mending)
        with serving(folder / "server", text) as server:
            yield Door(server, receiver, key)
            unharmed(server)


def smuggled(door: Door) -> list[str]:
    return [taken.mail_from for taken in door.receiver.taken if taken.mail_from == "boss@bank.test"]


def ambiguous(door: Door) -> list[bytes]:
    """Contents on the wire that a lenient receiver would end early, or that hold a stray octet."""
    return [
        taken.wire
        for taken in door.receiver.taken
        if (not taken.chunked and ways_to_end(taken.wire))
        or b"\0" in taken.wire
        or taken.wire.count(b"\r\n") != max(taken.wire.count(b"\r"), taken.wire.count(b"\n"))
    ]


@pytest.mark.parametrize("split", [False, True], ids=["whole", "octets"])
def test_no_false_end_ends_data(door: Door, split: bool) -> None:
    ends = FALSE_ENDS[:: 9 if split else 1]
    for end in ends:
        with Attacker(door.smtp) as attacker:
            attacker.until_data()
            octets = HEADER + end + SECOND + b"QUIT\r\n"
            if split:
                for at in range(len(octets)):
                    attacker.say(octets[at : at + 1])
            else:
                attacker.say(octets)
            replies = attacker.replies()
        # One message, refused or taken with everything in it; only QUIT is a command.
        assert len(replies) == 2, (end, replies)
        assert replies[1].startswith("221"), (end, replies)
    assert smuggled(door) == []


def test_what_is_mended_cannot_be_split_again(door: Door) -> None:
    for number, end in enumerate(FALSE_ENDS[::3]):
        marker = f"mended-{number}."
        with Attacker(door.mending) as attacker:
            attacker.until_data()
            attacker.say(HEADER + marker.encode() + end + SECOND + b"QUIT\r\n")
            assert [reply[:3] for reply in attacker.replies()] == ["250", "221"], end
        assert b"Subject: smuggled" in door.arrived(marker)
    assert smuggled(door) == []
    assert ambiguous(door) == []


def test_no_chunk_ends_early(door: Door) -> None:
    """BDAT takes every octet as content: a false end stays inside, a true one is stuffed on its way out."""
    for number, end in enumerate([b"\r\n.\r\n", *FALSE_ENDS[::5]]):
        marker = f"chunk-{number}."
        octets = HEADER + marker.encode() + end + SECOND
        with Attacker(door.smtp) as attacker:
            attacker.reply()
            attacker.ask(b"EHLO client.test")
            attacker.ask(b"MAIL FROM:<shop@sender.test>")
            attacker.ask(b"RCPT TO:<joe@receiver.test>")
            attacker.say(b"BDAT %d LAST\r\n" % len(octets) + octets + b"QUIT\r\n")
            replies = attacker.replies()
        assert len(replies) == 2, (end, replies)
        if replies[0].startswith("250"):
            assert b"Subject: smuggled" in door.arrived(marker), end
    assert smuggled(door) == []
    assert ambiguous(door) == []


@pytest.mark.parametrize("said", [b"BDAT 10\r\n", b"BDAT 5 LAST\r\n", b"BDAT 0\r\n"])
def test_commands_behind_a_chunk_are_counted_not_searched(door: Door, said: bytes) -> None:
    """A chunk whose size is a lie: what is left over is commands, and none of them makes a message."""
    with Attacker(door.smtp) as attacker:
        attacker.reply()
        attacker.say(b"EHLO client.test\r\nMAIL FROM:<shop@sender.test>\r\nRCPT TO:<joe@receiver.test>\r\n")
        attacker.say(said + HEADER + b"\r\n.\r\n" + SECOND + b"QUIT\r\n")
        replies = attacker.replies()
    assert any(reply.startswith("5") for reply in replies)
    assert smuggled(door) == []


def test_http_raw_gives_nothing_ambiguous(door: Door) -> None:
    for number, end in enumerate([b"\r\n.\r\n", b"\r\n..\r\n", *FALSE_ENDS]):
        marker = f"raw-{number}."
        body = HEADER + marker.encode() + end + SECOND
        envelope = {"Outrider-Mail-From": "shop@sender.test", "Outrider-Rcpt-To": "joe@receiver.test"}
        status, answer = door.post(body, "message/rfc822", **envelope)
        assert status in {202, 422, 400}, (end, answer)
        if status == 202:
            assert b"Subject: smuggled" in door.arrived(marker), end
    assert smuggled(door) == []
    assert ambiguous(door) == []


def test_http_json_gives_nothing_ambiguous(door: Door) -> None:
    for number, end in enumerate([b"\r\n.\r\n", b"\n.\n", b"\r.\r", *FALSE_ENDS[::4]]):
        for place in ("text", "html", "subject"):
            marker = f"json-{number}-{place}."
            request = {
                "from": "shop@sender.test",
                "to": ["joe@receiver.test"],
                "subject": "first",
                "text": marker,
            }
            request[place] = marker + (end + SECOND).decode()
            status, answer = door.post(json.dumps(request).encode(), "application/json")
            assert status in {202, 400, 422}, (end, place, answer)
            if status == 202:
                door.arrived(marker)
    assert smuggled(door) == []
    assert ambiguous(door) == []


def test_the_lenient_receiver_of_these_tests_would_notice() -> None:
    assert ways_to_end(b"a\n.\nb\r\n")
    assert ways_to_end(b"a\r\n.\rb\r\n")
    assert ways_to_end(b".\nb\r\n")
    assert not ways_to_end(b"a\r\n..\r\nb.\r\n.c\r\n")

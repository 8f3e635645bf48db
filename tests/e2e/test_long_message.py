"""A long message goes through the whole server octet for octet, from memory and from the log."""

import smtplib
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.outrider_process import PROGRAM, configuration_for, serving
from tests.e2e.practice import send
from tests.hostility.raw_receiver import raw_receiver
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until

OCTETS = 12 << 20
LINES = b"".join(b".%060d\r\n" % number for number in range(OCTETS // 63))
HEADER = b"From: a@sender.test\r\nSubject: long\r\n\r\n"
PACKED = '[spool]\nencryption = "aes-256-gcm"\ncompression = "zstd"\n'


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("cache", [0, 64 << 20])
def test_it_arrives_as_it_was_sent(tmp_path: Path, *, cache: int, is_packed: bool) -> None:
    with raw_receiver("PIPELINING", "SIZE") as receiver:
        text = configuration_for({"receiver.test": receiver.port}, workers=1, more=PACKED * is_packed)
        text = text.replace("workers = 1", f"workers = 1\ncontent_cache_bytes = {cache}")
        if is_packed:
            (tmp_path / "outrider.toml").write_text(text)
            command = [*PROGRAM, "keys", "generate", "spool", "-c", "outrider.toml"]
            subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        with serving(tmp_path, text) as server:
            port = server.ports["smtp"]
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
                client.sendmail("a@sender.test", ["joe@receiver.test", "bob@receiver.test"], HEADER + LINES)
            send(port, "joe@receiver.test", body="short")
            wait_until(lambda: {len(each.wire) > OCTETS for each in receiver.taken} == {True, False}, "both")
            long = [each.wire for each in receiver.taken if len(each.wire) > OCTETS]
    stuffed = (HEADER + LINES).replace(b"\r\n.", b"\r\n..")
    for wire in long:
        assert wire.startswith(b"Received: ")
        assert wire.endswith(stuffed)
    assert all(one == other for one, other in pairwise(long))

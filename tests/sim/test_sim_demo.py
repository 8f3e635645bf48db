"""The demo as a process: it ends by itself, or at a signal, with every message accounted for."""

import json
import signal
import subprocess
import sys


def demo(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "outrider.cli.main", "demo", "--rate", "60", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_it_ends_by_itself_with_a_complete_account() -> None:
    process = demo("--seconds", "3", "--json")
    out, _ = process.communicate(timeout=120)
    result = json.loads(out)
    assert process.returncode == 0
    assert result["complete"] is True
    assert result["acknowledged"] > 0
    assert result["acknowledged"] == result["delivered"] + result["bounced"] + result["queued"]
    assert result["first_delivery_seconds"] > 0
    assert result["lost"] == result["intruders"] == result["strangers"] == 0


def test_a_signal_ends_it_with_the_summary() -> None:
    process = demo("--drain-seconds", "0")
    assert process.stdout is not None
    heard = ""
    while not heard.startswith("The first message was delivered "):
        heard = process.stdout.readline()
        assert heard
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert heard in out, "the summary says it again"
    assert "lost=0" in out
    assert "every acknowledged message is accounted for" in out

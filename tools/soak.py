"""`make soak MINUTES=n`: mixed load with failures for minutes, and whether anything goes on growing.

In: minutes. Out: each second a sample of memory (PSS), descriptors, threads, octets of the spool and
entries in the queue; at the end a verdict on each, and a picture in `docs/explanation/soak.svg`. Exit code 1
says that a measure still grows. A worker and the dispatcher are killed on the way.
"""

import argparse
import signal
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter

from tests.e2e.outrider_process import OutriderProcess, serving
from tests.e2e.practice import Practice, kill_child, pids, practising, provider
from tools.project_files import ROOT
from tools.soak_verdict import judge, plot

PICTURE = ROOT / "docs" / "explanation" / "soak.svg"
RATE = 60
# chosen: a light load, so that minutes show leaks and not the machine's limits
SLACK = {"memory": 16e6, "descriptors": 16, "threads": 4, "state": 192e6, "queue": RATE * 10}
# chosen: what collectors, reconnections, preallocated segments and providers' moods move these by
KILL_EVERY_SECONDS = 45
SAMPLE_SECONDS = 1.0
WORLD = (
    provider("plain", "plain.test", "127.0.40.1")
    + provider("slow", "slow.test", "127.0.40.2", "[provider.behaviour]\ndelay = { body = 0.1 }\n")
    + provider("grey", "grey.test", "127.0.40.3", "[provider.behaviour]\ngreylist_seconds = 1\n")
    + provider(
        "moody",
        "moody.test",
        "127.0.40.4",
        '[[provider.rule]]\non = "rcpt"\nprobability = 0.2\nreply = "451 4.3.0 Not now"\n'
        '[[provider.rule]]\non = "rcpt"\nprobability = 0.05\nreply = "550 5.1.1 No such user"\n'
        '[[provider.rule]]\non = "body"\nprobability = 0.05\naction = "drop"\n',
    )
    + provider("sender", "practice.test", "127.0.40.5")
)
DOMAINS = (("plain.test", 4), ("slow.test", 2), ("grey.test", 1), ("moody.test", 2))
SMALL = "\n[spool]\nsegment_octets = 1048576\ncheckpoint_seconds = 1\n"


def sample(server: OutriderProcess) -> dict[str, float]:
    """The measures now, summed over the server's processes."""
    found = dict.fromkeys(SLACK, 0.0)
    for pid in (server.process.pid, *pids(server).values()):
        folder = Path(f"/proc/{pid}")
        try:
            rollup = (folder / "smaps_rollup").read_text(encoding="ascii")
            found["memory"] += next(
                int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")
            )
            found["descriptors"] += len(list((folder / "fd").iterdir()))
            found["threads"] += len(list((folder / "task").iterdir()))
        except (OSError, StopIteration):
            continue  # it was killed a moment ago
    for path in (server.folder / "state" / "spool").rglob("*"):
        try:
            found["state"] += path.stat().st_size
        except FileNotFoundError:
            continue
    found["queue"] = float(server.command("queue", "count")["count"])
    return found


def soak(
    practice: Practice, server: OutriderProcess, seconds: int, samples_min: int = 0
) -> dict[str, list[float]]:
    """The series of each measure over so many seconds of load, and at least so many samples."""
    load = practice.load(
        server.ports["smtp"],
        seconds=seconds,
        rate=RATE,
        domains=DOMAINS,
        sender="sender@practice.test",
        give_up_seconds=0,
    )
    series: dict[str, list[float]] = {name: [] for name in SLACK}
    tick = threading.Event()
    victims = ("worker-0", "dispatcher", "worker-1")
    kills = 0
    started_at = perf_counter()
    while (at := perf_counter() - started_at) < seconds or len(series["queue"]) < samples_min:
        if at > (kills + 1) * KILL_EVERY_SECONDS:
            kill_child(server, victims[kills % len(victims)], signal.SIGKILL)
            kills += 1
            tick.wait(3.0)  # what is being started again has nothing to measure
        for name, value in sample(server).items():
            series[name].append(value)
        tick.wait(SAMPLE_SECONDS if at < seconds else 0.0)
    load.result(60)
    return series


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="outrider-soak-") as folder,
        practising(WORLD) as practice,
        serving(Path(folder), practice.configuration(more=SMALL)) as server,
    ):
        series = soak(practice, server, int(arguments.minutes * 60))
    arguments.picture.write_text(plot(series), encoding="utf-8")
    verdicts = [judge(name, samples, SLACK[name]) for name, samples in series.items()]
    for verdict in verdicts:
        sys.stdout.write(verdict.line() + "\n")
    return 0 if all(verdict.is_plateau for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Outrider, Postfix and the bare relay side by side in one run: CPU, rate, latency and memory per message.

Generator and receiver are Postfix's smtp-source and smtp-sink, but for HTTP, where clients in here hand in
batches of a hundred personal messages. Rounds of the programs are interleaved and medians are given, because
the machines are shared and noisy: the ratios are what counts. CPU is that of all the program's own processes,
ended ones included; memory is the sum of their PSS.

Usage: run.py [--quick] [--only PROGRAM,…] [--cases CASE,…] [--workers N,…] [--rounds N] [--output FILE]
Writes bench/latest.json and prints a table; compares with the committed figures.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

import policy_programs
from http_injection import BATCH, Load, make_key
from latency import Latency
from processes import (
    PssSampler,
    Sink,
    cpu_seconds,
    free_port,
    smtp_source,
    stop,
    wait_for_port,
    wait_until_idle,
)
from table import show

OUTBOUND = 20
INBOUND = 100


@dataclass(frozen=True)
class Case:
    """One kind of load."""

    name: str
    size: int
    reuse: bool
    counts: dict[str, int]
    http_form: str = ""  # of bench/http_injection.py; empty is SMTP


CASES = {
    "2k-reused": Case("2k-reused", 2048, True, {"outrider": 60000, "bare": 60000, "postfix": 3000}),
    "2k-single": Case("2k-single", 2048, False, {"outrider": 8000, "bare": 8000, "postfix": 1500}),
    "50k-reused": Case("50k-reused", 51200, True, {"outrider": 8000, "bare": 8000, "postfix": 1500}),
    "http-batch-100": Case("http-batch-100", 2048, True, {"outrider": 40000}, "personal"),
}
HTTP_CONNECTIONS = 8
REUSED_PER_CONNECTION = 10_000
SINGLE_PER_CONNECTION = 1


Program = Callable[[Case, int, int, Path], contextlib.AbstractContextManager[tuple[int, int]]]


@dataclass
class Row:
    """Figures of one program in one case."""

    program: str
    case: str
    workers: int
    cpu_us: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    pss: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, object]:
        return {
            "program": self.program,
            "case": self.case,
            "workers": self.workers,
            "cpu_us_per_message": round(statistics.median(self.cpu_us), 1),
            "accepted_per_second": round(statistics.median(self.accepted), 1),
            "delivered_per_second": round(statistics.median(self.rate), 1),
            "accept_p50_ms": round(statistics.median(self.p50), 2),
            "accept_p99_ms": round(statistics.median(self.p99), 2),
            "peak_pss_mib": round(max(self.pss), 1),
            "rounds": len(self.cpu_us),
        }


OUTRIDER_TOML = """\
[server]
hostname = "bench.test"
workers = {workers}
state_directory = "state"

[[listener]]
name = "bench"
port = {port}
trusted_networks = ["127.0.0.0/8"]

[listener.limits]
connections_per_client = 1000

[[net.routes]]
domain = "*"
hosts = ["127.0.0.1:{sink}"]
name = "sink"

[shaping.default]
max_connections = {outbound}

[delivery.default]
max_deliveries_per_connection = {per_connection}

[record]
metrics_port = {metrics}
"""


OUTRIDER = [sys.executable, "-m", "outrider.cli.main"]

POSTFIX_CF = """\
default_destination_concurrency_limit = {outbound}
initial_destination_concurrency = {outbound}
smtpd_client_connection_count_limit = 0
default_process_limit = {inbound}
smtp_connection_cache_on_demand = {reuse}
"""

HTTP_TOML = """\

[[http]]
name = "bench-http"
port = {port}
key_requests = 10000
"""


def configure(case: Case, workers: int, sink: int, folder: Path, spool: str = "", more: str = "") -> int:
    """Writes the configuration, with `spool` in the section of that name; gives the listener's port."""
    port = free_port()
    per_connection = REUSED_PER_CONNECTION if case.reuse else SINGLE_PER_CONNECTION
    text = OUTRIDER_TOML.format(
        workers=workers,
        port=port,
        sink=sink,
        outbound=OUTBOUND,
        per_connection=per_connection,
        metrics=free_port(),
    )
    (folder / "outrider.toml").write_text(f"{text}[spool]\n{spool}{more}")
    return port


@contextlib.contextmanager
def serve(folder: Path, port: int) -> Iterator[tuple[int, int]]:
    """The server as it is configured; gives its port and root process id."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*OUTRIDER, "serve", "-c", str(folder / "outrider.toml")], stdout=log, stderr=log
        )
    try:
        wait_for_port(port)
        yield port, process.pid
    finally:
        stop(process)
        sys.stderr.write((folder / "log").read_text()[-2000:] if process.returncode else "")


@contextlib.contextmanager
def outrider(case: Case, workers: int, sink: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Shipped defaults except listeners, routes and limits."""
    with serve(folder, configure(case, workers, sink, folder)) as running:
        yield running


@contextlib.contextmanager
def bare(case: Case, workers: int, sink: int, folder: Path) -> Iterator[tuple[int, int]]:
    """The floor: see bare.py."""
    port = free_port()
    per_connection = 0 if case.reuse else SINGLE_PER_CONNECTION
    command = [
        *(sys.executable, str(HERE / "bare.py"), str(port), str(sink), str(folder)),
        *("--workers", str(workers), "--connections", str(OUTBOUND), "--per-connection", str(per_connection)),
    ]
    process = subprocess.Popen(command)
    try:
        wait_for_port(port)
        yield port, process.pid
    finally:
        stop(process)


@contextlib.contextmanager
def postfix_program(case: Case, workers: int, sink: int, folder: Path) -> Iterator[tuple[int, int]]:  # noqa: ARG001
    """A real Postfix with its default durability, relaying everything to the sink."""
    from tests.peers.postfix import postfix

    more = POSTFIX_CF.format(outbound=OUTBOUND, inbound=INBOUND, reuse="yes" if case.reuse else "no")
    with postfix(relay_port=sink, more=more) as running:
        master = int((running.folder / "queue" / "pid" / "master.pid").read_text())
        yield running.port, master


@contextlib.contextmanager
def outrider_pure(case: Case, workers: int, sink: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Outrider without the optional C scanner."""
    os.environ["OUTRIDER_PURE"] = "1"
    try:
        with outrider(case, workers, sink, folder) as running:
            yield running
    finally:
        del os.environ["OUTRIDER_PURE"]


@contextlib.contextmanager
def outrider_aes(case: Case, workers: int, sink: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Outrider with an encrypted spool."""
    port = configure(case, workers, sink, folder, 'encryption = "aes-256-gcm"\n')
    generate = [*OUTRIDER, "keys", "generate", "spool", "-c", str(folder / "outrider.toml")]
    subprocess.run(generate, check=True, capture_output=True)
    with serve(folder, port) as running:
        yield running


@contextlib.contextmanager
def outrider_zstd(case: Case, workers: int, sink: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Outrider with a compressed spool."""
    port = configure(case, workers, sink, folder, 'compression = "zstd"\n')
    with serve(folder, port) as running:
        yield running


def outrider_with(program: str) -> Program:
    """Outrider with policy and signing: see policy_programs.py."""

    @contextlib.contextmanager
    def run(case: Case, workers: int, sink: int, folder: Path) -> Iterator[tuple[int, int]]:
        port = configure(case, workers, sink, folder, more=policy_programs.added(program, folder))
        with serve(folder, port) as running:
            yield running

    return run


PROGRAMS: dict[str, Program] = {
    "outrider": outrider,
    "outrider-pure": outrider_pure,
    "outrider-aes": outrider_aes,
    "outrider-zstd": outrider_zstd,
    "bare": bare,
    "postfix": postfix_program,
} | {program: outrider_with(program) for program in policy_programs.PROGRAMS}
VARIANTS = {
    "2k-reused": ("outrider-aes", "outrider-zstd", *policy_programs.PROGRAMS),
    "50k-reused": ("outrider-pure", *policy_programs.PROGRAMS),
}
# what else of ours is measured in a case, when we are


def differences() -> str:
    """All that is not a shipped default: the configurations that are run, with words for what changes."""
    ours = OUTRIDER_TOML.format(
        workers="W",
        port="P",
        sink="S",
        outbound=OUTBOUND,
        per_connection=f"{REUSED_PER_CONNECTION} (single: {SINGLE_PER_CONNECTION})",
        metrics="M",
    )
    theirs = POSTFIX_CF.format(outbound=OUTBOUND, inbound=INBOUND, reuse="yes (single: no)")
    return (
        "Everything is a shipped default, but for this (and what a program's name says):\n"
        f"{indent(ours, '  ')}\nPostfix, beside its listener and relayhost:\n{indent(theirs, '  ')}"
    )


def measure_http(case: Case, workers: int, row: Row, scale: float) -> None:
    """One round of ours in a case of HTTP."""
    requests = max(int(case.counts["outrider"] * scale / BATCH / HTTP_CONNECTIONS), 1)
    count = requests * BATCH * HTTP_CONNECTIONS
    sink_port = free_port()
    with tempfile.TemporaryDirectory(prefix="outrider-bench-") as name:
        folder = Path(name)
        sink = Sink(sink_port, count)
        try:
            port, http_port = configure(case, workers, sink_port, folder), free_port()
            configuration = folder / "outrider.toml"
            text = configuration.read_text().replace("[server]", '[server]\nusers_file = "users.toml"', 1)
            configuration.write_text(text + HTTP_TOML.format(port=http_port))
            load = Load(case.http_form, http_port, make_key(folder), requests=requests, later=False)
            with serve(folder, port) as (_, root):
                wait_until_idle(root)
                cpu_before = cpu_seconds(root)
                started = time.monotonic()
                with PssSampler(root) as memory:
                    load.run(HTTP_CONNECTIONS)
                    if not sink.wait(180):
                        raise SystemExit(f"{case.name}: not all of {count} messages came through")
                    seconds = time.monotonic() - started
                cpu = cpu_seconds(root) - cpu_before
        finally:
            sink.stop()
    times = sorted(load.seconds)
    row.cpu_us.append(cpu / count * 1e6)
    row.accepted.append(count / load.took_seconds)
    row.rate.append(count / seconds)
    row.p50.append(times[len(times) // 2] * 1000)
    row.p99.append(times[int(len(times) * 0.99)] * 1000)
    row.pss.append(memory.peak_kib / 1024)


def measure(program: str, case: Case, workers: int, row: Row, scale: float) -> None:
    """One round of one program in one case."""
    if case.http_form:
        measure_http(case, workers, row, scale)
        return
    count = max(int(case.counts[program.partition("-")[0]] * scale), 200)
    sink_port = free_port()
    with tempfile.TemporaryDirectory(prefix="outrider-bench-") as name:
        probes = 40
        sink = Sink(sink_port, count + probes)
        try:
            with PROGRAMS[program](case, workers, sink_port, Path(name)) as (port, root):
                wait_until_idle(root)
                cpu_before = cpu_seconds(root)
                started = time.monotonic()
                with PssSampler(root) as memory:
                    source = smtp_source(port, count, case.size, INBOUND, reuse=case.reuse)
                    latency = asyncio.run(Latency(port, case.size).measure(probes))
                    source.wait()
                    accepted_seconds = time.monotonic() - started
                    if not sink.wait(180):
                        raise SystemExit(f"{program} {case.name}: not all of {count} messages came through")
                    seconds = time.monotonic() - started
                cpu = cpu_seconds(root) - cpu_before
        finally:
            sink.stop()
    row.cpu_us.append(cpu / (count + probes) * 1e6)
    row.accepted.append((count + probes) / accepted_seconds)
    row.rate.append((count + probes) / seconds)
    row.p50.append(latency[len(latency) // 2] * 1000)
    row.p99.append(latency[int(len(latency) * 0.99)] * 1000)
    row.pss.append(memory.peak_kib / 1024)


def ratios(rows: list[Row]) -> dict[str, float]:
    """What the promises are about; with policy, also what one signature costs at the end of this run."""
    cpu = {(row.program, row.case, row.workers): statistics.median(row.cpu_us) for row in rows}
    rate = {(row.program, row.case, row.workers): statistics.median(row.rate) for row in rows}
    found: dict[str, float] = {}
    for (program, case, workers), figure in cpu.items():
        plain = cpu.get(("outrider", case, workers))
        if program in ("outrider-aes", "outrider-zstd") and plain:
            found[f"{case} {workers} workers: cpu {program} - outrider, µs"] = round(figure - plain, 1)
        if not program.startswith("outrider") or program in policy_programs.PROGRAMS:
            continue
        floor = cpu.get(("bare", case, workers))
        postfix_cpu = cpu.get(("postfix", case, 1))
        postfix_rate = rate.get(("postfix", case, 1))
        if floor:
            found[f"{case} {workers} workers: cpu {program} / bare"] = round(figure / floor, 2)
        if postfix_cpu and postfix_rate:
            found[f"{case} {workers} workers: messages per cpu second {program} / postfix"] = round(
                postfix_cpu / figure, 1
            )
            found[f"{case} {workers} workers: delivered rate {program} / postfix"] = round(
                rate[program, case, workers] / postfix_rate, 1
            )
    is_signed = any(row.program in policy_programs.SIGNERS for row in rows)
    return found | policy_programs.ratios(cpu, policy_programs.signature_us() if is_signed else {})


def dispatcher_ratios(*, quick: bool) -> dict[str, float]:
    """The dispatcher's CPU over many paths against one, at the same batch on a path."""
    messages = "10000" if quick else "40000"
    command = [sys.executable, str(HERE / "dispatcher.py"), "--json", "--batch", "17", "--messages", messages]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cost = {row["paths"]: row["cpu_us_per_message"] for row in map(json.loads, printed.splitlines())}
    few = min(cost)
    return {f"dispatcher cpu {few} path, µs": cost[few]} | {
        f"dispatcher cpu {paths} paths / {few} path": round(cost[paths] / cost[few], 2)
        for paths in cost
        if paths != few
    }


def lookup_ratios() -> dict[str, float]:
    """What a look-up in a data source costs that is answered from the cache."""
    command = [sys.executable, str(HERE / "micro_lookup.py"), "--json"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cost = json.loads(printed)
    return {
        "cached look-up of a data source, µs": cost["fetch"],
        "binding by a cached look-up of the configuration, µs": cost["configured"],
    }


def hook_ratios() -> dict[str, float]:
    """What the intake of a message takes with a hook beyond the same without scripts."""
    command = [sys.executable, str(HERE / "micro_hooks.py"), "--json"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cost = json.loads(printed)
    return {"hook in Python, µs": cost["python"], "hook in Lua, µs": cost["lua"]}


def million_ratios() -> dict[str, float]:
    """Memory, start and rate with a million deferred messages."""
    command = [sys.executable, str(HERE / "million.py")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = json.loads(printed.splitlines()[-1])
    return {
        "million deferred: delivered rate / empty queue": figures["rate_ratio"],
        "million deferred: peak PSS MiB": figures["full"]["peak_pss_mib"],
        "million deferred: seconds from start to first delivery": figures["full"]["first_delivery_seconds"],
        "million deferred: seconds of work for the start after it": figures["full"]["settled_seconds"],
    }


def machine() -> dict[str, object]:
    """What it ran on; interpreter and how it was built."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown",
    )
    from outrider.wire.smtp import scan

    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "interpreter": "distribution" if sys.base_prefix == "/usr" else "other",
        "python_flags": sysconfig.get_config_var("PY_CFLAGS"),
        "scanner": "python" if scan.scan is scan.scan_pure else "c",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer messages and rounds: under five minutes")
    parser.add_argument("--only", default="outrider,bare,postfix")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "latest.json")
    parser.add_argument("--million", action="store_true", help="also a million deferred messages (minutes)")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    scale = 0.35 if options.quick else 1.0
    rows: list[Row] = []
    plan: list[tuple[str, Case, int, Row]] = []
    for name in options.cases.split(","):
        programs = options.only.split(",")
        if "outrider" in programs:
            programs[1:1] = VARIANTS.get(name, ())
        for program in programs:
            if program.partition("-")[0] not in CASES[name].counts:
                continue
            wanted = [1] if program == "postfix" else list(map(int, options.workers.split(",")))
            if program in policy_programs.PROGRAMS:
                wanted = [workers for workers in wanted if workers == policy_programs.WORKERS]
            for workers in wanted:
                row = Row(program, name, workers)
                rows.append(row)
                plan.append((program, CASES[name], workers, row))
    print(differences())
    for number in range(rounds):
        for program, case, workers, row in plan:
            print(f"round {number + 1}/{rounds} {case.name} {program} workers={workers} …", flush=True)
            measure(program, case, workers, row, scale)
    found = ratios(rows) | dispatcher_ratios(quick=options.quick) | lookup_ratios() | hook_ratios()
    previous = json.loads(options.output.read_text()) if options.output.exists() else None
    kept: dict[str, float] = {}
    if options.million:
        found |= million_ratios()
    elif previous:
        kept = {name: value for name, value in previous["ratios"].items() if name.startswith("million")}
    result = {
        "machine": machine(),
        "rows": [row.figures() for row in rows],
        "ratios": found | kept,
        "of_an_earlier_run": sorted(kept),
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    show(result, previous)


if __name__ == "__main__":
    main()

"""CPU of one signature, ours and dkimpy's, of a message of a given size, without I/O.

Cases: text of 2 KiB and 50 KiB, and HTML of 50 KiB, whose indents are what relaxed canonicalisation has to
do; relaxed/relaxed, by RSA-2048 and by Ed25519. `canonical` is canonicalising and hashing alone, `key` the
private key's own work on 600 octets, `verify` checking the signature with its record at hand. dkimpy signs by
RSA with the same key and fields; the ratio says how many times longer it takes. Min of several repeats, so
that the noise of a shared machine matters less.

Usage: micro_dkim.py [--repeats N] [--calls N] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

import dkim  # type: ignore[import-untyped]

from outrider.model.flow import Content
from outrider.wire.dkim.canonical import digest_of, relaxed_body
from outrider.wire.dkim.listing import list_fields
from outrider.wire.dkim.message import Parts
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.results import Records
from outrider.wire.dkim.signer import sign
from outrider.wire.dkim.verifier import Verification
from outrider.wire.smtp.content import stuff_plain
from tests.wire.dkim.reference import private_octets
from tests.wire.dkim.signing import DOMAIN, KEYS, NOW, key_of, records

HEADER = (
    b"From: Shop <news@sender.test>\r\nTo: reader@receiver.test\r\nSubject: What is new this week\r\n"
    b"Date: Tue, 24 Nov 2026 16:34:24 +0000\r\nMessage-ID: <1@sender.test>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/html; charset=utf-8\r\nList-Unsubscribe: <https://sender.test/u/1>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\n"
)
INDENTS = (0, 2, 4, 6, 8, 12, 16)  # chosen: as templates have them
RATIO = 15  # asked: at least so many times faster than dkimpy


def message(size: int, *, html: bool) -> Content:
    """Lines of words, indented where it is HTML."""
    random = Random(1)  # noqa: S311 - the same text each time
    words = ["".join(random.choices("etaoinshrdlucm<>=/", k=random.randint(2, 9))) for _ in range(2_000)]
    lines = []
    left = size
    while left > 0:
        indent = " " * random.choice(INDENTS) if html else ""
        lines.append(indent + " ".join(random.choices(words, k=8)) + "\r\n")
        left -= len(lines[-1])
    return stuff_plain(HEADER + "".join(lines).encode())


def best(work: Callable[[], object], calls: int, repeats: int) -> float:
    """Microseconds of CPU for each call."""
    found = []
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(calls):
            work()
        found.append((time.process_time() - started) / calls * 1e6)
    return min(found)


def measure(name: str, content: Content, calls: int, repeats: int) -> dict[str, object]:
    """One message, signed by each kind of key."""
    plain = content.wire
    body = plain[content.header_octets + 2 :]
    row: dict[str, object] = {
        "message": name,
        "canonical": round(best(lambda: digest_of(relaxed_body(body)), calls, repeats), 1),
    }
    for key in ("rsa2048", "ed25519"):
        request = SignRequest(DOMAIN, key, key)
        signed = stuff_plain(sign(content, [request], KEYS, NOW) + plain)
        answers: dict[str, Records] = records(key)
        row[key] = round(best(lambda r=request: sign(content, [r], KEYS, NOW), calls, repeats), 1)  # type: ignore[misc]
        row[f"{key} key"] = round(best(lambda k=key: key_of(k).sign(plain[:600]), calls, repeats), 1)  # type: ignore[misc]
        row[f"{key} verify"] = round(
            best(lambda s=signed, a=answers: Verification(s, NOW).results(a), calls, repeats),  # type: ignore[misc]
            1,
        )
    fields = list(list_fields(Parts(content).counts, SignRequest(DOMAIN, "s", "k")).names)
    private = private_octets(key_of("rsa2048"))

    def theirs() -> object:
        signer = dkim.DKIM(plain)
        return signer.sign(
            b"s", DOMAIN.encode(), private, canonicalize=(b"relaxed", b"relaxed"), include_headers=fields
        )

    row["dkimpy rsa2048"] = round(best(theirs, max(1, calls // 20), repeats), 1)
    row["ratio"] = round(float(str(row["dkimpy rsa2048"])) / float(str(row["rsa2048"])), 1)
    return row


def main() -> None:
    """Print one line for each message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [
        measure(name, message(size, html=html), options.calls, options.repeats)
        for name, size, html in (("2k", 2_048, False), ("50k", 50_000, False), ("50k html", 50_000, True))
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    worst = min(float(str(row["ratio"])) for row in rows)
    print(f"at least {worst:.1f} times faster than dkimpy (asked: {RATIO})")


if __name__ == "__main__":
    main()

"""CPU of one frame in each way of storing it: plain, compressed, encrypted, both; and of reading it back.

In one process, without a disk: a change list and a content of the given size go through the encoder, the
header and the checksums as the writer does it. The content is text as mails have it (words drawn from a
list), because zstd's cost and gain depend on it. Min of several repeats, so that the noise of a shared
machine matters less.

Usage: micro_frames.py [--size OCTETS] [--frames N] [--repeats N] [--json]
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

from outrider.model.address import Address
from outrider.privacy.keyfile import Purpose, new_key
from outrider.privacy.keyring import KeyRing
from outrider.privacy.token import Tokens
from outrider.spool.codec import FrameDecoder, Place, encoder_of
from outrider.spool.frames import TYPE_CHANGES, encode, format_header, payload_checksum
from tests.spool.samples import CODECS, small_as, spool_keys, stored

SALT = b"8 octets"
WORDS = 2_000  # chosen: about the vocabulary of a newsletter


def text(size: int) -> bytes:
    """Lines of words, `size` octets."""
    random = Random(1)  # noqa: S311 - the same text each time
    words = ["".join(random.choices("etaoinshrdlucmfwypvbgk", k=random.randint(2, 9))) for _ in range(WORDS)]
    lines: list[str] = []
    while sum(map(len, lines)) < size:
        lines.append(" ".join(random.choices(words, k=10)) + "\r\n")
    return "".join(lines).encode()[:size]


def best(work: Callable[[int], object], frames: int, repeats: int) -> float:
    """Microseconds of CPU for each call."""
    found = []
    for _ in range(repeats):
        started = time.process_time()
        for number in range(frames):
            work(number)
        found.append((time.process_time() - started) / frames * 1e6)
    return min(found)


def measure(codec: str, size: int, frames: int, repeats: int) -> dict[str, object]:
    """One way of storing a frame."""
    content = text(size)
    changes = encode([stored(1 << 43, content)])
    encoder = encoder_of(small_as(codec), spool_keys())
    contents = [[content]]

    def write(number: int) -> tuple[bytes, bytes, int]:
        offset = 4_096 + number * 4_096
        crc, length = payload_checksum(changes, contents)
        if encoder is None:
            return format_header(SALT, offset, TYPE_CHANGES, len(changes), length, crc), changes, 0
        packed = encoder.pack(changes, contents, length)
        payload = encoder.encode(packed, Place(1, 0, SALT, offset), TYPE_CHANGES)
        crc, length = payload_checksum(payload, ())
        flags = packed.flags
        return (
            format_header(SALT, offset, TYPE_CHANGES, len(changes), length, crc, flags),
            payload,
            flags,
        )

    _, payload, flags = write(0)
    decoder = FrameDecoder(spool_keys())

    def read(_: int) -> object:
        if not flags:
            return None
        return decoder.decode(payload, Place(1, 0, SALT, 4_096), TYPE_CHANGES, flags, len(changes))

    return {
        "stored as": codec,
        "octets": len(payload) if encoder is not None else len(changes) + size,
        "write_us": round(best(write, frames, repeats), 2),
        "read_us": round(best(read, frames, repeats), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2_048)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(codec, options.size, options.frames, options.repeats) for codec in CODECS]
    plain = float(str(rows[0]["write_us"]))
    for row in rows:
        row["over plain"] = round(float(str(row["write_us"])) - plain, 2)
    tokens = Tokens(KeyRing((new_key(Purpose.LOG, 1, bytes(32), 0.0),)))
    alice = Address("alice.smith", "example.com")
    token_us = round(best(lambda _: tokens.token(alice), options.frames, options.repeats), 2)
    if options.json:
        print(json.dumps({"size": options.size, "rows": rows, "token_us": token_us}))
        return
    print(f"A frame with a content of {options.size} octets; microseconds of CPU.")
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(f"A token: {token_us}")


if __name__ == "__main__":
    main()

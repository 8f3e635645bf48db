"""What reading and changing a message costs: a header and two look-ups, a field added, a text replaced.

Each case is a fresh message, as policy gets it. What is timed is user time of this process, and of many
repeats the least counts, so that a busy machine does not matter. Python's email package does the first case
beside it.

Usage: micro_message.py [--repeats N] [--messages N]
"""

import argparse
import email.parser
import email.policy
import gc
import time
from collections.abc import Callable

from outrider.model.flow import Content
from outrider.wire.message.content import texts
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.makers import make_text
from outrider.wire.message.search import replace_text
from outrider.wire.smtp import scan
from outrider.wire.smtp.content import stuff_plain

REPEATS = 15
MESSAGES = 1_000

HEADER = b"".join(
    line + b"\r\n"
    for line in (
        b"Received: from client.bench.test (client.bench.test [192.0.2.1])",
        b"\tby mx.bench.test (Outrider) with ESMTP id 1;",
        b"\tMon, 30 Nov 2026 12:00:00 +0000",
        b"From: Alice <alice@source.test>",
        b"To: Bob <bob@sink.test>",
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=",
        b"Date: Mon, 30 Nov 2026 12:00:00 +0000",
        b"Message-ID: <1@source.test>",
        b"X-Customer: 4711",
        b"X-Campaign: autumn",
        b"List-Unsubscribe: <https://source.test/u/1>",
        b"List-Id: <news.source.test>",
        b"Reply-To: news@source.test",
        b"MIME-Version: 1.0",
    )
)


def message(size: int) -> Content:
    """A multipart of a text and an HTML, 12 fields and about `size` octets."""
    line = b"A line of text that is some seventy octets long, as most of them are\r\n"
    count = (size - len(HEADER) - 300) // 2 // len(line)
    parts = b"".join(
        b"--=_b\r\nContent-Type: text/%s; charset=utf-8\r\n\r\n%s\r\n" % (kind, line * count)
        for kind in (b"plain", b"html")
    )
    return stuff_plain(
        HEADER + b'Content-Type: multipart/alternative; boundary="=_b"\r\n\r\n' + parts + b"--=_b--\r\n"
    )


def two_lookups(content: Content) -> object:
    header = EditableMessage(content).header
    return header.get("Subject"), header.get("X-Customer")


def email_package(content: Content) -> object:
    made = email.parser.BytesParser(policy=email.policy.default).parsebytes(content.wire)
    return made["Subject"], made["X-Customer"]


def author(content: Content) -> object:
    return EditableMessage(content).header.addresses("From").addresses[0].domain


def add_field(content: Content) -> object:
    edited = EditableMessage(content)
    edited.header.append("X-Binding", "gold")
    return edited.content()


def read_texts(content: Content) -> object:
    return texts(EditableMessage(content).root)


def add_part(content: Content) -> object:
    edited = EditableMessage(content)
    edited.root.add_last(make_text("A footer.\n"))
    return edited.content()


def replace_in_texts(content: Content) -> object:
    edited = EditableMessage(content)
    at = iter((True,))
    replace_text(
        edited.root, lambda text, start: _first(text, start) if next(at, False) else None, lambda _: "word"
    )
    return edited.content()


class _Found:
    def __init__(self, at: int) -> None:
        self._at = at

    def start(self) -> int:
        return self._at

    def end(self) -> int:
        return self._at + len("line")


def _first(text: str, start: int) -> _Found:
    return _Found(text.index("line", start))


CASES: dict[str, Callable[[Content], object]] = {
    "two look-ups": two_lookups,
    "the same, email": email_package,
    "author's domain": author,
    "add a field": add_field,
    "read texts": read_texts,
    "replace in one": replace_in_texts,
    "add a part": add_part,
}


def measure(case: Callable[[Content], object], content: Content, messages: int, repeats: int) -> float:
    """Microseconds a message, the least of all repeats."""

    def once(count: int) -> float:
        started = time.process_time()
        for _ in range(count):
            case(content)
        return time.process_time() - started

    once(messages // 10 or 1)
    return min(once(messages) for _ in range(repeats)) / messages * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    chosen = parser.parse_args()
    gc.collect()
    gc.freeze()
    kind = "pure" if scan.scan is scan.scan_pure else "compiled"
    print(f"octet scan: {kind}; µs of user time a message, least of {chosen.repeats}")
    small, large = message(2_048), message(51_200)
    print(f"  {'':16}{len(small.wire):>10}{len(large.wire):>10} octets")
    for name, case in CASES.items():
        few = max(1, chosen.messages // 10) if case is email_package else chosen.messages
        figures = [measure(case, content, few, chosen.repeats) for content in (small, large)]
        print(f"  {name:16}{figures[0]:10.1f}{figures[1]:10.1f}")


if __name__ == "__main__":
    main()

"""Read event files: the life of one message, the events that match, the newest ones.

In: the directory of event files, of all logs, open and closed. Out: events as plain dicts, ordered by time.
An open file may be written to meanwhile: its last line counts only when it is whole.

Theory: files are large and a message has few lines, so lines are looked through for the octets of the id
before anything is decoded. Queue alterations know the entry but not the message: a second look finds those.

Invariant: a line that is no event, for whatever reason, is skipped and never ends a search.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final

import msgspec

from outrider.base.ids import created_time, is_message_id
from outrider.record.files import event_paths
from outrider.record.redact import NULL_PATH

_CHUNK: Final = 4 << 20  # chosen: octets searched at once
_LINE: Final = 1 << 20  # chosen: longer than any line; the last one may not have been whole
_CLOCK_SLACK_SECONDS: Final = 86_400.0
# chosen: how far the clock that made an id and that of the file system may be apart after a clock step

_FINAL: Final = {
    "delivery": "delivered",
    "bounce": "bounced",
    "expiration": "expired",
    "purge": "purged",
    "discard": "discarded",
    "simulated": "simulated",
}
_ALTERATIONS: Final = (
    b'"type":"hold"',
    b'"type":"release"',
    b'"type":"retry"',
    b'"type":"alteration"',
)
_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


Ends = Mapping[tuple[int, int], int]
"""How long files were, by device and inode, so that a new name changes nothing."""


def ends_of(directory: Path | str) -> Ends:
    """How long each event file is now."""
    ends = {}
    for path in event_paths(Path(directory)):
        with suppress(FileNotFoundError):
            found = path.stat()
            ends[found.st_dev, found.st_ino] = found.st_size
    return ends


def life_of(
    directory: Path | str, message_id: str, beyond: Ends = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Everything that is written about a message, oldest first.

    Files that were last written to before the message was made are not read; others from their end in
    `beyond` on, which is where an earlier look that found nothing came to.
    """
    since = created_time(message_id) - _CLOCK_SLACK_SECONDS if is_message_id(message_id) else 0.0
    mark = f'"message_id":"{message_id}"'.encode()
    found = list(_with_any(directory, (mark,), since=since, beyond=beyond))
    life = [event for event in found if event.get("message_id") == message_id]
    entries = {event["entry"] for event in life if "entry" in event}
    if entries:
        marks = tuple(f'"entry":{entry},'.encode() for entry in sorted(entries))
        life += [
            event
            for event in _with_any(directory, marks, _ALTERATIONS, since)
            if event.get("entry") in entries and "message_id" not in event
        ]
    return sorted(life, key=lambda event: str(event.get("time", "")))


def events_about(directory: Path | str, shown: Sequence[str]) -> list[dict[str, Any]]:
    """Everything that is written about one recipient, in all messages and refused commands, oldest first.

    Args:
        directory: Where event files are.
        shown: The forms in which events may show the recipient: a token for each version of the key, beside
            the domain; or the address itself, where events show all of it.
    """
    wanted = {form.lower() for form in shown}
    marks = tuple(form.encode() for form in shown)
    found = [event for event in _with_any(directory, marks) if _recipient_of(event) in wanted]
    entries = {event["entry"] for event in found if "entry" in event}
    if entries:
        found += [
            event
            for event in _with_any(directory, _ALTERATIONS)
            if event.get("entry") in entries and "message_id" not in event
        ]
    return sorted(found, key=lambda event: str(event.get("time", "")))


def count_tokens(directory: Path | str, version: int) -> int:
    """How many events show tokens under a version of the `log` key."""
    marks = (
        f'"t{version}.'.encode(),
        f"<t{version}.".encode(),
    )  # a field, or an address of a command or a text
    return sum(1 for _ in _with_any(directory, marks))


def _recipient_of(event: dict[str, Any]) -> str:
    """The recipient as it is shown; of a refused command that in its angle brackets."""
    shown = str(event.get("recipient", "")).lower()
    return shown[1:].partition(">")[0] if shown.startswith("<") else shown


def reports_of(directory: Path | str, life: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Receptions of our own reports to the sender about a message, given its life.

    A report is in the frame of the change that caused it, so its event has the same place in the log.
    """
    places = {
        str(event.get("id", "")).rpartition(".")[0]
        for event in life
        if event.get("type") in ("delivery", "transient", "bounce", "expiration")
    } - {""}
    if not places or all(event.get("mail_from", NULL_PATH) == NULL_PATH for event in life):
        return []
    own = {event.get("message_id") for event in life}
    since = min((created_time(str(each)) for each in own if is_message_id(str(each))), default=0.0)
    marks = tuple(f'"id":"{place}.'.encode() for place in sorted(places))
    found = _with_any(directory, marks, (b'"protocol":"internal"',), since - _CLOCK_SLACK_SECONDS)
    return [
        event for event in found if event.get("type") == "reception" and event.get("message_id") not in own
    ]


def states_of(life: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each recipient in a message's life, its last event, with `state`, `updated_time` and `reply`.

    The state is `queued`, `held`, or that of the end: `delivered`, `bounced`, `expired`, `purged` or
    `discarded`.
    """
    states: dict[int, dict[str, Any]] = {}
    for event in life:
        entry = event.get("entry")
        if not isinstance(entry, int):
            continue
        before = states.get(entry, {})
        if before.get("state") in _FINAL.values():
            continue
        kind = str(event.get("type"))
        state = _FINAL.get(kind) or _queued_state(kind, str(before.get("state", "")))
        reply = " ".join(
            str(event[key]) for key in ("reply_code", "reply_enhanced", "reply_text") if event.get(key)
        )
        states[entry] = {
            **before,
            **event,
            "state": state,
            "updated_time": event.get("time", ""),
            "reply": reply or before.get("reply", ""),
        }
    return [states[entry] for entry in sorted(states)]


def _queued_state(kind: str, before: str) -> str:
    """What an event that ends nothing makes of the state `before`."""
    if kind == "hold":
        return "held"
    # who makes a held entry due, or moves it, leaves it on hold
    return "held" if before == "held" and kind in ("retry", "alteration") else "queued"


def select(
    directory: Path | str, matches: Callable[[dict[str, Any]], bool], mark: bytes = b""
) -> Iterator[dict[str, Any]]:
    """Events that match, file by file. With a `mark`, only lines that hold these octets are decoded."""
    for event in _with_any(directory, (mark,)):
        if matches(event):
            yield event


def tail(directory: Path | str, count: int) -> list[dict[str, Any]]:
    """The `count` newest events of all logs, oldest first."""
    newest: list[dict[str, Any]] = []
    for path in event_paths(Path(directory)):
        lines = _last_lines(path, count)
        newest += [event for event in map(_decoded, lines) if event is not None]
        newest.sort(key=lambda event: str(event.get("time", "")))
        del newest[:-count]
    return newest


def _with_any(
    directory: Path | str,
    marks: tuple[bytes, ...],
    also: tuple[bytes, ...] = (b"",),
    since: float = 0.0,
    beyond: Ends = MappingProxyType({}),
) -> Iterator[dict[str, Any]]:
    """Events whose line holds one of `marks` and one of `also`, in files written to after `since`."""
    for path in event_paths(Path(directory)):
        try:
            found = path.stat()
            end = beyond.get((found.st_dev, found.st_ino), 0)
            if found.st_mtime < since or found.st_size == end > 0:
                continue
            file = path.open("rb")
        except FileNotFoundError:  # it was closed under another name, or removed, since it was listed
            continue
        with file:
            file.seek(max(end - _LINE, 0))
            for block in _blocks(file):
                if not any(mark in block for mark in also) or not any(mark in block for mark in marks):
                    continue
                for line in block.split(b"\n"):
                    if any(mark in line for mark in also) and any(mark in line for mark in marks):
                        event = _decoded(line)
                        if event is not None:
                            yield event


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The file in blocks of whole lines."""
    rest = b""
    while chunk := file.read(_CHUNK):
        block = rest + chunk
        cut = block.rfind(b"\n") + 1
        rest = block[cut:]
        if cut:
            yield block[:cut]


def _last_lines(path: Path, count: int) -> list[bytes]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return []
    with file:
        position = file.seek(0, 2)
        data = b""
        while position > 0 and data.count(b"\n") <= count:
            size = min(_CHUNK, position)
            position -= size
            file.seek(position)
            data = file.read(size) + data
    lines = data.split(b"\n")[:-1]
    return lines[-count:]


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None

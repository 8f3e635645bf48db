"""Write the events that a dead process had not written yet: neither lost nor doubled.

`recover` reads the change sets of a log from where its event file stands and appends exactly the missing
events. `expire` removes files that are older than they are kept.

Theory: ids name places in the log, places of one log are in the order of writing, and events are written in
that order. So the last place in the file divides what is there from what is missing.

Invariant: whatever octet of the event file the process died at, after `recover` the file holds each event of
the log once, in order.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from outrider.base.clock import Clock
from outrider.base.files import Files
from outrider.base.log import Log
from outrider.model.changes import Change, ContentRef
from outrider.model.dispatch import Position
from outrider.record.derive import Place, events_of, parse_id
from outrider.record.events import Event
from outrider.record.files import expired_paths
from outrider.record.options import RecordOptions
from outrider.record.redact import TokenSource
from outrider.record.writer import EventWriter

Scan = Callable[[Position], Iterable[tuple[ContentRef, Sequence[Change]]]]
"""Gives the sound frames of a log in order, from the frame that begins at the position."""

_BATCH: Final = 1_000  # chosen: events encoded at once

BEGINNING: Final = Position(0, 0)


def missing_events(
    scan: Scan, last: Place | None, writer: EventWriter
) -> Iterable[tuple[ContentRef, list[Event]]]:
    """For each frame of the scan, its events behind `last`."""
    start = BEGINNING if last is None else Position(last.segment, last.offset)
    for ref, changes in scan(start):
        events = events_of(ref, changes, writer.redactor)
        if last is not None and (ref.segment, ref.offset) <= (last.segment, last.offset):
            events = [event for event in events if _is_behind(event, last)]
        yield ref, events


def _is_behind(event: Event, last: Place) -> bool:
    place = parse_id(event.id)
    return place is not None and place > last


def catch_up(writer: EventWriter, scan: Scan) -> int:
    """Write to `writer` what is missing of its log; returns how many events that were.

    Raises:
        OSError: The events could not all be written.
    """
    count = 0
    batch: list[Event] = []
    position: Position | None = None
    for ref, events in missing_events(scan, writer.last, writer):
        batch += events
        position = Position(ref.segment, ref.offset + ref.length)
        if len(batch) >= _BATCH:
            writer.write_batch(position, batch)
            count += len(batch)
            batch = []
    if position is not None:
        writer.write_batch(position, batch)
        count += len(batch)
    if writer.stalled:
        raise OSError("events could not be written; see the server's log")
    return count


def recover(
    files: Files,
    directory: Path,
    log: int,
    scan: Scan,
    options: RecordOptions,
    clock: Clock,
    server_log: Log,
    *,
    tokens: TokenSource | None = None,
) -> int:
    """Complete the event file of a dead log and sync it; returns how many events were missing.

    Blocks for as long as reading the rest of the log takes. Doing it twice changes nothing.

    Raises:
        OSError: The events could not all be written.
    """
    writer = EventWriter(files, directory, log, options, clock, server_log, tokens=tokens)
    try:
        count = catch_up(writer, scan)
    finally:
        writer.close()
    if writer.frozen:
        raise OSError("events could not be synced; see the server's log")
    return count


def expire(
    files: Files, directory: Path, options: RecordOptions, clock: Clock, live_logs: frozenset[int]
) -> int:
    """Remove event files that are older than `keep_seconds`; returns how many.

    One that somebody else has removed meanwhile is no error.

    Args:
        files: The file primitive.
        directory: Where event files are.
        options: Says how long files are kept.
        clock: Gives the time.
        live_logs: Logs whose open file stays, however old.

    Raises:
        OSError: The directory cannot be read, or some could not be removed; all others are.
    """
    removed = 0
    failures: list[OSError] = []
    for path in expired_paths(directory, clock.wall() - options.keep_seconds, live_logs):
        try:
            files.unlink(str(path))
        except FileNotFoundError:
            continue
        except OSError as error:  # the others need not stay for it
            failures.append(error)
        else:
            removed += 1
    if failures:
        raise failures[0]
    return removed

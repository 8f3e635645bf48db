"""What clients hear while this worker's log takes nothing."""

from types import SimpleNamespace

import pytest

from outrider.model.reply import Reply
from outrider.server.worker import Worker
from outrider.wire.smtp import replies


@pytest.mark.parametrize(
    ("is_without_room", "is_full", "is_stalled", "reply"),
    [
        (True, True, False, replies.DISK_LOW),
        (False, True, False, replies.SPOOL_FAILED),  # too much waits for a sync
        (False, False, True, replies.SPOOL_FAILED),
        (False, False, False, None),
    ],
)
def test_a_client_hears_whether_it_is_the_disk(
    *, is_without_room: bool, is_full: bool, is_stalled: bool, reply: Reply | None
) -> None:
    looked: list[bool] = []
    log = SimpleNamespace(
        is_without_room=is_without_room, is_full=is_full, look_for_room=lambda: looked.append(True)
    )
    worker = SimpleNamespace(log=log, events=SimpleNamespace(stalled=is_stalled))
    assert Worker._stores_refusal(worker) is reply  # type: ignore[arg-type]
    assert looked == [True] * is_without_room

"""Messages that scripts make: what is missing is added, and what is not taken is an error."""

from collections.abc import Callable
from random import Random

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import AddressError, OutriderError, UnavailableError
from outrider.base.ids import IdSource
from outrider.model.flow import Origin, Submission
from outrider.model.ports import PolicySession
from outrider.model.reply import Reply
from outrider.server.outbox import ORIGIN, SpoolOutbox
from outrider.wire.smtp import replies


class Intake:
    """Keeps what is handed in, and answers."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.submissions: list[Submission] = []
        self._reply = reply

    def submit(
        self, submission: Submission, done: Callable[[Reply], None], session: PolicySession | None = None
    ) -> None:
        assert session is None
        self.submissions.append(submission)
        done(self._reply or replies.queued(submission.message_id))

    def refusal(self) -> Reply | None:
        return None

    def refused(self, origin: Origin, mail_from: str, recipient: str, reply: Reply) -> None:
        raise AssertionError


def outbox(intake: Intake) -> SpoolOutbox:
    clock = FakeClock()
    return SpoolOutbox(intake, IdSource(clock, Random(1).getrandbits(25)), clock, "out.sender.test")


async def test_what_is_missing_is_added() -> None:
    intake = Intake()
    message_id = await outbox(intake).send(
        b"Subject: a\r\n\r\n.dot\r\n", "", ("joe@one.test", "ann@two.test")
    )
    [submission] = intake.submissions
    assert (submission.message_id, submission.origin) == (message_id, ORIGIN)
    assert submission.envelope.mail_from is None
    assert [str(each.address) for each in submission.envelope.recipients] == ["joe@one.test", "ann@two.test"]
    head, _, body = submission.content.wire.partition(b"\r\n\r\n")
    assert b"\r\nDate: " in head
    assert f"\r\nMessage-ID: <{message_id}@out.sender.test>".encode() in head
    assert body == b"..dot\r\n"


async def test_what_is_there_stays() -> None:
    intake = Intake()
    plain = b"Date: Mon, 30 Nov 2026 13:00:00 +0000\r\nMessage-ID: <1@x.test>\r\n\r\nhello\r\n"
    await outbox(intake).send(plain, "shop@sender.test", ("joe@one.test",))
    assert intake.submissions[0].content.wire == plain


async def test_what_is_not_taken_is_an_error() -> None:
    with pytest.raises(UnavailableError, match="not taken: 452"):
        await outbox(Intake(replies.DISK_LOW)).send(b"A: b\r\n\r\n", "", ("joe@one.test",))


@pytest.mark.parametrize("recipient", ["", "joe", "joe@", "a@b@c", "joe@one.test\r\n"])
async def test_an_address_that_is_none_is_an_error(recipient: str) -> None:
    intake = Intake()
    with pytest.raises(AddressError):
        await outbox(intake).send(b"A: b\r\n\r\n", "", (recipient,))
    assert intake.submissions == []


async def test_a_bare_line_end_is_an_error() -> None:
    intake = Intake()
    with pytest.raises(OutriderError):
        await outbox(intake).send(b"A: b\r\n\r\none\ntwo\r\n", "", ("joe@one.test",))
    assert intake.submissions == []

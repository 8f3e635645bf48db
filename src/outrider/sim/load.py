"""The load generator: numbered messages by SMTP or HTTP, at a rate, over many connections.

In: `LoadOptions`. Out: a `Tally`, and a journal where one is given.

Theory: connections are callbacks and ask for work when they are ready; one task per connection only opens it
again when it is lost. A message whose content was not sent to its end can be handed in again under its
number, because nobody can have accepted it; after its end only the reply tells.

Not here: the dialogues (`sim.load_smtp`, `sim.load_http`).
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from outrider.base.clock import Clock
from outrider.base.errors import UnavailableError
from outrider.sim.load_http import HttpHand
from outrider.sim.load_port import Hand
from outrider.sim.load_smtp import SmtpHand
from outrider.sim.options import LoadOptions
from outrider.sim.stopping import first_failure
from outrider.sim.tally import Journal, Tally
from outrider.sim.tickets import Ticket, Tickets

_BACK_OFF_FIRST_SECONDS = 0.05  # chosen, because a restarting server is back within a second
_BACK_OFF_MAX_SECONDS = 1.0  # chosen, because a person waits for the result
_PAUSE_SECONDS = 0.2  # chosen, because a server that says 4xx wants less, and a test wants to go on
_SWEEP_SECONDS = 1.0  # chosen, because time-outs are minutes


class Load:
    """One run of the generator.

    Args:
        options: What to send.
        clock: Time.
        journal: Where fates are written, or None.
        remember: Keep the fate of each (number, recipient) in `tally.remembered`.
    """

    def __init__(
        self,
        options: LoadOptions,
        *,
        clock: Clock,
        journal: Journal | None = None,
        remember: bool = False,
    ) -> None:
        self.options = options
        self.tally = Tally(journal, remember=remember)
        self.tickets = Tickets(options)
        self.now = clock.now
        self.unsent = 0
        self._journal = journal
        self._again: deque[Ticket] = deque()
        self._idle: deque[Hand] = deque()
        self._hands: set[Hand] = set()
        self._in_flight = 0
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self._started_at = clock.now()
        self._reached_at = clock.now()
        self._ended_at = 0.0

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return (self._ended_at or self.now()) - self._started_at

    async def run(self) -> Tally:
        """Send everything; returns when each message has its fate.

        Raises:
            UnavailableError: The server could not be reached for `give_up_seconds`.
        """
        self._started_at = self._reached_at = self.now()
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self.options.seconds, self.stop) if self.options.seconds else None
        try:
            async with asyncio.TaskGroup() as owner:
                sweeper = owner.create_task(self._sweep())
                async with asyncio.TaskGroup() as group:
                    for _ in range(self.options.connections):
                        group.create_task(self._keep_open())
                sweeper.cancel()
        except ExceptionGroup as failures:
            raise first_failure(failures) from None
        finally:
            self._ended_at = self.now()
            self.unsent = len(self._again)
            for timer in (deadline, self._timer):
                if timer:
                    timer.cancel()
        return self.tally

    def stop(self) -> None:
        """Give out nothing new; what is under way ends as it ends."""
        self._stopping = True
        self._pump()

    # for hands

    def opened(self, hand: Hand) -> None:
        """`hand` has a connection."""
        self._hands.add(hand)

    def ready(self, hand: Hand) -> None:
        """`hand` can take a message."""
        self._idle.append(hand)
        self._pump()

    def gone(self, hand: Hand) -> None:
        """The connection of `hand` is lost: it gets no more work."""
        self._hands.discard(hand)
        if hand in self._idle:
            self._idle.remove(hand)

    def paused(self, hand: Hand) -> None:
        """`hand` heard a transient refusal and is ready after a pause."""
        asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._resume, hand)

    def finished(self) -> None:
        """A message got its fate."""
        self._in_flight -= 1

    def not_sent(self, ticket: Ticket) -> None:
        """The connection was lost before the end of the content: the message goes out again."""
        self._in_flight -= 1
        self.tally.resent += 1
        self._again.append(ticket)

    # inside

    def _resume(self, hand: Hand) -> None:
        if hand in self._hands:
            self.ready(hand)

    def _pump(self) -> None:
        while self._idle:
            if self._over():
                self._idle.popleft().finish()
                continue
            wait = self._wait_seconds()
            if wait > 0:
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(wait, self._tick)
                return
            ticket = self._again.popleft() if self._again else self.tickets.next()
            if ticket is None:
                continue
            self._in_flight += 1
            self._idle.popleft().start(ticket)

    def _tick(self) -> None:
        self._timer = None
        self._pump()

    def _wait_seconds(self) -> float:
        rate = self.options.rate
        if not rate or self._again:
            return 0.0
        return self._started_at + self.tickets.issued / rate - self.now()

    def _over(self) -> bool:
        return self._stopping or (self.tickets.all_issued and not self._again)

    async def _keep_open(self) -> None:
        options = self.options
        make: Callable[[], SmtpHand | HttpHand] = partial(
            SmtpHand if options.via == "smtp" else HttpHand, self
        )
        back_off = _BACK_OFF_FIRST_SECONDS
        while not self._over():
            try:
                hand = await self._connect(make)
            except OSError as error:
                self.tally.connect_failures += 1
                if options.give_up_seconds and self.now() - self._reached_at > options.give_up_seconds:
                    raise UnavailableError(
                        f"{options.host}:{options.port} cannot be reached: {error}"
                    ) from error
                await asyncio.sleep(back_off)
                back_off = min(back_off * 2, _BACK_OFF_MAX_SECONDS)
                continue
            self._reached_at = self.now()
            self.tally.connections += 1
            orderly = await hand.closed
            if orderly:
                back_off = _BACK_OFF_FIRST_SECONDS
            else:
                self.tally.connections_lost += 1
                if not self._over():
                    await asyncio.sleep(back_off)
                    back_off = min(back_off * 2, _BACK_OFF_MAX_SECONDS) if not hand.carried else back_off

    async def _connect(self, make: Callable[[], SmtpHand | HttpHand]) -> SmtpHand | HttpHand:
        """Connect to the first address that answers.

        The name is looked up apart: of a look-up within `create_connection` that nobody waits for any more,
        because another connection failed first, uvloop tells the failure on standard error.
        """
        loop = asyncio.get_running_loop()
        host, port = self.options.host, self.options.port
        places = [host]
        if not _is_address(host):
            places = [
                str(found[4][0]) for found in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            ]
        failure = OSError(f"{host} has no address")
        for place in places:
            try:
                _, hand = await loop.create_connection(make, place, port)
            except OSError as error:
                failure = error
            else:
                return hand
        raise failure

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            edge = self.now() - self.options.reply_seconds
            for hand in list(self._hands):
                if hand.waiting_since is not None and hand.waiting_since < edge:
                    hand.abort()
            if self._journal:
                await asyncio.get_running_loop().run_in_executor(None, self._journal.sync)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

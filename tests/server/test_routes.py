"""Routes are looked for once for each domain, so many at once, and not any more after the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from outrider.base.log import ListLog
from outrider.model.reply import Reply
from outrider.model.route import Exchanger, Route, RouteFailure
from outrider.server.routes import LOOK_UPS_MAX, RouteFinder


class Resolver:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waiting: dict[str, asyncio.Future[Route | RouteFailure]] = {}

    async def route(self, domain: str) -> Route | RouteFailure:
        self.asked.append(domain)
        future: asyncio.Future[Route | RouteFailure] = asyncio.get_running_loop().create_future()
        self.waiting[domain] = future
        return await future

    def answer(self, domain: str) -> None:
        exchanger = Exchanger(10, f"mx.{domain}", ("192.0.2.1",))
        self.waiting.pop(domain).set_result(Route(domain, (exchanger,), implicit=False, valid_seconds=60.0))


class Site:
    """A finder and what it told."""

    def __init__(self) -> None:
        self.resolver = Resolver()
        self.routed: list[str] = []
        self.log = ListLog()
        self.finder = RouteFinder(self.resolver, lambda answer: self.routed.append(answer.domain), self.log)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self.finder.run())
        await turn()
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_domain_is_asked_for_once_until_it_is_answered() -> None:
    site = Site()
    site.finder.ask("a.example")  # before it runs
    async with site.running():
        site.finder.ask("a.example")
        await turn()
        assert site.resolver.asked == ["a.example"]
        site.resolver.answer("a.example")
        await turn()
        assert site.routed == ["a.example"]
        site.finder.ask("a.example")
        await turn()
        assert site.resolver.asked == ["a.example", "a.example"]


async def test_so_many_at_once_and_the_others_in_turn() -> None:
    site = Site()
    domains = [f"{number}.example" for number in range(LOOK_UPS_MAX + 2)]
    async with site.running():
        for domain in domains:
            site.finder.ask(domain)
        await turn()
        assert site.resolver.asked == domains[:LOOK_UPS_MAX]
        site.resolver.answer(domains[7])
        await turn()
        assert site.resolver.asked == domains[: LOOK_UPS_MAX + 1]
        for domain in list(site.resolver.waiting):
            site.resolver.answer(domain)
        await turn()
        site.resolver.answer(domains[-1])
        await turn()
        assert sorted(site.routed) == sorted(domains)
        site.finder.ask("more.example")
        await turn()
        assert site.resolver.asked[-1] == "more.example"


async def test_an_end_waits_for_no_look_up() -> None:
    site = Site()
    domains = [f"{number}.example" for number in range(LOOK_UPS_MAX + 50)]
    async with site.running():
        for domain in domains:
            site.finder.ask(domain)
        await turn()
    assert all(future.cancelled() for future in site.resolver.waiting.values())
    assert len(site.resolver.asked) == LOOK_UPS_MAX
    site.finder.ask("later.example")
    await turn()
    assert "later.example" not in site.resolver.asked
    assert site.routed == []


async def test_a_failure_is_told_and_logged() -> None:
    site = Site()
    reply = Reply(450, "4.4.3", ("No name server answers",))
    async with site.running():
        site.finder.ask("a.example")
        await turn()
        site.resolver.waiting.pop("a.example").set_result(RouteFailure("a.example", reply, 60.0))
        await turn()
    assert site.routed == ["a.example"]
    assert [event for _, event, _ in site.log.lines] == ["route.failed"]

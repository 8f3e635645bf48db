"""What is found out about a message, against the DNS of the practice internet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from outrider.base.clock import FakeClock
from outrider.base.ids import MessageId
from outrider.model.address import Address
from outrider.model.flow import Envelope, Origin, Recipient, Submission
from outrider.net.answers import Answer, Kind, Lookup, Status
from outrider.privacy.mail_checks import QUESTIONS_MAX, MailChecker, MailChecks
from outrider.wire.dkim.arc import ChainResult, ChainState, seal
from outrider.wire.dkim.authentication_results import format_results
from outrider.wire.dkim.record import format_record
from outrider.wire.dkim.results import Fault
from outrider.wire.dkim.signer import sign
from outrider.wire.dmarc import DmarcWord
from outrider.wire.smtp.content import stuff_plain
from outrider.wire.spf.evaluate import SpfWord
from tests.privacy.practice_dns import resolving
from tests.wire.dkim.signing import KEYS, MESSAGE, NOW, key_of, request

CLIENT = Origin("smtp", "ESMTP", "192.0.2.7", "mx.sender.test", None, None)
ZONE = {
    "@": "v=spf1 ip4:192.0.2.0/24 -all",
    "mx": "v=spf1 ip4:198.51.100.1 -all",
    "ed25519._domainkey": format_record(key_of("ed25519")),
    "_dmarc": "v=DMARC1; p=reject",
}


def submission(
    message: bytes = MESSAGE, origin: Origin = CLIENT, mail_from: str = "ann@sender.test"
) -> Submission:
    local_part, _, domain = mail_from.rpartition("@")
    sender = Address(local_part, domain) if mail_from else None
    envelope = Envelope(sender, (Recipient(Address("joe", "one.test")),))
    return Submission(MessageId("0" * 18), NOW, origin, envelope, stuff_plain(message))


def signed(message: bytes = MESSAGE) -> bytes:
    return sign(stuff_plain(message), [request("ed25519")], KEYS, NOW) + message


def sealed(message: bytes = MESSAGE) -> bytes:
    fields = seal(
        stuff_plain(message),
        request("ed25519"),
        KEYS,
        NOW,
        authserv_id="mx.list.test",
        checks=[],
        chain=ChainResult(ChainState.NONE),
    )
    return fields + message


@asynccontextmanager
async def checking(texts: dict[str, str], **zone: object) -> AsyncIterator[MailChecker]:
    """A checker that asks a world in which `sender.test` has these texts."""
    records = [{"name": name, "type": "TXT", "value": f'"{text}"'} for name, text in texts.items()]
    async with resolving(**{"record": records, **zone}) as resolver:
        yield MailChecker(resolver, clock_of_now(), "mx.one.test")


def clock_of_now() -> FakeClock:
    clock = FakeClock()
    clock.step_wall(NOW - clock.wall())
    return clock


async def checks_of(submitted: Submission, texts: dict[str, str] = ZONE, **zone: object) -> MailChecks:
    async with checking(texts, **zone) as checker:
        return await checker.check(submitted)


async def test_all_checks_pass_and_are_written_in_one_field() -> None:
    found = await checks_of(submission(sealed(signed())))
    assert [each.fault for each in found.signatures] == [Fault.NONE]
    assert found.signed_domains == ("sender.test",)
    assert (found.spf.word, found.helo.word) == (SpfWord.PASS, SpfWord.FAIL)
    assert found.chain.state is ChainState.PASS
    assert (found.dmarc.word, found.dmarc.policy) == (DmarcWord.PASS, "reject")
    assert {method for method, _ in found.dmarc.aligned} == {"dkim", "spf"}
    field = format_results("mx.one.test", found.results()).replace(b"\r\n\t", b" ").decode()
    assert "; dkim=pass header.d=sender.test header.i=@sender.test header.s=ed25519" in field
    assert "; spf=pass smtp.mailfrom=sender.test; spf=fail reason=" in field
    assert "smtp.helo=mx.sender.test; dmarc=pass header.from=sender.test; arc=pass" in field


async def test_nothing_speaks_for_the_author_of_a_forged_message() -> None:
    origin = Origin("smtp", "ESMTP", "203.0.113.9", "mx.sender.test", None, None)
    found = await checks_of(submission(signed().replace(b"Last line", b"Lost line"), origin))
    assert found.signatures[0].fault is Fault.BODY
    assert (found.spf.word, found.dmarc.word) == (SpfWord.FAIL, DmarcWord.FAIL)


@pytest.mark.parametrize(
    ("record", "written"),
    [
        ("v=spf1 ip4:192.0.2.7 exists:%{l}.sender.test -all", b"spf=pass smtp.mailfrom=sender.test"),
        ("v=spf1 -exists:%{l}.sender.test +all", b"spf=pass smtp.mailfrom=ann@sender.test"),
        ("v=spf1 -exists:%{S}.sender.test +all", b"spf=pass smtp.mailfrom=ann@sender.test"),
        ("v=spf1 exists:%{o}.x.test +all exp=%{l}.sender.test", b"spf=pass smtp.mailfrom=sender.test"),
    ],
)
async def test_a_local_part_is_written_only_where_it_was_checked(record: str, written: bytes) -> None:
    # RFC 8601 §2.7.2
    found = await checks_of(submission(), ZONE | {"@": record})
    assert written in format_results("mx.one.test", found.results())


async def test_the_null_sender_is_that_of_the_helo_name() -> None:
    found = await checks_of(submission(mail_from=""), ZONE | {"mx": "v=spf1 ip4:192.0.2.7 -all"})
    assert found.spf is found.helo
    assert found.dmarc.aligned == (("spf", "mx.sender.test"),)
    assert b"smtp.mailfrom" not in format_results("mx.one.test", found.results())


@pytest.mark.parametrize(("record", "aligned"), [("", True), ("v=DMARC1; p=none; psd=n", False)])
async def test_a_department_that_stands_for_itself_does_not_speak_for_the_domain(
    record: str, aligned: bool
) -> None:
    texts = ZONE | {"lab": "v=spf1 ip4:192.0.2.7 -all"} | ({"_dmarc.lab": record} if record else {})
    found = await checks_of(submission(mail_from="ann@lab.sender.test"), texts)
    assert found.spf.word is SpfWord.PASS
    assert found.dmarc.word is (DmarcWord.PASS if aligned else DmarcWord.FAIL)


@pytest.mark.parametrize(("domain", "policy"), [("gone.sender.test", "reject"), ("lab.sender.test", "none")])
async def test_a_domain_that_does_not_exist_has_the_policy_for_such(domain: str, policy: str) -> None:
    zone = [
        {"name": "_dmarc", "type": "TXT", "value": '"v=DMARC1; p=none; np=reject"'},
        {"name": "lab", "type": "A", "value": "127.0.0.1"},
    ]
    message = MESSAGE.replace(b"ann@sender.test", b"ann@" + domain.encode())
    async with checking({}, record=zone) as checker:
        found = await checker.check(submission(message, mail_from="x@other.test"))
    assert (found.dmarc.word, found.dmarc.policy) == (DmarcWord.FAIL, policy)


async def test_what_came_by_http_has_no_client_for_spf() -> None:
    found = await checks_of(submission(signed(), Origin("api", "HTTP", "192.0.2.7", "", "key", None)))
    assert (found.spf.word, found.dmarc.word) == (SpfWord.NONE, DmarcWord.PASS)
    assert b"spf=" not in format_results("mx.one.test", found.results())


async def test_servers_that_fail_are_results() -> None:
    found = await checks_of(submission(sealed(signed())), answer="servfail")
    assert found.signatures[0].fault is Fault.LOOKUP
    assert (found.spf.word, found.helo.word) == (SpfWord.TEMPERROR, SpfWord.TEMPERROR)
    assert (found.dmarc.word, found.chain.is_transient) == (DmarcWord.TEMPERROR, True)


class SilentAbout:
    """The answers of a resolver, but for some names."""

    def __init__(self, lookup: Lookup, name: str) -> None:
        self._lookup = lookup
        self._name = name

    async def lookup(self, name: str, kind: Kind) -> Answer:
        if name.endswith(self._name):
            return Answer(Status.FAILED, 0.0, trouble="nobody answers")
        return await self._lookup.lookup(name, kind)


@pytest.mark.parametrize(
    ("silent", "word"), [("evil.test", DmarcWord.FAIL), ("_domainkey.sender.test", DmarcWord.TEMPERROR)]
)
async def test_only_what_could_speak_for_the_author_leaves_it_open(silent: str, word: DmarcWord) -> None:
    forged = b"DKIM-Signature: v=1; a=rsa-sha256; d=evil.test; s=s; h=from; bh=aGFzaA==; b=c2ln\r\n"
    async with resolving(
        record=[{"name": "_dmarc", "type": "TXT", "value": '"v=DMARC1; p=reject"'}]
    ) as lookup:
        checker = MailChecker(SilentAbout(lookup, silent), clock_of_now(), "mx.one.test")
        found = await checker.check(submission(forged + signed(), mail_from="x@evil.test"))
    assert (found.dmarc.word, found.dmarc.policy) == (word, "reject")


class Silent:
    """A resolver that never answers."""

    async def lookup(self, name: str, kind: Kind) -> Answer:
        await asyncio.get_running_loop().create_future()
        raise AssertionError(name, kind)


async def test_the_time_of_all_checks_is_bounded() -> None:
    found = await MailChecker(Silent(), clock_of_now(), "mx.one.test", 0.05).check(submission(signed()))
    assert found.signatures[0].fault is Fault.LOOKUP
    assert "no answer in time" in found.signatures[0].reason
    assert (found.spf.word, found.dmarc.word) == (SpfWord.TEMPERROR, DmarcWord.TEMPERROR)


class Endless:
    """Names whose records ask for ever more."""

    def __init__(self) -> None:
        self.asked = 0

    async def lookup(self, name: str, kind: Kind) -> Answer:
        self.asked += 1
        if kind is Kind.MX:
            found = tuple((at, f"{at}.{name}") for at in range(8))
            return Answer(Status.FOUND, 60.0, exchangers=found)
        if kind is not Kind.TXT:
            return Answer(Status.FOUND, 60.0, addresses=("203.0.113.1",))
        terms = " ".join(f"mx:m{at}.{name}" for at in range(9))
        return Answer(Status.FOUND, 60.0, texts=(f"v=spf1 {terms} include:i.{name} -all",))


async def test_the_questions_of_all_checks_are_bounded() -> None:
    lookup = Endless()
    fields = b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; d=d%d.test; s=s; h=from; bh=aGFzaA==; b=c2ln\r\n" % at
        for at in range(50)
    )
    sets = b"".join(
        b"ARC-Seal: i=%d; a=rsa-sha256; cv=%b; d=d%d.test; s=s; b=c2ln\r\n"
        b"ARC-Message-Signature: i=%d; a=rsa-sha256; d=e%d.test; s=s; h=from; bh=aGFzaA==; b=c2ln\r\n"
        b"ARC-Authentication-Results: i=%d; x.test; none\r\n"
        % (at, b"none" if at == 1 else b"pass", at, at, at, at)
        for at in range(1, 51)
    )
    message = (fields + sets + MESSAGE).replace(b"ann@sender.test", b"ann@" + b"a." * 20 + b"test")
    found = await MailChecker(lookup, clock_of_now(), "mx.one.test").check(submission(message))
    assert 60 < lookup.asked <= QUESTIONS_MAX
    assert found.spf.word is SpfWord.TEMPERROR
    assert found.chain.state is ChainState.FAIL


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (b"Ann <ann@sender.test>, bob@sender.test", DmarcWord.PASS),
        (b"ann@sender.test, bob@other.test", DmarcWord.NONE),
        (b"nobody at all", DmarcWord.NONE),
        (b"Ann <ann@sender.test>\r\nFrom: ann@sender.test", DmarcWord.NONE),
        (b"Ann <ann@SENDER.test>, ann@sender.test", DmarcWord.PASS),
        (b"Team: ann@sender.test, bob@sender.test;", DmarcWord.PASS),
        (b'"x@other.test" <ann@sender.test>', DmarcWord.PASS),
        (b"Ann <ann@sender.test>, junk", DmarcWord.PASS),
        (b"Ann <ann@sender.test>, bob@[192.0.2.1]", DmarcWord.PASS),
        (b"Ann <a..b@sender.test>", DmarcWord.PASS),
        (b"Ann <ann@sender.test.>", DmarcWord.PASS),
        (b"Ann <ann@lab_1.sender.test>", DmarcWord.PASS),
        (b"ann@[192.0.2.1]", DmarcWord.NONE),
        (b"", DmarcWord.NONE),
        (b"Team:;", DmarcWord.NONE),
    ],
)
async def test_the_author_is_one_domain(value: bytes, word: DmarcWord) -> None:
    message = MESSAGE.replace(b"Ann <ann@sender.test>", value, 1)
    assert (await checks_of(submission(message))).dmarc.word is word

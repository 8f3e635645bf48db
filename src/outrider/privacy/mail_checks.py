"""What can be found out about a message that came: signatures, chain of seals, SPF and DMARC, in one go.

In: a submission, as it was received, and who answers questions to DNS. Out: `MailChecks`, always: what was
not answered in time, or would have been one question too many, is a `temperror` of the check that asked.

Theory: the message is checked as it came, whatever policy makes of it meanwhile, because only so its
signatures mean something; so the results of one submission never change. All checks go on at the same time.
Each has a number of questions of its own, so that none can be starved by what another's records ask.

Invariant: at most `QUESTIONS_MAX` questions and `seconds`; no exception for whatever message or records hold.

Standards: RFC 8601 §2.7 (the words), RFC 7208 §2.3 and RFC 7208 §2.4 (both identities are checked).
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Final, TypeVar

import msgspec

from outrider.base.clock import Clock
from outrider.base.errors import AddressError
from outrider.base.long_octets import LONG_OCTETS
from outrider.model.flow import Content, Submission
from outrider.model.mailbox import parse_domain
from outrider.net.answers import Answer, Kind, Lookup, Status
from outrider.privacy.sender_checks import check_sender, find_dmarc, find_organizations
from outrider.privacy.signature_checks import key_records
from outrider.wire.dkim.arc import Chain, ChainResult
from outrider.wire.dkim.authentication_results import Checked, of_signatures
from outrider.wire.dkim.message import Parts
from outrider.wire.dkim.results import Result, SignatureResult
from outrider.wire.dkim.verifier import SIGNATURES_MAX, Verification
from outrider.wire.dmarc import DmarcResult, DmarcWord, evaluate
from outrider.wire.message.addresses import HeaderAddress, parse_addresses
from outrider.wire.spf.evaluate import DOMAIN_OCTETS_MAX, Sender, SpfResult, SpfWord

Found = TypeVar("Found")

CHECK_SECONDS: Final = 10.0
"""Chosen: two servers' worth of time-outs, and below the time that a hook may wait."""

SIGNATURE_QUESTIONS: Final = SIGNATURES_MAX
"""One for each signature that is looked at."""

CHAIN_QUESTIONS: Final = 20
"""Chosen: ten hands, each with two keys; a longer chain is one that was not looked up to its end."""

SPF_QUESTIONS: Final = 40
"""Chosen: ten terms (RFC 7208 §4.6.4) with the records and names that honest ones have."""

DMARC_QUESTIONS: Final = 8 + 3
"""RFC 9989 §4: the walk, and whether the domain exists."""

ALIGNMENT_QUESTIONS: Final = 16
"""Chosen: four checked domains, each with four names that the author's walk did not ask for."""

QUESTIONS_MAX: Final = (
    SIGNATURE_QUESTIONS + CHAIN_QUESTIONS + 2 * SPF_QUESTIONS + DMARC_QUESTIONS + ALIGNMENT_QUESTIONS
)
"""Follows."""

AUTHOR_OCTETS: Final = 8_192
"""Chosen: of From, some two hundred authors, which takes up to 20 ms to read; what is longer names nobody."""

_SMTP: Final = ("SMTP", "ESMTP")
_DOMAIN: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
# RFC 5322 §3.4.1 takes more than hosts have, and DNS holds it


class MailChecks(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        signatures: DKIM, one for each signature; empty where there are none.
        chain: ARC.
        spf: SPF of MAIL FROM, or of the HELO name where that is null.
        helo: SPF of the HELO name.
        dmarc: For the domain of From.
        client: Address that SPF was asked for; empty where the message did not come by SMTP.
        mail_from: MAIL FROM; empty for the null one.
        helo_name: The HELO name.
    """

    signatures: tuple[SignatureResult, ...]
    chain: ChainResult
    spf: SpfResult
    helo: SpfResult
    dmarc: DmarcResult
    client: str = ""
    mail_from: str = ""
    helo_name: str = ""

    @property
    def signed_domains(self) -> tuple[str, ...]:
        """Domains whose signature holds, each once."""
        return tuple(dict.fromkeys(each.domain for each in self.signatures if each.is_pass))

    def results(self) -> list[Checked]:
        """For `Authentication-Results`, in the usual order; SPF where there was a client to ask for."""
        found = of_signatures(self.signatures)
        if self.client and self.mail_from:
            # RFC 8601 §2.7.2: without the local part, which nobody has checked, unless the record asks for it
            domain = self.mail_from.rpartition("@")[2]
            checked = self.mail_from if self.spf.knows_local_part else domain
            found.append(_of_spf(self.spf, "smtp.mailfrom", checked))
        if self.client:
            found.append(_of_spf(self.helo, "smtp.helo", self.helo_name))
        dmarc = Checked("dmarc", self.dmarc.word, self.dmarc.reason, (("header.from", self.dmarc.domain),))
        return [*found, dmarc, self.chain.checked(self.client)]


def _of_spf(result: SpfResult, name: str, value: str) -> Checked:
    reason = "" if result.word is SpfWord.PASS else result.reason
    return Checked("spf", result.word, reason, ((name, value),))


class _Bounded:
    """A `Lookup` that answers so many questions, until a time; what is beyond is a failure."""

    __slots__ = ("_deadline", "_left", "_lookup")

    def __init__(self, lookup: Lookup, most: int, deadline: float) -> None:
        self._lookup = lookup
        self._left = most
        self._deadline = deadline

    async def lookup(self, name: str, kind: Kind) -> Answer:
        if self._left <= 0:
            return Answer(Status.FAILED, 0.0, trouble="it asks for too many look-ups")
        self._left -= 1
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._lookup.lookup(name, kind)
        except TimeoutError:
            return Answer(Status.FAILED, 0.0, trouble="there was no answer in time")


class MailChecker:
    """See the module.

    Args:
        lookup: Who answers.
        clock: For the times in signatures.
        authserv_id: Under which name results are written.
        seconds: How long all checks of a message may take.
    """

    __slots__ = ("_clock", "_lookup", "_seconds", "authserv_id")

    def __init__(
        self, lookup: Lookup, clock: Clock, authserv_id: str, seconds: float = CHECK_SECONDS
    ) -> None:
        self._lookup = lookup
        self._clock = clock
        self._seconds = seconds
        self.authserv_id = authserv_id

    async def check(self, submission: Submission) -> MailChecks:
        """Check a message as it was received."""
        deadline = asyncio.get_running_loop().time() + self._seconds
        content, now = submission.content, self._clock.wall()
        client, helo_name, mail_from = sender_of(submission)
        parts = await _away(content, Parts, content)
        async with asyncio.TaskGroup() as tasks:
            signatures = tasks.create_task(self._signatures(content, parts, now, deadline))
            chain = tasks.create_task(self._chain(content, parts, now, deadline))
            helo = tasks.create_task(self._spf(client, f"postmaster@{helo_name}", helo_name, deadline))
            spf = tasks.create_task(self._spf(client, mail_from, helo_name, deadline)) if mail_from else helo
        found = signatures.result()
        spf_found = spf.result()
        spf_domain = (mail_from.rpartition("@")[2] or helo_name).lower().removesuffix(".")
        signers = [each.domain for each in found if each.is_pass]
        passed = spf_domain if spf_found.word is SpfWord.PASS else ""
        unsettled = [("dkim", each.domain) for each in found if each.result is Result.TEMPERROR]
        unsettled += [("spf", spf_domain)] if spf_found.word is SpfWord.TEMPERROR else []
        dmarc = await self._dmarc(author_domain(parts), signers, passed, unsettled, deadline)
        return MailChecks(
            found, chain.result(), spf_found, helo.result(), dmarc, client, mail_from, helo_name
        )

    async def _signatures(
        self, content: Content, parts: Parts, now: float, deadline: float
    ) -> tuple[SignatureResult, ...]:
        verification = Verification(content, now, parts)
        lookup = _Bounded(self._lookup, SIGNATURE_QUESTIONS, deadline)
        records = await key_records(verification.names, lookup)
        return await _away(content, verification.results, records)

    async def _chain(self, content: Content, parts: Parts, now: float, deadline: float) -> ChainResult:
        chain = Chain(content, now, parts)
        lookup = _Bounded(self._lookup, CHAIN_QUESTIONS, deadline)
        records = await key_records(reversed(chain.names), lookup)  # newest first: those decide first
        return await _away(content, chain.result, records)

    async def _spf(self, client: str, mail_from: str, helo_name: str, deadline: float) -> SpfResult:
        if not client:
            return SpfResult(SpfWord.NONE, "it did not come by SMTP")
        lookup = _Bounded(self._lookup, SPF_QUESTIONS, deadline)
        sender = Sender(client, mail_from, helo_name, self.authserv_id, self._clock.wall())
        return await check_sender(lookup, sender)

    async def _dmarc(
        self,
        author: str,
        signers: Sequence[str],
        spf_domain: str,
        unsettled: Sequence[tuple[str, str]],
        deadline: float,
    ) -> DmarcResult:
        if not author:
            return DmarcResult(DmarcWord.NONE, "From names no one domain")
        found = await find_dmarc(_Bounded(self._lookup, DMARC_QUESTIONS, deadline), author)
        bounded = _Bounded(self._lookup, ALIGNMENT_QUESTIONS, deadline)
        domains = [*signers, *([spf_domain] if spf_domain else []), *(domain for _, domain in unsettled)]
        walked = await find_organizations(bounded, found, domains)
        return evaluate(found, signers, spf_domain, walked=walked, unsettled=unsettled)


def sender_of(submission: Submission) -> tuple[str, str, str]:
    """Client address, HELO name and MAIL FROM; the first is empty where the message did not come by SMTP."""
    origin = submission.origin
    client = ""
    if origin.protocol.startswith(_SMTP):
        try:
            client = str(ip_address(origin.client.partition("%")[0]))
        except ValueError:
            client = ""
    sender = submission.envelope.mail_from
    return client, origin.helo, "" if sender is None else str(sender)


def author_domain(parts: Parts) -> str:
    """The domain of From, A-labels, lower case; empty where there is no one From, or several domains."""
    fields = parts.fields(b"from")
    if len(fields) != 1 or len(fields[0].value) > AUTHOR_OCTETS:
        return ""
    text = fields[0].value.decode("utf-8", "replace").replace("\r\n", "")
    domains = {_domain_of(each) for each in parse_addresses(text).addresses} - {""}
    return domains.pop() if len(domains) == 1 else ""


def _domain_of(author: HeaderAddress) -> str:
    """His domain, also where his local part is none, because readers are shown it; empty where it is none."""
    text = author.domain.removesuffix(".")
    try:
        domain = parse_domain(text)
    except AddressError:
        domain = text.lower()
    return domain if len(domain) <= DOMAIN_OCTETS_MAX and _DOMAIN.fullmatch(domain) else ""


async def _away(content: Content, work: Callable[..., Found], *arguments: Any) -> Found:
    """What `work` gives; in a thread where the content is long."""
    if len(content.wire) > LONG_OCTETS:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)

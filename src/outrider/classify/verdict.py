"""What an outcome means for its recipient: delivered, try again, or give up; and why.

In: an `Outcome`. Out: a `Verdict`. A pure function over the tables of `classify.table`.

Theory: the reply's first digit decides about the recipient (RFC 5321 §4.2.1), the status code and the text
only about the bounce class. There are four exceptions, each on the side of keeping the mail:

- A refusal before MAIL (connect, greeting, EHLO, STARTTLS, AUTH) is about us and this host, not about the
  recipient. RFC 5321 §3.1 lets a server say 554 to every client, meaning "no SMTP service here"; RFC 7504 §3
  adds 521. Another exchanger may take the mail (RFC 5321 §5.1), and a block of our address ends one day.
  So it is transient with site trouble; the message bounces only when it expires.
- 552 to RCPT is read as 452 (RFC 5321 §4.5.3.1.10), unless its status code says that the message itself
  is too large (RFC 1870 §6.1), which no retry changes.
- 421 is about the connection in any phase (RFC 5321 §4.2.2).
- A code that is none of ours to know (not 2xx after the content, not 4xx, not 5xx) is transient.

Invariants: `delivered` only for a peer's 2xx to the end of the content. Rules for remote texts never see a
failure of ours.
"""

import re
from functools import lru_cache

from outrider.classify.table import (
    ABOUT_SENDER,
    ADDRESS,
    CLASSES,
    DOUBTED,
    FIRM,
    OURS,
    OWN_CLASSES,
    PATTERNS,
    QUOTED_STATUS,
    TELLING,
    TEXT_MATCH_OCTETS,
    UNDETERMINED,
    WEAK,
)
from outrider.model.flow import Disposition, Outcome, Phase, Verdict
from outrider.model.reply import Reply

_DELIVERED = Verdict(Disposition.DELIVERED)

_VERDICTS = {
    (disposition, name, trouble): Verdict(disposition, name, trouble)
    for disposition in (Disposition.TRANSIENT, Disposition.PERMANENT)
    for name in CLASSES
    for trouble in (False, True)
}

_PHASE_CLASS: dict[int, str] = {
    # class of our failures without a telling status code, by phase
    Phase.RESOLVE: "dns-failure",
    Phase.CONNECT: "connection-failed",
    Phase.GREETING: "connection-lost",
    Phase.EHLO: "connection-lost",
    Phase.STARTTLS: "tls-failure",
    Phase.AUTH: "login-failed",
    Phase.MAIL: "connection-lost",
    Phase.RCPT: "connection-lost",
    Phase.DATA: "connection-lost",
    Phase.BODY: "connection-lost",
    Phase.QUEUE: "own-policy",
}

_CODE_CLASS = {
    # class of a peer's reply that has no status code and no text that we know
    421: "system-unavailable",  # RFC 5321 §4.2.2
    452: "system-full",  # RFC 5321 §4.2.2
    454: "login-failed",  # RFC 4954 §6
    500: "protocol-error",  # RFC 5321 §4.2.2
    501: "protocol-error",  # RFC 5321 §4.2.2
    502: "protocol-error",  # RFC 5321 §4.2.2
    503: "protocol-error",  # RFC 5321 §4.2.2
    504: "protocol-error",  # RFC 5321 §4.2.2
    521: "system-unavailable",  # RFC 7504 §3
    530: "login-failed",  # RFC 4954 §6
    535: "login-failed",  # RFC 4954 §6
    552: "mailbox-full",  # RFC 5321 §4.2.2
    553: "address-invalid",  # RFC 5321 §4.2.2
    555: "protocol-error",  # RFC 5321 §4.2.2
    556: "null-mx",  # RFC 7504 §4
}

_RCPT_CODE_CLASS = {
    450: "greylisted",  # RFC 6647 §5.1
    550: "mailbox-unknown",  # RFC 5321 §4.2.2: mailbox not found
    551: "mailbox-moved",  # RFC 5321 §4.2.2: user not local
    452: "too-many-recipients",  # RFC 5321 §4.5.3.1.10
}

_SECURING = frozenset((Phase.STARTTLS, Phase.AUTH))
# Whatever is said in these phases is about them.

_TOO_LARGE = frozenset(("5.2.3", "5.3.4"))


def classify(outcome: Outcome) -> Verdict:
    """The verdict on `outcome`."""
    reply = outcome.reply
    if outcome.ours:
        return _ours(reply, outcome.phase)
    code = reply.code
    phase = outcome.phase
    if 200 <= code < 300 and phase == Phase.BODY:
        return _DELIVERED
    permanent = 500 <= code < 600
    if not permanent and not 400 <= code < 500:
        return _VERDICTS[Disposition.TRANSIENT, "protocol-error", True]
    name = _remote_class(reply, phase)
    trouble = CLASSES[name].site_trouble or code == 421
    if phase <= Phase.AUTH:
        permanent, trouble = False, True
    elif phase == Phase.RCPT and code == 552 and reply.enhanced not in _TOO_LARGE:
        permanent = False
    elif phase == Phase.MAIL and not permanent:
        trouble = True
    return _VERDICTS[Disposition.PERMANENT if permanent else Disposition.TRANSIENT, name, trouble]


def _ours(reply: Reply, phase: int) -> Verdict:
    detail = _detail(reply.enhanced)
    if phase in _SECURING and detail not in OURS:
        name = _PHASE_CLASS[phase]
    else:
        name = OURS.get(detail) or FIRM.get(detail) or _PHASE_CLASS[phase]
    if reply.is_permanent:
        return _VERDICTS[Disposition.PERMANENT, name, False]
    trouble = Phase.RESOLVE < phase < Phase.QUEUE and name not in OWN_CLASSES
    return _VERDICTS[Disposition.TRANSIENT, name, trouble]


def _remote_class(reply: Reply, phase: int) -> str:
    name = _named_class(reply, phase)
    if phase == Phase.MAIL:
        return ABOUT_SENDER.get(name, name)
    # Before MAIL nobody has seen a message: what is called spam is what came from our address before.
    return "reputation-block" if phase < Phase.MAIL and name == "spam-content" else name


def _named_class(reply: Reply, phase: int) -> str:
    enhanced = reply.enhanced
    if enhanced is None:
        quoted = QUOTED_STATUS.search("\n".join(reply.lines)[:TEXT_MATCH_OCTETS])
        enhanced = None if quoted is None else quoted[1]
    detail = _detail(enhanced)
    name = FIRM.get(detail)
    if phase in _SECURING:
        return name or _PHASE_CLASS[phase]
    if name is not None:
        return name if detail not in DOUBTED else _first(TELLING, _shown(reply)) or name
    name = _text_class(f"{enhanced} {_shown(reply)}" if enhanced else _shown(reply))
    if name is None:
        name = WEAK.get(detail)
    if name is None and phase == Phase.RCPT:
        name = _RCPT_CODE_CLASS.get(reply.code)
    return name or _CODE_CLASS.get(reply.code, UNDETERMINED)


def _shown(reply: Reply) -> str:
    """What the patterns see of a reply: lower case, and nothing of the addresses that it repeats."""
    text = reply.text[:TEXT_MATCH_OCTETS].lower()
    return ADDRESS.sub("", text) if "@" in text else text


@lru_cache(maxsize=1_024)  # some 600 KiB; a receiver says the same to all who come while it defers
def _text_class(text: str) -> str | None:
    """The class that a text says, with its status code before it; pure, so remembered."""
    return _first(TELLING, text) or _first(PATTERNS, text)


def _first(table: tuple[tuple[re.Pattern[str], str], ...], text: str) -> str | None:
    """The class of the first pattern that is found in `text`."""
    return next((name for pattern, name in table if pattern.search(text)), None)


def _detail(enhanced: str | None) -> str:
    """`1.1` of `5.1.1`."""
    return enhanced[2:] if enhanced else ""

"""The bounce classes and the rules that find them: data only.

Four tables, asked in this order by `verdict`: status codes that say one thing (`FIRM`), texts that say more
than the status code before them (`TELLING`; of some codes, `DOUBTED`, even of `FIRM`), other texts
(`PATTERNS`, first match wins), then status codes that say little (`WEAK`). Each row names its source. A text
is matched in lower case, with its status code before it; patterns are our own wording of what receivers
publish.

Standards: RFC 3463 §3 (status codes), RFC 7372 §3 (authentication), RFC 7505 §4 (null MX), RFC 5248 §2.4
(registry).
Not here: the full classifier with thousands of patterns and updates, which has its own place later.
"""

import itertools
import re
from typing import NamedTuple


class BounceClass(NamedTuple):
    """One bounce class.

    Attributes:
        name: As in verdicts, events and rules.
        category: `hard`, `soft`, `block` or `admin`.
        momentum: Code of the same meaning in Momentum's classification.
        explanation: One sentence for the sender, in a delivery report.
        site_trouble: True when the class speaks about us or the whole site, whatever the phase.
    """

    name: str
    category: str
    momentum: int
    explanation: str
    site_trouble: bool = False


UNDETERMINED = "undetermined"

CLASSES = {
    row.name: row
    for row in (
        BounceClass(UNDETERMINED, "soft", 1, "The receiving server gave no reason that we know."),
        BounceClass("mailbox-unknown", "hard", 10, "The address does not exist at its domain."),
        BounceClass("mailbox-disabled", "hard", 10, "The mailbox exists but takes no mail."),
        BounceClass("mailbox-moved", "hard", 10, "The mailbox has moved and no mail is forwarded."),
        BounceClass(
            "domain-unknown", "hard", 10, "The domain of the address does not exist or takes no mail."
        ),
        BounceClass("null-mx", "hard", 10, "The domain declares that it accepts no mail."),
        BounceClass("address-invalid", "hard", 10, "The receiving server finds the address malformed."),
        BounceClass("mailbox-full", "soft", 22, "The mailbox is full."),
        BounceClass("mailbox-busy", "soft", 70, "The mailbox takes no mail at the moment."),
        BounceClass("too-large", "soft", 23, "The message is larger than the receiver accepts."),
        BounceClass("too-many-recipients", "soft", 20, "The receiver takes fewer recipients at a time."),
        BounceClass("greylisted", "soft", 70, "The receiver asks us to try again later."),
        BounceClass(
            "rate-limited", "soft", 70, "The receiver limits how fast we may send.", site_trouble=True
        ),
        BounceClass("system-full", "soft", 20, "The receiving system is out of space.", site_trouble=True),
        BounceClass(
            "system-unavailable", "soft", 20, "The receiving system takes no mail now.", site_trouble=True
        ),
        BounceClass("dns-failure", "soft", 21, "The receiving servers of the domain could not be looked up."),
        BounceClass("no-route", "hard", 21, "No server that takes mail for the domain can be reached."),
        BounceClass("routing-loop", "hard", 21, "The message would go round in circles."),
        BounceClass("connection-failed", "soft", 20, "No connection to the receiving server could be made."),
        BounceClass(
            "connection-lost", "soft", 24, "The connection to the receiving server broke or took too long."
        ),
        BounceClass("tls-failure", "soft", 20, "No connection as secure as required could be made."),
        BounceClass("login-failed", "soft", 25, "The next server did not accept our credentials."),
        BounceClass("expired", "soft", 24, "The message could not be delivered in the time allowed."),
        BounceClass("reputation-block", "block", 51, "The receiver blocks our server.", site_trouble=True),
        BounceClass("spam-content", "block", 52, "The receiver takes the message for unsolicited mail."),
        BounceClass("content-refused", "block", 53, "The receiver refuses this kind of content."),
        BounceClass(
            "relaying-denied", "block", 54, "The receiving server does not take mail for the address."
        ),
        BounceClass("sender-unauthenticated", "block", 50, "The sender's domain failed authentication."),
        BounceClass("sender-refused", "block", 50, "The receiver refuses this sender."),
        BounceClass("policy-refused", "block", 50, "The receiver refuses the message by its policy."),
        BounceClass(
            "conversion-needed", "soft", 20, "The receiving server cannot take a message of this form."
        ),
        BounceClass("protocol-error", "soft", 20, "The two servers did not understand each other."),
        BounceClass("own-failure", "admin", 25, "Our own server could not do its part."),
        BounceClass("own-policy", "admin", 25, "Our own policy ended the delivery."),
    )
}

FIRM = {
    # status code without its first digit → class
    "1.1": "mailbox-unknown",  # RFC 3463 §3.2: bad destination mailbox address
    "1.2": "domain-unknown",  # RFC 3463 §3.2: bad destination system address
    "1.3": "address-invalid",  # RFC 3463 §3.2: bad destination mailbox address syntax
    "1.6": "mailbox-moved",  # RFC 3463 §3.2: destination mailbox has moved
    "1.7": "sender-refused",  # RFC 3463 §3.2: bad sender's mailbox address syntax
    "1.8": "sender-refused",  # RFC 3463 §3.2: bad sender's system address
    "1.9": "conversion-needed",  # RFC 5248 §2.4 registry: relayed to a non-compliant mailer
    "1.10": "null-mx",  # RFC 7505 §4.2: recipient address has null MX
    "2.1": "mailbox-disabled",  # RFC 3463 §3.3: mailbox disabled
    "2.2": "mailbox-full",  # RFC 3463 §3.3: mailbox full
    "2.3": "too-large",  # RFC 3463 §3.3: message length exceeds administrative limit
    "3.1": "system-full",  # RFC 3463 §3.4: mail system full
    "3.4": "too-large",  # RFC 3463 §3.4: message too big for system
    "4.3": "dns-failure",  # RFC 3463 §3.5: directory server failure
    "4.6": "routing-loop",  # RFC 3463 §3.5: routing loop detected
    "4.7": "expired",  # RFC 3463 §3.5: delivery time expired
    "5.3": "too-many-recipients",  # RFC 3463 §3.6: too many recipients
    "6.1": "content-refused",  # RFC 3463 §3.7: media not supported
    "6.2": "conversion-needed",  # RFC 3463 §3.7: conversion required and prohibited
    "6.3": "conversion-needed",  # RFC 3463 §3.7: conversion required but not supported
    "6.5": "conversion-needed",  # RFC 3463 §3.7: conversion failed
    "6.7": "conversion-needed",  # RFC 6531 §3.5: address needs SMTPUTF8
    "6.9": "conversion-needed",  # RFC 6531 §3.5: SMTPUTF8 needed, message cannot be conveyed
    "7.4": "tls-failure",  # RFC 3463 §3.8: security features not supported
    "7.8": "login-failed",  # RFC 4954 §6: credentials invalid
    "7.10": "tls-failure",  # RFC 5248 §2.4 registry: encryption needed
    "7.11": "tls-failure",  # RFC 4954 §6: encryption required for the mechanism
    "7.12": "login-failed",  # RFC 4954 §6: password transition needed
    "7.20": "sender-unauthenticated",  # RFC 7372 §3.1: no passing DKIM signature
    "7.21": "sender-unauthenticated",  # RFC 7372 §3.1: no acceptable DKIM signature
    "7.22": "sender-unauthenticated",  # RFC 7372 §3.1: no valid author-matched DKIM signature
    "7.23": "sender-unauthenticated",  # RFC 7372 §3.2: SPF validation failed
    "7.24": "sender-unauthenticated",  # RFC 7372 §3.2: SPF validation error
    "7.25": "reputation-block",  # RFC 7372 §3.3: reverse DNS validation failed
    "7.26": "sender-unauthenticated",  # RFC 7372 §3.4: multiple authentication checks failed
    "7.27": "sender-refused",  # RFC 7505 §4.2: sender address has null MX
    "7.28": "rate-limited",  # RFC 5248 §2.4 registry: mail flood detected
    "7.29": "sender-unauthenticated",  # RFC 5248 §2.4 registry: ARC validation failure
    "7.30": "tls-failure",  # RFC 8689 §5: REQUIRETLS support required
}

WEAK = {
    "1.4": "address-invalid",  # RFC 3463 §3.2: ambiguous
    "1.0": "mailbox-unknown",  # RFC 3463 §3.2: other address status
    "2.0": "mailbox-disabled",  # RFC 3463 §3.3: other mailbox status
    "2.4": "mailbox-disabled",  # RFC 3463 §3.3: mailing list expansion problem
    "3.0": "system-unavailable",  # RFC 3463 §3.4: other mail system status
    "3.2": "system-unavailable",  # RFC 3463 §3.4: system not accepting network messages
    "3.3": "conversion-needed",  # RFC 3463 §3.4: system not capable of selected features
    "3.5": "system-unavailable",  # RFC 3463 §3.4: system incorrectly configured
    "4.0": "system-unavailable",  # RFC 3463 §3.5: other network status
    "4.1": "connection-failed",  # RFC 3463 §3.5: no answer from host
    "4.2": "connection-lost",  # RFC 3463 §3.5: bad connection
    "4.4": "no-route",  # RFC 3463 §3.5: unable to route
    "4.5": "system-unavailable",  # RFC 3463 §3.5: mail system congestion
    "5.0": "protocol-error",  # RFC 3463 §3.6: other protocol status
    "5.1": "protocol-error",  # RFC 3463 §3.6: invalid command
    "5.2": "protocol-error",  # RFC 3463 §3.6: syntax error
    "5.4": "protocol-error",  # RFC 3463 §3.6: invalid command arguments
    "5.5": "protocol-error",  # RFC 3463 §3.6: wrong protocol version
    "6.0": "content-refused",  # RFC 3463 §3.7: other media error
    "7.0": "policy-refused",  # RFC 3463 §3.8: other security status
    "7.1": "policy-refused",  # RFC 3463 §3.8: delivery not authorized
    "7.2": "policy-refused",  # RFC 3463 §3.8: mailing list expansion prohibited
    "7.7": "content-refused",  # RFC 3463 §3.8: message integrity failure
    "7.9": "sender-unauthenticated",  # Yahoo Sender Hub: behind AUTH, where it is RFC 4954 §6's, it says so
}

DOUBTED = frozenset({"1.10", "2.1", "7.27", "7.29", "7.30"})
# Of `FIRM`: codes that large receivers use for something else, which their texts (`TELLING`) say.

_TELLING = (
    # (pattern, class, who says so)
    (r"gr[ea]y-?list", "greylisted", "RFC 6647 §5.1"),
    (r"postgrey", "greylisted", "Postgrey's default reply"),
    (
        r"receiving mail (too quickly|at a rate)|recipient.{0,40} message rate|mailbox (is )?busy",
        "mailbox-busy",
        "Gmail, SMTP error reference 4.2.1; RFC 5321 §4.2.3",
    ),
    (r"mailbox.{0,20} temporarily (locked|disabled|unavail)", "mailbox-busy", "common"),
    (
        (
            r"spf authentication did|dkim authentication did|isn.t aligned|required authentication level"
            r"|not pass dmarc"
        ),
        "sender-unauthenticated",
        "Gmail, SMTP error reference 4.7.27, 4.7.30, 4.7.32; Exchange 5.7.509, 5.7.515",
    ),
    (r"^5\.7\.9 message not accepted", "sender-unauthenticated", "Yahoo Sender Hub, SMTP errors"),
    (
        (
            r"over a tls connection|starttls (command )?first|must (issue|use) (a )?starttls"
            r"|tls (is )?required|encryption (is )?required|requires? (tls|encryption)\b"
        ),
        "tls-failure",
        "Gmail, SMTP error reference 4.7.29; RFC 3207 §4",
    ),
    (r"recipient ?not ?found", "mailbox-unknown", "Exchange, error 5.1.10"),
    (r"^5\.4\.1 recipient address rejected", "mailbox-unknown", "Exchange Online, directory-based blocking"),
    (
        r"^5\.1\.0 address rejected|#5\.1\.0 address rejected",
        "mailbox-unknown",
        "Cisco ESA, invalid recipient",
    ),
    (r"sendernotauthenticatedforgroup|delivery restriction", "policy-refused", "Exchange, error 5.7.133"),
)

_TEXTS = (
    # (pattern, class, who says so); the order is the order of asking
    (
        r"too many hops|hop count|mail ?loop|is looping|routing loop",
        "routing-loop",
        "RFC 5321 §6.3; qmail, sendmail",
    ),
    (
        r"\b(url|uri|link|domain)s? (in|of|within) .{0,60} listed|black-?listed (url|uri|link)",
        "spam-content",
        "rspamd, SpamAssassin",
    ),
    (r"not listed in", "mailbox-unknown", "HCL Domino"),
    (
        r"too many (bad|invalid|unknown|failed|unsuccessful|errors)",
        "rate-limited",
        "defence against harvesting",
    ),
    (r"spamhaus|spamcop|barracudacentral", "reputation-block", "block lists named in replies"),
    (
        r"sorbs|uceprotect|abuseat|spamrats|mailspike|abusix|psbl\.|invaluement",
        "reputation-block",
        "block lists named in replies",
    ),
    (r"\bdnsbl|\brbl\b|\bblock ?list|black ?list|block-listed", "reputation-block", "RFC 5782 §1"),
    (r"blocked (using|for abuse)|block for spam", "reputation-block", "Postfix, Exchange, Comcast"),
    (
        r"\bs31[45]0\b|banned send(ing|er)|\b(sc|dy|ou)-00[1-5]\b|traffic not accepted",
        "reputation-block",
        "Microsoft, Outlook.com postmaster pages; Exchange Online 5.7.5xx to 5.7.7xx",
    ),
    (r"permanently deferred", "reputation-block", "Yahoo Sender Hub, SMTP errors TS03, TSS09"),
    (r"a problem occurred\. \(ask your postmaster", "reputation-block", "Deutsche Telekom"),
    (r"\bip\b.{0,60}\b(blocked|refused|poor reputation|bad reputation)", "reputation-block", "common"),
    (
        r"(low|poor|bad) (sender )?reputation|\blisted (in|at|on|by)\b",
        "reputation-block",
        "Gmail, SMTP error reference 4.7.0; RFC 5782 §1",
    ),
    (
        r"\bptr\b.{0,20} record|reverse (dns|lookup)|\brdns\b",
        "reputation-block",
        "Gmail, SMTP error reference 5.7.25",
    ),
    (
        r"client host rejected|cannot find your (reverse )?host ?name",
        "reputation-block",
        "Postfix, access restrictions",
    ),
    (r"rate[ -]?limit|throttl|sending too fast", "rate-limited", "common"),
    (
        r"too many (open |concurrent )?(messages|connections|mails|emails)",
        "rate-limited",
        "Postfix, Exim, sendmail",
    ),
    (
        r"too much mail|sending limit|frequency (is )?limit",
        "rate-limited",
        "Postfix; Gmail 5.4.5; Tencent, NetEase",
    ),
    (r"too many recipients received", "rate-limited", "Cisco ESA"),
    (r"^[45]\.7\.[56]\d\d server busy|deferred - \[\d", "rate-limited", "Exchange Online 4.7.500; Yahoo 451"),
    (r"unusual rate", "rate-limited", "Gmail, SMTP error reference 4.7.28"),
    (r"\btss0[0-9]\b|unexpected volume|user complaints", "rate-limited", "Yahoo Sender Hub, SMTP errors"),
    (r"\brp-00[1-3]\b", "rate-limited", "Microsoft, Outlook.com postmaster pages"),
    (r"(try again|retry|come back) in \d+", "greylisted", "RFC 6647 §5.1"),
    (r"too many recipients", "too-many-recipients", "RFC 5321 §4.5.3.1.10"),
    (r"\bdmarc\b", "sender-unauthenticated", "RFC 9989"),
    (r"\bspf\b.{0,60}(fail|reject|not pass|denied)", "sender-unauthenticated", "RFC 7208 §8.4"),
    (r"\bdkim\b.{0,60}(fail|invalid|not)", "sender-unauthenticated", "RFC 6376 §6.3"),
    (r"unauthenticated|not authenticated", "sender-unauthenticated", "Gmail, SMTP error reference 5.7.26"),
    (r"anti-?spoof|spoofing", "sender-unauthenticated", "Mimecast"),
    (
        r"relay(ing)? (access )?(denied|not permitted|not allowed|prohibited)",
        "relaying-denied",
        "Postfix, Exim",
    ),
    (r"(unable|not|n.t|refuses?)\b.{0,30} relay\b", "relaying-denied", "Exchange, error 5.7.1; common"),
    (r"allowed rcpthosts|smtp authentication in your", "relaying-denied", "qmail; Exim, cPanel"),
    (r"(mailbox|inbox|account|user|quota).{0,40}(\bfull\b|exceeded)", "mailbox-full", "Postfix, Dovecot"),
    (r"over ?quota|out of storage", "mailbox-full", "Gmail, SMTP error reference 5.2.2"),
    (r"insufficient (mailbox )?storage", "mailbox-full", "Exchange, error 5.2.2"),
    (
        r"(message|mail) (size|too large|too big|length)|size limit|size exceeds|exceeds? .{0,40}\bsize",
        "too-large",
        "RFC 1870 §6.1",
    ),
    (
        r"not rfc ?5322|rfc ?5322 compliant|missing a valid|invalid header|multiple from headers",
        "content-refused",
        "Gmail, SMTP error reference 5.7.1",
    ),
    (r"\bph01\b", "content-refused", "Yahoo Sender Hub, SMTP errors"),
    (
        r"\bspam\b|unsolicited|\bjunk\b|junkmail|bulk mail|recipients \(.{0,80}:blocked\)",
        "spam-content",
        "Gmail, SMTP error reference 5.7.1; Barracuda",
    ),
    (r"virus|malware|infected|phish", "content-refused", "ClamAV and amavis default replies"),
    (r"(banned|prohibited|blocked|illegal) (attachment|file|content)", "content-refused", "amavis"),
    (
        (
            r"attachment.{0,60}(allowed|permitted|blocked|rejected|refused|banned|prohibited)"
            r"|content (was )?(rejected|refused)"
        ),
        "content-refused",
        "common",
    ),
    (r"security issue", "content-refused", "Gmail, SMTP error reference 5.7.0"),
    (
        (
            r"(account|mailbox|user|recipient|address).{0,40}"
            r"(disabled|inactiv|suspended|deactivated|expired|terminated|deleted|\blocked)"
        ),
        "mailbox-disabled",
        "Gmail, SMTP error reference 5.2.1",
    ),
    (
        r"sender verif|verification failed for|badmailfrom|blocked sender|sender domain",
        "sender-refused",
        "Exim, qmail, Mimecast",
    ),
    (r"helo command rejected|(invalid|bad) helo", "policy-refused", "Postfix"),
    (
        r"(host|domain) (name )?(unknown|not found)|(unknown|no such) (host|domain)|domain .{0,60}not exist",
        "domain-unknown",
        "Postfix, sendmail",
    ),
    (r"no longer (available|active|in use|accept)", "mailbox-disabled", "Yahoo Sender Hub, SMTP errors"),
    (
        r"(user|recipient|mailbox|address|account|alias).{0,60}(unknown|not found|n[o']t exist)",
        "mailbox-unknown",
        "Postfix, Exim, sendmail",
    ),
    (
        r"(user|recipient|mailbox|address|account|alias).{0,60}(invalid|no such|not known|undeliverable)",
        "mailbox-unknown",
        "Postfix, Exim, sendmail",
    ),
    (
        r"(unknown|no such|invalid|non-?existent) .{0,20}(user|recipient|mailbox|address|account|person)",
        "mailbox-unknown",
        "Postfix, Exim, sendmail",
    ),
    (r"nosuchuser|recipnotfound|no mailbox", "mailbox-unknown", "Gmail 5.1.1; Exchange 5.1.10"),
    (
        r"(does not|doesn.t) have an? .{0,30}account|mailbox unavailable|recipient (rejected|refused)",
        "mailbox-unknown",
        "Yahoo; Outlook.com 5.5.0; Barracuda",
    ),
    (r"user not local", "mailbox-moved", "RFC 5321 §4.2.3"),
    (r"sender.{0,60}(rejected|refused|denied|does not exist|verif)", "sender-refused", "Postfix, sendmail"),
    (
        r"insufficient (system|disk)|disk (is )?full|no space left|space shortage|out of memory",
        "system-full",
        "RFC 5321 §4.2.2; Exim, sendmail",
    ),
    (r"service (is )?(not |un)available|server busy|overload", "system-unavailable", "RFC 5321 §4.2.2"),
    (
        r"internal (server )?error|server configuration|\bqqt? ",
        "system-unavailable",
        "Dovecot, Postfix, qmail",
    ),
    (r"temporar|try again later|local error|shutting down", "system-unavailable", "RFC 5321 §4.2.2"),
    (
        r"auth command first|authentication (is )?required|requires? (smtp )?authentication",
        "login-failed",
        "Postfix; Gmail, SMTP error reference 5.5.1",
    ),
    (r"polic(y|ies)|access denied|not permitted|not allowed", "policy-refused", "RFC 5321 §4.2.2"),
    (r"blocked|rejected|refused|denied|prohibit", "policy-refused", "common"),
    (r"syntax error|bad sequence|command (not|un)|not implemented", "protocol-error", "RFC 5321 §4.2.2"),
    (r"unrecognized", "protocol-error", "RFC 5321 §4.2.2"),
)


def _compiled(rows: tuple[tuple[str, str, str], ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """One pattern for each run of rows of one class."""
    return tuple(
        (re.compile("|".join(f"(?:{pattern})" for pattern, _, _ in run)), name)
        for name, run in itertools.groupby(rows, key=lambda row: row[1])
    )


TELLING = _compiled(_TELLING)
PATTERNS = _compiled(_TEXTS)

ABOUT_SENDER = {
    # class that names a recipient → what it means of a reply to MAIL, which knows of none
    "mailbox-unknown": "sender-refused",
    "mailbox-disabled": "sender-refused",
    "mailbox-moved": "sender-refused",
    "domain-unknown": "sender-refused",
    "address-invalid": "sender-refused",
    "null-mx": "sender-refused",
}

ADDRESS = re.compile(r"[^\s<>()\[\]:;,\"@]{1,64}@[^\s<>()\[\]:;,\"@]{1,255}")
# what a reply repeats of an address says nothing: `dmarc@` may not exist either

QUOTED_STATUS = re.compile(r"(?:^|[#(\[])([45]\.\d{1,3}\.\d{1,3})(?![.\d])", re.MULTILINE)
# qmail and Cisco ESA write the status code into the text (`(#5.1.1)`), others `5.1.1:` or on a later line

OURS = {
    # status code without its first digit → class of a failure that is ours
    "3.0": "own-failure",  # RFC 3463 §3.4: our system, not the peer's
    "3.2": "own-failure",  # RFC 3463 §3.4: we are shutting down
    "3.5": "own-failure",  # RFC 3463 §3.4: our configuration
    "4.1": "connection-failed",  # RFC 3463 §3.5: no answer from host
    "4.2": "connection-lost",  # RFC 3463 §3.5: bad connection, or a time-out on it
    "4.4": "no-route",  # RFC 3463 §3.5: no exchanger can be used
    "5.0": "protocol-error",  # RFC 3463 §3.6: the peer's reply could not be read
    "7.0": "own-policy",  # RFC 3463 §3.8: policy of our side
    "7.1": "own-policy",  # RFC 3463 §3.8: policy of our side
    "7.5": "tls-failure",  # RFC 3463 §3.8: cryptographic failure
}

OWN_POLICY = "own-policy"
# What our own policy ends.

OWN_CLASSES = frozenset(("own-failure", OWN_POLICY))
# Failures of ours that say nothing about the peer.

TEXT_MATCH_OCTETS = 600
# Characters of a reply that the patterns see; chosen: published replies say their reason within the first
# 500, and it bounds the work of a hostile reply.

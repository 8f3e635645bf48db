"""What we answer ourselves when a domain has no route: one documented constant for each reason.

Standards: RFC 3463 §3.2 and RFC 3463 §3.5 (status codes), RFC 7505 §4.1 (null MX).
"""

from outrider.model.reply import Reply

DOMAIN_UNKNOWN = Reply(550, "5.1.2", ("The recipient's domain does not exist",))
# RFC 3463 §3.2 X.1.2: an authoritative NXDOMAIN.

DOMAIN_WITHOUT_MAIL = Reply(550, "5.1.2", ("The recipient's domain has no mail exchanger and no address",))
# RFC 5321 §5.1: no MX and no address record; the domain exists but takes no mail.

NULL_MX = Reply(556, "5.1.10", ("The recipient's domain does not accept mail (null MX)",))
# RFC 7505 §4.1.

EXCHANGERS_WITHOUT_ADDRESS = Reply(550, "5.4.4", ("No mail exchanger of the domain has an address",))
# RFC 5321 §5.1: MX records present, none usable, "MUST be reported as an error".

EXCHANGERS_FORBIDDEN = Reply(
    550, "5.4.4", ("The domain's mail exchangers have only addresses that are not reachable from here",)
)
# Loopback, private and similar targets: a mistake in the domain's DNS, or an attempt to reach inner hosts.

LITERAL_INVALID = Reply(550, "5.1.2", ("The address literal is not an IP address",))
# RFC 5321 §4.1.3.

LOOP = Reply(554, "5.4.6", ("Mail for this domain would come back to this server",))
# RFC 5321 §5.1: our own name or address is the best exchanger and nothing is left; RFC 3463 §3.5 X.4.6.

EXCHANGERS_TOO_MANY = Reply(
    451, "4.4.4", ("None of the first of the domain's many mail exchangers can be used",)
)
# RFC 3463 §3.5 X.4.4: those that were left out may work, so the message waits.

DNS_UNAVAILABLE = Reply(451, "4.4.3", ("The domain's mail exchangers could not be looked up",))
# RFC 3463 §3.5 X.4.3: SERVFAIL, no answer, or an answer that makes no sense.

SMART_HOST_UNKNOWN = Reply(451, "4.4.4", ("The configured next server cannot be looked up",))
# RFC 3463 §3.5 X.4.4: a mistake in our configuration or its DNS; transient, so that mail waits for repair.

"""Every reply that we can send, one constant each, with the rule that asks for it.

The SMTP server, the listeners and HTTP injection (which maps the code to a status) take their texts from
here; a reply is never put together elsewhere, except by the functions at the end, which add an id or a
number.

Standards: RFC 5321 §4.2 (codes), RFC 3463 §3 (enhanced codes), RFC 5248 §2 (their registry).
"""

from outrider.model.reply import Reply

# Positive

CLOSING = Reply(221, "2.0.0", ("Bye",))
"""QUIT: RFC 5321 §4.1.1.10."""

READY_FOR_TLS = Reply(220, "2.0.0", ("Ready to start TLS",))
"""STARTTLS: RFC 3207 §4."""

AUTHENTICATED = Reply(235, "2.7.0", ("Authentication succeeded",))
"""AUTH: RFC 4954 §6."""

OK = Reply(250, "2.0.0", ("Ok",))
"""RSET, NOOP: RFC 5321 §4.1.1.5, RFC 5321 §4.1.1.9."""

SENDER_OK = Reply(250, "2.1.0", ("Sender ok",))
"""MAIL: RFC 5321 §4.1.1.2."""

RECIPIENT_OK = Reply(250, "2.1.5", ("Recipient ok",))
"""RCPT: RFC 5321 §4.1.1.3."""

CHUNK_OK = Reply(250, "2.0.0", ("Chunk received",))
"""BDAT without LAST: RFC 3030 §2."""

START_MAIL_INPUT = Reply(354, None, ("End data with <CR><LF>.<CR><LF>",))
"""DATA: RFC 5321 §4.1.1.4; no enhanced code on 3xx, RFC 2034 §4."""

CANNOT_VERIFY = Reply(252, "2.5.0", ("Cannot VRFY user, but will try to deliver",))
"""VRFY gives nothing away: RFC 5321 §3.5.3, RFC 5321 §7.3."""

HELP = Reply(214, "2.0.0", ("Outrider takes mail from those it was told to relay for",))
"""HELP: RFC 5321 §4.1.1.8."""

# Transient: the listener

SHUTTING_DOWN = Reply(421, "4.3.2", ("Service shutting down, try again later",))
"""RFC 5321 §3.8."""

TIMED_OUT = Reply(421, "4.4.2", ("Idle too long, closing",))
"""RFC 5321 §4.5.3.2.7."""

TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", ("Too many connections from your address",))
"""RFC 5321 §7.8: a server may limit what it serves."""

UNDER_STRESS = Reply(421, "4.3.2", ("Busy, serving known clients only; try again later",))
"""RFC 5321 §7.8: a stranger comes second."""

TOO_FREQUENT = Reply(421, "4.7.0", ("Too many connections in a minute from your address",))
"""RFC 5321 §7.8."""

TOO_MANY_MESSAGES = Reply(450, "4.7.1", ("Too many messages in a minute from your address",))
"""RFC 5321 §7.8; the code of Postfix's rate limits."""

LISTENER_FULL = Reply(421, "4.3.2", ("Too many connections, try again later",))
"""RFC 5321 §7.8."""

TOO_MANY_ERRORS = Reply(421, "4.7.0", ("Too many errors, closing",))
"""RFC 5321 §7.8; RFC 5321 §3.8 allows 421 to any command."""

TOO_MANY_COMMANDS = Reply(421, "4.7.0", ("Too many commands without a message, closing",))
"""RFC 5321 §7.8."""

INTERNAL_ERROR = Reply(421, "4.3.0", ("Internal error, closing; try again later",))
"""RFC 5321 §3.8: our own fault never costs a message."""

POLICY_FAILED = Reply(421, "4.3.0", ("Temporary issue, closing; please send the message again later",))
"""RFC 5321 §3.8: a policy that fails never costs a message."""

POLICY_SLOW = Reply(451, "4.3.0", ("Policy takes too long, try again later",))
"""RFC 5321 §4.2.2: the same for one that waits in vain."""

NO_RECIPIENTS_LEFT = Reply(550, "5.7.1", ("Policy leaves no recipient",))
"""RFC 3463 §3.8: an administrator's policy took all of them away."""

MEMORY_HIGH = Reply(421, "4.3.1", ("Memory is short, try again later",))
"""RFC 5321 §3.8."""

# Transient: the transaction

SPOOL_FAILED = Reply(451, "4.3.0", ("Could not store the message, try again later",))
"""RFC 5321 §4.2.5: no 250 without having taken responsibility."""

DISK_LOW = Reply(452, "4.3.1", ("Insufficient storage, try again later",))
"""RFC 1870 §5."""

TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", ("Too many recipients, send the rest in another transaction",))
"""RFC 5321 §4.5.3.1.10."""

CREDENTIALS_CHANGED = Reply(421, "4.7.0", ("Your credentials were changed; closing, authenticate again",))
"""RFC 5321 §3.8: what was revoked while the session was open ends it."""

TENANT_DISABLED = Reply(450, "4.7.1", ("Sending is disabled for you now, ask your postmaster",))
"""RFC 3463 §3.8, X.7.1; transient, because what is disabled may be enabled again and mail is kept."""

AUTH_UNAVAILABLE = Reply(454, "4.7.0", ("Temporary authentication failure",))
"""RFC 4954 §6."""

TLS_UNAVAILABLE = Reply(454, "4.7.0", ("TLS not available due to temporary reason",))
"""RFC 3207 §4."""

# Permanent: commands

UNKNOWN_COMMAND = Reply(500, "5.5.1", ("Unknown command",))
"""RFC 5321 §4.2.4."""

COMMAND_TOO_LONG = Reply(500, "5.5.6", ("Command line too long",))
"""RFC 5321 §4.5.3.1.4; the code of RFC 4954 §6 for lines."""

BAD_CHARACTERS = Reply(500, "5.5.2", ("Command line holds characters that no command may hold",))
"""RFC 5321 §4.1.2."""

STRAY_LINE_END_IN_COMMAND = Reply(
    500, "5.5.2", ("Commands end in <CR><LF>, never a bare <CR> or <LF>; closing",)
)
"""RFC 5321 §2.3.8."""

EARLY_TALK = Reply(554, "5.5.1", ("You spoke before your turn; closing",))
"""RFC 5321 §4.3.1 (greeting), RFC 2920 §3.1 (354)."""

BAD_ARGUMENT = Reply(501, "5.5.4", ("Syntax error in argument",))
"""RFC 5321 §4.2.4."""

BAD_HELO = Reply(501, "5.5.4", ("A host name or an address literal is required",))
"""RFC 5321 §4.1.1.1."""

NO_ARGUMENT_ALLOWED = Reply(501, "5.5.4", ("No argument allowed",))
"""RFC 5321 §4.2.4."""

BAD_SENDER = Reply(501, "5.1.7", ("Bad sender address syntax",))
"""RFC 3463 §3.2."""

BAD_RECIPIENT = Reply(501, "5.1.3", ("Bad recipient address syntax",))
"""RFC 3463 §3.2."""

NULL_RECIPIENT = Reply(501, "5.1.3", ("A recipient cannot be empty",))
"""RFC 5321 §4.1.1.3."""

BAD_PARAMETER = Reply(501, "5.5.4", ("Syntax error in a parameter",))
"""RFC 5321 §4.1.1.11."""

BAD_NOTE = Reply(501, "5.5.4", ("XSETCONTEXT takes NAME=VALUE, the values in xtext",))
"""RFC 5321 §4.2.4: a syntax error in an argument."""

TOO_MANY_NOTES = Reply(501, "5.5.4", ("XSETCONTEXT was used for too many notes in this session",))
"""Chosen: the command cannot be obeyed again, so the client is told for good."""

UNKNOWN_PARAMETER = Reply(555, "5.5.4", ("Unknown parameter, or one that was not offered",))
"""RFC 5321 §4.1.1.11."""

NOT_IMPLEMENTED = Reply(502, "5.5.1", ("Command not implemented",))
"""RFC 5321 §4.2.4."""

HELO_FIRST = Reply(503, "5.5.1", ("Say EHLO first",))
"""RFC 5321 §4.1.4."""

MAIL_FIRST = Reply(503, "5.5.1", ("MAIL is needed first",))
"""RFC 5321 §3.3."""

RCPT_FIRST = Reply(503, "5.5.1", ("RCPT is needed first",))
"""RFC 5321 §3.3."""

NESTED_MAIL = Reply(503, "5.5.1", ("A transaction is already open",))
"""RFC 5321 §4.1.4."""

BDAT_UNDER_WAY = Reply(503, "5.5.1", ("Only BDAT or RSET may follow BDAT",))
"""RFC 3030 §2."""

NO_VALID_RECIPIENTS = Reply(554, "5.5.1", ("No valid recipients",))
"""RFC 5321 §3.3, RFC 2920 §3.1."""

# Permanent: TLS and AUTH

TLS_FIRST = Reply(530, "5.7.0", ("Must issue a STARTTLS command first",))
"""RFC 3207 §4."""

TLS_ACTIVE = Reply(503, "5.5.1", ("TLS is already active",))
"""RFC 3207 §4.2: STARTTLS is not offered again."""

AUTH_REQUIRED = Reply(530, "5.7.0", ("Authentication required",))
"""RFC 4954 §6."""

AUTH_NEEDS_TLS = Reply(538, "5.7.11", ("Encryption required for the requested mechanism",))
"""RFC 4954 §6."""

AUTH_FAILED = Reply(535, "5.7.8", ("Authentication credentials invalid",))
"""RFC 4954 §6: one text for unknown users and wrong passwords."""

OTHER_TENANT = Reply(535, "5.7.8", ("These credentials are not for this listener",))
"""RFC 4954 §6: valid, and insufficient here; a listener may be one tenant's alone."""

AUTH_CANCELLED = Reply(501, "5.7.0", ("Authentication cancelled",))
"""RFC 4954 §4."""

AUTH_MALFORMED = Reply(501, "5.5.2", ("Cannot decode the response",))
"""RFC 4954 §4."""

AUTH_LINE_TOO_LONG = Reply(500, "5.5.6", ("Authentication exchange line is too long",))
"""RFC 4954 §4."""

AUTH_MECHANISM_UNKNOWN = Reply(504, "5.5.4", ("Unrecognised authentication mechanism",))
"""RFC 4954 §4."""

AUTH_NOT_NOW = Reply(503, "5.5.1", ("AUTH is not permitted now",))
"""RFC 4954 §4: once a session, and not in a transaction."""

# Permanent: the transaction

RELAY_DENIED = Reply(550, "5.7.1", ("Relaying denied",))
"""RFC 5321 §3.6.2, RFC 3463 §3.8."""

NO_SUCH_MAILBOX = Reply(550, "5.1.1", ("No such mailbox here",))
"""RFC 3463 §3.2: a listener for bounces and complaints knows only its own addresses."""

SENDER_DENIED = Reply(550, "5.7.1", ("Sender domain not allowed for you",))
"""RFC 6409 §6.1."""

AUTHOR_UNREADABLE = Reply(550, "5.7.1", ("The From field does not say for certain who the author is",))
"""RFC 5322 §3.6.2: one From, with mailboxes and nothing else."""

STREAM_UNREADABLE = Reply(550, "5.7.1", ("X-Outrider-Stream holds no name of a stream, or is there twice",))
"""RFC 5321 §7.9: what this server was told to take."""

CONTEXT_UNREADABLE = Reply(550, "5.7.1", ("X-Outrider-Context is not key=value, or says a key twice",))
"""RFC 5321 §7.9: what this server was told to take."""

NO_BINDING = Reply(451, "4.3.5", ("Policy gives this message no way out yet, try again later",))
"""RFC 3463 §3.4 X.3.5: our configuration says that mail without a binding is not taken."""

UNSIGNABLE = Reply(550, "5.6.0", ("It has not exactly one From field, so nobody can vouch for it",))
"""RFC 5322 §3.6 (one From), RFC 6376 §5.4 (it is signed): what cannot be signed is not sent unsigned."""

NEEDS_SMTPUTF8 = Reply(553, "5.6.7", ("The address needs SMTPUTF8",))
"""RFC 6531 §3.5."""

MESSAGE_TOO_BIG = Reply(552, "5.3.4", ("Message too big",))
"""RFC 1870 §6."""

HEADER_TOO_BIG = Reply(552, "5.3.4", ("Header section too big",))
"""RFC 3463 §3.4; limits of RFC 5321 §7.8."""

TOO_MANY_HEADERS = Reply(554, "5.6.0", ("Too many header fields",))
"""RFC 3463 §3.7; limits of RFC 5321 §7.8."""

TOO_COMPLEX = Reply(554, "5.6.0", ("Message is nested too deeply",))
"""RFC 3463 §3.7; limits of RFC 5321 §7.8."""

LINE_TOO_LONG = Reply(554, "5.6.0", ("A line of the message is too long",))
"""RFC 5321 §4.5.3.1.6."""

STRAY_LINE_END = Reply(554, "5.6.0", ("Bare <CR> or <LF> in the message",))
"""RFC 5321 §2.3.8."""

NUL_IN_MESSAGE = Reply(554, "5.6.0", ("NUL octet in the message",))
"""RFC 5321 §2.4: NUL is never to be sent."""

TOO_MANY_HOPS = Reply(554, "5.4.6", ("Too many hops, the message is in a loop",))
"""RFC 5321 §6.3, RFC 3463 §3.5."""


def greeting(hostname: str, banner: str = "Outrider") -> Reply:
    """220 at connection: RFC 5321 §4.3.1."""
    return Reply(220, None, (f"{hostname} ESMTP {banner}".rstrip(),))


DURABLE = "durable"
"""How surely a message is stored that is synced before its reply."""


def queued(message_id: str, durability: str = DURABLE) -> Reply:
    """250 after end of data: responsibility is taken (RFC 5321 §4.2.5); the text says how surely."""
    return Reply(250, "2.0.0", (f"Ok: queued as {message_id}, {durability}",))


def queued_without(refused: int, message_id: str, durability: str = DURABLE) -> Reply:
    """The same, where policy refused some recipients; one reply is for all of them (RFC 5321 §4.1.1.4)."""
    whom = "1 recipient" if refused == 1 else f"{refused} recipients"
    text = f"Ok: queued as {message_id}, {durability}, without {whom} whom policy refuses"
    return Reply(250, "2.0.0", (text,))


def sender_denied(domain: str) -> Reply:
    """550 to MAIL: the domain is not one of the principal's (RFC 6409 §6.1)."""
    return Reply(550, "5.7.1", (f"Sender domain {domain} is not allowed for you",))


def author_denied(domain: str) -> Reply:
    """550 after the message: the domain of From is not one of the principal's (RFC 6409 §6.1)."""
    return Reply(550, "5.7.1", (f"Domain {domain} in From is not allowed for you",))


def domain_unverified(domain: str) -> Reply:
    """550: the domain is the principal's, but nobody has shown that it is (RFC 6409 §6.1)."""
    return Reply(550, "5.7.1", (f"Sender domain {domain} is not verified yet",))


def stream_denied(stream: str) -> Reply:
    """550: the stream is not one of the principal's (RFC 5321 §7.9)."""
    return Reply(550, "5.7.1", (f"Stream {stream} is not allowed for you",))

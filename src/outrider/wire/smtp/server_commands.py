"""The commands of the server machine: what each asks of the session's state, and what it gives.

In: a command line as text. Out: the event that must be answered or told, the reply that refuses it, or None
where the answer is already in the output.

Standards: RFC 5321 §4.1.1 (commands), RFC 5321 §4.1.4 (their order), RFC 3030 §2 (BDAT), RFC 3207 §4
(STARTTLS), RFC 4954 §4 (AUTH).
Not here: the grammar of arguments (wire.smtp.commands).
"""

from collections.abc import Callable

from outrider.model.reply import Reply, format_reply
from outrider.wire.smtp import replies
from outrider.wire.smtp.commands import CommandError, parse_bdat, parse_helo, parse_mail, parse_rcpt
from outrider.wire.smtp.notes import NOTES_MAX, parse_notes
from outrider.wire.smtp.server_auth import maybe_exchange
from outrider.wire.smtp.server_chunks import Chunk
from outrider.wire.smtp.server_events import (
    DataStart,
    Event,
    Helo,
    MailFrom,
    Quit,
    RcptTo,
    Reset,
    StartTls,
)
from outrider.wire.smtp.server_state import CHUNK, ServerState

_CLOSING = format_reply(replies.CLOSING)
_DATA_START = DataStart(bdat=False)
_FIXED = {
    "NOOP": replies.OK,
    "VRFY": replies.CANNOT_VERIFY,
    "HELP": replies.HELP,
}


def _mail(server: ServerState, text: str) -> Event | Reply | None:
    if text[4:10] != " FROM:" and text[4:10].upper() != " FROM:":
        return replies.BAD_ARGUMENT if text[4:5] in {"", " "} else replies.UNKNOWN_COMMAND
    server._idle -= 1
    if not server.helo:
        return replies.HELO_FIRST
    if server.mail is not None:
        return replies.NESTED_MAIL
    mail_from, parameters = parse_mail(text[10:], esmtp=server.esmtp)
    if parameters.size and parameters.size > server._limits.content.message_octets:
        return replies.MESSAGE_TOO_BIG
    event = server.waiting = MailFrom(mail_from, parameters)
    return event


def _rcpt(server: ServerState, text: str) -> Event | Reply | None:
    if text[4:8] != " TO:" and text[4:8].upper() != " TO:":
        return replies.BAD_ARGUMENT if text[4:5] in {"", " "} else replies.UNKNOWN_COMMAND
    server._idle -= 1
    mail = server.mail
    if mail is None:
        return replies.MAIL_FIRST
    if server._reader is not None:
        return replies.BDAT_UNDER_WAY
    server._tried_recipient = True
    if len(server.recipients) >= server._limits.recipients:
        server._beyond += 1
        if server._beyond > server._limits.recipients:
            server._idle += 1  # nobody who reads our replies goes on so long
        return replies.TOO_MANY_RECIPIENTS
    recipient = parse_rcpt(
        text[8:],
        esmtp=server.esmtp,
        smtputf8=mail.parameters.smtputf8,
        hostname=server._limits.hostname,
    )
    event = server.waiting = RcptTo(recipient)
    return event


def _content_refusal(server: ServerState) -> Reply | None:
    if server.mail is None:
        return replies.MAIL_FIRST if server.helo else replies.HELO_FIRST
    if not server.recipients:
        return replies.NO_VALID_RECIPIENTS if server._tried_recipient else replies.RCPT_FIRST
    return None


def _data(server: ServerState, text: str) -> Event | Reply | None:
    if text != "DATA" and len(text) > 4 and text.rstrip(" ")[4:]:
        return replies.NO_ARGUMENT_ALLOWED if text[4] == " " else replies.UNKNOWN_COMMAND
    if not server.recipients:  # without MAIL there are none either
        return _content_refusal(server)
    if server._reader is not None:
        return replies.BDAT_UNDER_WAY
    server.waiting = _DATA_START
    return _DATA_START


def _bdat(server: ServerState, text: str) -> Event | Reply | None:
    if text[4:5] not in {"", " "}:
        return replies.UNKNOWN_COMMAND
    try:
        size, last = parse_bdat(text[5:].strip(" "))
    except CommandError as error:
        # How many octets follow is unknown, and they must not be taken for commands.
        return server._fatal(error.reply)
    if size:
        server._idle -= 1  # an empty chunk brings no message nearer its end
    refusal = _content_refusal(server)
    server._chunk = Chunk(size, last=last, refusal=refusal)
    if refusal is None and server._reader is None:
        return server._ask(DataStart(bdat=True))
    server._mode = CHUNK
    return None


def _ehlo(server: ServerState, text: str) -> Event | Reply | None:
    if text[4:5] not in {"", " "}:
        return replies.UNKNOWN_COMMAND
    if server._reader is not None:
        return replies.BDAT_UNDER_WAY
    return server._ask(Helo(parse_helo(text[5:]), text[:4].upper() == "EHLO"))


def _rset(server: ServerState, text: str) -> Event | Reply | None:
    if text[4:].strip(" "):
        return replies.NO_ARGUMENT_ALLOWED if text[4] == " " else replies.UNKNOWN_COMMAND
    server._reset()
    server._say(replies.OK)
    return Reset()


def _quit(server: ServerState, text: str) -> Event | Reply | None:
    if text[4:].strip(" "):
        return replies.NO_ARGUMENT_ALLOWED if text[4] == " " else replies.UNKNOWN_COMMAND
    server.output += _CLOSING
    server._close()
    return Quit()


def _fixed(server: ServerState, text: str) -> Event | Reply | None:
    if text[4:5] not in {"", " "}:
        return replies.UNKNOWN_COMMAND
    verb = text[:4].upper()
    if verb == "VRFY" and not text[4:].strip(" "):
        return replies.BAD_ARGUMENT  # RFC 5321 §4.1.1.6: of the three only VRFY needs one
    server._say(_FIXED[verb])
    return None


def _not_implemented(_server: ServerState, text: str) -> Event | Reply | None:
    return replies.NOT_IMPLEMENTED if text[4:5] in {"", " "} else replies.UNKNOWN_COMMAND


def _starttls(server: ServerState, text: str) -> Event | Reply | None:
    if text[:8].upper() != "STARTTLS" or text[8:9] not in {"", " "}:
        return replies.UNKNOWN_COMMAND
    if text[8:].strip(" "):
        return replies.NO_ARGUMENT_ALLOWED
    if server.tls:
        return replies.TLS_ACTIVE
    if not server._limits.starttls:
        return replies.NOT_IMPLEMENTED
    return server._ask(StartTls())


def _auth(server: ServerState, text: str) -> Event | Reply | None:
    if text[4:5] not in {"", " "}:
        return replies.UNKNOWN_COMMAND
    if not server._limits.auth:
        return replies.NOT_IMPLEMENTED
    if not server.offers_auth:
        return replies.AUTH_NEEDS_TLS
    if server.authenticated or server.mail is not None or not server.esmtp:
        return replies.AUTH_NOT_NOW
    name, _, initial = text[5:].strip(" ").partition(" ")
    exchange = maybe_exchange(name)
    if exchange is None:
        return replies.AUTH_MECHANISM_UNKNOWN if name else replies.BAD_ARGUMENT
    server._exchange = exchange
    return server._auth_step(exchange.start(initial))


def _xsetcontext(server: ServerState, text: str) -> Event | Reply | None:
    notes = server.notes
    if notes is None or text[:11].upper() != "XSETCONTEXT" or text[11:12] not in {"", " "}:
        return replies.UNKNOWN_COMMAND
    if not server.esmtp:
        return replies.HELO_FIRST
    found = parse_notes(text[11:])
    if len(notes) + len(found) > NOTES_MAX:
        return replies.TOO_MANY_NOTES
    notes += found
    server._say(replies.OK)
    return None


COMMANDS: dict[str, Callable[[ServerState, str], Event | Reply | None]] = {
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _data,
    "BDAT": _bdat,
    "EHLO": _ehlo,
    "HELO": _ehlo,
    "RSET": _rset,
    "NOOP": _fixed,
    "VRFY": _fixed,
    "HELP": _fixed,
    "QUIT": _quit,
    "EXPN": _not_implemented,
    "STAR": _starttls,
    "AUTH": _auth,
    "XSET": _xsetcontext,
}

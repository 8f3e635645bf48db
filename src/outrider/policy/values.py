"""What of a message fills a parameter of a query that the configuration names.

In: a name of `value_names`. Out: a reader that takes the value from a message.

Invariant: a value is what the message has and nothing else; it is never put into the text of a query, which
is the data source's own rule (`store.sources`). What no name in a table can be, because it is longer than
any, is as if it were absent.
"""

from collections.abc import Callable, Mapping
from typing import Final

from outrider.policy.author import AuthorDomains
from outrider.policy.mail import Mail
from outrider.policy.value_names import AUTHOR, HEADER, parse_value

Reader = Callable[[Mail], str | None]
"""None: the message has no such thing."""

VALUE_CHARACTERS: Final = 512
# chosen: twice the longest path (RFC 5321 §4.5.3.1.3); remembered results are kept by it


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


_PLAIN: Final[Mapping[str, Reader]] = {
    "mail_from": lambda mail: mail.mail_from,
    "mail_from_domain": lambda mail: _domain(mail.mail_from),
    "rcpt_to": lambda mail: mail.rcpt_to,
    "rcpt_domain": lambda mail: _domain(mail.rcpt_to),
    "routing_domain": lambda mail: mail.routing_domain,
    "tenant": lambda mail: mail.connection.tenant,
    "stream": lambda mail: mail.connection.stream,
    "user": lambda mail: mail.connection.user,
    "listener": lambda mail: mail.connection.listener,
    "client": lambda mail: mail.connection.client,
    "helo": lambda mail: mail.connection.helo,
}


def reader_of(name: str) -> Reader:
    """What takes the value of that name from a message.

    Raises:
        ValueError: There is no such name; says which there are.
    """
    kind, rest = parse_value(name)
    if kind == AUTHOR:
        authors = AuthorDomains()
        return lambda mail: authors.of(mail.content)
    if not rest:
        return _PLAIN[kind]
    if kind == HEADER:
        return lambda mail: next(iter(mail.header(rest)), None)
    return lambda mail: mail.context.get(rest, mail.connection.context.get(rest))


def value_of(reader: Reader, mail: Mail) -> str | None:
    """The value, without the white space around it; None where there is none or none that could be a name."""
    value = reader(mail)
    if value is None:
        return None
    value = value.strip()
    return value if len(value) <= VALUE_CHARACTERS else None

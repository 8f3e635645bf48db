"""`attempt`: one attempt on one recipient, in the hooks of the way out.

In: what scripts read and say. Out: the same of `policy.attempt`, which knows what is allowed when.

Theory: Momentum has no such object; its names are those of Python's, so that one page describes both.
"""

from typing import Any, Final

from outrider.policy.attempt import Attempt
from outrider.policy.lua.api.contexts import note_name, note_text
from outrider.policy.lua.api.host import number_of, text_of
from outrider.policy.lua.registry import LuaRegistry, ObjectClass

FIELDS: Final = (
    "phase",
    "id",
    "mail_from",
    "rcpt_to",
    "metadata",
    "tenant",
    "stream",
    "received_time",
    "channel",
    "binding",
    "site",
    "routing_domain",
    "attempts",
    "host",
    "peer",
    "source",
    "tls",
    "code",
    "enhanced",
    "text",
    "where",
    "is_ours",
    "seconds",
    "bounce_class",
    "ending",
    "disposition",
)
"""What can be read."""


def _reader(name: str) -> Any:
    def read(attempt: Attempt) -> Any:
        found = getattr(attempt, name)
        return str(found) if isinstance(found, str) else found

    return read


def _dispose(attempt: Attempt, word: Any) -> None:
    attempt.disposition = text_of(word, "a disposition")


def _retry_after(attempt: Attempt, seconds: Any) -> None:
    attempt.retry_after(number_of(seconds, "seconds"))


def _hold_back(attempt: Attempt, seconds: Any, text: Any = None) -> None:
    attempt.hold_back(number_of(seconds, "seconds"), "" if text is None else note_text(text))


def _note(attempt: Attempt, name: Any, text: Any) -> None:
    attempt.note(note_name(name), note_text(text))


def _route_on(attempt: Attempt, channel: Any) -> None:
    attempt.route_on(text_of(channel, "a channel"))


def register(registry: LuaRegistry) -> None:
    """Register the class."""
    registry.register_class(
        Attempt,
        ObjectClass(
            "outrider:attempt",
            {"retry_after": _retry_after, "hold_back": _hold_back, "note": _note, "route_on": _route_on},
            getters={name: _reader(name) for name in FIELDS},
            setters={"disposition": _dispose},
        ),
    )

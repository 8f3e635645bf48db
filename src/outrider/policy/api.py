"""What scripts in Python import: answers, types, texts of messages, signatures, data sources.

    from outrider.policy.api import DONE, Refuse, SignRequest, source

Theory: one place, so that scripts go on working when the house is rebuilt. Data sources are those of the
configuration that runs; a script asks for one by name when it needs it, not when it is loaded.
"""

from outrider.policy.answers import CONTINUE, DONE, Refuse
from outrider.policy.attempt import Attempt
from outrider.policy.connection import Connection, Context
from outrider.policy.mail import Mail
from outrider.policy.series import Series
from outrider.policy.surroundings import keep_key, source
from outrider.wire.dkim.request import SignRequest
from outrider.wire.message.content import maybe_text, set_text

__all__ = [
    "CONTINUE",
    "DONE",
    "Attempt",
    "Connection",
    "Context",
    "Mail",
    "Refuse",
    "Series",
    "SignRequest",
    "keep_key",
    "maybe_text",
    "set_text",
    "source",
]

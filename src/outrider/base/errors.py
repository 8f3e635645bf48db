"""The tree of our own failures.

What a peer answers is a value (`model.flow.Outcome`), never an exception. An exception means that *we*
could not do something. `message` is for the log; what a peer may hear is a documented reply constant,
never this text.
"""

import traceback
from typing import Any


class OutriderError(Exception):
    """Base of every error that the house raises on purpose.

    Args:
        message: What happened and what to do, for the operator.
        fields: Structured facts for the log; no personal data.
    """

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields


class ConfigError(OutriderError):
    """The configuration is wrong. `faults` lists every fault found at once, one line each, with its place."""

    def __init__(self, message: str, faults: tuple[str, ...] = (), **fields: Any) -> None:
        super().__init__(message, **fields)
        self.faults = faults

    def __str__(self) -> str:
        more = (fault for fault in self.faults if fault not in self.message)
        return "\n".join((self.message, *(f"  {fault}" for fault in more)))


class ProtocolError(OutriderError):
    """A protocol was, or was about to be, violated."""


class LocalProtocolError(ProtocolError):
    """We were about to break the protocol: a bug of ours or bad input from our caller."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol."""


class UnavailableError(OutriderError):
    """DNS, connection, TLS or a deadline failed. Always transient."""


class PermissionDeniedError(OutriderError):
    """This user may not do it; the message says who may."""


class SpoolError(OutriderError):
    """The spool cannot take or give what was asked: full, busy, corrupt, or of a newer format."""


class KeyAbsentError(OutriderError):
    """A key that something was sealed with is not in the key ring: mislaid, or destroyed on purpose."""


class NotAuthenticError(OutriderError):
    """What was sealed was altered, or belongs to another place."""


class StoreError(OutriderError):
    """The control database cannot do what was asked, and would not the next time either.

    Args:
        message: What and why.
        kind: `absent` (there is no such thing), `conflict` (it exists, or something needs it), `invalid` (the
            request is wrong in itself), `newer` (a newer program made the database).
    """

    def __init__(self, message: str, kind: str = "invalid", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.kind = kind


class PolicyError(OutriderError):
    """A policy hook failed: hook, script and line are in `fields`."""


class AddressError(OutriderError, ValueError):
    """Text that is not a mailbox. The message names the part that is wrong, not the address."""


def where(error: BaseException) -> dict[str, str]:
    """The place of a fault that nobody foresaw, for the log.

    Without its text, and without its `repr`: both may quote what somebody said, and those of a
    `UnicodeError` hold all of what could not be read, be it a message or a password.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}:{frames[-1].lineno}" if frames else "unknown"
    return {"error": type(error).__name__, "place": place}

"""Options of the addresses that a listener of role `inbound` accepts.

Standards: RFC 5321 §4.5.3.1.1 (local part).
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from outrider.base.errors import AddressError
from outrider.model.mailbox import parse_domain

LOCAL_PART_OCTETS = 64
# RFC 5321 §4.5.3.1.1


class Purpose(StrEnum):
    """What mail to an address is for."""

    BOUNCE = "bounce"
    FEEDBACK = "feedback"
    ABUSE = "abuse"
    UNSUBSCRIBE = "unsubscribe"


def _pattern(text: str) -> str:
    local_part, at, domain = text.rpartition("@")
    if not at or not local_part or len(local_part) > LOCAL_PART_OCTETS:
        raise ValueError(f"{text!r}: write local-part@domain")
    if local_part.count("*") > 1 or not local_part.isascii() or set(local_part) & set(' "<>\\,;:@()[]'):
        raise ValueError(f"{text!r}: the local part is plain ASCII with at most one star")
    if not local_part.isprintable():
        raise ValueError(f"{text!r}: the local part holds a control character")
    try:
        return f"{local_part.lower()}@{parse_domain(domain)}"
    except AddressError as error:
        raise ValueError(f"{text!r}: {error.message}; a star may stand in the local part only") from error


AddressPattern = Annotated[str, AfterValidator(_pattern)]


class InboundMailbox(BaseModel):
    """One `[[listener.mailbox]]` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: Purpose = Field(
        description="`bounce` (delivery reports), `feedback` (complaints of receivers' loops), `abuse` "
        "(people who write to abuse@ or postmaster@) or `unsubscribe`."
    )
    address: AddressPattern = Field(
        description="Address to accept, case ignored; one star in the local part stands for any characters, "
        "as in `bounce-*@b.example.com`.",
        json_schema_extra={"unit": "", "source": "RFC 5321 §3.6.2: anything else would be relaying"},
    )

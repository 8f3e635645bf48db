"""A mail address: a local part and the one domain that routing, policy and logs all use.

The grammar that makes an `Address` out of octets is in `model.mailbox`; an `Address` is always valid.
"""

import msgspec


class Address(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One mailbox.

    Attributes:
        local_part: As written by the sender, quotes included where RFC 5321 §4.1.2 needs them; may be UTF-8
            (RFC 6531 §3.3).
        domain: Lower-case A-labels (RFC 5890 §2.3.2.1), or an address literal in brackets.
    """

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """True when only a peer that offers SMTPUTF8 can take this address (RFC 6531 §3.2)."""
        return not self.local_part.isascii()


def format_path(address: Address | None) -> str:
    """`<local@domain>`, or `<>` for the null reverse-path (RFC 5321 §4.5.5)."""
    return "<>" if address is None else f"<{address.local_part}@{address.domain}>"

"""What came with MAIL, read."""

import msgspec


class MailParameters(msgspec.Struct, frozen=True, gc=False):
    """What came with MAIL.

    Attributes:
        size: SIZE, 0 when not given.
        eight_bit: BODY=8BITMIME.
        smtputf8: SMTPUTF8.
        ret: `FULL`, `HDRS` or None.
        envid: Decoded, or None.
        auth: AUTH= decoded (`<>` for unknown), or None; it is believed by nobody (RFC 4954 §5).
    """

    size: int = 0
    eight_bit: bool = False
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    auth: str | None = None


NO_MAIL_PARAMETERS = MailParameters()

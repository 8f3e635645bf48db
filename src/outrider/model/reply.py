"""An SMTP reply as a value, ours or a peer's.

Standards: RFC 5321 §4.2 (replies), RFC 3463 §2 (enhanced status codes), RFC 2034 §4 (where they stand in a
reply).
"""

import msgspec


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One reply.

    Attributes:
        code: Three digits, 200 to 599.
        enhanced: Enhanced status code such as `5.1.1`, or None where the reply has none.
        lines: The text, one item a line, without code and enhanced code; at least one item.
    """

    code: int
    enhanced: str | None
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """All lines joined by a space, for logs and rules."""
        return " ".join(self.lines)

    @property
    def is_positive(self) -> bool:
        return self.code < 400

    @property
    def is_transient(self) -> bool:
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        return self.code >= 500

    def __str__(self) -> str:
        enhanced = f"{self.enhanced} " if self.enhanced else ""
        return f"{self.code} {enhanced}{self.text}"


def format_reply(reply: Reply) -> bytes:
    """The octets of a reply, each line ended by CRLF (RFC 5321 §4.2.1; RFC 2034 §4)."""
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    lines = reply.lines
    text = f"{reply.code} {enhanced}{lines[-1]}\r\n"
    if len(lines) > 1:
        text = "".join([f"{reply.code}-{enhanced}{line}\r\n" for line in lines[:-1]]) + text
    return text.encode("utf-8", "replace")

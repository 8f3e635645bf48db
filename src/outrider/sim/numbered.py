"""Reading the number of a message, and of the message that a failure report is about.

In: contents in wire form. Out: numbers and recipients.

Theory: the number stands in the header field `X-Sim-Number: <run>-<n>`. A report (RFC 3464 §2) carries the
returned header in its body, so a number counts as this message's only inside its own header section.
Standards: RFC 5322 §2.2 (fields), RFC 3464 §2.3 (fields of a recipient).
"""

NUMBER_FIELD = b"X-Sim-Number:"
_HEADER_MAX = 65_536  # chosen, because that is many times what any of our programs writes
_REPORT_MARK = b"report-type"


def message_number(content: bytes) -> str:
    """The number in the header section of `content`, or an empty text."""
    if content.startswith(b"\r\n"):
        return ""  # the header section is empty, RFC 5322 §2.1
    end = content.find(b"\r\n\r\n", 0, _HEADER_MAX)
    return _field(content, NUMBER_FIELD, 0, end if end >= 0 else min(len(content), _HEADER_MAX))


def failure_report(content: bytes) -> tuple[str, list[str]]:
    """The number and the recipients that the delivery report `content` says have failed.

    Both are empty for anything that is not a failure report about a numbered message.
    """
    end = content.find(b"\r\n\r\n", 0, _HEADER_MAX)
    if end < 0 or _REPORT_MARK not in content[:end].lower():
        return "", []
    number = _field(content, NUMBER_FIELD, end, len(content))
    if not number:
        return "", []
    failed = []
    for group in content[end:].split(b"\r\n\r\n"):
        action = _field(b"\r\n" + group, b"Action:", 0, len(group) + 2)
        recipient = _field(b"\r\n" + group, b"Final-Recipient:", 0, len(group) + 2)
        if action.lower() == "failed" and recipient:
            failed.append(recipient.partition(";")[2].strip())
    return number, failed


def _field(content: bytes, name: bytes, start: int, end: int) -> str:
    at = content.find(b"\r\n" + name, start, end)
    if at >= 0:
        at += 2
    elif start == 0 and content.startswith(name):
        at = 0
    else:
        return ""
    stop = content.find(b"\r\n", at, end)
    line = content[at + len(name) : stop if stop >= 0 else end]
    return line.strip().decode("utf-8", "replace")

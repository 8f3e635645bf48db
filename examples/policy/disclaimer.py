"""A text at the end of each message that leaves the company: in the plain text and in the HTML.

Signed and encrypted messages are left alone, because a change would break them.
"""

from html import escape

from outrider.policy.api import maybe_text, set_text

OWN = {"company.example"}
TEXT = "This message is from Company Ltd, 1 Example Street."
UNTOUCHABLE = ("multipart/signed", "multipart/encrypted", "application/pkcs7-mime")


def each_rcpt(mail):
    if mail.rcpt_to.rpartition("@")[2] in OWN:
        return
    parts = list(mail.message.walk())
    if any(part.media_type in UNTOUCHABLE for part in parts):
        return
    for part in parts:
        text = None if part.is_attachment else maybe_text(part)
        if text is None or TEXT in text:
            continue
        if part.media_type == "text/plain":
            set_text(part, f"{text.rstrip()}\r\n\r\n-- \r\n{TEXT}\r\n")
        elif part.media_type == "text/html":
            end = text.lower().rfind("</body>")
            end = len(text) if end < 0 else end
            set_text(part, f"{text[:end]}<hr><p>{escape(TEXT)}</p>{text[end:]}")

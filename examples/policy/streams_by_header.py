"""The application says what a message is; each kind has its own binding, and receipts go first.

`X-Message-Kind: receipt` (or `newsletter`) in the header; the field does not leave.
"""

from outrider.policy.api import Refuse

BINDINGS = {"receipt": "transactional", "newsletter": "bulk"}


def data(mail):
    kinds = mail.header("X-Message-Kind")
    if len(kinds) > 1 or (kinds and kinds[0] not in BINDINGS):
        return Refuse(550, f"5.7.1 X-Message-Kind is one of {', '.join(BINDINGS)}")
    if kinds:
        mail.context["kind"] = kinds[0]
        mail.message.header.delete("X-Message-Kind")
    return None


def set_binding(mail):
    kind = mail.context.get("kind")
    if kind:
        mail.try_binding(BINDINGS[kind])
        mail.priority = 1 if kind == "receipt" else 0

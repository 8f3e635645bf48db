"""What a reply means, for scripts: the delivery's own classifier, asked with a text alone."""

import re

from outrider.classify.table import CLASSES
from outrider.classify.verdict import classify
from outrider.model.flow import Outcome, Phase
from outrider.model.reply import Reply

_REPLY = re.compile(r"([2-5][0-9]{2})[ -]?(?:([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ -]|$))?")


class TableBounces:
    """`policy.lua.api.host.Bounces`."""

    def classify_reply(self, text: str, domain: str) -> tuple[int, str, str]:  # noqa: ARG002 - no rule is of a domain yet
        """Momentum's number of the class, its name, and a sentence.

        A text without a code is read as one that refuses.
        """
        found = _REPLY.match(text.strip())
        code = int(found[1]) if found else 550
        rest = text.strip()[found.end() :] if found else text.strip()
        lines = tuple(line for line in rest.replace("\r\n", "\n").split("\n") if line) or ("",)
        verdict = classify(Outcome(Reply(code, found[2] if found else None, lines), Phase.RCPT))
        known = CLASSES.get(verdict.bounce_class, CLASSES["undetermined"])
        return known.momentum, known.name, known.explanation

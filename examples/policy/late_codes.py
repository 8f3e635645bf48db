"""One-time codes on the way out: late ones are stopped, nights are kept, each copy says how to leave.

The sender notes with a message until when its code is valid (`valid_until`) and until when its recipient
sleeps (`quiet_until`), both in Unix seconds. A full mailbox is tried three times; a receiver that says 5xx
for "too fast" is asked again in an hour. What ends is noted with its event.
"""

import time

from outrider.policy.api import Refuse

WEEK = 604_800
# the longest that a recipient is held back


def outbound(mail, attempt):
    now = time.time()
    if float(mail.context.get("valid_until", "inf")) < now:
        return Refuse(550, "5.7.1 The code is no longer valid")
    asleep = float(mail.context.get("quiet_until", "0")) - now
    if asleep >= 1:
        attempt.hold_back(min(asleep, WEEK), "4.7.1 The recipient sleeps")
        return None
    recipient = mail.rcpt_to.replace("@", "=")
    mail.message.header.append("List-Unsubscribe", f"<mailto:leave+{recipient}@shop.example>")
    return None


def response(attempt):
    if attempt.disposition == "permanent" and "too fast" in attempt.text.lower():
        attempt.disposition = "transient"
        attempt.retry_after(3600)
        attempt.note("rule", "too-fast")
    elif attempt.bounce_class == "mailbox-full" and attempt.attempts >= 3:
        attempt.disposition = "permanent"


def disposal(attempt):
    attempt.note("ended", f"{attempt.ending} after {attempt.attempts}")

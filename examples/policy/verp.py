"""Each recipient's bounces come back to an address of his own, so they tell whom they are about (VERP).

`news@shop.example` to `ann@two.example` leaves as `news+ann=two.example@shop.example`; with a listener of
role `inbound` for those addresses they come home.
"""

SENDERS = {"news@shop.example"}
LOCAL_PART_MAX = 64
# RFC 5321 §4.5.3.1.1


def each_rcpt(mail):
    if mail.mail_from not in SENDERS:
        return
    local_part, _, domain = mail.mail_from.rpartition("@")
    recipient, _, recipient_domain = mail.rcpt_to.rpartition("@")
    own = f"{local_part}+{recipient}={recipient_domain}"
    if len(own) <= LOCAL_PART_MAX and '"' not in own:
        mail.mail_from = f"{own}@{domain}"

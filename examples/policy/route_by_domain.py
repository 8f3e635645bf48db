"""Mail to some domains goes to exchangers of another one: a partner's gateway, or a test drain."""

GATEWAYS = {
    "partner.example": "gateway.partner.example",
    "old-name.example": "new-name.example",
}


def each_rcpt(mail):
    gateway = GATEWAYS.get(mail.routing_domain)
    if gateway:
        mail.routing_domain = gateway

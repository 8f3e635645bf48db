"""Who has authenticated, as tests make him up."""

from dataclasses import dataclass


@dataclass
class FakePrincipal:
    """A `model.ports.Principal`; a test may end it by `is_valid`."""

    name: str
    tenant: str = "acme"
    sender_domains: frozenset[str] = frozenset({"acme.example"})
    pending_domains: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset("*")
    stream: str = ""
    scopes: frozenset[str] = frozenset({"inject", "status"})
    is_sandbox: bool = False
    is_valid: bool = True

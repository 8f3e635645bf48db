"""The two ends of an SMTP connection, and what its scripts ask of the session besides their answers.

In: what `receive` knows of the connection. Out: the same for policy; and for the session which keywords its
reply to EHLO is to have, or not to have.

Theory: a session and its scripts share one of these as long as the connection lasts. It is not stored: what
is known of a message's origin later is in `flow.Origin`.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Ends:
    """See the module.

    Attributes:
        client_port: Port of the client; 0 where it is not known, as behind a load balancer.
        address: Our address, as the client reached it; empty where it is not known.
        port: Our port; 0 where it is not known.
        may_relay: The client has a grant: by its network, or by its login.
        notes: What a trusted client noted about the connection, in order: name and value.
        offers: Keywords of EHLO in upper case, and their lines as they are announced; an empty one is not.
    """

    client_port: int = 0
    address: str = ""
    port: int = 0
    may_relay: bool = False
    notes: list[tuple[str, str]] = field(default_factory=list)
    offers: dict[str, str] = field(default_factory=dict)

"""What a preflight found: findings as the doctor's, and the exact records to publish."""

from collections.abc import Sequence
from typing import Any

import msgspec

from outrider.server.doctor.finding import Finding, as_data
from outrider.wire.dkim.record import zone_line


class Publish(msgspec.Struct, frozen=True):
    """A TXT record to publish.

    Attributes:
        name: Where, without final dot.
        value: Its text.
        why: What it is for.
    """

    name: str
    value: str
    why: str

    def told(self) -> dict[str, str]:
        """For machines."""
        line = zone_line(self.name, self.value)
        return {"name": self.name, "type": "TXT", "value": self.value, "zone_line": line, "why": self.why}


class Part(msgspec.Struct, frozen=True):
    """What one check found."""

    findings: tuple[Finding, ...]
    publish: tuple[Publish, ...] = ()


class SendingAs(msgspec.Struct, frozen=True):
    """How mail of the domain leaves.

    Attributes:
        binding: Whose addresses.
        addresses: (address, option that names it; empty where the system chose it).
        ehlo_name: What we call ourselves.
    """

    binding: str
    addresses: tuple[tuple[str, str], ...]
    ehlo_name: str


def report_data(domain: str, sender: SendingAs, parts: Sequence[Part]) -> dict[str, Any]:
    """All of it for machines."""
    return {
        "domain": domain,
        "binding": sender.binding,
        "addresses": [address for address, _ in sender.addresses],
        "ehlo_name": sender.ehlo_name,
        **as_data(finding for part in parts for finding in part.findings),
        "publish": [record.told() for part in parts for record in part.publish],
    }

"""What the practice internet's names resolve to, without I/O.

In: the world's options. Out: for a question the records, or the code of a refusal, and how to send it.

Theory: every provider's domain gets its MX records and every exchanger its address, without writing them down
one by one; zones in the world file add records or spoil the answers for names under them. The longest
name wins.
Standards: RFC 1035 §4.1.1 (response codes), RFC 1034 §4.3.2 (CNAME), RFC 7505 §3 (null MX).
"""

from dataclasses import dataclass

from outrider.sim.options import Lie, WorldOptions, Zone, is_ipv4

CNAME_STEPS_MAX = 8  # chosen, because a resolver gives up about there; loops must end


@dataclass(frozen=True, slots=True)
class Data:
    """One record: owner without final dot, type, data as in a zone file, seconds to live."""

    name: str
    type: str
    value: str
    ttl: int


@dataclass(frozen=True, slots=True)
class Found:
    """An answer.

    Attributes:
        rcode: `NOERROR`, `NXDOMAIN`, `SERVFAIL` or `REFUSED`.
        records: The answer section, CNAMEs first.
        delay_seconds: To wait before it is sent.
        truncate: Over UDP send it empty, with TC.
        silent: Do not send it.
        lie: What is wrong with the datagram.
    """

    rcode: str
    records: tuple[Data, ...] = ()
    delay_seconds: float = 0.0
    truncate: bool = False
    silent: bool = False
    lie: Lie = "none"


class Zones:
    """All names of one world."""

    def __init__(self, options: WorldOptions) -> None:
        self._records: dict[str, list[Data]] = {}
        self._zones = {zone.name: zone for zone in options.zone}
        ttl = options.dns.ttl_seconds
        for provider in options.provider:
            exchangers = [
                (f"{exchanger.preference} {exchanger.name}.", exchanger.name, exchanger.address)
                for exchanger in provider.mx
            ]
            for _, name, address in exchangers:
                self._add(Data(name, "A" if is_ipv4(address) else "AAAA", address, ttl))
            for domain in provider.all_domains():
                for value, _, _ in exchangers:
                    self._add(Data(domain, "MX", value, ttl))
        for zone in options.zone:
            for record in zone.record:
                self._add(Data(_absolute(record.name, zone.name), record.type, record.value, record.ttl))
        self._parents = {
            parent for name in self._records for parent in _parents(name) if parent not in self._records
        }

    def _add(self, data: Data) -> None:
        held = self._records.setdefault(data.name, [])
        if data not in held:
            held.append(data)

    def find(self, name: str, kind: str) -> Found:
        """The answer for `name` (without final dot, any case) and a record type."""
        name = name.lower()
        zone = self._zone(name)
        if zone is None:
            return self._normal(name, kind, None)
        match zone.answer:
            case "normal":
                return self._normal(name, kind, zone)
            case "silent":
                return Found("NOERROR", silent=True)
            case "null-mx":
                null = (Data(name, "MX", "0 .", 300),) if kind == "MX" else ()
                return Found("NOERROR", null, zone.delay_seconds, zone.truncate)
            case code:
                return Found(code.upper(), (), zone.delay_seconds, zone.truncate)

    def _zone(self, name: str) -> Zone | None:
        if not self._zones:
            return None
        for candidate in (name, *_parents(name)):
            if zone := self._zones.get(candidate):
                return zone
        return None

    def _normal(self, name: str, kind: str, zone: Zone | None) -> Found:
        delay, truncate = (zone.delay_seconds, zone.truncate) if zone else (0.0, False)
        lie: Lie = zone.lie if zone else "none"
        records: list[Data] = []
        known = name in self._records or name in self._parents
        for _ in range(CNAME_STEPS_MAX):
            held = self._records.get(name, [])
            fitting = [data for data in held if kind in (data.type, "ANY")]
            alias = [data for data in held if data.type == "CNAME"]
            if fitting or not alias:
                records += fitting
                break
            records += alias
            name = alias[0].value.rstrip(".").lower()
        return Found("NOERROR" if known else "NXDOMAIN", tuple(records), delay, truncate, lie=lie)


def _absolute(name: str, zone: str) -> str:
    if name == "@":
        return zone
    if name.endswith("."):
        return name[:-1].lower()
    return f"{name}.{zone}".lower()


def _parents(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(1, len(labels))]

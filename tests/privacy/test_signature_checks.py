"""Keys of signatures through the resolver, against the DNS of the practice internet."""

import pytest

from outrider.privacy.signature_checks import key_records
from outrider.wire.dkim.record import format_record
from outrider.wire.dkim.results import Fault
from outrider.wire.dkim.signer import sign
from outrider.wire.dkim.verifier import Verification
from outrider.wire.smtp.content import stuff_plain
from tests.privacy.practice_dns import resolving
from tests.wire.dkim.signing import KEYS, MESSAGE, NOW, key_of, request

LONG = format_record(key_of("rsa2048"))
HALVES = f'"{LONG[:200]}" "{LONG[200:]}"'


def records(**texts: str) -> dict[str, object]:
    return {
        "record": [
            {"name": f"{selector}._domainkey", "type": "TXT", "value": text}
            for selector, text in texts.items()
        ]
    }


async def results(zone: dict[str, object]) -> list[Fault]:
    signed = sign(stuff_plain(MESSAGE), [request("rsa2048"), request("ed25519")], KEYS, NOW) + MESSAGE
    verification = Verification(stuff_plain(signed), NOW)
    async with resolving(**zone) as resolver:
        answers = await key_records(verification.names, resolver)
    return [each.fault for each in verification.results(answers)]


async def test_keys_come_from_dns_also_in_several_strings() -> None:
    zone = records(rsa2048=HALVES, ed25519=f'"{format_record(key_of("ed25519"))}"')
    assert await results(zone) == [Fault.NONE, Fault.NONE]


async def test_a_name_without_a_record_and_one_without_a_key() -> None:
    assert await results(records(rsa2048='"v=spf1 -all"')) == [Fault.KEY_SYNTAX, Fault.NO_KEY]


async def test_servers_that_fail_are_transient() -> None:
    assert await results({"answer": "servfail"}) == [Fault.LOOKUP, Fault.LOOKUP]


@pytest.mark.parametrize("lie", ["wrong-id", "wrong-question", "garbage"])
async def test_servers_that_lie_prove_nothing(lie: str) -> None:
    zone = records(rsa2048=HALVES, ed25519=f'"{format_record(key_of("ed25519"))}"') | {"lie": lie}
    assert await results(zone) == [Fault.LOOKUP, Fault.LOOKUP]

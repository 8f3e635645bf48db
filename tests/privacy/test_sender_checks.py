"""Senders checked through the resolver, in the practice internet: texts, aliases, names of any form."""

import pytest

from outrider.privacy.sender_checks import check_sender, find_dmarc
from outrider.wire.dmarc import DmarcWord, evaluate
from outrider.wire.spf.evaluate import Sender, SpfWord
from tests.privacy.practice_dns import resolving

RECORDS = [
    ("@", "TXT", '"v=spf1 include:%{d2}" "" ".split.sender.test -all"'),
    ("sender.test.split", "TXT", '"v=sp" "f1 ip4:192.0.2.0/" "24 -all"'),
    ("alias", "CNAME", "sender.test."),
    ("alias-of-none", "CNAME", "none.sender.test."),
    ("loop", "CNAME", "loop.sender.test."),
    ("apart", "TXT", '"v=spf1"'),
    ("apart", "TXT", '"-all"'),
    ("joined", "TXT", '"v=spf1" "-all"'),
    ("two", "TXT", '"v=spf1 -all"'),
    ("two", "TXT", '"v=spf1 ~all"'),
    ("octets", "TXT", '"\\252ber"'),
    ("octets", "TXT", '"v=spf1 -all"'),
    ("bad-octets", "TXT", '"v=spf1 a:\\252.test -all"'),
    ("mx", "TXT", '"v=spf1 mx -all"'),
    ("mx", "MX", "10 first.sender.test."),
    ("mx", "MX", "20 second.sender.test."),
    ("first", "A", "198.51.100.1"),
    ("second", "CNAME", "third.sender.test."),
    ("third", "A", "192.0.2.1"),
    ("null-mx", "TXT", '"v=spf1 mx -all"'),
    ("null-mx", "MX", "0 ."),
    ("local", "TXT", '"v=spf1 exists:%{l}.l.sender.test ~all"'),
    ("local-a", "TXT", '"v=spf1 a:%{l}.l.sender.test ~all"'),
    ("ann.l", "A", "192.0.2.1"),
    ("xn--tda.l", "A", "192.0.2.1"),
    ("empty-label", "TXT", '"v=spf1 a:x..sender.test a:%{l}..sender.test ~all"'),
    ("long", "TXT", '"v=spf1 ' + "a:" + "x" * 64 + '.test ~all"'),
    ("wild-policy", "TXT", '"v=spf1 include:loop.sender.test -all"'),
]


@pytest.mark.parametrize(
    ("mail_from", "word"),
    [
        pytest.param("ann@sender.test", SpfWord.PASS, id="strings are joined without spaces"),
        pytest.param("ann@SENDER.Test", SpfWord.PASS, id="case"),
        pytest.param("ann@alias.sender.test", SpfWord.PASS, id="alias"),
        pytest.param("ann@alias-of-none.sender.test", SpfWord.NONE, id="alias of nothing"),
        pytest.param("ann@loop.sender.test", SpfWord.TEMPERROR, id="alias of itself"),
        pytest.param("ann@wild-policy.sender.test", SpfWord.TEMPERROR, id="include of an alias of itself"),
        pytest.param("ann@gone.sender.test", SpfWord.NONE, id="no name"),
        pytest.param("ann@first.sender.test", SpfWord.NONE, id="no text"),
        pytest.param("ann@apart.sender.test", SpfWord.NEUTRAL, id="two records are not joined"),
        pytest.param("ann@joined.sender.test", SpfWord.NONE, id="no space where strings meet"),
        pytest.param("ann@two.sender.test", SpfWord.PERMERROR, id="two records"),
        pytest.param("ann@octets.sender.test", SpfWord.FAIL, id="octets of another text"),
        pytest.param("ann@bad-octets.sender.test", SpfWord.PERMERROR, id="octets of the record"),
        pytest.param("ann@mx.sender.test", SpfWord.PASS, id="exchanger with an alias"),
        pytest.param("ann@null-mx.sender.test", SpfWord.FAIL, id="null MX"),
        pytest.param("ann@local.sender.test", SpfWord.PASS, id="local part"),
        pytest.param("ANN@local.sender.test", SpfWord.PASS, id="case of a local part"),
        pytest.param("\xfc@local.sender.test", SpfWord.SOFTFAIL, id="local part beyond ASCII"),
        pytest.param("\xfc@local-a.sender.test", SpfWord.SOFTFAIL, id="the same for a"),
        pytest.param('"a b"@local.sender.test', SpfWord.SOFTFAIL, id="local part with a space"),
        pytest.param('"\\\\\\@"@local.sender.test', SpfWord.SOFTFAIL, id="local part with backslashes"),
        pytest.param('"\\300"@local.sender.test', SpfWord.SOFTFAIL, id="local part that is an escape of DNS"),
        pytest.param('"a..b"@local.sender.test', SpfWord.SOFTFAIL, id="local part with dots"),
        pytest.param("x" * 64 + "@local.sender.test", SpfWord.SOFTFAIL, id="local part too long for a label"),
        pytest.param("ann@empty-label.sender.test", SpfWord.SOFTFAIL, id="empty labels"),
        pytest.param("ann@long.sender.test", SpfWord.SOFTFAIL, id="long label"),
    ],
)
async def test_senders_over_dns(mail_from: str, word: SpfWord) -> None:
    zone = [{"name": name, "type": kind, "value": value} for name, kind, value in RECORDS]
    async with resolving(record=zone) as resolver:
        result = await check_sender(resolver, Sender("192.0.2.1", mail_from, "mx.sender.test"))
    assert result.word is word, result.reason


@pytest.mark.parametrize(
    ("value", "policy"),
    [
        pytest.param('"v=DMA" "RC1; p=rej" "ect"', "reject", id="strings are joined"),
        pytest.param('"v=DMARC1; p=reject; rua=mailto:\\252@x.test"', "reject", id="octets"),
    ],
)
async def test_records_of_dmarc_over_dns(value: str, policy: str) -> None:
    records = [
        {"name": "_dmarc", "type": "TXT", "value": value},
        {"name": "_dmarc", "type": "TXT", "value": '"other"'},
    ]
    async with resolving(record=records) as resolver:
        found = await find_dmarc(resolver, "sender.test")
    assert found.applied_policy == policy
    assert evaluate(found, ["sender.test"]).word is DmarcWord.PASS

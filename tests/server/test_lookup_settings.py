"""Queries that a configuration names: what is not there is told when it is read, with its place."""

from pathlib import Path

import pytest

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError
from outrider.model.hooks import HookPhase
from outrider.server.configuration import load
from outrider.server.lookups import configured_lookups
from outrider.server.settings import Settings
from outrider.server.signing import signing_table

SOURCE = """
[[data_source]]
name = "crm"
url = "sqlite:///crm.db"
[[data_source.query]]
name = "customer"
text = "SELECT binding FROM customer WHERE name = ?"
parameters = ["customer"]
[[data_source.query]]
name = "key"
text = "SELECT selector, private_key FROM keys WHERE domain = ?"
parameters = ["from_domain"]
"""
LOOKUP = """
[[policy.lookup]]
name = "customer"
source = "crm"
query = "customer"
parameters = { customer = "header:X-Customer" }
assign = { binding = "binding" }
"""
DKIM = '[[dkim]]\ndomain = "*"\nkey_source = "crm"\nkey_query = "key"\n'


def read(folder: Path, text: str) -> Settings:
    path = folder / "outrider.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, {}, {})


def test_they_are_asked_in_their_order_and_keys_last(tmp_path: Path) -> None:
    settings = read(
        tmp_path, SOURCE + LOOKUP + LOOKUP.replace('name = "customer"', 'name = "again"', 1) + DKIM
    )
    found = configured_lookups(settings, FakeClock())
    assert [each.name for each in found] == ["customer", "again", "[[dkim]]"]
    assert [each.phases for each in found] == [
        {HookPhase.SET_BINDING},
        {HookPhase.SET_BINDING},
        {HookPhase.FINAL_VALIDATION},
    ]
    assert configured_lookups(read(tmp_path, SOURCE), FakeClock()) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('source = "crm"', 'source = "crn"', "policy.lookup.customer: there is no data source 'crn'"),
        ('source = "crm"', 'source = "crn"', "configured: crm"),
        ('query = "customer"', 'query = "custom"', "has no query 'custom'; it has: customer, key"),
        ("{ customer =", "{ name =", "the query customer has no parameter 'name'; it has: customer"),
        (
            '{ customer = "header:X-Customer" }',
            "{}",
            "the query customer asks for customer: say in parameters",
        ),
        (
            '"header:X-Customer"',
            '"heder:X-Customer"',
            "policy.lookup.0.parameters: parameter customer: 'heder:",
        ),
        ('"binding" }', '"binding", route = "x" }', "policy.lookup.0.assign.route is not an option"),
        ('key_query = "key"', 'key_query = "keys"', "dkim.0: the data source crm has no query 'keys'"),
        ('key_query = "key"', 'key_query = "customer"', "dkim.0: the query customer asks for customer"),
        ('name = "customer"\nsource', 'name = "a b"\nsource', "policy.lookup.0.name"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path: Path, before: str, after: str, said: str) -> None:
    text = LOOKUP + DKIM
    assert before in text
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, SOURCE + text.replace(before, after))
    assert said in "\n".join(raised.value.faults)


def test_a_table_with_a_query_names_no_other_key(tmp_path: Path) -> None:
    settings = read(tmp_path, SOURCE + DKIM + 'selector = "s1"\n')
    assert signing_table(settings, FakeClock()).requests_for("sender.test", "") == ()


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, LOOKUP + DKIM)
    told = "\n".join(raised.value.faults)
    assert "policy.lookup.customer: there is no data source 'crm'; configured: none" in told
    assert "dkim.0: there is no data source 'crm'" in told


def test_a_lookup_is_not_called_like_a_script(tmp_path: Path) -> None:
    script = '[[policy.script]]\nname = "customer"\nsource = "x.py"\n'
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, SOURCE + LOOKUP + script)
    assert "two scripts or look-ups have the name 'customer'" in "\n".join(raised.value.faults)

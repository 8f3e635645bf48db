"""`outrider dkim` and `outrider preflight` as a person or a script uses them, with a DNS of practice."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from outrider.base.clock import SystemClock
from outrider.base.errors import ConfigError, StoreError
from outrider.base.files import OsFiles
from outrider.cli.main import app
from outrider.privacy.signing_keys import SigningKeys, ring_name
from outrider.sim.world import parse_world
from outrider.sim.zones import Zones
from outrider.wire.dkim.record import zone_line
from outrider.wire.dkim.request import SignRequest
from outrider.wire.dkim.results import Records
from outrider.wire.dkim.signer import sign
from outrider.wire.dkim.verifier import Verification
from outrider.wire.smtp.content import stuff_plain
from tests.sim.conftest import Running, running
from tests.wire.dkim.signing import MESSAGE, pem

PROVIDER = """
[[provider]]
name = "any"
domains = ["any.test"]
mx = [{ name = "mx.any.test", address = "127.44.1.1" }]
"""


class Site:
    """A configuration, and a DNS in which records are published."""

    def __init__(self, folder: Path, world: Running) -> None:
        self.folder = folder
        self.config = folder / "outrider.toml"
        self.world = world
        self.texts: dict[str, str] = {}
        self.more = ""
        self.configure()

    def configure(self, *lines: str) -> None:
        self.config.write_text(
            "\n".join(
                [
                    f'[server]\nstate_directory = "{self.folder}/state"\nhostname = "mx.shop.test"',
                    f'[net]\nnameservers = ["127.0.0.1:{self.world.world.dns_port}"]',
                    "ttl_min_seconds = 0\nallow_private_targets = true",
                    *lines,
                ]
            )
        )

    def publish(self, name: str, text: str) -> None:
        self.texts[name] = text
        zones = "".join(_zone(each, "@", "TXT", _strings(value)) for each, value in self.texts.items())
        self.world.world.dns._zones = Zones(parse_world(PROVIDER + zones + self.more, "test.toml"))

    def run(self, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, "-c", str(self.config)], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))


def _zone(name: str, owner: str, kind: str, value: str) -> str:
    record = f"{{ name = '{owner}', type = '{kind}', value = '''{value}''' }}"
    return f"[[zone]]\nname = '{name}'\nrecord = [{record}]\n"


def _strings(text: str) -> str:
    """The data of a TXT record as `zone_line` writes it."""
    return zone_line("x", text).partition(" IN TXT ")[2].strip("()")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack.enter_context(running(PROVIDER)))


def test_a_key_is_made_published_activated_and_replaced(site: Site) -> None:
    made = site.json("dkim", "keygen", "Shop.test", "2026a")
    name = made["record"]["name"]
    assert name == "2026a._domainkey.shop.test"
    path = Path(made["file"])
    assert path.stat().st_mode & 0o777 == 0o600
    waiting = site.json("dkim", "rotate", "shop.test", "2026a", code=1)
    assert (waiting["activated"], waiting["made"], waiting["record"]["state"]) == (False, False, "absent")
    site.publish(name, made["record"]["value"].replace("p=MII", "p=MIJ"))
    assert site.json("dkim", "rotate", "shop.test", "2026a", code=1)["record"]["state"] == "broken"
    site.publish(name, made["record"]["value"])
    done = site.json("dkim", "rotate", "shop.test", "2026a")
    assert (done["activated"], done["kept"], done["record"]["state"]) == (True, None, "published")
    second = site.json("dkim", "rotate", "shop.test", "2026b", code=1)
    assert (second["made"], second["activated"]) == (True, False)
    site.publish("2026b._domainkey.shop.test", second["record"]["value"])
    done = site.json("dkim", "rotate", "shop.test", "2026b", "--keep-days", "3")
    assert done["kept"]["selector"] == "2026a"
    shown = {each["selector"]: each["state"] for each in site.json("dkim", "show", "shop.test")}
    assert shown == {"2026a": "kept", "2026b": "active"}
    assert path.exists()


def test_what_the_command_prints_is_what_a_receiver_needs(site: Site) -> None:
    for selector, kind in (("r1", "rsa"), ("e1", "ed25519")):
        made = site.json("dkim", "keygen", "shop.test", selector, "--type", kind)
        keys = SigningKeys(OsFiles(), site.folder / "state" / "keys" / "dkim", None, SystemClock())
        asked = SignRequest("shop.test", selector, ring_name("shop.test", selector))
        now = SystemClock().wall()
        signed = sign(stuff_plain(MESSAGE), [asked], keys, now) + MESSAGE
        verification = Verification(stuff_plain(signed), now)
        assert verification.names == (made["record"]["name"],)
        record = Records((made["record"]["value"],))
        assert verification.results({made["record"]["name"]: record})[0].is_pass


def test_check_asks_for_keys_of_a_query_by_domain(site: Site) -> None:
    site.configure(
        '[[data_source]]\nname = "crm"\nurl = "sqlite:///crm.db"',
        '[[data_source.query]]\nname = "key"\ntext = "SELECT 1 WHERE ? = 2"\nparameters = ["from_domain"]',
        '[[dkim]]\ndomain = "*.shop.test"\nkey_source = "crm"\nkey_query = "key"',
    )
    assert "keys that a query gives for *.shop.test. Name the domains" in site.run("dkim", "check")
    assert site.json("dkim", "check") == {"ok": True, "keys": []}
    [key] = site.json("dkim", "check", "news.shop.test", code=1)["keys"]
    assert (key["key"], key["state"]) == ("query:crm/key", "configured")
    assert "data source crm" in key["trouble"]  # there is no such file


def test_check_compares_what_signs_with_dns(site: Site) -> None:
    assert site.json("dkim", "check") == {"ok": True, "keys": []}
    [absent] = site.json("dkim", "check", "Own.test", code=1)["keys"]
    assert (absent["domain"], absent["state"], absent["record"]) == ("own.test", "absent", None)
    assert "dkim keygen" in absent["trouble"]
    key_file = site.folder / "own.pem"
    key_file.write_bytes(pem("rsa2048"))
    key_file.chmod(0o600)
    site.configure('[[dkim]]\ndomain = "own.test"\nselector = "s1"\nkey_file = "own.pem"')
    site.json("dkim", "keygen", "shop.test", "a")
    found = site.json("dkim", "check", code=1)
    assert [(each["domain"], each["state"], each["record"]["state"]) for each in found["keys"]] == [
        ("shop.test", "pending", "absent"),
        ("own.test", "configured", "absent"),
    ]
    site.publish("s1._domainkey.own.test", found["keys"][1]["record"]["value"] + "; t=y")
    found = site.json("dkim", "check")
    assert (found["ok"], found["keys"][1]["record"]["flags"]) == (True, ["y"])
    site.publish("s1._domainkey.own.test", "v=DKIM1; p=")
    assert site.json("dkim", "check", "own.test", code=1)["keys"][0]["record"]["state"] == "revoked"
    other = found["keys"][0]["record"]["value"]
    site.publish("s1._domainkey.own.test", other)
    assert site.json("dkim", "check", "own.test", code=1)["keys"][0]["record"]["state"] == "different"
    key_file.chmod(0o644)
    found = site.json("dkim", "check", "own.test", code=1)
    assert "0644" in found["keys"][0]["trouble"]


def test_commands_speak_to_people_and_show_no_secret(site: Site) -> None:
    said = site.run("dkim", "keygen", "shop.test", "a")
    said += site.run("dkim", "rotate", "shop.test", "a", code=1)
    said += site.run("dkim", "rotate", "shop.test", "a", "--trust")
    said += (
        site.run("dkim", "show") + site.run("dkim", "show", "shop.test") + site.run("dkim", "check", code=1)
    )
    private = (site.folder / "state" / "keys" / "dkim" / "shop.test" / "a.pem").read_text().splitlines()[1]
    assert private not in said
    assert "not activated" in said
    assert "signs from now on" in said
    assert "a._domainkey.shop.test. IN TXT" in said


def test_changes_are_audited(site: Site) -> None:
    site.run("dkim", "keygen", "shop.test", "a", "--reason", "first")
    site.run("dkim", "rotate", "shop.test", "a", "--trust")
    rows = site.json("audit", "list")
    actions = [(row["action"], row["subject"]) for row in rows]
    for action in ("dkim.keygen", "dkim.keygen.result", "dkim.rotate", "dkim.rotate.result"):
        assert (action, "a._domainkey.shop.test") in actions


def test_what_cannot_be_is_refused(site: Site) -> None:
    site.run("dkim", "keygen", "shop.test", "a")
    with pytest.raises(StoreError, match="has a key already"):
        site.run("dkim", "keygen", "shop.test", "a")
    with pytest.raises(StoreError, match="selector"):
        site.run("dkim", "keygen", "shop.test", "a b")
    site.run("dkim", "keygen", "no domain", "a", code=2)
    (site.folder / "state" / "keys" / "dkim" / "shop.test" / "a.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644"):
        site.run("dkim", "rotate", "shop.test", "a", "--trust")
    (shown,) = site.json("dkim", "show", "shop.test")
    assert "mode 0644" in shown["trouble"]
    assert shown["record"]["value"] == ""
    assert "mode 0644" in site.run("dkim", "show", "shop.test")


def test_preflight_prints_what_to_publish_and_in_the_end_is_content(site: Site) -> None:
    site.configure(
        'own_addresses = ["192.0.2.1"]',
        "[[dkim]]",
        'domain = "shop.test"',
    )
    site.json("dkim", "keygen", "shop.test", "a")
    site.run("dkim", "rotate", "shop.test", "a", "--trust")
    site.publish("other.test", "nothing")
    found = site.json("preflight", "shop.test", "--no-reach", code=1)
    assert {"spf.record", "dkim.key", "dmarc.record", "dns.reverse"} <= {
        each["check"] for each in found["findings"] if each["level"] == "fault"
    }
    site.more = _zone("mx.shop.test", "@", "A", "192.0.2.1") + _zone(
        "2.0.192.in-addr.arpa", "1", "PTR", "mx.shop.test."
    )
    for record in found["publish"]:
        site.publish(record["name"], record["value"])
    found = site.json("preflight", "shop.test", "--no-reach")
    assert found["ok"]
    assert found["publish"] == []
    assert found["addresses"] == ["192.0.2.1"]
    said = site.run("preflight", "shop.test", "--no-reach")
    assert "aligned by DKIM (shop.test) and SPF" in said


def test_preflight_takes_the_addresses_of_the_binding(site: Site) -> None:
    site.configure(
        'own_addresses = ["192.0.2.1"]',
        "[[delivery.override]]",
        'binding = "news"\nsource_addresses = ["192.0.2.7"]\nehlo_name = "news.shop.test"',
    )
    site.publish("shop.test", "v=spf1 ip4:192.0.2.1 -all")
    found = site.json("preflight", "shop.test", "news", "--no-reach", code=1)
    assert found == site.json("preflight", "shop.test", "--no-reach", "--binding", "news", code=1)
    assert (found["binding"], found["addresses"], found["ehlo_name"]) == (
        "news",
        ["192.0.2.7"],
        "news.shop.test",
    )
    assert "v=spf1 ip4:192.0.2.1 ip4:192.0.2.7 -all" in [record["value"] for record in found["publish"]]
    found = site.json("preflight", "shop.test", "--no-reach", code=1)
    assert found["addresses"] == ["192.0.2.1"]
    site.run("preflight", "no domain", code=2)
    assert "'a' and 'b'" in site.run("preflight", "shop.test", "a", "--binding", "b", code=2)

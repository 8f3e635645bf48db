"""A world file with faults names each of them with its place; the demo's world has none."""

import pytest

from outrider.base.errors import ConfigError
from outrider.sim.demo import MIX, demo_world
from outrider.sim.world import load_world, parse_world

PROVIDER = """
[[provider]]
name = "a"
domains = ["a.test"]
mx = [{name = "mx.a.test", address = "127.0.0.1"}]
"""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[provider]]\nname = 'a'\ndomains = ['a.test']\n", "w.toml: provider[0].mx: is missing"),
        (
            PROVIDER + "[provider.behaviour]\ngreylist_second = 3\n",
            "w.toml: provider[0].behaviour.greylist_second: unknown option, did you mean greylist_seconds?",
        ),
        (
            PROVIDER + "[[provider.rule]]\non = 'rcpt'\nreply = 'no'\n",
            "w.toml: provider[0].rule[0].reply: a reply is a code",
        ),
        (
            PROVIDER + "[[provider.rule]]\non = 'rcpt'\naction = 'lose-reply'\n",
            "w.toml: provider[0].rule[0]: lose-reply is an action of the body phase only",
        ),
        (
            PROVIDER + "[[provider.rule]]\non = 'rcpt'\nmtch = 'x'\n",
            "w.toml: provider[0].rule[0].mtch: unknown option, did you mean match?",
        ),
        (
            PROVIDER.replace("127.0.0.1", "192.0.2.1"),
            "w.toml: provider[0].mx[0].address: the practice internet",
        ),
        (PROVIDER.replace('["a.test"]', "[]"), "w.toml: provider[0]: a provider needs domains"),
        (PROVIDER + PROVIDER, "w.toml: world: two providers are called a"),
        (
            PROVIDER + PROVIDER.replace('"a"', '"b"').replace("mx.a", "mx.b").replace(".0.0.1", ".0.0.2"),
            "w.toml: world: a.test belongs to both a and b",
        ),
        (
            PROVIDER + PROVIDER.replace('"a"', '"b"').replace("a.test", "b.test"),
            "w.toml: world: 127.0.0.1 is an exchanger of both a and b",
        ),
        (
            PROVIDER + "[provider.behaviour.tls]\ncertificate = 'x'\n",
            "behaviour.tls: certificate and key go together",
        ),
        (
            PROVIDER.replace('"a.test"', '"b\u2260.test"'),
            "w.toml: provider[0].domains[0]: not a domain name: ",
        ),
        ("smtp_prt = 3\n" + PROVIDER, "w.toml: smtp_prt: unknown option, did you mean smtp_port?"),
        ("smtp_port = 'x'\n", "w.toml: provider: is missing"),
        ("a = \n", "w.toml: not TOML"),
    ],
)
def test_faults_have_their_place(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_world(text, "w.toml")
    assert fault in str(refused.value)


def test_all_faults_come_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse_world("smtp_port = 'x'\nsmtp_prt = 3\n", "w.toml")
    assert len(refused.value.faults) == 3


def test_a_missing_file_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("world") / "none.toml"
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load_world(path)


def test_the_demo_has_six_tempers_and_a_home_for_every_recipient() -> None:
    world = demo_world()
    assert len(world.provider) >= 6
    domains = {domain for provider in world.provider for domain in provider.all_domains()}
    assert {domain for domain, _ in MIX} <= domains
    assert "practice.test" in domains

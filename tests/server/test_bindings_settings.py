"""Bindings and groups in a configuration: what does not hold together is told with its names."""

import re
from pathlib import Path

import pytest

from outrider.base.errors import ConfigError
from outrider.model.flow import Path as MailPath
from outrider.server.bindings import delivery_of, shaping_of
from outrider.server.configuration import load
from outrider.server.preflight import examine
from outrider.server.preflight.examine import sending_as
from outrider.server.settings import Settings

NEWS = '[[binding]]\nname = "news"\nehlo_name = "news.example"\n'
POOL = '[[binding_group]]\nname = "pool"\nmembers = ["news", { binding = "default" }]\n'


def read(folder: Path, text: str) -> Settings:
    path = folder / "outrider.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, {}, {})


def test_groups_know_their_members_and_bindings_their_groups(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        NEWS
        + POOL
        + '[[shaping.override]]\ngroup = "pool"\nwindow = 9\n'
        + '[[delivery.override]]\nbinding = "named"\ntls = "off"\n',
    )
    assert settings.memberships == {"news": ["pool"], "default": ["pool"]}
    assert settings.binding_names == {"default", "news", "named"}
    assert shaping_of(settings).for_path(MailPath("smtp", "news", "x.test")).options.window == 9
    assert shaping_of(settings).for_path(MailPath("smtp", "named", "x.test")).options.window == 2000
    assert delivery_of(settings).for_path(MailPath("smtp", "news", "x.test")).ehlo_name == "news.example"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NEWS + NEWS, "two bindings have the name 'news'"),
        (NEWS + POOL + POOL, "two groups have the name 'pool'"),
        (POOL, "the group 'pool' has the member 'news', which is no binding"),
        (NEWS + POOL.replace('"pool"', '"news"'), "'news' is a binding and a group"),
        ('[[shaping.override]]\ngroup = "pool"\nwindow = 9\n', "for the group 'pool', which there is not"),
        ('[policy]\ndefault_binding = "x"\n', "policy.default_binding is 'x'"),
        ('[[binding]]\nname = "a b"\n', "binding.0.name"),
        ('[[binding]]\nname = "a"\nhelo = "x"\n', "binding.0.helo is not an option"),
        (
            NEWS + POOL + '[[delivery.override]]\ngroup = "pool"\nauth_user = "u"\npassword_file = "f"\n',
            "binding default, site any: a password goes only to a host that proved its name",
        ),
    ],
)
def test_what_does_not_hold_together_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    assert said in "\n".join((raised.value.message, *raised.value.faults))


def test_preflight_looks_at_the_addresses_of_a_binding(tmp_path: Path) -> None:
    settings = read(tmp_path, NEWS + 'source_addresses = ["192.0.2.1"]\n')
    sender = sending_as(settings, "shop.example", "news")
    assert [address for address, _ in sender.addresses] == ["192.0.2.1"]
    assert sender.ehlo_name == "news.example"


def test_preflight_looks_at_no_address_of_another_binding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examine, "system_sources", lambda: ["192.0.2.9"])
    other = '[[delivery.override]]\nbinding = "bills"\nsource_addresses = ["192.0.2.2"]\n'
    sender = sending_as(read(tmp_path, NEWS + other), "shop.example", "news")
    assert sender.addresses == (("192.0.2.9", ""),)


@pytest.mark.parametrize(
    ("usual", "binding"),
    [("", "default"), ('default_binding = "news"', "news"), ('default_binding = "none"', "default")],
)
def test_preflight_looks_at_the_binding_that_mail_gets_by_itself(
    tmp_path: Path, usual: str, binding: str
) -> None:
    settings = read(tmp_path, f"{NEWS}\n[policy]\n{usual}\n")
    assert sending_as(settings, "shop.example", "").binding == binding


def test_preflight_asks_for_a_member_where_mail_gets_a_group(tmp_path: Path) -> None:
    settings = read(tmp_path, f'{NEWS}{POOL}\n[policy]\ndefault_binding = "pool"\n')
    with pytest.raises(ConfigError, match="'pool' is a group; name one of its members: news, default"):
        sending_as(settings, "shop.example", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nwes", "there is no binding 'nwes'; there are: default, news"),
        ("pool", "'pool' is a group; name one of its members: news, default"),
    ],
)
def test_preflight_says_which_bindings_there_are(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        sending_as(read(tmp_path, NEWS + POOL), "shop.example", name)


def test_the_configuration_of_the_manual_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "bindings.md").read_text(encoding="utf-8")
    settings = read(tmp_path, "\n".join(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)))
    assert settings.memberships == {"a": ["pool"], "b": ["pool"]}
    assert [binding.name for binding in settings.binding] == ["news", "bills", "a", "b", "far", "farther"]


def test_files_are_found_beside_the_configuration(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        '[[binding]]\nname = "far"\nproxy = "socks5://127.0.0.1:1080"\nproxy_user = "u"\n'
        'proxy_password_file = "secret"\n'
        '[[delivery.override]]\nsite = "smart"\ntls = "required"\nauth_user = "u"\npassword_file = "other"\n',
    )
    assert settings.binding[0].proxy_password_file == str(tmp_path / "secret")
    assert settings.delivery.override[0].password_file == str(tmp_path / "other")
    assert settings.delivery.default.password_file == ""
    assert settings.delivery.default.model_fields_set == set()

"""The configuration: file, environment and flags; all faults at once, each with its place and advice."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.errors import ConfigError
from outrider.receive.http_options import HttpOptions
from outrider.server.configuration import load, load_directories
from outrider.server.settings import Settings
from outrider.server.sources import value_of

FAULTY = """\
[server]
hostnam = "mx.example.test"
workers = 0

[[listener]]
name = "one"
trusted_networks = ["0.0.0.0/0"]
[listener.limits]
recipents = 5

[shaping.default]
max_message_rate = "many/fortnight"

[recrod]
redaction = "none"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "outrider.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path | None, **more: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, **more)
    return caught.value.faults or (caught.value.message,)


def test_all_faults_are_told_at_once_with_their_place_and_advice(tmp_path: Path) -> None:
    path = write(tmp_path, FAULTY)
    told = faults(path)
    assert len(told) == 6
    for line, place, words in (
        (2, "server.hostnam ", "did you mean hostname?"),
        (3, "server.workers:", "greater than or equal to 1 (got 0)"),
        (7, "listener.0.trusted_networks.0:", "open relay"),
        (9, "listener.0.limits.recipents ", "did you mean recipients?"),
        (12, "shaping.default.max_message_rate:", "many/fortnight"),
        (14, "recrod ", "did you mean record?"),
    ):
        assert [fault for fault in told if fault.startswith(f"{path}:{line}: {place}") and words in fault], (
            told
        )


@pytest.mark.parametrize(
    ("section", "url"),
    [
        ("store", "postgresql://outrider:canary@db.test/outrider"),
        ("store", "postgresql://outrider:canary%2F@x@db.test:5432/outrider"),
        ("store", "postgresql://outrider:can/ary@db.test/outrider"),
        ("store", "postgresql://outrider:can:ary@db.test/outrider"),
        ("store", "postgresql://outrider@db.test/outrider?password=canary&x=y"),
        ("store", "mysql://outrider:canary@db.test"),
        ("delivery.default", "socks5://outrider:canary@127.0.0.1:1080"),
    ],
)
def test_no_fault_tells_a_password(tmp_path: Path, section: str, url: str) -> None:
    name = "proxy" if section == "delivery.default" else "url"
    [told] = faults(write(tmp_path, f'[{section}]\n{name} = "{url}"\n'))
    assert url.partition("@")[0].partition("://")[0] in told
    for part in ("can", "ary", "canary"):
        assert part not in told.replace("boundary", "")


def test_what_is_nothing_like_an_option_gets_no_guess(tmp_path: Path) -> None:
    [told] = faults(write(tmp_path, "[server]\nxyzzy = 1\n"))
    assert told.endswith("server.xyzzy is not an option")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[listener]]\nname = "a"\nport = 1\n[[listener]]\nname = "a"\nport = 2\n', "the name 'a'"),
        ('[[listener]]\nname = "a"\nport = 1\n[[http]]\nname = "b"\nport = 1\n', "port 1"),
        ("[server\n", "is not TOML"),
        (
            "[[listener]]\nproxy = true\n",
            "listener.0.proxy is not an option; did you mean proxy_protocol or proxy_",
        ),
        ('[server]\nhostname = "two words"\n', "server.hostname: the domain is not made of letters"),
        ('[server]\nhostname = "mx.example\\r\\nRCPT TO:<x@y.test>"\n', "server.hostname: the domain"),
        ('[[listener]]\naddress = "10.1.2"\n', "listener.0.address: '10.1.2' does not appear"),
        ('[[listener]]\naddress = "mail.example"\n', "listener.0.address: 'mail.example' does not"),
        ('[[http]]\naddress = "localhost"\n', "http.0.address: 'localhost' does not"),
        ('[record]\nmetrics_address = "all"\n', "record.metrics_address: 'all' does not"),
        ('[server]\nhostname = "a"\nhostname = "b"\n', "is not TOML"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, text: str, words: str) -> None:
    [told] = faults(write(tmp_path, text))
    assert words in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[shaping]\nmax_connections = 4",
            "did you mean shaping.default.max_connections or shaping.override.",
        ),
        ("[delivery.default]\nmax_connections = 4", "did you mean shaping.default.max_connections or "),
        ("[[listener]]\nmessage_octets = 4", "did you mean listener.limits.message_octets?"),
        ("[server]\nlog_file = 'x'", "did you mean record.log_file?"),
        ('[listener]\nname = "a"', "listener: this is one of several: write [[listener]]"),
        ('[[listener]]\ntrusted_networks = "127.0.0.0/8"', 'this is a list: write ["…", "…"]'),
        ('[[net.routes]]\ndomain = "*"\nhosts = []', "hosts: the list is empty"),
        ("[shaping.default]\nmax_message_rate = 60", 'write text, in quotes, such as "60/minute" (got 60)'),
        (
            '[shaping.default]\nretry_interval_seconds = "20m"',
            "write a number of seconds, without quotes (got",
        ),
        ('[server]\nworkers = "two"', "write a whole number of processes, without quotes (got 'two')"),
        ("[server]\nhostname = 4", "write text, in quotes (got 4)"),
    ],
)
def test_what_stands_in_the_wrong_table_or_unit_is_told_where_and_how(
    tmp_path: Path, text: str, words: str
) -> None:
    [told] = faults(write(tmp_path, text))
    assert words in told


@pytest.mark.parametrize("text", [f"a = {'[' * 5_000}{']' * 5_000}", f"{'.'.join('a' * 5_000)} = 1"])
def test_a_file_that_is_nested_without_end_is_a_fault(tmp_path: Path, text: str) -> None:
    [told] = faults(write(tmp_path, text))
    assert "outrider.toml" in told


def test_a_running_server_is_found_whatever_faults_other_options_have(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\nstate_directory = "state"\nworkers = 0\n[shaping]\nnonsense = 1\n')
    assert len(faults(path)) == 2
    found = load_directories(path)
    assert (found.sockets_directory, found.events_directory) == (
        tmp_path / "state/run",
        tmp_path / "state/events",
    )
    assert load_directories(path, {"OUTRIDER_SERVER__RUN_DIRECTORY": "elsewhere"}).sockets_directory == (
        tmp_path / "elsewhere"
    )
    assert load_directories(write(tmp_path, "[net]\n")).state_directory == tmp_path / "outrider-state"
    for wrong in ("[server]\nrun_directory = 1\n", "server = 1\n", "[server\n"):
        with pytest.raises(ConfigError):
            load_directories(write(tmp_path, wrong))


@pytest.mark.parametrize(
    "rest", ["shaping = [\n", "[shaping\n", "workers = [\n", "[net]\nnameservers = 'x\n"]
)
def test_a_running_server_is_found_while_its_file_is_not_toml(tmp_path: Path, rest: str) -> None:
    """Somebody is in the midst of writing it, or forgot a quote: the server is to be asked all the same."""
    path = write(tmp_path, f'[ server ] # here\nstate_directory = "state" # there\n{rest}')
    told: list[str] = []
    assert load_directories(path, {}, told.append).sockets_directory == tmp_path / "state/run"
    [fault] = told
    assert f"{path} is not TOML" in fault
    with pytest.raises(ConfigError, match="is not TOML"):
        load(path)


@pytest.mark.parametrize("text", ["[server]\nstate_directory = 'x\n", "x\n[net]\n"])
def test_where_the_server_is_is_not_guessed(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="is not TOML"):
        load_directories(write(tmp_path, text))


def test_two_listeners_in_one_place_are_named_and_said_to_be_in_any_of_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, '[[listener]]\nname = "submission"\nport = 2525\n')
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/more.toml").write_text('[[listener]]\nname = "postfix"\n', encoding="utf-8")
    [told] = faults(path)
    assert told == (
        f"{path} with conf.d: the listeners 'submission' and 'postfix' both have the address 127.0.0.1 "
        "and port 2525; each needs its own"
    )
    more = "".join(f'[[listener]]\nname = "{name}"\nport = 0\n' for name in ("postfix", "other"))
    (tmp_path / "conf.d/more.toml").write_text(more, encoding="utf-8")
    assert load(path).listener[2].name == "other"


def test_a_file_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    [told] = faults(tmp_path / "outrider.toml")
    assert "OUTRIDER_CONFIG, or let `outrider init` write it" in told


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\nworkers = 3\nhostname = "file.test"\nwatchdog_seconds = 5.0\n')
    environment = {
        "OUTRIDER_SERVER__WORKERS": "4",
        "OUTRIDER_SERVER__HOSTNAME": "environment.test",
        "OUTRIDER_SHAPING__DEFAULT__MAX_CONNECTIONS": "7",
        "OUTRIDER_CONFIG": "elsewhere.toml",
        "HOME": "/",
    }
    settings = load(path, environment, {"server.workers": 5})
    assert settings.server.workers == 5
    assert settings.server.hostname == "environment.test"
    assert settings.server.watchdog_seconds == 5.0
    assert settings.shaping.default.max_connections == 7


def test_a_fault_in_the_environment_is_told_like_any_other() -> None:
    [told] = faults(None, environment={"OUTRIDER_SERVER__WORKRES": "4"})
    assert told.endswith("server.workres is not an option; did you mean workers?")


def test_a_list_of_tables_cannot_be_set_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, '[[listener]]\nname = "a"\n')
    with pytest.raises(ConfigError, match=r"listener\.port cannot be set: listener is a list"):
        load(path, {}, {"listener.port": 1})


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = '[server]\nstate_directory = "here"\nrun_directory = "there"\nusers_file = "users.toml"\n'
    server = load(write(tmp_path, text)).server
    assert server.spool_directory == tmp_path / "here" / "spool"
    assert server.sockets_directory == tmp_path / "there"
    assert server.users_file == tmp_path / "users.toml"


def test_files_for_tls_are_relative_to_the_file_too(tmp_path: Path) -> None:
    text = """
[[listener]]
name = "one"
tls = "starttls"
certificate = "chain.pem"
private_key = "private/key.pem"
[net.tls]
ca_file = "authorities.pem"
"""
    settings = load(write(tmp_path, text))
    (listener,) = settings.listener
    assert listener.certificate == tmp_path / "chain.pem"
    assert listener.private_key == tmp_path / "private" / "key.pem"
    assert settings.net.tls.ca_file == tmp_path / "authorities.pem"


def test_nothing_configured_is_a_safe_server() -> None:
    settings = load(None)
    assert {listener.address for listener in settings.listeners} == {"127.0.0.1"}
    assert settings.record.metrics_address == HttpOptions().address == "127.0.0.1"
    assert settings.listener[0].trusted_networks == ()
    assert settings.server.users_file is None


@given(text=st.text(max_size=40))
def test_any_text_of_the_environment_is_a_value(text: str) -> None:
    value_of(text)


@given(st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text() | st.lists(st.text())))
def test_whatever_stands_in_a_file_it_is_settings_or_a_fault(data: dict[str, object]) -> None:
    try:
        settings = load(None, {}, {f"server.{name}": value for name, value in data.items()})
    except ConfigError as error:
        assert error.faults or error.message  # noqa: PT017 - either is right, nothing else is
    else:
        assert isinstance(settings, Settings)

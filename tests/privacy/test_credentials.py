"""The credentials file: what is written parses, what has faults is refused whole, and no secret is in it."""

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.errors import ConfigError
from outrider.privacy import credentials
from outrider.privacy.credentials import Credentials, Key, User

HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
NAMES = st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), min_size=1, max_size=20)


@given(name=NAMES, tenant=NAMES)
def test_what_is_written_parses(name: str, tenant: str) -> None:
    if not (name.isprintable() and tenant.isprintable()):
        return
    user = User(name, HASH, tenant, frozenset({"a.example", "*", ".b.example"}))
    key = Key("k1", "0" * 64, tenant, frozenset())
    both = Credentials({name: user}, {"k1": key})
    assert credentials.parse_credentials(credentials.format_credentials(both)) == both


def test_every_fault_is_named() -> None:
    text = f"""
    [[user]]
    name = ""
    password_hash = "plain"
    color = "red"
    [[user]]
    name = "joe"
    password_hash = "{HASH}"
    sender_domains = ["-bad-", 5]
    [[user]]
    name = "joe"
    password_hash = "{HASH}"
    [[key]]
    id = "k"
    hash = "ABC"
    [other]
    """
    with pytest.raises(ConfigError) as caught:
        credentials.parse_credentials(text, "users.toml")
    told = str(caught.value)
    for part in (
        "other: unknown",
        "user[1].color",
        "user[1].name",
        "user[1].password_hash",
        "user[2].sender_domains",
        "user[3].name: there are two",
        "key[1].hash",
    ):
        assert part in told


@pytest.mark.parametrize("text", ["[[user]", "user = 5", "user = [1]", "[user]\nname='x'"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        credentials.parse_credentials(text)


def test_users_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "users.toml"
    assert credentials.read_credentials(path) == credentials.EMPTY
    credentials.add_user(path, User("joe", HASH, "acme", frozenset({"acme.example"})))
    with pytest.raises(ConfigError, match="exists"):
        credentials.add_user(path, User("joe", HASH))
    credentials.set_password(path, "joe", HASH + "x")
    assert credentials.read_credentials(path).users["joe"] == User(
        "joe", HASH + "x", "acme", frozenset({"acme.example"})
    )
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116 - the mode as the system sees it
    credentials.remove_user(path, "joe")
    for change in (credentials.remove_user, lambda p, n: credentials.set_password(p, n, HASH)):
        with pytest.raises(ConfigError, match="no user"):
            change(path, "joe")
    assert credentials.read_credentials(path).users == {}


def test_a_faulty_change_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    credentials.add_user(path, User("joe", HASH))
    before = path.read_bytes()
    with pytest.raises(ConfigError):
        credentials.add_user(path, User("ann", "not a hash"))
    with pytest.raises(ConfigError):
        credentials.add_user(path, User("line\nbreak", HASH))
    assert path.read_bytes() == before


def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    threads = [
        threading.Thread(target=credentials.add_user, args=(path, User(f"user{number}", HASH)))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(credentials.read_credentials(path).users) == 12


def test_a_key_is_shown_once(tmp_path: Path) -> None:
    path = tmp_path / "users.toml"
    text = credentials.make_key(path, "web-1", "acme", frozenset({"acme.example"}))
    assert credentials.key_id_of(text) == "web-1"
    assert text not in path.read_text()
    assert text.split("_")[2] not in path.read_text()
    assert credentials.read_credentials(path).keys["web-1"].hash == credentials.hash_key(text)
    with pytest.raises(ConfigError, match="exists"):
        credentials.make_key(path, "web-1", "acme", frozenset())
    with pytest.raises(ConfigError, match="letters"):
        credentials.make_key(path, "a_b", "acme", frozenset())
    credentials.revoke_key(path, "web-1")
    with pytest.raises(ConfigError, match="no key"):
        credentials.revoke_key(path, "web-1")


@pytest.mark.parametrize(
    "damage", [lambda t: t[:-1], lambda t: t + "0", lambda t: "x" + t, lambda t: t.upper()]
)
def test_a_damaged_key_is_no_key(tmp_path: Path, damage: object) -> None:
    text = credentials.make_key(tmp_path / "users.toml", "web", "acme", frozenset())
    assert callable(damage)
    assert credentials.key_id_of(damage(text)) is None


@given(text=st.text(max_size=40))
def test_any_text_is_a_key_or_not(text: str) -> None:
    assert credentials.key_id_of(text) is None


def test_a_change_keeps_who_can_read_the_file_and_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, link = tmp_path / "users.toml", tmp_path / "link.toml"
    credentials.add_user(file, User("joe", HASH))
    file.chmod(0o640)
    link.symlink_to(file)
    (tmp_path / "users.toml.new").symlink_to(tmp_path / "elsewhere")
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _fd, user, group: owners.append((user, group)))
    credentials.add_user(link, User("ann", HASH))
    found = file.stat()
    assert set(credentials.read_credentials(file).users) == {"ann", "joe"}
    assert link.is_symlink()
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert owners[-1] == (found.st_uid, found.st_gid)
    assert not (tmp_path / "elsewhere").exists(), "nothing that others laid there is followed"


@pytest.mark.parametrize("is_laid", [False, True])
def test_the_lock_that_root_makes_belongs_to_the_file_s_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_laid: bool
) -> None:
    file, lock = tmp_path / "users.toml", tmp_path / "users.toml.lock"
    file.write_text("", encoding="utf-8")
    if is_laid:  # by somebody who wants another file for his own
        (tmp_path / "elsewhere").touch()
        lock.hardlink_to(tmp_path / "elsewhere")
    given: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda fd, *owner: given.append((os.fstat(fd).st_ino, *owner)))
    credentials.add_user(file, User("joe", HASH))
    found = file.stat()
    assert ((lock.stat().st_ino, found.st_uid, found.st_gid) in given) is not is_laid


def test_a_lock_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "users.toml.lock").mkdir()
    with pytest.raises(
        ConfigError, match=r"users\.toml\.lock cannot be opened: .*nothing was changed.*remove it"
    ):
        credentials.add_user(tmp_path / "users.toml", User("joe", HASH))

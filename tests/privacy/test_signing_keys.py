"""Private keys for signatures: every form that people keep them in, and what is refused, by its name."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.clock import FakeClock
from outrider.base.errors import ConfigError, KeyAbsentError
from outrider.base.files import OsFiles
from outrider.privacy.signing_keys import (
    LOOK_SECONDS,
    PRUNE_SECONDS,
    TOUCH_SECONDS,
    SigningKeys,
    credential_name,
    file_name,
    parse_private_key,
    prunable_before,
    ring_name,
)
from outrider.wire.dkim.keys import PublicKey, SigningKey
from tests.wire.dkim.signing import key_of, pem

PRIVATE = key_of("rsa2048")._private
assert isinstance(PRIVATE, RSAPrivateKey)
PKCS1 = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PKCS8 = pem("rsa2048")
BARE = "".join(PKCS1.decode().splitlines()[1:-1])


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    return SigningKeys(OsFiles(), tmp_path / "dkim", credentials, FakeClock())


def put(path: Path, text: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "text",
    [
        PKCS1,
        PKCS8,
        b"\n" + PKCS1.replace(b"\n", b"\r\n"),
        PKCS1.replace(b"\n", b" "),
        PKCS1.replace(b"\n", b"\\n"),
        PKCS1.replace(b"\n", b""),
        b"a comment\n" + PKCS8 + b"and more\n",
        BARE,
        BARE + "\n",
        "".join(PKCS8.decode().splitlines()[1:-1]),
    ],
    ids=["pkcs1", "pkcs8", "crlf", "spaces", "escaped", "joined", "comment", "bare", "line", "bare8"],
)
@pytest.mark.parametrize("thorough", [False, True])
def test_an_rsa_key_is_read_in_every_form(text: str | bytes, thorough: bool) -> None:
    found = parse_private_key(text, "it", thorough=thorough)
    assert (found.algorithm, found.bits) == ("rsa-sha256", 2048)
    assert found.public == key_of("rsa2048").public


def test_an_ed25519_key_is_read_in_every_form() -> None:
    whole = pem("ed25519")
    seed = parse_private_key(whole, "it")._private
    assert not isinstance(seed, RSAPrivateKey)
    for text in (
        whole,
        "".join(whole.decode().splitlines()[1:-1]),
        base64.b64encode(seed.private_bytes_raw()),
    ):
        assert parse_private_key(text, "it").public == key_of("ed25519").public


def _public(key: SigningKey) -> bytes:
    return key._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


CURVE = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no private key"),
        (b"not base64!", "neither PEM nor Base64"),
        (base64.b64encode(b"x" * 100), "no private key, or damaged"),
        (PKCS1[:800] + PKCS1[840:], "no private key"),
        (
            PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p")),
            "encrypted",
        ),
        (
            PRIVATE.private_bytes(
                Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"p")
            ),
            "encrypted",
        ),
        (_public(key_of("rsa2048")), "is a public key"),
        (CURVE, "of a kind that does not sign mail"),
        (b"A" * 20_000, "longer than"),
        ("\udcff", "no private key"),
    ],
    ids=["empty", "text", "zeros", "cut", "encrypted8", "encrypted1", "public", "curve", "long", "surrogate"],
)
def test_what_is_no_signing_key_is_refused_by_its_name(text: str | bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_private_key(text, "the key of shop.example")
    assert str(caught.value).startswith("the key of shop.example ")
    whole = text if isinstance(text, str) else text.decode()
    assert not any(word in str(caught.value) for word in whole.split() if len(word) > 20)


def test_a_key_too_short_for_any_receiver_is_refused() -> None:
    short = generate_private_key(65_537, 1024)
    text = short.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert parse_private_key(text, "it").bits == 1024


@pytest.mark.parametrize("thorough", [False, True])
def test_a_damaged_key_is_refused_or_signs_as_it_did(thorough: bool) -> None:
    # OpenSSL checks what it computed from the primes, so some damage only makes it slower
    assert isinstance(PRIVATE, RSAPrivateKey)
    der = PRIVATE.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = PublicKey("rsa", key_of("rsa2048").public)
    refused = 0
    for place in range(0, len(der), 97 if thorough else 47):
        damaged = der[:place] + bytes((der[place] ^ 1,)) + der[place + 1 :]
        try:
            key = parse_private_key(base64.b64encode(damaged), "it", thorough=thorough)
        except ConfigError:
            refused += 1
            continue
        assert public.is_good(key.sign(b"data"), b"data"), place
    assert refused > 3


def test_keys_come_from_files_credentials_and_the_directory_of_the_commands(
    keys: SigningKeys, tmp_path: Path
) -> None:
    put(tmp_path / "a.pem", PKCS1)
    put(tmp_path / "credentials" / "b.pem", pem("ed25519"), 0o440)
    put(tmp_path / "dkim" / "shop.example" / "s1.pem", PKCS8)
    assert keys.get(file_name(tmp_path / "a.pem")).bits == 2048
    assert keys.get(credential_name("b.pem")).algorithm == "ed25519-sha256"
    assert keys.get(ring_name("Shop.Example", "S1")).bits == 2048


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_that_others_can_read_is_refused(keys: SigningKeys, tmp_path: Path, mode: int) -> None:
    path = put(tmp_path / "a.pem", PKCS1, mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}"):
        keys.get(file_name(path))
    put(tmp_path / "credentials" / "b.pem", PKCS1, 0o444)
    with pytest.raises(ConfigError, match="has mode 0444"):
        keys.get(credential_name("b.pem"))


def test_a_key_that_is_not_there_is_absent(keys: SigningKeys, tmp_path: Path) -> None:
    for name in (file_name(tmp_path / "no.pem"), credential_name("no"), ring_name("no.example", "s1")):
        with pytest.raises(KeyAbsentError, match="not there"):
            keys.get(name)
    without = SigningKeys(OsFiles(), tmp_path, None, FakeClock())
    with pytest.raises(KeyAbsentError, match="no credentials"):
        without.get(credential_name("b"))


@pytest.mark.parametrize(
    "name",
    [
        *("", "file:", "file:relative", "other:x", "credential:", "credential:../x", "credential:.x"),
        *(
            "ring:x",
            "ring:../x/y",
            "ring:x/../../y",
            "ring:a/b/c",
            "ring:a..b/s",
            "text:zz",
            "text:" + "0" * 63,
        ),
    ],
)
def test_a_name_that_is_none_reaches_no_file(keys: SigningKeys, name: str) -> None:
    with pytest.raises(ConfigError, match="is not the name of a signing key"):
        keys.get(name)


def test_a_key_is_parsed_once_and_taken_anew_when_its_file_changes(tmp_path: Path) -> None:
    clock = FakeClock()
    keys = SigningKeys(OsFiles(), tmp_path / "dkim", None, clock)
    path = put(tmp_path / "a.pem", PKCS1)
    name = file_name(path)
    first = keys.get(name)
    put(tmp_path / "new.pem", pem("ed25519")).rename(path)
    assert keys.get(name) is first
    clock.advance(LOOK_SECONDS)
    assert keys.get(name).algorithm == "ed25519-sha256"
    path.chmod(0o644)
    clock.advance(LOOK_SECONDS)
    with pytest.raises(ConfigError, match="0644"):
        keys.get(name)


def test_a_text_of_a_database_gets_a_name_that_every_worker_knows(tmp_path: Path) -> None:
    keys = SigningKeys(OsFiles(), tmp_path / "dkim", None, FakeClock())
    name = keys.keep(BARE)
    assert keys.keep(BARE) == name
    assert BARE[:40] not in name
    (written,) = (tmp_path / "dkim" / ".texts").iterdir()
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    for folder in (tmp_path / "dkim", tmp_path / "dkim" / ".texts"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    other = SigningKeys(OsFiles(), tmp_path / "dkim", None, FakeClock())
    assert other.get(name).public == key_of("rsa2048").public
    with pytest.raises(ConfigError, match="the text of a signing key"):
        keys.keep("no key")
    assert keys.prune(before_time=0) == 0
    assert keys.prune(before_time=written.stat().st_mtime + 1) == 1
    with pytest.raises(KeyAbsentError):
        keys.get(name)
    assert keys.get(keys.keep(BARE)).bits == 2048


def test_a_text_that_is_in_use_is_written_each_hour(tmp_path: Path) -> None:
    clock = FakeClock()
    keys = SigningKeys(OsFiles(), tmp_path / "dkim", None, clock)
    name = keys.keep(BARE)
    (written,) = (tmp_path / "dkim" / ".texts").iterdir()
    os.utime(written, (1.0, 1.0))
    assert keys.keep(BARE) == name
    assert written.stat().st_mtime == 1.0
    clock.advance(TOUCH_SECONDS)
    assert keys.keep(BARE) == name
    assert keys.prune(before_time=2.0) == 0
    written.unlink()
    clock.advance(TOUCH_SECONDS)
    assert keys.get(keys.keep(BARE)).bits == 2048


def test_a_text_that_is_written_anew_while_it_is_pruned_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker writes between the pruner's look and its removal, at each of the places where it can."""
    keys = SigningKeys(OsFiles(), tmp_path / "dkim", None, FakeClock())
    name = keys.keep(BARE)
    (written,) = (tmp_path / "dkim" / ".texts").iterdir()
    replace = Path.replace
    for moment in ("before", "after"):
        os.utime(written, (1.0, 1.0))

        def replaced(path: Path, target: Path, moment: str = moment) -> Path:
            if moment == "before":
                keys.write(name, BARE)
            moved = replace(path, target)
            if moment == "after":
                keys.write(name, BARE)
            return moved

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", replaced)
            keys.prune(before_time=2.0)
        assert [path.name for path in written.parent.iterdir()] == [written.name]
        assert written.read_text(encoding="utf-8") == BARE


def test_what_an_interrupted_pruning_left_is_put_back_or_ended(tmp_path: Path) -> None:
    keys = SigningKeys(OsFiles(), tmp_path / "dkim", None, FakeClock())
    name = keys.keep(BARE)
    (written,) = (tmp_path / "dkim" / ".texts").iterdir()
    grave = written.rename(written.with_suffix(".pruned"))
    assert keys.prune(before_time=2.0) == 0
    assert SigningKeys(OsFiles(), tmp_path / "dkim", None, FakeClock()).get(name).bits == 2048
    written.rename(grave)
    os.utime(grave, (1.0, 1.0))
    half = written.with_name(f"{written.name}.77")
    half.write_text("half", encoding="utf-8")
    os.utime(half, (1.0, 1.0))
    assert keys.prune(before_time=2.0) == 0
    assert list(written.parent.iterdir()) == []


@given(
    st.lists(st.tuples(st.floats(0, 40 * 86_400), st.floats(0, TOUCH_SECONDS)), max_size=20),
    st.floats(0, 40 * 86_400),
)
def test_no_text_that_a_waiting_message_names_is_old_enough_to_go(
    messages: list[tuple[float, float]], now: float
) -> None:
    """Each message: when it was received, and how long before its key was written."""
    waiting = [(received, received - earlier) for received, earlier in messages if received <= now]
    before = prunable_before(now, min((received for received, _ in waiting), default=None))
    assert all(written >= before for _, written in waiting)
    assert before <= now - PRUNE_SECONDS


def test_threads_share_the_keys(tmp_path: Path) -> None:
    keys = SigningKeys(OsFiles(), tmp_path, None, FakeClock(), keys_max=2)
    names = [file_name(put(tmp_path / f"{number}.pem", pem("ed25519"))) for number in range(5)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(keys.get, names * 200))
    assert {key.algorithm for key in found} == {"ed25519-sha256"}
    assert len(keys) <= 2


def test_the_number_of_keys_is_bounded(tmp_path: Path) -> None:
    keys = SigningKeys(OsFiles(), tmp_path, None, FakeClock(), keys_max=4)
    names = [file_name(put(tmp_path / f"{number}.pem", pem("ed25519"))) for number in range(6)]
    first = [keys.get(name) for name in names][-1]
    assert len(keys) == 4
    assert keys.get(names[-1]) is first

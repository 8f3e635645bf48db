"""What is sealed under a passphrase opens with it, and with nothing else, and not after any change."""

import pytest

from outrider.privacy import passphrase
from outrider.privacy.passphrase import PassphraseError, seal, unseal

PASSPHRASE = "correct horse battery"
SECRET = b"the secret key" * 10


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is in the header, so a low one tests the same."""
    monkeypatch.setattr(passphrase, "COST_LOG2", 4)


def test_what_is_sealed_opens() -> None:
    sealed = seal(SECRET, PASSPHRASE)
    assert SECRET not in sealed
    assert unseal(sealed, PASSPHRASE) == SECRET
    assert seal(SECRET, PASSPHRASE) != sealed


def test_another_passphrase_does_not_open_it() -> None:
    with pytest.raises(PassphraseError, match="passphrase is wrong"):
        unseal(seal(SECRET, PASSPHRASE), "incorrect horse battery")


def test_no_changed_octet_goes_unnoticed() -> None:
    sealed = seal(SECRET, PASSPHRASE)
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(PassphraseError):
            unseal(changed, PASSPHRASE)
    for length in range(len(sealed)):
        with pytest.raises(PassphraseError):
            unseal(sealed[:length], PASSPHRASE)


def test_a_header_cannot_ask_for_any_cost() -> None:
    sealed = bytearray(seal(SECRET, PASSPHRASE))
    sealed[len(passphrase.MAGIC)] = 40
    with pytest.raises(PassphraseError, match="cost"):
        unseal(bytes(sealed), PASSPHRASE)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(PassphraseError, match="fewer than 12"):
        seal(SECRET, "short")


def test_the_cost_is_what_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    sealed = seal(SECRET, PASSPHRASE)
    assert sealed[len(passphrase.MAGIC)] == 17
    assert unseal(sealed, PASSPHRASE) == SECRET

"""The key ring of a server: where it is, what of it a start needs, and what it gives to spool and record.

Takes settings; gives the ring, tokens and spool keys. Every process reads the ring for itself, so that one
that starts again sees it as it is now.
"""

from collections.abc import Mapping

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.base.files import Files
from outrider.base.log import Log, NullLog
from outrider.model.address import Address
from outrider.privacy.aead import RingSpoolKeys
from outrider.privacy.keyfile import Key, Purpose
from outrider.privacy.keyring import LiveRing, credentials_directory
from outrider.privacy.keystore import KeyStore
from outrider.privacy.token import LiveTokens, Tokens
from outrider.server.settings import Settings


def live_ring(settings: Settings, environment: Mapping[str, str]) -> LiveRing:
    """The ring that `settings` name.

    Raises:
        ConfigError: It has faults.
    """
    return LiveRing(settings.key_directory, credentials_directory(environment))


def key_store(
    settings: Settings, environment: Mapping[str, str], files: Files, clock: Clock, log: Log
) -> KeyStore:
    """What changes the ring that `settings` name."""
    return KeyStore(files, settings.key_directory, credentials_directory(environment), clock, log)


class ServerKeys:
    """What one process has of the ring.

    Attributes:
        tokens: For the `token` profile; None where no sink uses it.
        spool: To read frames, and to write them where the spool is encrypted.

    Raises:
        ConfigError: The ring has faults, or a key that the settings need is not there.
    """

    __slots__ = ("spool", "tokens")

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        live = live_ring(settings, environment)
        ring = live.ring
        if settings.spool.encryption != "none" and ring.maybe_newest(Purpose.SPOOL) is None:
            raise ConfigError(
                f"spool.encryption is on, but {settings.key_directory} holds no spool key: make one by "
                "`outrider keys generate spool`, and keep a copy of it in a safe place"
            )
        self.spool = RingSpoolKeys(live)
        self.tokens: LiveTokens | None = None
        if settings.record.needs_tokens:
            if ring.maybe_newest(Purpose.LOG) is None:
                raise ConfigError(
                    f"record.redaction uses tokens, but {settings.key_directory} holds no log key: make one "
                    "by `outrider keys generate log`"
                )
            self.tokens = LiveTokens(live)


def prepare_keys(
    settings: Settings, environment: Mapping[str, str], files: Files, clock: Clock
) -> tuple[ServerKeys, Key | None]:
    """Make the `log` key on a first start, and check that the ring has what the settings need.

    Returns:
        The keys, and the one that was made: the log that tells of it is opened with them.

    Raises:
        ConfigError: As for `ServerKeys`, or the key cannot be made.
    """
    made = None
    if settings.record.needs_tokens:
        made = key_store(settings, environment, files, clock, NullLog()).ensure(Purpose.LOG)
    return ServerKeys(settings, environment), made


def forms_of(settings: Settings, environment: Mapping[str, str], address: Address) -> list[str]:
    """The forms in which the event files of this server may show `address`, whatever profiles they had.

    Raises:
        ConfigError: The ring has faults.
    """
    plain = f"{address.local_part}@{address.domain}"
    forms = [plain] if plain == plain.lower() else [plain, plain.lower()]
    ring = live_ring(settings, environment).ring
    if ring.maybe_newest(Purpose.LOG) is not None:
        forms += [f"{token}@{address.domain}" for token in Tokens(ring).all_tokens(address)]
    return forms

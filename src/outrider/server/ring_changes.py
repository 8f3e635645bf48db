"""What operators do to the key ring of a server, by command or over the control API.

In: settings and the environment, which name the ring. Out: keys as they may be shown, and what the audit log
keeps of a change: names and fingerprints, never a secret. Whoever calls writes the audit rows around the
change (`store.audit.noting`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from outrider.base.clock import Clock
from outrider.base.errors import StoreError
from outrider.base.files import OsFiles
from outrider.base.log import Log
from outrider.privacy.keyfile import MEANING, Key, Purpose, Tombstone
from outrider.privacy.keystore import KeyStore
from outrider.server.key_usage import check_unused, usage_of
from outrider.server.keys import key_store, live_ring
from outrider.server.settings import Settings

COPIES = "Copies of the key elsewhere (backups, exports) keep it readable until they are destroyed too."


class Doomed(NamedTuple):
    """What a destruction would mean.

    Attributes:
        key: The key.
        uses: How many things it protects now.
        meaning: What is lost with it, in sentences.
    """

    key: Key
    uses: int
    meaning: str


def open_ring(settings: Settings, environment: Mapping[str, str], clock: Clock, log: Log) -> KeyStore:
    """The ring, to be changed; what an interrupted destruction left is gone.

    Raises:
        ConfigError: The ring has faults.
    """
    store = key_store(settings, environment, OsFiles(), clock, log)
    store.finish_destructions()
    return store


def make_first(store: KeyStore, purpose: Purpose) -> Key:
    """The first key of a purpose.

    Raises:
        StoreError: There is one.
        ConfigError: The ring cannot be written, or has faults.
    """
    key = store.ensure(purpose)
    if key is None:
        raise StoreError(
            f"there is a {purpose} key already; `outrider keys rotate {purpose}` makes a new version",
            "conflict",
        )
    return key


def doom(settings: Settings, store: KeyStore, purpose: Purpose, version: int) -> Doomed:
    """What the destruction of a version would mean.

    Raises:
        KeyAbsentError: There is no such key.
        StoreError: It cannot be destroyed, or not before the server restarts.
        SpoolError: The spool cannot be read.
    """
    key = store.check_destroyable(purpose, version)
    check_unused(settings, purpose, version)
    usage = usage_of(settings, purpose, version)
    return Doomed(key, usage.uses, f"It protects {MEANING[purpose]}. {usage.text} {COPIES}")


def noted_of(changed: Key | Tombstone) -> dict[str, str]:
    """What the audit log keeps of a change."""
    return {"key": changed.name, "fingerprint": changed.fingerprint}


def shown_ring(settings: Settings, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every key and tombstone of the ring, never a secret.

    Raises:
        ConfigError: The ring has faults.
    """
    ring = live_ring(settings, environment).ring
    newest = {purpose: ring.maybe_newest(purpose) for purpose in Purpose}
    keys = [
        {
            "key": key.name,
            "state": "in use" if key == newest[key.purpose] else "reads older data",
            "fingerprint": key.fingerprint,
            "created": key.created,
            "destroyed": "",
            "file": key.source,
        }
        for key in ring.of()
    ]
    return keys + [
        {
            "key": gone.name,
            "state": f"destroyed: {gone.reason}",
            "fingerprint": gone.fingerprint,
            "created": gone.created,
            "destroyed": gone.destroyed,
            "file": "",
        }
        for gone in ring.tombstones()
    ]

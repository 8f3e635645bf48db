"""Numbers that all workers of a node count together, exactly: for allowances, gauges and counters of policy.

In: keys, each a hash, and what is to be added. Out: what they are at, over all workers.

Theory: a file mapped into every worker holds buckets of slots; a key belongs to one bucket and is found there
by its whole hash, so two keys never share a number. Writers take turns by a lock on the file, which the
kernel opens again when its holder dies; readers need none, because a slot's number is eight octets that are
written at once, and they look at the key again when they have read it. A slot has an end, after which it is
free. What is in the file stays there over restarts; a key that is not meant to be kept is hashed with the
number of the server's start, so that it begins anew.

Names and addresses are in the file only as keyed hashes; the hash's key lies beside them, so who may read the
file could try names.

Invariant: as long as the slots suffice, no addition is lost and none is counted twice, whatever process dies
when. When a bucket is full, the number that would end first is dropped (`dropped` counts them); numbers
without an end never are: the addition raises instead.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import Final

from outrider.base.errors import StoreError, UnavailableError

KEY_OCTETS: Final = 16
SLOTS_DEFAULT: Final = 65_536
"""Chosen: some ten thousand keys in a few windows; three megabytes."""
SLOTS_MAX: Final = 16_777_216
"""Chosen: 800 megabytes."""

_MAGIC: Final = b"ORCELLS1"
_HEAD: Final = struct.Struct("<8sQQ16s")
# magic, generation, buckets, salt
_HEAD_OCTETS: Final = 4096
# a page, so that buckets begin on one
_WAYS: Final = 64
# slots of a bucket; chosen: with half of all slots in use, one bucket in ten million is full
_KEYS_OCTETS: Final = _WAYS * KEY_OCTETS
_BUCKET_OCTETS: Final = _KEYS_OCTETS + 4 * 8 * _WAYS
_FREE: Final = bytes(KEY_OCTETS)
_NUMBER_MAX: Final = (1 << 53) - 1
# what a Lua number holds exactly

_INT: Final = struct.Struct("q")
_REAL: Final = struct.Struct("d")
_UINT: Final = struct.Struct("Q")
# native, which are written at once; the standard sizes are written octet by octet
_UNTIL: Final = _WAYS * 8
_TOUCHED: Final = 2 * _WAYS * 8
_OWNER: Final = 3 * _WAYS * 8
# from a slot's number to its other fields
_KEY: Final = struct.Struct("<QII")
_NUMBER: Final = struct.Struct("<I")
_NAME_OCTETS: Final = 12
# of a key, the rest is a number: 96 bits of hash never meet

_WAIT_SECONDS: Final = 0.25
# chosen: a hundred times what a holder that lost its turn needs
_PAUSE_SECONDS: Final = 0.0002
# chosen: some times what a holder needs


class SharedCells:
    """See the module. Made by `create_cells` or `attach_cells`.

    Attributes:
        dropped: Numbers that this process dropped because a bucket was full.
    """

    __slots__ = ("_buckets", "_fd", "_fresh_salt", "_kept_salt", "_map", "dropped")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map = mmap.mmap(fd, 0)
        magic, generation, buckets, salt = _HEAD.unpack_from(self._map)
        self._buckets: int = buckets
        if magic != _MAGIC or len(self._map) != _size_of(self._buckets):
            raise StoreError("the file of shared numbers is none")
        self._kept_salt = salt
        self._fresh_salt = salt + struct.pack("<Q", generation)
        self.dropped = 0

    @property
    def slots(self) -> int:
        """How many numbers there is room for."""
        return self._buckets * _WAYS

    def key(self, *parts: bytes, is_kept: bool = False) -> bytes:
        """The key of a number.

        Args:
            parts: Its name.
            is_kept: It goes on after a restart.
        """
        salt = self._kept_salt if is_kept else self._fresh_salt
        name = b"".join([struct.pack("<I", len(part)) + part for part in parts])
        return blake2b(name, digest_size=KEY_OCTETS, key=salt).digest()

    @staticmethod
    def window(key: bytes, number: int) -> bytes:
        """The key of one of the numbers that belong to a key, as of its windows; buckets share them."""
        return key[:_NAME_OCTETS] + _NUMBER.pack(number & 0xFFFF_FFFF)

    def get(self, key: bytes, now: float) -> int | None:
        """A number; None where there is none, or where it has ended. `now` is Unix seconds."""
        base = self._base(key)
        slot = self._find(base, key)
        while slot is not None:
            at = base + _KEYS_OCTETS + slot * 8
            value, until = _INT.unpack_from(self._map, at)[0], _REAL.unpack_from(self._map, at + _UNTIL)[0]
            place = base + slot * KEY_OCTETS
            if self._map[place : place + KEY_OCTETS] == key:
                return int(value) if until > now else None
            slot = self._find(base, key)
        return None

    def touched(self, key: bytes) -> float | None:
        """When a number was last changed, Unix seconds."""
        base = self._base(key)
        slot = self._find(base, key)
        if slot is None:
            return None
        return float(_REAL.unpack_from(self._map, base + _KEYS_OCTETS + slot * 8 + _TOUCHED)[0])

    def add(self, key: bytes, delta: int, now: float, until: float = inf, owner: int = 0) -> int:
        """Add to a number, which begins at 0; what it is now.

        Args:
            key: Of the number.
            delta: May be negative.
            now: Unix seconds.
            until: When it ends; `inf` is never.
            owner: For `forget_oldest`.

        Raises:
            StoreError: It is too large, or there is no room and nothing that ends.
            UnavailableError: Another process does not let go of the file.
        """
        with self._locked():
            base = self._base(key)
            slot = self._find(base, key)
            value = delta
            if slot is not None:
                at = base + _KEYS_OCTETS + slot * 8
                if _REAL.unpack_from(self._map, at + _UNTIL)[0] > now:
                    value += _INT.unpack_from(self._map, at)[0]
            if not -_NUMBER_MAX <= value <= _NUMBER_MAX:
                raise StoreError("a shared number would be larger than 2^53")
            self._write(base, slot, key, value, now, until, owner)
            return value

    def put(self, key: bytes, value: int, now: float, until: float = inf, owner: int = 0) -> None:
        """Set a number; as `add`."""
        with self._locked():
            base = self._base(key)
            self._write(base, self._find(base, key), key, value, now, until, owner)

    def change(self, key: bytes, step: Callable[[int], int], now: float) -> None:
        """Make of a number without an end, which begins at 0, what `step` says.

        Nobody else writes meanwhile, so `step` is to be quick. Raises as `add`, and what `step` raises.
        """
        with self._locked():
            base = self._base(key)
            slot = self._find(base, key)
            had = 0 if slot is None else _INT.unpack_from(self._map, base + _KEYS_OCTETS + slot * 8)[0]
            self._write(base, slot, key, step(had), now, inf, 0)

    def drop(self, key: bytes) -> bool:
        """Forget a number; False where there was none."""
        with self._locked():
            base = self._base(key)
            slot = self._find(base, key)
            if slot is None:
                return False
            self._clear(base, slot)
            return True

    def count(self, owner: int, now: float) -> int:
        """How many numbers an owner has. Looks at all slots: some milliseconds."""
        return sum(1 for _ in self._of(owner, now))

    def forget_oldest(self, owner: int, many: int, now: float) -> None:
        """Forget the `many` numbers of an owner that were changed longest ago. As slow as `count`."""
        with self._locked():
            found = sorted((touched, base, slot) for base, slot, touched in self._of(owner, now))
            for _, base, slot in found[:many]:
                self._clear(base, slot)

    def close(self) -> None:
        """Nothing is counted any more. Once is enough, and twice does no harm."""
        if not self._map.closed:
            self._map.close()
            os.close(self._fd)

    def _base(self, key: bytes) -> int:
        name, _, number = _KEY.unpack(key)
        bucket: int = (name + number) % self._buckets
        return _HEAD_OCTETS + bucket * _BUCKET_OCTETS

    def _find(self, base: int, key: bytes) -> int | None:
        at, end = base, base + _KEYS_OCTETS
        while (at := self._map.find(key, at, end)) >= 0:
            slot, rest = divmod(at - base, KEY_OCTETS)
            if not rest:
                return slot
            at += 1
        return None

    def _write(
        self, base: int, slot: int | None, key: bytes, value: int, now: float, until: float, owner: int
    ) -> None:
        is_new = slot is None
        if slot is None:
            slot = self._room(base, now)
        at = base + _KEYS_OCTETS + slot * 8
        # who reads without the lock sees the old octets or the new; pack_into makes them zero in between
        self._map[at + _UNTIL : at + _UNTIL + 8] = _REAL.pack(until)
        self._map[at + _TOUCHED : at + _TOUCHED + 8] = _REAL.pack(now)
        self._map[at + _OWNER : at + _OWNER + 8] = _UINT.pack(owner)
        self._map[at : at + 8] = _INT.pack(value)
        if is_new:
            place = base + slot * KEY_OCTETS
            self._map[place : place + KEY_OCTETS] = key

    def _room(self, base: int, now: float) -> int:
        slot = self._find(base, _FREE)
        if slot is not None:
            return slot
        ends = struct.unpack_from(f"{_WAYS}d", self._map, base + _KEYS_OCTETS + _UNTIL)
        slot = min(range(_WAYS), key=ends.__getitem__)
        until = ends[slot]
        if until == inf:
            raise StoreError("there is no room for one more shared number: raise policy.shared_numbers")
        if until > now:
            self.dropped += 1
        self._clear(base, slot)
        return slot

    def _clear(self, base: int, slot: int) -> None:
        place = base + slot * KEY_OCTETS
        self._map[place : place + KEY_OCTETS] = _FREE

    def _of(self, owner: int, now: float) -> Iterator[tuple[int, int, float]]:
        """Bucket, slot and time of the last change of an owner's numbers."""
        for base in range(_HEAD_OCTETS, len(self._map), _BUCKET_OCTETS):
            owners = struct.unpack_from(f"{_WAYS}Q", self._map, base + _KEYS_OCTETS + _OWNER)
            if owner not in owners:
                continue
            for slot, each in enumerate(owners):
                place, at = base + slot * KEY_OCTETS, base + _KEYS_OCTETS + slot * 8
                if each != owner or self._map[place : place + KEY_OCTETS] == _FREE:
                    continue
                if _REAL.unpack_from(self._map, at + _UNTIL)[0] > now:
                    yield base, slot, _REAL.unpack_from(self._map, at + _TOUCHED)[0]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        waited = 0.0
        while True:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:  # another process writes
                if waited >= _WAIT_SECONDS:
                    raise UnavailableError("the shared numbers are held by another process") from None
                time.sleep(_PAUSE_SECONDS)
                waited += _PAUSE_SECONDS
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)


def _size_of(buckets: int) -> int:
    return _HEAD_OCTETS + buckets * _BUCKET_OCTETS


def owner_of(name: bytes) -> int:
    """The number of an owner, for `SharedCells.add`; never 0."""
    return int.from_bytes(blake2b(name, digest_size=7).digest(), "little") + 1


def create_cells(path: Path | None = None, slots: int = SLOTS_DEFAULT) -> SharedCells:
    """The numbers of a server that starts: those of its file that are kept, or none.

    Args:
        path: The file; None keeps nothing over restarts.
        slots: Room for so many numbers; a file of another size is begun anew.

    Raises:
        StoreError: The file cannot be used.
    """
    buckets = max(1, -(-min(slots, SLOTS_MAX) // _WAYS))
    fd = -1
    try:
        if path is None:
            fd = os.memfd_create("outrider-numbers")
        else:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _prepare(fd, buckets, is_on_disk=path is not None)
        return SharedCells(fd)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise StoreError(f"the file of shared numbers cannot be used: {error.strerror}") from error


def _prepare(fd: int, buckets: int, *, is_on_disk: bool) -> None:
    head = os.pread(fd, _HEAD.size, 0)
    generation, salt = 0, os.urandom(16)
    is_ours = False
    if len(head) == _HEAD.size:
        magic, generation, had, old_salt = _HEAD.unpack(head)
        is_ours = magic == _MAGIC and had == buckets and os.fstat(fd).st_size == _size_of(buckets)
        if is_ours:
            salt = old_salt
    if not is_ours:
        os.ftruncate(fd, 0)
        os.ftruncate(fd, _size_of(buckets))
    if is_on_disk:  # a mapped page for which the disk has no room would end the process
        os.posix_fallocate(fd, 0, _size_of(buckets))
    os.pwrite(fd, _HEAD.pack(_MAGIC, (generation + 1) % (1 << 64), buckets, salt), 0)


def attach_cells(path: Path) -> SharedCells:
    """The numbers of a server that runs, for one of its processes.

    Raises:
        StoreError: There is no such file, or it is none of ours.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise StoreError(f"the file of shared numbers cannot be used: {error.strerror}") from error
    try:
        return SharedCells(fd)
    except (StoreError, ValueError, struct.error):
        os.close(fd)
        raise StoreError("the file of shared numbers is none") from None

"""Values that scripts of all workers of a node share: strings, numbers and booleans by name.

In: names and values. Out: the value that any worker set last.

Theory: a value is a file, named by the hash of its name in a folder by the hash's first octet. It is written
beside and moved into its place, so a reader sees the value before or the one after, and a worker that dies
while it writes leaves the value before. Nobody waits for anybody. A look at a value is a look at a file, some
ten microseconds; counters and series (`policy.shared`) are for what each message needs.

Invariant: no reader ever sees a part of a value, whatever process dies when.

What is in the folder is readable to the server's own user alone, and not encrypted.
"""

import os
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from outrider.base.errors import StoreError

Value = bytes | int | float | bool | None

VALUE_OCTETS_MAX: Final = 65_536
# chosen: a table as text; larger ones belong into a database
VALUES_MAX: Final = 10_000
# chosen: of a node
_IN_FOLDER_MAX: Final = 80
# chosen: of VALUES_MAX there are 39 in each of the 256 folders; one of a million folders has over 80
_BESIDE: Final = "."
# how the name of a file begins that is being written


class SharedValues:
    """See the module.

    Args:
        folder: The same for all processes, made by `begin_values`. None is for this process alone.
    """

    __slots__ = ("_folder", "_numbers", "_own")

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._own: dict[str, bytes] = {}
        self._numbers = count()

    def put(self, name: Value, value: Value) -> None:
        """Set a value.

        Raises:
            ValueError: It is too long, or there are too many.
            StoreError: It cannot be written.
        """
        octets = _encoded(value)
        if len(octets) > VALUE_OCTETS_MAX:
            raise ValueError(f"a value that is shared has at most {VALUE_OCTETS_MAX} octets")
        key = _key_of(name)
        if self._folder is None:
            if key not in self._own and len(self._own) >= VALUES_MAX:
                raise ValueError(f"scripts share at most {VALUES_MAX} values")
            self._own[key] = octets
            return
        path = self._folder / key[:2] / key
        beside = path.with_name(f"{_BESIDE}{os.getpid()}-{next(self._numbers)}")
        try:
            if not path.exists():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                if sum(1 for _ in path.parent.iterdir()) >= _IN_FOLDER_MAX:
                    raise ValueError(f"scripts share at most some {VALUES_MAX} values")
            with open(beside, "xb", opener=_private) as file:
                file.write(octets)
            beside.replace(path)
        except OSError as error:
            raise StoreError(f"a shared value cannot be written: {error.strerror}") from error

    def get(self, name: Value) -> Value:
        """A value; None where there is none. Raises StoreError: it cannot be read."""
        key = _key_of(name)
        if self._folder is None:
            octets = self._own.get(key)
            return None if octets is None else _decoded(octets)
        try:
            return _decoded((self._folder / key[:2] / key).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(f"a shared value cannot be read: {error}") from error

    def drop(self, name: Value) -> None:
        """Forget a value. Raises StoreError: it cannot be removed."""
        key = _key_of(name)
        if self._folder is None:
            self._own.pop(key, None)
            return
        try:
            (self._folder / key[:2] / key).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"a shared value cannot be removed: {error.strerror}") from error


def begin_values(folder: Path) -> None:
    """A server starts: there are no values.

    Raises:
        StoreError: The folder cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for each in folder.iterdir():
            if each.is_dir() and not each.is_symlink():
                for file in each.iterdir():
                    file.unlink()
    except OSError as error:
        raise StoreError(f"the folder of shared values cannot be used: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _key_of(name: Value) -> str:
    """The name of its file; numbers that are equal are one name, as in Lua."""
    if isinstance(name, float) and name.is_integer():
        name = int(name)
    return blake2b(_encoded(name), digest_size=16).hexdigest()


def _encoded(value: Value) -> bytes:
    """A value as it is kept; numbers of more than 64 bits, which are doubles in Lua, as such."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        value = float(value)
    return msgspec.msgpack.encode(value)


def _decoded(octets: bytes) -> Value:
    value: Value = msgspec.msgpack.decode(octets)
    return value

"""Compressed and encrypted frames: what stands behind a frame's header when a flag of it is set.

In, for the writer: a change list with its contents. Out: the payload as it is stored, which begins with a
prefix of 8 octets: the octets of what was encoded, and the version of the key (0 where it is not encrypted).
In, for the reader: such a payload with its place. Out: change list and contents as they were.

Theory: compression comes first, because what is encrypted no longer compresses. Encryption is AES-256-GCM
under a key of one segment, derived from the ring's key, the segment's random salt, the number of its log and
its own. The nonce is the frame's offset in the segment. A segment is written from its beginning to its end:
each offset begins at most one frame, and after a failed write or sync the segment is given up, so no nonce is
used twice under one key. Log numbers never repeat; should a backup bring them back, the salts still differ.
Log, segment, offset and the frame's header are associated data: a frame that was copied to another place, or
whose flags or lengths were changed, does not open there.

Invariant: `decode` returns what `encode` was given for this very place, or raises. What it allocates is
bounded by the length that the prefix states, which authentication or the frame's checksum covers.

Standards: RFC 5116 §5.2 (AES-256-GCM), RFC 8878 §3 (Zstandard frames).
"""

import errno
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import zstandard

from outrider.base.errors import KeyAbsentError, NotAuthenticError
from outrider.base.long_octets import part
from outrider.model.ports import Cipher, SpoolKeys
from outrider.spool.frames import FLAG_ENCRYPTED, FLAG_ZSTD, FrameDamagedError
from outrider.spool.options import SpoolOptions

_PREFIX: Final = struct.Struct("<II")
_CONTEXT: Final = struct.Struct("<II")
_NONCE: Final = struct.Struct("<IQ")
_PLACE: Final = struct.Struct("<IIQBBI")
PREFIX_OCTETS: Final = _PREFIX.size
TAG_OCTETS: Final = 16
# RFC 5116 §5.2: the ciphertext of AES-256-GCM is 16 octets longer than the plaintext
COMPRESS_FROM: Final = 512
# measured: a finish of 171 octets becomes 143 for 4 µs, which is not worth it; two in a frame become half
CIPHERS_MAX: Final = 128
# chosen: as many as segments that a reader keeps open, and twice as many again


class KeyGoneError(FrameDamagedError):
    """The frame is whole, but its key is not there; the field `destroyed` says whether that is on purpose."""


class Packed(NamedTuple):
    """A payload that is compressed, where that helps, and waits for its place.

    Attributes:
        body: What is encrypted or stored.
        length: Octets of the payload as it will be stored, prefix and tag included.
        flags: Of the frame's header.
        list_length: Octets of the change list in what was encoded.
        plain_length: Octets of what was encoded.
    """

    body: bytes
    length: int
    flags: int
    list_length: int
    plain_length: int


class Place(NamedTuple):
    """Where a frame is: its log, segment, that segment's salt, its offset."""

    log: int
    segment: int
    salt: bytes
    offset: int


def _context(place: Place) -> bytes:
    return _CONTEXT.pack(place.log, place.segment)


def _associated(place: Place, kind: int, flags: int, list_length: int, prefix: bytes) -> bytes:
    return _PLACE.pack(place.log, place.segment, place.offset, kind, flags, list_length) + prefix


class FrameEncoder:
    """Encodes the frames of one log; used by the one thread that writes it.

    Args:
        options: What is wanted.
        keys: The spool's keys, needed where encryption is wanted.

    Raises:
        KeyAbsentError: Encryption is wanted, and there is no key.
    """

    __slots__ = ("_cipher", "_cipher_of", "_compressor", "_keys", "_version")

    def __init__(self, options: SpoolOptions, keys: SpoolKeys | None) -> None:
        self._compressor = (
            zstandard.ZstdCompressor(level=options.zstd_level, write_checksum=False)
            if options.compression == "zstd"
            else None
        )
        self._keys: SpoolKeys | None = None
        if options.encryption != "none":
            if keys is None:
                raise KeyAbsentError("the spool is to be encrypted, and was given no keys")
            keys.newest()
            self._keys = keys
        self._cipher: Cipher | None = None
        self._cipher_of: tuple[int, int, bytes] | None = None
        self._version = 0

    def pack(self, changes: bytes, contents: Sequence[Sequence[bytes]], length: int) -> Packed:
        """Compress a change list and the contents behind it, `length` octets in all."""
        body = (
            changes
            if length == len(changes)
            else b"".join((changes, *(c for each in contents for c in each)))
        )
        flags = 0
        if self._compressor is not None and length >= COMPRESS_FROM:
            smaller = self._compressor.compress(body)
            if len(smaller) < length:
                body, flags = smaller, FLAG_ZSTD
        stored = PREFIX_OCTETS + len(body)
        if self._keys is not None:
            flags |= FLAG_ENCRYPTED
            stored += TAG_OCTETS
        elif not flags:
            stored = length  # stored as it is, without a prefix
        return Packed(body, stored, flags, len(changes), length)

    def encode(self, packed: Packed, place: Place, kind: int) -> bytes:
        """The payload for its place; to be called once for each place.

        Raises:
            OSError: The segment is new, and the key has gone.
        """
        if self._keys is None:
            if not packed.flags:
                return packed.body
            return b"".join((_PREFIX.pack(packed.plain_length, 0), packed.body))
        segment = place[:3]
        if segment != self._cipher_of or self._cipher is None:
            try:
                self._version = self._keys.newest()
                self._cipher = self._keys.cipher(self._version, place.salt, _context(place))
            except (
                KeyAbsentError
            ) as error:  # as a failed write: nothing is lost, the next segment tries again
                raise OSError(errno.ENOKEY, error.message) from error
            self._cipher_of = segment
        prefix = _PREFIX.pack(packed.plain_length, self._version)
        associated = _associated(place, kind, packed.flags, packed.list_length, prefix)
        sealed = self._cipher.seal(_NONCE.pack(0, place.offset), packed.body, associated)
        return b"".join((prefix, sealed))


def encoder_of(options: SpoolOptions, keys: SpoolKeys | None) -> FrameEncoder | None:
    """The encoder that `options` ask for, None where frames are stored as they are."""
    if options.compression == "none" and options.encryption == "none":
        return None
    return FrameEncoder(options, keys)


def key_version(payload: bytes, flags: int) -> int:
    """Version of the key of a frame, 0 where it is not encrypted; `payload` may be cut behind the prefix."""
    if not flags & FLAG_ENCRYPTED or len(payload) < PREFIX_OCTETS:
        return 0
    return int(_PREFIX.unpack_from(payload)[1])


def stated_length(payload: bytes) -> int:
    """Octets of what was encoded, as the prefix says; nothing has checked it. 0 where it is cut off."""
    return int(_PREFIX.unpack_from(payload)[0]) if len(payload) >= PREFIX_OCTETS else 0


class FrameDecoder:
    """Decodes frames of any log; not for use by two threads at once.

    Args:
        keys: The spool's keys; without them encrypted frames are as if their keys were gone.
    """

    __slots__ = ("_ciphers", "_decompressor", "_keys")

    def __init__(self, keys: SpoolKeys | None) -> None:
        self._keys = keys
        self._ciphers: dict[tuple[int, int, int, bytes], Cipher] = {}
        self._decompressor = zstandard.ZstdDecompressor()

    def decode(self, payload: bytes, place: Place, kind: int, flags: int, list_length: int) -> bytes:
        """The change list and contents of a whole frame with flags.

        Raises:
            KeyGoneError: The key is not there.
            FrameDamagedError: It is not what was written at this place.
        """
        if len(payload) < PREFIX_OCTETS:
            raise FrameDamagedError("a frame with flags is too short for its prefix")
        length, version = _PREFIX.unpack_from(payload)
        body = part(payload, PREFIX_OCTETS, len(payload))
        if flags & FLAG_ENCRYPTED:
            associated = _associated(place, kind, flags, list_length, payload[:PREFIX_OCTETS])
            try:
                body = self._cipher(version, place).open(_NONCE.pack(0, place.offset), body, associated)
            except KeyAbsentError as error:
                destroyed = bool(error.fields.get("destroyed"))
                raise KeyGoneError(error.message, destroyed=destroyed) from error
            except NotAuthenticError as error:
                raise FrameDamagedError(f"its seal is broken: {error.message}") from error
        if flags & FLAG_ZSTD:
            body = self._decompress(body, length)
        if len(body) != length or list_length > length:
            raise FrameDamagedError("a frame's prefix states another length than it has")
        return body

    def _cipher(self, version: int, place: Place) -> Cipher:
        if self._keys is None:
            raise KeyAbsentError(f"it is encrypted by key spool-{version}, and no keys were given to read it")
        name = version, *place[:3]
        found = self._ciphers.get(name)
        if found is None:
            if len(self._ciphers) >= CIPHERS_MAX:
                del self._ciphers[next(iter(self._ciphers))]
            found = self._ciphers[name] = self._keys.cipher(version, place.salt, _context(place))
        return found

    def _decompress(self, body: bytes, length: int) -> bytes:
        try:
            if zstandard.frame_content_size(body) != length:
                raise FrameDamagedError("a compressed frame states two lengths")
            return self._decompressor.decompress(body, max_output_size=length)
        except zstandard.ZstdError as error:
            raise FrameDamagedError(f"it cannot be decompressed: {error}") from error

"""Compressed and encrypted frames: bound to their places, mixed in one log, lost with their keys alone."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.clock import FakeClock
from outrider.base.errors import KeyAbsentError
from outrider.base.faults import Fault, FaultyFiles
from outrider.base.files import OsFiles, read_file, write_atomic
from outrider.base.log import ListLog
from outrider.model.changes import ContentRef, Stored
from outrider.model.ports import Cipher, SpoolKeys
from outrider.privacy.aead import AesGcm, RingSpoolKeys
from outrider.spool.await_commit import begin_commit, commit_and_wait
from outrider.spool.census import sealed_by_version
from outrider.spool.codec import FrameDecoder, FrameEncoder, KeyGoneError, Place
from outrider.spool.directory import SpoolDirectory
from outrider.spool.engine import EmbeddedEngine
from outrider.spool.filters import QueueFilter
from outrider.spool.frames import (
    FLAG_ENCRYPTED,
    FRAME_HEADER,
    HEADER_REGION,
    TYPE_CHANGES,
    FrameDamagedError,
    format_header,
    parse_header,
    parse_segment_header,
    payload_checksum,
)
from outrider.spool.options import SpoolOptions
from outrider.spool.reader import Damage, FrameReader
from outrider.spool.writer import LogWriter
from tests.spool.samples import CODECS, SMALL, FixedRing, small_as, spool_keys, stored

PLACE = Place(3, 5, b"salty!!!", 4_096)
SECRET = b"canary-local-part"
CONTENT = SECRET + b" wrote this line of text many times over\r\n" * 40


def encoded(codec: str, octets: bytes, place: Place = PLACE, list_length: int = 10) -> tuple[bytes, int]:
    """A payload at a place, and its flags."""
    encoder = FrameEncoder(small_as(codec), spool_keys())
    packed = encoder.pack(octets[:list_length], [[octets[list_length:]]], len(octets))
    payload = encoder.encode(packed, place, TYPE_CHANGES)
    assert len(payload) == packed.length
    return payload, packed.flags


def decoded(
    payload: bytes, flags: int, place: Place = PLACE, *, kind: int = 1, list_length: int = 10
) -> bytes:
    return FrameDecoder(spool_keys()).decode(payload, place, kind, flags, list_length)


@given(octets=st.binary(min_size=10, max_size=3_000), codec=st.sampled_from(["aes", "both"]))
def test_what_was_encoded_is_decoded_at_its_place(octets: bytes, codec: str) -> None:
    payload, flags = encoded(codec, octets)
    assert decoded(payload, flags) == octets


@given(octets=st.binary(min_size=512, max_size=3_000), repeat=st.integers(1, 5))
def test_what_was_compressed_is_decompressed(octets: bytes, repeat: int) -> None:
    payload, flags = encoded("zstd", octets * repeat)
    assert (decoded(payload, flags) if flags else payload) == octets * repeat


@given(data=st.data(), codec=st.sampled_from(["aes", "both"]))
def test_any_change_of_an_encrypted_payload_is_refused(data: st.DataObject, codec: str) -> None:
    payload, flags = encoded(codec, CONTENT)
    at = data.draw(st.integers(0, len(payload) - 1))
    changed = bytearray(payload)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FrameDamagedError):
        decoded(bytes(changed), flags)


@pytest.mark.parametrize(
    "place",
    [
        PLACE._replace(log=4),
        PLACE._replace(segment=6),
        PLACE._replace(offset=4_097),
        PLACE._replace(salt=b"salty!!?"),
    ],
)
def test_an_encrypted_frame_opens_at_its_own_place_only(place: Place) -> None:
    payload, flags = encoded("aes", CONTENT)
    with pytest.raises(FrameDamagedError, match="another place"):
        decoded(payload, flags, place)


def test_the_header_is_authentic_too() -> None:
    payload, flags = encoded("both", CONTENT)
    for kind, list_length in ((2, 10), (1, 11)):
        with pytest.raises(FrameDamagedError):
            decoded(payload, flags, kind=kind, list_length=list_length)
    with pytest.raises(FrameDamagedError):
        decoded(payload, FLAG_ENCRYPTED)  # not compressed, says the flag


def test_a_compressed_frame_takes_no_more_memory_than_it_states() -> None:
    payload, flags = encoded("zstd", b"\0" * 1_000_000)
    assert len(payload) < 1_000
    lying = (100).to_bytes(4, "little") + payload[4:]
    with pytest.raises(FrameDamagedError, match="two lengths"):
        decoded(lying, flags)


def test_without_any_wish_nothing_is_encoded() -> None:
    encoder = FrameEncoder(small_as("zstd"), None)
    incompressible = Random(1).randbytes(600)
    packed = encoder.pack(incompressible[:10], [[incompressible[10:]]], 600)
    assert (packed.flags, encoder.encode(packed, PLACE, TYPE_CHANGES)) == (0, incompressible)


def test_encryption_without_keys_is_refused() -> None:
    with pytest.raises(KeyAbsentError):
        FrameEncoder(small_as("aes"), None)
    with pytest.raises(KeyAbsentError):
        FrameEncoder(small_as("aes"), _NoKeys())


class _NoKeys:
    def newest(self) -> int:
        raise KeyAbsentError("there is none")

    def cipher(self, version: int, salt: bytes, context: bytes) -> Cipher:
        raise KeyAbsentError("there is none")


class Noting:
    """Keys that note every (context key, nonce) that something is sealed under."""

    def __init__(self) -> None:
        self.used: list[tuple[int, bytes, bytes, bytes]] = []
        self._keys = spool_keys()

    def newest(self) -> int:
        return 1

    def cipher(self, version: int, salt: bytes, context: bytes) -> Cipher:
        return _NotingCipher(self, (version, salt, context), self._keys.cipher(version, salt, context))


class _NotingCipher:
    def __init__(self, keys: Noting, name: tuple[int, bytes, bytes], cipher: Cipher) -> None:
        self._keys, self._name, self._cipher = keys, name, cipher

    def seal(self, nonce: bytes, plain: bytes, associated: bytes) -> bytes:
        self._keys.used.append((*self._name, nonce))
        return self._cipher.seal(nonce, plain, associated)

    def open(self, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        return self._cipher.open(nonce, sealed, associated)


def writer_of(path: Path, options: SpoolOptions, keys: SpoolKeys, faults: Sequence[Fault] = ()) -> LogWriter:
    """A writer of the next log; all segments have one salt, as the worst source of randomness gives."""
    directory = SpoolDirectory(FaultyFiles(OsFiles(), list(faults)), str(path / "spool"))
    directory.open()
    return LogWriter(directory, options, FakeClock(), ListLog(), salts=lambda: b"salty!!!", keys=keys)


@pytest.mark.parametrize("operation", ["pwritev", "fdatasync"])
async def test_no_nonce_is_used_twice_whatever_fails(tmp_path: Path, operation: str) -> None:
    keys = Noting()
    for first in (3, 4, 7):
        faults = [Fault(operation, "*/logs/*.log", at, 5) for at in (first, first + 2, first + 5)]
        writer = writer_of(tmp_path, small_as("aes"), keys, faults)
        for number in range(60):
            message = stored(writer.reserve(1), CONTENT, number=number)
            begin_commit(writer, [message], [[CONTENT]])
            if number % 3 == 2:
                await writer.drain()
        await writer.drain()
        assert writer.counts.failures >= 3
        await writer.close()
    assert len(keys.used) > 150
    assert len(set(keys.used)) == len(keys.used)


async def write_log(path: Path, codec: str, keys: SpoolKeys, count: int = 5) -> tuple[int, list[ContentRef]]:
    writer = writer_of(path, small_as(codec), keys)
    refs = [
        await commit_and_wait(writer, [stored(writer.reserve(1), CONTENT, number=number)], [[CONTENT]])
        for number in range(count)
    ]
    await writer.close()
    return writer.number, refs


def read_all(path: Path, keys: SpoolKeys | None) -> tuple[int, list[Damage]]:
    """How many messages a scan of all logs finds whole, and the damage."""
    directory = SpoolDirectory(OsFiles(), str(path / "spool"))
    reader = FrameReader(directory, SMALL, keys)
    damage: list[Damage] = []
    found = 0
    for log in directory.logs():
        for scanned in reader.scan(log, damaged=damage.append):
            for change in scanned.changes:
                if isinstance(change, Stored):
                    assert reader.read(scanned.ref, change.first_entry)[1] == CONTENT
                    found += 1
    reader.close()
    return found, damage


async def test_logs_of_every_kind_and_key_are_read_beside_each_other(tmp_path: Path) -> None:
    for codec, versions in itertools.product(CODECS, ((1,), (1, 2))):
        await write_log(tmp_path, codec, spool_keys(*versions))
    assert read_all(tmp_path, spool_keys(1, 2)) == (5 * 2 * len(CODECS), [])


async def test_a_rotated_key_is_used_from_the_next_segment_on(tmp_path: Path) -> None:
    keys = spool_keys(1)
    writer = writer_of(tmp_path, small_as("aes"), keys)
    noise = [Random(number).randbytes(4_000) for number in range(30)]
    for number, content in enumerate(noise):
        if number == 10:
            keys._live.keys[2] = b"\2" * 32  # type: ignore[attr-defined]
        await commit_and_wait(writer, [stored(writer.reserve(1), content, number=number)], [[content]])
    await writer.close()
    directory = SpoolDirectory(OsFiles(), str(tmp_path / "spool"))
    counts = sealed_by_version(directory)
    assert counts.keys() == {0, 1, 2}  # 0 is the seal
    assert counts[1].frames + counts[2].frames == 30
    assert counts[1].frames > 10


async def test_a_missing_key_costs_its_frames_and_no_others(tmp_path: Path) -> None:
    await write_log(tmp_path, "aes", spool_keys(1))
    await write_log(tmp_path, "plain", spool_keys(1))
    await write_log(tmp_path, "both", spool_keys(1, 2))
    found, damage = read_all(tmp_path, spool_keys(2))
    assert found == 10
    assert len(damage) == 5
    assert all("key spool-1 is not in the key ring: put spool-1.key back" in each.reason for each in damage)
    found, damage = read_all(tmp_path, None)
    assert (found, len(damage)) == (5, 10)


async def test_one_frame_by_its_place_says_that_its_key_is_gone(tmp_path: Path) -> None:
    _, refs = await write_log(tmp_path, "aes", spool_keys(1))
    reader = FrameReader(SpoolDirectory(OsFiles(), str(tmp_path / "spool")), SMALL, spool_keys(2))
    with pytest.raises(KeyGoneError, match="spool-1"):
        reader.frame(refs[0])
    reader.close()


async def test_what_has_lost_its_key_is_in_quarantine_and_the_rest_in_the_queue(tmp_path: Path) -> None:
    await write_log(tmp_path, "aes", spool_keys(1))
    await write_log(tmp_path, "aes", spool_keys(1, 2), count=7)
    log = ListLog()
    path = str(tmp_path / "spool")
    engine = await EmbeddedEngine.open(OsFiles(), path, small_as("aes"), FakeClock(), log, keys=spool_keys(2))
    assert await engine.count(QueueFilter()) == 7
    await engine.close()
    told = [fields for _, event, fields in log.lines if event == "spool.damaged"]
    assert len(told) == 5
    assert all(SECRET not in read_file(OsFiles(), str(fields["kept"])) for fields in told)


async def test_a_frame_that_is_moved_with_all_checksums_right_is_refused(tmp_path: Path) -> None:
    """Whoever can write the disk can make CRCs; only the key binds a frame to its place."""
    number, refs = await write_log(tmp_path, "aes", spool_keys())
    path = SpoolDirectory(OsFiles(), str(tmp_path / "spool")).segment_path(number, 0)
    octets = bytearray(read_file(OsFiles(), path))
    header = parse_segment_header(bytes(octets[:HEADER_REGION]))
    assert header is not None
    first, second = refs[0], refs[1]
    assert first.length == second.length
    frame = parse_header(bytes(octets), header.salt, first.offset, first.offset)
    assert frame is not None
    payload = bytes(octets[first.offset + FRAME_HEADER : first.offset + first.length])
    crc, length = payload_checksum(payload, ())
    replayed = format_header(
        header.salt, second.offset, TYPE_CHANGES, frame.list_length, length, crc, frame.flags
    )
    octets[second.offset : second.offset + second.length] = replayed + payload
    write_atomic(OsFiles(), path, bytes(octets))
    found, damage = read_all(tmp_path, spool_keys())
    assert found == 4
    assert ["another place" in each.reason for each in damage] == [True]


@pytest.mark.parametrize("codec", ["aes", "both"])
async def test_no_file_of_an_encrypted_spool_holds_an_address_or_a_content(
    tmp_path: Path, codec: str
) -> None:
    path = tmp_path / "spool"
    engine = await EmbeddedEngine.open(
        OsFiles(), str(path), small_as(codec), FakeClock(), ListLog(), keys=spool_keys()
    )
    await engine.commit([stored(engine.reserve(1), CONTENT)], [[CONTENT]])
    await engine.hold(QueueFilter(), "root", "looking into it")
    await engine.index.checkpoint()
    await engine.crash()
    found = {each.name: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    assert b"looking into it" in b"".join(found.values()), "the checkpoint is looked into"
    for name, octets in found.items():
        assert SECRET not in octets, name
        assert b"user" not in octets, name  # the local part of samples
        assert b"sender" not in octets, name


async def open_with(path: Path, *versions: int, log: ListLog | None = None) -> EmbeddedEngine:
    return await EmbeddedEngine.open(
        OsFiles(),
        str(path / "spool"),
        small_as("aes"),
        FakeClock(),
        log or ListLog(),
        keys=spool_keys(*versions),
    )


async def test_mail_whose_key_was_mislaid_comes_back_with_it(tmp_path: Path) -> None:
    """Its segment is kept, whatever becomes of the rest."""
    await write_log(tmp_path, "aes", spool_keys(1))
    for _ in range(2):  # the second start knows of it from the quarantine alone
        engine = await open_with(tmp_path, 2)
        await engine.commit([stored(engine.reserve(1), CONTENT, number=9)], [[CONTENT]])
        await engine.purge(QueueFilter(), "me", "all that can be read")
        await engine.maintain()
        await engine.maintain()
        await engine.close()
    directory = SpoolDirectory(OsFiles(), str(tmp_path / "spool"))
    assert directory.segments(1) == [0]
    for name in OsFiles().listdir(f"{directory.path}/quarantine"):
        OsFiles().unlink(f"{directory.path}/quarantine/{name}")
    for name in OsFiles().listdir(directory.path):
        if name.startswith("checkpoint.sqlite"):
            OsFiles().unlink(f"{directory.path}/{name}")
    engine = await open_with(tmp_path, 1, 2)
    assert await engine.count(QueueFilter()) == 5
    await engine.close()


async def test_what_was_destroyed_on_purpose_keeps_no_segment(tmp_path: Path) -> None:
    class Destroyed(RingSpoolKeys):
        def cipher(self, version: int, salt: bytes, context: bytes) -> AesGcm:
            if version == 1:
                raise KeyAbsentError("key spool-1 was destroyed", destroyed=True)
            return super().cipher(version, salt, context)

    await write_log(tmp_path, "aes", spool_keys(1))
    engine = await EmbeddedEngine.open(
        OsFiles(),
        str(tmp_path / "spool"),
        small_as("aes"),
        FakeClock(),
        ListLog(),
        keys=Destroyed(FixedRing(1, 2)),
    )
    await engine.maintain()
    await engine.maintain()
    assert engine.index.directory.segments(1) == []
    await engine.close()

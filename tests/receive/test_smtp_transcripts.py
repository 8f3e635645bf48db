"""Every dialogue of tests/transcripts: whole, octet by octet, and over a live socket on both loops.

Lines: `C:` client line, `R:` client octets with escapes, `S:` server line (`*` stands for anything), `X:` the
server closes, `M:` a message was taken and `B:` its content behind the trace fields, `@` an option of the
listener, `@whole` marks a dialogue that means something only when sent in one piece, `#` why.
"""

import asyncio
import re
import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import uvloop

from outrider.model.flow import Submission
from tests.patience import PATIENCE_SECONDS

FOLDER = Path(__file__).parent.parent / "transcripts"
SCRIPTS = sorted(FOLDER.glob("*.smtp"))
REPEAT = re.compile(r"\{(.)\*(\d+)\}")


@dataclass
class Script:
    options: dict[str, Any]
    steps: list[tuple[str, bytes]] = field(default_factory=list)  # C octets, S pattern, X
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    whole: bool = False


def octets(text: str) -> bytes:
    text = REPEAT.sub(lambda match: match[1] * int(match[2]), text)
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1")


def read(path: Path) -> Script:
    settings: list[str] = []
    body: list[str] = []
    for line in path.read_text("utf-8").split("\n"):
        (settings if line.startswith("@ ") else body).append(line)
    script = Script(tomllib.loads("\n".join(line[2:] for line in settings)))
    for line in body:
        kind, text = line[:2], line[3:]
        if line == "@whole":
            script.whole = True
        elif kind == "C:":
            script.steps.append(("C", text.encode() + b"\r\n"))
        elif kind == "R:":
            script.steps.append(("C", octets(text)))
        elif kind in {"S:", "X:"}:
            script.steps.append((kind[0], text.encode()))
        elif kind == "M:":
            script.messages.append((text, b""))
        elif kind == "B:":
            script.messages[-1] = (script.messages[-1][0], octets(text))
        elif line and line[0] != "#":
            raise AssertionError(f"{path.name}: cannot read {line!r}")
    return script


def groups(script: Script) -> list[tuple[bytes, list[bytes], bool]]:
    """(client octets, server lines that answer them, closes) in order."""
    made: list[tuple[bytes, list[bytes], bool]] = [(b"", [], False)]
    for kind, text in script.steps:
        sent, expected, closes = made[-1]
        if kind == "C" and (expected or closes):
            made.append((text, [], False))
        elif kind == "C":
            made[-1] = (sent + text, expected, closes)
        elif kind == "S":
            expected.append(text)
        else:
            made[-1] = (sent, expected, True)
    return made


def check_lines(said: bytes, expected: list[bytes]) -> None:
    got = said.split(b"\r\n")
    assert got.pop() == b"", said
    assert len(got) == len(expected), (got, expected)
    for line, pattern in zip(got, expected, strict=True):
        escaped = re.sub(r"([\[?])", r"[\1]", pattern.decode())
        assert fnmatchcase(line.decode(), escaped), (line, pattern)


def check_messages(submissions: list[Submission], script: Script) -> None:
    assert len(submissions) == len(script.messages)
    for submission, (envelope, body) in zip(submissions, script.messages, strict=True):
        mail_from = submission.envelope.mail_from
        to = ",".join(str(recipient.address) for recipient in submission.envelope.recipients)
        assert f"from={mail_from or ''} to={to}" == envelope
        wire = submission.content.wire
        added = wire.index(b"\r\nDate: ")
        behind = wire[wire.index(b"\r\n", added + 2) + 2 :]
        assert behind == body
        assert wire[: submission.content.header_octets].endswith(b"\r\n")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("piece", [0, 1, 3], ids=["whole", "octets", "threes"])
async def test_in_memory(path: Path, piece: int, running_world: Any) -> None:
    script = read(path)
    if script.whole and piece:
        piece = 0
    async with running_world(**{"trusted_networks": (), **script.options}) as world:
        client = world.connect()
        for sent, expected, closes in groups(script):
            step = piece or max(1, len(sent))
            said = b""
            for start in range(0, len(sent), step):
                said += client.send(sent[start : start + step])
            for _ in range(50):
                said += client.take()
                if said.count(b"\r\n") >= len(expected):
                    break
                await asyncio.sleep(0)
            check_lines(said, expected)
            assert client.transport.closing is closes
        check_messages(world.intake.submissions, script)
        assert not [line for line in world.log.lines if line[0] == "error"]


async def over_a_socket(path: Path, running_world: Any) -> None:
    script = read(path)
    async with running_world(**{"trusted_networks": (), **script.options}) as world:
        server = await asyncio.get_running_loop().create_server(world.listener.protocol, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        for sent, expected, closes in groups(script):
            writer.write(sent)
            said = b"".join([await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS) for _ in expected])
            check_lines(said, expected)
            if closes:
                assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
        writer.close()
        server.close()
        check_messages(world.intake.submissions, script)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
async def test_over_a_socket(path: Path, running_world: Any) -> None:
    await over_a_socket(path, running_world)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_over_a_socket_on_uvloop(path: Path, running_world: Any) -> None:
    uvloop.run(over_a_socket(path, running_world))


def test_there_are_transcripts() -> None:
    assert len(SCRIPTS) >= 10

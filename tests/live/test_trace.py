"""The frame trace and the key log of real connections."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from carrick.addressing import parse_address
from carrick.errors import CarrickError
from carrick.files import KeyLog, LineFile
from carrick.identity import PrivateKey
from carrick.interfaces import Security
from carrick.transports.bytestream import ByteStreamConnection, Upgrader
from carrick.transports.bytestream.trace import FrameTrace
from carrick.transports.memory import MemoryTransport
from carrick.transports.security.noise import Noise
from carrick.transports.security.tls import Tls
from tests.support.plaintext import Plaintext
from tests.support.transports import MUXERS, Unlimited

SECRET = b"nobody may read this in a trace"
Lines = list[dict[str, Any]]


class Side:
    """A transport with a trace."""

    def __init__(self, security: Callable[[PrivateKey], Security], *muxers: str) -> None:
        self.key = PrivateKey.generate()
        self.raw: list[str] = []
        upgrader = Upgrader(
            [security(self.key)],
            {name: MUXERS[name] for name in muxers},
            trace=FrameTrace(self.raw.append),
        )
        self.transport = MemoryTransport(upgrader)

    @property
    def lines(self) -> Lines:
        return [json.loads(line) for line in self.raw]

    def of(self, **wanted: object) -> Lines:
        return [line for line in self.lines if wanted.items() <= line.items()]


async def talk(dialer: Side, listener: Side) -> None:
    """One connection with one stream each way, then an orderly end."""
    listening = await listener.transport.listen(parse_address("/memory/0"))

    async def serve() -> None:
        connection = await (await listening.accept()).upgrade(Unlimited())
        nursery.start_soon(connection.run)
        stream = await connection.accept_stream()
        assert await stream.receive_some() == SECRET
        await stream.send_all(SECRET * 1000)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        connection = await dialer.transport.dial(
            listening.address, listener.key.peer_id, budget=Unlimited()
        )
        nursery.start_soon(connection.run)
        stream = await connection.open_stream()
        await stream.send_all(SECRET)
        received = b""
        while data := await stream.receive_some():
            received += data
        assert received == SECRET * 1000
        await stream.aclose()
        assert isinstance(connection, ByteStreamConnection)
        assert connection.bytes_received > len(received) and connection.bytes_sent > len(SECRET)
        await connection.aclose(7)
    listening.close()


@pytest.mark.parametrize("security", [Noise, Tls, Plaintext])
@pytest.mark.parametrize("muxers", [("/yamux/1.0.0",), ("/mplex/6.7.0",), tuple(MUXERS)], ids=str)
async def test_both_sides_see_the_same_frames(
    security: Callable[[PrivateKey], Security], muxers: tuple[str, ...]
) -> None:
    dialer, listener = Side(security, *muxers), Side(security, *muxers)
    await talk(dialer, listener)
    for sender, receiver in ((dialer, listener), (listener, dialer)):
        sent, received = sender.of(direction="out"), receiver.of(direction="in")
        keys = ("event", "type", "flags", "stream", "length")
        if security is Plaintext and len(muxers) == 1 and sender is dialer:
            sent = sent[2:]  # the listener negotiated before there was a muxer
        seen = [[line.get(key) for key in keys] for line in received]
        told = [[line.get(key) for key in keys] for line in sent]
        if security is Plaintext and len(muxers) == 1 and sender is listener:
            seen = seen[2:]
        assert seen == told[: len(seen)] and len(seen) >= 2
    carried = sum(line["length"] for line in dialer.of(type="data", direction="in"))
    carried += sum(line["length"] for line in dialer.of(type="message", direction="in"))
    assert carried == 1000 * len(SECRET)
    assert not any(SECRET.decode() in line for line in dialer.raw + listener.raw)


async def test_the_story_of_a_connection() -> None:
    dialer, listener = Side(Noise, "/yamux/1.0.0"), Side(Noise, "/yamux/1.0.0")
    await talk(dialer, listener)
    lines = dialer.lines
    assert [line["event"] for line in lines[:3]] == ["upgrading", "secured", "multiplexed"]
    assert lines[0]["role"] == "client" and lines[0]["remote"].startswith("/memory/")
    assert lines[1]["protocol"] == "/noise"
    assert lines[2]["protocol"] == "/yamux/1.0.0" and lines[2]["inlined"] is True
    assert lines[-1]["event"] == "closed" and lines[-1]["code"] == 7 and not lines[-1]["remote"]
    assert listener.lines[-1]["code"] == 7 and listener.lines[-1]["remote"] is True
    assert {line["connection"] for line in lines} == {1}
    assert {line.get("peer", "") for line in lines} == {"", str(listener.key.peer_id)}
    times = [line["time"] for line in lines]
    assert times[0] == 0 and times == sorted(times)
    first = dialer.of(type="data", direction="out")[0]
    assert first["flags"] == ["syn"] and first["stream"] == 1


async def test_a_muxer_that_is_negotiated_on_the_fly() -> None:
    dialer = Side(Plaintext, "/yamux/1.0.0")
    await talk(dialer, Side(Plaintext, *MUXERS))
    for direction in ("out", "in"):
        messages = dialer.of(event="negotiation", direction=direction)
        assert [line["message"] for line in messages] == ["/multistream/1.0.0", "/yamux/1.0.0"]
    assert dialer.of(event="multiplexed")[0]["inlined"] is False


async def test_an_upgrade_that_fails() -> None:
    dialer, listener = Side(Noise, "/yamux/1.0.0"), Side(Noise, "/yamux/1.0.0")
    listening = await listener.transport.listen(parse_address("/memory/0"))

    async def serve() -> None:
        with pytest.raises(CarrickError):
            await (await listening.accept()).upgrade(Unlimited())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(CarrickError):
            await dialer.transport.dial(
                listening.address, PrivateKey.generate().peer_id, budget=Unlimited()
            )
    assert [line["event"] for line in dialer.lines] == ["upgrading", "failed"]
    assert dialer.lines[1]["error"].startswith("PeerIdMismatch: expected")
    assert listener.lines[-1]["event"] == "failed"
    listening.close()


@pytest.mark.parametrize(
    ("security", "line"),
    [
        (Noise, r"NOISE [0-9a-f]{64} [0-9a-f]{64} [0-9a-f]{64}"),
        (Tls, r"[A-Z_]+_SECRET(_0)? [0-9a-f]{64} ([0-9a-f]{64}|[0-9a-f]{96})"),
    ],
    ids=["noise", "tls"],
)
async def test_key_log(security: type[Noise] | type[Tls], line: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    path.write_text("# kept\n")
    path.chmod(0o600)
    with KeyLog(path) as keylog:
        await talk(
            Side(lambda key: security(key, keylog=keylog), "/yamux/1.0.0"),
            Side(security, "/yamux/1.0.0"),
        )
        lines = path.read_text().splitlines()  # before it is closed: each is there at once
    assert lines[0] == "# kept" and len(lines) > 1
    assert all(re.fullmatch(line, each) for each in lines[1:]), lines


def test_the_file_is_private_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    for number in range(2):
        with KeyLog(path) as keylog:
            keylog(f"line {number}")
        keylog("lost")
        keylog.close()
    assert path.read_text() == "line 0\nline 1\n"
    assert path.stat().st_mode & 0o777 == 0o600
    with LineFile(path, append=False) as file:
        file("anew")
    assert path.read_text() == "anew\n"


def test_a_file_that_others_may_read_gets_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.log"
    path.touch(mode=0o644)
    path.chmod(0o644)
    KeyLog(path).close()
    assert "chmod 600" in caplog.text


def test_a_file_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CarrickError, match="No such file"):
        KeyLog(tmp_path / "nowhere" / "keys.log")
    with pytest.raises(CarrickError, match="directory"):
        KeyLog(tmp_path)
    if os.path.exists("/dev/full"):
        keylog = KeyLog("/dev/full")
        keylog("no room")
        keylog("no room")
        keylog.close()
        assert caplog.text.count("written no further") == 1

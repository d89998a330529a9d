"""What the dialer says: identify, ping and perf."""

from __future__ import annotations

import secrets
import time

from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.io.utils import read_exactly
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID as PeerID

PING = TProtocol("/ipfs/ping/1.0.0")
PING_BYTES = 32
PERF = TProtocol("/perf/1.0.0")
BLOCK = 65536
MAX_IDENTIFY = 65536


async def read_some(stream: INetStream) -> bytes:
    """The next bytes, empty at the end."""
    try:
        return await stream.read(BLOCK)
    except StreamEOF:
        return b""


async def identify(host: IHost, peer: PeerID) -> tuple[str, list[str]]:
    stream = await host.new_stream(peer, [IDENTIFY])
    data = b""
    while chunk := await read_some(stream):
        data += chunk
        if len(data) > MAX_IDENTIFY:
            raise ValueError("identify answer is too long")
    await stream.close()
    message = parse_identify_response(data)
    return message.agent_version, list(message.protocols)


async def ping(host: IHost, peer: PeerID) -> float:
    """The round trip in milliseconds, without opening the stream.

    A stream for each ping: over QUIC, rust-libp2p does not answer a second one until something
    else wakes the connection.
    """
    stream = await host.new_stream(peer, [PING])
    sent = secrets.token_bytes(PING_BYTES)
    start = time.perf_counter()
    await stream.write(sent)
    received = await read_exactly(stream, PING_BYTES)
    elapsed = (time.perf_counter() - start) * 1000
    await stream.close()
    if received != sent:
        raise ValueError("the pong differs from the ping")
    return elapsed


async def transfer(
    host: IHost, peer: PeerID, up: int, down: int, write: int = BLOCK
) -> dict[str, float]:
    """The perf protocol: u64 of bytes wanted back, the upload, its end, then the download."""
    start = time.perf_counter()
    stream = await host.new_stream(peer, [PERF])
    await stream.write(down.to_bytes(8, "big"))
    block = bytes(write)
    for sent in range(0, up, write):
        await stream.write(block[: up - sent])
    await stream.close_write()
    chunk = await read_some(stream)
    uploaded = time.perf_counter()
    received = len(chunk)
    while chunk:
        chunk = await read_some(stream)
        received += len(chunk)
    end = time.perf_counter()
    if received != down:
        raise ValueError(f"received {received} bytes instead of {down}")
    return {
        "upload_bytes": up,
        "download_bytes": down,
        "upload_seconds": uploaded - start,
        "download_seconds": end - uploaded,
        "seconds": end - start,
    }

"""From an established QUIC connection to an authenticated session: CONNECT, then Noise on the first
stream.

Source: libp2p/specs, `webtransport/README.md`, "WebTransport HTTP endpoint" and "Security
Handshake".
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from carrick.errors import HandshakeError, StreamReset
from carrick.identity import PeerId, PublicKey
from carrick.interfaces import Role
from carrick.transports.quic.stream import QuicStream
from carrick.transports.security.noise import Noise, NoiseHandshake
from carrick.transports.webtransport.codes import NO_ERROR
from carrick.transports.webtransport.frames import HEADERS, encode_frame
from carrick.transports.webtransport.headers import (
    answer,
    connect_request,
    judge_request,
    status_of,
)
from carrick.transports.webtransport.http3 import (
    CONNECT_PROTOCOL,
    ENABLE_WEBTRANSPORT,
    WT_ENABLED,
    Http3,
)
from carrick.transports.webtransport.session import Request, Session

__all__ = ["connect", "serve"]

_MAX_INFORMATIONAL = 8  # responses of the 1xx kind before the one that counts


async def connect(
    http: Http3,
    noise: Noise,
    *,
    authority: str,
    peer: PeerId | None,
    hashes: Sequence[bytes],
) -> tuple[Session, PublicKey]:
    """As a client.

    Args:
        authority: host and port of the URL.
        hashes: multihashes of certificates that the server must confirm.

    Raises:
        HandshakeError: refused, or not confirmed (`PeerIdMismatch`: another identity was proven).
        Http3Error, StreamReset, ConnectionClosed.
    """
    await http.send_settings()
    settings = await http.receive_settings()
    if not settings.get(CONNECT_PROTOCOL) or not (
        settings.get(ENABLE_WEBTRANSPORT) or settings.get(WT_ENABLED)
    ):
        raise HandshakeError("the server speaks HTTP/3, but not WebTransport", protocol="h3")
    draft_15 = not settings.get(ENABLE_WEBTRANSPORT)
    session = Session(http)
    session.request = Request(await http.quic.open_stream())
    fields = connect_request(authority, draft_15=draft_15)
    await session.request.stream.send_all(encode_frame(HEADERS, fields))
    # Without waiting for the response, which is read on the way.
    handshake = noise.handshake(Role.CLIENT, expected_peer=peer, muxers=())
    stream = await session.open_stream()
    await stream.send_all(handshake.take_output())
    await _receive_response(session.request)
    await _finish(handshake, stream)
    missing = [each for each in hashes if each not in handshake.certhashes]
    if missing:
        raise HandshakeError(
            f"the server does not confirm {len(missing)} of {len(hashes)} certificate hashes",
            protocol="/noise",
        )
    with suppress(StreamReset):
        await stream.send_all(handshake.take_output(), eof=True)
    await stream.drain()  # nobody may carry the connection for a while
    assert handshake.session is not None
    return session, handshake.session.public_key


async def _receive_response(request: Request) -> None:
    for _ in range(_MAX_INFORMATIONAL):
        status = status_of(await request.receive_headers())
        if 200 <= status < 300:
            return
        if status >= 200:
            break
    raise HandshakeError(f"the server answers with HTTP status {status}", protocol="h3")


async def serve(http: Http3, noise: Noise, *, hashes: Sequence[bytes]) -> tuple[Session, PublicKey]:
    """As a server.

    Args:
        hashes: multihashes of our certificates, to confirm.

    Raises:
        HandshakeError: it is no client of ours, and was told so; or Noise failed.
        Http3Error, StreamReset, ConnectionClosed.
    """
    await http.send_settings()
    session = Session(http)
    request = await session.accept_request()
    fields = await request.receive_headers()
    await http.receive_settings()
    status = judge_request(fields)
    await request.stream.send_all(encode_frame(HEADERS, answer(status, fields)))
    if status != 200:
        await request.stream.aclose()
        await http.quic.aclose(NO_ERROR)
        raise HandshakeError(f"no WebTransport session: answered with {status}", protocol="h3")
    session.request = request
    handshake = noise.handshake(Role.SERVER, expected_peer=None, muxers=(), certhashes=hashes)
    stream = await session.accept_stream()
    await _finish(handshake, stream, answering=True)
    await _end(stream)
    assert handshake.session is not None
    return session, handshake.session.public_key


async def _finish(
    handshake: NoiseHandshake, stream: QuicStream, *, answering: bool = False
) -> None:
    """Read until the handshake is complete.

    Args:
        answering: send what it gives meanwhile.
    """
    while handshake.session is None:
        data = await stream.receive_some()
        if not data:
            raise HandshakeError("the peer ended the handshake", protocol="/noise")
        handshake.receive(data)
        if answering and (output := handshake.take_output()):
            await stream.send_all(output)


async def _end(stream: QuicStream) -> None:
    """End our side of the handshake's stream; browsers take a refusal to read for a failure."""
    with suppress(StreamReset):
        await stream.send_eof()

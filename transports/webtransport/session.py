"""The streams of a WebTransport session: headers on bidirectional streams, and the CONNECT stream
that the session lives as long as.

Sources: draft-ietf-webtrans-http3, sections 4.3, 4.6 and 6.
"""

from __future__ import annotations

from collections import deque

from carrick.errors import StreamReset
from carrick.interfaces import Role
from carrick.transports.quic.stream import QuicStream
from carrick.transports.webtransport import codes
from carrick.transports.webtransport.codes import Http3Error
from carrick.transports.webtransport.frames import (
    DATA,
    HEADERS,
    WEBTRANSPORT_STREAM,
    CapsuleReader,
    FrameReader,
    SessionClosed,
    encode_close,
    encode_frame,
)
from carrick.transports.webtransport.headers import Headers, decode_headers
from carrick.transports.webtransport.http3 import Http3, read_varint
from carrick.transports.webtransport.varint import decode_varint, encode_varint

__all__ = ["Request", "Session"]

MAX_EARLY = 16  # streams that came before their session (go-libp2p: a queue of 16)


class Request:
    """The CONNECT stream.

    Args:
        received: bytes that were read from it already.
    """

    def __init__(self, stream: QuicStream, received: bytes = b"") -> None:
        self.stream = stream
        self._frames = FrameReader()
        self._frames.feed(received)
        self._capsules = CapsuleReader()

    async def _next_frame(self) -> tuple[int, bytes] | None:
        while (frame := self._frames.next()) is None:
            data = await self.stream.receive_some()
            if not data:
                return None
            self._frames.feed(data)
        return frame

    async def receive_headers(self) -> Headers:
        """The next field section.

        Raises:
            Http3Error: malformed, or not there.
            StreamReset, ConnectionClosed.
        """
        frame = await self._next_frame()
        if frame is None:
            raise Http3Error("a request stream ended early", codes.FRAME_ERROR)
        if frame[0] != HEADERS:
            raise Http3Error("a request does not begin with headers", codes.FRAME_UNEXPECTED)
        return decode_headers(frame[1])

    async def wait_closed(self) -> SessionClosed:
        """Wait until the peer ends the session.

        Raises:
            Http3Error, ConnectionClosed.
        """
        try:
            while (frame := await self._next_frame()) is not None:
                kind, payload = frame
                if kind != DATA:
                    raise Http3Error("more headers on a CONNECT stream", codes.FRAME_UNEXPECTED)
                self._capsules.feed(payload)
                if (closed := self._capsules.next()) is not None:
                    return closed
        except StreamReset:
            pass
        return SessionClosed(0)


class Session:
    """One session of an HTTP/3 connection, and there is no other."""

    def __init__(self, http: Http3) -> None:
        self.request: Request | None = None
        """None until the client has asked."""
        self._http = http
        self._quic = http.quic
        self._opening: tuple[QuicStream, bytearray] | None = None
        self._early: deque[tuple[int, QuicStream]] = deque()

    @property
    def id(self) -> int:
        assert self.request is not None
        return self.request.stream.id

    # --- streams of ours --------------------------------------------------------------------------

    async def open_stream(self) -> QuicStream:
        """The header goes out with what is sent first."""
        stream = await self._quic.open_stream()
        header = encode_varint(WEBTRANSPORT_STREAM) + encode_varint(self.id)
        if self._quic.backend.credit(stream.id) >= len(header):
            self._quic.backend.write(stream.id, header)
        else:
            await stream.send_all(header)
        return stream

    # --- streams of the peer ----------------------------------------------------------------------

    async def accept_request(self) -> Request:
        """Server only: the first request. Streams of a session may come before it.

        Raises: ConnectionClosed, Http3Error.
        """
        while True:
            stream, head, session = await self._next()
            if session is None:
                return Request(stream, head)
            if len(self._early) < MAX_EARLY:
                self._early.append((session, stream))
            else:
                stream.reset(codes.BUFFERED_STREAM_REJECTED)

    async def accept_stream(self) -> QuicStream:
        """The peer's next stream of the session. Others are refused.

        Raises: ConnectionClosed, Http3Error.
        """
        while True:
            if self._early:
                session, stream = self._early.popleft()
            else:
                stream, _, found = await self._next()
                if found is None:
                    stream.reset(codes.REQUEST_REJECTED)  # one session is all that there is
                    continue
                session = found
            if session == self.id:
                return stream
            stream.reset(codes.BUFFERED_STREAM_REJECTED)

    async def _next(self) -> tuple[QuicStream, bytes, int | None]:
        """The next stream, what was read from it, and its session; None: it is a request.

        Nothing is lost if this is cancelled.
        """
        while True:
            if self._opening is None:
                self._opening = await self._quic.accept_stream(), bytearray()
            stream, head = self._opening
            try:
                whole = await self._read_head(stream, head)
            except StreamReset:
                whole = False
            self._opening = None
            if not whole:
                stream.reset(codes.STREAM_CREATION_ERROR)
                continue
            kind = decode_varint(head)
            assert kind is not None
            if kind[0] == WEBTRANSPORT_STREAM:
                session = decode_varint(head, kind[1])
                assert session is not None
                if session[0] % 4:
                    raise Http3Error(f"{session[0]} is no session's id", codes.ID_ERROR)
                return stream, b"", session[0]
            if self._quic.role is Role.CLIENT:
                raise Http3Error("a request of the server's", codes.STREAM_CREATION_ERROR)
            return stream, bytes(head), None

    @staticmethod
    async def _read_head(stream: QuicStream, head: bytearray) -> bool:
        """Read the first varint, and the session's id behind it. False if the stream ends."""
        kind = await read_varint(stream, head)
        if kind is not None and kind[0] == WEBTRANSPORT_STREAM:
            return await read_varint(stream, head, kind[1]) is not None
        return kind is not None

    # --- its end ----------------------------------------------------------------------------------

    def send_close(self, code: int) -> None:
        """Tell the peer, if its window lets us."""
        if self.request is not None:
            stream = self.request.stream.id
            message = encode_frame(DATA, encode_close(code))
            if self._quic.backend.credit(stream) >= len(message):
                self._quic.backend.write(stream, message, fin=True)
                self._quic.wrote()

"""A WebTransport session as a libp2p connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from carrick.errors import ConnectionClosed
from carrick.interfaces import Role
from carrick.transports.webtransport.codes import NO_ERROR, Http3Error
from carrick.transports.webtransport.http3 import Http3
from carrick.transports.webtransport.session import Session
from carrick.transports.webtransport.stream import WebTransportStream

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId, PublicKey

__all__ = ["WebTransportConnection"]

FAREWELL = 1.0  # s for the peer to end QUIC, too, after it has ended the session


class WebTransportConnection:
    """See `carrick.interfaces.MuxedConnection`.

    Args:
        public_key: what the peer has proven with Noise.
    """

    security = "/noise"
    muxer = "/webtransport"
    is_limited = False

    def __init__(
        self,
        http: Http3,
        session: Session,
        public_key: PublicKey,
        *,
        local_address: Multiaddr,
        remote_address: Multiaddr,
    ) -> None:
        self.public_key = public_key
        self.local_address = local_address
        self.remote_address = remote_address
        self._http = http
        self._quic = http.quic
        self._session = session
        self._closed_by: ConnectionClosed | None = None

    @property
    def peer_id(self) -> PeerId:
        return self.public_key.peer_id

    @property
    def role(self) -> Role:
        return self._quic.role

    @property
    def rtt(self) -> float | None:
        return self._quic.rtt

    @property
    def closed(self) -> bool:
        return self._quic.closed

    @property
    def stream_count(self) -> int:
        return self._quic.stream_count

    @property
    def bytes_received(self) -> int:
        return self._quic.bytes_received

    @property
    def bytes_sent(self) -> int:
        return self._quic.bytes_sent

    def closed_error(self) -> ConnectionClosed:
        by, code = self._closed_by, 0
        if by is not None:
            code = by.code
        elif self._http.failure is not None:
            by, code = ConnectionClosed(self._http.failure.message), 1
        else:
            by = self._quic.closed_error()  # with a code of HTTP/3's
        return ConnectionClosed(by.message, code=code, remote=by.remote, peer=self.peer_id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else 'open'} {self.role.value}>"

    # --- life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._http.serve)
            nursery.start_soon(self._watch)
            await self._quic.run()
            nursery.cancel_scope.cancel()

    async def _watch(self) -> None:
        """Wait for the peer to end the session, and follow."""
        assert self._session.request is not None
        try:
            closed = await self._session.request.wait_closed()
        except Http3Error as error:
            self._http.fail(error)
            return
        except ConnectionClosed:
            return
        if self._closed_by is None:
            self._closed_by = ConnectionClosed(
                closed.reason or "the peer closed the session", code=closed.code, remote=True
            )
        # What it sent before may still be under way.
        with trio.move_on_after(FAREWELL):
            await self._http.ended.wait()
        self._quic.abort(NO_ERROR)

    async def aclose(self, code: int = 0) -> None:
        if self._closed_by is None and not self.closed:
            self._closed_by = ConnectionClosed("we closed the connection", code=code)
            self._session.send_close(code)
        await self._quic.aclose(NO_ERROR)

    def abort(self, code: int = 0) -> None:
        if self._closed_by is None and not self.closed:
            self._closed_by = ConnectionClosed("the connection was aborted", code=code)
        self._quic.abort(NO_ERROR)

    # --- streams ----------------------------------------------------------------------------------

    async def open_stream(self) -> WebTransportStream:
        if self._closed_by is not None:
            raise self.closed_error()
        try:
            return WebTransportStream(self, await self._session.open_stream())
        except ConnectionClosed:
            raise self.closed_error() from None

    async def accept_stream(self) -> WebTransportStream:
        try:
            return WebTransportStream(self, await self._session.accept_stream())
        except ConnectionClosed:
            raise self.closed_error() from None
        except Http3Error as error:
            self._http.fail(error)
            raise self.closed_error() from None

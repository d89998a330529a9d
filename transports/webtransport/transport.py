"""The WebTransport transport: `/ip4|ip6/…/udp/…/quic-v1/webtransport/certhash/…`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import trio

from carrick.errors import DialError, ListenError, PeerTimeout, UnsupportedAddress
from carrick.identity import PrivateKey
from carrick.interfaces import Budget, Role
from carrick.transports.quic import EndpointPool
from carrick.transports.quic.connection import QuicConnection
from carrick.transports.quic.endpoint import Acceptor
from carrick.transports.quic.tls import Profile
from carrick.transports.security.noise import Noise
from carrick.transports.webtransport.address import Place, find_place, webtransport_address
from carrick.transports.webtransport.certificates import Certificates, check_certificate
from carrick.transports.webtransport.codes import NO_ERROR
from carrick.transports.webtransport.connection import WebTransportConnection
from carrick.transports.webtransport.http3 import Http3
from carrick.transports.webtransport.upgrade import connect, serve

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId, PublicKey
    from carrick.transports.webtransport.session import Session

__all__ = ["WebTransportTransport"]

ALPN = "h3"
QUIC_TIMEOUT = 5.0  # s for QUIC's handshake, as the QUIC transport
HANDSHAKE_TIMEOUT = 10.0  # s for all that follows (go p2p/transport/webtransport/listener.go)


def _now() -> datetime:
    return datetime.now(UTC)


class WebTransportTransport:
    """See `carrick.interfaces.Transport`.

    Args:
        key: the host key. The certificates of a server follow from it.
        pool: where endpoints are shared with other transports over QUIC; None makes one.
        clock: the time of day, with a time zone.
    """

    def __init__(
        self,
        key: PrivateKey,
        *,
        pool: EndpointPool | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.pool = pool or EndpointPool()
        self._noise = Noise(key)
        self._clock = clock
        self._certificates = Certificates(key, clock=clock)

    def can_dial(self, address: Multiaddr) -> bool:
        return find_place(address) is not None

    def can_listen(self, address: Multiaddr) -> bool:
        place = find_place(address)
        return place is not None and not place.hashes

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        *,
        role: Role = Role.CLIENT,
        budget: Budget,
    ) -> WebTransportConnection:
        if role is not Role.CLIENT:
            raise UnsupportedAddress("WebTransport opens no holes in NATs", address=address)
        place = _require_place(address)
        if not place.hashes:
            raise UnsupportedAddress(
                "a WebTransport address without /certhash needs a certificate of a public "
                "authority, which is not supported",
                address=address,
            )
        try:
            endpoint = await self.pool.for_dial(place.endpoint)
        except OSError as error:
            raise DialError(error.strerror or str(error)) from error
        quic = endpoint.dial(place.endpoint, self._profile(place.hashes))
        quic.budget = budget
        quic.accepts_uni_streams = True
        http = Http3(quic)
        with trio.move_on_after(QUIC_TIMEOUT) as waiting:
            await quic.establish()
        if waiting.cancelled_caught:
            raise PeerTimeout(f"no answer within {QUIC_TIMEOUT:g} s")
        act = partial(
            connect,
            http,
            self._noise,
            authority=_authority(place),
            peer=peer,
            hashes=place.hashes,
        )
        session, key = await _within_deadline(http, act)
        return WebTransportConnection(
            http,
            session,
            key,
            local_address=webtransport_address(endpoint.local),
            remote_address=address,
        )

    def _profile(self, hashes: Sequence[bytes]) -> Profile:
        def check(chain: Sequence[bytes]) -> None:
            check_certificate(chain, accepted=hashes, now=self._clock())

        return Profile(ALPN, None, check)

    async def listen(self, address: Multiaddr) -> WebTransportListener:
        place = _require_place(address)
        if place.hashes:
            raise UnsupportedAddress(
                "the certificates to listen with are not chosen by /certhash", address=address
            )
        try:
            endpoint = await self.pool.bind(place.endpoint)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ListenError(f"cannot listen: {reason}", address=address) from error
        try:
            acceptor = endpoint.accept_protocol(ALPN, self._server_profile, uni_streams=True)
        except ValueError:
            raise ListenError("cannot listen: we do already", address=address) from None
        return WebTransportListener(acceptor, self._noise, self._certificates)

    def _server_profile(self) -> Profile:
        return Profile(ALPN, self._certificates.current.credentials, None)


class WebTransportListener:
    """See `carrick.interfaces.Listener`. The address changes when the certificates do."""

    def __init__(self, acceptor: Acceptor, noise: Noise, certificates: Certificates) -> None:
        self._acceptor = acceptor
        self._noise = noise
        self._certificates = certificates

    @property
    def address(self) -> Multiaddr:
        return webtransport_address(self._acceptor.endpoint.local, self._certificates.published)

    async def accept(self) -> WebTransportInbound:
        quic = await self._acceptor.accept()
        return WebTransportInbound(quic, self._acceptor, self._noise, self._certificates)

    def close(self) -> None:
        self._acceptor.close()


class WebTransportInbound:
    """See `carrick.interfaces.InboundConnection`."""

    def __init__(
        self,
        quic: QuicConnection,
        acceptor: Acceptor,
        noise: Noise,
        certificates: Certificates,
    ) -> None:
        self._http = Http3(quic)
        self._noise = noise
        self._certificates = certificates
        self.local_address = webtransport_address(acceptor.endpoint.local)
        self.remote_address = webtransport_address(quic.remote)

    async def upgrade(self, budget: Budget) -> WebTransportConnection:
        http = self._http
        http.quic.budget = budget
        await http.quic.establish()
        act = partial(serve, http, self._noise, hashes=self._certificates.confirmed)
        session, key = await _within_deadline(http, act)
        return WebTransportConnection(
            http,
            session,
            key,
            local_address=self.local_address,
            remote_address=self.remote_address,
        )

    def refuse(self) -> None:
        self._http.quic.refuse()


async def _within_deadline(
    http: Http3, act: Callable[[], Awaitable[tuple[Session, PublicKey]]]
) -> tuple[Session, PublicKey]:
    """What `act` gives; if that fails, the connection is closed."""
    try:
        with trio.fail_after(HANDSHAKE_TIMEOUT):
            return await http.during(act)
    except trio.TooSlowError:
        http.quic.abort(NO_ERROR)
        raise PeerTimeout(f"no session within {HANDSHAKE_TIMEOUT:g} s") from None
    except BaseException:
        http.quic.abort(NO_ERROR)
        raise


def _require_place(address: Multiaddr) -> Place:
    place = find_place(address)
    if place is None:
        raise UnsupportedAddress("not an address of the WebTransport transport", address=address)
    return place


def _authority(place: Place) -> str:
    host, port = place.endpoint
    host = host.partition("%")[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

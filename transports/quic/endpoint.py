"""One UDP socket for all that QUIC does there: listening, dialing and hole punching, for every
application protocol.

Until a client's certificate was judged, a connection costs a bounded amount, and there are at most
`MAX_HALF_OPEN` of them; above `RETRY_ABOVE` only clients that have proven their address by a Retry.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from carrick.interfaces import Buffer, DatagramSocket, Endpoint, Role
from carrick.transports.interception import Interceptions
from carrick.transports.quic.attendance import Attendance, Seat
from carrick.transports.quic.connection import QuicConnection
from carrick.transports.quic.engine import CONNECTION_ID_LENGTH, Engine
from carrick.transports.quic.packets import (
    INITIAL,
    VERSION_1,
    LongHeader,
    encode_retry,
    encode_version_negotiation,
    parse_long,
)
from carrick.transports.quic.settings import EngineSettings
from carrick.transports.quic.tls import Profile
from carrick.transports.quic.tokens import AddressTokens

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Acceptor", "Interceptor", "UdpEndpoint"]

RETRY_ABOVE = 64  # half-open connections, above which clients prove their address first
MAX_HALF_OPEN = 1000
HANDSHAKE_TIMEOUT = 10.0  # s
BACKLOG = 128  # connections of one application protocol that wait to be accepted
DATAGRAMS_PER_TURN = 64  # that are read before other tasks get their turn
RECEIVE_SIZE = 65535
MIN_INITIAL = 1200  # bytes of a client's first datagram (RFC 9000 section 14.1)
MIN_CLIENT_ID = 8  # bytes of its first destination id (RFC 9000 section 7.2)
_FAREWELLS = 256
_REPEATS = 3


class Interceptor(Protocol):
    """What waits for a peer at an IP address, whatever its port: a hole punch."""

    def profile(self) -> Profile:
        """For the handshake of what arrives, as in `accept_protocol`."""

    def take(self, connection: QuicConnection) -> bool:
        """Take a `libp2p` connection, before any acceptor; False: it is none for us."""

    def heard(self, source: Endpoint) -> bool:
        """A datagram of no connection came from there. Whether that concerned us."""


class Acceptor:
    """Takes the connections of one application protocol (ALPN).

    Args:
        profile: makes the handshake's profile for each connection.
        uni_streams: whether its peers may open unidirectional streams, and send datagrams.
    """

    def __init__(
        self, endpoint: UdpEndpoint, alpn: str, profile: Callable[[], Profile], uni_streams: bool
    ) -> None:
        self.endpoint = endpoint
        self.alpn = alpn
        self.profile = profile
        self.closed = False
        self._uni_streams = uni_streams
        self._waiting: deque[QuicConnection] = deque()
        self._seat = Seat()

    def deliver(self, connection: QuicConnection) -> bool:
        """False if too many wait already."""
        if self.closed or len(self._waiting) >= BACKLOG:
            return False
        # Now: the first streams may be in the datagram that completes the handshake.
        connection.accepts_uni_streams = self._uni_streams
        self._waiting.append(connection)
        self._seat.call()
        return True

    async def accept(self) -> QuicConnection:
        """The next connection. Its handshake is under way: see `QuicConnection.establish`.

        Raises:
            trio.ClosedResourceError: the acceptor was closed.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self.closed:
                raise trio.ClosedResourceError("the listener was closed")
            while self._waiting:
                connection = self._waiting.popleft()
                return connection
            await self.endpoint.attend(self._seat)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            while self._waiting:
                self._waiting.popleft().refuse()
            self._seat.call()
            self.endpoint.forget_acceptor(self)


class UdpEndpoint:
    """A bound socket and the QUIC connections on it. It closes when nobody uses it any more.

    Args:
        closed: called once, when it has closed.
    """

    def __init__(
        self,
        socket: DatagramSocket,
        settings: EngineSettings,
        *,
        closed: Callable[[UdpEndpoint], None] = lambda endpoint: None,
    ) -> None:
        self.local: Endpoint = socket.local
        self.settings = settings
        self.closed = False
        self.max_train = socket.max_train
        self._socket = socket
        self._on_closed = closed
        self._connections: dict[bytes, QuicConnection] = {}
        self._open: set[QuicConnection] = set()
        self._half_open: dict[QuicConnection, float] = {}
        self._acceptors: dict[str, Acceptor] = {}
        self._interceptions: Interceptions[Interceptor] = Interceptions()
        self._farewells: OrderedDict[bytes, tuple[list[int], bytes, Endpoint]] = OrderedDict()
        self._tokens = AddressTokens(os.urandom(32))
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))
        self._attendance = Attendance(self._read)
        self.attend = self._attendance.attend

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._open)} connections"
        return f"<{type(self).__name__} {self.local[0]}:{self.local[1]} {state}>"

    @property
    def connection_count(self) -> int:
        return len(self._open)

    @property
    def half_open_count(self) -> int:
        return len(self._half_open)

    # --- what it is used for ----------------------------------------------------------------------

    def accept_protocol(
        self, alpn: str, profile: Callable[[], Profile], *, uni_streams: bool = False
    ) -> Acceptor:
        """Accept connections that negotiate `alpn`.

        Args:
            profile: makes the profile (certificate, judge of the client's one) of each connection.
            uni_streams: whether unidirectional streams and datagrams of theirs are wanted.

        Raises:
            ValueError: somebody does already.
        """
        if alpn in self._acceptors:
            raise ValueError(f"connections for {alpn} are accepted on this endpoint already")
        acceptor = self._acceptors[alpn] = Acceptor(self, alpn, profile, uni_streams)
        return acceptor

    def accepts(self, alpn: str) -> bool:
        return alpn in self._acceptors

    def dial(
        self, remote: Endpoint, profile: Profile, *, server_name: str | None = None
    ) -> QuicConnection:
        """Begin a connection; `QuicConnection.establish` completes it."""
        engine = Engine(
            {profile.alpn: profile}, self.settings, is_client=True, server_name=server_name
        )
        connection = QuicConnection(self, engine, Role.CLIENT, remote)
        self._add(connection, (engine.local_id,))
        engine.start((remote[0].partition("%")[0], remote[1]), trio.current_time())
        connection.flush()
        return connection

    def intercept(self, remote: Endpoint, interceptor: Interceptor) -> Callable[[], None]:
        """Tell `interceptor` first about what comes from the IP address of `remote`.

        Returns what ends that.
        """
        release = self._interceptions.add(remote, interceptor)

        def end() -> None:
            release()
            self._close_if_unused()

        return end

    async def read_for_others(self) -> None:
        """Take part in reading, until cancelled."""
        await self.attend(Seat())

    def send(self, data: Buffer, segment: int, remote: Endpoint) -> bool:
        """Send datagrams; False if the system takes none at present."""
        if self.closed:
            return True
        try:
            return self._socket.send(data, segment, remote)
        except OSError:
            if len(data) <= segment:
                return True  # as if it was lost
        # The system offers trains, and this device cannot send them.
        self.max_train = 1
        view = memoryview(data)
        for at in range(0, len(data), segment):
            self.send(view[at : at + segment], segment, remote)
        return True

    # --- what connections tell --------------------------------------------------------------------

    def add_id(self, connection: QuicConnection, id: bytes) -> None:
        self._connections[id] = connection
        connection.ids.add(id)

    def remove_id(self, connection: QuicConnection, id: bytes) -> None:
        connection.ids.discard(id)
        if self._connections.get(id) is connection:
            del self._connections[id]

    def negotiated(self, connection: QuicConnection, alpn: str) -> bool:
        """The protocol of an inbound connection is known; False if nobody wants it."""
        if (
            self._interceptions
            and alpn == "libp2p"
            and self._interceptions.offer(connection.remote, lambda each: each.take(connection))
        ):
            return True
        return self._deliver(connection, alpn)

    def hand_over(self, connection: QuicConnection) -> None:
        """An interceptor leaves an inbound connection to whoever accepts its protocol."""
        if not self._deliver(connection, connection.alpn):
            connection.refuse()

    def _deliver(self, connection: QuicConnection, alpn: str | None) -> bool:
        acceptor = None if alpn is None else self._acceptors.get(alpn)
        return acceptor is not None and acceptor.deliver(connection)

    def established(self, connection: QuicConnection) -> None:
        self._half_open.pop(connection, None)

    def forget(self, connection: QuicConnection, farewell: bytes | None) -> None:
        """The connection has ended.

        Args:
            farewell: what told the peer so; said again, a few times, if it has not heard it.
        """
        repeats = [_REPEATS]
        for id in tuple(connection.ids):
            self.remove_id(connection, id)
            if farewell is not None:
                self._farewells[id] = (repeats, farewell, connection.remote)
        while len(self._farewells) > _FAREWELLS:
            self._farewells.popitem(last=False)
        self._half_open.pop(connection, None)
        self._open.discard(connection)
        self._close_if_unused()

    def forget_acceptor(self, acceptor: Acceptor) -> None:
        if self._acceptors.get(acceptor.alpn) is acceptor:
            del self._acceptors[acceptor.alpn]
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not (self.closed or self._acceptors or self._open or self._interceptions):
            self.closed = True
            self._socket.close()
            self._on_closed(self)

    # --- receiving --------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read and dispatch, until cancelled."""
        socket, buffer = self._socket, self._buffer
        touched: dict[QuicConnection, None] = {}
        handled = 0
        while not self.closed:
            train = socket.recv_into(buffer)
            if train is not None:
                size, segment, sender = train
                if segment:
                    self._dispatch(bytes(buffer[:size]), segment, sender, touched)
                    handled += 1 + size // segment
                if handled < DATAGRAMS_PER_TURN:
                    continue
            self._flush(touched)
            touched.clear()
            handled = 0
            if train is not None:
                await trio.lowlevel.checkpoint()
            elif not self.closed:
                with suppress(trio.ClosedResourceError):
                    await socket.wait_readable()
        await trio.sleep_forever()  # until called: whoever waits learns that it is over

    @staticmethod
    def _flush(connections: Iterable[QuicConnection]) -> None:
        for connection in connections:
            connection.flush()

    def _dispatch(
        self, train: bytes, segment: int, sender: Endpoint, touched: dict[QuicConnection, None]
    ) -> None:
        """Hand the datagrams to their connections, in runs of the same one."""
        at, size = 0, len(train)
        while at < size:
            id = _destination(train, at)
            end = at + segment
            if train[at] & 0x80 == 0:
                # The usual case, in few steps: the rest of the train has the same id.
                while (
                    end < size
                    and train[end] & 0x80 == 0
                    and train[end + 1 : end + 1 + CONNECTION_ID_LENGTH] == id
                ):
                    end += segment
            connection = self._connections.get(id)
            if connection is not None:
                run = train if at == 0 and end >= size else train[at:end]
                connection.receive(run, segment, sender)
                touched[connection] = None
            else:
                for start in range(at, min(end, size), segment):
                    self._receive_stray(train[start : start + segment], sender, touched)
            at = end

    def _receive_stray(
        self, datagram: bytes, sender: Endpoint, touched: dict[QuicConnection, None]
    ) -> None:
        """A datagram of no connection: the first of a new one, or else nothing is said."""
        if self._interceptions:
            self._interceptions.offer(sender, lambda each: each.heard(sender), in_turn=False)
        id = _destination(datagram, 0)
        if (connection := self._connections.get(id)) is not None:  # born a moment ago
            connection.receive(datagram, len(datagram), sender)
            return
        if (farewell := self._farewells.get(id)) is not None:
            repeats, words, remote = farewell
            if repeats[0] and len(words) <= len(datagram):
                repeats[0] -= 1
                self.send(words, len(words), remote)
            return
        header = parse_long(datagram)
        if header is None or len(datagram) < MIN_INITIAL:
            return
        if header.version != VERSION_1:
            if header.version:
                answer = encode_version_negotiation(header, os.urandom(1)[0] & 0x7F)
                self.send(answer, len(answer), sender)
            return
        if header.kind == INITIAL and len(header.destination) >= MIN_CLIENT_ID:
            self._receive_initial(header, datagram, sender, touched)

    def _receive_initial(
        self,
        header: LongHeader,
        datagram: bytes,
        sender: Endpoint,
        touched: dict[QuicConnection, None],
    ) -> None:
        now = trio.current_time()
        profiles = self._profiles(sender)
        if not profiles:
            return
        self._expire(now)
        original: bytes | None = None
        if header.token:
            original = self._tokens.original_id(header.token, sender, header.destination, now)
        if original is None and len(self._half_open) >= RETRY_ABOVE:
            retry_id = os.urandom(CONNECTION_ID_LENGTH)
            token = self._tokens.issue(sender, header.destination, retry_id, now)
            answer = encode_retry(header, retry_id, token)
            self.send(answer, len(answer), sender)
            return
        if len(self._half_open) >= MAX_HALF_OPEN:
            return
        engine = Engine(
            profiles,
            self.settings,
            is_client=False,
            original_id=header.destination if original is None else original,
            retry_id=None if original is None else header.destination,
        )
        connection = QuicConnection(self, engine, Role.SERVER, sender)
        self._half_open[connection] = now
        self._add(connection, (engine.local_id, header.destination))
        connection.receive(datagram, len(datagram), sender)
        if engine.is_genuine:
            touched[connection] = None
        else:
            connection.vanish("the first packet was none")

    def _profiles(self, sender: Endpoint) -> Mapping[str, Profile]:
        profiles = {alpn: acceptor.profile() for alpn, acceptor in self._acceptors.items()}
        if (waiting := self._interceptions.first(sender)) is not None:
            profile = waiting.profile()
            profiles.setdefault(profile.alpn, profile)
        return profiles

    def _expire(self, now: float) -> None:
        """Forget clients that did not get on with their handshake."""
        while self._half_open:
            oldest, began = next(iter(self._half_open.items()))
            if now - began < HANDSHAKE_TIMEOUT:
                return
            oldest.vanish("no handshake in time")

    def _add(self, connection: QuicConnection, ids: Iterable[bytes]) -> None:
        self._open.add(connection)
        for id in ids:
            self.add_id(connection, id)


def _destination(train: bytes, at: int) -> bytes:
    """The destination id of the packet that begins at `at`."""
    if train[at] & 0x80:
        length = train[at + 5] if at + 5 < len(train) else 0
        return train[at + 6 : at + 6 + length]
    return train[at + 1 : at + 1 + CONNECTION_ID_LENGTH]

"""The QUIC library behind the seam: qh3, whose packet core is in Rust.

Pinned to 2.1: parts of it that are no public interface are used, each named here or in `tls`.
`_create_core`, `_create_tls` and `_drain_core` of `QuicConnection` are replaced: with our limits,
our TLS, and events that go nowhere before the peer's certificate was judged.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from qh3 import tls
from qh3._hazmat import QuicConnectionCore
from qh3.quic import events as native
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.tls_bridge import QuicTlsBridgeError

from carrick.errors import HandshakeError
from carrick.identity import PublicKey
from carrick.interfaces import Buffer, Endpoint
from carrick.transports.quic import errors
from carrick.transports.quic.backend import (
    Closed,
    ConnectionIdIssued,
    ConnectionIdRetired,
    DatagramReceived,
    Established,
    Event,
    Negotiated,
    PathChanged,
    StopSending,
    StreamData,
    StreamFinished,
    StreamReset,
    StreamsAvailable,
    WindowOpened,
)
from carrick.transports.quic.credit import Credit
from carrick.transports.quic.endings import Endings
from carrick.transports.quic.grants import Grants
from carrick.transports.quic.initials import InitialTranslator
from carrick.transports.quic.packets import parse_long
from carrick.transports.quic.partial_resets import PartialResets
from carrick.transports.quic.settings import EngineSettings
from carrick.transports.quic.tls import Bridge, Profile

__all__ = ["CONNECTION_ID_LENGTH", "Engine"]

CONNECTION_ID_LENGTH = 8  # bytes of our connection ids
VERSION = 1  # RFC 9000
_UNBOUNDED = 1 << 61  # a window that the core never extends by itself
_ENOUGH = 3  # polls without output; one may have come some nanoseconds too early
_NO_ROOM = "packet builder capacity exhausted"  # qh3's words
_ACK_DELAY = 0.025  # s, the default of RFC 9000 section 18.2


# Its annotations are of another interface, and of attributes that begin as None.
_Connection: Any = QuicConnection


class Engine(_Connection):  # type: ignore[misc]
    """One connection; see `Backend`.

    Args:
        profiles: how we handshake, by ALPN, best first; a client has one.
        original_id: server only: the destination id of the client's first packet, ever.
        retry_id: server only: the source id of our Retry, if there was one.
    """

    def __init__(
        self,
        profiles: Mapping[str, Profile],
        settings: EngineSettings,
        *,
        is_client: bool,
        server_name: str | None = None,
        original_id: bytes | None = None,
        retry_id: bytes | None = None,
    ) -> None:
        credentials = next(iter(profiles.values())).credentials
        super().__init__(
            configuration=QuicConfiguration(
                alpn_protocols=list(profiles),
                certificate=None if credentials is None else credentials.certificate,
                connection_id_length=CONNECTION_ID_LENGTH,
                idle_timeout=settings.idle_timeout,
                is_client=is_client,
                max_data=settings.connection_window,
                max_datagram_frame_size=settings.max_datagram_frame,
                max_datagram_size=settings.datagram_size,
                max_stream_data=settings.stream_window,
                private_key=None if credentials is None else credentials.private_key,
                active_connection_id_limit=4,
                server_name=server_name,
                supported_versions=[VERSION],
                verify_mode=ssl.CERT_NONE,  # no authority signs: `tls` judges the certificate
            ),
            original_destination_connection_id=original_id,
            retry_source_connection_id=retry_id,
        )
        self._core: Any  # QuicConnectionCore; None before the first packet
        self._profiles = profiles
        self._settings = settings
        self._bridge: Bridge | None = None
        self._queue: deque[Event] = deque()
        self._closed = False
        self._grants: Grants | None = None
        self._initials: InitialTranslator | None = None  # until the handshake is complete
        self._partial_resets: PartialResets | None = None
        self._credit: Credit | None = None  # since the handshake is complete
        self._endings = Endings()
        self._empty_polls = 0  # in a row
        self._resting = False

    # --- what it is -------------------------------------------------------------------------------

    @property
    def local_id(self) -> bytes:
        return bytes(self.host_cid)

    @property
    def peer_chain(self) -> Sequence[bytes]:
        return self._bridge.peer_chain if self._bridge is not None else ()

    @property
    def peer_key(self) -> PublicKey | None:
        return self._bridge.context.peer_key if self._bridge is not None else None

    @property
    def failure(self) -> HandshakeError | None:
        return self._bridge.failure if self._bridge is not None else None

    @property
    def rtt(self) -> float | None:
        return self._core.smoothed_rtt if self._core is not None else None

    @property
    def all_acknowledged(self) -> bool:
        return self._core is None or self._core.bytes_in_flight == 0

    @property
    def is_genuine(self) -> bool:
        """A packet came that was made with the keys of this connection."""
        return self._core is not None and self._core.received_authenticated_packet

    @property
    def remote(self) -> Endpoint:
        """Where the peer is at present."""
        assert self._core is not None
        host, port = self._core.active_path[2][:2]
        return host, port

    # --- datagrams and timers ---------------------------------------------------------------------

    def start(self, remote: Endpoint, now: float) -> None:
        """Client only: begin the handshake."""
        self.connect(remote, now)

    def receive(self, train: bytes, segment: int, source: Endpoint, now: float) -> None:
        self._empty_polls = 0
        try:
            if self._handshake_complete:
                if self._partial_resets is not None:
                    train = self._partial_resets.translate(train, segment)
                self._core.receive_gro_buffer(train, segment, source, now)
                self._drain_core()
                return
            if self._core is None and not self._is_client:
                self._meet(train)
            for at in range(0, len(train), segment):
                datagram = train[at : at + segment]
                if self._initials is not None:
                    datagram = self._initials.receive(datagram)
                self.receive_datagram(datagram, source, now)
            self._translate()
        except BaseException as error:
            self._fail(error)

    def _meet(self, datagram: bytes) -> None:
        """Look at a client's first datagram."""
        header = parse_long(datagram)
        if header is not None and not header.source:
            self._initials = InitialTranslator(header.destination, self.local_id)

    def poll(self, now: float, most: int) -> list[tuple[bytes, tuple[Any, ...]]]:
        datagrams: list[tuple[bytes, tuple[Any, ...]]] = []
        core = self._core
        if core is None or self._resting:
            self._resting = False
            return datagrams
        try:
            if self._endings.take_nudge():
                core.send_ping(0)
            if self._grants is not None and self._grants.pending and not self._closed:
                if (granting := self._poll_granting(core, self._grants, now)) is None:
                    return datagrams
                datagrams.append(granting)
            poll_transmit = core.poll_transmit
            while len(datagrams) < most and (transmit := poll_transmit(now)) is not None:
                datagrams.append(transmit[:2])
            if self._endings and datagrams:
                self._endings.sent(self._outstanding())
            if self._initials is not None:
                translate = self._initials.send
                datagrams = [(translate(data), to) for data, to in datagrams]
        except BaseException as error:
            # Frames are not cut to what an address that is not validated yet may get.
            if str(error) != _NO_ROOM:
                self._fail(error)
        self._empty_polls = 0 if datagrams else self._empty_polls + 1
        return datagrams

    def _poll_granting(
        self, core: QuicConnectionCore, grants: Grants, now: float
    ) -> tuple[bytes, tuple[Any, ...]] | None:
        if grants.begin(now, self.rtt):
            core.send_ping(grants.uid)
        if (transmit := core.poll_transmit(now)) is None:
            return None
        return grants.ride(transmit[0], self._outstanding()[::-1]), transmit[1]

    def next_timer(self) -> float | None:
        if self._core is None:
            return None
        timer = self._core.get_timer()
        deadline = None if timer is None else timer[1]
        if self._grants is not None and self._grants.deadline is not None:
            again = self._grants.deadline
            return again if deadline is None else min(deadline, again)
        return deadline

    def on_timer(self, now: float) -> None:
        try:
            if self._grants is not None:
                self._grants.on_timer(now)
            if (core := self._core) is not None:
                # The core's pacer asks to be polled again whenever it was polled, also if there is
                # nothing to send. So one that has had nothing to send is left alone.
                timer = core.get_timer()
                if self._empty_polls >= _ENOUGH and timer is not None and timer[0] == "pacing":
                    core.handle_timer(min(now, timer[1]))
                    timer = core.get_timer()
                    self._resting = timer is None or timer[1] > now
                if not self._resting:
                    core.handle_timer(now)
                self._drain_core()
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """A defect in the library ends this connection and nothing else.

        A panic of its Rust part comes as a BaseException; no other one is taken.
        """
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise error
        self._end(Closed(errors.INTERNAL_ERROR, f"QUIC failed: {error}", False, False))
        self._core = None

    # --- events -----------------------------------------------------------------------------------

    def next_event(self) -> Event | None:
        return self._queue.popleft() if self._queue else None

    def _end(self, closed: Closed) -> None:
        if not self._closed:
            self._closed = True
            self._queue.append(closed)

    def _translate(self) -> None:
        """Take over what qh3 itself reports: of TLS, and of version negotiation."""
        while self._events:
            match self._events.popleft():
                case native.ProtocolNegotiated(alpn_protocol=str(alpn)):
                    self._queue.append(Negotiated(alpn))
                case native.HandshakeCompleted(alpn_protocol=str(alpn)):
                    assert self._bridge is not None and self._bridge.send_secret is not None
                    suite, secret = self._bridge.send_secret
                    peer_id = self._bridge.remote_initial_source_connection_id or b""
                    self._grants = Grants(suite, secret, len(peer_id))
                    parameters = self._bridge.remote_transport_parameters
                    assert parameters is not None  # since ALPN was negotiated
                    self._credit = Credit(parameters, is_client=self._is_client)
                    self._initials = None
                    if self._bridge.partial_resets and self._bridge.receive_secret is not None:
                        theirs = self._bridge.receive_secret
                        self._partial_resets = PartialResets(*theirs, CONNECTION_ID_LENGTH)
                    self._queue.append(Established(alpn))
                case native.ConnectionTerminated(error_code=code, reason_phrase=reason):
                    self._end(Closed(code, reason, False, True))

    def _drain_core(self) -> None:
        core, queue = self._core, self._queue
        while core is self._core and (event := core.next_event()) is not None:
            kind = event[0]
            if kind == "stream_data":
                queue.append(StreamData(event[1], event[2], event[3]))
            elif kind == "crypto_data":
                self._receive_crypto(event)
            elif kind == "stream_finished":
                if self._grants is not None and self._credit is not None:
                    self._grants.forget(event[1])
                    self._credit.forget(event[1])
                queue.append(StreamFinished(event[1]))
            elif kind == "stream_reset":
                queue.append(StreamReset(event[1], event[2]))
            elif kind == "stop_sending":
                self._endings.forget(event[1])
                queue.append(StopSending(event[1], event[2]))
            elif kind == "datagram":
                queue.append(DatagramReceived(event[1]))
            elif kind == "stream_credit":
                if self._credit is not None:
                    self._credit.limits[event[1]] = event[2]
                queue.append(WindowOpened(event[1]))
            elif kind == "connection_credit":
                if self._credit is not None:
                    self._credit.limit = event[1]
                queue.append(WindowOpened(None))
            elif kind == "streams_available":
                queue.append(StreamsAvailable())
            elif kind == "ping_acknowledged":
                if self._grants is not None:
                    self._grants.acknowledged(event[1])
            elif kind == "peer_blocked":
                if self._grants is not None and event[1] is not None:
                    self._grants.repeat(event[1], event[2])
            elif kind == "handshake_done":
                self._handshake_confirmed = True
                core.handshake_confirmed()
            elif kind == "path_validated":
                queue.append(PathChanged(self.remote))
            elif kind == "connection_id_issued":
                queue.append(ConnectionIdIssued(event[1]))
            elif kind == "connection_id_retired":
                queue.append(ConnectionIdRetired(event[1]))
            elif kind == "peer_closed":
                reason = event[4].decode("utf8", "replace")
                self._end(Closed(event[2], reason, event[1], True))
            elif kind == "protocol_error":
                self._end(Closed(event[1], event[3], False, False))
            elif kind == "connection_terminated":
                reason = event[3].decode("utf8", "replace")
                self._end(Closed(event[1], reason, False, True))
        if self._endings:
            for stream in self._endings.release(self._outstanding(), core.loss_total):
                with suppress(ValueError, RuntimeError):
                    core.send_stream(stream, b"", True)

    def _receive_crypto(self, event: tuple[Any, ...]) -> None:
        _, epoch, offset, data = event
        try:
            self._tls.receive_crypto(tls.Epoch(epoch), data, offset, version=self._core.version)
            self._drain_tls()
        except QuicTlsBridgeError as error:
            self._core.close(error.error_code, int(error.frame_type), b"")
            self._end(Closed(error.error_code, error.reason_phrase, False, False))
        self._translate()

    # --- streams ----------------------------------------------------------------------------------

    def open_stream(self, *, unidirectional: bool = False) -> int | None:
        assert self._core is not None
        limits = self._core.stream_limits
        if limits[2 + unidirectional] >= limits[unidirectional]:
            return None
        return int(self._core.open_stream(unidirectional))

    def credit(self, stream: int) -> int:
        return 0 if self._credit is None or self._closed else self._credit.room(stream)

    def write(self, stream: int, data: Buffer, *, fin: bool = False) -> None:
        if self._credit is not None and self._core is not None and not self._closed:
            self._empty_polls = 0
            if fin and not data and self._credit.written(stream) and self._end_later(stream):
                return
            with suppress(ValueError, RuntimeError):  # it ended meanwhile: an event says so
                self._core.send_stream(stream, data, fin)
                self._credit.wrote(stream, len(data))

    def _end_later(self, stream: int) -> bool:
        """Whether the end of `stream` has to wait: see `endings`."""
        if self.unsent(stream) or not self._core.bytes_in_flight:
            return False
        self._endings.hold(stream, self._core.loss_total)
        return True

    def _outstanding(self) -> list[int]:
        return sorted(number for number, *_ in self._core.outstanding_application_packets)

    def unsent(self, stream: int | None = None) -> int:
        return 0 if self._core is None else self._core.get_send_buffer_size(stream)

    def reset(self, stream: int, code: int) -> None:
        if self._credit is not None and self._core is not None and not self._closed:
            self._empty_polls = 0
            with suppress(ValueError, RuntimeError):
                unsent = self._core.get_send_buffer_size(stream)
                self._endings.forget(stream)
                self._core.reset_stream(stream, code)
                self._credit.took_back(unsent)

    def stop(self, stream: int, code: int) -> None:
        if self._core is not None and not self._closed:
            self._empty_polls = 0
            with suppress(ValueError, RuntimeError):
                self._core.stop_sending(stream, code)

    def grant(self, stream: int, maximum: int) -> None:
        if self._grants is not None:
            self._grants.add(stream, maximum)

    def send_datagram(self, data: bytes) -> bool:
        if self._core is None or self._closed:
            return False
        try:
            self._core.send_datagram(data)
        except (ValueError, RuntimeError):
            return False
        return True

    def ping(self) -> None:
        if self._core is not None and not self._closed:
            self._core.send_ping(0)

    def close(self, code: int = 0, reason: str = "", *, application: bool = True) -> None:
        if self._core is not None and not self._closed:
            self._closed = True
            self._core.close(code, None if application else 0, reason.encode())

    # --- what replaces parts of QuicConnection ----------------------------------------------------

    def _create_core(self, remote_addr: Endpoint, initial_dcid: bytes, now: float) -> None:
        settings = self._settings
        self._core = QuicConnectionCore(
            is_client=self._is_client,
            version=VERSION,
            local_addr=("0.0.0.0", 0),
            remote_addr=remote_addr,
            source_cid=self.host_cid,
            destination_cid=initial_dcid if self._initials is None else b"",
            peer_address_validated=self._is_client or self._retry_source_connection_id is not None,
            active_connection_id_limit=self._configuration.active_connection_id_limit,
            max_datagram_size=settings.datagram_size,
            probe_datagram_size=True,
            idle_timeout=settings.idle_timeout,
            ack_delay_exponent=3,
            max_datagram_frame_size=settings.max_datagram_frame,
            peer_max_datagram_frame_size=None,
            connection_receive_window=settings.connection_window,
            connection_send_limit=0,
            stream_receive_window=_UNBOUNDED,  # see `grants`
            stream_send_limit_bidi_local=0,
            stream_send_limit_bidi_remote=0,
            stream_send_limit_uni=0,
            max_stream_reassembly=settings.max_stream_window,
            local_max_streams_bidi=settings.max_streams,
            local_max_streams_uni=settings.max_uni_streams,
            peer_max_streams_bidi=0,
            peer_max_streams_uni=0,
            initial_rtt=self._configuration.initial_rtt,
            max_ack_delay=_ACK_DELAY,
            initial_time=now,
        )
        self._applied_transport_parameters = None
        self._pre_handshake_state_replayed = False

    def _create_tls(self, remote_source_cid: bytes | None) -> Bridge:
        self._tls = self._bridge = Bridge(
            self._configuration,
            profiles=self._profiles,
            max_streams=(self._settings.max_streams, self._settings.max_uni_streams),
            version=VERSION,
            local_initial_source_connection_id=self.host_cid,
            # qh3 learns of one that is not empty; browsers have an empty one.
            remote_initial_source_connection_id=remote_source_cid or b"",
            original_destination_connection_id=self._original_destination_connection_id,
            retry_source_connection_id=self._retry_source_connection_id,
        )
        return self._bridge

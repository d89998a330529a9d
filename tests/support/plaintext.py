"""The security protocol `/plaintext/2.0.0`, for tests only: it encrypts and proves nothing.

Each side sends `varint length || Exchange`; everything behind it is the muxer's. Source:
libp2p/specs, plaintext/README.md::

    message Exchange {
      optional bytes id = 1;
      optional PublicKey pubkey = 2;
    }
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from carrick.errors import HandshakeError, IdentityError, PeerIdMismatch, ProtocolError
from carrick.identity import PeerId, PrivateKey, PublicKey
from carrick.interfaces import Buffer, Role, Session
from carrick.wire import FrameReader, decode_varint, encode_frame

MAX_EXCHANGE = 4096  # bytes; one with an RSA-8192 key has about 1.1 KiB
_ID, _PUBLIC_KEY = b"\x0a", b"\x12"  # protobuf tags: field number << 3 | 2


class Plaintext:
    """A `carrick.interfaces.Security` without any security."""

    id = "/plaintext/2.0.0"

    def __init__(self, key: PrivateKey) -> None:
        self._key = key.public_key

    def handshake(
        self, role: Role, *, expected_peer: PeerId | None, muxers: Sequence[str]
    ) -> PlaintextHandshake:
        """Begin a handshake. Both roles are the same; muxers cannot be offered."""
        return PlaintextHandshake(self._key, expected_peer)


class PlaintextHandshake:
    """One side of the exchange, without I/O: a `carrick.interfaces.Handshake`."""

    def __init__(self, key: PublicKey, expected_peer: PeerId | None) -> None:
        self._expected_peer = expected_peer
        self._output = encode_frame(encode_exchange(key.peer_id, key))
        self._frames = FrameReader(MAX_EXCHANGE)
        self._session: Session | None = None

    @property
    def session(self) -> Session | None:
        return self._session

    def receive(self, data: Buffer) -> None:
        """Take received bytes, cut anywhere.

        Raises:
            HandshakeError: malformed, or the id is not the key's.
            PeerIdMismatch: another peer than the expected one.
        """
        try:
            self._frames.feed(data)
            exchange = self._frames.next()
            if exchange is None:
                return
            key = decode_exchange(exchange)
        except (ProtocolError, IdentityError) as error:
            raise HandshakeError(f"the peer's exchange: {error}") from error
        if self._expected_peer is not None and key.peer_id != self._expected_peer:
            raise PeerIdMismatch(f"expected {self._expected_peer}, but {key.peer_id} is there")
        self._session = Session(key.peer_id, key, PlaintextRecords(), received=self._frames.rest())

    def take_output(self) -> bytes:
        output, self._output = self._output, b""
        return output


class PlaintextRecords:
    """Bytes as they are: a `carrick.interfaces.Records`."""

    max_plain = 65536
    overhead = 0

    def open_all(self, buffer: memoryview, lo: int, hi: int, sink: Callable[[bytes], None]) -> int:
        if lo < hi:
            sink(bytes(buffer[lo:hi]))
        return hi

    def seal(self, out: bytearray, at: int, pieces: Sequence[Buffer]) -> int:
        for piece in pieces:
            out[at : at + len(piece)] = piece
            at += len(piece)
        return at

    def closing(self) -> bytes:
        return b""


def encode_exchange(peer_id: PeerId, key: PublicKey) -> bytes:
    return _ID + encode_frame(peer_id.to_bytes()) + _PUBLIC_KEY + encode_frame(key.to_protobuf())


def decode_exchange(data: bytes) -> PublicKey:
    """The key of an Exchange, whose fields are in order and whose id is the key's.

    Raises:
        ProtocolError, IdentityError: it is anything else.
    """
    peer_id, at = _field(data, 0, _ID)
    public_key, at = _field(data, at, _PUBLIC_KEY)
    key = PublicKey.from_protobuf(public_key)
    if at != len(data) or key.peer_id != PeerId(peer_id):
        raise ProtocolError("the peer id is not the key's")
    return key


def _field(data: bytes, at: int, tag: bytes) -> tuple[bytes, int]:
    prefix = decode_varint(data, at + 1)
    if data[at : at + 1] != tag or prefix is None or prefix[0] > len(data) - prefix[1]:
        raise ProtocolError("malformed")
    end = prefix[1] + prefix[0]
    return data[prefix[1] : end], end

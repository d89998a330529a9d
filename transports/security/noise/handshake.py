"""The Noise handshake of one connection, without I/O.

Each message is `length (2 bytes, big-endian) || message`. Source: libp2p/specs, noise/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from carrick.errors import BothDialed, HandshakeError, PeerIdMismatch
from carrick.identity import PeerId
from carrick.interfaces import Buffer, Role, Session
from carrick.transports.security.noise.payload import (
    MAX_PAYLOAD,
    PeerPayload,
    open_payload,
    with_extensions,
)
from carrick.transports.security.noise.records import LENGTH_BYTES, TAG_BYTES, NoiseRecords
from carrick.transports.security.noise.xx import KEY_BYTES, XX, StaticKey

_SEALED_KEY = KEY_BYTES + TAG_BYTES
_LENGTHS = {  # of each message: shortest and longest
    1: (KEY_BYTES, KEY_BYTES),  # e; XX allows a payload in the clear, libp2p has none to send
    2: (KEY_BYTES + _SEALED_KEY + TAG_BYTES, KEY_BYTES + _SEALED_KEY + TAG_BYTES + MAX_PAYLOAD),
    3: (_SEALED_KEY + TAG_BYTES, _SEALED_KEY + TAG_BYTES + MAX_PAYLOAD),
}


class NoiseHandshake:
    """One side of a handshake.

    At most one incomplete message, its length checked before its bytes are awaited, is held
    beyond what the last `receive` was given: 16,482 bytes.

    Args:
        payload: our signed payload, without extensions.
        certhashes: multihashes of our WebTransport certificates.
        keylog: gets one line with the keys of the connection; see `Noise`.
    """

    def __init__(
        self,
        role: Role,
        *,
        static: StaticKey,
        payload: bytes,
        expected_peer: PeerId | None,
        muxers: Sequence[str],
        certhashes: Sequence[bytes] = (),
        keylog: Callable[[str], None] | None = None,
    ) -> None:
        self._role = role
        self._xx = XX(static, initiator=role is Role.CLIENT)
        self._muxers = tuple(muxers)
        self._payload = with_extensions(payload, self._muxers, tuple(certhashes))
        self._expected_peer = expected_peer
        self._keylog = keylog
        self._input = bytearray()
        self._output = bytearray()
        self._awaited = 1  # the number of the message that must come next
        self._failed = False
        self._session: Session | None = None
        self._certhashes: tuple[bytes, ...] = ()
        if role is Role.CLIENT:
            self._write(b"")
            self._awaited = 2

    @property
    def session(self) -> Session | None:
        """The outcome, None while the handshake runs and after it has failed."""
        return self._session

    @property
    def certhashes(self) -> tuple[bytes, ...]:
        """The peer's WebTransport certificate hashes (multihashes), unchecked; set with `session`.

        At most 100, in all at most 16 KiB.
        """
        return self._certhashes

    def receive(self, data: Buffer) -> None:
        """Take received bytes, cut anywhere.

        Raises:
            HandshakeError: the handshake failed (`PeerIdMismatch`: another identity was proven).
                Noise has no alerts: `take_output` is empty then.
        """
        if self._failed or self._session is not None:
            raise HandshakeError("the handshake is over", protocol="/noise")
        self._input += data
        try:
            while self._session is None:
                message = self._next_message()
                if message is None:
                    break
                self._handle(message)
        except HandshakeError:
            self._failed = True
            self._input.clear()
            self._output.clear()
            raise

    def take_output(self) -> bytes:
        """Bytes to send now; empty if there are none."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def _next_message(self) -> bytes | None:
        if len(self._input) < LENGTH_BYTES:
            return None
        size = int.from_bytes(self._input[:LENGTH_BYTES], "big")
        if self._awaited == 2 and size == KEY_BYTES:  # a first message
            raise BothDialed(
                f"message 2 of {size} bytes: the other side began the handshake too",
                protocol="/noise",
            )
        shortest, longest = _LENGTHS[self._awaited]
        if not shortest <= size <= longest:
            raise HandshakeError(
                f"message {self._awaited} of {size} bytes ({shortest} to {longest} allowed)",
                protocol="/noise",
            )
        end = LENGTH_BYTES + size
        if len(self._input) < end:
            return None
        message = bytes(self._input[LENGTH_BYTES:end])
        del self._input[:end]
        return message

    def _handle(self, message: bytes) -> None:
        payload = self._xx.read(message)
        if self._awaited == 1:
            self._write(self._payload)
            self._awaited = 3
            return
        peer = open_payload(payload, self._xx.peer_static)
        self._check_peer(peer.public_key.peer_id)
        if self._awaited == 2:
            self._write(self._payload)
        self._finish(peer)

    def _write(self, payload: bytes) -> None:
        message = self._xx.write(payload)
        self._output += len(message).to_bytes(LENGTH_BYTES, "big") + message

    def _check_peer(self, peer_id: PeerId) -> None:
        if self._expected_peer is not None and peer_id != self._expected_peer:
            raise PeerIdMismatch(
                f"expected {self._expected_peer}, but {peer_id} is there", protocol="/noise"
            )

    def _finish(self, peer: PeerPayload) -> None:
        sending, receiving = self._xx.keys()
        if self._keylog is not None:
            keys = (sending, receiving) if self._role is Role.CLIENT else (receiving, sending)
            words = (self._xx.initiator_ephemeral, *keys)
            self._keylog(" ".join(("NOISE", *(word.hex() for word in words))))
        self._certhashes = peer.certhashes
        self._session = Session(
            peer_id=peer.public_key.peer_id,
            public_key=peer.public_key,
            records=NoiseRecords(sending, receiving),
            muxer=self._choose_muxer(peer.muxers),
            received=bytes(self._input),
        )
        self._input.clear()

    def _choose_muxer(self, theirs: Sequence[str]) -> str | None:
        """The initiator's best muxer that the responder has too.

        Source: libp2p/specs, connections/inlined-muxer-negotiation.md.
        """
        ours = self._muxers
        initiator, responder = (ours, theirs) if self._role is Role.CLIENT else (theirs, ours)
        return next((muxer for muxer in initiator if muxer in responder), None)

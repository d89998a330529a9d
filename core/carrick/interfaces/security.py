"""Security protocols, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from carrick.interfaces.basic import Buffer, Role

if TYPE_CHECKING:
    from carrick.identity import PeerId, PublicKey

__all__ = ["Handshake", "Records", "Security", "Session"]


class Records(Protocol):
    """The transport phase of a security protocol: one cipher object and one counter a direction."""

    max_plain: int
    """The longest plaintext of one record, in bytes."""
    overhead: int
    """What sealing adds to a record at most, in bytes."""

    def open_all(self, buffer: memoryview, lo: int, hi: int, sink: Callable[[bytes], None]) -> int:
        """Hand the plaintext of each complete record in `buffer[lo:hi]` to `sink`, in order.

        Returns where the incomplete rest begins (`hi` if there is none). What is before it may be
        overwritten, if `buffer` can be.

        Raises:
            ProtocolError: a record is malformed or does not authenticate.
        """

    def seal(self, out: bytearray, at: int, pieces: Sequence[Buffer]) -> int:
        """Write one record of the joined `pieces` (at most `max_plain` bytes) at `out[at:]`.

        Returns the end of what was written. `out` is long enough: length + `overhead`.
        """

    def closing(self) -> bytes:
        """What says goodbye on the wire (TLS close_notify); empty if there is no such thing."""


@dataclass(frozen=True, slots=True)
class Session:
    """The outcome of a handshake: the other side's identity is proven."""

    peer_id: PeerId
    public_key: PublicKey
    records: Records
    muxer: str | None = None
    """The muxer that the handshake agreed on; None: negotiate one."""
    received: bytes = b""
    """Bytes that came behind the last handshake message: the first records."""


class Handshake(Protocol):
    """One side of a security handshake, without I/O.

    Feed received bytes, send what `take_output` gives after each feed (and once at the start),
    until `session` is there. The last output may come with the session: it must be sent.
    """

    @property
    def session(self) -> Session | None: ...

    def receive(self, data: Buffer) -> None:
        """Take received bytes, cut anywhere.

        Raises:
            HandshakeError: the handshake failed (`PeerIdMismatch`: another identity was proven).
                `take_output` may then hold an alert for the peer.
        """

    def take_output(self) -> bytes:
        """Bytes to send now; empty if there are none."""


class Security(Protocol):
    """A security protocol with our identity in it."""

    id: str
    """The protocol id, such as `/noise`."""

    def handshake(
        self, role: Role, *, expected_peer: PeerId | None, muxers: Sequence[str]
    ) -> Handshake:
        """Begin a handshake.

        Args:
            role: CLIENT sends first.
            expected_peer: refuse any other identity; None takes whoever is there.
            muxers: protocol ids of our muxers, best first, offered inside the handshake.
        """

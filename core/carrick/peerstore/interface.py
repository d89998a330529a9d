"""What a peerstore does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId, PublicKey

__all__ = ["Peerstore"]


class Peerstore(Protocol):
    """What is known of peers. Everything in it is bounded, expires, and may be wrong: what others
    say of a peer proves nothing until a connection does.

    Of a peer that is not connected, things other than addresses are kept for `RECENTLY_CONNECTED`
    after they were last told, and as long as it has an address.
    """

    # --- addresses --------------------------------------------------------------------------------

    def add_addresses(self, peer: PeerId, addresses: Iterable[Multiaddr], ttl: float) -> None:
        """Believe `addresses` for `ttl` seconds from now, or longer if they are already.

        A trailing `/p2p/<peer>` is taken off; addresses with another peer's id, or malformed, are
        left out. Of too many, those are kept that are permanent, that worked, that the peer has
        signed, and that expire last. A `ttl` of 0 or less adds nothing.

        Raises:
            ValueError: `ttl` is not a number.
        """

    def set_addresses(self, peer: PeerId, addresses: Iterable[Multiaddr], ttl: float) -> None:
        """As `add_addresses`, and forget all others that the peer did not sign."""

    def addresses(self, peer: PeerId) -> list[Multiaddr]:
        """Where `peer` may be, without `/p2p/`: signed ones first; what worked last before all
        others of its kind."""

    def clear_addresses(self, peer: PeerId) -> None:
        """Forget all addresses of `peer` and its signed record."""

    def consume_record(self, envelope: bytes, ttl: float) -> bool:
        """Take in a sealed peer record, from whomever it came.

        A newer one takes the place of the record before and of its addresses. The same one again
        only extends the time of its addresses.

        Returns:
            Whether it was newer than what was known.

        Raises:
            InvalidEnvelope: malformed, too large, or not signed by the peer that it is about.
        """

    def record(self, peer: PeerId) -> bytes | None:
        """The newest sealed peer record, to pass on."""

    # --- everything else --------------------------------------------------------------------------

    def set_protocols(self, peer: PeerId, protocols: Iterable[str]) -> None:
        """`peer` speaks these, and no others. Of too many, the first are kept."""

    def protocols(self, peer: PeerId) -> frozenset[str] | None:
        """What `peer` speaks; None if that is not known."""

    def set_metadata(self, peer: PeerId, name: str, value: str) -> None:
        """Note something about `peer`: `agent_version`, … Values are cut off at 256 bytes.

        Raises:
            ValueError: the name has more than 64 characters, or the peer has too many names.
        """

    def metadata(self, peer: PeerId) -> Mapping[str, str]:
        """What was noted about `peer`."""

    def add_key(self, peer: PeerId, key: PublicKey) -> None:
        """Note the public key of `peer`.

        Raises:
            InvalidKey: it is the key of another peer.
        """

    def public_key(self, peer: PeerId) -> PublicKey | None:
        """The key of `peer`, which many peer ids contain."""

    # --- connections ------------------------------------------------------------------------------

    def connected(self, peer: PeerId, address: Multiaddr | None = None) -> None:
        """`peer` is connected: nothing that is known of it expires but addresses with a time.

        Args:
            address: where we dialled it, which is tried first from now on.
        """

    def disconnected(self, peer: PeerId) -> None:
        """The last connection of `peer` has ended: keep less of it, for `RECENTLY_CONNECTED`."""

    # --- all peers --------------------------------------------------------------------------------

    def peers(self) -> list[PeerId]:
        """Everybody of whom something is known."""

    def remove(self, peer: PeerId) -> None:
        """Forget all about `peer`."""

    def __contains__(self, peer: object) -> bool: ...
    def __len__(self) -> int: ...

    # --- storage ----------------------------------------------------------------------------------

    def flush(self, limit: int | None = None) -> int:
        """Write what has changed. What is written survives the end of the process, even by a kill.

        Args:
            limit: write at most this many peers, since writing blocks the event loop: 256 peers
                take some milliseconds.

        Returns:
            How many changed peers are left to write: call again until it is 0.

        Raises:
            PeerstoreError: it cannot be written; nothing is lost, and the next call tries again.
        """

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called whenever anything changes: there may be something to write.

        Returns:
            What ends that.
        """

    def next_expiry(self) -> float:
        """In how many seconds, at the soonest, `flush` finds somebody to forget, if nothing
        changes until then; infinite: never."""

    def close(self) -> None:
        """Write what has changed, and let go of the file. Idempotent.

        Raises:
            PeerstoreError: it cannot be written.
        """

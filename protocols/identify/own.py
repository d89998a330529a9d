"""What we say about ourselves. No I/O; the time is passed in."""

from __future__ import annotations

from collections.abc import Sequence

from carrick.addressing import Multiaddr
from carrick.errors import InvalidEnvelope
from carrick.identity import PeerRecord, PrivateKey
from carrick.protocols.identify.messages import (
    MAX_SENT_MESSAGE,
    Info,
    encode_messages,
    encode_observed,
)
from carrick.wire import encode_frame

__all__ = ["OwnInfo"]

_MAX_RECORD = MAX_SENT_MESSAGE - 8  # bytes: the record's field fits into a message
_MAX_AUDIENCES = 8  # peers on this host, on our network and elsewhere are told different addresses


class OwnInfo:
    """Makes our identify information, and keeps what it sealed and encoded until that changes.

    Args:
        started: the record's first sequence number; must be higher than at any earlier start of
            this identity, as the time is.
    """

    def __init__(
        self, key: PrivateKey, *, protocol_version: str, agent_version: str, started: int
    ) -> None:
        self._key = key
        self._protocol_version = protocol_version
        self._agent_version = agent_version
        self._sequence = started
        self._all: tuple[Multiaddr, ...] = ()
        self._records: dict[tuple[Multiaddr, ...], bytes | None] = {}
        self._encoded: dict[tuple[object, ...], tuple[bytes, bytes]] = {}

    def encoded(
        self,
        protocols: tuple[str, ...],
        addresses: tuple[Multiaddr, ...],
        observed: Multiaddr,
        *,
        every_address: Sequence[Multiaddr],
    ) -> bytes:
        """`info` as it goes over the wire. Only the observed address differs from peer to peer."""
        self._renew(every_address)
        field = encode_observed(observed)
        audience = (protocols, addresses, len(field))
        if audience not in self._encoded:
            if len(self._encoded) >= _MAX_AUDIENCES:
                self._encoded.clear()
            info = self.info(protocols, addresses, None, every_address=every_address)
            first, *rest = encode_messages(info, spare=len(field))
            self._encoded[audience] = first, b"".join(map(encode_frame, rest))
        head, tail = self._encoded[audience]
        return encode_frame(head + field) + tail

    def info(
        self,
        protocols: Sequence[str],
        addresses: Sequence[Multiaddr],
        observed: Multiaddr | None,
        *,
        every_address: Sequence[Multiaddr],
    ) -> Info:
        """What one peer is told.

        Args:
            addresses: those of ours that are for it, the best first.
            observed: where we see it.
            every_address: all of ours; when they change, records are sealed anew.
        """
        self._renew(every_address)
        return Info(
            public_key=self._key.public_key,
            protocol_version=self._protocol_version,
            agent_version=self._agent_version,
            protocols=tuple(protocols),
            listen_addresses=tuple(addresses),
            observed_address=observed,
            signed_record=self._record(tuple(addresses)),
        )

    def _renew(self, every_address: Sequence[Multiaddr]) -> None:
        """An old record must not come back with its old number when old addresses do."""
        if self._all != tuple(every_address):
            self._all = tuple(every_address)
            self._records.clear()
            self._encoded.clear()

    def _record(self, addresses: tuple[Multiaddr, ...]) -> bytes | None:
        if addresses not in self._records:
            if len(self._records) >= _MAX_AUDIENCES:
                self._records.clear()
            self._records[addresses] = self._seal([each.to_bytes() for each in addresses])
        return self._records[addresses]

    def _seal(self, addresses: list[bytes]) -> bytes | None:
        """A record of as many of `addresses` as fit, the first ones first; None without any."""
        self._sequence += 1
        while addresses:
            record = PeerRecord(self._key.peer_id, self._sequence, tuple(addresses))
            try:
                sealed = record.seal(self._key)
            except InvalidEnvelope:  # it has more bytes or addresses than a record may have
                sealed = b""
            if 0 < len(sealed) <= _MAX_RECORD:
                return sealed
            addresses = addresses[:-1]
        return None

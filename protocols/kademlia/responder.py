"""The server's half: what is answered to a request. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from carrick.errors import ProtocolError
from carrick.identity import PeerId
from carrick.protocols.kademlia.errors import InvalidRecord
from carrick.protocols.kademlia.interfaces import ProviderStore, RecordStore
from carrick.protocols.kademlia.keyspace import key_of
from carrick.protocols.kademlia.messages import (
    MAX_PROVIDER_KEY,
    Message,
    MessageType,
    PeerInfo,
    Record,
)
from carrick.protocols.kademlia.table import RoutingTable
from carrick.protocols.kademlia.validation import Validators

__all__ = ["Responder"]

_MAX_ADDRESSES = 16  # of a provider that are kept


class Responder:
    """Answers the requests of others.

    Args:
        own: who we are.
        table: whom we know.
        describe: what is told of a peer, ourselves included: its addresses, as far as this network
            may see them.
    """

    def __init__(
        self,
        own: PeerId,
        table: RoutingTable,
        records: RecordStore,
        providers: ProviderStore,
        validators: Validators,
        describe: Callable[[PeerId], PeerInfo],
    ) -> None:
        self._own = own
        self._table = table
        self._records = records
        self._providers = providers
        self._validators = validators
        self._describe = describe

    def answer(self, sender: PeerId, request: Message, now: float) -> Message | None:
        """The answer; None if the request has none.

        Args:
            now: UNIX time in seconds.

        Raises:
            ProtocolError: the request makes no sense, or must be refused: reset the stream.
        """
        match request.type:
            case MessageType.FIND_NODE:
                return Message(request.type, request.key, closer=self._find(sender, request.key))
            case MessageType.GET_VALUE:
                return self._get(sender, request, now)
            case MessageType.PUT_VALUE:
                return self._put(request, now)
            case MessageType.GET_PROVIDERS:
                _require_key(request.key)
                providers = tuple(self._providers.get(request.key, now))
                closer = self._closer(sender, request.key)
                return Message(request.type, request.key, closer=closer, providers=providers)
            case MessageType.ADD_PROVIDER:
                _require_key(request.key)
                self._add_provider(sender, request, now)
                return None
            case MessageType.PING:
                return Message(request.type)

    def _find(self, sender: PeerId, key: bytes) -> tuple[PeerInfo, ...]:
        closer = self._closer(sender, key)
        # Who looks for a peer wants its addresses, even if it is no server of the DHT.
        if key == self._own.to_bytes():
            return (self._describe(self._own), *closer)
        try:
            wanted = self._describe(PeerId(key))
        except ValueError:
            return closer
        known = not wanted.encoded or any(each.id == wanted.id for each in closer)
        return closer if known else (wanted, *closer)

    def _closer(self, sender: PeerId, key: bytes) -> tuple[PeerInfo, ...]:
        place, k = key_of(key), self._table.k
        found = self._table.closest(place)
        if sender in found:
            found = [each for each in self._table.closest(place, k + 1) if each != sender]
        described = map(self._describe, found)
        return tuple([each for each in described if each.encoded])

    def _get(self, sender: PeerId, request: Message, now: float) -> Message:
        if not request.key:
            raise ProtocolError("a GET_VALUE without a key", peer=sender)
        closer = self._closer(sender, request.key)
        record = self._records.get(request.key, now)
        if record is not None:
            try:
                self._validators.validate(request.key, record.value, now)
            except InvalidRecord:
                self._records.remove(request.key)  # it was valid once
                record = None
        return Message(request.type, request.key, record, closer)

    def _put(self, request: Message, now: float) -> Message:
        if request.record is None or request.record.key != request.key:
            raise ProtocolError("a PUT_VALUE without a record for its key")
        key, value = request.key, request.record.value
        self._validators.validate(key, value, now)
        present = self._records.get(key, now)
        if present is not None and self._validators.is_better(key, present.value, value):
            raise InvalidRecord("a record that is older than ours")
        self._records.put(key, value, now)
        stored = Record(key, value, datetime.fromtimestamp(now, UTC))
        return Message(request.type, key, stored)

    def _add_provider(self, sender: PeerId, request: Message, now: float) -> None:
        """Nobody is put down as a provider but by himself."""
        for provider in request.providers:
            if provider.id == sender and (addresses := provider.addresses[:_MAX_ADDRESSES]):
                self._providers.add(request.key, PeerInfo.of(sender, addresses), now)
                return
        raise ProtocolError("an ADD_PROVIDER that does not name its sender", peer=sender)


def _require_key(key: bytes) -> None:
    if not 0 < len(key) <= MAX_PROVIDER_KEY:
        raise ProtocolError(f"a provider's key of {len(key)} bytes; the limit is 80")

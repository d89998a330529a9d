"""Carries the DHT's requests over streams: one stream a peer, one request after the other on it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from carrick.deadlines import deadline
from carrick.errors import PEER_FAILURES, MessageTooLarge, ProtocolError, StreamReset
from carrick.identity import PeerId
from carrick.network import Stream, Swarm
from carrick.protocols.kademlia.messages import MAX_MESSAGE, Message, PeerInfo, decode
from carrick.wire import encode_frame

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["StreamMessenger"]

TIMEOUT = 10.0  # s for a request, connecting included (go-libp2p-kad-dht, dht_options.go)
IDLE = 60.0  # s that an unused stream is kept (go, dht_net.go)
MAX_IDLE_STREAMS = 256
_GRACE = 2.0  # s for the peer to have read what has no answer


class StreamMessenger:
    """See `carrick.protocols.kademlia.interfaces.Messenger`.

    Args:
        protocol: the protocol id of the DHT.
    """

    def __init__(self, swarm: Swarm, protocol: str, *, timeout: float = TIMEOUT) -> None:
        self._swarm = swarm
        self._protocol = protocol
        self._timeout = timeout
        self._idle: OrderedDict[PeerId, tuple[Stream, float]] = OrderedDict()
        """Streams that carry no request now, the one that has been idle longest first."""
        self._work = trio.Event()
        self._reaching: Counter[PeerId] = Counter()

    def is_reaching(self, peer: PeerId) -> bool:
        """A stream to `peer` is being opened, with the addresses that the DHT knows: it need not be
        asked for them."""
        return peer in self._reaching

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Close idle streams, until cancelled."""
        task_status.started()
        try:
            while True:
                while not self._idle:  # what was idle may be in use again when we wake
                    self._work = trio.Event()
                    await self._work.wait()
                peer, (stream, since) = next(iter(self._idle.items()))
                if trio.current_time() >= since + IDLE:
                    del self._idle[peer]
                    await stream.aclose()
                else:
                    await trio.sleep_until(since + IDLE)
        finally:
            for stream, _ in self._idle.values():
                stream.reset()
            self._idle.clear()

    async def request(self, peer: PeerInfo, message: Message) -> Message:
        with deadline(self._timeout, "no answer", peer=peer.id, protocol=self._protocol):
            kept = self._idle.pop(peer.id, None)
            if kept is not None:
                # If the peer has closed it meanwhile, that says nothing about a new one.
                try:
                    return await self._exchange(kept[0], message)
                except MessageTooLarge:
                    raise
                except PEER_FAILURES:
                    pass
            return await self._exchange(await self._open(peer), message)

    async def tell(self, peer: PeerInfo, *messages: Message) -> None:
        with deadline(self._timeout, "no answer", peer=peer.id, protocol=self._protocol):
            stream = await self._open(peer)
            async with stream:
                await stream.send_last(b"".join(encode_frame(each.encode()) for each in messages))
                # Nothing comes but the end, which shows that the peer has read it. js may reset the
                # stream instead, when it meets our end: that is no refusal.
                with trio.move_on_after(_GRACE), suppress(StreamReset):
                    await stream.receive_some(1)

    async def _open(self, peer: PeerInfo) -> Stream:
        self._reaching[peer.id] += 1
        try:
            return await self._swarm.open_stream(peer.id, self._protocol, addresses=peer.addresses)
        finally:
            self._reaching[peer.id] -= 1
            if not self._reaching[peer.id]:
                del self._reaching[peer.id]

    async def _exchange(self, stream: Stream, message: Message) -> Message:
        try:
            await stream.write_frame(message.encode())
            answer = decode(await stream.read_frame(MAX_MESSAGE))
            if answer.type is not message.type:
                raise ProtocolError(
                    f"a {message.type.name} was answered with {answer.type.name}",
                    peer=stream.peer_id,
                    protocol=self._protocol,
                )
        except BaseException:
            stream.reset()
            raise
        self._keep(stream)
        return answer

    def _keep(self, stream: Stream) -> None:
        """The request is done: another may follow on the same stream."""
        if stream.peer_id in self._idle or stream.connection.closed:
            stream.reset()
            return
        self._idle[stream.peer_id] = stream, trio.current_time()
        self._work.set()
        if len(self._idle) > MAX_IDLE_STREAMS:
            _, (oldest, _) = self._idle.popitem(last=False)
            oldest.reset()

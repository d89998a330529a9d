"""Answers the requests of others on their streams; who asks too much is slowed down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import trio

from carrick.errors import PeerTimeout, ProtocolError
from carrick.identity import PeerId
from carrick.network import Stream
from carrick.network.codes import StreamCode
from carrick.protocols.kademlia.limiting import RequestLimit
from carrick.protocols.kademlia.messages import MAX_REQUEST, Message, decode
from carrick.protocols.kademlia.responder import Responder
from carrick.protocols.kademlia.scope import Scope

__all__ = ["Server"]

_IDLE = 60.0  # s that a peer's stream may be silent (go-libp2p-kad-dht, dht_net.go)
_STALLED = 10.0  # s for an answer to be taken
_GREEDY = 2  # streams of a peer that do not wait for answers, or wait for their turn: windows fill


class Server:
    """Answers one peer after the other.

    Args:
        scope: where the peers are.
        clock: the UNIX time.
    """

    def __init__(self, responder: Responder, scope: Scope, clock: Callable[[], float]) -> None:
        self._responder = responder
        self._scope = scope
        self._clock = clock
        self._limit = RequestLimit[PeerId]()
        self._greedy: Counter[PeerId] = Counter()

    async def serve(self, stream: Stream) -> None:
        """Requests, one after the other, until the peer ends the stream or is silent."""
        if not self._scope.admits(stream.connection.remote_address):
            raise ProtocolError("that peer is not of this network", peer=stream.peer_id)
        with trio.move_on_after(_IDLE) as silence:
            async for frame in stream.frames(MAX_REQUEST):
                if not await self._answer(stream, frame):
                    stream.reset(StreamCode.RATE_LIMITED)
                    return
                silence.deadline = trio.current_time() + _IDLE

    async def _answer(self, stream: Stream, frame: bytes) -> bool:
        """When it is the peer's turn; False: too many of its streams ask too much."""
        peer = stream.peer_id
        pause = self._limit.wait(peer, trio.current_time())
        greedy = pause > 0 or stream.buffered > 0
        if greedy and self._greedy[peer] >= _GREEDY:
            return False
        self._greedy[peer] += greedy
        try:
            await trio.sleep(pause)
            answer = self._responder.answer(peer, decode(frame), self._clock())
            if answer is not None:
                await _send(stream, answer)
        finally:
            self._greedy[peer] -= greedy
            if not self._greedy[peer]:
                del self._greedy[peer]
        return True


async def _send(stream: Stream, answer: Message) -> None:
    with trio.move_on_after(_STALLED) as reading:
        await stream.write_frame(answer.fitting().encode())
    if reading.cancelled_caught:
        raise PeerTimeout("the peer does not read our answers", peer=stream.peer_id)

"""AutoNAT v1, both sides."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from carrick.addressing import split_peer
from carrick.errors import PeerTimeout, ProtocolError
from carrick.host import Host
from carrick.network import Connection, Stream, StreamCode
from carrick.protocols.autonat.rates import Rates
from carrick.protocols.autonat.v1.messages import (
    DIAL,
    MAX_MESSAGE,
    Dial,
    DialResponse,
    Status,
    decode,
    encode,
)
from carrick.protocols.autonat.v1.state import DialBack, answer, judge

if TYPE_CHECKING:
    from carrick.addressing import IPAddress, Multiaddr
    from carrick.protocols.autonat.options import AutoNatOptions
    from carrick.protocols.autonat.stranger import Stranger

__all__ = ["V1"]

STREAM_TIMEOUT = 60.0  # s; go-libp2p p2p/host/autonat/svc.go
REQUEST_TIMEOUT = 30.0  # s; go's options.go
DIAL_TIMEOUT = 15.0  # s; go's options.go

_log = logging.getLogger("carrick.autonat")


class V1:
    """Asks by, and serves, `/libp2p/autonat/1.0.0`."""

    def __init__(self, host: Host, stranger: Stranger, options: AutoNatOptions) -> None:
        self._host = host
        self._stranger = stranger
        self._options = options
        self._rates = Rates(options.v1_rates)

    async def ask(self, connection: Connection, addresses: Sequence[Multiaddr]) -> bool | None:
        """Whether the peer of `connection` reached us at one of `addresses`; None: it did not say.

        Raises:
            PeerTimeout: no answer in time.
            ProtocolError: it breaks the protocol.
            ProtocolNotSupported, StreamReset, ConnectionClosed, ResourceLimitExceeded.
        """
        try:
            with trio.fail_after(REQUEST_TIMEOUT):
                stream = await connection.open_stream(DIAL)
                try:
                    request = Dial(self._host.id.to_bytes(), tuple(addresses))
                    await stream.write_frame(encode(request))
                    return judge(decode(await stream.read_frame(MAX_MESSAGE)))
                finally:
                    stream.reset()
        except trio.TooSlowError:
            raise PeerTimeout(
                f"no AutoNAT answer within {REQUEST_TIMEOUT:g} s", peer=connection.peer_id
            ) from None

    async def serve(self, stream: Stream) -> None:
        """Serve one stream of `DIAL`."""
        try:
            with trio.fail_after(STREAM_TIMEOUT):
                message = decode(await stream.read_frame(MAX_MESSAGE))
                peer = stream.peer_id
                allowed = self._rates.allow_request(peer, trio.current_time())
                step = answer(
                    message,
                    peer,
                    observed=None if stream.connection.is_relayed else _bare(stream.connection),
                    can_dial=self._stranger.can_dial,
                    allow=lambda ip: allowed and self._allow(ip),
                    allow_private=self._options.allow_private,
                )
                if isinstance(step, DialBack):
                    step = await self._dial_back(stream, step)
                await stream.write_frame(encode(step))
        except trio.TooSlowError:
            raise PeerTimeout("an AutoNAT request took too long", peer=stream.peer_id) from None
        except ProtocolError:
            stream.reset(StreamCode.PROTOCOL_VIOLATION)
            raise

    def _allow(self, ip: IPAddress) -> bool:
        return self._rates.allow_dial(ip, paid=False, now=trio.current_time())

    async def _dial_back(self, stream: Stream, step: DialBack) -> DialResponse:
        started = trio.current_time()
        visit = await self._stranger.visit(stream.peer_id, step.addresses, timeout=DIAL_TIMEOUT)
        if visit.reached is not None:
            return DialResponse(Status.OK, address=visit.reached)
        # How long it takes would tell closed ports from silent ones: no port scanner (go).
        await trio.sleep_until(started + DIAL_TIMEOUT)
        return DialResponse(Status.DIAL_ERROR, "no address answered")


def _bare(connection: Connection) -> Multiaddr:
    return split_peer(connection.remote_address)[0]

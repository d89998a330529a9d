"""The AutoNAT v2 server: dials the addresses of others."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from carrick.addressing import Multiaddr, host_ip
from carrick.errors import PEER_FAILURES, PeerTimeout, ProtocolError, StreamReset
from carrick.host import Host
from carrick.network import Connection, Stream, StreamCode
from carrick.protocols.autonat.addresses import for_dial_back, plain_ip
from carrick.protocols.autonat.rates import Rates
from carrick.protocols.autonat.v2.messages import (
    DIAL_BACK,
    DIAL_REQUEST,
    MAX_DIAL_BACK,
    MAX_MESSAGE,
    DialResponse,
    DialStatus,
    ResponseStatus,
    decode,
    encode,
    encode_dial_back,
)
from carrick.protocols.autonat.v2.state import (
    DATA_RANGE,
    AskForData,
    Dial,
    MoreData,
    Refuse,
    Request,
)

if TYPE_CHECKING:
    from carrick.identity import PeerId
    from carrick.protocols.autonat.options import AutoNatOptions
    from carrick.protocols.autonat.stranger import Stranger

__all__ = ["Server"]

REQUEST_TIMEOUT = 15.0  # s; go-libp2p autonatv2/autonat.go, streamTimeout
DATA_TIMEOUT = 10.0  # s for all dial data; ATTACKS row 69
DIAL_TIMEOUT = 10.0  # s; go, dialBackDialTimeout
DIAL_BACK_TIMEOUT = 5.0  # s; go, dialBackStreamTimeout
MAX_WAIT = 3.0  # s of random delay before a foreign IP is dialled; go's server.go

_log = logging.getLogger("carrick.autonat")


class Server:
    """Serves `/libp2p/autonat/2/dial-request`."""

    def __init__(self, host: Host, stranger: Stranger, options: AutoNatOptions) -> None:
        self._host = host
        self._stranger = stranger
        self._options = options
        self._rates = Rates(options.rates)

    async def serve(self, stream: Stream) -> None:
        """Serve one stream of `DIAL_REQUEST`."""
        try:
            with trio.fail_after(REQUEST_TIMEOUT):
                dial = await self._decide(stream)
            if dial is None:
                return
            if dial.paid:
                await trio.sleep(self._host.rng.uniform(0, MAX_WAIT))
            status = await self._dial_back(stream.peer_id, dial)
            _log.debug("dialled %s for %s: %s", dial.address, stream.peer_id, status.name)
            with trio.fail_after(DIAL_BACK_TIMEOUT):
                await stream.write_frame(dial.response(status))
        except trio.TooSlowError:
            stream.reset(StreamCode.NO_ERROR)
            raise PeerTimeout(
                "a dial request took too long", peer=stream.peer_id, protocol=DIAL_REQUEST
            ) from None
        except ProtocolError:
            stream.reset(StreamCode.PROTOCOL_VIOLATION)
            raise

    async def _decide(self, stream: Stream) -> Dial | None:
        """Read the request, and the data if it costs some; None if it was refused."""
        allowed = self._rates.allow_request(stream.peer_id, trio.current_time())
        request = Request(
            observed=host_ip(stream.connection.remote_address),
            can_dial=lambda address: self._can_dial(address, stream.peer_id),
            allow=self._allow,
            data_size=self._host.rng.randint(*DATA_RANGE),
        )
        with trio.CancelScope() as patience:
            while True:
                payload = await stream.read_frame(MAX_MESSAGE)
                if not allowed:  # read all the same, so that our FIN does not meet their request
                    rejected = DialResponse(ResponseStatus.REQUEST_REJECTED)
                    await stream.write_frame(encode(rejected))
                    return None
                match request.receive(decode(payload)):
                    case Dial() as dial:
                        return dial
                    case Refuse(payload=answer):
                        await stream.write_frame(answer)
                        return None
                    case AskForData(payload=question):
                        patience.deadline = trio.current_time() + DATA_TIMEOUT
                        await stream.write_frame(question)
                    case MoreData():
                        pass
        raise trio.TooSlowError

    def _can_dial(self, address: Multiaddr, peer: PeerId) -> bool:
        bare = for_dial_back(address, peer, allow_private=self._options.allow_private)
        return bare is not None and self._stranger.can_dial(bare)

    def _allow(self, address: Multiaddr, paid: bool) -> bool:
        target = plain_ip(host_ip(address))
        return self._rates.allow_dial(target, paid=paid, now=trio.current_time())

    async def _dial_back(self, peer: PeerId, dial: Dial) -> DialStatus:
        address = for_dial_back(dial.address, peer, allow_private=self._options.allow_private)
        assert address is not None

        async def say_nonce(connection: Connection) -> None:
            with trio.fail_after(DIAL_BACK_TIMEOUT):
                stream = await connection.open_stream(DIAL_BACK)
                # go and rust reset the stream right behind their answer: rust's reset may be here
                # before we know that the nonce is sent, go's may overtake the answer on QUIC.
                with suppress(StreamReset):
                    await stream.write_frame(encode_dial_back(dial.nonce))
            # The answer only shows that the nonce has arrived, before the connection is closed.
            with trio.move_on_after(DIAL_BACK_TIMEOUT), suppress(*PEER_FAILURES):
                await stream.send_eof()
                await stream.read_frame(MAX_DIAL_BACK)

        visit = await self._stranger.visit(peer, [address], say_nonce, timeout=DIAL_TIMEOUT)
        if visit.reached is None:
            return DialStatus.DIAL_ERROR
        return DialStatus.OK if visit.talked else DialStatus.DIAL_BACK_ERROR

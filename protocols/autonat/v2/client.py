"""The AutoNAT v2 client: has others dial our addresses."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from carrick.errors import PeerTimeout, ProtocolError
from carrick.host import Host
from carrick.network import Connection, Stream, StreamCode
from carrick.protocols.autonat.v2.messages import (
    DIAL_REQUEST,
    MAX_DIAL_BACK,
    MAX_MESSAGE,
    decode,
    decode_dial_back,
    encode_dial_back_response,
)
from carrick.protocols.autonat.v2.state import Finding, Probe, SendData

if TYPE_CHECKING:
    from carrick.addressing import Multiaddr

__all__ = ["Client"]

PROBE_TIMEOUT = 30.0  # s; go-libp2p p2p/host/basic/addrs_reachability_tracker.go
DIAL_BACK_TIMEOUT = 5.0  # s for the nonce, before and after the response; go, the same

_log = logging.getLogger("carrick.autonat")


class Client:
    """Asks servers, and takes the nonces of their dial-backs."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._waiting: dict[int, tuple[Probe, trio.Event]] = {}
        """By nonce: what is under way."""

    async def probe(self, connection: Connection, addresses: Sequence[Multiaddr]) -> Finding:
        """Have the peer of `connection` dial the first of `addresses` that it can.

        Raises:
            ProbeRejected: it does not serve us; the status says why.
            ProtocolError: it breaks the protocol, or claims a dial that did not arrive.
            PeerTimeout: no answer in time.
            ProtocolNotSupported, StreamReset, ConnectionClosed, ResourceLimitExceeded.
        """
        # Whoever knows the nonce was told by this server: it must not be guessable.
        probe, arrived = Probe(addresses, secrets.randbits(64)), trio.Event()
        self._waiting[probe.nonce] = probe, arrived
        stream: Stream | None = None
        try:
            with trio.fail_after(PROBE_TIMEOUT):
                stream = await connection.open_stream(DIAL_REQUEST)
                await self._ask(stream, probe)
                await stream.aclose()
                if probe.awaits_dial_back:
                    with trio.move_on_after(DIAL_BACK_TIMEOUT):
                        await arrived.wait()
            return probe.finding()
        except trio.TooSlowError:
            raise PeerTimeout(
                f"no AutoNAT answer within {PROBE_TIMEOUT:g} s", peer=connection.peer_id
            ) from None
        except ProtocolError as error:
            error.peer = connection.peer_id
            if stream is not None:
                stream.reset(StreamCode.PROTOCOL_VIOLATION)
            raise
        finally:
            del self._waiting[probe.nonce]
            if stream is not None:
                stream.reset()

    async def _ask(self, stream: Stream, probe: Probe) -> None:
        await stream.write_frame(probe.request())
        while True:
            step = probe.receive(decode(await stream.read_frame(MAX_MESSAGE)))
            if not isinstance(step, SendData):
                return
            for payload in step.payloads:
                await stream.write_frame(payload)

    async def take_nonce(self, stream: Stream) -> None:
        """Serve one stream of `DIAL_BACK`."""
        try:
            with trio.fail_after(DIAL_BACK_TIMEOUT):
                nonce = decode_dial_back(await stream.read_frame(MAX_DIAL_BACK))
                found = self._waiting.get(nonce)
                if found is None or found[1].is_set():
                    raise ProtocolError("a dial-back that nobody asked for", peer=stream.peer_id)
                probe, arrived = found
                probe.dialled_back = stream.connection.local_address
                arrived.set()
                await stream.write_frame(encode_dial_back_response())
        except trio.TooSlowError:
            raise PeerTimeout("a dial-back took too long", peer=stream.peer_id) from None
        except ProtocolError:
            stream.reset(StreamCode.PROTOCOL_VIOLATION)
            raise

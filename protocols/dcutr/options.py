"""What can be chosen about DCUtR."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DcutrOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DcutrOptions:
    """How hard, and how long, a direct connection is tried for. Times are in seconds.

    Attributes:
        dial_back_timeout: of our own dial to a peer that may be public; a peer that is known to be
            private gets less, see `state.dial_back_time`.
        attempt_timeout: of one punch, at most.
        timeout: of all attempts with a peer that counts so too, a Carrick: none begins that would
            not be over by then.
        stream_wait: how long whoever dialled over a relay waits for the peer to begin.
        grace: from when a direct connection is there until the relayed one is closed, if no stream
            is left on it.
        retry_delay: before the next attempt when the peer was not ready for one.
        concurrency: upgrades at once; those beyond are not tried.
        allow_private: punch at private addresses too, and tell everybody ours: for networks in
            which they are the public ones. With it strangers make us dial into our own network.
    """

    dial_back_timeout: float = 10.0  # go-libp2p p2p/protocol/holepunch, defaultDirectDialTimeout
    attempt_timeout: float = 5.0  # go-libp2p p2p/transport/quic, of a punch
    timeout: float = 10.0
    stream_wait: float = 15.0  # punchr's
    grace: float = 10.0
    retry_delay: float = 1.0
    concurrency: int = 32
    allow_private: bool = False

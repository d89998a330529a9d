"""One exchange of DCUtR, from both sides, and how much time its parts get.

B was reached over a relay by A. B opens a stream: CONNECT, CONNECT, SYNC. A starts when SYNC
arrives, and B half a round trip after it has sent it: at the same moment. No I/O; `now` is passed
in, in seconds of any clock that does not jump.
Source: libp2p/specs, relay/DCUtR.md, "The Protocol".
"""

from __future__ import annotations

import enum
from dataclasses import replace

from carrick.errors import ProtocolError
from carrick.host import Nat
from carrick.interfaces import Buffer, Role
from carrick.protocols.dcutr.messages import Connect, Sync, decode

__all__ = [
    "ATTEMPTS",
    "STREAM_LIFE",
    "Initiator",
    "Responder",
    "another_attempt_fits",
    "attempt_time",
    "dial_back_time",
    "initiator_dials",
]

ATTEMPTS = 3  # "a total of 3 attempts"
_SHORTEST = 2.0  # s for a punch
STREAM_LIFE = 60.0  # s; go-libp2p p2p/protocol/holepunch/svc.go, StreamTimeout


class _Phase(enum.Enum):
    START = "start"
    CONNECT = "waits for CONNECT"
    ANSWER = "has CONNECT"
    SYNC = "waits for SYNC"
    DONE = "done"
    BROKEN = "broken"


class _Exchange:
    """What both sides have: the peer's CONNECT, and no way back from an error."""

    def __init__(self, first: _Phase) -> None:
        self._phase = first
        self.theirs: Connect | None = None

    @property
    def done(self) -> bool:
        """It is time to punch."""
        return self._phase is _Phase.DONE

    def _take(self, data: Buffer) -> Connect | Sync:
        try:
            message = decode(data)
            wanted = {_Phase.CONNECT: Connect, _Phase.SYNC: Sync}.get(self._phase)
            if wanted is None or not isinstance(message, wanted):
                name = type(message).__name__.upper()
                raise ProtocolError(f"{name} from a peer while this side {self._phase.value}")
        except ProtocolError:
            self._phase = _Phase.BROKEN
            raise
        return message

    def _step(self, before: _Phase, after: _Phase) -> None:
        if self._phase is not before:
            raise RuntimeError(f"this side {self._phase.value}")
        self._phase = after


class Initiator(_Exchange):
    """B, in one attempt.

    Attributes:
        theirs: A's CONNECT, once it is there.
        rtt: of this attempt, over the relay, in seconds.
        fires: when to punch, once SYNC is made.
    """

    def __init__(self) -> None:
        super().__init__(_Phase.START)
        self.rtt = 0.0
        self.fires = 0.0
        self._sent = 0.0

    def connect(self, own: Connect, now: float) -> bytes:
        """The CONNECT to send now."""
        self._step(_Phase.START, _Phase.CONNECT)
        self._sent = now
        return own.encode()

    def receive(self, data: Buffer, now: float) -> Connect:
        """A's answer.

        Raises:
            ProtocolError: it is none.
        """
        message = self._take(data)
        assert isinstance(message, Connect)
        self.theirs = message
        self.rtt = max(0.0, now - self._sent - message.delay)
        self._phase = _Phase.ANSWER
        return message

    def sync(self, now: float, *, initiator_dials: bool = False) -> bytes:
        """The SYNC to send now."""
        self._step(_Phase.ANSWER, _Phase.DONE)
        self.fires = now + self.rtt / 2
        return Sync(initiator_dials).encode()


class Responder(_Exchange):
    """A, in one attempt.

    Attributes:
        theirs: B's CONNECT, once it is there.
        role: ours in the punch, once SYNC is there.
    """

    def __init__(self) -> None:
        super().__init__(_Phase.CONNECT)
        self.role = Role.CLIENT
        self._asked = 0.0

    def receive(self, data: Buffer, now: float) -> Connect | Sync:
        """B's CONNECT, which `answer` must follow; then its SYNC, after which it is `done`.

        Raises:
            ProtocolError: something else came.
        """
        message = self._take(data)
        if isinstance(message, Connect):
            self.theirs = message
            self._asked = now
            self._phase = _Phase.ANSWER
        else:
            self.role = Role.SERVER if message.initiator_dials else Role.CLIENT
            self._phase = _Phase.DONE
        return message

    def answer(self, own: Connect, now: float) -> bytes:
        """The CONNECT to send now."""
        self._step(_Phase.ANSWER, _Phase.SYNC)
        return replace(own, delay=max(0.0, now - self._asked)).encode()


def dial_back_time(rtt: float | None) -> float:
    """Seconds that B's own dial has for itself before the two punch.

    Args:
        rtt: over the relay, if known.
    """
    return max(1.0, 4 * (rtt or 0.0))


def attempt_time(rtt: float, longest: float, left: float) -> float:
    """Seconds for one punch: enough for both handshakes and a lost packet, but not more, since the
    next attempt has fresh addresses and other roles.

    Args:
        left: until the whole upgrade should be over.
    """
    return min(longest, max(_SHORTEST, 8 * rtt), max(_SHORTEST, left))


def another_attempt_fits(rtt: float, left: float) -> bool:
    """Whether an exchange and a punch can be done before the whole upgrade should be over."""
    return 2 * rtt + _SHORTEST <= left


def initiator_dials(own: Nat, theirs: Nat | None, attempt: int) -> bool:
    """Whether B is the client in this attempt, rather than A as the specification has it.

    Over QUIC only the client's packets count. A symmetric NAT shows the peer another port than it
    foretold, so who is behind one must be the client. Where that does not decide, the second
    attempt has the roles turned round. Peers that are no Carricks cannot be told: they stay the
    client, and on the last attempt so are we, for those that have the roles wrong (as go).

    Args:
        own: B's NAT.
        theirs: A's NAT; None: A is no Carrick.
        attempt: from 1.
    """
    if theirs is None:
        return attempt == ATTEMPTS
    first = own.udp.is_symmetric and not theirs.udp.is_symmetric
    return first ^ (attempt == 2)

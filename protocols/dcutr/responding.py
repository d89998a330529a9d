"""A: dialled over a relay, and does as B says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from carrick.errors import PEER_FAILURES, PeerTimeout, ProtocolError
from carrick.protocols.dcutr.addresses import public_ips
from carrick.protocols.dcutr.messages import MAX_MESSAGE, Connect
from carrick.protocols.dcutr.punching import Puncher
from carrick.protocols.dcutr.state import ATTEMPTS, STREAM_LIFE, Responder, attempt_time
from carrick.protocols.dcutr.upgrade import Attempt, AttemptOutcome, Outcome, Upgrade

if TYPE_CHECKING:
    from carrick.network import Stream

__all__ = ["respond"]

_NEAR_LATER = (
    0.1  # s after B's dial to our side of the NAT: two at once would meet, as clients both
)


async def respond(puncher: Puncher, upgrade: Upgrade, stream: Stream) -> None:
    """Serve one stream of B: one attempt. The stream is to be reset if it raises.

    Raises:
        CarrickError, trio.BrokenResourceError: B broke the protocol, took too long, or went away.
    """
    if len(upgrade.attempts) >= ATTEMPTS:
        raise ProtocolError(f"more than {ATTEMPTS} attempts", peer=stream.peer_id)
    attempt = Attempt(trio.current_time())
    upgrade.begin(attempt)
    try:
        with upgrade.attempting:
            await _attempt(puncher, upgrade, attempt, stream)
    except trio.TooSlowError:
        attempt.end(trio.current_time(), AttemptOutcome.TIMEOUT, "no SYNC in time")
        raise PeerTimeout(f"no SYNC within {STREAM_LIFE:g} s", peer=stream.peer_id) from None
    except PEER_FAILURES as error:
        attempt.end(trio.current_time(), AttemptOutcome.PROTOCOL_ERROR, str(error))
        raise
    finally:
        attempt.end(trio.current_time(), AttemptOutcome.CANCELLED, "the peer began anew")
        last = upgrade.attempts[-1] is attempt  # else the next one runs already
        if last:
            if len(upgrade.attempts) == ATTEMPTS:
                upgrade.finish(Outcome.FAILED, attempt.reason)
            upgrade.patience.deadline = _next_by(upgrade, puncher, attempt)
    if last and not upgrade.done.is_set():
        await puncher.look_again(upgrade)


async def _attempt(puncher: Puncher, upgrade: Upgrade, attempt: Attempt, stream: Stream) -> None:
    exchange = Responder()
    with trio.fail_after(STREAM_LIFE):
        frame = await stream.read_frame(MAX_MESSAGE)
        theirs = exchange.receive(frame, trio.current_time())
        assert isinstance(theirs, Connect)
        together = bool(public_ips(theirs.addresses) & puncher.own_ips())
        own = await puncher.connect_message(upgrade, local=together)
        attempt.carrick = theirs.nat is not None
        found = puncher.targets(upgrade.peer, theirs.addresses)
        where, hopeless = puncher.possible(found, theirs)
        attempt.addresses = (*where.far, *where.near)
        answered = trio.current_time()
        await stream.write_frame(exchange.answer(own, answered))
        if not attempt.addresses and hopeless is not None:
            attempt.end(trio.current_time(), AttemptOutcome.FAILED, hopeless)
            upgrade.finish(Outcome.FAILED, hopeless)
            return
        frame = await stream.read_frame(MAX_MESSAGE)
        now = trio.current_time()
        exchange.receive(frame, now)
    attempt.rtt = now - answered
    left = upgrade.started + puncher.options.timeout - now
    await puncher.meet(
        upgrade,
        attempt,
        where,
        exchange.role,
        at=now,
        timeout=attempt_time(attempt.rtt, puncher.options.attempt_timeout, left),
        near_at=now + _NEAR_LATER,
    )


def _next_by(upgrade: Upgrade, puncher: Puncher, attempt: Attempt) -> float:
    """When B should have begun the next attempt."""
    if upgrade.done.is_set():
        return -math.inf
    now = trio.current_time()
    if attempt.carrick:
        return max(now, upgrade.started + puncher.options.timeout)
    return now + puncher.options.stream_wait

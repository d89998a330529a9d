"""B: was reached over a relay, and leads the upgrade."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from carrick.errors import PEER_FAILURES, CarrickError, ProtocolError, ProtocolNotSupported
from carrick.interfaces import Role
from carrick.protocols.dcutr.addresses import Targets, public_ips
from carrick.protocols.dcutr.messages import DCUTR, MAX_MESSAGE
from carrick.protocols.dcutr.punching import Puncher
from carrick.protocols.dcutr.state import (
    ATTEMPTS,
    Initiator,
    another_attempt_fits,
    attempt_time,
    dial_back_time,
    initiator_dials,
)
from carrick.protocols.dcutr.upgrade import Attempt, AttemptOutcome, Outcome, Upgrade

if TYPE_CHECKING:
    from carrick.network import Stream

__all__ = ["Initiation"]

_log = logging.getLogger("carrick.dcutr")


class _NotReadyError(CarrickError):
    """The peer has no address to offer yet, or serves no stream yet."""


class Initiation:
    """One upgrade, as B leads it: dial back, then punch, three times at most."""

    def __init__(self, puncher: Puncher, upgrade: Upgrade) -> None:
        self._puncher = puncher
        self._upgrade = upgrade
        self._known = tuple(puncher.host.peerstore.addresses(upgrade.peer))
        self._together = bool(public_ips(self._known) & puncher.own_ips())
        """The peer's public IP address is ours."""
        self._dialling = trio.CancelScope()
        self._dialled = trio.Event()

    async def run(self) -> None:
        """Until nothing is left to try; cancelled when there is a direct connection."""
        where = self._puncher.targets(self._upgrade.peer, self._known, dial=True)
        if where.far:
            await self._puncher.predict(self._upgrade)
        async with trio.open_nursery() as nursery:
            if where.far or where.near:
                nursery.start_soon(self._dial_back, where)
                # The answer to our CONNECT, with which the dial ends, comes when its time is over.
                rtt = self._upgrade.relayed.rtt or 0.0
                with trio.move_on_after(dial_back_time(rtt) - rtt):
                    await self._dialled.wait()
            await self._punch()
            nursery.cancel_scope.cancel()

    def _left(self) -> float:
        """Seconds until the whole should be over."""
        return self._upgrade.started + self._puncher.options.timeout - trio.current_time()

    async def _dial_back(self, where: Targets) -> None:
        """The peer may have no NAT at all."""
        self._dialling.deadline = trio.current_time() + self._puncher.options.dial_back_timeout
        with self._dialling:
            await self._puncher.dial(self._upgrade, (*where.far, *where.near))
        self._dialled.set()

    async def _punch(self) -> None:
        upgrade, options = self._upgrade, self._puncher.options
        number, begun = 1, trio.current_time()
        while number <= ATTEMPTS:
            attempt = Attempt(trio.current_time())
            upgrade.attempts.append(attempt)
            ready = True
            try:
                await self._attempt(attempt, number)
            except _NotReadyError as error:
                attempt.end(trio.current_time(), AttemptOutcome.PROTOCOL_ERROR, error.message)
                ready = False
            except trio.TooSlowError:
                attempt.end(trio.current_time(), AttemptOutcome.TIMEOUT, "no answer in time")
            except PEER_FAILURES as error:
                attempt.end(trio.current_time(), AttemptOutcome.PROTOCOL_ERROR, str(error))
                if isinstance(error, ProtocolError):
                    break
            if upgrade.done.is_set() or upgrade.relayed.closed:
                break
            if ready or attempt.carrick or trio.current_time() - begun >= options.stream_wait:
                number += 1
            if number > ATTEMPTS:
                break
            if not ready:
                await trio.sleep(options.retry_delay)
            elif attempt.outcome is AttemptOutcome.FAILED:
                if attempt.carrick and not another_attempt_fits(attempt.rtt or 0.0, self._left()):
                    break
                await self._puncher.look_again(upgrade)
        reason = upgrade.attempts[-1].reason
        if upgrade.streamed.is_set():
            upgrade.finish(Outcome.FAILED, reason)
        else:
            upgrade.finish(Outcome.NO_STREAM, reason)

    async def _attempt(self, attempt: Attempt, number: int) -> None:
        """Agree with the peer, and punch.

        Raises:
            _NotReadyError: it may be able to in a moment.
            trio.TooSlowError: it did not answer.
            CarrickError, trio.BrokenResourceError: the stream failed.
        """
        upgrade, puncher = self._upgrade, self._puncher
        with trio.fail_after(puncher.options.stream_wait):
            try:
                stream = await upgrade.relayed.open_stream(DCUTR)
                exchange, where = await self._agree(stream, attempt, number)
            except (ProtocolNotSupported, trio.BrokenResourceError) as error:
                # go serves the protocol, and answers, only once it knows an address of its own.
                raise _NotReadyError(str(error)) from error
        if exchange is None:
            return
        role = Role.SERVER
        assert exchange.theirs is not None
        if initiator_dials(puncher.host.nat, exchange.theirs.nat, number):
            role = Role.CLIENT
        await puncher.meet(
            upgrade,
            attempt,
            where,
            role,
            at=exchange.fires,
            timeout=attempt_time(exchange.rtt, puncher.options.attempt_timeout, self._left()),
            near_at=trio.current_time(),
        )

    async def _agree(
        self, stream: Stream, attempt: Attempt, number: int
    ) -> tuple[Initiator | None, Targets]:
        """The exchange over the relay; None if there is nothing to punch."""
        upgrade, puncher = self._upgrade, self._puncher
        exchange = Initiator()
        try:
            own = await puncher.connect_message(upgrade, local=self._together)
            await stream.write_frame(exchange.connect(own, trio.current_time()))
            answer = await stream.read_frame(MAX_MESSAGE)
            theirs = exchange.receive(answer, trio.current_time())
            upgrade.streamed.set()
            attempt.rtt = exchange.rtt
            attempt.carrick = theirs.nat is not None
            self._together |= bool(public_ips(theirs.addresses) & puncher.own_ips())
            # Whatever is still being dialled holds the ports from which we punch.
            self._dialling.cancel()
            upgrade.dialled.clear()
            found = puncher.targets(upgrade.peer, theirs.addresses)
            where, hopeless = puncher.possible(found, theirs)
            attempt.addresses = (*where.far, *where.near)
            if not attempt.addresses:
                await stream.aclose()
                if hopeless is None:
                    raise _NotReadyError("the peer names no address to punch at")
                attempt.end(trio.current_time(), AttemptOutcome.FAILED, hopeless)
                upgrade.finish(Outcome.FAILED, hopeless)
                return None, where
            turned = theirs.nat is not None and initiator_dials(
                puncher.host.nat, theirs.nat, number
            )
            await stream.write_frame(exchange.sync(trio.current_time(), initiator_dials=turned))
            await stream.aclose()
        except BaseException:
            stream.reset()
            raise
        return exchange, where

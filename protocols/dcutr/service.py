"""The DCUtR service: turns relayed connections into direct ones."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

import trio

from carrick.addressing import Reach, reach
from carrick.errors import ProtocolError
from carrick.host import Goal, Host
from carrick.interfaces import Direction
from carrick.network import Connection, Stream
from carrick.network.events import ConnectionOpened, StreamClosed
from carrick.network.firewall import guarded
from carrick.protocols.dcutr.events import DirectConnectionMade, UpgradeFailed
from carrick.protocols.dcutr.ids import DCUTR
from carrick.protocols.dcutr.options import DcutrOptions
from carrick.protocols.dcutr.strategies import Punch, RelayAsAgreed, Reverse
from carrick.protocols.dcutr.upgrade import AttemptOutcome, Outcome, Upgrade

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from carrick.identity import PeerId
    from carrick.protocols.dcutr.punching import Puncher

__all__ = ["Dcutr"]

_log = logging.getLogger("carrick.dcutr")


class Dcutr:
    """Direct Connection Upgrade through Relay, both sides.

    Over a connection that came to us through a relay it leads the upgrade: it dials back, then
    punches. Over one that we dialled it answers. It brings the strategies `reverse` and `punch`,
    and publishes `DirectConnectionMade` and `UpgradeFailed`.
    """

    def __init__(self, options: DcutrOptions | None = None) -> None:
        self.options = options or DcutrOptions()
        self._upgrades: dict[Connection, Upgrade] = {}
        self._barred: dict[PeerId, frozenset[str]] = {}
        """Of our strategies, those that must not be used with a peer."""
        self._strategies = {each.name: each for each in (Reverse(self), Punch(self))}
        self._host: Host
        self._nursery: trio.Nursery | None = None

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Upgrade what is relayed, until cancelled."""
        self._host = host
        if self.options.allow_private:
            host.observed.private = True
        for strategy in self._strategies.values():
            host.add_strategy(strategy)
        if (relay := host.strategies.get("relay")) is not None:
            host.add_strategy(RelayAsAgreed(relay, self))
        try:
            with host.events.subscribe(ConnectionOpened, where=_is_relayed) as opened:
                async with trio.open_nursery() as self._nursery:
                    host.handle(DCUTR, self._serve, allow_limited=True)
                    task_status.started()
                    async for event in opened:
                        self.upgrade(event.connection)
        finally:
            self._nursery = None

    @property
    def upgrades(self) -> tuple[Upgrade, ...]:
        """The upgrades of the relayed connections that are open."""
        return tuple(self._upgrades.values())

    def upgrade(self, relayed: Connection) -> Upgrade:
        """The upgrade of a relayed connection, begun if need be.

        One that has failed is begun again only if it is ours to lead.
        """
        known = self._upgrades.get(relayed)
        if known is not None and (known.outcome is not Outcome.FAILED or not known.initiator):
            return known
        upgrade = Upgrade(relayed, initiator=relayed.direction is Direction.INBOUND)
        self._begin(upgrade)
        relayed.call_at_end(self._forget)
        return upgrade

    @cached_property
    def _puncher(self) -> Puncher:
        # What an upgrade takes loads with the first: most nodes never have one.
        from carrick.protocols.dcutr.punching import Puncher

        return Puncher(self._host, self.options, self._made)

    # --- both sides -------------------------------------------------------------------------------

    def _begin(self, upgrade: Upgrade) -> None:
        running = sum(not each.done.is_set() for each in self.upgrades)
        if upgrade.relayed.closed:
            upgrade.finish(Outcome.NO_CONNECTION, "the relayed connection has ended")
            return
        self._upgrades[upgrade.relayed] = upgrade
        direct = self._host.swarm.connection(upgrade.peer)
        if direct is not None and not direct.is_relayed:
            if direct.opened_at >= upgrade.relayed.opened_at:
                self._made(upgrade, direct)  # the peer was quick
            else:
                upgrade.finish(Outcome.CANCELLED, "there is a direct connection")
        elif running >= self.options.concurrency:
            upgrade.finish(Outcome.CANCELLED, f"{running} other upgrades are under way")
        elif upgrade.initiator:
            self._spawn(upgrade, self._lead, upgrade)
        else:
            upgrade.patience.deadline = trio.current_time() + self.options.stream_wait
            self._spawn(upgrade, self._follow, upgrade)
            # Or B counts the time in its round trip.
            self._spawn(upgrade, self._puncher.predict, upgrade)

    def _spawn(
        self, upgrade: Upgrade, function: Callable[..., Awaitable[object]], *args: object
    ) -> None:
        """Do something for `upgrade`. What goes wrong there ends that upgrade, not the host."""

        def failed(error: Exception) -> None:
            _log.error("an upgrade failed", exc_info=error)
            upgrade.finish(Outcome.FAILED, "a defect of this program: the log has it")

        if self._nursery is not None:  # else the host is closing
            self._nursery.start_soon(partial(guarded, function, *args, failed=failed))

    def _forget(self, relayed: Connection) -> None:
        upgrade = self._upgrades.pop(relayed, None)
        if upgrade is not None:
            upgrade.patience.cancel()

    async def _lead(self, upgrade: Upgrade) -> None:
        """We are B."""
        from carrick.protocols.dcutr.initiating import Initiation

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notice, upgrade)
            with upgrade.attempting:
                await upgrade.relayed.announced.wait()  # then its addresses are known
                await Initiation(self._puncher, upgrade).run()
            nursery.cancel_scope.cancel()
        self._tell_failure(upgrade)

    async def _follow(self, upgrade: Upgrade) -> None:
        """We are A: wait for what B does."""
        with upgrade.patience:
            await self._notice(upgrade)
        if upgrade.relayed.closed:
            upgrade.finish(Outcome.NO_CONNECTION, "the relayed connection has ended")
        elif not upgrade.attempts:
            wait = f"{self.options.stream_wait:g} s"
            upgrade.finish(Outcome.NO_STREAM, f"the peer opened no stream for it within {wait}")
        else:
            upgrade.finish(Outcome.FAILED, upgrade.attempts[-1].reason)
        self._tell_failure(upgrade)

    async def _notice(self, upgrade: Upgrade) -> None:
        """Take a direct connection that comes about, by whatever way."""
        self._made(upgrade, await self._host.swarm.wait_direct(upgrade.peer))

    def _made(self, upgrade: Upgrade, connection: Connection) -> None:
        if upgrade.done.is_set():
            return
        strategy = _how(upgrade, connection)
        if (attempt := upgrade.attempt) is not None:
            punched = strategy == "punch"
            attempt.end(
                trio.current_time(),
                AttemptOutcome.SUCCESS if punched else AttemptOutcome.DIRECT_DIAL,
            )
        upgrade.finish(_OUTCOMES[strategy], connection=connection, strategy=strategy)
        if not upgrade.punching:  # a punch ends by itself, when the peer has settled as well
            upgrade.attempting.cancel()
        self._host.events.publish(
            DirectConnectionMade(upgrade.peer, connection, upgrade.relayed, strategy)
        )
        self._spawn(upgrade, self._retire, upgrade.relayed, connection)

    def _tell_failure(self, upgrade: Upgrade) -> None:
        outcome = upgrade.outcome
        if upgrade.connection is None and outcome not in (None, Outcome.CANCELLED):
            assert outcome is not None
            _log.debug("%s stays relayed: %s", upgrade.peer, upgrade.reason)
            self._host.events.publish(
                UpgradeFailed(upgrade.peer, outcome, upgrade.reason or "unknown")
            )

    async def _retire(self, relayed: Connection, direct: Connection) -> None:
        """Close `relayed` after the grace period, once no stream is left on it."""
        with self._host.events.subscribe(StreamClosed) as closed:
            await trio.sleep(self.options.grace)
            while relayed.stream_count and not relayed.closed:
                await anext(closed)
        if not direct.closed:
            await relayed.aclose(reason="a direct connection took its place")

    # --- A ----------------------------------------------------------------------------------------

    async def _serve(self, stream: Stream) -> None:
        from carrick.protocols.dcutr.responding import respond
        from carrick.protocols.dcutr.state import ATTEMPTS

        connection, peer = stream.connection, stream.peer_id
        if not connection.is_relayed or connection.direction is Direction.INBOUND:
            raise ProtocolError("only who was reached over a relay may begin", peer=peer)
        upgrade = self.upgrade(connection)
        if "punch" in self._barred.get(peer, ()):
            upgrade.streamed.set()
            raise ProtocolError("a punch is not wanted", peer=peer)
        if upgrade.done.is_set():
            if upgrade.outcome is Outcome.CANCELLED or upgrade.connection is not None:
                raise ProtocolError("there is a direct connection", peer=peer)
            if len(upgrade.attempts) < ATTEMPTS:  # else it is refused
                upgrade = self._again(upgrade)
                if upgrade.done.is_set():
                    raise ProtocolError(upgrade.reason or "no more upgrades", peer=peer)
        self._give_way(peer)
        await respond(self._puncher, upgrade, stream)

    def _give_way(self, peer: PeerId) -> None:
        """Both dialled each other over relays: only one of the two leads."""
        for leading in self.upgrades:
            if leading.peer == peer and leading.initiator and not leading.done.is_set():
                if peer < self._host.id:
                    raise ProtocolError("we lead", peer=peer)
                leading.finish(Outcome.CANCELLED, "the peer leads")
                leading.attempting.cancel()

    def _again(self, upgrade: Upgrade) -> Upgrade:
        """The peer goes on with what we had given up."""
        again = Upgrade(upgrade.relayed, initiator=False)
        again.attempts = upgrade.attempts
        self._begin(again)
        return again

    # --- strategies -------------------------------------------------------------------------------

    def bar(self, goal: Goal) -> bool:
        """Keep the peer of `goal` from what is not wanted with it; whether there is any such."""
        peer, strategies = goal.peer, self._host.strategies
        barred = frozenset(
            name
            for name, own in self._strategies.items()
            if name not in goal.strategies or strategies.get(name) is not own
        )
        self.unbar(peer)
        if barred:
            self._barred[peer] = barred
            if "reverse" in barred:  # who knows no address of ours cannot dial back
                self._host.own_addresses.reticent.add(peer)
        return bool(barred)

    def unbar(self, peer: PeerId) -> None:
        """Everything is welcome."""
        self._barred.pop(peer, None)
        self._host.own_addresses.reticent.discard(peer)


def _is_relayed(opened: ConnectionOpened) -> bool:
    return opened.connection.is_relayed


def _how(upgrade: Upgrade, connection: Connection) -> str:
    """How the direct connection came about: `reverse`, `punch` or `direct`."""
    inbound = connection.direction is Direction.INBOUND
    if upgrade.initiator:
        reverse = not inbound and connection.remote_address in upgrade.dialled
    else:
        near = upgrade.nearby and reach(connection.remote_address) is not Reach.PUBLIC
        reverse = inbound and (near or not upgrade.punching)
    if reverse:
        return "reverse"
    return "punch" if upgrade.punching else "direct"


_OUTCOMES = {
    "reverse": Outcome.CONNECTION_REVERSED,
    "punch": Outcome.SUCCESS,
    "direct": Outcome.CANCELLED,
}

"""What both sides of an upgrade do: say where they will be, and meet there."""

from __future__ import annotations

import ipaddress
import logging
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from carrick.addressing import Multiaddr, rank
from carrick.errors import PEER_FAILURES
from carrick.host import Host, Nat
from carrick.interfaces import Role
from carrick.protocols.dcutr.addresses import Targets, hopeless, public_ips, targets, tellable
from carrick.protocols.dcutr.messages import Connect
from carrick.protocols.dcutr.moment import wait_for_moment
from carrick.protocols.dcutr.options import DcutrOptions
from carrick.protocols.dcutr.upgrade import Attempt, AttemptOutcome, Upgrade
from carrick.protocols.identify import Identify
from carrick.protocols.relay import split_relay

if TYPE_CHECKING:
    from carrick.addressing import IPAddress
    from carrick.identity import PeerId
    from carrick.network import Connection

__all__ = ["Puncher"]

_log = logging.getLogger("carrick.dcutr")

_LOOK = 1.0  # s for the relay to say where it sees us


class Puncher:
    """Knows our addresses, and punches.

    Args:
        made: called with each direct connection that comes of it.
    """

    def __init__(
        self, host: Host, options: DcutrOptions, made: Callable[[Upgrade, Connection], None]
    ) -> None:
        self.host = host
        self.options = options
        self._made = made

    # --- where we are -----------------------------------------------------------------------------

    def own_addresses(self) -> list[Multiaddr]:
        """Every address of ours, seen by anybody or not: those seen from outside first."""
        host, now = self.host, trio.current_time()
        listening = host.swarm.listen_addresses
        seen = host.observed.candidates(listening, now, observers=1)
        return [*seen, *host.own_addresses.known()]

    def own_ips(self) -> frozenset[IPAddress]:
        """Our public IP addresses."""
        known = public_ips(self.own_addresses())
        outside = self.host.nat.address
        return known if outside is None else known | {ipaddress.ip_address(outside)}

    async def predict(self, upgrade: Upgrade) -> tuple[Multiaddr, ...]:
        """Where the peer will see us, as far as that can be foretold: asked once, before anything
        is sent to the peer, for what is sent makes the mapping that stays."""
        async with upgrade.predicting:
            if upgrade.predicted is None:
                upgrade.predicted = tuple(await self.host.punch_addresses())
        return upgrade.predicted

    async def connect_message(self, upgrade: Upgrade, *, local: bool) -> Connect:
        """What we say in CONNECT.

        Args:
            local: the peer is on our side of the NAT: private addresses too.
        """
        host = self.host
        predicted = await self.predict(upgrade)
        addresses = tellable(
            [*predicted, *self.own_addresses()],
            local=local or self.options.allow_private,
            useful=lambda address: (
                host.swarm.can_punch(address) and not host.own_addresses.is_withheld(address)
            ),
        )
        return Connect(addresses, Nat(udp=host.nat.udp, tcp=host.nat.tcp))

    async def look_again(self, upgrade: Upgrade) -> None:
        """Ask the relay where it sees us now: our address outside may have changed, which a
        connection over QUIC outlives without telling us."""
        host, relay = self.host, split_relay(upgrade.relayed.remote_address)
        if relay is None or not host.has_service(Identify):
            return
        with trio.move_on_after(_LOOK):
            async with trio.open_nursery() as nursery:
                for connection in host.swarm.connections(relay[1]):
                    if not connection.is_relayed:
                        nursery.start_soon(self._identify, connection)

    async def _identify(self, connection: Connection) -> None:
        try:
            await self.host.service(Identify).identify(connection)
        except PEER_FAILURES as error:
            _log.debug("%s does not say where it sees us: %s", connection, error)

    # --- where the peer is ------------------------------------------------------------------------

    def targets(
        self, peer: PeerId, addresses: Iterable[Multiaddr], *, dial: bool = False
    ) -> Targets:
        """Where to punch, and where to dial.

        Args:
            dial: nothing is punched: what can be dialled will do.
        """
        swarm = self.host.swarm
        return targets(
            addresses,
            peer,
            own=self.own_ips(),
            mine=frozenset(self.own_addresses()),
            allow_private=self.options.allow_private,
            can_punch=self._can_dial if dial else swarm.can_punch,
            can_dial=self._can_dial,
        )

    def possible(self, found: Targets, theirs: Connect) -> tuple[Targets, str | None]:
        """`found` without what is hopeless, and why that is."""
        verdicts = {each: hopeless(self.host.nat, theirs.nat, each) for each in found.far}
        reasons = dict.fromkeys(reason for reason in verdicts.values() if reason is not None)
        far = tuple(each for each, reason in verdicts.items() if reason is None)
        return Targets(far, found.near), "; ".join(reasons) or None

    def _can_dial(self, address: Multiaddr) -> bool:
        swarm = self.host.swarm
        return any(each.can_dial(address) for each in swarm.transports)

    # --- meeting ----------------------------------------------------------------------------------

    async def meet(
        self,
        upgrade: Upgrade,
        attempt: Attempt,
        where: Targets,
        role: Role,
        *,
        at: float,
        timeout: float,
        near_at: float,
    ) -> None:
        """Punch at the time `at` and dial what is near at `near_at`, until there is a connection.

        `attempt` is ended if there is none after `timeout` seconds.
        """
        reason = f"nobody was met within {timeout:.2g} s"
        upgrade.punching, upgrade.nearby = True, bool(where.near)
        try:
            async with trio.open_nursery() as nursery:
                if where.near:
                    nursery.start_soon(self.dial, upgrade, where.near, near_at)
                with trio.CancelScope(deadline=at + timeout):
                    await wait_for_moment(at)
                    if where.far:
                        # Nothing may come between the two: this is the moment that was agreed.
                        try:
                            met = await self.host.swarm.punch(upgrade.peer, where.far, role=role)
                            self._made(upgrade, met)
                        except PEER_FAILURES as error:
                            reason = str(error)
                    if where.near:
                        await upgrade.done.wait()
                nursery.cancel_scope.cancel()
        finally:
            upgrade.punching = False
        if not upgrade.done.is_set():
            attempt.end(trio.current_time(), AttemptOutcome.FAILED, reason)

    async def dial(
        self, upgrade: Upgrade, addresses: Iterable[Multiaddr], at: float = -math.inf
    ) -> None:
        """Dial all of `addresses` in the ordinary way, the best first; ends when all have."""
        if at > trio.current_time():
            await trio.sleep_until(at)
        async with trio.open_nursery() as nursery:
            for address, delay in rank(addresses):
                upgrade.dialled.add(address)
                nursery.start_soon(self._dial, upgrade, address, delay)

    async def _dial(self, upgrade: Upgrade, address: Multiaddr, delay: float) -> None:
        swarm, peer = self.host.swarm, upgrade.peer
        await trio.sleep(delay)
        try:
            if swarm.gater.allow_dial(peer, address):
                self._made(upgrade, await swarm.dialer.dial_back(peer, address))
        except PEER_FAILURES as error:
            _log.debug("dialling %s at %s: %s", peer, address, error)

"""What a running node tells about itself, as the local API's methods."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import trio

from carrick import Connection, Host
from carrick.addressing import Multiaddr, Reach, ip_reach, is_relayed, reach
from carrick.cli.api.server import Method
from carrick.cli.output import milliseconds
from carrick.cli.peers import path
from carrick.host import NatBehaviour, Reachability
from carrick.protocols.autonat import AutoNat
from carrick.protocols.relay import AutoRelay, Limit, RelayClient, RelayService, Reservation
from carrick.sockets import current_sockets

__all__ = ["methods", "reservation_fields", "serving_fields"]


def methods(host: Host) -> dict[str, Method]:
    """By name, each a question without params."""
    started = trio.current_time()

    def status() -> dict[str, Any]:
        return _status(host) | {"uptime_ms": milliseconds(trio.current_time() - started)}

    return {
        "status": _plain(status),
        "peers": _plain(lambda: _peers(host)),
        "addrs": _plain(lambda: _addresses(host)),
        "relay": _plain(lambda: _relay(host)),
        "dht": _plain(lambda: _dht(host)),
    }


def _plain(tell: Callable[[], Any]) -> Method:
    async def method(params: Mapping[str, Any]) -> Any:
        await trio.lowlevel.checkpoint()
        return tell()

    return method


def _dht(host: Host) -> list[dict[str, Any]]:
    """The table of each DHT that the host takes part in."""
    from carrick.protocols.kademlia import Kademlia

    if not host.has_service(Kademlia):
        return []
    from carrick.cli.dht.tables import table_fields

    return [table_fields(each) for each in host.service(Kademlia).networks]


# --- status ---------------------------------------------------------------------------------------


def _status(host: Host) -> dict[str, Any]:
    connections = host.connections
    direct = {each.peer_id for each in connections if not each.is_relayed}
    everybody = {each.peer_id for each in connections}
    return {
        "id": host.id,
        "process": os.getpid(),
        "reachability": _reachability(host)[0].value,
        "nat": {
            "udp": _behaviour(host.nat.udp),
            "tcp": _behaviour(host.nat.tcp),
            "layers": host.nat.layers.value,
            "addr": host.nat.address,
        },
        "public_addr": _public_address(host),
        "relay": _relay(host),
        "peers": {
            "total": len(everybody),
            "direct": len(direct),
            "relayed": len(everybody - direct),
        },
        "interfaces": [
            {"addr": str(each), "reach": ip_reach(each.ip).value}
            for each in current_sockets().interface_addresses()
        ],
    }


def _reachability(host: Host) -> tuple[Reachability, Mapping[Multiaddr, Reachability]]:
    if not host.has_service(AutoNat):
        return Reachability.UNKNOWN, {}
    service = host.service(AutoNat)
    return service.reachability, service.addresses


def _behaviour(nat: NatBehaviour) -> dict[str, Any]:
    return {
        "type": nat.type,
        "mapping": nat.mapping.value,
        "filtering": nat.filtering.value,
        "delta": nat.delta.value,
        "hairpin": nat.hairpin,
    }


def _public_address(host: Host) -> dict[str, Any]:
    """Which public address we have, by whose word, and how many observers it has or lacks."""
    counts = _observers(host)
    address = max(counts, key=lambda each: counts[each], default=None)
    told = [each for each in host.own_addresses.all() if reach(each) is Reach.PUBLIC]
    source = "observed"
    if told and (address is None or counts[address] < host.observed.observers):
        address, source = told[0], "own"  # of an interface, mapped, announced, or dialled back
    return {
        "addr": address,
        "source": source,
        "observers": 0 if address is None else counts.get(address, 0),
        "needed": host.observed.observers,
    }


def _observers(host: Host) -> dict[Multiaddr, int]:
    return host.observed.counts(host.swarm.listen_addresses, trio.current_time())


# --- peers ----------------------------------------------------------------------------------------


def _peers(host: Host) -> list[dict[str, Any]]:
    return [_connection(host, each) for each in host.connections]


def _connection(host: Host, connection: Connection) -> dict[str, Any]:
    """The fields of `ipfs swarm peers`, and the path."""
    store, peer = host.peerstore, connection.peer_id
    return {
        "peer": peer,
        "addr": connection.remote_address,
        "path": path(connection),
        "direction": connection.direction.value,
        "latency_ms": milliseconds(connection.rtt),
        "transport": connection.transport,
        "security": connection.security,
        "muxer": connection.muxer,
        "streams": [
            {"protocol": each.protocol, "direction": each.direction.value}
            for each in connection.streams
        ],
        "identify": {
            "agent_version": store.metadata(peer).get("agent_version"),
            "protocol_version": store.metadata(peer).get("protocol_version"),
            "addrs": list(store.addresses(peer)),
            "protocols": sorted(store.protocols(peer) or ()),
        },
        "open_ms": milliseconds(trio.current_time() - connection.opened_at),
    }


# --- addresses ------------------------------------------------------------------------------------


def _addresses(host: Host) -> dict[str, Any]:
    reachability, verdicts = _reachability(host)
    found: dict[Reachability, list[Multiaddr]] = {each: [] for each in Reachability}
    for address, verdict in verdicts.items():
        found[verdict].append(address)
    own = host.own_addresses.all()
    return {
        "id": host.id,
        "listen": list(host.swarm.listen_addresses),
        "advertised": {
            "public": [each for each in own if reach(each) in (Reach.PUBLIC, Reach.NAME)],
            "relayed": [each for each in own if is_relayed(each)],
            "local": [
                each
                for each in own
                if reach(each) not in (Reach.PUBLIC, Reach.NAME) and not is_relayed(each)
            ],
        },
        "observed": [
            {"addr": address, "observers": count, "needed": host.observed.observers}
            for address, count in _observers(host).items()
        ],
        "reachability": reachability.value,
        "reachable": found[Reachability.PUBLIC],
        "unreachable": found[Reachability.PRIVATE],
        "unknown": found[Reachability.UNKNOWN],
    }


# --- relays ---------------------------------------------------------------------------------------


def _relay(host: Host) -> dict[str, Any]:
    kept = host.service(RelayClient).reservations if host.has_service(RelayClient) else ()
    known = host.service(AutoRelay).candidates if host.has_service(AutoRelay) else ()
    return {
        "reserved": sum(each.active for each in kept),
        "reservations": [reservation_fields(each) for each in kept],
        "candidates": list(known),
        "serving": serving_fields(host.service(RelayService))
        if host.has_service(RelayService)
        else None,
    }


def reservation_fields(kept: Reservation) -> dict[str, Any]:
    """A slot that we have, or want to have."""
    left = max(0.0, kept.expires - trio.current_time()) if kept.active else None
    return {
        "relay": kept.relay,
        "active": kept.active,
        "addrs": list(kept.addresses),
        "left_ms": milliseconds(left),
        "expires": None if left is None else _at(time.time() + left),
        "renewals": kept.renewals,
        "voucher": kept.voucher is not None,
        **_limit_fields(kept.limit),
    }


def _limit_fields(limit: Limit) -> dict[str, Any]:
    """Of each circuit; None for no limit."""
    return {
        "limit_time_ms": milliseconds(limit.duration) if limit.duration else None,
        "limit_bytes": limit.data or None,
    }


def serving_fields(service: RelayService) -> dict[str, Any]:
    """What we give as a relay."""
    options = service.options
    return {
        "reservations": service.reservations,
        "circuits": service.circuits,
        "max_reservations": options.capacity.reservations,
        "max_circuits": options.capacity.circuits_per_peer,
        "per_ip": options.capacity.reservations_per_ip,
        **_limit_fields(options.limit),
    }


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

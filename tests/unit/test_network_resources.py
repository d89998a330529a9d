from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from carrick.errors import ConnectionClosed, ResourceLimitExceeded
from carrick.identity import PeerId, PrivateKey
from carrick.interfaces import Direction
from carrick.network.limits import MIB, Limits
from carrick.network.resources import (
    CONNECTION_MEMORY,
    ConnectionReservation,
    Kind,
    ResourceManager,
)

IN, OUT = Direction.INBOUND, Direction.OUTBOUND
PEERS = [PrivateKey.generate().peer_id for _ in range(40)]


def manager(**overrides: Any) -> ResourceManager:
    return ResourceManager(Limits().with_overrides(**overrides))


def connected(
    resources: ResourceManager, peer: PeerId = PEERS[0], direction: Direction = IN
) -> ConnectionReservation:
    connection = resources.open_connection(direction)
    connection.authenticated(peer)
    return connection


def refused(limit: str) -> Any:
    return pytest.raises(ResourceLimitExceeded, match=rf"{limit} is \d+.*--limit {limit}=")


def everything(resources: ResourceManager) -> int:
    return sum(sum(counts.values()) for counts in resources.stat().values())


def test_a_connection_and_its_streams_return_to_nothing() -> None:
    resources = manager()
    with resources.open_connection(IN, ip=ipaddress.ip_address("1.2.3.4")) as connection:
        assert resources.stat()["transient"]["connections_inbound"] == 1
        connection.authenticated(PEERS[0])
        assert resources.stat()["transient"]["connections_inbound"] == 0
        with connection.open_stream(IN) as stream:
            assert resources.stat()["transient"]["streams_inbound"] == 1
            stream.negotiated("/echo/1", service="echo")
            stat = resources.stat()
            assert stat["transient"]["streams_inbound"] == 0
            assert stat["protocol /echo/1"]["streams_inbound"] == 1
            assert stat[f"protocol /echo/1 of {PEERS[0]}"]["streams_inbound"] == 1
            assert stat["service echo"]["streams_inbound"] == 1
            assert stat[f"service echo of {PEERS[0]}"]["streams_inbound"] == 1
            assert stat[f"peer {PEERS[0]}"]["streams"] == 1
        assert connection.budget.try_reserve(MIB)
        assert resources.stat()["system"]["memory"] == MIB + CONNECTION_MEMORY
    assert everything(resources) == 0
    assert set(resources.stat()) == {"system", "transient"}


def test_the_error_names_scope_limit_and_what_to_do() -> None:
    resources = manager(connections_per_peer=1)
    connected(resources)
    with pytest.raises(ResourceLimitExceeded) as caught:
        connected(resources)
    text = str(caught.value)
    assert f"peer {PEERS[0]}" in text
    assert "connections_per_peer is 1, 1 in use" in text
    assert ".limits(connections_per_peer=" in text


def test_connections_per_peer() -> None:
    resources = manager()
    for _ in range(8):
        connected(resources)
    with resources.open_connection(IN) as ninth, refused("connections_per_peer"):
        ninth.authenticated(PEERS[0])
    connected(resources, PEERS[1])


def test_inbound_connections_leave_a_reserve_for_outbound_ones() -> None:
    resources = manager(connections=16, connections_inbound=12)
    for number in range(12):
        connected(resources, PEERS[number])
    with refused("connections_inbound"):
        resources.open_connection(IN)
    for number in range(12, 16):
        connected(resources, PEERS[number], OUT)
    with refused("connections"):
        resources.open_connection(OUT)


def test_who_gives_way_is_asked_only_when_the_places_are_used_up() -> None:
    resources = manager(connections=16, connections_inbound=12)
    asked: list[int] = []
    for number in range(12):
        connected(resources, PEERS[number])
    with refused("connections_inbound"):
        resources.open_connection(IN, spare=lambda: bool(asked.append(1)))
    assert asked == [1]
    resources = manager(connections=16, connections_inbound=12)
    resources.open_connection(IN, spare=lambda: bool(asked.append(2)))
    assert asked == [1]


def test_protected_peers_have_a_reserve() -> None:
    resources = manager(connections=16, connections_inbound=12)
    for number in range(12):
        connected(resources, PEERS[number])
    stranger = resources.open_connection(IN, spare=lambda: True)
    with stranger, refused("connections_inbound"):
        stranger.authenticated(PEERS[20])
    friend = resources.open_connection(IN, spare=lambda: True)
    friend.authenticated(PEERS[21], protected=True)
    friend.release()
    assert resources.stat()["system"]["connections_inbound"] == 12


def test_pending_connections_count_as_inbound() -> None:
    resources = manager(connections=16, connections_inbound=12)
    pending = [resources.open_connection(IN) for _ in range(12)]
    with refused("connections_inbound"):
        resources.open_connection(IN)
    pending[0].release()
    resources.open_connection(IN)


def test_pending_connections_in_all() -> None:
    resources = manager(connections_pending=3)
    pending = [resources.open_connection(IN) for _ in range(3)]
    assert resources.pending_is_full
    with refused("connections_pending"):
        resources.open_connection(IN)
    pending[0].authenticated(PEERS[0])
    assert not resources.pending_is_full


def test_a_refused_connection_gives_its_address_back() -> None:
    resources = manager(connections_pending=1)
    ip = ipaddress.ip_address("1.2.3.4")
    first = resources.open_connection(IN, ip=ip, now=0)
    for _ in range(40):
        with refused("connections_pending"):
            resources.open_connection(IN, ip=ip, now=0)
    first.release()
    with resources.open_connection(IN, ip=ip, now=0):
        pass
    assert everything(resources) == 0


@pytest.mark.parametrize(
    ("limit", "count", "direction"),
    [
        ("streams_pending_per_connection", 256, IN),
        ("streams_per_connection", 1000, OUT),
    ],
)
def test_streams_of_one_connection(limit: str, count: int, direction: Direction) -> None:
    connection = connected(manager())
    for _ in range(count):
        connection.open_stream(direction)
    with refused(limit):
        connection.open_stream(direction)


def test_negotiated_streams_of_one_connection() -> None:
    connection = connected(manager())
    for number in range(512):
        connection.open_stream(IN).negotiated(f"/echo/{number // 64}")
    with refused("streams_inbound_per_connection"):
        connection.open_stream(IN)


def test_streams_of_one_protocol_and_peer() -> None:
    resources = manager()
    connection = connected(resources)
    for protocol, maximum, own in (
        ("/echo/1", 64, None),
        ("/ipfs/ping/1.0.0", 2, None),
        ("/ipfs/id/1.0.0", 16, None),
        ("/special/1", 5, 5),
    ):
        for _ in range(maximum):
            connection.open_stream(IN).negotiated(protocol, per_peer=own)
        stream = connection.open_stream(IN)
        with stream, refused("streams_inbound_per_protocol_and_peer"):
            stream.negotiated(protocol, per_peer=own)
    connected(resources, PEERS[1]).open_stream(IN).negotiated("/ipfs/ping/1.0.0")


def test_a_persons_number_for_a_protocol_beats_the_handlers() -> None:
    limits = Limits().with_settings(["/echo/1=1"])
    connection = connected(ResourceManager(limits))
    connection.open_stream(IN).negotiated("/echo/1", per_peer=5)
    with refused("streams_inbound_per_protocol_and_peer"):
        connection.open_stream(IN).negotiated("/echo/1", per_peer=5)


def test_a_flood_of_streams_leaves_room_for_others() -> None:
    """ATTACKS row 20: many connections that hold all the streams they can get."""
    resources = manager()
    attackers = [connected(resources, PEERS[number]) for number in range(30)]
    for connection in attackers:
        with pytest.raises(ResourceLimitExceeded):
            while True:
                connection.open_stream(IN)
    assert resources.stat()["transient"]["streams_inbound"] == 4096 + 14 * 8
    healthy = connected(resources, PEERS[30])
    for _ in range(8):
        healthy.open_stream(IN).negotiated("/echo/1")
    for _ in range(8):
        healthy.open_stream(IN)
    with refused("streams_pending"):
        healthy.open_stream(IN)


def test_releasing_a_connection_releases_its_streams() -> None:
    resources = manager()
    connection = connected(resources)
    streams = [connection.open_stream(IN) for _ in range(5)]
    streams[0].negotiated("/echo/1")
    connection.budget.try_reserve(100)
    connection.release()
    connection.release()
    for stream in streams:
        stream.release()
    connection.budget.release(100)
    assert everything(resources) == 0
    assert not connection.budget.try_reserve(1)
    with pytest.raises(ConnectionClosed):
        connection.open_stream(IN)


def test_memory_of_a_connection_of_a_peer_and_in_all() -> None:
    exhausted: list[bool] = []
    resources = ResourceManager(
        Limits(memory=10 * MIB, memory_per_peer=6 * MIB, memory_per_connection=4 * MIB),
        on_exhausted=lambda: exhausted.append(True),
    )
    one, two = connected(resources), connected(resources)
    assert one.budget.try_reserve(4 * MIB)
    assert not one.budget.try_reserve(1)
    assert not two.budget.try_reserve(2 * MIB)
    assert two.budget.try_reserve(MIB)
    other = connected(resources, PEERS[1])
    assert not exhausted
    assert other.budget.try_reserve(4 * MIB)
    third = connected(resources, PEERS[2], OUT)
    assert not third.budget.try_reserve(3 * MIB)
    assert exhausted
    one.budget.release(4 * MIB)
    assert third.budget.try_reserve(3 * MIB)
    with pytest.raises(ValueError, match="given back"):
        third.budget.release(4 * MIB)


def test_memory_reserved_before_the_peer_is_known_is_the_peers() -> None:
    resources = manager()
    connection = resources.open_connection(IN)
    assert connection.budget.try_reserve(MIB)
    connection.authenticated(PEERS[0])
    assert resources.stat()[f"peer {PEERS[0]}"]["memory"] == MIB + CONNECTION_MEMORY
    connection.budget.release(MIB)
    assert resources.stat()[f"peer {PEERS[0]}"]["memory"] == CONNECTION_MEMORY
    connection.release()
    assert everything(resources) == 0


def test_no_new_inbound_connections_under_memory_pressure() -> None:
    resources = manager(memory=10 * MIB)
    assert connected(resources).budget.try_reserve(9 * MIB)
    with refused("memory"):
        resources.open_connection(IN)
    resources.open_connection(OUT)


def test_kinds_are_reported_by_name() -> None:
    assert set(manager().stat()["system"]) == {kind.name.lower() for kind in Kind}

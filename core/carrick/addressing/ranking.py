"""In which order, and how far apart, the addresses of one peer are dialled.

Happy Eyeballs (RFC 8305) for libp2p: whoever answers first wins, and the better address gets a
head start. Delays and order are go-libp2p's (`p2p/net/swarm/dial_ranker.go`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from multiaddr import Multiaddr

from carrick.addressing.address import host_ip, names, transport_name
from carrick.addressing.codec import parts
from carrick.addressing.reach import Reach, is_tunnelled, reach

# Seconds; go-libp2p `p2p/net/swarm/dial_ranker.go`, the first after RFC 8305 section 8.
PUBLIC_DELAY = 0.250
PUBLIC_OTHER_DELAY = 1.0
PRIVATE_DELAY = 0.030
PRIVATE_OTHER_DELAY = 0.100
RELAY_DELAY = 0.500

_PRIVATE = frozenset({Reach.LOOPBACK, Reach.PRIVATE, Reach.LINK_LOCAL, Reach.CGNAT})
_AT_ONCE = frozenset({Reach.MEMORY, Reach.OTHER})


def rank(addresses: Iterable[Multiaddr]) -> tuple[tuple[Multiaddr, float], ...]:
    """Order the addresses of one peer for dialling.

    Addresses of the local network, of the internet and over relays are three groups that run side
    by side; relays wait 0.5 s if there is an internet address. In a group QUIC goes first, then
    TCP, then the rest; of each, the IPv6 address with the lowest port first, then the best IPv4
    address, then all others. Unspecified addresses are left out, so are repeated ones, and
    WebTransport where QUIC is at the same place. 6to4 and Teredo come last in their group.

    Returns:
        (address, delay): seconds from the start of dialling. Sorted by delay. If an attempt has
        failed before the next is due, the dialer may go on at once.
    """
    return _rank(tuple(addresses))


@lru_cache(256)
def _rank(addresses: tuple[Multiaddr, ...]) -> tuple[tuple[Multiaddr, float], ...]:
    private: list[Multiaddr] = []
    public: list[Multiaddr] = []
    relayed: list[Multiaddr] = []
    at_once: list[Multiaddr] = []
    for address in _without_webtransport_twins(dict.fromkeys(addresses)):
        kind = reach(address)
        if kind is Reach.UNSPECIFIED:
            continue
        if kind is Reach.RELAYED:
            relayed.append(address)
        elif kind in _PRIVATE:
            private.append(address)
        elif kind in _AT_ONCE:
            at_once.append(address)
        else:
            public.append(address)
    ranked = [(address, 0.0) for address in at_once]
    ranked += _rank_group(private, PRIVATE_DELAY, PRIVATE_OTHER_DELAY)
    ranked += _rank_group(public, PUBLIC_DELAY, PUBLIC_OTHER_DELAY)
    offset = RELAY_DELAY if public else 0.0
    ranked += [
        (address, offset + delay)
        for address, delay in _rank_group(relayed, PUBLIC_DELAY, PUBLIC_OTHER_DELAY)
    ]
    return tuple(sorted(ranked, key=lambda entry: entry[1]))


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    """How an address is dialled first: the whole address, or the way to its relay."""

    transport: int  # 0 quic-v1, 1 webtransport, 2 tcp, 3 websocket, 4 others
    family: int  # 0 IPv6, 1 IPv4, 2 unknown
    port: int


def _place(address: Multiaddr) -> _Place:
    present = names(address)
    if "p2p-circuit" in present:
        present = present[: present.index("p2p-circuit")]
    if "webtransport" in present:
        transport = 1
    elif "quic-v1" in present:
        transport = 0
    elif "tcp" in present:
        transport = 3 if "ws" in present or "wss" in present else 2
    else:
        transport = 4
    ip = host_ip(address)
    family = 2 if ip is None else 0 if ip.version == 6 else 1
    ports = (value for name, value in parts(address) if name in ("tcp", "udp"))
    return _Place(transport, family, int(next(ports, None) or 0))


def _rank_group(
    addresses: list[Multiaddr], delay: float, other_delay: float
) -> list[tuple[Multiaddr, float]]:
    placed = sorted(((_place(address), address) for address in addresses), key=lambda at: at[0])
    direct = [entry for entry in placed if not is_tunnelled(entry[1])]
    ranked: list[tuple[Multiaddr, float]] = []
    for transports, head_start in (((0, 1), delay), ((2, 3), delay), ((4,), other_delay)):
        chosen = [entry for entry in direct if entry[0].transport in transports]
        start = ranked[-1][1] + head_start if ranked else 0.0
        step = 0.0 if 4 in transports else delay
        ranked += [(address, start + after) for address, after in _eyeballs(chosen, step)]
    start = ranked[-1][1] + other_delay if ranked else 0.0
    ranked += [(address, start) for _, address in placed if is_tunnelled(address)]
    return ranked


def _eyeballs(
    placed: list[tuple[_Place, Multiaddr]], delay: float
) -> list[tuple[Multiaddr, float]]:
    """The first at once, the best IPv4 address second if the first is IPv6, then the others."""
    order = list(placed)
    second = None
    if order and order[0][0].family == 0:
        second = next((entry for entry in order if entry[0].family == 1), None)
    if second is not None:
        order.remove(second)
        order.insert(1, second)
    rest = 2 * delay if second is not None else delay
    delays = [0.0, delay] + [rest] * len(order)
    return [(address, after) for (_, address), after in zip(order, delays, strict=False)]


def _without_webtransport_twins(addresses: Iterable[Multiaddr]) -> list[Multiaddr]:
    """Drop WebTransport addresses whose IP address and port also speak plain QUIC."""
    transports = {address: transport_name(address) for address in addresses}
    quic = {parts(address)[:2] for address, name in transports.items() if name == "quic-v1"}
    return [
        address
        for address, name in transports.items()
        if name != "webtransport" or parts(address)[:2] not in quic
    ]

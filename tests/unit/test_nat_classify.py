"""What follows from what was seen of a NAT: scripted NATs, no sockets."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from carrick.addressing import parse_address
from carrick.host import Dependence, Layers, NatBehaviour, ObservedAddresses, PortDelta
from carrick.host.observed import Sighting
from carrick.protocols.nat import Binding, Evidence, Findings, nat_of, parse_server
from carrick.protocols.nat.base_probe import is_second
from carrick.protocols.nat.classify import (
    behaviour_of,
    combine,
    filtering_of,
    layers_of,
    mapping_of,
)
from carrick.protocols.nat.delta import SAMPLES, next_ports, port_delta
from carrick.protocols.nat.peers import behaviour_from_peers

UNKNOWN, NOTHING = Dependence.UNKNOWN, Dependence.NOTHING
ADDRESS, BOTH = Dependence.ADDRESS, Dependence.ADDRESS_AND_PORT
LOCAL = ("192.168.1.2", 4001)
OUTSIDE = "11.0.113.11"
S1, S1B, S2, S2B = ("11.0.0.1", 1), ("11.0.0.1", 2), ("11.0.0.2", 1), ("11.0.0.2", 2)


def seen(**ports: int) -> list[Binding]:
    remotes = {"s1": S1, "s1b": S1B, "s2": S2, "s2b": S2B}
    return [Binding(LOCAL, remotes[name], (OUTSIDE, port)) for name, port in ports.items()]


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ({"s1": 7, "s1b": 7, "s2": 7, "s2b": 7}, NOTHING),
        ({"s1": 7, "s2": 7}, NOTHING),
        ({"s1": 7, "s1b": 7, "s2": 8, "s2b": 8}, ADDRESS),
        ({"s1": 7, "s2": 8, "s2b": 8}, ADDRESS),
        ({"s1": 7, "s1b": 8, "s2": 9}, BOTH),
        ({"s1": 7, "s1b": 8}, BOTH),
        ({"s1": 7, "s2": 8}, BOTH),  # the stricter of the two that it may be
        ({"s1": 7, "s1b": 7}, UNKNOWN),
        ({"s1": 7}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_mapping(ports: dict[str, int], expected: Dependence) -> None:
    assert mapping_of(seen(**ports)) is expected


def test_local_ports_are_not_mixed_up() -> None:
    one = Binding(("192.168.1.2", 1), S1, (OUTSIDE, 1))
    two = Binding(("192.168.1.2", 2), S2, (OUTSIDE, 2))
    assert mapping_of([one, two]) is UNKNOWN


@pytest.mark.parametrize(
    ("other_address", "other_port", "expected"),
    [
        (True, True, NOTHING),
        (True, None, NOTHING),
        (False, True, ADDRESS),
        (False, False, BOTH),
        (False, None, UNKNOWN),
        (None, False, UNKNOWN),
        (None, None, UNKNOWN),
    ],
)
def test_filtering(other_address: bool, other_port: bool, expected: Dependence) -> None:
    assert filtering_of(other_address, other_port) is expected


# --- ports ----------------------------------------------------------------------------------------


def scripted(kind: str, rng: random.Random) -> Callable[[int], int]:
    """A source of mappings: the port inside → the port outside."""
    counter = itertools.count(30_000, 3)
    salt = rng.randrange(1, 5000)
    last = [0, 30_000]

    def dependent(port: int) -> int:
        """Follows the port inside by fixed steps only from one to the next."""
        outside = last[1] + 3 if port == last[0] + 1 else rng.randrange(1024, 65536)
        last[:] = port, outside
        return outside

    return {
        "equal": lambda port: port,
        "preserving": lambda port: (port + salt) % 65536,
        "independent": lambda port: next(counter),
        "dependent": dependent,
        "random": lambda port: rng.randrange(1024, 65536),
    }[kind]


@pytest.mark.parametrize("disturbed", [False, True])
@pytest.mark.parametrize("kind", ["equal", "preserving", "independent", "dependent", "random"])
def test_five_kinds_of_ports(kind: str, disturbed: bool) -> None:
    """B8: five of five, in twenty runs; also if others behind the NAT take two ports meanwhile."""
    for seed in range(20):
        rng = random.Random(seed)
        source = scripted(kind, rng)
        series = []
        for ports in (rng.sample(range(32768, 60999), SAMPLES), range(40_000, 40_000 + SAMPLES)):
            pairs = []
            for at, port in enumerate(ports):
                if disturbed and at == 4 and kind != "dependent":
                    source(rng.randrange(1024, 65536))
                pairs.append((port, source(port)))
            series.append(pairs)
        delta, step = port_delta(*series)
        assert delta is PortDelta(kind), seed
        assert step == (3 if kind in ("independent", "dependent") else 0)


def test_few_mappings_say_nothing() -> None:
    assert port_delta([(1, 9), (2, 77)], []) == (PortDelta.UNKNOWN, 0)


@pytest.mark.parametrize(
    ("measured", "step", "expected"),
    [
        ([100], 1, [101, 102, 103]),
        ([100, 101], 1, [102, 103, 104]),
        ([100, 102], 1, [103, 104, 105]),  # somebody else had 101
        ([100, 356], 256, [612, 868, 1124]),
        ([100, 90], -10, [80, 70, 60]),
        ([65000, 65256], 256, [65512]),
        ([100, 90], 1, []),
        ([100, 150], 256, []),
        ([100, 5000], 1, []),
        ([100, 100], 1, []),
        ([100], 0, []),
        ([], 1, []),
    ],
)
def test_the_next_ports(measured: list[int], step: int, expected: list[int]) -> None:
    assert next_ports(measured, step, 3) == expected


# --- all together ---------------------------------------------------------------------------------


def test_what_is_seen_at_an_address_of_ours_is_not_translated() -> None:
    evidence = Evidence(bindings=[Binding(("0.0.0.0", 4001), S1, (OUTSIDE, 4001))])
    here = behaviour_of(evidence, {OUTSIDE})
    assert (here.translates, here.mapping) == (False, NOTHING)
    there = behaviour_of(evidence, {"192.168.1.2"})
    assert (there.translates, there.mapping) == (True, UNKNOWN)
    elsewhere = Evidence(bindings=[Binding(("0.0.0.0", 4001), S1, (OUTSIDE, 4002))])
    assert behaviour_of(elsewhere, {OUTSIDE}).translates


def test_udp_is_blocked_if_only_tcp_is_answered() -> None:
    silent, answered = Evidence(asked=True), Evidence(asked=True, bindings=seen(s1=7, s2=7))
    assert nat_of(Findings(udp=silent, tcp=answered)).udp.type == "blocked"
    assert nat_of(Findings(udp=silent, tcp=silent)).udp.type == "unknown"
    assert not nat_of(Findings(udp=answered, tcp=silent)).tcp.blocked


@pytest.mark.parametrize(
    ("own", "gateway", "translates", "expected"),
    [
        (OUTSIDE, None, False, Layers.NONE),
        ("192.168.1.2", None, True, Layers.UNKNOWN),
        ("192.168.1.2", OUTSIDE, True, Layers.ONE),
        ("192.168.1.2", "10.0.0.5", True, Layers.DOUBLE),
        ("192.168.1.2", "100.64.0.2", True, Layers.CARRIER),
        ("100.64.0.2", None, True, Layers.CARRIER),
        ("192.168.1.2", "192.168.1.2", True, Layers.UNKNOWN),  # our own is no word of a gateway
        ("192.168.1.2", "11.9.9.9", True, Layers.UNKNOWN),  # several ways out
        ("192.168.1.2", "nonsense", True, Layers.UNKNOWN),
        ("192.168.1.2", None, None, Layers.UNKNOWN),
    ],
)
def test_layers(own: str, gateway: str | None, translates: bool, expected: Layers) -> None:
    assert layers_of({own, "127.0.0.1"}, OUTSIDE, translates, gateway) is expected


def test_combining_keeps_what_the_first_knows() -> None:
    first = NatBehaviour(mapping=BOTH, translates=True, delta=PortDelta.RANDOM)
    second = NatBehaviour(mapping=NOTHING, filtering=NOTHING, delta=PortDelta.EQUAL)
    both = combine(first, second)
    assert (both.mapping, both.filtering, both.delta) == (BOTH, NOTHING, PortDelta.RANDOM)
    assert not combine(NatBehaviour(blocked=True), second).blocked
    assert combine(NatBehaviour(blocked=True), NatBehaviour()).blocked


# --- peers ----------------------------------------------------------------------------------------


def observed(*ports: int, protocol: str = "udp", local: int = 4001) -> list[Sighting]:
    """What peers of as many networks see, as an `ObservedAddresses` tells it."""
    collected = ObservedAddresses()
    transport = {"udp": "/udp/{}/quic-v1", "tcp": "/tcp/{}"}[protocol]
    for at, port in enumerate(ports):
        collected.record(
            at,
            local=parse_address("/ip4/192.168.1.2" + transport.format(local)),
            remote=parse_address(f"/ip4/11.0.{at + 1}.1" + transport.format(4001)),
            seen=parse_address(f"/ip4/{OUTSIDE}" + transport.format(port)),
            now=float(at),
        )
    return list(collected.sightings(100.0))


@pytest.mark.parametrize(
    ("ports", "mapping", "delta"),
    [
        ((), UNKNOWN, PortDelta.UNKNOWN),
        ((4001,), UNKNOWN, PortDelta.UNKNOWN),
        ((4001, 4001), NOTHING, PortDelta.EQUAL),
        ((7, 7, 7), NOTHING, PortDelta.UNKNOWN),
        ((7, 9), BOTH, PortDelta.UNKNOWN),
        ((4001, 4001, 666), NOTHING, PortDelta.EQUAL),  # one of them lies
        ((4001, 4001, 7, 7), UNKNOWN, PortDelta.UNKNOWN),
        ((10, 12, 14, 16, 18, 20, 22), BOTH, PortDelta.INDEPENDENT),
        ((10, 900, 17, 4000, 2, 123, 65000), BOTH, PortDelta.RANDOM),
    ],
)
def test_what_peers_see(ports: tuple[int, ...], mapping: Dependence, delta: PortDelta) -> None:
    for protocol, other in (("udp", "tcp"), ("tcp", "udp")):
        sightings = observed(*ports, protocol=protocol)
        own = {"192.168.1.2"}
        behaviour = behaviour_from_peers(sightings, protocol=protocol, addresses=own)
        assert (behaviour.mapping, behaviour.delta) == (mapping, delta)
        assert behaviour.is_predictable is (delta is PortDelta.INDEPENDENT)
        assert behaviour_from_peers(sightings, protocol=other, addresses=own) == NatBehaviour()


def test_strangers_that_reach_us_show_the_filter() -> None:
    sightings = observed(7, 7)
    for reachable, filtering in (
        ((), UNKNOWN),
        (((OUTSIDE, 7),), NOTHING),
        (((OUTSIDE, 8),), UNKNOWN),
    ):
        behaviour = behaviour_from_peers(
            sightings, protocol="udp", addresses=(), reachable=reachable
        )
        assert behaviour.filtering is filtering


def test_servers_count_more_than_peers() -> None:
    findings = Findings(udp=Evidence(asked=True, bindings=seen(s1=7, s1b=8)))
    nat = nat_of(findings, observed(7, 7))
    assert nat.udp.mapping is BOTH
    nat = nat_of(Findings(), observed(7, 7))
    assert (nat.udp.mapping, nat.address) == (NOTHING, OUTSIDE)


# --- what servers may have us do ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (("11.0.0.2", 3479), True),
        (("11.0.0.1", 3479), False),
        (("11.0.0.2", 3478), False),
        (("192.168.1.1", 80), False),
        (("127.0.0.1", 22), False),
        (("100.64.0.1", 80), False),
        (("224.0.0.251", 5353), False),
        (("255.255.255.255", 9), False),
        (("0.0.0.0", 9), False),
        (("2a00::1", 3479), False),
    ],
)
def test_a_public_server_sends_us_nowhere_inside(other: tuple[str, int], expected: bool) -> None:
    assert is_second(other, ("11.0.0.1", 3478)) is expected


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stun.example.org", ("stun.example.org", 3478)),
        ("stun.example.org:19302", ("stun.example.org", 19302)),
        ("192.0.2.1", ("192.0.2.1", 3478)),
        ("192.0.2.1:1", ("192.0.2.1", 1)),
        ("2001:db8::1", ("2001:db8::1", 3478)),
        ("[2001:db8::1]", ("2001:db8::1", 3478)),
        ("[2001:db8::1]:9", ("2001:db8::1", 9)),
    ],
)
def test_servers_by_name(text: str, expected: tuple[str, int]) -> None:
    assert parse_server(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":1", "a:b", "a:0", "a:65536", "[::1", "[::1]x", "a:1:b", "a:"]
)
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="STUN server"):
        parse_server(text)

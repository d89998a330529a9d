"""Our own addresses: what is collected, what a person decides, and whom we tell what."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

import pytest
from multiaddr import Multiaddr

from carrick.addressing import parse_address
from carrick.host import Announcement, OwnAddresses
from carrick.interfaces import IPInterface
from carrick.sockets import KernelSockets, use_sockets

INTERFACES = [
    ipaddress.ip_interface(text)
    for text in (
        "127.0.0.1/8",
        "::1/128",
        "192.168.1.5/24",
        "2a01:4f8::5/64",
        "fe80::5%eth0/64",
        "1.2.3.4/24",
    )
]


class InterfacesOnly(KernelSockets):
    def interface_addresses(self) -> list[IPInterface]:
        return INTERFACES


@pytest.fixture(autouse=True)
def interfaces() -> Iterator[None]:
    with use_sockets(InterfacesOnly()):
        yield


def parsed(texts: Sequence[str]) -> list[Multiaddr]:
    return [parse_address(text) for text in texts]


def own(
    *listening: str,
    announce: Sequence[str] = (),
    append: Sequence[str] = (),
    withhold: Sequence[str] = (),
    source: Sequence[str] = (),
) -> OwnAddresses:
    announcement = Announcement(
        parsed(announce), parsed(append), [ipaddress.ip_network(each) for each in withhold]
    )
    made = OwnAddresses(lambda: parsed(listening), announcement, lambda: 0.0)
    made.add_source(lambda: parsed(source))
    return made


def texts(found: Sequence[Multiaddr]) -> list[str]:
    return [str(address) for address in found]


def test_what_we_listen_on() -> None:
    assert texts(own("/ip4/1.2.3.4/tcp/1", "/memory/5").all()) == [
        "/ip4/1.2.3.4/tcp/1",
        "/memory/5",
    ]
    assert own().all() == ()


def test_wildcards_are_expanded_within_their_family() -> None:
    assert texts(own("/ip4/0.0.0.0/tcp/1").all()) == [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/192.168.1.5/tcp/1",
        "/ip4/1.2.3.4/tcp/1",
    ]
    # Link-local addresses mean nothing without a zone.
    assert texts(own("/ip6/::/tcp/2").all()) == ["/ip6/::1/tcp/2", "/ip6/2a01:4f8::5/tcp/2"]


def test_duplicates_appear_once_where_they_came_first() -> None:
    made = own("/ip4/1.2.3.4/tcp/1", "/ip4/0.0.0.0/tcp/1", source=["/ip4/1.2.3.4/tcp/1"])
    assert texts(made.all()) == [
        "/ip4/1.2.3.4/tcp/1",
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/192.168.1.5/tcp/1",
    ]


def test_sources_are_asked_each_time() -> None:
    found: list[Multiaddr] = []
    made = own("/memory/1")
    made.add_source(lambda: found)
    assert texts(made.all()) == ["/memory/1"]
    found += parsed(["/ip4/5.6.7.8/tcp/1"])
    assert texts(made.all()) == ["/memory/1", "/ip4/5.6.7.8/tcp/1"]


def test_announced_addresses_stand_for_everything_else() -> None:
    made = own(
        "/ip4/0.0.0.0/tcp/1",
        announce=["/dns4/node.example/tcp/1"],
        append=["/ip4/5.6.7.8/tcp/1"],
        source=["/ip4/9.9.9.9/tcp/1"],
    )
    assert texts(made.all()) == ["/dns4/node.example/tcp/1", "/ip4/5.6.7.8/tcp/1"]


def test_appended_addresses_come_last() -> None:
    made = own("/memory/1", append=["/ip4/5.6.7.8/tcp/1"], source=["/ip4/9.9.9.9/tcp/1"])
    assert texts(made.all()) == ["/memory/1", "/ip4/9.9.9.9/tcp/1", "/ip4/5.6.7.8/tcp/1"]


def test_withheld_networks_are_never_told() -> None:
    made = own(
        "/ip4/0.0.0.0/tcp/1",
        "/ip6/::/tcp/1",
        append=["/ip4/192.168.9.9/tcp/1", "/dns4/node.example/tcp/1"],
        withhold=["192.168.0.0/16", "127.0.0.0/8", "::1/128"],
    )
    assert texts(made.all()) == [
        "/ip4/1.2.3.4/tcp/1",
        "/ip6/2a01:4f8::5/tcp/1",
        "/dns4/node.example/tcp/1",
    ]
    assert own("/ip4/1.2.3.4/tcp/1", announce=["/ip4/10.0.0.1/tcp/1"], withhold=["10.0.0.0/8"])
    refused = own(announce=["/ip4/10.0.0.1/tcp/1"], withhold=["10.0.0.0/8"])
    assert refused.all() == ()


LOOPBACK = {"/ip4/127.0.0.1/tcp/1"}
NETWORK = {"/ip4/192.168.1.5/tcp/1", "/ip4/100.64.0.1/tcp/1", "/ip4/169.254.1.1/tcp/1"}
WIDE = {"/ip4/1.2.3.4/tcp/1", "/dns4/node.example/tcp/1", "/memory/5"}


@pytest.mark.parametrize(
    ("remote", "told"),
    [
        ("/ip4/127.0.0.1/tcp/9", LOOPBACK | NETWORK | WIDE),
        ("/ip6/::1/tcp/9", LOOPBACK | NETWORK | WIDE),
        ("/ip4/192.168.7.7/tcp/9", NETWORK | WIDE),
        ("/ip4/10.1.1.1/tcp/9", NETWORK | WIDE),
        ("/ip6/fe80::9/tcp/9", NETWORK | WIDE),
        ("/ip4/100.64.9.9/tcp/9", NETWORK | WIDE),
        ("/ip4/8.8.8.8/tcp/9", WIDE),
        ("/ip6/2a01::9/tcp/9", WIDE),
        ("/memory/9", WIDE),
        (
            "/ip4/8.8.8.8/tcp/9/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N/p2p-circuit",
            WIDE,
        ),
    ],
)
def test_who_is_told_what(remote: str, told: set[str]) -> None:
    made = own(*sorted(LOOPBACK | NETWORK | WIDE))
    assert set(texts(made.for_peer_at(parse_address(remote)))) == told


def test_the_number_of_addresses_is_bounded() -> None:
    made = own(source=[f"/ip4/1.2.3.4/tcp/{port}" for port in range(1, 200)])
    assert texts(made.all()) == [f"/ip4/1.2.3.4/tcp/{port}" for port in range(1, 65)]


def test_an_address_that_is_filtered_is_known_but_not_told() -> None:
    made = own("/ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.5/tcp/1", append=["/ip4/9.9.9.9/tcp/1"])
    made.add_filter(lambda address: "1.2.3.4" not in str(address) and "9.9" not in str(address))
    assert texts(made.all()) == ["/ip4/1.2.3.5/tcp/1", "/ip4/9.9.9.9/tcp/1"]  # a person's word
    assert texts(made.known()) == [
        "/ip4/1.2.3.4/tcp/1",
        "/ip4/1.2.3.5/tcp/1",
        "/ip4/9.9.9.9/tcp/1",
    ]

"""Observed addresses: whose word makes an address ours."""

from __future__ import annotations

import pytest

from carrick.addressing import Multiaddr, parse_address
from carrick.host import ObservedAddresses
from carrick.host.observed import LIFETIME, MAX_OBSERVATIONS, MAX_PER_OBSERVER

LISTENING = [parse_address("/ip4/0.0.0.0/tcp/4001"), parse_address("/ip6/::/udp/4001/quic-v1")]


def observe(
    observed: ObservedAddresses,
    number: object,
    *,
    local: str = "/ip4/192.168.1.2/tcp/4001",
    remote: str | None = None,
    seen: str = "/ip4/1.2.3.4/tcp/7000",
    now: float = 0.0,
) -> bool:
    return observed.record(
        number,
        local=parse_address(local),
        remote=parse_address(remote or f"/ip4/8.8.8.{number}/tcp/4001"),
        seen=parse_address(seen),
        now=now,
    )


def texts(found: tuple[Multiaddr, ...]) -> list[str]:
    return [str(each) for each in found]


def test_an_address_needs_four_observers() -> None:
    observed = ObservedAddresses()
    for number in range(3):
        assert observe(observed, number)
    assert observed.active(LISTENING, 0) == ()
    assert texts(observed.candidates(LISTENING, 0)) == ["/ip4/1.2.3.4/tcp/7000"]
    observe(observed, 3)
    assert texts(observed.active(LISTENING, 0)) == ["/ip4/1.2.3.4/tcp/7000"]


def test_one_observer_is_enough_for_a_command_that_runs_once() -> None:
    observed = ObservedAddresses(observers=1)
    observe(observed, 1)
    assert texts(observed.active(LISTENING, 0)) == ["/ip4/1.2.3.4/tcp/7000"]
    with pytest.raises(ValueError):
        ObservedAddresses(observers=0)


def test_a_hundred_identities_of_one_address_are_one_observer() -> None:
    """ATTACKS row 76."""
    observed = ObservedAddresses()
    for number in range(100):
        remote = f"/ip4/6.6.6.6/tcp/{number + 1}"
        observe(observed, number, remote=remote, seen="/ip4/5.5.5.5/tcp/80")
    for number in range(100, 200):
        remote = f"/ip6/2a00:6:6:6{number - 100:02}::1/tcp/1"
        observe(observed, number, remote=remote, seen="/ip4/5.5.5.5/tcp/80")
    assert observed.active(LISTENING, 0) == ()
    assert len(observed) == 2 * MAX_PER_OBSERVER


def test_one_liar_of_five_changes_nothing() -> None:
    observed = ObservedAddresses()
    observe(observed, 9, seen="/ip4/5.5.5.5/tcp/80")
    for number in range(4):
        observe(observed, number)
    assert texts(observed.active(LISTENING, 0)) == ["/ip4/1.2.3.4/tcp/7000"]


@pytest.mark.parametrize(
    ("local", "remote", "seen"),
    [
        ("/ip4/192.168.1.2/tcp/4001", "/ip4/10.0.0.1/tcp/1", "/ip4/1.2.3.4/tcp/1"),
        ("/ip4/192.168.1.2/tcp/4001", "/ip4/8.8.8.8/tcp/1", "/ip4/192.168.1.2/tcp/1"),
        ("/ip4/192.168.1.2/tcp/4001", "/ip4/8.8.8.8/tcp/1", "/ip4/127.0.0.1/tcp/1"),
        ("/ip4/192.168.1.2/tcp/4001", "/ip4/8.8.8.8/tcp/1", "/ip4/1.2.3.4/udp/1/quic-v1"),
        ("/ip4/192.168.1.2/tcp/4001", "/ip4/8.8.8.8/tcp/1", "/ip6/2a00::1/tcp/1"),
        ("/ip4/192.168.1.2/tcp/4001", "/ip4/8.8.8.8/tcp/1", "/dns4/example.com/tcp/1"),
        ("/memory/1", "/memory/2", "/memory/3"),
        (
            "/ip4/192.168.1.2/tcp/4001",
            "/ip4/8.8.8.8/tcp/1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit",
            "/ip4/1.2.3.4/tcp/1",
        ),
    ],
)
def test_what_says_nothing_about_us(local: str, remote: str, seen: str) -> None:
    observed = ObservedAddresses(observers=1)
    assert not observe(observed, 1, local=local, remote=remote, seen=seen)
    assert len(observed) == 0


def test_a_dial_from_another_port_says_nothing_about_the_listening_one() -> None:
    observed = ObservedAddresses(observers=1)
    observe(observed, 1, local="/ip4/192.168.1.2/tcp/50000")
    assert observed.active(LISTENING, 0) == ()


def test_every_listener_of_a_port_has_its_own() -> None:
    observed = ObservedAddresses(observers=1)
    observe(observed, 1)
    observe(
        observed,
        2,
        local="/ip6/::/udp/4001",
        remote="/ip6/2a00:5::1/udp/1/quic-v1",
        seen="/ip6/2a01::1/udp/4001/quic-v1",
    )
    ws = parse_address("/ip4/0.0.0.0/tcp/4001/ws")
    bound = parse_address("/ip4/10.0.0.9/tcp/4001")
    assert texts(observed.active([*LISTENING, ws, bound], 0)) == [
        "/ip4/1.2.3.4/tcp/7000",
        "/ip6/2a01::1/udp/4001/quic-v1",
        "/ip4/1.2.3.4/tcp/7000/ws",
    ]


def test_what_ended_connections_told_holds_for_half_an_hour() -> None:
    observed = ObservedAddresses(observers=1)
    observe(observed, 1)
    assert observed.active(LISTENING, 1e6)
    observed.ended(1, 1e6)
    assert observed.active(LISTENING, 1e6 + LIFETIME - 1)
    assert observed.active(LISTENING, 1e6 + LIFETIME) == ()
    assert len(observed) == 0


def test_a_peer_that_sees_something_else_now() -> None:
    observed = ObservedAddresses(observers=1)
    observe(observed, 1)
    observe(observed, 1, seen="/ip4/1.2.3.5/tcp/7000")
    assert texts(observed.active(LISTENING, 0)) == ["/ip4/1.2.3.5/tcp/7000"]


def test_everything_is_bounded() -> None:
    observed = ObservedAddresses(observers=1)
    for number in range(2 * MAX_OBSERVATIONS):
        remote = f"/ip4/8.8.{number // 250}.{number % 250}/tcp/1"
        observe(observed, number, remote=remote, seen=f"/ip4/1.2.3.4/tcp/{number + 1}")
    assert len(observed) == MAX_OBSERVATIONS
    assert len(observed.active(LISTENING, 0)) == 3

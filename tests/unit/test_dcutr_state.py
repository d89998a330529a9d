"""The exchange of DCUtR, step by step; where it punches; who dials."""

from __future__ import annotations

from random import Random

import pytest

from carrick.addressing import Multiaddr, parse_address, with_peer
from carrick.errors import MessageTooLarge, ProtocolError
from carrick.host import Dependence, Nat, NatBehaviour
from carrick.interfaces import Role
from carrick.protocols.dcutr.addresses import Targets, hopeless, public_ips, targets, tellable
from carrick.protocols.dcutr.messages import Connect, Sync
from carrick.protocols.dcutr.state import (
    Initiator,
    Responder,
    another_attempt_fits,
    attempt_time,
    dial_back_time,
    initiator_dials,
)
from carrick.testing import seeded_key

PEER, OTHER = (seeded_key(Random(seed)).peer_id for seed in range(2))
A = Connect((parse_address("/ip4/8.8.8.8/tcp/1"),), Nat())
B = Connect((parse_address("/ip4/9.9.9.9/udp/1/quic-v1"),))
SYNC = Sync().encode()

EI, AD, APD = Dependence.NOTHING, Dependence.ADDRESS, Dependence.ADDRESS_AND_PORT
CONE = NatBehaviour(EI, APD, translates=True)
SYMMETRIC = NatBehaviour(APD, APD, translates=True)
BLOCKED = NatBehaviour(blocked=True)


# --- the exchange ---------------------------------------------------------------------------------


def test_both_start_at_the_same_moment() -> None:
    """B waits for half the round trip that it has measured in this exchange."""
    b, a = Initiator(), Responder()
    connect = b.connect(B, now=10.0)
    assert a.receive(connect, 10.1) == B
    answer = a.answer(A, 10.1)
    assert b.receive(answer, now=10.3) == A
    assert b.rtt == pytest.approx(0.3)
    assert not b.done
    sync = b.sync(now=10.4)
    assert b.done
    assert b.fires == pytest.approx(10.55)
    assert not a.done
    assert a.receive(sync, 10.5) == Sync()
    assert a.done
    assert a.role is Role.CLIENT
    assert (a.theirs, b.theirs) == (B, A)


def test_each_attempt_has_a_round_trip_of_its_own() -> None:
    for rtt in (0.1, 2.0, 0.05):
        b = Initiator()
        b.connect(B, now=5.0)
        b.receive(A.encode(), now=5.0 + rtt)
        b.sync(now=9.0)
        assert b.fires == pytest.approx(9.0 + rtt / 2)


def test_what_a_needs_to_find_its_addresses_is_no_part_of_the_round_trip() -> None:
    b, a = Initiator(), Responder()
    a.receive(b.connect(B, now=10.0), now=10.1)
    answer = a.answer(A, now=10.6)
    assert b.receive(answer, now=10.7) == Connect(A.addresses, A.nat, 0.5)
    assert b.rtt == pytest.approx(0.2)
    # No more than there was; and those who do not say it have the whole.
    for answered, rtt in ((Connect((), Nat(), 50.0), 0.0), (Connect((), delay=50.0), 0.7)):
        b = Initiator()
        b.connect(B, now=10.0)
        b.receive(answered.encode(), now=10.7)
        assert b.rtt == pytest.approx(rtt)


def test_the_roles_may_be_turned() -> None:
    a = Responder()
    a.receive(B.encode(), 10.0)
    a.answer(A, 10.1)
    a.receive(Sync(initiator_dials=True).encode(), 10.0)
    assert a.role is Role.SERVER


@pytest.mark.parametrize(
    "misuse",
    [SYNC, b"", b"\xff", bytes(5000), b"\x08\xc8\x01"],
    ids=["SYNC first", "nothing", "garbage", "too long", "type 200"],
)
def test_what_must_be_a_connect(misuse: bytes) -> None:
    a, b = Responder(), Initiator()
    b.connect(B, now=0.0)
    with pytest.raises(ProtocolError):
        a.receive(misuse, 10.0)
    with pytest.raises(ProtocolError):
        b.receive(misuse, now=1.0)
    # There is no way back.
    with pytest.raises(ProtocolError):
        a.receive(B.encode(), 10.0)
    with pytest.raises(ProtocolError):
        b.receive(A.encode(), now=1.0)


@pytest.mark.parametrize("misuse", [B.encode(), b"", b"\xff"])
def test_what_must_be_a_sync(misuse: bytes) -> None:
    a = Responder()
    a.receive(B.encode(), 10.0)
    a.answer(A, 10.1)
    with pytest.raises(ProtocolError):
        a.receive(misuse, 10.0)
    assert not a.done


def test_two_at_once_and_one_after_the_end() -> None:
    a = Responder()
    a.receive(B.encode(), 10.0)
    with pytest.raises(ProtocolError):  # before our answer
        a.receive(SYNC, 10.2)
    a = Responder()
    a.receive(B.encode(), 10.0)
    a.answer(A, 10.1)
    a.receive(SYNC, 10.2)
    with pytest.raises(ProtocolError):
        a.receive(SYNC, 10.2)


def test_too_long_is_told_as_such() -> None:
    with pytest.raises(MessageTooLarge):
        Responder().receive(bytes(4097), 0.0)


def test_our_own_mistakes_are_no_protocol_errors() -> None:
    with pytest.raises(RuntimeError):
        Initiator().sync(now=1.0)
    with pytest.raises(RuntimeError):
        Responder().answer(A, 0.0)
    b = Initiator()
    b.connect(B, now=0.0)
    with pytest.raises(RuntimeError):
        b.connect(B, now=0.0)


# --- time and roles -------------------------------------------------------------------------------


def test_how_much_time_there_is() -> None:
    assert dial_back_time(None) == dial_back_time(0.1) == 1.0
    assert dial_back_time(0.5) == 2.0
    assert attempt_time(0.0, 5.0, 10.0) == 2.0
    assert attempt_time(0.5, 5.0, 10.0) == 4.0
    assert attempt_time(9.0, 5.0, 10.0) == 5.0
    assert attempt_time(9.0, 5.0, 4.5) == 4.5
    assert attempt_time(9.0, 5.0, -1.0) == 2.0
    assert another_attempt_fits(0.2, 2.4)
    assert not another_attempt_fits(0.8, 3.5)


def test_who_dials() -> None:
    def turns(own: NatBehaviour, theirs: NatBehaviour | None) -> list[bool]:
        there = None if theirs is None else Nat(udp=theirs)
        return [initiator_dials(Nat(udp=own), there, attempt) for attempt in (1, 2, 3)]

    unknown = NatBehaviour()
    # The symmetric side first, else A, as in the specification; then the other way round.
    assert turns(SYMMETRIC, CONE) == turns(SYMMETRIC, unknown) == [True, False, True]
    for own, theirs in ((CONE, SYMMETRIC), (unknown, unknown), (SYMMETRIC, SYMMETRIC)):
        assert turns(own, theirs) == [False, True, False]
    # Others than Carricks cannot be told; on the last attempt both are clients, as go has it.
    for own in (SYMMETRIC, CONE):
        assert turns(own, None) == [False, False, True]


# --- addresses ------------------------------------------------------------------------------------


def parsed(*texts: str) -> tuple[Multiaddr, ...]:
    return tuple(map(parse_address, texts))


PUBLIC = parsed("/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/udp/1/quic-v1", "/ip6/2a00::1/tcp/1")
PRIVATE = parsed("/ip4/192.168.1.2/tcp/1", "/ip4/100.64.0.1/udp/1/quic-v1", "/ip6/fd00::1/tcp/1")
NOWHERE = parsed(
    "/ip4/127.0.0.1/tcp/1",
    "/ip4/0.0.0.0/tcp/1",
    "/ip4/169.254.1.1/tcp/1",
    "/ip4/224.0.0.1/udp/1/quic-v1",
    "/ip4/203.0.113.1/tcp/1",
    "/ip6/::1/tcp/1",
    "/ip6/fe80::1/tcp/1",
    "/dns4/example.com/tcp/1",
    f"/ip4/8.8.8.8/tcp/1/p2p/{OTHER}/p2p-circuit",
    f"/p2p/{PEER}",
)


def always(_: Multiaddr) -> bool:
    return True


def found(
    *addresses: Multiaddr, own: tuple[Multiaddr, ...] = (), allow_private: bool = False
) -> Targets:
    return targets(
        addresses,
        PEER,
        own=public_ips(own),
        mine=frozenset(own),
        allow_private=allow_private,
        can_punch=always,
        can_dial=always,
    )


def test_what_is_told() -> None:
    every = (*NOWHERE, *PRIVATE, *PUBLIC, *PUBLIC)
    assert tellable(every, local=False, useful=always) == PUBLIC
    assert tellable(every, local=True, useful=always) == (*PRIVATE, *PUBLIC)
    only_tcp = tellable(every, local=False, useful=lambda each: "udp" not in str(each))
    assert only_tcp == (PUBLIC[0], PUBLIC[2])


def test_where_strangers_are_met() -> None:
    assert found(*NOWHERE, *PRIVATE, *PUBLIC) == Targets(PUBLIC)


def test_a_peer_on_our_side_of_the_nat() -> None:
    us = parsed("/ip4/8.8.8.8/tcp/4001")
    assert found(*NOWHERE, *PRIVATE, *PUBLIC, own=us) == Targets(PUBLIC, PRIVATE)


def test_networks_whose_public_addresses_are_private() -> None:
    assert found(*NOWHERE, *PRIVATE, *PUBLIC, allow_private=True) == Targets((*PRIVATE, *PUBLIC))


def test_peer_ids_and_our_own_addresses() -> None:
    there = PUBLIC[0]
    assert found(with_peer(there, PEER), there) == Targets((there,))
    assert found(with_peer(there, OTHER)) == Targets()
    assert found(there, own=(there,)) == Targets()


def test_at_most_eight() -> None:
    far = parsed(*(f"/ip4/8.8.8.8/tcp/{port}" for port in range(1, 30)))
    near = parsed(*(f"/ip4/10.0.0.{n}/tcp/1" for n in range(1, 30)))
    assert found(*far) == Targets(far[:8])
    both = found(*far, *near, own=parsed("/ip4/8.8.8.8/tcp/4001"))
    assert both == Targets(far[:4], near[:4])


def test_what_no_transport_can_do() -> None:
    nothing = targets(
        (*PUBLIC, *PRIVATE),
        PEER,
        own=public_ips(PUBLIC),
        allow_private=False,
        can_punch=lambda _: False,
        can_dial=lambda _: False,
    )
    assert nothing == Targets()


def test_why_it_is_hopeless() -> None:
    tcp, quic = PUBLIC[:2]
    own, theirs = Nat(udp=SYMMETRIC, tcp=CONE), Nat(udp=CONE, tcp=CONE)
    assert hopeless(own, theirs, quic) == "symmetric NAT here, port restricted cone there (UDP)"
    assert hopeless(own, theirs, tcp) is None
    assert hopeless(own, Nat(), quic) is None
    assert hopeless(own, None, quic) is None
    assert hopeless(Nat(udp=BLOCKED), Nat(), quic) == "UDP is blocked here"
    assert hopeless(Nat(), Nat(tcp=BLOCKED), tcp) == "TCP is blocked there"


def test_what_is_known_of_nats_says_nothing_of_ipv6() -> None:
    six = parse_address("/ip6/2a00:11::2/udp/4001/quic-v1")
    assert hopeless(Nat(udp=SYMMETRIC), Nat(udp=SYMMETRIC), six) is None


def test_an_unknown_filter_of_tcp_is_like_that_of_udp() -> None:
    tcp = PUBLIC[0]
    unseen = NatBehaviour(EI, translates=True)
    symmetric = Nat(udp=SYMMETRIC, tcp=SYMMETRIC)
    strict, kind = Nat(udp=CONE, tcp=unseen), Nat(udp=NatBehaviour(EI, AD), tcp=unseen)
    assert hopeless(strict, symmetric, tcp) == (
        "port restricted cone NAT here, symmetric there (TCP)"
    )
    assert hopeless(kind, symmetric, tcp) is None
    assert hopeless(Nat(tcp=unseen), symmetric, tcp) is None

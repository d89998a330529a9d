"""The relay's bookkeeping: slots, allowances, and when to renew."""

from __future__ import annotations

import ipaddress

import pytest

from carrick.identity import PeerId, PrivateKey
from carrick.protocols.relay import Capacity, Status
from carrick.protocols.relay.state import Allowance, RefreshSchedule, Refused, Slots, lifetime

PEERS = [PrivateKey.generate().peer_id for _ in range(200)]
ALICE, BOB, CAROL, *_ = PEERS


def ip(number: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(0x08000000 + number)


def refused(slots: Slots, peer: PeerId, number: int, now: float = 0.0, **more: int) -> Status:
    with pytest.raises(Refused) as raised:
        slots.reserve(peer, ip(number), now, **more)
    return raised.value.status


def test_a_reservation_lasts_an_hour() -> None:
    slots = Slots(Capacity())
    assert slots.reserve(ALICE, ip(1), 100.0) == 3700.0
    assert slots.has(ALICE, 3699.9)
    assert not slots.has(ALICE, 3700.0)
    assert slots.expire(3700.0) == [ALICE]
    assert slots.reservations == 0


def test_a_peer_has_one_reservation_however_often_it_asks() -> None:
    slots = Slots(Capacity())
    for second in range(5):
        slots.reserve(ALICE, ip(1), second)
    assert slots.reservations == 1
    assert slots.has(ALICE, 3603.9) and not slots.has(ALICE, 3604)


def test_two_hundred_identities_behind_one_address() -> None:
    slots = Slots(Capacity())
    for peer in PEERS[:8]:
        slots.reserve(peer, ip(1), 0.0)
    for peer in PEERS[8:]:
        assert refused(slots, peer, 1) is Status.RESERVATION_REFUSED
    slots.reserve(ALICE, ip(1), 1.0)  # who has one can renew it
    slots.drop(BOB)
    slots.reserve(PEERS[9], ip(1), 2.0)
    assert slots.reservations == 8


def test_no_more_than_128_in_all() -> None:
    slots = Slots(Capacity())
    for number, peer in enumerate(PEERS[:128]):
        slots.reserve(peer, ip(number), 0.0)
    assert refused(slots, PEERS[128], 128) is Status.RESERVATION_REFUSED
    slots.reserve(PEERS[128], ip(128), 3600.0)  # those of before have expired
    assert slots.reservations == 1


def test_a_home_with_ipv6_is_one_address() -> None:
    slots = Slots(Capacity(reservations_per_ip=1))
    slots.reserve(ALICE, ipaddress.ip_address("2001:4860:0:1200::1"), 0.0)
    with pytest.raises(Refused):
        slots.reserve(BOB, ipaddress.ip_address("2001:4860:0:12ff::2"), 0.0)
    slots.reserve(BOB, ipaddress.ip_address("2001:4860:0:1300::1"), 0.0)
    slots.reserve(CAROL, ip(1), 0.0)
    with pytest.raises(Refused):
        slots.reserve(PEERS[3], ipaddress.ip_address("::ffff:8.0.0.1"), 0.0)


def test_all_without_an_address_count_as_one() -> None:
    slots = Slots(Capacity(reservations_per_ip=1))
    slots.reserve(ALICE, None, 0.0)
    with pytest.raises(Refused):
        slots.reserve(BOB, None, 0.0)


def test_no_more_than_32_of_one_autonomous_system() -> None:
    slots = Slots(Capacity())
    for number, peer in enumerate(PEERS[:32]):
        slots.reserve(peer, ip(number), 0.0, asn=64500)
    assert refused(slots, PEERS[32], 32, asn=64500) is Status.RESERVATION_REFUSED
    slots.reserve(PEERS[32], ip(32), 0.0, asn=64501)


def test_requests_are_rated() -> None:
    slots = Slots(Capacity(requests=2, request_interval=4))
    slots.reserve(ALICE, ip(1), 0.0)
    slots.reserve(ALICE, ip(1), 0.0)
    assert refused(slots, ALICE, 1) is Status.RESOURCE_LIMIT_EXCEEDED
    assert slots.has(ALICE, 1.0)
    slots.reserve(ALICE, ip(1), 4.0)


def test_ten_thousand_requests_of_one_peer() -> None:
    """ATTACKS row 65: one reservation; an answer that costs a signature for 30 of them."""
    slots, given = Slots(Capacity()), 0
    for _ in range(10_000):
        try:
            slots.reserve(ALICE, ip(1), 0.0)
            given += 1
        except Refused as refusal:
            assert refusal.status is Status.RESOURCE_LIMIT_EXCEEDED
    assert given == 30
    assert slots.reservations == 1


def circuit_refused(slots: Slots, source: PeerId, target: PeerId) -> Status:
    with pytest.raises(Refused) as raised:
        slots.open_circuit(source, target, 0.0)
    return raised.value.status


def test_sixteen_circuits_of_a_peer() -> None:
    slots = Slots(Capacity())
    assert circuit_refused(slots, ALICE, BOB) is Status.NO_RESERVATION
    slots.reserve(BOB, ip(1), 0.0)
    slots.reserve(CAROL, ip(2), 0.0)
    for _ in range(16):
        slots.open_circuit(ALICE, BOB, 0.0)
    assert slots.circuits == 16
    assert circuit_refused(slots, ALICE, CAROL) is Status.RESOURCE_LIMIT_EXCEEDED  # too many from
    assert circuit_refused(slots, CAROL, BOB) is Status.RESOURCE_LIMIT_EXCEEDED  # too many to
    slots.close_circuit(ALICE, BOB)
    slots.open_circuit(CAROL, BOB, 0.0)
    for _ in range(15):
        slots.close_circuit(ALICE, BOB)
    slots.close_circuit(CAROL, BOB)
    assert not slots._circuits  # nothing is kept of peers that have gone


# --- bytes ----------------------------------------------------------------------------------------


def test_exactly_as_many_bytes_as_allowed() -> None:
    allowance = Allowance(100)
    assert allowance.readable(64) == 64
    assert allowance.take(64) == 64
    assert allowance.readable(64) == 37
    assert allowance.take(36) == 36
    assert not allowance.exceeded  # all that is allowed is not too much
    assert allowance.readable(64) == 1
    assert allowance.take(1) == 0
    assert allowance.exceeded
    assert allowance.passed == 100


def test_without_a_limit() -> None:
    allowance = Allowance(0)
    assert allowance.readable(1 << 18) == 1 << 18
    assert allowance.take(1 << 40) == 1 << 40
    assert not allowance.exceeded


# --- renewing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("seconds", [3600.0, 60.0, 1.0])
def test_renewed_before_it_expires(seconds: float, chance: float) -> None:
    schedule = RefreshSchedule()
    schedule.granted(10.0, seconds, chance)
    slack = min(120.0, seconds / 3)
    assert schedule.expires - 2 * slack <= schedule.due <= schedule.expires - slack
    assert schedule.due > 10.0


def test_failures_are_repeated_less_and_less_often() -> None:
    schedule, now, waits = RefreshSchedule(), 0.0, []
    for _ in range(12):
        schedule.failed(now, 0.5)
        waits.append(schedule.due - now)
        now = schedule.due
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == 600
    schedule.granted(now, 3600, 0.0)
    schedule.failed(now, 0.5)
    assert schedule.due - now == 5


def test_lifetimes_are_bounded() -> None:
    assert lifetime(1100, 1000.0) == 100
    assert lifetime(2**64 - 1, 1000.0) == 86400
    with pytest.raises(ValueError, match="ended 1 s ago"):
        lifetime(999, 1000.0)
    with pytest.raises(ValueError, match="ended"):
        lifetime(0, 1000.0)

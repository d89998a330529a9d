from __future__ import annotations

import ipaddress

import pytest

from carrick.errors import ResourceLimitExceeded
from carrick.network import admission
from carrick.network.admission import AddressAdmission, TokenBucket
from carrick.network.limits import Limits

PUBLIC = ipaddress.ip_address("1.2.3.4")
PRIVATE = ipaddress.ip_address("192.168.1.2")


def refusal(admitting: AddressAdmission, ip: object, now: float = 0.0) -> str:
    with pytest.raises(ResourceLimitExceeded) as caught:
        admitting.admit(ip, now)  # type: ignore[arg-type]
    return caught.value.limit


def test_token_bucket() -> None:
    bucket = TokenBucket(rate=2, burst=3, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.4) is False
    assert bucket.take(0.5) is True
    assert not bucket.is_full(1)
    assert bucket.is_full(100)


def test_pending_connections_of_one_address() -> None:
    admitting = AddressAdmission(Limits())
    slots = [admitting.admit(PUBLIC, 0) for _ in range(16)]
    assert refusal(admitting, PUBLIC) == "connections_pending_per_address"
    admitting.admit(ipaddress.ip_address("1.2.3.5"), 0)  # a neighbour is not concerned
    slots[0].establish()
    admitting.admit(PUBLIC, 0)


@pytest.mark.parametrize(
    ("ip", "limit", "maximum"),
    [
        ("1.2.3.4", "connections_per_address", 64),
        ("::ffff:1.2.3.4", "connections_per_address", 64),
        ("192.168.1.2", "connections_per_private_address", 256),
        ("100.64.0.1", "connections_per_private_address", 256),
        ("fd00::1", "connections_per_private_address", 256),
        ("2600::1", "connections_per_address", 64),
    ],
)
def test_established_connections_of_one_address(ip: str, limit: str, maximum: int) -> None:
    admitting = AddressAdmission(Limits())
    for second in range(maximum):
        admitting.admit(ipaddress.ip_address(ip), second).establish()
    assert refusal(admitting, ipaddress.ip_address(ip), maximum) == limit


def test_ipv6_addresses_of_one_site_share() -> None:
    admitting = AddressAdmission(Limits(connections_per_address=4, connections_per_site=6))
    for _ in range(4):
        admitting.admit(ipaddress.ip_address("2600:1:2:100::1"), 0).establish()
    assert refusal(admitting, ipaddress.ip_address("2600:1:2:1ff::2")) == "connections_per_address"
    for _ in range(2):
        admitting.admit(ipaddress.ip_address("2600:1:2:200::1"), 0).establish()
    assert refusal(admitting, ipaddress.ip_address("2600:1:2:300::1")) == "connections_per_site"
    admitting.admit(ipaddress.ip_address("2600:1:3::1"), 0)


def test_the_rate_of_new_connections() -> None:
    admitting = AddressAdmission(Limits())
    for _ in range(64):
        admitting.admit(PUBLIC, 0).release()
    assert refusal(admitting, PUBLIC, 0.1) == "connection_burst_per_address"
    admitting.admit(PUBLIC, 0.2).release()


def test_loopback_is_free_unless_it_counts() -> None:
    loopback = ipaddress.ip_address("127.0.0.1")
    free = AddressAdmission(Limits())
    for _ in range(1000):
        free.admit(loopback, 0)
    assert len(free) == 0
    counting = AddressAdmission(Limits(count_loopback=True))
    for _ in range(16):
        counting.admit(loopback, 0)
    assert refusal(counting, loopback) == "connections_pending_per_address"


def test_no_ip_no_count() -> None:
    admitting = AddressAdmission(Limits())
    for _ in range(1000):
        admitting.admit(None, 0).establish()
    assert len(admitting) == 0


def test_establishing_may_be_refused_and_leaves_the_slot_pending() -> None:
    admitting = AddressAdmission(Limits(connections_per_address=1))
    first = admitting.admit(PUBLIC, 0)
    first.establish()
    assert refusal(admitting, PUBLIC) == "connections_per_address"
    first.release()
    first.release()
    second = admitting.admit(PUBLIC, 0)
    second.establish()
    second.release()
    admitting.admit(PUBLIC, 0)


def test_addresses_are_forgotten() -> None:
    admitting = AddressAdmission(Limits())
    for number in range(100):
        admitting.admit(ipaddress.ip_address(0x01020000 + number), 0).release()
    assert len(admitting) == 100  # their buckets are not full again
    admitting.admit(PUBLIC, 60).release()
    assert len(admitting) == 1


def test_remembered_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_MAX_REMEMBERED", 10)
    admitting = AddressAdmission(Limits())
    for number in range(100):
        admitting.admit(ipaddress.ip_address(0x01020000 + number), 0).release()
    assert len(admitting) == 10

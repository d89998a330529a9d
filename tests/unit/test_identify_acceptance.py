"""What of a peer's word is believed, what we say ourselves, and how often we listen."""

from __future__ import annotations

import ipaddress

import pytest

from carrick.addressing import Multiaddr, parse_address
from carrick.errors import ProtocolError
from carrick.identity import PeerRecord, PrivateKey
from carrick.protocols.identify.acceptance import Accepted, KeyMismatch, accept, fitting
from carrick.protocols.identify.messages import (
    MAX_ADDRESSES,
    MAX_SENT_MESSAGE,
    Info,
    encode_messages,
)
from carrick.protocols.identify.own import OwnInfo
from carrick.protocols.identify.rates import PushRates

KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
PEER = KEY.peer_id
PUBLIC = parse_address("/ip4/8.8.8.8/tcp/4001")
PRIVATE = parse_address("/ip4/10.0.0.5/tcp/4001")
LOOPBACK = parse_address("/ip4/127.0.0.1/tcp/4001")
LINK_LOCAL = parse_address("/ip6/fe80::1/tcp/4001")
ANYWHERE = parse_address("/ip4/0.0.0.0/tcp/4001")
NAME = parse_address("/dns4/example.org/tcp/4001")
RELAYED = parse_address(f"/ip4/8.8.4.4/tcp/1/p2p/{OTHER.peer_id}/p2p-circuit")
ALL = (PUBLIC, PRIVATE, LOOPBACK, LINK_LOCAL, ANYWHERE, NAME, RELAYED)


def sealed(key: PrivateKey, *addresses: Multiaddr, sequence: int = 1) -> bytes:
    encoded = tuple(address.to_bytes() for address in addresses)
    return PeerRecord(key.peer_id, sequence, encoded).seal(key)


@pytest.mark.parametrize(
    ("remote", "kept"),
    [
        ("/ip4/127.0.0.1/tcp/50000", {PUBLIC, PRIVATE, LOOPBACK, LINK_LOCAL, NAME, RELAYED}),
        ("/memory/7", {PUBLIC, PRIVATE, LOOPBACK, LINK_LOCAL, NAME, RELAYED}),
        ("/ip4/192.168.1.9/tcp/50000", {PUBLIC, PRIVATE, LINK_LOCAL, NAME, RELAYED}),
        ("/ip4/100.64.3.4/tcp/50000", {PUBLIC, PRIVATE, LINK_LOCAL, NAME, RELAYED}),
        ("/ip4/9.9.9.9/tcp/50000", {PUBLIC, NAME, RELAYED}),
        (str(RELAYED), {PUBLIC, NAME, RELAYED}),
    ],
)
def test_addresses_are_kept_where_they_mean_something(remote: str, kept: set[Multiaddr]) -> None:
    assert set(fitting(ALL, PEER, parse_address(remote))) == kept


def test_peer_ids_are_taken_off_and_those_of_others_refused() -> None:
    own = parse_address(f"{PUBLIC}/p2p/{PEER}")
    foreign = parse_address(f"{PUBLIC}/p2p/{OTHER.peer_id}")
    alone = parse_address(f"/p2p/{PEER}")
    assert fitting([own, foreign, alone, PUBLIC], PEER, LOOPBACK) == (PUBLIC,)


def test_kept_addresses_are_bounded() -> None:
    many = [parse_address(f"/ip4/8.8.8.8/tcp/{port}") for port in range(1, 300)]
    assert len(fitting(many, PEER, PUBLIC)) == MAX_ADDRESSES
    accepted = accept(Info(signed_record=sealed(KEY, *many)), PEER, PUBLIC)
    assert (len(accepted.addresses), accepted.record) == (MAX_ADDRESSES, None)


def test_a_certified_record_wins() -> None:
    record = sealed(KEY, PUBLIC)
    info = Info(listen_addresses=(PRIVATE,), signed_record=record)
    assert accept(info, PEER, LOOPBACK) == Accepted((PUBLIC,), record)


def test_a_record_with_unfitting_addresses_is_not_kept_whole() -> None:
    info = Info(signed_record=sealed(KEY, PUBLIC, PRIVATE))
    assert accept(info, PEER, PUBLIC) == Accepted((PUBLIC,), None)


def test_a_record_that_does_not_verify_is_left_aside() -> None:
    broken = bytearray(sealed(KEY, PUBLIC))
    broken[-1] ^= 1
    for record in (bytes(broken), b"nonsense"):
        info = Info(listen_addresses=(PRIVATE,), signed_record=record)
        assert accept(info, PEER, LOOPBACK) == Accepted((PRIVATE,), None)


def test_the_record_of_another_peer_is_refused() -> None:
    info = Info(listen_addresses=(PUBLIC,), signed_record=sealed(OTHER, PUBLIC))
    with pytest.raises(ProtocolError, match="peer record of"):
        accept(info, PEER, LOOPBACK)


def test_the_key_of_another_peer_is_refused() -> None:
    accept(Info(public_key=KEY.public_key), PEER, LOOPBACK)
    with pytest.raises(KeyMismatch):
        accept(Info(public_key=OTHER.public_key), PEER, LOOPBACK)


# --- what we say --------------------------------------------------------------------------------


def own_info(key: PrivateKey = KEY) -> OwnInfo:
    return OwnInfo(key, protocol_version="p/1", agent_version="a/1", started=1000)


def say(own: OwnInfo, *addresses: Multiaddr, every: tuple[Multiaddr, ...] = ALL) -> Info:
    return own.info(("/p",), addresses, PRIVATE, every_address=every)


def test_we_say_what_we_are() -> None:
    info = say(own_info(), PUBLIC, NAME)
    assert info.public_key == KEY.public_key
    assert (info.protocol_version, info.agent_version) == ("p/1", "a/1")
    assert (info.protocols, info.observed_address) == (("/p",), PRIVATE)
    assert info.listen_addresses == (PUBLIC, NAME)
    assert info.signed_record is not None
    record = PeerRecord.open(info.signed_record)
    assert record.addresses == (PUBLIC.to_bytes(), NAME.to_bytes())
    assert record.sequence > 1000


def test_the_record_is_sealed_once_for_each_audience_and_rises() -> None:
    own = own_info()
    near, far = say(own, PUBLIC, PRIVATE).signed_record, say(own, PUBLIC).signed_record
    assert say(own, PUBLIC, PRIVATE).signed_record is near
    assert say(own, PUBLIC).signed_record is far
    say(own, NAME, every=(NAME,))
    again = say(own, PUBLIC).signed_record  # old addresses, but newer than what was said between
    sequences = [PeerRecord.open(each).sequence for each in (near, far, again) if each]
    assert sequences == sorted(set(sequences)) and len(sequences) == 3


def test_without_addresses_there_is_no_record() -> None:
    assert say(own_info()).signed_record is None


def test_a_long_record_is_cut_to_fit_a_message() -> None:
    many = tuple(parse_address(f"/dns/{'a' * 60}.example/tcp/{port}") for port in range(1, 65))
    info = say(own_info(), *many)
    assert info.signed_record is not None
    addresses = PeerRecord.open(info.signed_record).addresses
    assert addresses == tuple(each.to_bytes() for each in many[: len(addresses)])
    assert 30 < len(addresses) < 64
    assert all(len(payload) <= MAX_SENT_MESSAGE for payload in encode_messages(info))


# --- rates --------------------------------------------------------------------------------------


def allowed(rates: PushRates, ip: str, count: int, now: float = 0.0) -> int:
    return sum(rates.allow(ipaddress.ip_address(ip), now) for _ in range(count))


def test_a_network_has_ten_pushes_and_one_each_five_seconds() -> None:
    rates = PushRates(0.0)
    assert allowed(rates, "8.8.8.8", 20) == 10
    assert allowed(rates, "8.8.8.200", 5) == 0  # the same /24
    assert allowed(rates, "8.8.9.8", 20) == 10
    assert allowed(rates, "8.8.8.8", 5, now=5.0) == 1
    assert allowed(rates, "::ffff:8.8.8.8", 5, now=5.0) == 0


def test_ipv6_is_counted_by_56_and_by_48() -> None:
    rates = PushRates(0.0)
    assert allowed(rates, "2606:4700:1:100::1", 20) == 10
    assert allowed(rates, "2606:4700:1:1ff::1", 5) == 0
    assert allowed(rates, "2606:4700:1:200::1", 20) == 10
    assert allowed(rates, "2606:4700:1:300::1", 20) == 0  # the /48 has had its twenty
    assert allowed(rates, "fe80::1%eth0", 5) == 5


def test_loopback_is_free_unless_it_counts_and_private_networks_are_roomier() -> None:
    assert allowed(PushRates(0.0), "127.0.0.1", 5000) == 5000
    assert allowed(PushRates(0.0, count_loopback=True), "127.0.0.1", 5000) == 10
    assert allowed(PushRates(0.0), "10.1.2.3", 5000) == 100


def test_all_together_are_bounded_and_so_is_memory() -> None:
    rates = PushRates(0.0)
    assert sum(rates.allow(None, 0.0) for _ in range(5000)) == 3000
    for number in range(6000):
        rates.allow(ipaddress.IPv4Address(0x08000000 + 256 * number), 100.0)
    assert len(rates) == 4096

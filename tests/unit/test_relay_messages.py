"""Relay messages and vouchers, against the specification's protobuf."""

from __future__ import annotations

from random import Random

import pytest

from carrick.addressing import parse_address
from carrick.errors import InvalidEnvelope, ProtocolError
from carrick.identity import Envelope, PrivateKey
from carrick.protocols.relay import Limit, Status, Voucher, circuit_address, split_relay
from carrick.protocols.relay.errors import NoReservation, RelayRefused, refusal
from carrick.protocols.relay.messages import (
    MAX_ADDRESSES,
    MAX_MESSAGE,
    Connect,
    Grant,
    HopMessage,
    HopStatus,
    Reserve,
    StopConnect,
    StopStatus,
    decode_hop,
    decode_stop,
    status_name,
)
from carrick.protocols.relay.pb import relay_pb2 as pb
from carrick.protocols.relay.voucher import DOMAIN, PAYLOAD_TYPE
from carrick.testing import seeded_key

RELAY, PEER, OTHER = (seeded_key(Random(seed)) for seed in range(3))
ADDRESS = parse_address("/ip4/8.8.8.8/tcp/4001")
CIRCUIT = f"/p2p/{RELAY.peer_id}/p2p-circuit"


def test_bytes_on_the_wire() -> None:
    identity = PEER.peer_id.to_bytes()
    peer = bytes([0x0A, len(identity)]) + identity
    assert Reserve().encode() == b"\x08\x00"
    assert Connect(PEER.peer_id).encode() == b"\x08\x01\x12" + bytes([len(peer)]) + peer
    # limit {duration = 120, data = 131072}, status = 100
    assert HopStatus(Status.OK, limit=Limit(120, 1 << 17)).encode() == bytes.fromhex(
        "0802" + "2206" + "0878" + "10808008" + "2864"
    )
    assert StopStatus(Status.CONNECTION_FAILED).encode() == b"\x08\x01\x20\xcb\x01"
    assert StopConnect(PEER.peer_id).encode() == b"\x08\x00\x12" + bytes([len(peer)]) + peer


@pytest.mark.parametrize(
    "message",
    [
        Reserve(),
        Connect(PEER.peer_id),
        HopStatus(Status.NO_RESERVATION),
        HopStatus(299),
        HopStatus(Status.OK, Grant(1 << 40, (ADDRESS,), b"voucher"), Limit(1, 2)),
    ],
    ids=repr,
)
def test_hop_messages_there_and_back(message: HopMessage) -> None:
    assert decode_hop(message.encode()) == message


def test_stop_messages_there_and_back() -> None:
    for message in (StopConnect(PEER.peer_id, Limit(7, 0)), StopStatus(Status.OK)):
        assert decode_stop(message.encode()) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",  # no type
        b"\x08\x03",  # no such type
        b"\x08\x01",  # CONNECT without a peer
        b"\x08\x01\x12\x03\x0a\x01x",  # with what is no peer id
        b"\x08\x02",  # STATUS without a status
        b"\xff\xff",
    ],
)
def test_malformed_messages(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_hop(data)
    if data != b"\x08\x02":
        with pytest.raises(ProtocolError):
            decode_stop(data if data[:2] != b"\x08\x01" else b"\x08\x00" + data[2:])


def test_no_limit_is_no_field() -> None:
    assert not pb.HopMessage.FromString(HopStatus(Status.OK).encode()).HasField("limit")
    answer = decode_hop(HopStatus(Status.OK).encode())
    assert isinstance(answer, HopStatus)
    assert not answer.limit
    assert not Limit(0, 0)
    assert Limit(1, 0)
    assert Limit(0, 1)


def test_addresses_of_a_relay_are_bounded() -> None:
    message = pb.HopMessage(type=2, status=100)
    message.reservation.expire = 2**64 - 1
    message.reservation.addrs.append(b"\xff\xff\xff rubbish")
    message.reservation.addrs.extend([ADDRESS.to_bytes()] * 400)
    answer = decode_hop(message.SerializeToString())
    assert isinstance(answer, HopStatus)
    assert answer.grant is not None
    assert answer.grant.expire == 2**64 - 1
    assert answer.grant.addresses == (ADDRESS,) * (MAX_ADDRESSES - 1)  # the first was rubbish


def test_what_a_relay_sends_fits_into_a_message() -> None:
    long = parse_address(f"/dns4/{'a' * 60}.{'b' * 60}.example/tcp/1/p2p/{RELAY.peer_id}")
    voucher = Voucher(RELAY.peer_id, PEER.peer_id, 1 << 40).seal(RELAY)
    encoded = HopStatus(Status.OK, Grant(1 << 40, (long,) * 60, voucher), Limit(1, 1)).encode()
    assert len(encoded) <= MAX_MESSAGE


# --- errors ---------------------------------------------------------------------------------------


def test_each_refusal_is_an_error_of_its_own() -> None:
    kinds = {type(refusal(status)) for status in Status if status is not Status.OK}
    assert len(kinds) == 7
    error = refusal(Status.NO_RESERVATION, peer=PEER.peer_id)
    assert isinstance(error, NoReservation)
    assert error.status == Status.NO_RESERVATION
    assert "NO_RESERVATION" in str(error)
    assert type(refusal(299)) is RelayRefused
    assert status_name(299) == "status 299"


# --- vouchers -------------------------------------------------------------------------------------


def test_a_voucher_there_and_back() -> None:
    voucher = Voucher(RELAY.peer_id, PEER.peer_id, 1_700_000_000)
    sealed = voucher.seal(RELAY)
    assert Voucher.open(sealed) == voucher
    envelope = Envelope.open(sealed, domain="libp2p-relay-rsvp")
    assert envelope.payload_type == b"\x03\x02"
    relay, peer = RELAY.peer_id.to_bytes(), PEER.peer_id.to_bytes()
    assert envelope.payload == (
        b"\x0a" + bytes([len(relay)]) + relay + b"\x12" + bytes([len(peer)]) + peer
    ) + b"\x18" + bytes.fromhex("80e2cfaa06")


def sealed(key: PrivateKey, payload: bytes, kind: bytes = PAYLOAD_TYPE) -> bytes:
    return Envelope.seal(key, domain=DOMAIN, payload_type=kind, payload=payload).to_bytes()


def test_forged_vouchers() -> None:
    good = pb.Voucher(
        relay=RELAY.peer_id.to_bytes(), peer=PEER.peer_id.to_bytes(), expiration=1
    ).SerializeToString()
    Voucher.open(sealed(RELAY, good))
    for forged in (
        sealed(OTHER, good),  # signed by somebody else
        sealed(RELAY, good, b"\x03\x01"),  # not a voucher
        sealed(RELAY, b"\xff"),
        sealed(RELAY, b""),
        sealed(RELAY, good)[:-1],
        b"",
    ):
        with pytest.raises(InvalidEnvelope):
            Voucher.open(forged)
    with pytest.raises(ValueError, match="signed by its relay"):
        Voucher(RELAY.peer_id, PEER.peer_id, 1).seal(OTHER)


# --- addresses ------------------------------------------------------------------------------------


def test_addresses_over_a_relay() -> None:
    address = circuit_address(ADDRESS, RELAY.peer_id)
    assert str(address) == str(ADDRESS) + CIRCUIT
    assert split_relay(address) == (ADDRESS, RELAY.peer_id)
    assert split_relay(parse_address(CIRCUIT)) == (None, RELAY.peer_id)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/8.8.8.8/tcp/4001",
        "/p2p-circuit",
        "/ip4/8.8.8.8/tcp/4001/p2p-circuit",  # which relay?
        CIRCUIT + CIRCUIT,  # over two
        CIRCUIT + f"/p2p/{PEER.peer_id}",  # the peer is not part of what a transport dials
    ],
)
def test_no_addresses_over_a_relay(text: str) -> None:
    assert split_relay(parse_address(text)) is None

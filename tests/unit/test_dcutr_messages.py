"""DCUtR's messages, against the specification's protobuf."""

from __future__ import annotations

import pytest

from carrick.addressing import parse_address
from carrick.errors import MessageTooLarge, ProtocolError
from carrick.host import Dependence, Nat, NatBehaviour, PortDelta
from carrick.protocols.dcutr.messages import (
    MAX_MESSAGE,
    MAX_RECEIVED,
    MAX_SENT,
    Connect,
    Sync,
    decode,
)
from carrick.protocols.dcutr.pb.dcutr_pb2 import Behaviour, Extension, HolePunch

TCP = parse_address("/ip4/8.8.8.8/tcp/4001")
QUIC = parse_address("/ip6/2a00::1/udp/4001/quic-v1")
SYMMETRIC = NatBehaviour(
    Dependence.ADDRESS_AND_PORT,
    Dependence.ADDRESS,
    translates=True,
    delta=PortDelta.DEPENDENT,
    step=-3,
)
NAT = Nat(udp=SYMMETRIC, tcp=NatBehaviour(blocked=True))


def test_bytes_on_the_wire() -> None:
    # HolePunch{type: CONNECT = 100 or SYNC = 300, ObsAddrs = 2}
    assert Connect((TCP,)).encode().hex() == "0864" + "1208" + "0408080808" + "060fa1"
    assert Sync().encode().hex() == "08ac02"
    assert decode(bytes.fromhex("08641208040808080806" + "0fa1")) == Connect((TCP,))


def test_there_and_back() -> None:
    for message in (
        Connect(()),
        Connect((TCP, QUIC)),
        Connect((QUIC,), Nat()),
        Connect((TCP,), NAT),
        Connect((TCP,), NAT, 0.25),
        Sync(),
        Sync(initiator_dials=True),
    ):
        assert decode(message.encode()) == message


def test_our_field_is_one_that_others_skip() -> None:
    """Its tag fits 32 bits, which is what rust's decoder reads; its number is in no use."""
    plain, ours = Connect((TCP,)).encode(), Connect((TCP,), NAT).encode()
    assert ours.startswith(plain)
    (field,) = (HolePunch.DESCRIPTOR.fields_by_name["carrick"].number,)
    assert field << 3 | 2 < 1 << 32
    assert len(ours) - len(plain) < 40
    assert Sync(True).encode().startswith(Sync().encode())


@pytest.mark.parametrize(
    "message",
    [
        HolePunch(),
        HolePunch(type=0),
        HolePunch(type=200, addresses=[b""]),
        HolePunch(type=100, addresses=[TCP.to_bytes()] * (MAX_RECEIVED + 1)),
        HolePunch(type=100, carrick=Extension(udp=Behaviour(step=65536))),
        HolePunch(type=100, carrick=Extension(delay=60_000_001)),
    ],
    ids=["no type", "type 0", "type 200", "too many addresses", "a step of 65536 ports", "an hour"],
)
def test_what_is_refused(message: HolePunch) -> None:
    with pytest.raises(ProtocolError):
        decode(message.SerializeToString())


@pytest.mark.parametrize("data", [b"\x08", b"\x08\x64\x12\xff", b"\xff" * 30])
def test_malformed(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


def test_too_long() -> None:
    decode(Sync().encode() + b"\x1a\x80\x10" + bytes(2048))  # an unknown field
    with pytest.raises(MessageTooLarge):
        decode(Sync().encode() + bytes(MAX_MESSAGE))


def test_addresses_that_are_none_are_left_out() -> None:
    encoded = [b"", b"\xff\xff", TCP.to_bytes(), b"\x04\x08", TCP.to_bytes()]
    message = HolePunch(type=100, addresses=encoded)
    assert decode(message.SerializeToString()) == Connect((TCP,))


def test_what_a_later_carrick_says() -> None:
    """Kinds that we do not know are unknown."""
    behaviour = Behaviour(mapping=9, filtering=9, delta=99)
    message = HolePunch(type=100, carrick=Extension(udp=behaviour))
    assert decode(message.SerializeToString()) == Connect((), Nat())


def test_ours_stay_short() -> None:
    many = tuple(parse_address(f"/ip4/8.8.8.8/tcp/{port}") for port in range(1, 200))
    sent = decode(Connect(many, NAT).encode())
    assert isinstance(sent, Connect)
    assert sent.addresses == many[:MAX_SENT]
    name = "a." * 120 + "a"
    long = tuple(parse_address(f"/dns4/{name}/tcp/{port}") for port in range(1, 17))
    encoded = Connect(long, NAT).encode()
    assert len(encoded) <= MAX_MESSAGE
    sent = decode(encoded)
    assert isinstance(sent, Connect)
    assert sent.addresses == long[: len(sent.addresses)]

"""STUN messages and the classifier: whatever comes, only typed errors."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import ProtocolError
from carrick.host import NatBehaviour, PortDelta
from carrick.protocols.nat import Binding, Evidence, Findings, nat_of
from carrick.protocols.nat.delta import next_ports, port_delta
from carrick.protocols.stun import Kind, Message, decode, encode

PORTS = st.integers(1, 65535)
ADDRESSES = st.ip_addresses().map(str)
ENDPOINTS = st.tuples(ADDRESSES, PORTS)
TRANSACTIONS = st.binary(min_size=12, max_size=12)
MESSAGES = st.builds(
    Message,
    st.sampled_from([Kind.REQUEST, Kind.INDICATION, Kind.SUCCESS]),
    TRANSACTIONS,
    mapped=st.none() | ENDPOINTS,
    origin=st.none() | ENDPOINTS,
    other=st.none() | ENDPOINTS,
    change_ip=st.booleans(),
    change_port=st.booleans(),
    error=st.none() | st.tuples(st.integers(300, 699), st.text(max_size=20)),
    software=st.none() | st.text(max_size=20),
)


@given(MESSAGES, st.booleans(), st.booleans())
def test_what_is_written_is_read(message: Message, fingerprint: bool, xor: bool) -> None:
    assert decode(encode(message, fingerprint=fingerprint, xor=xor)) == message


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    for each in (data, b"\x01\x01" + len(data[8:]).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + data):
        with contextlib.suppress(ProtocolError):
            decode(each)


@given(MESSAGES, st.data())
def test_damage_is_refused_or_read_as_something(message: Message, data: st.DataObject) -> None:
    damaged = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for end in (len(damaged), data.draw(st.integers(0, len(damaged)))):
        with contextlib.suppress(ProtocolError):
            decode(damaged[:end])


@given(MESSAGES, st.data())
def test_a_fingerprint_finds_every_damaged_bit(message: Message, data: st.DataObject) -> None:
    damaged = bytearray(encode(message, fingerprint=True))
    # Not the fingerprint's own 8 bytes: with another type it is an attribute that nobody knows.
    damaged[data.draw(st.integers(0, len(damaged) - 9))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = decode(damaged)
    except ProtocolError:
        return
    # The damage made the fingerprint a part of another attribute.
    assert read != message


PAIRS = st.lists(st.tuples(PORTS, PORTS), max_size=10)
EVIDENCE = st.builds(
    Evidence,
    st.booleans(),
    st.lists(st.builds(Binding, ENDPOINTS, ENDPOINTS, ENDPOINTS), max_size=8),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    PAIRS,
    PAIRS,
    st.none() | st.booleans(),
)


@settings(max_examples=40)
@given(st.frozensets(ADDRESSES, max_size=3), EVIDENCE, EVIDENCE, st.none() | ADDRESSES | st.text())
def test_the_classifier_takes_anything(
    addresses: frozenset[str], udp: Evidence, tcp: Evidence, gateway: str | None
) -> None:
    nat = nat_of(Findings(addresses, udp, tcp, gateway=gateway))
    for behaviour in (nat.udp, nat.tcp):
        assert behaviour.type
        assert behaviour == NatBehaviour() or behaviour.blocked or behaviour.translates is not None


@given(PAIRS, PAIRS)
def test_a_step_belongs_to_regular_ports(scattered: list, consecutive: list) -> None:  # type: ignore[type-arg]
    delta, step = port_delta(scattered, consecutive)
    assert (step != 0) is (delta in (PortDelta.INDEPENDENT, PortDelta.DEPENDENT))


@given(st.lists(PORTS, max_size=4), st.integers(-70000, 70000), st.integers(0, 16))
def test_foretold_ports_are_ports(measured: list[int], step: int, count: int) -> None:
    ports = next_ports(measured, step, count)
    assert len(ports) <= count and all(0 < port < 65536 for port in ports)
    assert len(set(ports)) == len(ports)

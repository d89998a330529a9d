"""DCUtR's messages and exchanges, whatever a peer sends."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.addressing import Reach, parse_address, reach
from carrick.errors import ProtocolError
from carrick.host import Dependence, Nat, NatBehaviour, PortDelta
from carrick.identity import PrivateKey
from carrick.interfaces import Role
from carrick.protocols.dcutr.addresses import MAX_TARGETS, public_ips, targets
from carrick.protocols.dcutr.messages import MAX_MESSAGE, MAX_SENT, Connect, Message, Sync, decode
from carrick.protocols.dcutr.state import Initiator, Responder
from carrick.wire import FrameReader, encode_frame

PEER = PrivateKey.generate().peer_id
IPS = st.ip_addresses(v=4).map(str) | st.sampled_from(
    ["8.8.8.8", "192.168.1.1", "127.0.0.1", "10.0.0.1", "100.64.0.1", "224.0.0.1", "0.0.0.0"]
)
ENDINGS = st.sampled_from(["tcp/1", "udp/1/quic-v1", "tcp/80/ws", "udp/9"])
ADDRESSES = st.builds(lambda ip, end: parse_address(f"/ip4/{ip}/{end}"), IPS, ENDINGS)
BEHAVIOURS = st.builds(
    NatBehaviour,
    st.sampled_from(Dependence),
    st.sampled_from(Dependence),
    st.sampled_from([None, True, False]),
    st.sampled_from(PortDelta),
    st.integers(-65535, 65535),
    st.none(),
    st.booleans(),
)
NATS = st.none() | st.builds(Nat, udp=BEHAVIOURS, tcp=BEHAVIOURS)
CONNECTS = st.builds(Connect, st.lists(ADDRESSES, max_size=MAX_SENT, unique=True).map(tuple), NATS)
MESSAGES = CONNECTS | st.builds(Sync, st.booleans())
GARBAGE = st.binary(max_size=300) | MESSAGES.map(lambda message: message.encode()[:-1])


@given(MESSAGES)
@settings(max_examples=150)
def test_there_and_back(message: Message) -> None:
    encoded = message.encode()
    assert len(encoded) <= MAX_MESSAGE
    assert decode(encoded) == message


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 40), min_size=1))
@settings(max_examples=80)
def test_any_cut_gives_the_same_messages(messages: list[Message], cuts: list[int]) -> None:
    wire = b"".join(encode_frame(message.encode()) for message in messages)
    reader, found, at, turn = FrameReader(MAX_MESSAGE), [], 0, 0
    while at < len(wire):
        reader.feed(wire[at : at + cuts[turn % len(cuts)]])
        at += cuts[turn % len(cuts)]
        turn += 1
        while (frame := reader.next()) is not None:
            found.append(decode(frame))
    assert found == messages


@given(GARBAGE)
@settings(max_examples=150)
def test_garbage_raises_only_protocol_errors(data: bytes) -> None:
    with suppress(ProtocolError):
        decode(data)


@given(st.lists(MESSAGES.map(lambda message: message.encode()) | GARBAGE, max_size=6), CONNECTS)
@settings(max_examples=100)
def test_a_responder_ends_only_by_connect_and_sync(wire: list[bytes], own: Connect) -> None:
    """Whatever comes, in whatever order: done after exactly these two, or broken for good."""
    machine, taken = Responder(), []
    broken = False
    for data in wire:
        try:
            message = machine.receive(data, 1.0)
        except ProtocolError:
            broken = True
            continue
        assert not broken
        taken.append(type(message))
        if isinstance(message, Connect):
            assert machine.theirs == message
            machine.answer(own, 2.0)
    assert taken in ([], [Connect], [Connect, Sync])
    assert machine.done == (not broken and taken == [Connect, Sync])
    assert machine.role in Role


@given(
    st.lists(MESSAGES.map(lambda message: message.encode()) | GARBAGE, min_size=1, max_size=4),
    st.floats(0, 1e6),
    st.floats(0, 100),
)
@settings(max_examples=100)
def test_an_initiator_takes_one_connect(wire: list[bytes], now: float, passed: float) -> None:
    machine = Initiator()
    machine.connect(Connect(()), now)
    taken = 0
    for data in wire:
        with suppress(ProtocolError):
            machine.receive(data, now + passed)
            taken += 1
    assert taken <= 1
    if taken == len(wire) == 1:
        machine.sync(now + passed)
        assert machine.done
        assert machine.rtt >= 0
        assert machine.fires - (now + passed) <= passed / 2 + 1e-6


@given(st.lists(ADDRESSES, max_size=40), st.lists(ADDRESSES, max_size=3), st.booleans())
@settings(max_examples=150)
def test_where_we_may_be_sent(named: list[object], own: list[object], allow_private: bool) -> None:
    """Never inside unless the peer shows our own public address, and never to more than eight."""
    ours = public_ips(own)  # type: ignore[arg-type]
    found = targets(
        named,  # type: ignore[arg-type]
        PEER,
        own=ours,
        allow_private=allow_private,
        can_punch=lambda _: True,
        can_dial=lambda _: True,
    )
    assert len(found.far) + len(found.near) <= MAX_TARGETS
    inside = {Reach.PRIVATE, Reach.CGNAT}
    assert {reach(each) for each in found.far} <= {Reach.PUBLIC} | (
        inside if allow_private else set()
    )
    assert {reach(each) for each in found.near} <= inside
    if found.near:
        assert ours & public_ips(named)  # type: ignore[arg-type]

"""Identify under arbitrary input: round trips whatever the size, typed errors only, bounds hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.addressing import Multiaddr, parse_address
from carrick.errors import ProtocolError
from carrick.identity import PrivateKey
from carrick.protocols.identify.acceptance import accept
from carrick.protocols.identify.messages import (
    MAX_ADDRESSES,
    MAX_PROTOCOLS,
    MAX_SENT_MESSAGE,
    MAX_SENT_MESSAGES,
    MAX_VERSION,
    Info,
    MessageReader,
    encode_messages,
)
from carrick.protocols.identify.pb.identify_pb2 import Identify as Message

PEER = PrivateKey.generate().peer_id
REMOTE = parse_address("/ip4/8.8.8.8/tcp/1")

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300)
protocols = st.lists(names.map("/".__add__), unique=True, max_size=60)
addresses = st.lists(
    st.builds(
        lambda ip, port: parse_address(f"/ip4/{ip}/tcp/{port}"),
        st.ip_addresses(v=4),
        st.integers(1, 65535),
    ),
    unique=True,
    max_size=64,
)
versions = st.none() | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=MAX_VERSION
)
records = st.none() | st.binary(min_size=1, max_size=MAX_SENT_MESSAGE - 8)


@settings(max_examples=100, deadline=None)
@given(protocols, addresses, versions, versions, records)
def test_everything_said_arrives_in_small_messages(
    protocols: list[str],
    addresses: list[Multiaddr],
    agent: str | None,
    family: str | None,
    record: bytes | None,
) -> None:
    info = Info(
        agent_version=agent,
        protocol_version=family,
        protocols=tuple(protocols),
        listen_addresses=tuple(addresses),
        signed_record=record,
    )
    encoded = encode_messages(info)
    assert len(encoded) <= MAX_SENT_MESSAGES
    assert all(len(payload) <= MAX_SENT_MESSAGE for payload in encoded)
    reader = MessageReader()
    for payload in encoded:
        reader.receive(payload)
    assert reader.finish() == info


garbage = st.binary(max_size=200)
almost = st.builds(
    lambda **fields: Message(**fields).SerializeToString(),
    public_key=garbage,
    listen_addresses=st.lists(garbage, max_size=90),
    protocols=st.lists(garbage, max_size=40),
    observed_address=garbage,
    protocol_version=st.binary(max_size=300),
    agent_version=garbage,
    signed_peer_record=garbage,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(garbage | almost, max_size=12))
def test_strangers_cause_typed_errors_only_and_bounds_hold(payloads: list[bytes]) -> None:
    reader = MessageReader()
    try:
        for payload in payloads:
            reader.receive(payload)
        info = reader.finish()
        accepted = accept(info, PEER, REMOTE)
    except ProtocolError:
        return
    assert len(info.protocols) <= MAX_PROTOCOLS
    assert len(accepted.addresses) <= MAX_ADDRESSES
    for version in (info.agent_version, info.protocol_version):
        assert version is None or (len(version.encode()) <= MAX_VERSION and version.isprintable())


multiaddr_like = st.lists(
    st.sampled_from(
        [
            b"\x04\x08\x08\x08\x08",  # ip4
            b"\x06\x0f\xa1",  # tcp
            b"\xa2\x02",  # p2p-circuit
            b"\xa5\x03\x22\x12\x20" + b"\1" * 32,  # p2p
            b"\xa5\x03\x02\x00\x00",  # p2p with an odd multihash
            b"\xa5\x03\x04\x13\x02ab",
        ]
    ),
    max_size=6,
).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(multiaddr_like, max_size=10))
def test_odd_addresses_are_left_out_quietly(encoded: list[bytes]) -> None:
    reader = MessageReader()
    reader.receive(Message(listen_addresses=encoded).SerializeToString())
    accepted = accept(reader.finish(), PEER, REMOTE)
    assert all(address.to_bytes() for address in accepted.addresses)


@pytest.mark.parametrize("size", [4000, 4096, 8191])
def test_large_garbage(size: int) -> None:
    reader = MessageReader()
    with pytest.raises(ProtocolError):
        reader.receive(b"\x12" * size)
        reader.finish()

"""What peers of other libraries brought to light, without them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from carrick import Host, HostBuilder, PrivateKey, Stream
from carrick.protocols.kademlia import (
    WAN,
    IpnsRecord,
    Kademlia,
    KademliaOptions,
    Message,
    MessageType,
    Mode,
    NotFound,
    NothingStored,
    Record,
    ipns_key,
)
from carrick.protocols.kademlia.messages import MAX_MESSAGE, decode

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@asynccontextmanager
async def node(*bootstrap: Host) -> AsyncIterator[Host]:
    """A server; those to begin with are in its table."""
    where = [each.addresses[0] for each in bootstrap]
    options = KademliaOptions.local(mode=Mode.SERVER, bootstrap=where)
    async with HostBuilder().listen(LOOPBACK).services(Kademlia(options)).open() as host:
        if bootstrap:
            with trio.fail_after(10):
                await host.service(Kademlia).wait_bootstrapped()
        yield host


async def test_a_peer_that_refuses_a_value_stays_in_the_table() -> None:
    key = PrivateKey.generate()
    old, new = (
        IpnsRecord.create(key, "/ipfs/bafkqaaa", now=time.time(), sequence=number).encoded
        for number in (1, 2)
    )
    name = ipns_key(key.peer_id)
    async with node() as server, node(server) as late:
        server.service(Kademlia).networks[0].dht.records.put(name, new, time.time())
        dht = late.service(Kademlia)
        with pytest.raises(NothingStored):
            await dht.put_value(name, old, republish=False)
        assert server.id in dht.networks[0].dht.table
        assert await dht.get_value(name) == new


async def test_who_bootstraps_says_where_it_is() -> None:
    """It listens before it dials: others could not tell of it otherwise."""
    async with node() as server, node(server) as host:
        (connection,) = server.connections
        assert connection.peer_id == host.id
        assert set(host.addresses) & {
            each.encapsulate(f"/p2p/{host.id}") for each in server.peerstore.addresses(host.id)
        }


async def test_answers_without_a_key_as_rust_gives_them() -> None:
    key = PrivateKey.generate()
    name, value = (
        ipns_key(key.peer_id),
        IpnsRecord.create(key, "/ipfs/bafkqaaa", now=time.time()).encoded,
    )

    async def answer(stream: Stream) -> None:
        async for frame in stream.frames(MAX_MESSAGE):
            request = decode(frame)
            if request.type is MessageType.GET_VALUE:
                message = Message(request.type, b"", Record(name, value))
            else:
                message = Message(request.type, request.key)
            await stream.write_frame(message.encode())

    async with (
        HostBuilder().listen(LOOPBACK).handle(WAN.protocol, answer).open() as peculiar,
        node(peculiar) as host,
    ):
        assert await host.service(Kademlia).get_value(name) == value
        # A record for another key is not what was asked for, however valid.
        with pytest.raises(NotFound):
            await host.service(Kademlia).get_value(ipns_key(host.id))

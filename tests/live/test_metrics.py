"""Metrics of real hosts, scraped over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from carrick.builder import HostBuilder
from carrick.errors import CarrickError, ListenError
from carrick.host import Host
from carrick.host.metrics import HostMetrics, serve_metrics
from carrick.host.metrics.server import MAX_CONNECTIONS
from carrick.identity import PrivateKey
from carrick.interfaces import Endpoint
from carrick.network.events import ConnectionClosed, ConnectionOpened, ProtocolsChanged

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
ECHO = "/echo/1.0.0"


async def fetch(endpoint: Endpoint, request: bytes = b"GET /metrics HTTP/1.1\r\n\r\n") -> bytes:
    stream = await trio.open_tcp_stream(*endpoint)
    async with stream:
        await stream.send_all(request)
        received = b""
        with suppress(trio.BrokenResourceError):  # closed before all was read: a reset
            while data := await stream.receive_some():
                received += data
        return received


async def scrape(endpoint: Endpoint) -> Samples:
    head, _, body = (await fetch(endpoint)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"Content-Type: text/plain" in head
    assert f"Content-Length: {len(body)}".encode() in head
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


@asynccontextmanager
async def measured(host: Host) -> AsyncIterator[Endpoint]:
    metrics = HostMetrics(host)
    async with trio.open_nursery() as nursery:
        await nursery.start(metrics.run)
        endpoint: Any = await nursery.start(serve_metrics, metrics.registry, ("127.0.0.1", 0))
        yield endpoint
        nursery.cancel_scope.cancel()


def local() -> HostBuilder:
    return HostBuilder().listen("/ip4/127.0.0.1/tcp/0")


async def test_a_host_is_measured() -> None:
    async with local().open() as alice, local().open() as bob, measured(bob) as endpoint:

        @bob.handle(ECHO)
        async def echo(stream: Any) -> None:
            async for data in stream:
                await stream.send_all(data)

        assert value(await scrape(endpoint), "carrick_peers") == 0
        with bob.events.subscribe(ConnectionOpened) as events:
            connection = await alice.connect(bob.addresses[0])
            await events.__anext__()
        stream = await connection.open_stream(ECHO)
        await stream.send_all(b"x" * 100_000)
        received = 0
        while received < 100_000:
            received += len(await stream.receive_some())
        samples = await scrape(endpoint)
        assert samples["carrick_connections_opened_total", _tcp("inbound")] == 1
        assert samples["carrick_connections", _tcp("inbound")] == 1
        assert value(samples, "carrick_peers") == 1
        assert value(samples, "carrick_streams", direction="inbound", protocol=ECHO) == 1
        name = "carrick_streams_opened_total"
        assert value(samples, name, direction="inbound", protocol=ECHO) == 1
        assert value(samples, "carrick_received_bytes_total") > 100_000
        assert value(samples, "carrick_sent_bytes_total") > 100_000
        assert value(samples, "carrick_peerstore_peers") == 1
        assert value(samples, "carrick_resources", scope="system", kind="connections") == 1
        assert value(samples, "carrick_resources", scope="system", kind="memory") >= 65536
        assert value(samples, "process_resident_memory_bytes") > 1e6
        assert value(samples, "carrick_tasks") > 5

        stream.reset()
        with bob.events.subscribe(ConnectionClosed) as ends:
            await alice.disconnect(bob.id)
            await ends.__anext__()
        samples = await scrape(endpoint)
        assert value(samples, "carrick_connections_closed_total", direction="inbound") == 1
        assert value(samples, "carrick_peers") == 0
        assert value(samples, "carrick_received_bytes_total") > 100_000, "it stays counted"


def _tcp(direction: str) -> frozenset[tuple[str, str]]:
    labels = {"direction": direction, "transport": "tcp", "security": "/noise"}
    return frozenset({**labels, "muxer": "/yamux/1.0.0"}.items())


async def test_dials_are_counted_by_outcome() -> None:
    async with local().open() as alice, local().open() as bob, measured(alice) as endpoint:
        await alice.connect(bob.addresses[0])
        wrong = str(bob.addresses[0]).replace(str(bob.id), str(PrivateKey.generate().peer_id))
        with pytest.raises(CarrickError):
            await alice.connect(wrong)
        samples = await scrape(endpoint)
        assert value(samples, "carrick_dials_total", outcome="success") == 1
        assert value(samples, "carrick_dials_total", outcome="PeerIdMismatch") == 1


async def test_peers_choose_no_labels() -> None:
    """A protocol that we do not serve, of whatever name, is `other`."""
    async with local().open() as alice, local().open() as bob, measured(alice) as endpoint:
        for number in range(3):
            bob.handle(f"/only-bob/{number}", lambda stream: trio.sleep_forever())
        connection = await alice.connect(bob.addresses[0])
        for number in range(3):
            await connection.open_stream(f"/only-bob/{number}")
        samples = await scrape(endpoint)
        assert value(samples, "carrick_streams", direction="outbound", protocol="other") == 3
        assert not any("only-bob" in str(labels) for _, labels in samples)
        assert not any(str(bob.id) in str(labels) for _, labels in samples)


async def test_lost_events_are_counted() -> None:
    async with local().open() as host, measured(host) as endpoint:
        with host.events.subscribe(ProtocolsChanged, capacity=1):
            for number in range(5):
                host.handle(f"/test/{number}", lambda stream: trio.sleep_forever())
            assert value(await scrape(endpoint), "carrick_events_dropped_total") == 4


async def test_the_global_registry_stays_empty() -> None:
    before = set(REGISTRY._names_to_collectors)
    async with local().open() as alice, local().open() as bob:
        first, second = HostMetrics(alice), HostMetrics(bob)
        assert first.registry is not second.registry
    assert set(REGISTRY._names_to_collectors) == before


async def test_other_requests() -> None:
    async with local().open() as host, measured(host) as endpoint:
        head = await fetch(endpoint, b"HEAD /metrics HTTP/1.1\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")
        assert b" 404 " in await fetch(endpoint, b"GET / HTTP/1.1\r\n\r\n")
        refused = await fetch(endpoint, b"POST /metrics HTTP/1.1\r\n\r\n")
        assert b" 405 " in refused and b"Allow: GET, HEAD\r\n" in refused
        assert b" 400 " in await fetch(endpoint, b"x" * 9000)


async def test_connections_are_bounded() -> None:
    async with local().open() as host, measured(host) as endpoint:
        silent = [await trio.open_tcp_stream(*endpoint) for _ in range(MAX_CONNECTIONS)]
        with trio.fail_after(4):
            assert await fetch(endpoint, b"") == b""
        for stream in silent:
            await stream.aclose()
        with trio.fail_after(4):
            while not await fetch(endpoint, b"GET /metrics HTTP/1.1\r\n\r\n"):
                pass


async def test_a_port_in_use() -> None:
    async with local().open() as host, measured(host) as endpoint:
        with pytest.raises(ListenError, match=f"port {endpoint[1]}"):
            await serve_metrics(HostMetrics(host).registry, endpoint)

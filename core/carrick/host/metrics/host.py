"""What is measured of a host.

What is there now is read from the host when somebody asks, and costs nothing in between. Only what
happens is counted, from the event bus. No label takes a value that a peer can choose.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio
from prometheus_client import CollectorRegistry, Counter, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from carrick.errors import CarrickError
from carrick.interfaces import Direction
from carrick.network.events import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionRefused,
    DialFailed,
    Event,
    StreamClosed,
    StreamOpened,
)

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from carrick.host.host import Host
    from carrick.network import Connection, Stream

__all__ = ["HostMetrics"]

OTHER = "other"
_CAPACITY = 4096  # events that may wait until they are counted
_CONNECTION_LABELS = ("direction", "transport", "security", "muxer")
_STREAM_LABELS = ("direction", "protocol")
_SCOPES = ("system", "transient")  # the others have names of peers


class HostMetrics:
    """Measures one host, in a registry of its own.

    Start `run` in the host's lifetime, and give `registry` to `serve_metrics`.

    Args:
        host: the host.
        registry: where to put the metrics, if not in a new one.
    """

    def __init__(self, host: Host, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self._host = host
        self._traffic = _Traffic()
        self._opened = Counter(
            "carrick_connections_opened",
            "Connections that were announced.",
            _CONNECTION_LABELS,
            registry=registry,
        )
        self._closed = Counter(
            "carrick_connections_closed",
            "Announced connections that have ended.",
            ("direction",),
            registry=registry,
        )
        self._refused = Counter(
            "carrick_connections_refused",
            "Inbound connections that were not taken.",
            ("cause",),
            registry=registry,
        )
        self._dials = Counter(
            "carrick_dials",
            "Dialled addresses by outcome: success, or the error.",
            ("outcome",),
            registry=registry,
        )
        self._streams = Counter(
            "carrick_streams_opened",
            "Streams that have agreed on a protocol; `other` is one that we do not serve.",
            _STREAM_LABELS,
            registry=registry,
        )
        self._resets = Counter(
            "carrick_streams_reset",
            "Of these, the ones that were reset on our side.",
            _STREAM_LABELS,
            registry=registry,
        )
        registry.register(_Snapshot(host, self._traffic))
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Count until cancelled."""
        with self._host.events.subscribe(
            ConnectionOpened,
            ConnectionClosed,
            ConnectionRefused,
            DialFailed,
            StreamOpened,
            StreamClosed,
            capacity=_CAPACITY,
        ) as events:
            task_status.started()
            async for event in events:
                self._count(event)

    def _count(self, event: Event) -> None:
        match event:
            case StreamOpened(stream):
                self._streams.labels(*_stream_labels(stream, self._host.protocols)).inc()
            case StreamClosed(stream, was_reset):
                if was_reset:
                    self._resets.labels(*_stream_labels(stream, self._host.protocols)).inc()
            case ConnectionOpened(connection):
                self._traffic.watch((connection,))
                self._opened.labels(*_connection_labels(connection)).inc()
                if connection.direction is Direction.OUTBOUND:
                    self._dials.labels("success").inc()
            case ConnectionClosed(connection):
                self._traffic.settle()
                self._closed.labels(connection.direction.value).inc()
            case ConnectionRefused(_, cause):
                self._refused.labels(_cause(cause)).inc()
            case DialFailed(_, _, cause):
                self._dials.labels(_cause(cause)).inc()


class _Traffic:
    """Bytes that connections have carried, of open and of ended ones."""

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self._open: set[Connection] = set()

    def watch(self, connections: Iterable[Connection]) -> None:
        self._open.update(connections)

    def settle(self) -> None:
        """Add up the ended connections and let go of them."""
        for connection in [each for each in self._open if each.closed]:
            self._open.remove(connection)
            received, sent = _bytes(connection)
            self.received += received
            self.sent += sent

    def totals(self) -> tuple[int, int]:
        """(received, sent) up to now."""
        self.settle()
        now = [_bytes(each) for each in self._open]
        return self.received + sum(r for r, _ in now), self.sent + sum(s for _, s in now)


class _Snapshot(Collector):
    """What is there at the moment of a scrape."""

    def __init__(self, host: Host, traffic: _Traffic) -> None:
        self._host = host
        self._traffic = traffic

    def describe(self) -> Iterable[Metric]:
        return ()  # registering must not take a snapshot: the host may not run yet

    def collect(self) -> Iterable[Metric]:
        host = self._host
        connections = host.connections
        yield _gauge(
            "carrick_connections",
            "Open connections.",
            _CONNECTION_LABELS,
            Tally(map(_connection_labels, connections)),
        )
        streams = (stream for connection in connections for stream in connection.streams)
        served = host.protocols
        yield _gauge(
            "carrick_streams",
            "Open streams; protocol `other` is one that we do not serve.",
            _STREAM_LABELS,
            Tally(_stream_labels(stream, served) for stream in streams),
        )
        yield _gauge(
            "carrick_peers",
            "Peers with an open connection.",
            (),
            {(): len(host.swarm.peers)},
        )
        yield self._resources()
        self._traffic.watch(connections)
        for name, total in zip(("received", "sent"), self._traffic.totals(), strict=True):
            yield CounterMetricFamily(
                f"carrick_{name}_bytes", f"Sealed bytes {name} over connections.", value=total
            )
        yield CounterMetricFamily(
            "carrick_events_dropped",
            "Events lost because a subscriber was too slow.",
            value=host.events.dropped,
        )
        yield _gauge(
            "carrick_peerstore_peers",
            "Peers of whom something is known.",
            (),
            {(): len(host.peerstore)},
        )
        yield _gauge(
            "carrick_tasks",
            "Tasks in the event loop.",
            (),
            {(): trio.lowlevel.current_statistics().tasks_living},
        )

    def _resources(self) -> Metric:
        stat = self._host.swarm.resources.stat()
        return _gauge(
            "carrick_resources",
            "What is reserved in a resource scope: counts, and bytes of memory.",
            ("scope", "kind"),
            {
                (scope, kind): amount
                for scope in _SCOPES
                for kind, amount in stat.get(scope, {}).items()
            },
        )


def _gauge(
    name: str, text: str, labels: tuple[str, ...], values: dict[tuple[str, ...], int]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _connection_labels(connection: Connection) -> tuple[str, ...]:
    return (
        connection.direction.value,
        connection.transport or OTHER,
        connection.security,
        connection.muxer,
    )


def _stream_labels(stream: Stream, served: tuple[str, ...]) -> tuple[str, ...]:
    return stream.direction.value, stream.protocol if stream.protocol in served else OTHER


def _cause(error: BaseException) -> str:
    return type(error).__name__ if isinstance(error, CarrickError) else OTHER


def _bytes(connection: Connection) -> tuple[int, int]:
    """What a connection has carried, if its transport counts that."""
    muxed = connection.muxed
    return getattr(muxed, "bytes_received", 0), getattr(muxed, "bytes_sent", 0)

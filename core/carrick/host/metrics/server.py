"""Serves a registry as `GET /metrics`."""

from __future__ import annotations

import http
import logging
from typing import TYPE_CHECKING

import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from carrick.errors import ListenError
from carrick.host.metrics.request import BadRequest, RequestReader, response_head
from carrick.interfaces import Endpoint

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["answer", "serve_metrics"]

logger = logging.getLogger(__name__)

PATH = "/metrics"
MAX_CONNECTIONS = 16  # at once
REQUEST_TIMEOUT = 5.0  # s from the connection to the end of the request's head
RESPONSE_TIMEOUT = 10.0  # s: a write stall (ATTACKS 6.1, promise 6)
_RECEIVE_SIZE = 4096  # bytes
_PLAIN = "text/plain; charset=utf-8"


async def serve_metrics(
    registry: CollectorRegistry,
    endpoint: Endpoint,
    *,
    task_status: TaskStatus[Endpoint] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `registry` until cancelled. There is no access control: keep to loopback or a network
    that may know.

    Args:
        endpoint: where to listen; port 0 takes a free one.
        task_status: is started with the endpoint as it is bound.

    Raises:
        ListenError: it cannot be listened on.
    """
    host, port = endpoint
    try:
        (listener,) = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise ListenError(
            f"metrics cannot be served at {host} port {port}: {error.strerror or error}"
        ) from error
    served = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal served
        if served >= MAX_CONNECTIONS:
            return  # trio closes it
        served += 1
        try:
            await answer(stream, registry)
        finally:
            served -= 1

    task_status.started(listener.socket.getsockname()[:2])
    await trio.serve_listeners(serve, [listener])


async def answer(stream: trio.abc.Stream, registry: CollectorRegistry) -> None:
    """Answer the one request of a connection, and close it."""
    async with stream:
        try:
            with trio.move_on_after(REQUEST_TIMEOUT) as reading:
                response = await _response(stream, registry)
            if reading.cancelled_caught or response is None:
                return
            with trio.move_on_after(RESPONSE_TIMEOUT):
                await stream.send_all(response)
        except trio.BrokenResourceError:
            logger.debug("a reader of metrics went away")


async def _response(stream: trio.abc.ReceiveStream, registry: CollectorRegistry) -> bytes | None:
    """Read a request; None if the peer ends before it does."""
    reader = RequestReader(PATH)
    try:
        while True:
            data = await stream.receive_some(_RECEIVE_SIZE)
            if not data:
                return None
            if (method := reader.feed(data)) is not None:
                break
    except BadRequest as refusal:
        body = f"{refusal.status.value} {refusal.status.phrase}\n".encode()
        return response_head(refusal.status, len(body), _PLAIN) + body
    encode, content_type = choose_encoder("")
    body = encode(registry)
    head = response_head(http.HTTPStatus.OK, len(body), content_type)
    return head if method == "HEAD" else head + body

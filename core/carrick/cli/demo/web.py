"""HTTP over a stream: everybody in the demonstration has two pages."""

from __future__ import annotations

import h11
import trio

from carrick import Connection, HostBuilder, Stream
from carrick.testing import Node

__all__ = ["PHOTO", "RECIPE", "get", "serve_pages"]

PROTOCOL = "/carrick/demo/http/1.1"
RECIPE, PHOTO = "/bread", "/photo"
PATIENCE = 10.0  # s
_PIECE = 4096  # bytes
_PAGES = {
    RECIPE.encode(): b"Flour, water, salt, and time.\n",
    PHOTO.encode(): bytes(range(256)) * 40,  # 10 KiB
}


def serve_pages(builder: HostBuilder) -> HostBuilder:
    """Also over relays."""
    return builder.handle(PROTOCOL, _serve, allow_limited=True)


async def get(node: Node, connection: Connection, path: str) -> tuple[int, bytes]:
    """One request over this connection: (status, body)."""
    with trio.fail_after(PATIENCE):
        async with await node.open_stream(connection, PROTOCOL, allow_limited=True) as stream:
            return await _fetch(stream, path)


async def _fetch(stream: Stream, path: str) -> tuple[int, bytes]:
    http = h11.Connection(h11.CLIENT)
    request = h11.Request(method="GET", target=path, headers=[("Host", "ben")])
    await stream.send_all(_bytes(http, request, h11.EndOfMessage()))
    status, body = 0, bytearray()
    while True:
        event = await _next(http, stream)
        match event:
            case h11.Response():
                status = event.status_code
            case h11.Data():
                body += event.data
            case h11.EndOfMessage() | h11.ConnectionClosed():
                return status, bytes(body)


async def _serve(stream: Stream) -> None:
    http = h11.Connection(h11.SERVER)
    with trio.fail_after(PATIENCE):
        request = await _next(http, stream)
        found = isinstance(request, h11.Request) and request.target in _PAGES
        body = _PAGES[request.target] if found else b"not here\n"  # type: ignore[union-attr]
        head = h11.Response(
            status_code=200 if found else 404, headers=[("Content-Length", str(len(body)))]
        )
        await stream.send_all(_bytes(http, head, h11.Data(data=body), h11.EndOfMessage()))


def _bytes(http: h11.Connection, *events: h11.Event) -> bytes:
    return b"".join(http.send(event) or b"" for event in events)


async def _next(http: h11.Connection, stream: Stream) -> h11.Event | type[h11.PAUSED]:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await stream.receive_some(_PIECE))
    return event  # type: ignore[return-value]

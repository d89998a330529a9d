"""They talk: pings, and an HTTP request over a stream."""

from __future__ import annotations

import h11
import trio

from carrick import Stream
from carrick.cli.demo.stage import Stage
from carrick.cli.output import human_time, milliseconds
from carrick.protocols.ping import Ping

__all__ = ["PROTOCOL", "TITLE", "play", "serve"]

TITLE = "They talk"

PROTOCOL = "/carrick/demo/http/1.1"
PIECE = 4096  # bytes
PATIENCE = 10.0  # s
PINGS = 3
RECIPE = b"Flour, water, salt, and time.\n"


async def play(stage: Stage) -> None:
    """Ana pings Ben, and reads a page of his."""
    if stage.link is None:
        stage.say(stage.ana, "cannot: there is no connection", failed=True)
        return
    node, started = stage.ana.node, stage.internet.time()
    times = [await node.service(Ping).ping_once(stage.link) for _ in range(PINGS)]
    stage.facts["rtt_ms"] = [milliseconds(time) for time in times]
    stage.say(stage.ana, f"pinged Ben: {', '.join(map(human_time, times))}", since=started)
    started = stage.internet.time()
    async with await node.open_stream(stage.link, PROTOCOL) as stream:
        with trio.fail_after(PATIENCE):
            status, body = await fetch(stream, "/bread")
    stage.facts["http"] = {
        "status": status,
        "bytes": len(body),
        "took_ms": milliseconds(stage.internet.time() - started),
    }
    stage.say(
        stage.ana,
        f"GET /bread over a stream: {status}, “{body.decode(errors='replace').strip()}”",
        since=started,
    )


async def fetch(stream: Stream, path: str) -> tuple[int, bytes]:
    """One HTTP/1.1 request: (status, body)."""
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


async def serve(stream: Stream) -> None:
    """Answer one HTTP/1.1 request."""
    http = h11.Connection(h11.SERVER)
    with trio.fail_after(PATIENCE):
        request = await _next(http, stream)
        found = isinstance(request, h11.Request) and request.target == b"/bread"
        body = RECIPE if found else b"not here\n"
        head = h11.Response(
            status_code=200 if found else 404, headers=[("Content-Length", str(len(body)))]
        )
        await stream.send_all(_bytes(http, head, h11.Data(data=body), h11.EndOfMessage()))


def _bytes(http: h11.Connection, *events: h11.Event) -> bytes:
    return b"".join(http.send(event) or b"" for event in events)


async def _next(http: h11.Connection, stream: Stream) -> h11.Event | type[h11.PAUSED]:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await stream.receive_some(PIECE))
    return event  # type: ignore[return-value]
